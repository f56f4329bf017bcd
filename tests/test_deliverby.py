"""
Tests for :mod:`txsmtpd.extensions.deliverby`.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.session import Session
from txsmtpd.core.settings import Settings
from txsmtpd.extensions.deliverby import DeliverBy, DeliverByValue

from .corekit import EXTENSIONS, Client, Handler

NOW = datetime(2030, 1, 31, 12, 0, tzinfo=timezone.utc)


def by(seconds: int, mode: str, trace: bool = False) -> DeliverByValue:
    return DeliverByValue(seconds, NOW + timedelta(seconds=seconds), mode, trace)


class DeliverByTests(SynchronousTestCase):
    """
    RFC 2852.
    """

    def mail(self, parameters: str, minimum: int = 0) -> tuple[str, Any]:
        """
        What MAIL says, and what the envelope has, which is what the hook finds.
        """
        found: list[Any] = []

        def handle_MAIL(*arguments: Any) -> None:
            found.append(arguments[-1].get("BY"))

        clock = Clock()
        clock.advance(NOW.timestamp())
        client = Client(
            Handler(handle_MAIL=handle_MAIL),
            extensions=(*EXTENSIONS, partial(DeliverBy, minimum=minimum)),
            session=Session(reactor=clock),
        )
        client.say("EHLO client.example")
        (said,) = client.say(f"MAIL FROM:<a@b> {parameters}")
        if found:
            self.assertEqual(found, [client.envelope.deliver_by])
        return said, client.envelope.deliver_by

    def test_keyword(self) -> None:
        self.assertEqual("DELIVERBY", DeliverBy(Settings()).keyword(Session()))
        self.assertEqual("DELIVERBY 300", DeliverBy(Settings(), minimum=300).keyword(Session()))

    def test_minimum(self) -> None:
        self.assertEqual(10**9 - 1, DeliverBy(Settings(), minimum=10**9 - 1).minimum)
        for minimum in (-1, 10**9):
            self.assertRaises(ValueError, DeliverBy, Settings(), minimum=minimum)

    def test_value(self) -> None:
        for value, expected in [
            ("120;R", by(120, "R")),
            ("120;n", by(120, "N")),
            ("+1;RT", by(1, "R", True)),
            ("0;N", by(0, "N")),
            ("-60;Nt", by(-60, "N", True)),
            ("000000120;R", by(120, "R")),
            ("-999999999;N", by(-999999999, "N")),
        ]:
            self.assertEqual(("250 2.1.0", expected), self.mail(f"BY={value}"), value)
        self.assertEqual(("250 2.1.0", None), self.mail(""))

    def test_malformed(self) -> None:
        for value in (
            "BY", "BY=", "BY=120", "BY=120;", "BY=;R", "BY=120;X", "BY=120;T", "BY=120;TR",
            "BY=120;RTT", "BY=120;NR", "BY=120,R", "BY=1.5;R", "BY=1e3;R", "BY=--1;N", "BY=+-1;N",
            "BY=1000000000;R", "BY=0000000120;R", "BY=\u0661;R", "BY=1_0;R", "BY=1;R BY=1;R",
        ):  # fmt: skip
            self.assertEqual(("501 5.5.4", None), self.mail(value), value)
            with_utf8 = f"SMTPUTF8 {value}"
            self.assertEqual(("501 5.5.4", None), self.mail(with_utf8), with_utf8)

    def test_returned_at_once(self) -> None:
        """
        With R the time may not be over yet.
        """
        for value in ("0;R", "-1;R", "+0;RT", "-999999999;R"):
            self.assertEqual(("501 5.5.4", None), self.mail(f"BY={value}"), value)

    def test_below_the_minimum(self) -> None:
        """
        Only where the message would be returned does it matter.
        """
        self.assertEqual(("555 5.5.4", None), self.mail("BY=299;R", minimum=300))
        for value, expected in [
            ("300;R", by(300, "R")), ("299;N", by(299, "N")), ("-1;N", by(-1, "N")),
        ]:  # fmt: skip
            self.assertEqual(("250 2.1.0", expected), self.mail(f"BY={value}", minimum=300))
