"""
A handler that forgets: for load tests, and for mail that nobody wants.
"""

from __future__ import annotations

from typing import Any

from zope.interface import implementer

from ..core.session import Envelope, Session
from ..interfaces import IContentHook, IContentReceiver


@implementer(IContentReceiver)
class _Drain:
    def write(self, chunk: bytes) -> None:
        pass

    def finish(self) -> None:
        pass

    def abort(self, reason: str) -> None:
        pass


# It knows nothing of any message, so one serves them all.
_DRAIN = _Drain()


@implementer(IContentHook)
class Sink:
    """
    Accepts every message and forgets it, without ever holding it whole.
    """

    @classmethod
    def from_spec(cls, argument: str | None) -> Sink:
        """
        Make it of ``sink``.
        """
        if argument is not None:
            raise ValueError("sink takes no argument")
        return cls()

    def open_content(self, server: Any, session: Session, envelope: Envelope) -> _Drain:
        return _DRAIN
