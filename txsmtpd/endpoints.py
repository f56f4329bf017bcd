"""
Endpoints of our own: for unix sockets, for sockets that systemd has opened, and for standard input.

Some of Twisted's leave behind or take away what they should not.
"""

from __future__ import annotations

import errno
import os
import stat
from contextlib import suppress
from socket import AF_INET, AF_INET6, AF_UNIX, SO_ACCEPTCONN, SOL_SOCKET, socket
from typing import Any

import attrs
from twisted.internet import tcp, unix
from twisted.internet.defer import (
    Deferred,
    execute,
    fail,
    succeed,
)
from twisted.internet.error import (
    CannotListenError,
    ConnectionAborted,
    ReactorNotRunning,
)
from twisted.internet.interfaces import (
    IAddress,
    IListeningPort,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import connectionDone
from twisted.internet.stdio import PipeAddress, StandardIO
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer


def _remove_stale(path: str) -> None:
    """
    Remove the file of a socket where nobody listens any more.

    :raise OSError: if somebody does, or if it cannot be found out.
    """
    with suppress(FileNotFoundError), socket(AF_UNIX) as probe:
        probe.setblocking(False)
        try:
            probe.connect(path)
        except ConnectionRefusedError:
            if not stat.S_ISSOCK(os.stat(path).st_mode):
                raise FileExistsError(errno.EEXIST, "there is a file that is no socket") from None
            os.unlink(path)
        except BlockingIOError:
            # Somebody has more clients than time.
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)) from None
        else:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    with suppress(FileNotFoundError):
        os.unlink(f"{path}.lock")


@implementer(IStreamServerEndpoint)
@attrs.frozen
class UNIXEndpoint:
    """
    A unix socket that may be left over from a server which was killed.

    Twisted's endpoint looks for the process that the lock file names.  After a restart of the
    machine, or of a container, where each start has the same process number, that is another
    process or even this one, and Twisted would refuse to start for ever.  Worse, when somebody
    else listens there, it fails but leaves its lock, and then takes the socket away the next time.
    Whether somebody answers is the better question.
    """

    path: str
    endpoint: IStreamServerEndpoint

    def listen(self, protocolFactory: Any) -> Deferred[IListeningPort]:
        try:
            _remove_stale(self.path)
        except OSError as error:
            return fail(CannotListenError(None, self.path, error))
        return self.endpoint.listen(protocolFactory)


class _InheritedUNIXPort(unix.Port):
    """
    A unix socket that belongs to someone else.

    Twisted's own way to adopt one makes it writable for everybody, and at the end removes its file
    and shuts it down for all who hold it.
    """

    _shouldShutdown = False

    def startListening(self) -> None:
        factory: Any = self.factory
        factory.doStart()
        self.connected = True
        self.fileno = self.socket.fileno  # type: ignore[method-assign]
        self.numberAccepts = 100
        self.startReading()

    def connectionLost(self, reason: Failure) -> None:
        tcp.Port.connectionLost(self, reason)


@implementer(IStreamServerEndpoint)
@attrs.frozen
class InheritedEndpoint:
    """
    A socket that whoever started this process has opened, of whatever family it is.

    systemd's ``ListenStream=25`` is an IPv6 socket, which few call INET6 in their endpoint string.
    """

    reactor: Any
    fileno: int

    def listen(self, protocolFactory: Any) -> Deferred[IListeningPort]:
        return execute(self._adopt, protocolFactory)

    def _adopt(self, factory: Any) -> IListeningPort:
        inherited = socket(fileno=os.dup(self.fileno))
        if not inherited.getsockopt(SOL_SOCKET, SO_ACCEPTCONN):
            inherited.close()
            raise OSError(errno.EINVAL, "it is no socket that listens")
        inherited.setblocking(False)
        port: IListeningPort
        if inherited.family == AF_UNIX:
            port = _InheritedUNIXPort(inherited.getsockname(), factory, reactor=self.reactor)
            port.socket = inherited
            port.startListening()
        else:
            with inherited:
                port = self.reactor.adoptStreamPort(inherited.fileno(), inherited.family, factory)
        os.close(self.fileno)
        return port


# mypy takes it for that of Windows.
_StandardIO: Any = StandardIO


class _Pipe(_StandardIO):  # type: ignore[misc]
    """
    Input and output that are not the same socket.
    """

    def abortConnection(self) -> None:
        if not self.disconnected:
            self.connectionLost(Failure(ConnectionAborted()))

    def childConnectionLost(self, fd: str, reason: Failure) -> None:
        if fd == "write" and not self.disconnected:
            # Nobody hears us any more.
            self.connectionLost(reason)
        else:
            super().childConnectionLost(fd, reason)


def _family_of(stdin: int, stdout: int) -> int | None:
    """
    The family of the socket that is both our input and our output, if there is one.
    """
    source, target = os.fstat(stdin), os.fstat(stdout)
    if not stat.S_ISSOCK(source.st_mode) or not os.path.samestat(source, target):
        return None
    with socket(fileno=os.dup(stdin)) as both:
        return both.family if both.family in (AF_INET, AF_INET6, AF_UNIX) else None


@implementer(IListeningPort)
@attrs.define(eq=False)
class _StdioPort:
    """
    What makes one session, and stops the reactor when it has ended.
    """

    _log = Logger()

    reactor: Any
    factory: Any
    stdin: int
    stdout: int

    def startListening(self) -> None:
        try:
            self._connect()
        except OSError as error:
            # The client has gone already, for example.
            self._log.warn("no session on standard input: {reason}", reason=error.strerror)
            self._ended()

    def stopListening(self) -> None:
        """
        Nothing: nobody else comes.
        """

    def getHost(self) -> IAddress:
        return PipeAddress()

    def _connect(self) -> None:
        family = _family_of(self.stdin, self.stdout)
        if family is None:
            _Pipe(self.buildProtocol(PipeAddress()), self.stdin, self.stdout, self.reactor)
            return
        # As a real socket it has a peer, and can do TLS.
        os.set_blocking(self.stdin, False)
        self.reactor.adoptStreamConnection(self.stdin, family, self)
        os.close(self.stdin)
        os.close(self.stdout)

    def buildProtocol(self, address: IAddress) -> Any:
        protocol = self.factory.buildProtocol(address)
        lost = protocol.connectionLost

        def connectionLost(reason: Failure = connectionDone) -> None:
            lost(reason)
            self._ended()

        protocol.connectionLost = connectionLost
        return protocol

    def _ended(self) -> None:
        with suppress(ReactorNotRunning):
            self.reactor.stop()


@implementer(IStreamServerEndpoint)
class StdioEndpoint:
    """
    One session on standard input and output, after which the process ends, as inetd wants it.
    """

    def __init__(self, reactor: Any) -> None:
        self._reactor = reactor
        self._stdin, self._stdout = 0, 1

    def claim(self) -> None:
        """
        Keep standard input and output for the session.

        Whatever else this process prints goes to stderr instead, and nowhere if that is the client
        too, as it is under inetd.

        :raise OSError: if one of them is closed.
        """
        self._stdin, self._stdout = os.dup(0), os.dup(1)
        null = os.open(os.devnull, os.O_RDWR)
        os.dup2(null, 0)
        target = os.fstat(1)
        if stat.S_ISSOCK(target.st_mode) and os.path.samestat(target, os.fstat(2)):
            os.dup2(null, 2)
        os.dup2(2, 1)
        os.close(null)

    @property
    def is_socket(self) -> bool:
        """
        Whether the session can do TLS.
        """
        return _family_of(self._stdin, self._stdout) is not None

    def listen(self, protocolFactory: Any) -> Deferred[IListeningPort]:
        port = _StdioPort(self._reactor, protocolFactory, self._stdin, self._stdout)
        # Not before privileges are dropped and handlers are prepared.
        self._reactor.callWhenRunning(port.startListening)
        return succeed(port)
