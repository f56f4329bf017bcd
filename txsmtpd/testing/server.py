"""
A server on a real port, for clients that want one.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Protocol

from twisted.internet.defer import Deferred, gatherResults, maybeDeferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IAddress, IListeningPort
from twisted.internet.task import deferLater
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure

from ..factory import SMTPFactory
from .client import speaking
from .handler import introduce
from .recording import Recording

#: How often the reactor turns until whoever was at the other end of a connection has read what was
#: there to be read, has learned that it is gone, and has seen perhaps that there is no new one.
TURNS = 10


class CleansUp(Protocol):
    """
    Whatever runs functions when it has ended, such as a test case of trial.
    """

    def addCleanup(self, f: Callable[[], Any], /) -> None:
        """
        Have `f` called in the end; it may return a Deferred.
        """


class RealServer:
    """
    A server that listens on 127.0.0.1, on a port that the system chooses.

    :param factory: what to serve, whose reactor is a real one.
    """

    host = "127.0.0.1"
    #: The port's number, as soon as it listens.
    port: int

    def __init__(self, factory: SMTPFactory) -> None:
        self.factory = factory
        #: The connections that there were, in order.
        self.recordings: list[Recording] = []
        self._connections: list[_Connection] = []
        self._listening: IListeningPort | None = None

    @property
    def transcript(self) -> str:
        """
        The dialogs of all connections, in the order in which they began.
        """
        return "\n\n".join(recording.transcript for recording in self.recordings)

    def start(self) -> Deferred[None]:
        """
        Listen.
        """
        return Deferred.fromCoroutine(self._start())

    async def _start(self) -> None:
        endpoint = TCP4ServerEndpoint(self.factory.reactor, 0, interface=self.host)
        self._listening = await endpoint.listen(_Watched(self.factory, self._build))
        address: Any = self._listening.getHost()
        self.port = address.port

    def _build(self, addr: IAddress | None) -> Any:
        protocol = self.factory.buildProtocol(addr)
        if protocol is None:
            return None
        connection = _Connection(protocol)
        self._connections.append(connection)
        self.recordings.append(connection)
        introduce(connection, self.factory)
        return protocol

    def stop(self) -> Deferred[None]:
        """
        Listen no more and cut off every client, so that nothing is left in the reactor: neither
        our own connections nor the other ends of them, where those are in this process.  A hook
        that is undecided is cancelled.  Once is enough, and more does no harm.

        :return: fires when all is gone; only hooks that are not waited for, such as
            ``handle_DISCONNECT``, still have :data:`txsmtpd.census.GRACE` seconds to end.
        """
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        listening, self._listening = self._listening, None
        if listening is None:
            return
        await maybeDeferred(listening.stopListening)
        for connection in self._connections:
            connection.protocol.transport.abortConnection()
        await gatherResults([connection.lost for connection in self._connections])
        for connection in self._connections:
            connection.give_up()
        await self.factory.drain()
        for _ in range(TURNS):
            await deferLater(self.factory.reactor, 0)


def serve(
    test: CleansUp,
    handler: object,
    *more: object,
    make: Callable[..., SMTPFactory] = SMTPFactory,
    lmtp: bool = False,
    **settings: Any,
) -> Deferred[RealServer]:
    """
    Serve until the test is over.

    :param test: a test case, asynchronous as trial's :class:`~twisted.trial.unittest.TestCase`.
    :param make: makes the factory of handlers and settings.
    :param lmtp: whether it speaks LMTP (RFC 2033).
    :param settings: those of the factory; it calls itself mx.example unless told otherwise.
    :return: fires when it listens.
    """
    factory = make(handler, *more, **{"hostname": "mx.example", **settings})
    server = RealServer(speaking(factory, lmtp))
    test.addCleanup(server.stop)
    return server.start().addCallback(lambda _: server)


class _Watched(WrappingFactory):
    """
    A factory whose connections are watched, but not wrapped: between protocol and transport there
    is nothing, so that they behave towards each other as they always do.
    """

    noisy = False

    def __init__(self, factory: SMTPFactory, build: Callable[[IAddress | None], Any]) -> None:
        super().__init__(factory)
        self._build = build

    def buildProtocol(self, addr: IAddress | None) -> Any:
        return self._build(addr)


class _Connection(Recording):
    """
    A real connection.

    What the transport calls on the protocol, and the protocol on the transport, is noted first.
    """

    def __init__(self, protocol: Any) -> None:
        super().__init__()
        self.protocol = protocol
        #: Fires when the connection is gone.
        self.lost: Deferred[None] = Deferred()
        self._aborted = False
        for name in ("makeConnection", "dataReceived", "readConnectionLost", "connectionLost"):
            note, then = getattr(self, f"_{name}"), getattr(protocol, name)
            setattr(protocol, name, partial(note, then))

    def give_up(self) -> None:
        """
        Wait for no hook any more; a delivery goes on when its client has gone.
        """
        # Another hook may be asked what to make of it.
        while (pending := getattr(self.protocol, "_pending", None)) is not None:
            pending.cancel()

    def _makeConnection(self, then: Any, transport: Any) -> None:
        # TLS, when it is on, is behind these too: what is noted is never encrypted.
        transport.write = partial(self._write, transport.write)
        transport.startTLS = partial(self._startTLS, transport.startTLS)
        transport.abortConnection = partial(self._abortConnection, transport.abortConnection)
        then(transport)

    def _write(self, then: Any, data: bytes) -> None:
        self.log.append(("S", data))
        then(data)

    def _startTLS(self, then: Any, *arguments: Any) -> None:
        self.log.append(("C", "[start-tls]"))
        then(*arguments)

    def _abortConnection(self, then: Any) -> None:
        # Under TLS the reason does not tell.
        self._aborted = True
        then()

    def _dataReceived(self, then: Any, data: bytes) -> None:
        self.log.append(("C", data))
        then(data)

    def _readConnectionLost(self, then: Any) -> None:
        self.log.append(("C", "[half-close]"))
        then()

    def _connectionLost(self, then: Any, reason: Failure) -> None:
        ours = self.protocol.transport.disconnecting or self._aborted
        self.log.append(("S", "[close]") if ours else ("C", "[disconnect]"))
        then(reason)
        self.lost.callback(None)
