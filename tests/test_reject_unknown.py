"""
Tests for txsmtpd.handlers.reject_unknown.
"""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsmtpd.handlers import RejectUnknown, make_handler
from txsmtpd.handlers.reject_unknown import parse
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
        It is always accepted, without a domain and in every domain of ours (RFC 5321 section
        4.5.1).
        """
        ours = ("Postmaster", "postmaster@example.org", "POSTMASTER@xn--bcher-kva.example")
        self.assertEqual(["250 2.1.5"] * 3, self.verdicts(*ours))
        others = ("postmaster@example.com", "postmaster@[192.0.2.1]")
        self.assertEqual(["550 5.7.1"] * 2, self.verdicts(*others))
        self.assertEqual(["550 5.1.1"], self.verdicts("postmasters@example.org"))

    def test_utf8(self) -> None:
        for domain in ("b\u00fccher.example", "B\u00dcCHER.example", "xn--BCHER-kva.example"):
            address = f"anna@{domain}"
            self.assertEqual(["250 2.1.5"], self.verdicts(address, mail="MAIL FROM:<> SMTPUTF8"))

    def test_domains_of_one_spelling(self) -> None:
        """
        Also where the list has the A-labels; and a letter that older rules took for two is one.
        """
        found = parse(
            b"ann@xn--bcher-kva.example\n@xn--fa-hia.example\njoe@[IPv6:2001:DB8::1]\n"
            b"eve@\xe2\x98\x83.example\n"
        )
        for address in (
            "Ann@b\u00fccher.example",
            "x@fa\u00df.example",
            "joe@[ipv6:2001:db8:0:0::1]",
            "eve@\u2603.example",
        ):
            self.assertIsNone(found.refusal(address), address)
        for address in ("x@fass.example", "joe@[IPv6:2001:db8::2]"):
            self.assertEqual(str(found.refusal(address))[:9], "550 5.7.1", address)

    @given(st.sampled_from(("{}x", "[ipv6:{}]", "xn--{}\u00fc")), st.text(max_size=100))
    def test_any_domain(self, around: str, text: str) -> None:
        """
        Whatever it is, the answer is that we do not have it.
        """
        refusal = parse(b"ann@example.org").refusal(f"ann@{around.format(text)}")
        self.assertEqual(str(refusal)[:9], "550 5.7.1")

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
        # It would have been everybody's who has a detail and nothing else.
        error = self.assertRaises(ValueError, parse, b'""@example.org')
        self.assertEqual(str(error), "line 1 has no address and no @domain")
        self.path.write_bytes(b"\xff")
        error = self.assertRaises(ValueError, RejectUnknown, self.path, self.clock)
        self.assertTrue(str(error).endswith(" is not UTF-8"), str(error))

    def test_emptied(self) -> None:
        """
        Somebody is about to write it.
        """
        handler = self.handler()
        for text in ("", "\n# nobody\n"):
            self.path.write_text(text)
            self.clock.advance(1)
            client = Client(handler, Mailbox())
            client.say("EHLO client.example", "MAIL FROM:<>")
            self.assertEqual(["250 2.1.5"], client.say("RCPT TO:<joe@example.org>"))
            error = self.assertRaises(ValueError, RejectUnknown, self.path, self.clock)
            self.assertTrue(str(error).endswith(": has no address and no @domain"), str(error))

    def test_spec(self) -> None:
        self.handler()
        self.assertIsInstance(make_handler(f"reject-unknown:{self.path}"), RejectUnknown)
        for spec in ("reject-unknown", "reject-unknown:"):
            error = self.assertRaises(ValueError, make_handler, spec)
            self.assertEqual("reject-unknown wants a file: reject-unknown:FILE", str(error))
        error = self.assertRaises(ValueError, make_handler, "reject-unknown:/no/such")
        self.assertEqual("/no/such: No such file or directory", str(error))
