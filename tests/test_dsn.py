"""
Tests for :mod:`txsmtpd.extensions.dsn`.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.session import Session
from txsmtpd.core.settings import Settings
from txsmtpd.extensions.dsn import DSN, DeliveryStatus, Notify, OriginalRecipient

from .corekit import EXTENSIONS, Client

# It may be one of them already.
WITH_DSN = tuple(dict.fromkeys((*EXTENSIONS, DeliveryStatus)))


def greeted() -> Client:
    client = Client(extensions=WITH_DSN)
    client.say("EHLO client.example")
    return client


class KeywordTests(SynchronousTestCase):
    """
    RFC 3461 section 3.
    """

    def test_keyword(self) -> None:
        self.assertEqual("DSN", DeliveryStatus(Settings()).keyword(Session()))

    def test_after_helo(self) -> None:
        client = Client(extensions=WITH_DSN)
        client.say("HELO client.example")
        self.assertEqual(["555 5.5.4"], client.say("MAIL FROM:<a@b> RET=FULL"))


class MailTests(SynchronousTestCase):
    """
    RET and ENVID (RFC 3461 sections 4.3 and 4.4).
    """

    def mail(self, parameters: str) -> tuple[str, DSN | None]:
        """
        What MAIL says, and what is in the envelope.
        """
        client = greeted()
        (said,) = client.say(f"MAIL FROM:<a@b> {parameters}")
        return said, client.envelope.dsn

    def test_nothing(self) -> None:
        self.assertEqual(("250 2.1.0", None), self.mail(""))
        self.assertEqual(("250 2.1.0", None), self.mail("SIZE=10"))

    def test_ret(self) -> None:
        for value in ("FULL", "full", "Full"):
            self.assertEqual(("250 2.1.0", DSN(ret="FULL")), self.mail(f"RET={value}"))
        self.assertEqual(("250 2.1.0", DSN(ret="HDRS")), self.mail("ret=hdrs"))

    def test_envid(self) -> None:
        for value, envid in [
            ("QQ314159", "QQ314159"),
            ("Case", "Case"),
            ("a+2Bb+3D+20c", "a+b= c"),
            ("x" * 100, "x" * 100),
        ]:
            self.assertEqual(("250 2.1.0", DSN(envid=envid)), self.mail(f"ENVID={value}"))

    def test_both(self) -> None:
        self.assertEqual(("250 2.1.0", DSN("HDRS", "x")), self.mail("ENVID=x RET=HDRS"))

    def test_malformed(self) -> None:
        for parameters in (
            "RET", "RET=", "RET=BODY", "RET=FULL,HDRS", "RET=HDR\u017f", "RET=FULL RET=FULL",
            "ENVID", "ENVID=", "ENVID=a=b", "ENVID=+", "ENVID=+2", "ENVID=+2b", "ENVID=x+GG",
            "ENVID=" + "x" * 101, "ENVID=a ENVID=a",
        ):  # fmt: skip
            self.assertEqual(("501 5.5.4", None), self.mail(parameters), parameters)
            with_utf8 = f"SMTPUTF8 {parameters}"
            self.assertEqual(("501 5.5.4", None), self.mail(with_utf8), with_utf8)

    def test_hidden(self) -> None:
        """
        No control character comes out of ENVID, nor anything but ASCII.
        """
        for hidden in ("+0D+0A", "+00", "+09", "+7F", "+C2+85", "+C3+A9", "+FF"):
            self.assertEqual(("501 5.5.4", None), self.mail(f"ENVID=a{hidden}b"), hidden)

    def test_not_for_rcpt(self) -> None:
        client = greeted()
        client.say("MAIL FROM:<a@b>")
        for parameter in ("RET=FULL", "ENVID=x"):
            self.assertEqual(["555 5.5.4"], client.say(f"RCPT TO:<c@d> {parameter}"))


class RcptTests(SynchronousTestCase):
    """
    NOTIFY and ORCPT (RFC 3461 sections 4.1 and 4.2).
    """

    def rcpt(self, parameters: str, utf8: bool = False) -> tuple[str, Any, Any]:
        """
        What RCPT says, and what its recipient has for NOTIFY and ORCPT.
        """
        client = greeted()
        client.say(f"MAIL FROM:<a@b>{' SMTPUTF8' * utf8}")
        (said,) = client.say(f"RCPT TO:<c@d> {parameters}")
        for recipient in client.envelope.recipients:
            return said, recipient.options.get("NOTIFY"), recipient.options.get("ORCPT")
        return said, None, None

    def notify(self, value: str) -> Any:
        said, notify, _ = self.rcpt(f"NOTIFY={value}")
        self.assertEqual("250 2.1.5", said)
        return notify

    def orcpt(self, value: str, utf8: bool = False) -> Any:
        said, _, orcpt = self.rcpt(f"ORCPT={value}", utf8)
        self.assertEqual("250 2.1.5", said)
        return orcpt

    def assertMalformed(self, parameters: str, utf8: bool = False) -> None:
        self.assertEqual(("501 5.5.4", None, None), self.rcpt(parameters, utf8), parameters)

    def test_nothing(self) -> None:
        self.assertEqual(("250 2.1.5", None, None), self.rcpt(""))

    def test_words_as_sent(self) -> None:
        """
        Who relays the message finds each word as it was (RFC 3461 section 5.2.1).
        """
        client = greeted()
        client.say("MAIL FROM:<a@b>", "RCPT TO:<c@d> notify=Never ORCPT=RFC822;C+2Bc@D")
        self.assertEqual(
            ["notify=Never", "ORCPT=RFC822;C+2Bc@D"], client.envelope.recipients[0].options
        )

    def test_notify(self) -> None:
        for value, notify in [
            ("NEVER", Notify()),
            ("never", Notify()),
            ("SUCCESS", Notify(success=True)),
            ("failure", Notify(failure=True)),
            ("Delay,Failure", Notify(failure=True, delay=True)),
            ("DELAY,SUCCESS,FAILURE", Notify(True, True, True)),
            # RFC 822 section 2.7: what is between commas may be missing.
            ("SUCCESS,,FAILURE,", Notify(success=True, failure=True)),
        ]:
            self.assertEqual(notify, self.notify(value), value)

    def test_notify_spelled(self) -> None:
        for notify, text in [
            (Notify(), "NEVER"),
            (Notify(success=True), "SUCCESS"),
            (Notify(failure=True, delay=True), "FAILURE,DELAY"),
            (Notify(True, True, True), "SUCCESS,FAILURE,DELAY"),
        ]:
            self.assertEqual(text, str(notify))
            self.assertEqual(notify, self.notify(text))
            self.assertEqual(text == "NEVER", notify.never)

    def test_notify_malformed(self) -> None:
        for value in (
            "NOTIFY", "NOTIFY=", "NOTIFY=,", "NOTIFY=ALWAYS", "NOTIFY=SUCCES",
            "NOTIFY=SUCCESS;DELAY", "NOTIFY=NEVER,SUCCESS", "NOTIFY=DELAY,NEVER",
            "NOTIFY=NEVER,NEVER",
            "NOTIFY=SUCCESS,SUCCESS", "NOTIFY=DELAY,FAILURE,delay", "NOTIFY=FA\u0131LURE",
            "NOTIFY=NEVER NOTIFY=NEVER",
        ):  # fmt: skip
            for utf8 in (False, True):
                self.assertMalformed(value, utf8)

    def test_orcpt(self) -> None:
        for value, addr_type, address in [
            ("rfc822;Bob@Example.Net", "rfc822", "Bob@Example.Net"),
            ("RFC822;bob+2Btag@example.net", "rfc822", "bob+tag@example.net"),
            ("rfc822;not+20an+20address", "rfc822", "not an address"),
            ("rfc822;a;b@c", "rfc822", "a;b@c"),
            ("rfc822;", "rfc822", ""),
            ("x400;/C+3Dde/S+3Dmeier/", "x400", "/C=de/S=meier/"),
            ("UTF-8;j\\x{F6}rg@example.net", "utf-8", "jörg@example.net"),
            ("utf-8;plain@example.net", "utf-8", "plain@example.net"),
        ]:
            self.assertEqual(OriginalRecipient(addr_type, address), self.orcpt(value), value)

    def test_orcpt_utf8(self) -> None:
        """
        With SMTPUTF8 the address may be spelled in UTF-8 (RFC 6533 section 3).
        """
        value = "utf-8;jörg@例.example"
        self.assertEqual(OriginalRecipient("utf-8", "jörg@例.example"), self.orcpt(value, True))
        self.assertMalformed(f"ORCPT={value}")

    def test_orcpt_length(self) -> None:
        longest = "rfc822;" + "x" * 493
        self.assertEqual(OriginalRecipient("rfc822", "x" * 493), self.orcpt(longest))
        self.assertMalformed(f"ORCPT={longest}x")

    def test_orcpt_malformed(self) -> None:
        for value in (
            "ORCPT", "ORCPT=", "ORCPT=bob@example.net", "ORCPT=;bob@example.net", "ORCPT=<x>;a",
            "ORCPT=a.b;c", "ORCPT=a\"b;c", "ORCPT=rfc822;a=b", "ORCPT=rfc822;+", "ORCPT=rfc822;+2",
            "ORCPT=rfc822;+2b", "ORCPT=utf-8;", "ORCPT=utf-8;a+2Bb", "ORCPT=utf-8;\\",
            "ORCPT=utf-8;\\x{}", "ORCPT=rfc822;a@b ORCPT=rfc822;a@b",
        ):  # fmt: skip
            for utf8 in (False, True):
                self.assertMalformed(value, utf8)
        for value in ("ORCPT=rfc822;é", "ORCPT=é;a"):
            self.assertMalformed(value, utf8=True)

    def test_orcpt_hidden(self) -> None:
        """
        No control character comes out of ORCPT, whose address would stand in a header.
        """
        for hidden in ("+0D+0A", "+00", "+09", "+7F", "+C2+85", "+E2+80+A8", "+C3+A9"):
            self.assertMalformed(f"ORCPT=rfc822;a{hidden}b")
        for point in ("09", "0A", "0D", "7F", "85", "2028", "D800", "FFFD"):
            self.assertMalformed(f"ORCPT=utf-8;a\\x{{{point}}}b")

    def test_not_for_mail(self) -> None:
        for parameter in ("NOTIFY=NEVER", "ORCPT=rfc822;a@b"):
            self.assertEqual(["555 5.5.4"], greeted().say(f"MAIL FROM:<a@b> {parameter}"))
