"""
Tests for txsmtpd.adapters.for_smtpd.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsmtpd import adapters
from txsmtpd.interfaces import IDATAHook

from .adapterskit import Talk

PEER = ("192.0.2.1", 54321)
MAIL = ("MAIL FROM:<ann@example.com> body=8bitmime", "RCPT TO:<bob@example.org>", "DATA")


class Smtpd:
    """
    As the module's documentation tells to write it.
    """

    def __init__(self, answer: Any = None) -> None:
        self.answer = answer
        self.calls: list[Any] = []

    def process_message(
        self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any, **kwargs: Any
    ) -> Any:
        self.calls.append((peer, mailfrom, list(rcpttos), data, kwargs))
        return self.answer


class OneOption(Smtpd):
    def process_message(  # type: ignore[override]
        self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any, mail_options: Any = None
    ) -> Any:
        self.calls.append((data, mail_options))


class Plain(Smtpd):
    """
    As aiosmtpd calls it.
    """

    def process_message(  # type: ignore[override]
        self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any
    ) -> Any:
        self.calls.append((peer, mailfrom, list(rcpttos), data))
        return self.answer


class Later(Plain):
    async def process_message(  # type: ignore[override]
        self, peer: Any, mailfrom: str, rcpttos: list[str], data: Any
    ) -> Any:
        return await self.answer


class ProcessMessageTests(SynchronousTestCase):
    def deliver(self, handler: Smtpd, content: str = "A: b\r\n\r\nc\r\n", **settings: Any) -> str:
        talk = Talk(adapters.process_message(handler), **settings)
        talk.greet()
        talk.say(*MAIL)
        return talk.say(f"{content}.")[-1]

    def test_interface(self) -> None:
        verifyObject(IDATAHook, adapters.process_message(Smtpd()))

    def test_smtpd(self) -> None:
        """
        Lines end with LF but for the last, which has no end; options are in capitals.
        """
        handler = Smtpd()
        self.assertEqual(self.deliver(handler), "250 2.0.0 Message accepted")
        options = {"mail_options": ["BODY=8BITMIME"], "rcpt_options": []}
        said = (PEER, "ann@example.com", ["bob@example.org"], b"A: b\n\nc", options)
        self.assertEqual(handler.calls, [said])

    def test_decoded(self) -> None:
        handler = Smtpd()
        self.deliver(handler, decode_data=True)
        self.assertEqual(handler.calls[0][3], "A: b\n\nc")

    def test_empty(self) -> None:
        handler = Smtpd()
        self.deliver(handler, "")
        self.assertEqual(handler.calls[0][3], b"")

    def test_one_keyword(self) -> None:
        handler = OneOption()
        self.deliver(handler)
        self.assertEqual(handler.calls, [(b"A: b\n\nc", ["BODY=8BITMIME"])])

    def test_four_arguments(self) -> None:
        """
        aiosmtpd passes content as it is.
        """
        handler = Plain()
        self.deliver(handler)
        said = (PEER, "ann@example.com", ["bob@example.org"], b"A: b\r\n\r\nc\r\n")
        self.assertEqual(handler.calls, [said])

    def test_answers(self) -> None:
        for answer, said in [
            ("", "250 2.0.0 Message accepted"),
            ("250 Queued", "250 2.0.0 Queued"),
            ("550 5.7.1 No", "550 5.7.1 No"),
            (b"450 later", "450 4.0.0 later"),
        ]:
            self.assertEqual(self.deliver(Smtpd(answer)), said)

    def test_coroutine(self) -> None:
        waiting: Deferred[str] = Deferred()
        talk = Talk(adapters.process_message(Later(waiting)))
        talk.greet()
        talk.say(*MAIL)
        self.assertEqual(talk.say("."), [])
        waiting.callback("250 Queued")
        self.assertEqual(talk.heard(), ["250 2.0.0 Queued"])

    def test_error(self) -> None:
        self.assertEqual(self.deliver(Smtpd(17)), "451 4.3.0 Local error, try again later")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)
