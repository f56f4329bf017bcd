"""
A service that listens, and that starts and ends well.

Twisted's own ``StreamServerEndpointService`` logs that it cannot listen and goes on without a port.
Who starts a mail server wants to be told, and wants the process to end, so what can go wrong at the
start becomes one sentence and exit status 1 here.

"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any, NoReturn

import attrs
from twisted.application.service import MultiService
from twisted.internet import tcp, unix
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import (
    CancelledError,
    Deferred,
    DeferredList,
    maybeDeferred,
)
from twisted.internet.error import (
    CannotListenError,
    ConnectionDone,
)
from twisted.internet.interfaces import (
    IAddress,
    IFileDescriptor,
    IListeningPort,
    IReactorCore,
    IStreamServerEndpoint,
)
from twisted.internet.stdio import PipeAddress
from twisted.logger import Logger
from twisted.python.failure import Failure

from .factory import SMTPFactory
from .handlers.base import HandlerError

#: Files that a process has open beside those of its clients.
SPARE_FILES = 64


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


class SMTPService(MultiService):
    """
    Servers that start and stop together.

    It raises the process's limit on open files to what the limits on connections come to.

    :param handlers: those of them that have a ``prepare()`` method are asked to prepare themselves
        once privileges are dropped, those that have a ``stop()`` method when all clients have gone.
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
        self._make_room()
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
        await DeferredList([listener.factory.drain() for listener in self.listeners])
        await DeferredList([self._stop_handler(handler) for handler in self.handlers])
        await others
        self._openings, self._ports = [], []

    def _make_room(self) -> None:
        """
        Raise the number of files that the process may have open, as far as it may itself, to what
        the limits on connections come to.
        """
        factories = [listener.factory for listener in self.listeners]
        # Several may count together.
        limits_of = {factory.census: factory.settings.max_connections for factory in factories}
        # A connection is a file, and the message that comes by it is another.
        limits = limits_of.values()
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        # Where connections are not limited, files are the limit.
        wanted = 2 * sum(limits) + SPARE_FILES if all(limits) else hard
        if soft == resource.RLIM_INFINITY or (wanted != resource.RLIM_INFINITY and soft >= wanted):
            return
        allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        # Some systems have a limit of their own that they do not tell.
        with suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
            soft = allowed
        if soft < wanted:
            self._log.warn(
                "{wanted} open files may be needed, and only {allowed} are allowed",
                event="files",
                wanted=wanted,
                allowed=soft,
            )

    def _opened(self, port: IListeningPort) -> None:
        self._ports.append(port)
        address = _shown(port.getHost())
        self._log.info("listening on {address}", event="listening", address=address)

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

    def _stop_handler(self, handler: object) -> Deferred[Any]:
        stopping = maybeDeferred(getattr(handler, "stop", lambda: None))
        return stopping.addErrback(self._not_stopped)

    def _not_stopped(self, failure: Failure) -> None:
        self._log.failure("a handler cannot be stopped", failure, event="closing")

    def _not_closed(self, failure: Failure, port: IListeningPort) -> None:
        # The usual case is a unix socket in a directory where only root may remove it.
        reason = _reason(failure)
        self._log.warn("cannot stop listening: {reason}", event="closing", reason=reason)
        if isinstance(port, unix.Port):
            # It stumbled over the file and went no further.  Who comes now would wait in vain.
            tcp.Port.connectionLost(port, failure)

    def _say(self, sentence: str) -> None:
        self._log.error("{sentence}", event="start", sentence=sentence)
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
