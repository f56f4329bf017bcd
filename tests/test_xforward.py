"""
Tests for :mod:`txsmtpd.extensions.xforward`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.logger import formatEvent

from txsmtpd import LMTP
from txsmtpd.core.session import Session
from txsmtpd.testing import Client, RecordingHandler

from . import corekit
from .test_flow import MESSAGE, codes
from .test_xclient import VIA, XClientTestCase

WHOLE = (
    "NAME=client.example ADDR=203.0.113.9 PORT=40000 PROTO=ESMTP HELO=client.example IDENT=4A"
    " SOURCE=REMOTE"
)
MAIL = ("MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>")


class XForwardTests(XClientTestCase):
    def forwarded(self, *lines: str) -> Mapping[str, str]:
        """
        What is known of the next message after these commands.
        """
        client = self.connect()
        self.say(client, "EHLO relay.example", *lines)
        found: Mapping[str, str] = client.protocol.envelope.forwarded
        return found

    def test_keyword(self) -> None:
        for trusted, offered in ((["192.0.2.0/24"], True), (["192.0.3.0/24"], False), ((), False)):
            client = corekit.Client(trusted_proxies=trusted, session=Session(via=VIA))
            (reply,) = client.send(b"EHLO relay.example\r\n")
            line = "XFORWARD NAME ADDR PROTO HELO SOURCE PORT IDENT"
            self.assertEqual(line in reply.lines, offered)
            said = "250 2.0.0" if offered else "550 5.7.0"
            self.assertEqual([said], client.say("XFORWARD ADDR=203.0.113.9"))

    def test_values(self) -> None:
        self.assertEqual(
            self.forwarded(f"XFORWARD {WHOLE}"),
            {
                "NAME": "client.example",
                "ADDR": "203.0.113.9",
                "PORT": "40000",
                "PROTO": "ESMTP",
                "HELO": "client.example",
                "IDENT": "4A",
                "SOURCE": "REMOTE",
            },
        )
        said = "XFORWARD ADDR=IPV6:2001:DB8::9 HELO=+5Bx+5D+3C IDENT=a+20b SOURCE=local"
        self.assertEqual(
            self.forwarded(said),
            {"ADDR": "2001:db8::9", "HELO": "[x]?", "IDENT": "a?b", "SOURCE": "LOCAL"},
        )

    def test_unavailable(self) -> None:
        """
        It is as if it had not been said, or had never been said.
        """
        self.assertEqual(
            self.forwarded("XFORWARD NAME=[UNAVAILABLE] SOURCE=LOCAL"), {"SOURCE": "LOCAL"}
        )
        self.assertEqual(self.forwarded("XFORWARD IDENT=4A", "XFORWARD IDENT=[unavailable]"), {})

    def test_adds_up(self) -> None:
        self.assertEqual(
            self.forwarded("XFORWARD NAME=a.example IDENT=1", "XFORWARD IDENT=2 PORT=3"),
            {"NAME": "a.example", "IDENT": "2", "PORT": "3"},
        )

    def test_refused_changes_nothing(self) -> None:
        self.assertEqual(
            self.forwarded("XFORWARD IDENT=1", "XFORWARD NAME=x ADDR=y"), {"IDENT": "1"}
        )

    def test_protocol(self) -> None:
        """
        It has 64 octets at most (XFORWARD_README).
        """
        self.assertEqual(self.forwarded(f"XFORWARD PROTO={'x' * 64}"), {"PROTO": "x" * 64})
        self.assertEqual(self.forwarded(f"XFORWARD PROTO={'x' * 65}"), {})

    def test_until_the_end(self) -> None:
        """
        It is gone when the transaction that follows has ended, however that was.
        """
        for end in (
            (*MAIL, "DATA", "x", "."),
            (*MAIL, "BDAT 0 LAST"),
            (*MAIL, "RSET"),
            ("RSET",),
            ("EHLO relay.example",),
            ("HELO relay.example",),
            ("XCLIENT ADDR=203.0.113.9",),
        ):
            self.assertEqual(self.forwarded(f"XFORWARD {WHOLE}", *end), {}, end)

    def test_until_then(self) -> None:
        """
        Nothing else ends it, not even a MAIL that is refused.
        """
        for line in ("NOOP", "VRFY x", "FOO", "MAIL FROM:<", "MAIL FROM:<a@b> FOO", *MAIL[:1]):
            self.assertEqual(self.forwarded("XFORWARD IDENT=1", line), {"IDENT": "1"}, line)
        handler = RecordingHandler({"MAIL": ["450 4.7.1 Not now"]})
        client = self.connect(handler)
        self.say(client, "EHLO relay.example", "XFORWARD IDENT=1", *MAIL, *MAIL, "BDAT 0 LAST")
        (message,) = handler.messages
        self.assertEqual(message.envelope.forwarded, {"IDENT": "1"})

    def test_hooks(self) -> None:
        """
        They find it in the envelope, which they may keep.  The client is who it is.
        """
        handler = RecordingHandler()
        client = self.connect(handler)
        self.say(client, "EHLO relay.example", "XFORWARD ADDR=203.0.113.9", *MAIL, "BDAT 0 LAST")
        self.say(client, *MAIL, "BDAT 0 LAST")
        first, second = (message.envelope for message in handler.messages)
        self.assertEqual((first.forwarded, second.forwarded), ({"ADDR": "203.0.113.9"}, {}))
        self.assertEqual(client.protocol.session.peer, VIA)
        self.assertEqual(client.protocol.session.host_name, "relay.example")

    def test_log(self) -> None:
        client = self.connect()
        self.say(client, "EHLO relay.example", "XFORWARD ADDR=203.0.113.9 IDENT=4A")
        client.send(MESSAGE.partition(b"\r\n")[2] + MESSAGE.partition(b"\r\n")[2])
        first, second = (event for event in self.logged if event.get("event") == "transaction")
        self.assertEqual(first["forwarded"], {"ADDR": "203.0.113.9", "IDENT": "4A"})
        self.assertTrue(
            formatEvent(first).endswith(", forwarded: {'ADDR': '203.0.113.9', 'IDENT': '4A'}")
        )
        self.assertNotIn("forwarded", second)
        self.assertNotIn("forwarded", formatEvent(second))

    def test_lmtp(self) -> None:
        """
        Postfix sends it by LMTP too.
        """
        handler: Any = RecordingHandler()
        client = Client(self.factory(handler).beside(LMTP))
        client.take()
        self.say(client, "LHLO relay.example", "XFORWARD IDENT=4A", *MAIL, "DATA", "x", ".")
        self.assertEqual(handler.messages[0].envelope.forwarded, {"IDENT": "4A"})
        self.assertEqual(codes(client), [])
