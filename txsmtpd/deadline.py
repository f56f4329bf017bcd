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
from typing import Any, TypeAlias

from twisted.internet.interfaces import IDelayedCall, IReactorTime

#: When to look at a deadline, a number that tells two such apart, and the deadline, or None if
#: nobody wants that any more.
Entry: TypeAlias = list[Any]


class Deadlines:
    """
    Many deadlines that share one delayed call.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        #: What time it is.
        self.now = clock.seconds
        # The next one first.  Those of nobody stay until their time comes, or until there are more
        # of them than of others.
        self._entries: list[Entry] = []
        self._void = 0
        self._numbers = count()
        self._call: IDelayedCall | None = None
        # When it comes.
        self._next = 0.0

    def enter(self, when: float, deadline: Deadline) -> Entry:
        """
        Look at a deadline at that time.
        """
        entry = [when, next(self._numbers), deadline]
        heappush(self._entries, entry)
        self._arrange()
        return entry

    def leave(self, entry: Entry) -> None:
        """
        Do not.
        """
        # At once, because it holds a whole connection.
        entry[2] = None
        self._void += 1
        if self._void * 2 > len(self._entries):
            self._entries = [entry for entry in self._entries if entry[2] is not None]
            heapify(self._entries)
            self._void = 0
        if not self._entries:
            self._arrange()

    def _arrange(self) -> None:
        """
        See that the reactor calls in time for the first, and not at all for nothing.

        It may call too early, when that one was left meanwhile: to look is cheaper than to put it
        off each time.
        """
        if not self._entries:
            if self._call is not None:
                self._call.cancel()
                self._call = None
            return
        first = self._entries[0][0]
        if self._call is None:
            self._call = self._clock.callLater(max(0, first - self.now()), self._look)
        elif first < self._next:
            self._call.reset(max(0, first - self.now()))
        else:
            return
        self._next = first

    def _look(self) -> None:
        self._call = None
        now = self.now()
        try:
            while self._entries:
                when, _, deadline = self._entries[0]
                if deadline is not None and when > now:
                    break
                heappop(self._entries)
                if deadline is None:
                    self._void -= 1
                else:
                    deadline.look(now)
        finally:
            self._arrange()


class Deadline:
    """
    Calls `expired` when the time is up.
    """

    # Every connection, also an idle one, has one.
    __slots__ = ("_all", "_due", "_entry", "_expired")

    def __init__(self, deadlines: Deadlines, expired: Callable[[], None]) -> None:
        self._all = deadlines
        self._expired = expired
        #: When the time is up, or None for never.
        self._due: float | None = None
        #: When it is looked at, if it is.
        self._entry: Entry | None = None

    def within(self, seconds: float) -> None:
        """
        :param seconds: from now; 0 is never.
        """
        if not seconds:
            self._due = None
            return
        self._due = due = self._all.now() + seconds
        if self._entry is None:
            self._entry = self._all.enter(due, self)
        elif due < self._entry[0]:
            self._give_up()
            self._entry = self._all.enter(due, self)

    def stop(self) -> None:
        """
        Forget it and leave nothing behind in the reactor.
        """
        self._due = None
        self._give_up()

    def look(self, now: float) -> None:
        """
        See whether the time is up.
        """
        self._entry = None
        if self._due is None:
            return
        if self._due > now:
            self._entry = self._all.enter(self._due, self)
        else:
            self._due = None
            self._expired()

    def _give_up(self) -> None:
        entry, self._entry = self._entry, None
        if entry is not None:
            self._all.leave(entry)
