"""
A timer that is cheap to put off.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadline:
    """
    Calls `expired` when the time is up.

    A deadline moves with every command, and most never come.  So moving it further away only notes
    the time, and the one delayed call, when it comes too early, is made anew for the rest.
    """

    # Every connection, also an idle one, has two.
    __slots__ = ("_call", "_clock", "_due", "_expired", "_look_at")

    def __init__(self, clock: IReactorTime, expired: Callable[[], None]) -> None:
        self._clock = clock
        self._expired = expired
        #: When the time is up, or None for never.
        self._due: float | None = None
        #: When the delayed call comes, while there is one.
        self._look_at = 0.0
        self._call: IDelayedCall | None = None

    def within(self, seconds: float) -> None:
        """
        :param seconds: from now; 0 is never.
        """
        if not seconds:
            self._due = None
            return
        self._due = due = self._clock.seconds() + seconds
        if self._call is None:
            self._look_again(due, seconds)
        elif due < self._look_at:
            self._look_at = due
            self._call.reset(seconds)

    def stop(self) -> None:
        """
        Forget it and leave nothing behind in the reactor.
        """
        self._due = None
        if self._call is not None:
            self._call.cancel()
            self._call = None

    def _look_again(self, when: float, seconds: float) -> None:
        self._look_at = when
        self._call = self._clock.callLater(seconds, self._look)

    def _look(self) -> None:
        self._call = None
        if self._due is None:
            return
        left = self._due - self._clock.seconds()
        if left > 0:
            self._look_again(self._due, left)
        else:
            self._due = None
            self._expired()
