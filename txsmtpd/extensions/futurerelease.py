"""
FUTURERELEASE: messages to be sent later (RFC 4865).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta, timezone
from typing import Any

import attrs

from ..core.replies import Rejected, Reply
from ..core.session import Envelope, Parameters, Session
from ..core.settings import Settings
from .base import Extension, of_parameters, utc_now
from .deliverby import DeliverByValue

# Section 3
#   hold-param               = ("HOLDFOR" "=" future-release-interval) /
#                              ("HOLDUNTIL" "=" future-release-date-time)
#   future-release-interval  = %x31-39 *8DIGIT
#   future-release-date-time = date-time                       ; erratum 2040
_INTERVAL = re.compile("[1-9][0-9]{0,8}")
_MOST = 999_999_999

# RFC 3339 section 5.6
#   date-time      = full-date "T" full-time
#   full-date      = 4DIGIT "-" 2DIGIT "-" 2DIGIT
#   full-time      = partial-time time-offset
#   partial-time   = 2DIGIT ":" 2DIGIT ":" 2DIGIT ["." 1*DIGIT]
#   time-offset    = "Z" / time-numoffset
#   time-numoffset = ("+" / "-") 2DIGIT ":" 2DIGIT
#
# What is no date is found out by datetime; parts of a second do not matter for days of waiting.
_DATE = "([0-9]{4})-([0-9]{2})-([0-9]{2})"
_TIME = r"([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.[0-9]+)?"
_OFFSET = "(?:[Zz]|([-+])([01][0-9]|2[0-3]):([0-5][0-9]))"
_DATE_TIME = re.compile(f"{_DATE}[Tt]{_TIME}{_OFFSET}")

_DAY = 24 * 60 * 60
_ONE_TIME = Reply(501, "5.5.4", ("Only one of HOLDFOR and HOLDUNTIL",))
_TOO_LATE = Reply(501, "5.5.4", ("To be delivered before it is sent",))


@attrs.frozen
class Hold:
    """
    HOLDFOR or HOLDUNTIL of MAIL.
    """

    #: When to let the message go, in UTC.
    until: datetime
    #: What was asked for, as a delivery status notification repeats it: ``for;3600``, or
    #: ``until;`` and a time.
    request: str


class FutureRelease(Extension):
    """
    Takes HOLDFOR and HOLDUNTIL of MAIL: ``envelope.hold`` is a :class:`Hold`.

    Who offers this promises to keep messages until then.  The handler does that, which is why the
    extension is not offered unless it is asked for.  It is for submission only: offer it where
    users hand in their mail, not where other servers do (section 4.2).  Under LMTP it does not
    exist.

    A time in the past is refused, because a mistyped year would send the message at once; so is a
    time after that which the message is to be delivered by (DELIVERBY, section 5.2.2).

    :param max_interval: seconds that a message may be kept at most, a month unless it is said.
    :param now: what time it is, where it is not to be the reactor of the session who says so.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        max_interval: int = 30 * _DAY,
        now: Callable[[Session], datetime] = utc_now,
    ) -> None:
        super().__init__(settings)
        if not 1 <= max_interval <= _MOST:
            raise ValueError(f"max_interval wants 1 to {_MOST} seconds, not {max_interval!r}")
        self.max_interval = max_interval
        self._now = now

    def keyword(self, session: Session) -> str | None:
        if session.lmtp:
            return None
        last = self._now(session) + timedelta(seconds=self.max_interval)
        return f"FUTURERELEASE {self.max_interval} {last:%Y-%m-%dT%H:%M:%SZ}"

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"HOLDFOR": self._hold_for, "HOLDUNTIL": self._hold_until}

    def _hold_for(self, session: Session, value: str | None) -> Hold:
        if value is None or _INTERVAL.fullmatch(value) is None:
            raise ValueError("wants seconds")
        interval = timedelta(seconds=int(value))
        self._check(interval)
        return Hold(self._now(session) + interval, f"for;{value}")

    def _hold_until(self, session: Session, value: str | None) -> Hold:
        until = _date_time(value or "")
        self._check(until - self._now(session))
        return Hold(until, f"until;{value}")

    def _check(self, interval: timedelta) -> None:
        if not timedelta(0) < interval <= timedelta(seconds=self.max_interval):
            raise ValueError("wants a time that comes, but not too late")

    @of_parameters
    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        hold, other = options.values.get("HOLDFOR"), options.values.get("HOLDUNTIL")
        if hold is not None and other is not None:
            raise Rejected(_ONE_TIME)
        hold, by = hold or other, options.values.get("BY")
        if hold is not None and isinstance(by, DeliverByValue) and by.deadline < hold.until:
            raise Rejected(_TOO_LATE)
        envelope.hold = hold


def _date_time(text: str) -> datetime:
    """
    Read an Internet date and time (RFC 3339 section 5.6).

    :raise ValueError: it is none.
    """
    match = _DATE_TIME.fullmatch(text)
    if match is None:
        raise ValueError("wants a date and time")
    year, month, day, hour, minute, second = map(int, match.groups()[:6])
    # A leap second is the last of a minute, and the next one begins when it is over.
    leap = second == 60
    local = datetime(year, month, day, hour, minute, second - leap, tzinfo=timezone.utc)
    try:
        return local + timedelta(seconds=leap) - _offset(*match.groups()[6:])
    except OverflowError:
        raise ValueError("wants a date of this calendar") from None


def _offset(sign: str | None, hours: str, minutes: str) -> timedelta:
    if sign is None:
        return timedelta(0)
    east = timedelta(hours=int(hours), minutes=int(minutes))
    return east if sign == "+" else -east
