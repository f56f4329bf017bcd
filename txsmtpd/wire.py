"""
TCP connections with less of the reactor around each read and write.

What a reactor does around a read or a write costs more than to obey a short command.  Two things
can be spared on a plain TCP connection:

- Before every read the reactor makes a logging context, from which the old ``twisted.python.log``
  knows whose doing it is; ours says that itself.  Here the connections of a factory have one reader
  in common: an epoll object, which is readable when any of them is.  So there is one such context
  in a turn of the reactor, and not one for each.
- `transport.write` only queues: the reactor asks the kernel whether the socket is writable, and
  writes in its next turn.  Here what is written is sent at once if nothing is queued.  What the
  kernel does not take goes the usual way, which keeps the order and the back-pressure, and so does
  everything under TLS.  `loseConnection` is such a detour too: if nothing is queued, the connection
  ends with the turn.
"""

from __future__ import annotations

import select
from collections.abc import Callable
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
        self._reading = False
        # Those that end with this turn.
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
        self._reading = True
        try:
            for descriptor, _ in self._epoll.poll(0):
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
            self._reading = False
            while self._leaving:
                connection = self._leaving.pop()
                if not connection.lingers():
                    self._tell(connection.connectionLost, connectionDone)

    def leave(self, connection: Wire) -> bool:
        """
        Let a connection that has nothing to send end with this turn.

        :return: whether it is a turn of ours.
        """
        if self._reading:
            self._leaving.append(connection)
        return self._reading

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

    # Whether what is written may go to the socket at once: nothing is queued, and it is not one of
    # TLS by now.  Twisted says by `startWriting` and `stopWriting` whether there is a queue.
    _at_once: bool
    readers: Readers

    def __init__(self, readers: Readers, *arguments: Any) -> None:
        self.readers = readers
        self._at_once = True
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
        self.protocol.dataReceived(data)
        return None

    def write(self, data: bytes) -> None:
        if self._at_once:
            try:
                sent = self.socket.send(data)
            except OSError:
                # There is no room, or the connection is lost, as the reactor will find out too.
                sent = 0
            if sent == len(data):
                return
            data = data[sent:]
        super().write(data)

    def startWriting(self) -> None:
        self._at_once = False
        super().startWriting()

    def stopWriting(self) -> None:
        super().stopWriting()
        self.look_whether_at_once()

    def look_whether_at_once(self) -> None:
        # A producer that is asked for more gets its turn when something has left the queue.
        pulled = self.producer is not None and not self.streamingProducer
        ending = not self.connected or self.disconnecting or self._aborting
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
        if self._at_once and self.producer is None and self.readers.leave(self):
            self.stopReading()
            self.disconnecting = True
            self._at_once = False
        else:
            super().loseConnection()

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        self._at_once = self._at_once and streaming
        super().registerProducer(producer, streaming)

    def startTLS(self, contextFactory: Any, normal: bool = True) -> None:
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
