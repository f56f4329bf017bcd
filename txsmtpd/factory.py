"""
The factory: settings, handlers and extensions, made once into what every connection shares.
"""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import count
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.internet.protocol import ServerFactory

from .core import replies
from .core.replies import Reply
from .core.rules import Rules, make_rules
from .core.settings import Settings
from .core.verbs import VERBS
from .extensions.chunking import Chunking
from .extensions.eight_bit_mime import EightBitMIME
from .extensions.enhanced_status_codes import EnhancedStatusCodes
from .extensions.limits import Limits
from .extensions.pipelining import Pipelining
from .extensions.size import Size
from .extensions.smtputf8 import SMTPUTF8
from .interfaces import IExtension
from .overrides import verbs_of
from .protocol import SMTP

#: Makes an extension for a server with the given settings: usually its class.
ExtensionMaker = Callable[[Settings], IExtension]

#: What is offered unless the factory is told otherwise, in the order of the EHLO reply.
DEFAULT: tuple[ExtensionMaker, ...] = (
    Pipelining,
    Size,
    EightBitMIME,
    SMTPUTF8,
    EnhancedStatusCodes,
    Chunking,
    Limits,
)

#: Seconds that messages which are under way get to end when the server stops.
GRACE = 30


class SMTPFactory(ServerFactory):
    """
    Makes an SMTP server of one or more handlers.

    :param handler: an object that declares hooks of :mod:`txsmtpd.interfaces`.
    :param more: handlers that are asked after it, as a chain.
    :param reactor: where time comes from; None is the reactor that is installed.
    :param extensions: makers of service extensions, usually ``(*DEFAULT, MyExtension)``.
    :param settings: the fields of :class:`~txsmtpd.core.settings.Settings`.
    :raise TypeError: for a handler that declares no hook or one wrongly, or an unknown setting.
    :raise ValueError: for a setting out of range, or extensions that claim the same thing.
    """

    #: The class of each connection: :class:`~txsmtpd.protocol.SMTP` or a subclass of it.
    protocol: Any = SMTP
    noisy = False

    def __init__(
        self,
        handler: object,
        *more: object,
        reactor: IReactorTime | None = None,
        extensions: Sequence[ExtensionMaker] = DEFAULT,
        **settings: Any,
    ) -> None:
        if reactor is None:
            from twisted.internet import reactor as installed

            reactor = installed
        self.reactor: Any = reactor
        checked = Settings(**settings)
        if not checked.hostname:
            checked = attrs.evolve(checked, hostname=socket.getfqdn())
        self.settings: Settings = checked
        self._handlers = (handler, *more)
        self._extensions = [make(checked) for make in extensions]
        self.rules = self._make_rules()
        self._connections: set[SMTP] = set()
        self._hosts: Counter[str] = Counter()
        self._numbers = count(1)
        # Tells the sessions of this start of the server from those of another in the same log.
        self._start = f"{int(self.reactor.seconds()):x}"
        #: What goes on although its client has gone.
        self._unfinished: set[Deferred[Any]] = set()
        #: Whether there is no time left to wait for that.
        self._given_up = False
        self._emptied: Deferred[None] | None = None
        self._last_call: IDelayedCall | None = None

    def _make_rules(self) -> Rules:
        self._protocol = self.protocol
        replace = partial(verbs_of, self.protocol)
        return make_rules(self.settings, self._handlers, self._extensions, VERBS, replace)

    def startFactory(self) -> None:
        # It may have been drained before, and not be empty yet.
        if self._emptied is not None and not self._emptied.called:
            self._give_up_waiting(self._emptied)
        self._emptied, self._given_up = None, False

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self.protocol is not self._protocol:
            # It was set on the instance, as Twisted's factories allow.
            self.rules = self._make_rules()
        protocol = self.protocol()
        protocol.factory = self
        return protocol

    # What a connection asks for.

    def next_session_id(self) -> str:
        """
        A name for a session: of the server's start and a number.
        """
        return f"{self._start}-{next(self._numbers)}"

    def admit(self, protocol: SMTP) -> Reply | None:
        """
        Count a connection in, or say why not.
        """
        if self._emptied is not None:
            return replies.SHUTTING_DOWN
        host = self._host(protocol)
        total, each = self.settings.max_connections, self.settings.max_connections_per_host
        if 0 < total <= len(self._connections) or (host and 0 < each <= self._hosts[host]):
            return replies.TOO_MANY_CONNECTIONS
        self._connections.add(protocol)
        self._hosts[host] += 1
        return None

    def release(self, protocol: SMTP) -> None:
        """
        Count a connection out that was admitted.
        """
        self._connections.discard(protocol)
        host = self._host(protocol)
        self._hosts[host] -= 1
        if not self._hosts[host]:
            del self._hosts[host]
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

    def _host(self, protocol: SMTP) -> str:
        # A unix socket has no host and counts only towards the total.
        return getattr(protocol.transport.getPeer(), "host", "")

    # How it stops.

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
                self._last_call = self.reactor.callLater(GRACE, self._abort_all)
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
