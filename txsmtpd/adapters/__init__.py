"""
Handlers that were written for something else, as they are: for aiosmtpd, for the ``smtpd`` module
that Python had until 3.11, and for ``twisted.mail.smtp``.

Under ``--handler`` :func:`adapt` chooses by looking at the object, and the log says what it chose.
In a program, wrap the handler::

    SMTPFactory(adapters.aiosmtpd(TheirHandler()))

Reply texts and what is refused before a handler is asked are this package's own; see
:doc:`/howto/migrate` for what differs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from twisted.cred.portal import Portal
from twisted.logger import Logger

from ..core.hooks import HOOKS
from .credentials import authenticator
from .for_aiosmtpd import ONLY_OURS, from_cli, hooks_in, methods_in, might_be, nearly_hooks
from .for_aiosmtpd import AiosmtpdHandler as _AiosmtpdHandler
from .for_smtpd import ProcessMessage as _ProcessMessage

__all__ = [
    "adapt",
    "aiosmtpd",
    "authenticator",
    "from_cli",
    "kind_of",
    "message_delivery",
    "process_message",
]

_log = Logger()


def aiosmtpd(handler: object) -> Any:
    """
    A handler that was written for aiosmtpd, and any object without hooks accepts all mail there.

    Coroutines may wait for what is asyncio's where its loop runs, as it does under
    ``twistd --reactor asyncio``.

    :raise TypeError: for a ``handle_EHLO`` that takes neither four nor five arguments.
    :raise ValueError: for a mechanism whose name cannot be one.
    """
    for stray, hook in nearly_hooks(handler):
        _log.warn(
            "handler {handler} has {stray}, which nobody calls: the hook is {hook}",
            event="adapter",
            handler=_name_of(handler),
            kind="aiosmtpd",
            stray=stray,
            hook=hook,
        )
    return _AiosmtpdHandler(handler)


def _name_of(handler: object) -> str:
    return f"{type(handler).__module__}.{type(handler).__qualname__}"


def process_message(handler: object) -> Any:
    """
    An object with a method ``process_message(peer, mailfrom, rcpttos, data, **kwargs)``, as it was
    written for the ``smtpd`` module.
    """
    return _ProcessMessage(handler)


def message_delivery(delivery: object) -> Any:
    """
    What was written for ``twisted.mail.smtp``: an ``IMessageDelivery``, an
    ``IMessageDeliveryFactory``, or a `twisted.cred.portal.Portal` whose realm gives one of them to
    who logs in and perhaps to who does not.
    """
    # Most servers do without.
    from .for_twisted_mail import DeliveryHandler, PortalHandler

    if isinstance(delivery, Portal):
        return PortalHandler(delivery)
    return DeliveryHandler(delivery)


_ADAPTERS: dict[str, Callable[[Any], Any]] = {
    "aiosmtpd": aiosmtpd,
    "smtpd": process_message,
    "twisted.mail": message_delivery,
}


def kind_of(handler: object) -> str | None:
    """
    What a handler was written for.

    :return: ``"txsmtpd"``, ``"aiosmtpd"``, ``"smtpd"``, ``"twisted.mail"``, or None if nobody can
        tell: it may be meant for this package and have forgotten to say so.
    """
    if any(interface.providedBy(handler) for interface in HOOKS.values()):
        return "txsmtpd"
    if isinstance(handler, Portal) or _delivers(handler):
        return "twisted.mail"
    if any(callable(getattr(handler, name, None)) for name in ONLY_OURS):
        return None
    if hooks_in(handler) or methods_in(handler) or might_be(handler):
        return "aiosmtpd"
    return "smtpd" if callable(getattr(handler, "process_message", None)) else None


def _delivers(handler: object) -> bool:
    # Who declares these interfaces has imported them.
    mail: Any = sys.modules.get("twisted.mail.interfaces")
    declared = () if mail is None else (mail.IMessageDelivery, mail.IMessageDeliveryFactory)
    if any(interface.providedBy(handler) for interface in declared):
        return True
    return all(callable(getattr(handler, name, None)) for name in ("validateFrom", "validateTo"))


def adapt(handler: object) -> Any:
    """
    Wrap a handler in the adapter for its kind, and log which one that is.

    :return: the handler itself if it was written for this package.
    :raise TypeError: if nobody can tell what it was written for.
    """
    kind = kind_of(handler)
    if kind == "txsmtpd":
        return handler
    name = _name_of(handler)
    if kind is None:
        raise TypeError(
            f"{name} is no handler for txsmtpd, aiosmtpd, smtpd or twisted.mail: decorate its class"
            " with @txsmtpd.hooks if it has hooks"
        )
    adapted = _ADAPTERS[kind](handler)
    _log.info(
        "handler {handler} was written for {kind} and is adapted",
        event="adapter",
        handler=name,
        kind=kind,
    )
    return adapted
