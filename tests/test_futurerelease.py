"""
Tests for :mod:`txsmtpd.extensions.futurerelease`.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from functools import partial
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.session import Session
from txsmtpd.core.settings import Settings
from txsmtpd.extensions.deliverby import DeliverBy
from txsmtpd.extensions.futurerelease import FutureRelease, Hold

from .corekit import EXTENSIONS, Client, Handler

NOW = datetime(2030, 1, 31, 12, 0, tzinfo=timezone.utc)


class FutureReleaseTests(SynchronousTestCase):
    """
    RFC 4865.
    """

    def mail(self, parameters: str, max_interval: int = 86400) -> tuple[str, Hold | None]:
        """
        What MAIL says, and what the envelope has, which is what the hook finds.
        """
        found: list[Any] = []

        def handle_MAIL(*arguments: Any) -> None:
            options = arguments[-1]
            found.append(options.get("HOLDFOR") or options.get("HOLDUNTIL"))

        clock = Clock()
        clock.advance(NOW.timestamp())
        client = Client(
            Handler(handle_MAIL=handle_MAIL),
            extensions=(*EXTENSIONS, partial(FutureRelease, max_interval=max_interval), DeliverBy),
            session=Session(reactor=clock),
        )
        client.say("EHLO client.example")
        (said,) = client.say(f"MAIL FROM:<a@b> {parameters}")
        hold: Hold | None = client.envelope.hold
        if found:
            self.assertEqual(found, [hold])
        return said, hold

    def until(self, value: str) -> datetime:
        said, hold = self.mail(f"HOLDUNTIL={value}")
        assert hold is not None, said
        self.assertEqual(f"until;{value}", hold.request)
        self.assertEqual(timedelta(0), hold.until.utcoffset())
        return hold.until

    def assertMalformed(self, parameters: str) -> None:
        self.assertEqual(("501 5.5.4", None), self.mail(parameters), parameters)

    def test_keyword(self) -> None:
        extension = FutureRelease(Settings(), max_interval=3600, now=lambda session: NOW)
        self.assertEqual("FUTURERELEASE 3600 2030-01-31T13:00:00Z", extension.keyword(Session()))

    def test_clock(self) -> None:
        """
        What time it is, the reactor of the session knows.
        """
        extension = FutureRelease(Settings())
        clock = Clock()
        clock.advance(NOW.timestamp() + 0.9)
        line = extension.keyword(Session(reactor=clock))
        self.assertEqual("FUTURERELEASE 2592000 2030-03-02T12:00:00Z", line)
        line = extension.keyword(Session())
        self.assertEqual("FUTURERELEASE 2592000 1970-01-31T00:00:00Z", line)

    def test_max_interval(self) -> None:
        for max_interval in (1, 10**9 - 1):
            extension = FutureRelease(Settings(), max_interval=max_interval)
            self.assertEqual(max_interval, extension.max_interval)
        for max_interval in (-1, 0, 10**9):
            self.assertRaises(ValueError, FutureRelease, Settings(), max_interval=max_interval)

    def test_nothing(self) -> None:
        self.assertEqual(("250 2.1.0", None), self.mail(""))

    def test_hold_for(self) -> None:
        for seconds in (1, 3600, 86400):
            hold = Hold(NOW + timedelta(seconds=seconds), f"for;{seconds}")
            self.assertEqual(("250 2.1.0", hold), self.mail(f"HOLDFOR={seconds}"))

    def test_hold_for_too_long(self) -> None:
        self.assertMalformed("HOLDFOR=86401")
        self.assertMalformed("HOLDFOR=999999999")

    def test_hold_for_malformed(self) -> None:
        for value in (
            "HOLDFOR", "HOLDFOR=", "HOLDFOR=0", "HOLDFOR=01", "HOLDFOR=-1", "HOLDFOR=+1",
            "HOLDFOR=1.0", "HOLDFOR=1_0", "HOLDFOR=1h", "HOLDFOR=1000000000", "HOLDFOR=\u0661",
            "HOLDFOR=1 HOLDFOR=1",
        ):  # fmt: skip
            self.assertMalformed(value)
            self.assertMalformed(f"SMTPUTF8 {value}")

    def test_hold_until(self) -> None:
        for value, until in [
            ("2030-01-31T12:00:01Z", NOW + timedelta(seconds=1)),
            ("2030-02-01T12:00:00Z", NOW + timedelta(days=1)),
            ("2030-01-31t15:30:00.25z", NOW + timedelta(hours=3.5)),
            ("2030-01-31T23:00:00+05:30", NOW + timedelta(hours=5.5)),
            ("2030-01-31T10:00:00-08:00", NOW + timedelta(hours=6)),
            ("2030-01-31T23:59:60Z", NOW + timedelta(hours=12)),
        ]:
            self.assertEqual(until, self.until(value), value)

    def test_hold_until_too_late(self) -> None:
        self.assertMalformed("HOLDUNTIL=2030-02-01T12:00:01Z")
        self.assertMalformed("HOLDUNTIL=9999-12-31T23:59:59Z")

    def test_hold_until_past(self) -> None:
        """
        A mistyped year does not send the message at once.
        """
        for value in ("2030-01-31T12:00:00Z", "2029-02-01T12:00:00Z", "0001-01-01T00:00:00Z"):
            self.assertMalformed(f"HOLDUNTIL={value}")

    def test_hold_until_malformed(self) -> None:
        for value in (
            "", "tomorrow", "1896177600", "2030-02-01", "2030-02-01T00:00Z", "2030-02-01T00:00:00",
            "2030-02-01_00:00:00Z", "20300201T000000Z", "2030-2-1T00:00:00Z",
            "2030-02-30T00:00:00Z", "2030-13-01T00:00:00Z", "2030-00-01T00:00:00Z",
            "2030-02-01T24:00:00Z", "2030-02-01T00:60:00Z", "2030-02-01T00:00:61Z",
            "2030-02-01T00:00:00.Z", "2030-02-01T00:00:00+0100", "2030-02-01T00:00:00+24:00",
            "2030-02-01T00:00:00+01:60", "2030-02-01T00:00:00ZZ",
            "\u0662030-02-01T00:00:00Z", "0000-01-01T00:00:00Z",
        ):  # fmt: skip
            self.assertMalformed(f"HOLDUNTIL={value}")
            self.assertMalformed(f"SMTPUTF8 HOLDUNTIL={value}")
        self.assertMalformed("HOLDUNTIL")

    def test_no_calendar(self) -> None:
        """
        Dates beyond those that Python knows are bad values and no more.
        """
        for value in (
            "9999-12-31T23:59:60Z", "9999-12-31T23:59:59-00:01", "0001-01-01T00:00:00+00:01",
        ):  # fmt: skip
            self.assertMalformed(f"HOLDUNTIL={value}")

    def test_one_time(self) -> None:
        """
        There is one time for a message to wait for.
        """
        holds = ("HOLDFOR=60", "HOLDUNTIL=2030-02-01T00:00:00Z")
        self.assertMalformed(" ".join(holds))
        self.assertMalformed(" ".join(holds[::-1]))

    def test_deliver_by(self) -> None:
        """
        It cannot be after the one to deliver the message by (section 5.2.2).
        """
        hour = NOW + timedelta(hours=1)
        for value in ("HOLDFOR=3600", "HOLDUNTIL=2030-01-31T13:00:00Z"):
            for by in ("3599;R", "3599;N", "0;N", "-1;N"):
                self.assertMalformed(f"{value} BY={by}")
                self.assertMalformed(f"BY={by} {value}")
            for by in ("3600;R", "7200;N"):
                for parameters in (f"{value} BY={by}", f"BY={by} {value}"):
                    said, hold = self.mail(parameters)
                    self.assertEqual(("250 2.1.0", hour), (said, hold and hold.until), parameters)
        self.assertEqual(("250 2.1.0", None), self.mail("BY=7200;R"))

    def test_lmtp(self) -> None:
        """
        It is for submission.
        """
        self.assertIsNone(FutureRelease(Settings()).keyword(Session(lmtp=True)))
