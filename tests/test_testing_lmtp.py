"""
Tests for what txsmtpd.testing has for LMTP.
"""

from __future__ import annotations

import smtplib
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txsmtpd import LMTP
from txsmtpd.core.replies import Rejected
from txsmtpd.factory import SMTPFactory
from txsmtpd.testing import Client, RecordingHandler, Transcript, connect, make_factory, serve

MESSAGE = (
    b"LHLO c.example\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRCPT TO:<e@f>\r\nRCPT TO:<c@d>\r\n"
    b"DATA\r\nHi\r\n.\r\n"
)
WHENS: Any = ("now", "coroutine", "later")
CONTENTS: Any = ("whole", "stream")


class HandlerTests(SynchronousTestCase):
    """
    A RecordingHandler that gives a verdict for each recipient.
    """

    def converse(self, handler: RecordingHandler) -> list[str]:
        client = connect(make_factory(handler, lmtp=True))
        client.send(MESSAGE)
        return client.take().decode().splitlines()[-3:]

    def delivered(self, verdict: Any, replies: list[str], *to: str) -> None:
        for when in WHENS:
            for content in CONTENTS:
                handler = RecordingHandler({"DATA": verdict}, when=when, content=content)
                said = self.converse(handler)
                self.assertEqual(replies, [reply[:3] for reply in said], (when, content, said))
                found = [message.rcpt_tos for message in handler.messages]
                self.assertEqual([to] if to else [], found)

    def test_one_for_all(self) -> None:
        self.delivered(None, ["250"] * 3, "c@d", "e@f", "c@d")
        self.delivered("550 5.7.1 No", ["550"] * 3)

    def test_in_order(self) -> None:
        self.delivered(("250 Yes", "550 No", None), ["250", "550", "250"], "c@d", "c@d")
        self.delivered([["550 No", "452 Full", None]], ["550", "452", "250"], "c@d")
        self.delivered(("550 No",) * 3, ["550"] * 3)
        self.delivered(("354 Odd", None, None), ["451", "250", "250"], "e@f", "c@d")
        self.flushLoggedErrors(ValueError)

    def test_mapping(self) -> None:
        self.delivered({"c@d": None, "e@f": "550 No"}, ["250", "550", "250"], "c@d", "c@d")
        self.delivered({"c@d": None}, ["250", "451", "250"], "c@d", "c@d")
        self.delivered({}, ["451"] * 3)
        self.flushLoggedErrors(LookupError)

    def test_by_recipient(self) -> None:
        def verdict(server: Any, session: Any, envelope: Any) -> Any:
            first, second, third = envelope.recipients
            return {first: "550 No", second: None, third: "250 Yes"}

        self.delivered(verdict, ["550", "250", "250"], "e@f", "c@d")

    def test_wrong_number(self) -> None:
        self.delivered((None, None), ["451"] * 3)
        self.flushLoggedErrors(ValueError)

    def test_failing(self) -> None:
        def boom(*context: Any) -> Any:
            raise RuntimeError("boom")

        self.delivered((None, boom, Rejected("550 No")), ["250", "451", "550"], "c@d")
        self.assertEqual(6, len(self.flushLoggedErrors(RuntimeError)))

    def test_callable(self) -> None:
        def verdict(server: Any, session: Any, envelope: Any) -> str:
            return f"250 {len(envelope.recipients)}"

        self.delivered((verdict, "550 No", lambda *context: "550 No"), ["250", "550", "550"], "c@d")

    def test_call_by_call(self) -> None:
        handler = RecordingHandler({"DATA": ["550 5.7.1 No", (None, "550 5.7.1 No", None)]})
        for replies in (["550"] * 3, ["250", "550", "250"], ["250"] * 3):
            self.assertEqual(replies, [reply[:3] for reply in self.converse(handler)])

    def test_later(self) -> None:
        """
        A verdict that the test gives when it likes is taken for a good one.
        """
        waiting: Deferred[Any] = Deferred()
        handler = RecordingHandler({"DATA": ("550 5.7.1 No", waiting, None)})
        self.assertEqual("550 5.7.1 No", self.converse(handler)[-1])
        self.assertEqual([("e@f", "c@d")], [message.rcpt_tos for message in handler.messages])
        waiting.callback(None)

    def test_mistake(self) -> None:
        """
        What could never be a verdict is nobody's.
        """
        self.delivered((42, None, None), ["451"] * 3)
        self.flushLoggedErrors(TypeError)


class TranscriptTests(SynchronousTestCase):
    GOOD = (
        "%lmtp\n"
        '%hook DATA ("raise", {verdict}, None)\n'
        "%logs RuntimeError\n"
        "S: 220 mx.example LMTP txsmtpd\n"
        "C: LHLO c.example\n"
        "S: *\n"
        "C: MAIL FROM:<a@b>\n"
        "S: 250 ...\n"
        "C: RCPT TO:<c@d>\n"
        "C: RCPT TO:<e@f>\n"
        "C: RCPT TO:<g@h>\n"
        "S: 250 ...\n"
        "S: 250 ...\n"
        "S: 250 ...\n"
        "C: DATA\n"
        "S: 354 ...\n"
        "C: .\n"
        "S: 451 ...\n"
        "S: 550 5.7.1 No\n"
        "S: 250 ...\n"
        "M: <a@b> -> <g@h>\n"
    )

    def test_lmtp(self) -> None:
        transcript = Transcript.parse(self.GOOD.replace("{verdict}", '"550 5.7.1 No"'))
        self.assertTrue(transcript.lmtp)
        for when in WHENS:
            for content in CONTENTS:
                for cut in ("whole", "octets", *range(1, 40, 5)):
                    transcript.replay(cut=cut, when=when, content=content)
        self.flushLoggedErrors(RuntimeError)
        self.assertFalse(Transcript.parse("S: 220 ...\n").lmtp)

    def test_wrong(self) -> None:
        transcript = Transcript.parse(self.GOOD.replace("{verdict}", "None"))
        error = self.assertRaises(AssertionError, transcript.replay)
        self.assertIn("wants  S: 550 5.7.1 No\nbut there is  S: 250", str(error))
        self.flushLoggedErrors(RuntimeError)

    def test_nested(self) -> None:
        """
        A mapping may be one of a list, and has exceptions too.
        """
        text = self.GOOD.replace(
            '("raise", {verdict}, None)',
            '[{"c@d": "raise", "e@f": "550 5.7.1 No", "g@h": None}]',
        )
        Transcript.parse(text).replay()
        self.flushLoggedErrors(RuntimeError)

    def test_own_factory(self) -> None:
        """
        A transcript of LMTP needs no factory of LMTP.
        """
        made: list[SMTPFactory] = []

        def make(handler: object, **settings: Any) -> SMTPFactory:
            made.append(make_factory(handler, **settings))
            return made[-1]

        transcript = Transcript.parse("%lmtp\nS: 220 mx.example LMTP txsmtpd\n")
        transcript.replay(make)
        self.assertIsNot(LMTP, made[0].protocol)


class FactoryTests(SynchronousTestCase):
    def test_make_factory(self) -> None:
        for lmtp in (True, False):
            client = Client(make_factory(RecordingHandler(), lmtp=lmtp))
            self.assertEqual(lmtp, client.received == b"220 mx.example LMTP txsmtpd\r\n")


class ServeTests(TestCase):
    """
    On a real port, for a client that others wrote.
    """

    async def test_serve(self) -> None:
        handler = RecordingHandler({"DATA": (None, "452 4.2.2 Full")})
        server = await serve(self, handler, lmtp=True)

        def send() -> list[Any]:
            with smtplib.LMTP(server.host, server.port) as client:
                client.ehlo_or_helo_if_needed()
                client.mail("a@b")
                client.rcpt("c@d")
                client.rcpt("e@f")
                client.putcmd("data")
                replies = [client.getreply()]
                client.send(b"Hi\r\n.\r\n")
                return [code for code, _ in (*replies, client.getreply(), client.getreply())]

        self.assertEqual([354, 250, 452], await deferToThread(send))
        (message,) = handler.messages
        self.assertEqual(("c@d",), message.rcpt_tos)
        self.assertIn("S: 452 4.2.2 Full", server.transcript)
