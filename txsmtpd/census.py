"""
Who is connected, and what goes on although its client has gone: the count that limits are judged
by, and that a server which stops waits for.
"""

from __future__ import annotations

from collections import Counter
from itertools import count
from typing import Any, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall

from .core import replies
from .core.addresses import host_address
from .core.replies import Reply
from .core.settings import Settings

#: Seconds that messages which are under way get to end when the server stops.
GRACE = 30


class Connection(Protocol):
    """
    A connection, as it is counted.
    """

    transport: Any

    def leave(self) -> None:
        """
        Close as soon as the message that is being received or delivered has ended.
        """


class Census:
    """
    The connections of one server, through whichever of its ports they have come.
    """

    def __init__(self, settings: Settings, reactor: Any) -> None:
        self._settings = settings
        self._reactor = reactor
        #: Each with the host that it counts for, "" for none.
        self._connections: dict[Connection, str] = {}
        self._hosts: Counter[str] = Counter()
        self._numbers = count(1)
        # Tells the sessions of this start of the server from those of another in the same log.
        self._start = f"{int(reactor.seconds()):x}"
        #: What goes on although its client has gone.
        self._unfinished: set[Deferred[Any]] = set()
        #: Whether there is no time left to wait for that.
        self._given_up = False
        self._emptied: Deferred[None] | None = None
        self._last_call: IDelayedCall | None = None

    def reopen(self) -> None:
        """
        Take connections, also after a `drain`, whether it has ended or not.
        """
        if self._emptied is not None and not self._emptied.called:
            self._give_up_waiting(self._emptied)
        self._emptied, self._given_up = None, False

    def next_session_id(self) -> str:
        """
        A name for a session: of the server's start and a number.
        """
        return f"{self._start}-{next(self._numbers)}"

    def admit(self, connection: Connection, peer: Any) -> Reply | None:
        """
        Count a connection in, or say why not.

        :param peer: the client's address, or None as long as nobody knows.  A unix socket has no
            host, and counts only towards the total.
        """
        if self._emptied is not None:
            return replies.SHUTTING_DOWN
        host = _host(peer)
        if 0 < self._settings.max_connections <= len(self._connections) or self._has_enough(host):
            return replies.TOO_MANY_CONNECTIONS
        self._connections[connection] = host
        self._hosts[host] += 1
        return None

    def admit_host(self, connection: Connection, peer: Any) -> Reply | None:
        """
        Count a connection, which was admitted, for the host of the client that it has now, or say
        why not.
        """
        self._forget_host(connection)
        host = _host(peer)
        if self._has_enough(host):
            host, refusal = "", replies.TOO_MANY_CONNECTIONS
        else:
            refusal = None
        self._connections[connection] = host
        self._hosts[host] += 1
        return refusal

    def _has_enough(self, host: str) -> bool:
        return bool(host) and 0 < self._settings.max_connections_per_host <= self._hosts[host]

    def _forget_host(self, connection: Connection) -> None:
        host = self._connections[connection]
        if self._hosts[host] > 1:
            self._hosts[host] -= 1
        else:
            del self._hosts[host]

    def release(self, connection: Connection) -> None:
        """
        Count a connection out that was admitted.
        """
        self._forget_host(connection)
        del self._connections[connection]
        self._look_whether_empty()

    def outlive(self, work: Deferred[Any]) -> None:
        """
        Do not stop before `work` has ended, though its client has gone.
        """

        def ended(result: Any) -> Any:
            self._unfinished.discard(work)
            self._look_whether_empty()
            return result

        self._unfinished.add(work)
        work.addBoth(ended)

    def drain(self) -> Deferred[None]:
        """
        Let every client go: idle ones at once, others when their message has ended, and all
        within `GRACE` seconds.

        :return: fires when no connection is left, and no delivery that outlives its client.
        """
        if self._emptied is None:
            self._emptied = Deferred()
            for connection in tuple(self._connections):
                connection.leave()
            if self._connections or self._unfinished:
                self._last_call = self._reactor.callLater(GRACE, self._abort_all)
            self._look_whether_empty()
        return self._emptied

    def _look_whether_empty(self) -> None:
        if self._emptied is None or self._emptied.called or self._connections:
            return
        if self._unfinished and not self._given_up:
            return
        self._give_up_waiting(self._emptied)

    def _give_up_waiting(self, emptied: Deferred[None]) -> None:
        if self._last_call is not None and self._last_call.active():
            self._last_call.cancel()
        emptied.callback(None)

    def _abort_all(self) -> None:
        self._given_up = True
        for connection in tuple(self._connections):
            connection.transport.abortConnection()
        self._look_whether_empty()


def _host(peer: Any) -> str:
    if not isinstance(peer, tuple):
        return ""
    host: str = peer[0]
    # What is in IPv4's own form has only that.
    return str(host_address(host)) if ":" in host else host
