"""
DELIVERBY: delivery within a given time (RFC 2852).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from ..core.replies import Rejected, Reply
from ..core.session import Session
from ..core.settings import Settings
from .base import Extension

# by-value = by-time ";" by-mode [by-trace]
# by-time  = ["-" / "+"] 1*9DIGIT
# by-mode  = "N" / "R"
# by-trace = "T"
_BY_VALUE = re.compile("([-+]?[0-9]{1,9});([NnRr])([Tt]?)")
_MOST = 999_999_999


@attrs.frozen
class DeliverByValue:
    """
    BY of MAIL.
    """

    #: Within how many seconds from now; with `mode` ``N`` they may be over already.
    seconds: int
    #: What happens then: ``N`` notifies the sender and goes on, ``R`` returns the message.
    mode: str
    #: Whether each server on the way tells the sender that it has relayed the message.
    trace: bool = False


class DeliverBy(Extension):
    """
    Takes BY of MAIL: ``options.get("BY")`` is a :class:`DeliverByValue`.

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
        by = DeliverByValue(int(match[1]), match[2].upper(), bool(match[3]))
        if by.mode == "R":
            if by.seconds <= 0:
                raise ValueError("wants to be returned at once")
            if by.seconds < self.minimum:
                raise Rejected(self._too_soon())
        return by

    def _too_soon(self) -> Reply:
        # The value is well-formed, but not implemented, which is a 555, as Sendmail says here.
        return Reply(555, "5.5.4", (f"BY wants at least {self.minimum} seconds",))
