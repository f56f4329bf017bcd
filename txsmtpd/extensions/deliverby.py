"""
DELIVERBY: delivery within a given time (RFC 2852).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

import attrs

from ..core.replies import Rejected, Reply
from ..core.session import Envelope, Parameters, Session
from ..core.settings import Settings
from .base import Extension, of_parameters, utc_now

# Section 4
#   by-value = by-time ";" by-mode [by-trace]
#   by-time  = ["-" / "+"] 1*9DIGIT
#   by-mode  = "N" / "R"
#   by-trace = "T"
_BY_VALUE = re.compile("([-+]?[0-9]{1,9});([NnRr])([Tt]?)")
_MOST = 999_999_999


@attrs.frozen
class DeliverByValue:
    """
    BY of MAIL.
    """

    #: Within how many seconds, counted from the MAIL command; with `mode` ``N`` they may have been
    #: over already.
    seconds: int
    #: When that is, in UTC.
    deadline: datetime
    #: What happens then: ``N`` notifies the sender and goes on, ``R`` returns the message.
    mode: str
    #: Whether each server on the way tells the sender that it has relayed the message.
    trace: bool = False


class DeliverBy(Extension):
    """
    Takes BY of MAIL: ``envelope.deliver_by`` is a :class:`DeliverByValue`.

    Who offers this promises to keep to it.  The handler does that, which is why the extension is
    not offered unless it is asked for.

    :param minimum: seconds that the server needs in any case: a message that is to be returned
        sooner is refused.  ``functools.partial(DeliverBy, minimum=300)`` is such a maker.
    """

    def __init__(self, settings: Settings, *, minimum: int = 0) -> None:
        super().__init__(settings)
        if not 0 <= minimum <= _MOST:
            raise ValueError(f"minimum wants 0 to {_MOST} seconds, not {minimum!r}")
        self.minimum = minimum

    def keyword(self, session: Session) -> str:
        return f"DELIVERBY {self.minimum}" if self.minimum else "DELIVERBY"

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"BY": self._parse}

    def _parse(self, session: Session, value: str | None) -> DeliverByValue:
        match = _BY_VALUE.fullmatch(value or "")
        if match is None:
            raise ValueError("wants seconds, a semicolon, N or R, and perhaps T")
        seconds, mode = int(match[1]), match[2].upper()
        if mode == "R":
            self._check(seconds)
        deadline = utc_now(session) + timedelta(seconds=seconds)
        return DeliverByValue(seconds, deadline, mode, bool(match[3]))

    def _check(self, seconds: int) -> None:
        # Section 4: the one is a syntax error, 501; the other is well-formed, but not for us, 555.
        if seconds <= 0:
            raise ValueError("wants to be returned at once")
        if seconds < self.minimum:
            raise Rejected(Reply(555, "5.5.4", (f"BY wants at least {self.minimum} seconds",)))

    @of_parameters
    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        envelope.deliver_by = options.values.get("BY")
