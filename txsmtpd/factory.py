"""
The factory: settings, handlers and extensions, made once into what every connection shares.
"""

from __future__ import annotations

import difflib
import socket
from collections.abc import Callable, Iterable, Iterator, Sequence
from copy import copy
from functools import partial
from itertools import filterfalse
from typing import Any

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IReactorTime
from twisted.internet.protocol import ServerFactory

from .census import Census
from .core.content import Budget
from .core.rules import Rules, make_rules
from .core.settings import Settings
from .core.verbs import LMTP_VERBS, VERBS
from .deadline import Deadlines
from .extensions.auth import Auth
from .extensions.base import Extension
from .extensions.chunking import Chunking
from .extensions.deliverby import DeliverBy
from .extensions.dsn import DeliveryStatus
from .extensions.eight_bit_mime import BinaryMIME, EightBitMIME
from .extensions.enhanced_status_codes import EnhancedStatusCodes
from .extensions.futurerelease import FutureRelease
from .extensions.limits import Limits
from .extensions.mt_priority import MTPriority
from .extensions.pipelining import Pipelining
from .extensions.requiretls import RequireTLS
from .extensions.size import Size
from .extensions.smtputf8 import SMTPUTF8
from .extensions.starttls import StartTLS
from .extensions.xclient import XClient
from .extensions.xforward import XForward
from .interfaces import IExtension
from .login import make_login, mechanisms_of, portal_of
from .overrides import verbs_of
from .protocol import SMTP
from .sasl import MECHANISMS
from .wire import Readers

#: Makes an extension for a server with the given settings: usually its class.
ExtensionMaker = Callable[[Settings], IExtension]

#: What is offered unless the factory is told otherwise, in the order of the EHLO reply.
DEFAULT: tuple[ExtensionMaker, ...] = (
    Pipelining,
    Size,
    StartTLS,
    Auth,
    XClient,
    XForward,
    EightBitMIME,
    BinaryMIME,
    SMTPUTF8,
    EnhancedStatusCodes,
    DeliveryStatus,
    Chunking,
    Limits,
)


def _check_combination(settings: Settings) -> None:
    """
    :raise ValueError: for a setting that cannot work alone.
    """
    if settings.context_factory is None and (settings.require_starttls or settings.implicit_tls):
        raise ValueError("require_starttls and implicit_tls want a context_factory")
    if settings.login is None and settings.auth_required:
        raise ValueError("auth_required wants an authenticator, a portal or checkers")


#: What is offered only where somebody says that it is honoured, since the standards forbid more:
#: a handler by its attribute `honours`, or who makes the factory by its argument `extensions`.
OPTIONAL: dict[str, type[Extension]] = {
    "DELIVERBY": DeliverBy,
    "FUTURERELEASE": FutureRelease,
    "MT-PRIORITY": MTPriority,
    "REQUIRETLS": RequireTLS,
}


def _honoured_by(handlers: Iterable[object]) -> Iterator[type[Extension]]:
    """
    The optional extensions that some handler honours, in the order of `OPTIONAL`.

    :raise TypeError: for a name that is none of them, or an attribute that is nearly called
        `honours`: either would be silence.
    """
    said: set[str] = set()
    for handler in handlers:
        name = type(handler).__name__
        for near in difflib.get_close_matches("honours", dir(handler), cutoff=0.85):
            if near != "honours":
                raise TypeError(f"{name} has {near}: call it honours")
        names = getattr(handler, "honours", ())
        strange = [names] if isinstance(names, str) else [*filterfalse(OPTIONAL.get, names)]
        if strange:
            known = ", ".join(OPTIONAL)
            raise TypeError(f"{name} honours {strange[0]!r}, but wants a tuple of any of {known}")
        said.update(names)
    return (maker for name, maker in OPTIONAL.items() if name in said)


class SMTPFactory(ServerFactory):
    """
    Makes an SMTP server of one or more handlers.

    :param handler: an object that declares hooks of :mod:`txsmtpd.interfaces`.
    :param more: handlers that are asked after it, as a chain.
    :param reactor: where time comes from; None is the reactor that is installed.
    :param extensions: makers of service extensions, usually ``(*DEFAULT, MyExtension)``.  Those of
        :data:`~txsmtpd.factory.OPTIONAL` that a handler honours are added to them.
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
        own = [found for each in (handler, *more) for found in mechanisms_of(each)]
        if own:
            known = MECHANISMS if checked.mechanisms is None else checked.mechanisms
            checked = attrs.evolve(checked, mechanisms=(*known, *own))
        if checked.portal is None:
            checked = attrs.evolve(checked, portal=portal_of((handler, *more)))
        if checked.login is None:
            checked = attrs.evolve(checked, login=make_login(checked))
        _check_combination(checked)
        self.settings: Settings = checked
        self._handlers = (handler, *more)
        self._extensions = extensions
        self._budget = Budget(checked.content_memory)
        self.census = Census(checked, reactor)
        self.readers = Readers()
        self.deadlines = Deadlines(reactor)
        self.rules = self._make_rules()

    def beside(self, protocol: Any = None, **settings: Any) -> SMTPFactory:
        """
        Another factory for the same server, which serves another port in another way: it has the
        same handlers, and what limits are judged by is counted over both.

        :param protocol: the class of its connections, if that is another.
        :param settings: those that differ.
        """
        other = copy(self)
        other.numPorts = 0
        other.protocol = protocol or self.protocol
        other.settings = attrs.evolve(self.settings, **settings)
        _check_combination(other.settings)
        other.rules = other._make_rules()
        return other

    def _make_rules(self) -> Rules:
        self._protocol = self.protocol
        lmtp = self.protocol.lmtp
        makers = [*self._extensions]
        if lmtp:
            # RFC 2033 section 5 wants them.
            wanted: tuple[ExtensionMaker, ...] = (Pipelining, EnhancedStatusCodes)
            makers += [maker for maker in wanted if maker not in makers]
        extensions = [make(self.settings) for make in makers]
        for honoured in _honoured_by(self._handlers):
            if not any(isinstance(extension, honoured) for extension in extensions):
                extensions.append(honoured(self.settings))
        return make_rules(
            self.settings,
            self._handlers,
            extensions,
            LMTP_VERBS if lmtp else VERBS,
            lmtp=lmtp,
            budget=self._budget,
            replace=partial(verbs_of, self.protocol),
        )

    def startFactory(self) -> None:
        self.census.reopen()

    def buildProtocol(self, addr: IAddress | None) -> Any:
        if self.protocol is not self._protocol:
            # It was set on the instance, as Twisted's factories allow.
            self.rules = self._make_rules()
        protocol = self.protocol()
        protocol.factory = self
        return protocol

    def drain(self) -> Deferred[None]:
        """
        Let every client go, through whichever port it has come: idle ones at once, others when
        their message has ended, and all within :data:`~txsmtpd.census.GRACE` seconds.

        :return: fires when no connection is left, and no delivery that outlives its client.
        """
        return self.census.drain()
