"""
A client that is connected to a server in memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from typing import Any

from twisted.internet.abstract import FileDescriptor
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import (
    IAddress,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IProtocol,
    ISSLTransport,
)
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import Clock
from twisted.internet.tcp import Server
from twisted.internet.testing import StringTransport
from twisted.protocols.tls import TLSMemoryBIOFactory, TLSMemoryBIOProtocol
from twisted.python.failure import Failure
from zope.interface import alsoProvides, implementer

from ..factory import SMTPFactory
from ..protocol import LMTP
from .handler import introduce
from .recording import Recording

PEER = IPv4Address("TCP", "192.0.2.1", 54321)
HOST = IPv4Address("TCP", "192.0.2.25", 25)


def make_factory(
    handler: object, *more: object, lmtp: bool = False, **settings: Any
) -> SMTPFactory:
    """
    A factory on a clock of its own, which calls itself mx.example unless told otherwise.

    :param lmtp: whether it speaks LMTP (RFC 2033).
    """
    settings = {"reactor": Clock(), "hostname": "mx.example", **settings}
    return speaking(SMTPFactory(handler, *more, **settings), lmtp)


def speaking(factory: SMTPFactory, lmtp: bool) -> SMTPFactory:
    """
    A factory as it is, or one for the same that speaks LMTP.
    """
    return factory.beside(protocol=LMTP) if lmtp else factory


class _Transport(Server):
    """
    Twisted's own transport for sockets, on a client instead of a socket.

    So buffers, producers, TLS and the ways to close behave as they do for TCP.
    """

    # It has none, and whoever wants to do something with it is to notice.
    socket: Any

    def __init__(self, caller: Client, peer: IAddress, host: IAddress) -> None:
        # It is only ever asked for time.
        FileDescriptor.__init__(self, caller.clock)  # type: ignore[arg-type]
        self.caller = caller
        # TLS, when it is on, puts itself between.
        self.protocol: Any = caller.protocol
        self.peer, self.host = peer, host
        self.connected = 1
        #: Segments as ``recv`` would give them: ``b""`` is the end, an exception an error.
        self.incoming: deque[bytes | Exception] = deque()
        self.error: Exception | None = None
        self.wants_read, self.wants_write = True, False
        self.blocked = self.aborted = False

    def turn(self) -> bool:
        """
        Do what a reactor does for a socket in one turn.

        :return: whether there was anything to do.
        """
        reads = self._alive and self.wants_read and bool(self.incoming)
        if reads:
            self._read(self.incoming[0])
        writes = self._alive and self.wants_write and not self.blocked
        if writes:
            why = self.doWrite()
            if why is not None:
                self.connectionLost(Failure(why))
        return reads or writes

    @property
    def _alive(self) -> bool:
        return not (self.disconnected or self.aborted)

    def _read(self, segment: bytes | Exception) -> None:
        if isinstance(segment, Exception):
            self.connectionLost(Failure(segment))
        elif segment:
            self.incoming.popleft()
            self.protocol.dataReceived(segment)
        else:
            # It stays there: who resumes reading finds the end again.
            self.stopReading()
            self.readConnectionLost(Failure(ConnectionDone()))

    def writeSomeData(self, data: bytes) -> Any:
        if self.error is not None:
            return self.error
        if data and not self.caller.reading:
            self.blocked = True
            return 0
        self.caller._hear(bytes(data))
        return len(data)

    def write(self, data: bytes) -> None:
        self.caller.writes.append(data)
        super().write(data)

    def readConnectionLost(self, reason: Failure) -> None:
        half_closeable = IHalfCloseableProtocol(self.protocol, None)
        if half_closeable is None:
            self.connectionLost(reason)
        else:
            half_closeable.readConnectionLost()

    def connectionLost(self, reason: Failure) -> None:
        FileDescriptor.connectionLost(self, reason)
        if self.disconnecting or self.aborted:
            self.caller.log.append(("S", "[close]"))
        self.protocol.connectionLost(reason)
        self.caller._lose()

    def startTLS(self, ctx: Any, normal: bool = True) -> None:
        super().startTLS(ctx, normal)
        # It collects what is written until the reactor's next turn, and does not know of this one.
        self.protocol._aggregator._clock = self.caller.clock

    def abortConnection(self) -> None:
        if self._alive:
            self.aborted = True
            self.caller.clock.callLater(0, self.connectionLost, Failure(ConnectionAborted()))

    def startReading(self) -> None:
        self.wants_read = True

    def stopReading(self) -> None:
        self.wants_read = False

    def startWriting(self) -> None:
        self.wants_write = True

    def stopWriting(self) -> None:
        self.wants_write = False

    def getPeer(self) -> IAddress:
        return self.peer

    def getHost(self) -> IAddress:
        return self.host


class Client(Recording):
    """
    A client that has connected to a server in memory.

    Its methods return when everything has happened that can happen without time passing, hooks
    that wait for a delayed call of 0 seconds included.

    :param factory: a factory whose reactor is a :class:`~twisted.internet.task.Clock`.
    :param reading: whether it reads its replies; set the attribute and call `pump` to change that.
    """

    def __init__(
        self,
        factory: SMTPFactory,
        *,
        peer: IAddress = PEER,
        host: IAddress = HOST,
        reading: bool = True,
    ) -> None:
        if not isinstance(factory.reactor, Clock):
            raise TypeError("the factory wants a twisted.internet.task.Clock for its reactor")
        super().__init__()
        self.clock: Clock = factory.reactor
        self.reading = reading
        #: All that was received.
        self.received = b""
        #: What the server has written, call by call.
        self.writes: list[bytes] = []
        self._taken = 0
        self._pumping = False
        self._speaker: IProtocol | None = None
        # The client's end of TLS.
        self._tls: Any = None
        #: What is known about TLS, once the handshake is done: a transport that tells the server's
        #: certificate (``getPeerCertificate()``) and pyOpenSSL's connection (``getHandle()``).
        self.tls: Any = None
        self.protocol = factory.buildProtocol(peer)
        introduce(self, factory)
        self.transport = _Transport(self, peer, host)
        self.protocol.makeConnection(self.transport)
        self.pump()

    @property
    def closed(self) -> bool:
        """
        Whether the connection is closed, by either side.
        """
        return bool(self.transport.disconnected)

    def send(self, *segments: bytes) -> None:
        """
        Send octets.  Segments arrive one by one but at once: before anything that the first of
        them has set going comes to its end.
        """
        for segment in filter(None, segments):
            self.log.append(("C", segment))
            if self._tls is None:
                self._say(segment)
            else:
                self._tls.write(segment)
        self.pump()

    def _say(self, data: bytes) -> None:
        size = self.transport.bufferSize
        for start in range(0, len(data), size):
            self.transport.incoming.append(data[start : start + size])

    def start_tls(self, context_factory: Any = None) -> None:
        """
        Begin with TLS: when STARTTLS was answered, or at once where the server does so.  What the
        client sends and receives from now on is encrypted on the way.

        :param context_factory: what ``transport.startTLS`` of a client gets, such as what
            :func:`twisted.internet.ssl.optionsForClientTLS` makes; None believes every certificate.
        """
        self.log.append(("C", "[start-tls]"))
        options = context_factory or CertificateOptions()
        factory = TLSMemoryBIOFactory(options, True, Factory.forProtocol(Protocol), self.clock)
        # The other kind would collect segments.
        factory.protocol = TLSMemoryBIOProtocol
        self._tls = factory.protocol(factory, _Ear(self))
        self._tls.makeConnection(_Wire(self))
        self.pump()

    def take(self) -> bytes:
        """
        What was received since the last call.
        """
        start, self._taken = self._taken, len(self.received)
        return self.received[start:]

    def attach(self, speaker: IProtocol) -> None:
        """
        Let a client protocol speak, such as that which an application has made: from now on it
        says what the client says, and is given what the client receives, the greeting included.
        """
        self._speaker = speaker
        speaker.makeConnection(_Speaking(self))
        heard = self.take()
        if heard:
            speaker.dataReceived(heard)

    def half_close(self) -> None:
        """
        Send no more, but go on reading.  Under TLS that is a ``close_notify``.
        """
        self.log.append(("C", "[half-close]"))
        if self._tls is None:
            self.transport.incoming.append(b"")
        else:
            self._tls.loseConnection()
        self.pump()

    def disconnect(self, reason: Exception | None = None) -> None:
        """
        Be gone.

        :param reason: what the server learns of it: None is ConnectionLost.
        """
        self.log.append(("C", "[disconnect]"))
        self.transport.error = reason or ConnectionLost()
        self.transport.incoming.append(self.transport.error)
        self.transport.blocked = False
        self.pump()

    def wait(self, seconds: float) -> None:
        """
        Let time pass.
        """
        self.log.append(("C", f"[wait {seconds:g}]"))
        self.clock.advance(seconds)
        self.pump()

    def pump(self) -> None:
        """
        Let everything happen that can happen without time passing.
        """
        if self._pumping:
            return
        self._pumping = True
        try:
            if self.reading:
                self.transport.blocked = False
            while self.transport.turn() or self._tick():
                pass
        finally:
            self._pumping = False

    def _tick(self) -> bool:
        now = self.clock.seconds()
        for call in self.clock.getDelayedCalls():
            if call.getTime() <= now:
                self.clock.advance(0)
                return True
        return False

    def _hear(self, data: bytes) -> None:
        if data:
            (self._understand if self._tls is None else self._tls.dataReceived)(data)

    def _understand(self, data: bytes) -> None:
        self.received += data
        self.log.append(("S", data))
        if self._speaker is not None:
            self._speaker.dataReceived(self.take())

    def _lose(self) -> None:
        gone = Failure(ConnectionDone())
        for protocol in filter(None, (self._tls, self._speaker)):
            protocol.connectionLost(gone)


@implementer(IHandshakeListener)
class _Ear(Protocol):
    """
    Hears what TLS has decrypted.
    """

    def __init__(self, client: Client) -> None:
        self.client = client

    def handshakeCompleted(self) -> None:
        self.client.tls = self.client._tls

    def dataReceived(self, data: bytes) -> None:
        self.client._understand(data)


class _Wire(StringTransport):
    """
    The transport of the client's end of TLS.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(client.transport.getPeer(), client.transport.getHost())
        self.client = client

    def write(self, data: bytes) -> None:
        self.client._say(data)

    def loseConnection(self) -> None:
        self.client.transport.incoming.append(b"")

    def abortConnection(self) -> None:
        self.client.disconnect()


class _Speaking(StringTransport):
    """
    The transport of a client protocol: what it writes the client sends.
    """

    def __init__(self, client: Client) -> None:
        super().__init__(client.transport.getPeer(), client.transport.getHost())
        self.client = client
        if client._tls is not None:
            alsoProvides(self, ISSLTransport)

    def write(self, data: bytes) -> None:
        self.client.send(data)

    def writeSequence(self, data: Iterable[bytes]) -> None:
        self.client.send(b"".join(data))

    def startTLS(self, contextFactory: Any) -> None:
        # As it does that of a socket.
        alsoProvides(self, ISSLTransport)
        self.client.start_tls(contextFactory)

    def getPeerCertificate(self) -> Any:
        return self.client.tls.getPeerCertificate()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        super().registerProducer(producer, streaming)
        while self.producer is not None and not self.streaming:
            self.producer.resumeProducing()

    def loseConnection(self) -> None:
        self.client.disconnect(ConnectionDone())

    def abortConnection(self) -> None:
        self.client.disconnect()


def connect(factory: SMTPFactory, **options: Any) -> Client:
    """
    Connect a client to a server in memory, as :class:`Client` does.
    """
    return Client(factory, **options)
