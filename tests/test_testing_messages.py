"""
Tests for what txsmtpd.testing knows of messages: comparing them and waiting for them.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txsmtpd.core.session import Envelope
from txsmtpd.handlers.sink import Sink
from txsmtpd.testing import Client, Message, RecordingHandler, assert_message, connect, make_factory

MAIL = b"EHLO client.example\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
DATA = b"DATA\r\nSubject: Hi\r\n\r\nHello\r\n.\r\n"


def message(content: bytes, *rcpt_tos: str) -> Message:
    return Message("a@b", rcpt_tos, content.replace(b"\n", b"\r\n"), Envelope())


class MessageTests(SynchronousTestCase):
    """
    What a message says of itself.
    """

    def test_addresses(self) -> None:
        self.assertEqual("<a@b> -> <c@d> <e@f>", message(b"", "c@d", "e@f").addresses)

    def test_parsed(self) -> None:
        parsed = message("Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\nTo: Zoë <zoe@é>\n\nx\n".encode())
        self.assertEqual("Grüße", parsed.parsed["subject"])
        self.assertEqual("Zoë <zoe@é>", parsed.parsed["to"])

    def test_text(self) -> None:
        for content, text in (
            (b"no header\n", "no header\n"),
            (b"\nHello\nyou\n", "Hello\nyou\n"),
            (b"Content-Type: text/html\n\n<p>\n", "<p>\n"),
            (b"Content-Type: image/png\n\nx\n", ""),
            (
                b"Content-Type: text/plain; charset=utf-8\n"
                b"Content-Transfer-Encoding: base64\n\nZsO8cg0KZHUNCg==\n",
                "für\ndu\n",
            ),
            (
                b"Content-Type: multipart/alternative; boundary=x\n\n"
                b"--x\nContent-Type: text/html\n\n<p>\n--x\n\nplain\n--x--\n",
                "plain",
            ),
        ):
            self.assertEqual(text, message(content).text, content)


class AssertMessageTests(SynchronousTestCase):
    """
    Comparing a message.
    """

    message = message(b"Subject: Hi\nX-Two: 1\nX-Two: 2\n\nHello\nyou\n", "e@f", "c@d")

    def assertDiffers(self, *lines: str, **expected: Any) -> None:
        error = self.assertRaises(AssertionError, assert_message, self.message, **expected)
        first, *rest = str(error).split("\n")
        self.assertEqual("this message is not as expected (-) but so (+):", first)
        self.assertEqual(list(lines), [line for line in rest if line[0] != "?"])

    def test_nothing(self) -> None:
        assert_message(self.message)

    def test_everything(self) -> None:
        for body in ("Hello\nyou", "Hello\nyou\n", re.compile("lo$", re.MULTILINE)):
            assert_message(
                self.message,
                sender="a@b",
                recipients=iter(["c@d", "e@f"]),
                body=body,
                subject="Hi",
                x_two="1\n2",
                reply_to=None,
                SUBJECT=re.compile("^H"),
            )

    def test_differs(self) -> None:
        self.assertDiffers("- sender: <>", "+ sender: <a@b>", sender="")
        self.assertDiffers(
            "- recipients: <c@d>", "+ recipients: <c@d> <e@f>", recipients=["c@d"], sender=None
        )
        self.assertDiffers(
            "- subject: Ho", "+ subject: Hi", "  x-two: 1", "      2", subject="Ho", x_two="1\n2"
        )
        self.assertDiffers("- subject: (none)", "+ subject: Hi", subject=None)
        self.assertDiffers("- reply-to: x", "+ reply-to: (none)", reply_to="x")
        self.assertDiffers("  body: Hello", "-     me", "+     you", body="Hello\nme")
        self.assertDiffers("  body: Hello", "      you", "-     ", body="Hello\nyou\n\n")

    def test_pattern_differs(self) -> None:
        self.assertDiffers(
            "- subject: something like ^i", "+ subject: Hi", subject=re.compile("^i")
        )
        self.assertDiffers("- x-no: something like x", "+ x-no: (none)", x_no=re.compile("x"))

    def test_dialog(self) -> None:
        """
        Where the dialog is known, it is shown: that of the connection which the message came over.
        """
        handler = RecordingHandler()
        factory = make_factory(handler)
        connect(factory)
        connect(factory).send(MAIL, DATA)
        (delivered,) = handler.messages
        error = self.assertRaises(AssertionError, assert_message, delivered, subject="Ho")
        self.assertIn("+ subject: Hi\n", str(error))
        self.assertIn("\n\nS: 220 mx.example ESMTP txsmtpd\nC: EHLO client.example\n", str(error))
        self.assertIn("S: 250 2.0.0", str(error).splitlines()[-1])


class WaitForTests(SynchronousTestCase):
    """
    Waiting for a message, on a clock.
    """

    def setUp(self) -> None:
        self.handler = RecordingHandler()
        self.client = connect(make_factory(self.handler))

    def wait_for(self, wanted: Any = 1, **options: Any) -> Deferred[Message]:
        return self.handler.wait_for(wanted, reactor=self.client.clock, **options)

    def assertClean(self, client: Client) -> None:
        """
        Only the server waits for something: its client.
        """
        self.assertEqual([300], [call.getTime() for call in client.clock.getDelayedCalls()])

    def test_there_already(self) -> None:
        self.client.send(MAIL, DATA)
        delivered = self.successResultOf(self.wait_for())
        self.assertIs(self.handler.messages[0], delivered)
        self.assertIs(delivered, self.successResultOf(self.wait_for(lambda message: True)))
        self.assertIs(delivered, self.successResultOf(self.handler.wait_for()))
        self.assertClean(self.client)

    def test_comes(self) -> None:
        for content in ("whole", "stream"):
            self.handler = RecordingHandler(content=content)
            self.client = connect(make_factory(self.handler))
            first, second = self.wait_for(), self.wait_for(2)
            self.client.send(MAIL)
            self.assertNoResult(first)
            self.client.send(DATA)
            self.assertIs(self.handler.messages[0], self.successResultOf(first))
            self.assertNoResult(second)
            self.client.send(MAIL, DATA)
            self.assertIs(self.handler.messages[1], self.successResultOf(second))
            self.assertClean(self.client)

    def test_predicate(self) -> None:
        waiting = self.wait_for(lambda message: b"Two" in message.content)
        self.client.send(MAIL, DATA)
        self.assertNoResult(waiting)
        self.client.send(MAIL, DATA.replace(b"Hi", b"Two"))
        self.assertIs(self.handler.messages[1], self.successResultOf(waiting))

    def test_client_has_its_reply(self) -> None:
        """
        Who waited can end the test: the client has been answered.
        """
        replies: list[bytes] = []
        self.wait_for().addCallback(lambda message: replies.append(self.client.take()))
        self.client.send(MAIL, DATA)
        self.assertEqual([b"250 2.0.0"], [reply.splitlines()[-1][:9] for reply in replies])

    def test_predicate_raises(self) -> None:
        """
        That is the business of the one who waits, and not of the server.
        """
        later = self.wait_for(lambda message: message.nonsense)
        self.client.send(MAIL, DATA)
        self.failureResultOf(later, AttributeError)
        self.failureResultOf(self.wait_for(lambda message: message.nonsense), AttributeError)
        self.assertIn(b"250 2.0.0", self.client.take()[-100:])
        self.assertClean(self.client)

    def test_too_late(self) -> None:
        waiting = self.wait_for(2, timeout=1.5)
        self.client.send(MAIL, DATA)
        self.client.wait(1.25)
        self.assertNoResult(waiting)
        self.client.wait(0.25)
        text = self.failureResultOf(waiting, AssertionError).getErrorMessage()
        self.assertTrue(
            text.startswith(
                "message 2 has not come within 1.5 seconds, only 1:\n\n"
                "M: <a@b> -> <c@d>\n| Subject: Hi\n| \n| Hello\n\n"
                "S: 220 mx.example ESMTP txsmtpd\nC: EHLO client.example\n"
            ),
            text,
        )
        self.client.send(MAIL, DATA)
        self.assertClean(self.client)

    def test_never(self) -> None:
        clock = Clock()
        waiting = RecordingHandler().wait_for(self.is_urgent, reactor=clock)
        clock.advance(5)
        self.assertEqual(
            "no message has come that fits WaitForTests.is_urgent within 5 seconds, only 0:\n\n"
            "nobody has connected",
            self.failureResultOf(waiting, AssertionError).getErrorMessage(),
        )

    def is_urgent(self, message: Message) -> bool:
        raise NotImplementedError

    def test_several_connections(self) -> None:
        """
        The account is of all of them.
        """
        waiting = self.wait_for()
        connect(make_factory(Sink(), self.handler)).send(b"NOOP\r\n")
        self.client.wait(5)
        text = self.failureResultOf(waiting, AssertionError).getErrorMessage()
        greeting = "S: 220 mx.example ESMTP txsmtpd\n"
        self.assertIn(f"{greeting}C: [wait 5]\n\n{greeting}C: NOOP\nS: 250 2.0.0 OK", text + "\n")

    def test_cancel(self) -> None:
        waiting = self.wait_for()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.client.send(MAIL, DATA)
        self.assertClean(self.client)

    def test_cancel_found(self) -> None:
        """
        The last moment is not too late.
        """
        waiting = self.wait_for()
        self.handler.messages.append(message(b""))
        self.handler._waits[0].look()
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.client.pump()
        self.assertClean(self.client)

    def test_reset(self) -> None:
        """
        A handler that has forgotten counts anew, and gives its verdicts anew.
        """
        self.handler = RecordingHandler({"NOOP": ["250 2.0.0 One"]})
        self.client = connect(make_factory(self.handler))
        for _ in range(2):
            self.client.take()
            self.client.send(b"NOOP\r\n")
            self.assertEqual(b"250 2.0.0 One\r\n", self.client.take())
            self.client.send(MAIL, DATA)
            self.assertEqual(1, len(self.handler.messages))
            self.handler.reset()
            self.assertEqual(
                ([], [], ""), (self.handler.calls, self.handler.messages, self.handler.account)
            )
        self.assertNoResult(waiting := self.wait_for())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)


class RealTimeTests(TestCase):
    """
    Without a clock it is the time of the reactor that runs.
    """

    async def test_never(self) -> None:
        with self.assertRaisesRegex(AssertionError, "message 1 has not come within 0.01 seconds"):
            await RecordingHandler().wait_for(timeout=0.01)
