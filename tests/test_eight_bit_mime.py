"""
Tests for :mod:`txsmtpd.extensions.eight_bit_mime`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from .corekit import Client, Mailbox, opened


class EightBitMIMETests(SynchronousTestCase):
    """
    RFC 6152.
    """

    def mail(self, parameters: str, decode_data: bool = False) -> tuple[str, str | None]:
        """
        What MAIL says, and the body in the envelope.
        """
        client = Client(decode_data=decode_data)
        client.say("EHLO client.example")
        (said,) = client.say(f"MAIL FROM:<a@b> {parameters}")
        return said, client.envelope.body

    def test_keyword(self) -> None:
        (reply,) = Client().send(b"EHLO client.example\r\n")
        self.assertIn("8BITMIME", reply.lines)

    def test_body(self) -> None:
        for value in ("7BIT", "8BITMIME"):
            self.assertEqual(("250 2.1.0", value), self.mail(f"BODY={value}"))
            self.assertEqual(("250 2.1.0", value), self.mail(f"body={value.lower()}"))
        self.assertEqual(("250 2.1.0", None), self.mail(""))

    def test_malformed(self) -> None:
        for parameters in (
            "BODY",
            "BODY=",
            "BODY=8BIT",
            "BODY=7BIT BODY=7BIT",
            "BODY=8B\u0131TMIME",
        ):
            self.assertEqual(("501 5.5.4", None), self.mail(parameters), parameters)
            with_utf8 = f"{parameters} SMTPUTF8"
            self.assertEqual(("501 5.5.4", None), self.mail(with_utf8), with_utf8)

    def test_kept(self) -> None:
        mailbox = Mailbox()
        content = bytes(range(256)).replace(b"\r", b"").replace(b"\n", b"") + b"\r\n"
        opened(mailbox).send(b"DATA\r\n" + content + b".\r\n")
        self.assertEqual([content], mailbox.contents)

    def test_decoded(self) -> None:
        """
        Where content is decoded and may not be other than ASCII, it is not offered.
        """
        client = Client(decode_data=True, enable_SMTPUTF8=False)
        (reply,) = client.send(b"EHLO client.example\r\n")
        self.assertNotIn("8BITMIME", reply.lines)
        self.assertEqual(["555 5.5.4"], client.say("MAIL FROM:<a@b> BODY=8BITMIME"))
