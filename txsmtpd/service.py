"""
A service that listens, and that starts and ends well.

Twisted's own ``StreamServerEndpointService`` logs that it cannot listen and goes on without a port.
Who starts a mail server wants to be told, and wants the process to end, so what can go wrong at the
start becomes one sentence and exit status 1 here.

Some of Twisted's endpoints leave behind or take away what they should not, so there are three of
our own: for unix sockets, for sockets that systemd has opened, and for standard input.
"""

from __future__ import annotations

import errno
import os
import stat
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from socket import AF_INET, AF_INET6, AF_UNIX, SO_ACCEPTCONN, SOL_SOCKET, socket
from typing import Any, NoReturn

import attrs
from twisted.application.service import MultiService
from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    execute,
    fail,
    maybeDeferred,
    succeed,
)
from twisted.internet.error import (
    CannotListenError,
    ConnectionAborted,
    ConnectionDone,
    ReactorNotRunning,
)
from twisted.internet.interfaces import (
    IAddress,
    IFileDescriptor,
    IListeningPort,
    IReactorCore,
    IStreamServerEndpoint,
)
from twisted.internet.protocol import connectionDone
from twisted.internet.stdio import PipeAddress, StandardIO
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from .factory import SMTPFactory
from .handlers.base import HandlerError


class CannotStart(SystemExit, Exception):
    """
    The service cannot start, for the reason that this says in one sentence.

    It is a SystemExit: the process ends with status 1 and no traceback.  It is an Exception too,
    because only for those does twistd remove its PID file and tell the process that waits for a
    daemon to start.
    """

    def __init__(self, sentence: str) -> None:
        super().__init__(sentence)
        self.code = 1


@attrs.frozen
class Listener:
    """
    One endpoint and what serves its clients.
    """

    endpoint: IStreamServerEndpoint
    factory: SMTPFactory
    #: What the endpoint is called when it cannot listen, such as ``port 25``.
    description: str


def _shown(address: IAddress) -> str:
    if isinstance(address, IPv4Address):
        return f"{address.host}:{address.port}"
    if isinstance(address, IPv6Address):
        return f"[{address.host}]:{address.port}"
    if isinstance(address, UNIXAddress) and address.name:
        return f"unix:{address.name.decode('utf-8', 'replace')}"
    if isinstance(address, PipeAddress):
        return "standard input"
    return str(address)


def _reason(failure: Failure) -> str:
    error = failure.value
    cause = error.socketError if isinstance(error, CannotListenError) else error
    return getattr(cause, "strerror", None) or str(cause) or type(cause).__name__


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
        family = self._family()
        if family is None:
            _Pipe(self.buildProtocol(PipeAddress()), self.stdin, self.stdout, self.reactor)
            return
        # As a real socket it has a peer, and can do TLS.
        os.set_blocking(self.stdin, False)
        self.reactor.adoptStreamConnection(self.stdin, family, self)
        os.close(self.stdin)
        os.close(self.stdout)

    def _family(self) -> int | None:
        """
        The family of the socket that is both our input and our output, if there is one.
        """
        source, target = os.fstat(self.stdin), os.fstat(self.stdout)
        if not stat.S_ISSOCK(source.st_mode) or not os.path.samestat(source, target):
            return None
        with socket(fileno=os.dup(self.stdin)) as both:
            return both.family if both.family in (AF_INET, AF_INET6, AF_UNIX) else None

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

    def listen(self, protocolFactory: Any) -> Deferred[IListeningPort]:
        port = _StdioPort(self._reactor, protocolFactory, self._stdin, self._stdout)
        # Not before privileges are dropped and handlers are prepared.
        self._reactor.callWhenRunning(port.startListening)
        return succeed(port)


class SMTPService(MultiService):
    """
    Servers that start and stop together.

    :param handlers: those of them that have a ``prepare()`` method are asked to prepare themselves
        once privileges are dropped.
    :param program: who speaks on stderr.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorCore,
        listeners: Sequence[Listener],
        handlers: Iterable[object] = (),
        program: str = "twistd smtpd",
    ) -> None:
        super().__init__()
        self.listeners = listeners
        self.handlers = list(handlers)
        self.program = program
        self._reactor = reactor
        self._openings: list[Deferred[None]] = []
        self._ports: list[IListeningPort] = []
        #: Why it could not listen.
        self.trouble: str | None = None

    def privilegedStartService(self) -> None:
        """
        Listen.

        :raise CannotStart: if an endpoint cannot.
        """
        super().privilegedStartService()
        for listener in self.listeners:
            opening = maybeDeferred(listener.endpoint.listen, listener.factory)
            self._openings.append(
                opening.addCallbacks(self._opened, self._refused, errbackArgs=(listener,))
            )
            if self.trouble is not None:
                self._give_up(self.trouble)

    def startService(self) -> None:
        """
        Prepare the handlers, and listen if nobody did with privileges: ``twist`` asks only for
        this.

        :raise CannotStart: if a handler or an endpoint cannot.
        """
        for handler in self.handlers:
            self._prepare(handler)
        if not self._openings:
            self.privilegedStartService()
        super().startService()

    def stopService(self) -> Deferred[None]:
        """
        Listen no more, then let what has begun come to its end.
        """
        others = super().stopService()
        return Deferred.fromCoroutine(self._stop(others))

    async def _stop(self, others: Deferred[Any]) -> None:
        for opening in self._openings:
            opening.cancel()
        closings = [
            maybeDeferred(port.stopListening).addErrback(self._not_closed, port)
            for port in self._ports
        ]
        await DeferredList(closings)
        factories = dict.fromkeys(listener.factory for listener in self.listeners)
        await DeferredList([factory.drain() for factory in factories])
        await others

    def _opened(self, port: IListeningPort) -> None:
        self._ports.append(port)
        self._log.info("listening on {address}", address=_shown(port.getHost()))

    def _refused(self, failure: Failure, listener: Listener) -> None:
        if failure.check(CancelledError):
            return
        sentence = f"cannot listen on {listener.description}: {_reason(failure)}"
        self.trouble = " ".join(sentence.split())
        if self.running:
            # This endpoint needed a running reactor to find out, where an exception ends nothing.
            self._say(self.trouble)
            self._reactor.stop()

    def _prepare(self, handler: object) -> None:
        try:
            getattr(handler, "prepare", lambda: None)()
        except HandlerError as error:
            self._give_up(str(error))

    def _not_closed(self, failure: Failure, port: IListeningPort) -> None:
        # The usual case is a unix socket in a directory where only root may remove it.
        self._log.warn("cannot stop listening: {reason}", reason=_reason(failure))
        if isinstance(port, unix.Port):
            # It stumbled over the file and went no further.  Who comes now would wait in vain.
            tcp.Port.connectionLost(port, failure)

    def _say(self, sentence: str) -> None:
        self._log.error("{sentence}", sentence=sentence)
        # By now sys.stderr may be the log, and that a file which nobody watches.
        print(f"{self.program}: {sentence}", file=sys.__stderr__)

    def _give_up(self, sentence: str) -> NoReturn:
        """
        End the process.

        A port closes in the reactor's next turn, which will not come.  It is closed here, because
        the file of a unix socket would outlive us.
        """
        for port in self._ports:
            if IFileDescriptor.providedBy(port):
                with suppress(OSError):
                    port.connectionLost(Failure(ConnectionDone()))
        self._say(sentence)
        raise CannotStart(sentence)
