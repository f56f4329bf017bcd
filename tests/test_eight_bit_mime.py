"""
Tests for :mod:`txsmtpd.extensions.eight_bit_mime`.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.session import Session
from txsmtpd.extensions.base import Extension
from txsmtpd.extensions.chunking import Chunking
from txsmtpd.extensions.eight_bit_mime import BinaryMIME, EightBitMIME

from .corekit import EXTENSIONS, Client, Mailbox, opened


def without(left_out: type[Extension]) -> tuple[Any, ...]:
    return tuple(extension for extension in EXTENSIONS if extension is not left_out)


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


class BinaryMIMETests(SynchronousTestCase):
    """
    RFC 3030 section 3.
    """

    def greeted(self, *handlers: object, **settings: Any) -> tuple[Client, bool]:
        """
        A client, and whether it was offered BINARYMIME.
        """
        client = Client(*handlers, **settings)
        (reply,) = client.send(b"EHLO client.example\r\n")
        return client, "BINARYMIME" in reply.lines

    def test_offered(self) -> None:
        client, offered = self.greeted()
        self.assertTrue(offered)
        for value in ("BINARYMIME", "BinaryMime"):
            self.assertEqual(["250 2.1.0"], client.say(f"MAIL FROM:<a@b> BODY={value}"))
            self.assertEqual("BINARYMIME", client.envelope.body)
            client.say("RSET")

    def test_in_any_order(self) -> None:
        client, offered = self.greeted(extensions=EXTENSIONS[::-1])
        self.assertTrue(offered)
        self.assertEqual(["250 2.1.0"], client.say("MAIL FROM:<a@b> BODY=BINARYMIME"))

    def test_malformed(self) -> None:
        client, _ = self.greeted()
        for value in ("BINARY", "BINARYM\u0131ME SMTPUTF8"):
            self.assertEqual(["501 5.5.4"], client.say(f"MAIL FROM:<a@b> BODY={value}"))

    def test_not_offered(self) -> None:
        """
        What is not offered is a bad value of BODY: the extension is missing or that for BDAT, or a
        limit on the length of lines would refuse what has none.
        """
        for settings in (
            {"extensions": without(BinaryMIME)},
            {"extensions": without(Chunking)},
            {"line_length_limit": 1000},
        ):
            client, offered = self.greeted(**settings)
            self.assertFalse(offered)
            self.assertEqual(["501 5.5.4"], client.say("MAIL FROM:<a@b> BODY=BINARYMIME"))
            self.assertEqual(["250 2.1.0"], client.say("MAIL FROM:<a@b> BODY=8BITMIME"))

    def test_nobody_reads_body(self) -> None:
        client, offered = self.greeted(extensions=without(EightBitMIME))
        self.assertFalse(offered)
        self.assertEqual(["555 5.5.4"], client.say("MAIL FROM:<a@b> BODY=BINARYMIME"))

    def test_one_session(self) -> None:
        """
        It goes by what is offered in this session, and asking leaves nothing behind in it.
        """

        class SecretChunking(Chunking):
            def keyword(self, session: Session) -> Any:
                return super().keyword(session) if session.ssl else None

        client, offered = self.greeted(extensions=(*without(Chunking), SecretChunking))
        self.assertFalse(offered)
        self.assertEqual(["501 5.5.4"], client.say("MAIL FROM:<a@b> BODY=BINARYMIME"))
        client.session.ssl = {"version": "TLSv1.3"}
        self.assertEqual(["250 2.1.0"], client.say("MAIL FROM:<a@b> BODY=BINARYMIME"))
        self.assertEqual({}, client.session.notes)

    def test_decoded(self) -> None:
        client, offered = self.greeted(decode_data=True, enable_SMTPUTF8=False)
        self.assertFalse(offered)
        self.assertEqual(["555 5.5.4"], client.say("MAIL FROM:<a@b> BODY=BINARYMIME"))

    def test_data(self) -> None:
        """
        It cannot come by DATA; a message of another kind can.
        """
        client, _ = self.greeted()
        client.say("MAIL FROM:<a@b> BODY=BINARYMIME", "RCPT TO:<c@d>")
        self.assertEqual(["503 5.5.1"], client.say("DATA"))
        client.say("RSET", "MAIL FROM:<a@b> BODY=8BITMIME", "RCPT TO:<c@d>")
        self.assertEqual(["354"], client.say("DATA"))

    def test_kept(self) -> None:
        """
        Whatever becomes of bare newlines in DATA.
        """
        content = bytes(range(256)) + b"\n.\n\r.\r\r\n.\r\n"
        for bare_newline in ("reject", "normalize", "keep"):
            mailbox = Mailbox()
            client, _ = self.greeted(mailbox, bare_newline=bare_newline)
            client.say("MAIL FROM:<a@b> BODY=BINARYMIME", "RCPT TO:<c@d>")
            client.send(b"BDAT %d LAST\r\n%b" % (len(content), content))
            self.assertEqual([content], mailbox.contents)
