"""
TCP connections with less of the reactor around each read and write.

What a reactor does around a read or a write costs more than to obey a short command.  Some of it
can be spared on a plain TCP connection:

- Before every read the reactor makes a logging context, from which the old ``twisted.python.log``
  knows whose doing it is; ours says that itself.  Here the connections of a factory have one reader
  in common: an epoll object, which is readable when any of them is.  So there is one such context
  in a turn, in which all of them are read that have something, and not one for each.
- `transport.write` only queues: the reactor asks the kernel whether the socket is writable, and
  writes in its next turn.  Here what is written in a turn is sent when the turn ends, and what is
  written at other times at once, if nothing is queued.  To send it in the middle of a turn would
  wake up each client alone, where the first could wake up a proxy that has all of them.  Only what
  comes of a large read or of TLS, which takes its time, nobody else waits for.  What the kernel
  does not take goes the usual way, which keeps the order and the back-pressure, and so does
  everything under TLS.  `loseConnection` is such a detour too: if nothing is queued, the connection
  ends with the turn.
"""

from __future__ import annotations

import select
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IReactorFDSet, IReadDescriptor
from twisted.internet.main import CONNECTION_DONE, CONNECTION_LOST
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Port, Server
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

#: How many connections a turn reads at most: the first reply waits for the last of them.
A_TURN = 64
#: More octets than that may take so long that nobody else's reply waits for what comes of them.
BULK = 2**13


@implementer(IReadDescriptor)
class Readers:
    """
    Connections that are one reader for their reactor.
    """

    _log = Logger()

    def __init__(self) -> None:
        self._connections: dict[int, Wire] = {}
        self._epoll: select.epoll | None = None
        # Where it is a reader while there are connections.
        self._reactor: Any = None
        #: Those that have something to send when this turn ends, or None while there is none.
        self.writing: list[Wire] | None = None
        # Those that end with it.
        self._leaving: list[Wire] = []

    def open(self) -> bool:
        """
        :return: whether connections can be added: there may be no descriptor left for that.
        """
        if self._epoll is None:
            try:
                self._epoll = select.epoll()
            except OSError:
                return False
        return True

    def add(self, connection: Wire) -> None:
        """
        Read what a connection receives, from now on.
        """
        descriptor = connection.fileno()
        if descriptor in self._connections:
            return
        assert self._epoll is not None
        self._epoll.register(descriptor, select.EPOLLIN)
        self._connections[descriptor] = connection
        # Each time, because somebody may have removed all readers.
        self._reactor = connection.reactor
        self._reactor.addReader(self)

    def remove(self, connection: Wire) -> None:
        """
        Read no more of it.
        """
        descriptor = connection.fileno()
        if self._connections.get(descriptor) is not connection:
            return
        assert self._epoll is not None
        self._epoll.unregister(descriptor)
        del self._connections[descriptor]
        if not self._connections:
            self._reactor.removeReader(self)

    def logPrefix(self) -> str:
        return "txsmtpd"

    def fileno(self) -> int:
        return -1 if self._epoll is None else self._epoll.fileno()

    def doRead(self) -> None:
        assert self._epoll is not None
        connections = self._connections
        # A hook may run the reactor, and so begin a turn within one.
        self.send()
        outer, self.writing = self.writing, []
        try:
            for descriptor, _ in self._epoll.poll(0, A_TURN):
                # One that was read before it in this turn may have closed it.
                connection = connections.get(descriptor)
                if connection is None:
                    continue
                try:
                    why = connection.doRead()
                except BaseException as error:
                    self._log.failure("a protocol failed")
                    why = error
                if why is not None:
                    self._end(connection, why)
        finally:
            self.send()
            self.writing = outer
            while self._leaving:
                connection = self._leaving.pop()
                if not connection.lingers():
                    self._tell(connection.connectionLost, connectionDone)

    def send(self) -> None:
        """
        Let those that have something to send not wait for the end of the turn.
        """
        writing = self.writing
        while writing:
            connection = writing.pop(0)
            try:
                connection.send_unsent()
            except BaseException as error:
                self._log.failure("a protocol failed")
                self._end(connection, error)

    def leave(self, connection: Wire) -> None:
        """
        Let a connection that has queued nothing end with this turn.
        """
        self._leaving.append(connection)

    def _end(self, connection: Wire, why: BaseException) -> None:
        """
        End a connection as a reactor does.
        """
        self.remove(connection)
        if isinstance(why, ConnectionDone):
            self._tell(connection.readConnectionLost, Failure(why))
        else:
            self._tell(connection.connectionLost, Failure(why))

    def _tell(self, lost: Callable[[Failure], None], reason: Failure) -> None:
        """
        Tell a connection of its end: what it makes of it is no business of the others.
        """
        try:
            lost(reason)
        except BaseException:
            self._log.failure("a protocol failed at its end")

    def connectionLost(self, reason: Failure) -> None:
        """
        The reactor has stopped.
        """
        for connection in [*self._connections.values()]:
            self._tell(connection.connectionLost, reason)


class Wire(Server):
    """
    A TCP connection of a server.

    :param readers: those that it belongs to.
    """

    readers: Readers
    # Whether what is written may go to the socket past the queue: that is empty, and it is not one
    # of TLS by now.  Twisted says by `startWriting` and `stopWriting` whether there is a queue.
    _at_once: bool
    # What the turn that goes on has brought to send.  If there is something, `_at_once` is true.
    _unsent: bytes

    def __init__(self, readers: Readers, *arguments: Any) -> None:
        self.readers = readers
        self._at_once = True
        self._unsent = b""
        super().__init__(*arguments)

    def startReading(self) -> None:
        self.readers.add(self)

    def stopReading(self) -> None:
        self.readers.remove(self)

    def doRead(self) -> Any:
        try:
            data = self.socket.recv(self.bufferSize)
        except BlockingIOError:
            return None
        except OSError:
            return CONNECTION_LOST
        if not data:
            return CONNECTION_DONE
        if len(data) > BULK or self.TLS:
            self.readers.send()
            if not self.connected or self._aborting:
                return None
        self.protocol.dataReceived(data)
        return None

    def write(self, data: bytes) -> None:
        if not self._at_once or not isinstance(data, bytes):
            # What is no bytes is refused there.
            super().write(data)
            return
        writing = self.readers.writing
        if writing is None:
            self._unsent = data
            self.send_unsent()
        elif not self._unsent:
            self._unsent = data
            writing.append(self)
        else:
            self._unsent += data
            if len(self._unsent) > self.bufferSize:
                self.send_unsent()

    def writeSequence(self, iovec: Iterable[bytes]) -> None:
        self.write(b"".join(iovec))

    def send_unsent(self) -> None:
        """
        Send what waits for the end of the turn, and queue what the kernel does not take.
        """
        data, self._unsent = self._unsent, b""
        if not data or not self._at_once:
            # It went another way, or the connection was lost or aborted.
            return
        try:
            sent = self.socket.send(data)
        except OSError:
            # There is no room, or the connection is lost, as the reactor will find out too.
            sent = 0
        if sent < len(data):
            super().write(data[sent:])

    def _queue_unsent(self) -> None:
        """
        Go the usual way from here on.
        """
        self._at_once = False
        data, self._unsent = self._unsent, b""
        if data:
            super().write(data)

    def startWriting(self) -> None:
        self._queue_unsent()
        super().startWriting()

    def stopWriting(self) -> None:
        super().stopWriting()
        self.look_whether_at_once()

    def look_whether_at_once(self) -> None:
        # A producer that is asked for more gets its turn when something has left the queue.
        pulled = self.producer is not None and not self.streamingProducer
        closing = self.disconnecting or self._writeDisconnecting
        ending = closing or self._aborting or not self.connected
        self._at_once = not (self.TLS or pulled or ending or self._queues())

    def _queues(self) -> bool:
        """
        Whether it has something to send.
        """
        # Twisted keeps that in these two.
        return bool(self.dataBuffer or self._tempDataBuffer)

    def lingers(self) -> bool:
        """
        Whether the reactor ends it, or has: something was written since, or it was aborted.
        """
        return not self.connected or self._aborting or self._queues()

    def loseConnection(self) -> None:
        if self._at_once and self.producer is None and self.readers.writing is not None:
            self.stopReading()
            self.disconnecting = True
            self.readers.leave(self)
        else:
            super().loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        if not streaming:
            self._queue_unsent()
        super().registerProducer(producer, streaming)

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:
        self.send_unsent()
        self._at_once = False
        super().startTLS(contextFactory, normal)


def make_wire(transport: Any, readers: Readers) -> None:
    """
    Make a plain TCP connection of Twisted's a `Wire`; any other transport stays as it is.

    Those that its port accepts after it are wires in the first place, which takes less memory and
    time.
    """
    plain = type(transport) is Server and IReactorFDSet.providedBy(transport.reactor)
    if not plain or not hasattr(select, "epoll") or not readers.open():
        return
    transport.stopReading()
    transport.__class__ = Wire
    transport.readers = readers
    transport._unsent = b""
    # TLS may be on, or something written, before anybody asks for a wire.
    transport.look_whether_at_once()
    transport.startReading()
    port: Any = transport.server
    if type(port) is Port and port.transport is Server:
        # What is called there may be anything that takes what a Server takes.
        port.transport = partial(_accept, readers)  # type: ignore[assignment]


def _accept(readers: Readers, sock: Any, protocol: Any, *others: Any) -> Server:
    """
    The connection that a port has accepted.
    """
    if getattr(protocol, "uses_wire", False) and readers.open():
        return Wire(readers, sock, protocol, *others)
    return Server(sock, protocol, *others)
