"""
Tests for txsmtpd.handlers.message.
"""

from __future__ import annotations

import email.policy
from email.message import EmailMessage
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from docs.code import subjects
from txsmtpd import SMTPFactory, hooks
from txsmtpd.core.session import Envelope, Session
from txsmtpd.handlers import Message
from txsmtpd.handlers.message import IMessageHandler
from txsmtpd.interfaces import DeliveryAnswer, IDATAHook

from .adapterskit import Talk

PEER = ("192.0.2.1", 54321)


class Keeping(Message):
    def __init__(self, verdict: Any = None, **options: Any) -> None:
        super().__init__(**options)
        self.verdict = verdict
        self.messages: list[EmailMessage] = []

    def handle_message(self, message: EmailMessage) -> DeliveryAnswer:
        self.messages.append(message)
        answer: DeliveryAnswer = self.verdict
        return answer


@hooks
class Both(Keeping):
    """
    Has a hook of its own too.
    """

    def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: Any
    ) -> None: ...


class Coroutine(Keeping):
    async def handle_message(self, message: EmailMessage) -> Any:
        return await self.verdict


class MessageTests(SynchronousTestCase):
    def deliver(self, handler: Message, content: str, **settings: Any) -> list[str]:
        talk = Talk(handler, **settings)
        talk.greet()
        heard = talk.mail("bob@example.org", "eve@example.net", content=content)
        return heard[-1:]

    def test_interfaces(self) -> None:
        handler = Keeping()
        verifyObject(IDATAHook, handler)
        verifyObject(IMessageHandler, handler)

    def test_message(self) -> None:
        handler = Keeping()
        self.assertEqual(
            self.deliver(handler, "Subject: =?utf-8?q?caf=C3=A9?=\r\n\r\nHello\r\n"),
            ["250 2.0.0 Message accepted"],
        )
        (message,) = handler.messages
        self.assertIs(type(message), EmailMessage)
        self.assertEqual(message["subject"], "café")
        self.assertEqual(message["X-Peer"], str(PEER))
        self.assertEqual(message["X-MailFrom"], "ann@example.com")
        self.assertEqual(message["X-RcptTo"], "bob@example.org, eve@example.net")
        self.assertEqual(message.get_content().splitlines(), ["Hello"])

    def test_forged(self) -> None:
        """
        What the client says of itself there is removed.
        """
        handler = Keeping()
        self.deliver(handler, "X-Peer: me\r\nx-mailfrom: boss@example.org\r\nX-RcptTo: x\r\n\r\n")
        (message,) = handler.messages
        self.assertEqual(message.get_all("X-Peer"), [str(PEER)])
        self.assertEqual(message.get_all("X-MailFrom"), ["ann@example.com"])
        self.assertEqual(message.get_all("X-RcptTo"), ["bob@example.org, eve@example.net"])

    def test_decoded(self) -> None:
        handler = Keeping()
        self.deliver(handler, "Subject: жук\r\n\r\n", decode_data=True)
        self.assertEqual(handler.messages[0]["subject"], "жук")

    def test_null_sender_and_no_content(self) -> None:
        message = Keeping().prepare_message(Session(), Envelope(mail_from=""))
        self.assertEqual(message["X-MailFrom"], "")
        self.assertEqual(message["X-Peer"], "None")

    def test_policy(self) -> None:
        handler = Keeping(policy=email.policy.SMTP)
        self.deliver(handler, "A: b\r\n\r\nc\r\n")
        self.assertIn(b"A: b\r\n", bytes(handler.messages[0]))

    def test_verdicts(self) -> None:
        for verdict in ("550 5.7.1 No", b"550 5.7.1 No"):
            self.assertEqual(self.deliver(Keeping(verdict), ""), ["550 5.7.1 No"])

    def test_later(self) -> None:
        for cls in (Keeping, Coroutine):
            waiting: Deferred[str] = Deferred()
            talk = Talk(cls(waiting))
            talk.greet()
            self.assertEqual(talk.mail()[-1][:3], "354")
            waiting.callback("250 Stored")
            self.assertEqual(talk.heard(), ["250 2.0.0 Stored"])

    def test_too_deep(self) -> None:
        """
        The parser calls itself for each part within a part.
        """
        nested = "".join(
            f"Content-Type: multipart/mixed; boundary=b{n}\r\n\r\n--b{n}\r\n" for n in range(2000)
        )
        handler = Keeping()
        said = self.deliver(handler, nested)
        self.assertEqual(said, ["554 5.6.0 The message has too many parts within parts"])
        self.assertEqual(handler.messages, [])

    def test_more_hooks(self) -> None:
        """
        A subclass may have hooks; `handle_message` is none, and no mistake.
        """
        handler = Both()
        self.deliver(handler, "")
        self.assertEqual(len(handler.messages), 1)

    def test_misspelt(self) -> None:
        class Misspelt(Keeping):
            def handle_RCTP(self) -> None: ...

        error = self.assertRaises(TypeError, SMTPFactory, Misspelt())
        self.assertIn("the nearest hook is handle_RCPT", str(error))

    def test_example(self) -> None:
        """
        That of the documentation.
        """
        handler = subjects.Subjects()
        self.assertEqual(self.deliver(handler, "\r\n"), ["550 5.6.0 What is it about?"])
        self.deliver(handler, "Subject: Hi\r\n\r\n")
        self.assertEqual(handler.seen, [("bob@example.org, eve@example.net", "Hi")])

    def test_nothing_defined(self) -> None:
        self.assertEqual(self.deliver(Message(), ""), ["451 4.3.0 Local error, try again later"])
        (failure,) = self.flushLoggedErrors(NotImplementedError)
        self.assertEqual(failure.getErrorMessage(), "Message defines no handle_message")
