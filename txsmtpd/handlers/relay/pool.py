"""
The connections to the next hop: those at work, and those that wait for more.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any

from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    TimeoutError,
    maybeDeferred,
)
from twisted.internet.error import ConnectingCancelledError
from twisted.internet.protocol import Factory
from twisted.logger import Logger
from twisted.python.failure import Failure

from ...core.replies import Rejected
from .answers import CONGESTED, LOST, UNREACHABLE, Lost
from .connection import Connection, TLSFailed
from .nexthop import NextHop
from .setup import set_up
from .timeouts import Timeouts


def _too_late(result: Any, seconds: float) -> Failure:
    # Endpoints that are cancelled say so in their own way.
    return Failure(TimeoutError(f"no connection within {seconds:g} seconds"))


class Pool:
    """
    :param limit: connections at a time.
    :param spare: of these, how many may wait for work.
    :param endpoint: makes the endpoint to connect to, of a reactor.
    """

    log = Logger()

    def __init__(
        self,
        hop: NextHop,
        timeouts: Timeouts,
        limit: int,
        spare: int,
        endpoint: Callable[[Any], Any],
    ) -> None:
        self._hop = hop
        self._timeouts = timeouts
        self._limit = limit
        self._spare = spare
        self._endpoint = endpoint
        self._taken = 0
        self._idle: list[Connection] = []
        self._connections: set[Connection] = set()
        self._queue: deque[Deferred[None]] = deque()
        #: What the next hop offered when we connected last; None if we never did.
        self.features: Mapping[str, str] | None = None

    async def get(
        self, reactor: Any, hostname: str, *, fresh: bool = False, tls: bool = True
    ) -> Connection:
        """
        :param hostname: how we introduce ourselves.
        :param fresh: whether it must be a new connection.
        :param tls: whether to use STARTTLS that nobody demands.
        :raise Rejected: if there is none to be had.
        """
        while True:
            if self._idle and not fresh:
                # The one that was at work last: the others may go.
                return self._idle.pop()
            if self._taken < self._limit:
                break
            if self._idle:
                self._idle.pop(0).leave()
            await self._turn(reactor)
        self._taken += 1
        try:
            return await self._connect(reactor, hostname, tls)
        except Lost as error:
            if not isinstance(error, TLSFailed) or self._hop.verified:
                raise
        # Nobody was promised TLS, and there is mail to be relayed (RFC 7435 section 3).
        return await self.get(reactor, hostname, fresh=True, tls=False)

    async def _turn(self, reactor: Any) -> None:
        turn: Deferred[None] = Deferred()
        self._queue.append(turn)
        turn.addTimeout(self._timeouts.connect, reactor)
        try:
            await turn
        except TimeoutError:
            raise Rejected(CONGESTED) from None
        finally:
            with suppress(ValueError):
                self._queue.remove(turn)

    async def _connect(self, reactor: Any, hostname: str, tls: bool) -> Connection:
        hop = self._hop
        creator = hop.tls if hop.implicit else None
        factory = Factory.forProtocol(lambda: Connection(reactor, self._timeouts, creator))
        factory.noisy = False
        connecting = maybeDeferred(self._endpoint(reactor).connect, factory)
        connecting.addTimeout(self._timeouts.connect, reactor, _too_late)
        try:
            connection: Connection = await connecting
        except (CancelledError, ConnectingCancelledError):
            self._free()
            raise CancelledError from None
        except Exception as error:
            self._free()
            reason = str(error) or type(error).__name__
            self._warn("next hop {hop} cannot be reached: {reason}", reason)
            raise Lost(UNREACHABLE, reason) from None
        self._connections.add(connection)
        connection.closed.addCallback(lambda _: self._connections.discard(connection))
        connection.on_gone = self._gone
        try:
            await set_up(connection, hop, hostname, tls=tls)
        except BaseException as error:
            # Most have done so already.
            connection.end(Lost(LOST, str(error)))
            raise
        self.features = connection.features
        return connection

    def _gone(self, connection: Connection) -> None:
        if connection in self._idle:
            # Every server closes those that it has nothing to do with.
            self._idle.remove(connection)
        elif connection.gone is not None and not connection.gone.planned:
            self._warn("next hop {hop} was lost: {reason}", connection.gone.reason)
        self._free()

    def _warn(self, said: str, reason: str) -> None:
        self.log.warn(said, event="relay", hop=str(self._hop), reason=reason)

    def _free(self) -> None:
        self._taken -= 1
        self._next()

    def _next(self) -> None:
        if self._queue:
            self._queue.popleft().callback(None)

    def put_back(self, connection: Connection, now: float) -> None:
        """
        Keep a connection for the next message.

        :param now: the time, as the clock has it that the connection was made with.
        """
        if connection.gone is not None:
            return
        old = now - connection.born >= self._timeouts.lifetime
        if connection.spent or old or len(self._idle) >= self._spare:
            connection.leave()
            return
        connection.rest(self._rested)
        self._idle.append(connection)
        self._next()

    def _rested(self, connection: Connection) -> None:
        self._idle.remove(connection)
        connection.leave()

    def stop(self) -> Deferred[Any]:
        """
        Take leave on connections without work, and cut off the others.

        :return: fires when there are none.
        """
        for connection in tuple(self._connections):
            if connection in self._idle:
                connection.leave()
            else:
                connection.end(Lost(LOST, "the server stops", planned=True))
        self._idle.clear()
        return DeferredList([connection.closed for connection in self._connections])
