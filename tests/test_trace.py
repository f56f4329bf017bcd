"""
Tests for txsmtpd.core.trace.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from email import message_from_bytes, policy
from email.utils import parsedate_to_datetime
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core import trace
from txsmtpd.core.session import Envelope, Session

WHEN = datetime(2024, 2, 29, 23, 59, 58, tzinfo=timezone(timedelta(hours=-3, minutes=-30)))


def received(session: Session | None = None, **envelope: Any) -> bytes:
    session = session or Session(peer=("192.0.2.1", 1025), host_name="client.example")
    return trace.received(
        session, Envelope(**{"id": "abc1", "protocol": "ESMTP", **envelope}), "mx.example", WHEN
    )


class ProtocolNameTests(SynchronousTestCase):
    """
    The names of RFC 3848 and RFC 6531 section 4.3.
    """

    def test_names(self) -> None:
        def name(utf8: bool = False, **facts: Any) -> str:
            session = Session(**{"extended_smtp": True, **facts})
            return trace.protocol_name(session, utf8)

        self.assertEqual("ESMTP", name())
        self.assertEqual("ESMTPS", name(ssl={}))
        self.assertEqual("ESMTPA", name(authenticated=True))
        self.assertEqual("ESMTPSA", name(ssl={}, authenticated=True))
        self.assertEqual("ESMTP", name(authenticated=False))
        self.assertEqual("UTF8SMTP", name(utf8=True))
        self.assertEqual("UTF8SMTPSA", name(utf8=True, ssl={}, authenticated=True))
        self.assertEqual("LMTP", name(lmtp=True))
        self.assertEqual("LMTPS", name(lmtp=True, ssl={}))
        self.assertEqual("UTF8LMTPA", name(utf8=True, lmtp=True, authenticated=True))

    def test_helo(self) -> None:
        """
        After HELO no extension is on, so none is named.
        """
        self.assertEqual("SMTP", trace.protocol_name(Session(ssl={}), False))


class AddressLiteralTests(SynchronousTestCase):
    """
    RFC 5321 section 4.1.3.
    """

    def test_forms(self) -> None:
        for peer, literal in [
            (("192.0.2.1", 25), "[192.0.2.1]"),
            (("2001:db8::1", 25), "[IPv6:2001:db8::1]"),
            (("fe80::1%eth0", 25, 0, 2), "[IPv6:fe80::1]"),
            (("::ffff:192.0.2.1", 25), "[192.0.2.1]"),
        ]:
            self.assertEqual(literal, trace.address_literal(peer))

    def test_no_ip_address(self) -> None:
        for peer in (None, "/run/lmtp.sock", (), ("",), ("unknown", 0), (None, 0)):
            self.assertIsNone(trace.address_literal(peer))


class ReturnPathTests(SynchronousTestCase):
    """
    Return-Path (RFC 5321 section 4.4).
    """

    def test_sender(self) -> None:
        header = trace.return_path(Envelope(mail_from="a@example.org"))
        self.assertEqual(b"Return-Path: <a@example.org>\r\n", header)

    def test_null_sender(self) -> None:
        self.assertEqual(b"Return-Path: <>\r\n", trace.return_path(Envelope(mail_from="")))

    def test_utf8(self) -> None:
        header = trace.return_path(Envelope(mail_from="ж@пример"))
        self.assertEqual("Return-Path: <ж@пример>\r\n".encode(), header)


class DeliveredToTests(SynchronousTestCase):
    """
    Delivered-To.
    """

    def test_recipient(self) -> None:
        self.assertEqual(b"Delivered-To: b@example.com\r\n", trace.delivered_to("b@example.com"))


class ReceivedTests(SynchronousTestCase):
    """
    The time stamp line (RFC 5321 section 4.4).
    """

    def test_one_recipient(self) -> None:
        self.assertEqual(
            b"Received: from client.example ([192.0.2.1])\r\n"
            b"\tby mx.example with ESMTP id abc1\r\n"
            b"\tfor <b@example.com>;\r\n"
            b"\tThu, 29 Feb 2024 23:59:58 -0330\r\n",
            received(rcpt_tos=["b@example.com"]),
        )

    def test_blind_copies(self) -> None:
        """
        With more than one recipient nobody is named (RFC 5321 section 7.2).
        """
        self.assertNotIn(b"for", received(rcpt_tos=["b@example.com", "c@example.com"]))
        self.assertNotIn(b"for", received(rcpt_tos=[]))

    def test_priority(self) -> None:
        """
        If there is one (RFC 6710 section 7).
        """
        self.assertNotIn(b"PRIORITY", received(rcpt_tos=["b@example.com"]))
        for priority in (-9, 0, 9):
            header = received(rcpt_tos=["b@example.com"], priority=priority)
            wanted = b"\tfor <b@example.com>\r\n\tPRIORITY %d;\r\n\tThu, " % priority
            self.assertIn(wanted, header)

    def test_no_address(self) -> None:
        header = received(Session(peer="/run/lmtp.sock", host_name="client.example"))
        self.assertTrue(header.startswith(b"Received: from client.example\r\n\tby "))

    def test_client_name(self) -> None:
        """
        The client's name in the DNS stands before its address, if there is one, and cannot pose as
        anything else.
        """
        for name, source in (
            ("out.example", "out.example [192.0.2.1]"),
            ("a b)\r\n;\u2028", "a?b????? [192.0.2.1]"),
            ("", "[192.0.2.1]"),
            (None, "[192.0.2.1]"),
        ):
            session = Session(peer=("192.0.2.1", 25), host_name="c.example", client_name=name)
            wanted = f"Received: from c.example ({source})\r\n\tby ".encode()
            self.assertTrue(received(session).startswith(wanted), received(session))
        header = received(Session(peer=None, host_name="c.example", client_name="out.example"))
        self.assertTrue(header.startswith(b"Received: from c.example\r\n\tby "))

    def test_no_name(self) -> None:
        self.assertTrue(received(Session()).startswith(b"Received: from unknown\r\n"))

    def test_parses(self) -> None:
        message = message_from_bytes(
            received(rcpt_tos=["b@example.com"]) + b"\r\n", policy=policy.compat32
        )
        self.assertEqual(["Received"], message.keys())
        date = message["Received"].rpartition(";")[2]
        self.assertEqual(WHEN, parsedate_to_datetime(date))

    def test_odd_host_name(self) -> None:
        """
        A name that only a lenient server takes cannot pose as an address, a comment or the date.
        """
        header = received(Session(host_name='a;(b)<c@d>\r\n\x01x\\y"'))
        self.assertTrue(header.startswith(b"Received: from a??b??c?d????x?y?\r\n\tby "), header)


class InjectionTests(SynchronousTestCase):
    """
    Hooks may put anything into an envelope: a header stays one header, and octets come out.
    """

    EVIL = "a\r\nX-Evil: \x00\x7f\x85\u2028\u2029b\udc80@example.org"
    CLEAN = b"a  X-Evil:      b?@example.org"

    def test_return_path(self) -> None:
        header = trace.return_path(Envelope(mail_from=self.EVIL))
        self.assertEqual(b"Return-Path: <" + self.CLEAN + b">\r\n", header)

    def test_delivered_to(self) -> None:
        self.assertEqual(b"Delivered-To: " + self.CLEAN + b"\r\n", trace.delivered_to(self.EVIL))

    def test_priority(self) -> None:
        """
        Also where a hook's own idea of one stands.
        """
        self.assertIn(b"\r\n\tPRIORITY a  b;\r\n", received(priority="a\r\nb"))

    def test_received(self) -> None:
        self.assertIn(b"\r\n\tfor <" + self.CLEAN + b">;\r\n", received(rcpt_tos=[self.EVIL]))
