"""
Timers that are cheap to put off, and cheap to have many of.

A deadline moves with every command, and most never come.  So moving it further away only notes the
time, and what looks whether it is up looks again later.  And since every idle connection has one,
the reactor gets only the next of them all: a delayed call of Twisted's is half a KiB.
"""

from __future__ import annotations

from collections.abc import Callable
from heapq import heapify, heappop, heappush
from itertools import count

from twisted.internet.interfaces import IDelayedCall, IReactorTime


class Deadlines:
    """
    Many deadlines that share one delayed call.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self.clock = clock
        # When to look at which, the next one first.  An entry whose ticket its deadline has no more
        # stays until its time comes, or until there are more of these than of others.
        self._entries: list[tuple[float, int, Deadline]] = []
        self._void = 0
        self._tickets = count()
        self._call: IDelayedCall | None = None

    def enter(self, when: float, deadline: Deadline) -> int:
        """
        Look at a deadline at that time.

        :return: a ticket, for which it is looked at only while the deadline has it.
        """
        ticket = next(self._tickets)
        heappush(self._entries, (when, ticket, deadline))
        self._arrange()
        return ticket

    def leave(self) -> None:
        """
        Some deadline has given up its ticket.
        """
        self._void += 1
        if self._void * 2 > len(self._entries):
            self._entries = [entry for entry in self._entries if entry[2].ticket == entry[1]]
            heapify(self._entries)
            self._void = 0
            self._arrange()

    def _arrange(self) -> None:
        """
        See that the reactor calls in time for the first, and not at all for nothing.
        """
        if not self._entries:
            if self._call is not None:
                self._call.cancel()
                self._call = None
            return
        first = self._entries[0][0]
        if self._call is None:
            left = max(0, first - self.clock.seconds())
            self._call = self.clock.callLater(left, self._look)
        elif first < self._call.getTime():
            self._call.reset(max(0, first - self.clock.seconds()))

    def _look(self) -> None:
        self._call = None
        now = self.clock.seconds()
        try:
            while self._entries and self._entries[0][0] <= now:
                _, ticket, deadline = heappop(self._entries)
                if deadline.ticket == ticket:
                    deadline.look(now)
                else:
                    self._void -= 1
        finally:
            self._arrange()


class Deadline:
    """
    Calls `expired` when the time is up.
    """

    # Every connection, also an idle one, has one.
    __slots__ = ("_all", "_due", "_expired", "_look_at", "ticket")

    def __init__(self, deadlines: Deadlines, expired: Callable[[], None]) -> None:
        self._all = deadlines
        self._expired = expired
        #: When the time is up, or None for never.
        self._due: float | None = None
        #: What it is looked at for, and when; None if it is not.
        self.ticket: int | None = None
        self._look_at = 0.0

    def within(self, seconds: float) -> None:
        """
        :param seconds: from now; 0 is never.
        """
        if not seconds:
            self._due = None
            return
        self._due = due = self._all.clock.seconds() + seconds
        if self.ticket is None:
            self._enter(due)
        elif due < self._look_at:
            self._give_up()
            self._enter(due)

    def stop(self) -> None:
        """
        Forget it and leave nothing behind in the reactor.
        """
        self._due = None
        if self.ticket is not None:
            self._give_up()

    def look(self, now: float) -> None:
        """
        See whether the time is up.
        """
        self.ticket = None
        if self._due is None:
            return
        if self._due > now:
            self._enter(self._due)
        else:
            self._due = None
            self._expired()

    def _enter(self, when: float) -> None:
        self._look_at = when
        self.ticket = self._all.enter(when, self)

    def _give_up(self) -> None:
        self.ticket = None
        self._all.leave()
