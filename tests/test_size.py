"""
Tests for :mod:`txsmtpd.extensions.size`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.session import Session
from txsmtpd.core.settings import Settings
from txsmtpd.extensions.size import Size

from .corekit import Client


class SizeTests(SynchronousTestCase):
    """
    RFC 1870.
    """

    def mail(self, parameters: str, limit: int = 100) -> tuple[str, int | None]:
        """
        What MAIL says, and the size in the envelope.
        """
        client = Client(data_size_limit=limit)
        client.say("EHLO client.example")
        (said,) = client.say(f"MAIL FROM:<a@b> {parameters}")
        return said, client.envelope.size

    def test_keyword(self) -> None:
        self.assertEqual("SIZE 100", Size(Settings(data_size_limit=100)).keyword(Session()))
        self.assertEqual("SIZE", Size(Settings(data_size_limit=0)).keyword(Session()))

    def test_declared(self) -> None:
        for value, size in [("0", 0), ("1", 1), ("100", 100), ("0" * 17 + "100", 100)]:
            self.assertEqual(("250 2.1.0", size), self.mail(f"SIZE={value}"))
            self.assertEqual(("250 2.1.0", size), self.mail(f"size={value}"))

    def test_not_declared(self) -> None:
        self.assertEqual(("250 2.1.0", None), self.mail(""))

    def test_over_the_limit(self) -> None:
        """
        It is refused before it is sent.
        """
        self.assertEqual(("552 5.3.4", None), self.mail("SIZE=101"))
        self.assertEqual(("552 5.3.4", None), self.mail("SIZE=" + "9" * 20))

    def test_no_limit(self) -> None:
        size = 10**20 - 1
        self.assertEqual(("250 2.1.0", size), self.mail(f"SIZE={size}", limit=0))

    def test_malformed(self) -> None:
        """
        Up to twenty digits, and those of ASCII.
        """
        for value in (
            "SIZE", "SIZE=", "SIZE=-1", "SIZE=+1", "SIZE=1k", "SIZE=1_0", "SIZE=0x10", "SIZE=1.0",
            "SIZE=\u00b2", "SIZE=\u0661", "SIZE=" + "0" * 21, "SIZE=1 SIZE=1",
        ):  # fmt: skip
            self.assertEqual(("501 5.5.4", None), self.mail(value), value)

    def test_refusal_opens_nothing(self) -> None:
        client = Client(data_size_limit=100)
        client.say("EHLO client.example", "MAIL FROM:<a@b> SIZE=101")
        self.assertEqual(("ready", None), (client.state, client.envelope.mail_from))
        self.assertEqual(["250 2.1.0"], client.say("MAIL FROM:<a@b> SIZE=100"))
