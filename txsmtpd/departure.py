"""
How a connection ends.

One deadline is always running, and what its end means depends on what is going on: an idle client
is told 421, a pending hook is cancelled, a connection that should have closed long ago is aborted.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred

from .arrival import Arrival
from .brakes import CONTENT, STEP
from .core import replies
from .core.replies import Reply
from .deadline import Deadline
from .steps import Pending

#: Seconds that a closed connection may take to send what was written.
LINGER = 30


class Departure(Arrival):
    """
    What ends the dialog.
    """

    #: Whether the connection is gone.
    _lost: bool
    #: The command that is being obeyed.
    _line: bytes | None
    #: The step that is under way.
    _pending: Pending | None
    #: Fires when it ends, if it delivers a message.
    _delivering: Deferred[None] | None = None
    #: Ends the session, however busy, if that is set.
    _session_end: Deadline | None = None
    #: What the client is told as soon as that is possible.
    _farewell: Reply | None = None

    def connectionMade(self) -> None:
        self._settings = self.factory.settings
        self._lost = False
        self._line = self._pending = None
        #: Replies that are to be written.
        self._out: list[bytes] = []
        self._deadline = Deadline(self.factory.deadlines, self._expired)
        super().connectionMade()

    def leave(self) -> None:
        """
        Close the connection as soon as the message that is being received or delivered has ended.
        """
        self._farewell = replies.SHUTTING_DOWN
        self._part_soon()

    def _part_soon(self) -> None:
        # In the middle of a command, whose reply comes first, it is looked at when that has ended.
        if not self.feeding:
            self.afterInput()

    def _part_if_due(self) -> None:
        if self._farewell is not None and not self.closing and not self._busy():
            self._say_goodbye(self._farewell)

    def _busy(self) -> bool:
        """
        Whether it is too early for a farewell.
        """
        if self.brakes & (STEP | CONTENT):
            return True
        receiving = self._raw or self.dialog.delivery is not None
        return receiving and self._farewell is replies.SHUTTING_DOWN

    def _say_goodbye(self, reply: Reply) -> None:
        if self._lost:
            return
        self._line = None
        if not self._silent:
            self._out.append(reply.wire)
        self._note(reply)
        self.close()

    def close(self) -> None:
        """
        Close when everything that was said has left, but do not wait for ever.
        """
        if self._lost:
            return
        if self._out:
            self._flush()
        super().close()
        self._deadline.within(LINGER)

    def _allow(self, seconds: float) -> None:
        self._deadline.within(seconds)

    def _expired(self) -> None:
        if self.closing and not self._lost:
            self.transport.abortConnection()
        elif self._pending is not None:
            self._pending.cancel()
            if self._pending is not None:
                # Another hook is asked what to make of that.
                self._give_hook_time()
        elif self._header is not None:
            self._turn_away("the header took too long")
        else:
            self._say_goodbye(replies.TIMED_OUT)

    def _limit_session(self, seconds: float) -> None:
        """
        Let the session go on no longer than that.
        """
        if seconds:
            self._session_end = Deadline(self.factory.deadlines, self._session_expired)
            self._session_end.within(seconds)

    def _session_expired(self) -> None:
        self._farewell = replies.TIMED_OUT
        self._part_soon()

    def _give_hook_time(self) -> None:
        # RFC 5321 section 4.5.3.2 gives the end of data twice the time of other commands.
        seconds = self._settings.hook_timeout
        self._deadline.within(seconds if self._delivering is None else seconds * 2)

    def _flush(self) -> None:
        """
        Write the replies that are to be written.
        """
        raise NotImplementedError

    def _note(self, reply: Reply) -> None:
        """
        Log a reply that deserves it.
        """
        raise NotImplementedError
