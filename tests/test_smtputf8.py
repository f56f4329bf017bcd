"""
Tests for :mod:`txsmtpd.extensions.smtputf8`: the addresses themselves are with the verbs.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.extensions.eight_bit_mime import EightBitMIME

from .corekit import EXTENSIONS, Client


class SMTPUTF8Tests(SynchronousTestCase):
    """
    RFC 6531.
    """

    def mail(self, parameters: str, enabled: bool = True) -> tuple[str, bool]:
        """
        What MAIL says, and whether the envelope has it.
        """
        client = Client(enable_SMTPUTF8=enabled)
        client.say("EHLO client.example")
        (said,) = client.say(f"MAIL FROM:<a@b> {parameters}")
        return said, client.envelope.smtp_utf8

    def test_keyword(self) -> None:
        for enabled in (True, False):
            (reply,) = Client(enable_SMTPUTF8=enabled).send(b"EHLO client.example\r\n")
            self.assertIs(enabled, "SMTPUTF8" in reply.lines)

    def test_with_8bitmime(self) -> None:
        """
        Who offers SMTPUTF8 offers 8BITMIME too (RFC 6531 section 3.1), whatever is set.
        """
        for decode_data in (False, True):
            for enabled in (False, True):
                client = Client(decode_data=decode_data, enable_SMTPUTF8=enabled)
                (reply,) = client.send(b"EHLO client.example\r\n")
                if "SMTPUTF8" in reply.lines:
                    self.assertIn("8BITMIME", reply.lines)

    def test_not_without_8bitmime(self) -> None:
        extensions = [each for each in EXTENSIONS if each is not EightBitMIME]
        client = Client(extensions=extensions)
        (reply,) = client.send(b"EHLO client.example\r\n")
        self.assertNotIn("SMTPUTF8", reply.lines)
        self.assertEqual(["555 5.5.4"], client.say("MAIL FROM:<a@b> SMTPUTF8"))
        self.assertEqual(["553 5.6.7"], client.say("MAIL FROM:<\u00e4@b>"))

    def test_asked_for(self) -> None:
        for parameters in ("SMTPUTF8", "smtputf8", "SIZE=1 SMTPUTF8 BODY=8BITMIME"):
            self.assertEqual(("250 2.1.0", True), self.mail(parameters))

    def test_not_asked_for(self) -> None:
        self.assertEqual(("250 2.1.0", False), self.mail(""))

    def test_malformed(self) -> None:
        for parameters in ("SMTPUTF8=1", "SMTPUTF8=", "SMTPUTF8 SMTPUTF8"):
            self.assertEqual(("501 5.5.4", False), self.mail(parameters))

    def test_not_offered(self) -> None:
        self.assertEqual(("555 5.5.4", False), self.mail("SMTPUTF8", enabled=False))

    def test_not_for_rcpt(self) -> None:
        client = Client()
        client.say("EHLO client.example", "MAIL FROM:<a@b> SMTPUTF8")
        self.assertEqual(["555 5.5.4"], client.say("RCPT TO:<a@b> SMTPUTF8"))
