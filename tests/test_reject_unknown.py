"""
Tests for txsmtpd.handlers.reject_unknown.
"""

from __future__ import annotations

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsmtpd.handlers import RejectUnknown, make_handler
from txsmtpd.interfaces import IRCPTHook

from .corekit import Client, Mailbox

LIST = """\
# Who gets mail here.
joe@example.org
Ann.Lee@EXAMPLE.org
"quoted name"@example.org
  \t
@other.example
anna@b\u00fccher.example
"""


class RejectUnknownTests(SynchronousTestCase):
    """
    A list of recipients.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.clock = Clock()

    def handler(self, text: str = LIST) -> RejectUnknown:
        self.path.write_text(text, "utf-8", newline="\r\n")
        return RejectUnknown(self.path, self.clock)

    def verdicts(self, *addresses: str, mail: str = "MAIL FROM:<>") -> list[str]:
        client = Client(self.handler(), Mailbox())
        client.say("EHLO client.example", mail)
        return client.say(*(f"RCPT TO:<{address}>" for address in addresses))

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(IRCPTHook, self.handler()))

    def test_addresses(self) -> None:
        known = ("joe@example.org", "ann.lee@example.org", '"quoted name"@example.org')
        self.assertEqual(["250 2.1.5"] * 3, self.verdicts(*known))
        self.assertEqual(["550 5.1.1"] * 2, self.verdicts("jo@example.org", "joee@example.org"))

    def test_spelling(self) -> None:
        """
        Case, detail and quotes make no difference.
        """
        spelled = ("JOE@Example.ORG", "joe+list@example.org", '"joe"@example.org')
        self.assertEqual(["250 2.1.5"] * 3, self.verdicts(*spelled))
        self.assertEqual(["550 5.1.1"], self.verdicts("+joe@example.org"))

    def test_domains(self) -> None:
        """
        In some domains everybody gets mail; others are not ours.
        """
        self.assertEqual(["250 2.1.5"], self.verdicts("anybody@Other.example"))
        others = ("joe@example.com", "joe@sub.other.example", "joe@[192.0.2.1]")
        self.assertEqual(["550 5.7.1"] * 3, self.verdicts(*others))

    def test_postmaster(self) -> None:
        """
        Without a domain it is always accepted (RFC 5321 section 4.5.1).
        """
        self.assertEqual(
            ["250 2.1.5", "550 5.1.1"], self.verdicts("Postmaster", "postmaster@example.org")
        )

    def test_utf8(self) -> None:
        address = "anna@b\u00fccher.example"
        self.assertEqual(["250 2.1.5"], self.verdicts(address, mail="MAIL FROM:<> SMTPUTF8"))

    def test_change(self) -> None:
        handler = self.handler()
        self.path.write_text("new@example.org\n")
        client = Client(handler, Mailbox())
        client.say("EHLO client.example", "MAIL FROM:<>")
        self.assertEqual(["250 2.1.5"], client.say("RCPT TO:<joe@example.org>"))
        self.clock.advance(1)
        two = ("RCPT TO:<joe@example.org>", "RCPT TO:<new@example.org>")
        self.assertEqual(["550 5.1.1", "250 2.1.5"], client.say(*two))

    def test_broken(self) -> None:
        for line in ("joe", "joe@", "@", "@exa mple", "joe@example.org x", "<joe@example.org>"):
            error = self.assertRaises(ValueError, self.handler, f"a@b\n{line}\n")
            self.assertTrue(str(error).endswith(": line 2 has no address and no @domain"), line)
        self.path.write_bytes(b"\xff")
        error = self.assertRaises(ValueError, RejectUnknown, self.path, self.clock)
        self.assertTrue(str(error).endswith(" is not UTF-8"), str(error))

    def test_spec(self) -> None:
        self.handler()
        self.assertIsInstance(make_handler(f"reject-unknown:{self.path}"), RejectUnknown)
        for spec in ("reject-unknown", "reject-unknown:"):
            error = self.assertRaises(ValueError, make_handler, spec)
            self.assertEqual("reject-unknown wants a file: reject-unknown:FILE", str(error))
        error = self.assertRaises(ValueError, make_handler, "reject-unknown:/no/such")
        self.assertEqual("/no/such: No such file or directory", str(error))
