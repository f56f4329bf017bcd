"""
From ``--handler NAME[:ARG]`` to a handler.
"""

from __future__ import annotations

from inspect import ismodule
from typing import Any

from twisted.plugin import getPlugins
from twisted.python.reflect import namedAny

from .. import adapters
from ..interfaces import ISMTPHandlerFactory
from . import mailboxes
from .base import HandlerSpec
from .debug import Debug
from .mbox import Mbox
from .pipe import Pipe
from .reject_unknown import RejectUnknown
from .relay import Relay
from .sink import Sink
from .webhook import Webhook

#: The handlers that have a short name.
BUILTIN: dict[str, HandlerSpec] = {
    spec.name: spec
    for spec in (
        HandlerSpec(
            "debug",
            "debug[:stdout|stderr]",
            "print each message",
            Debug.from_spec,
        ),
        HandlerSpec(
            "maildir",
            "maildir:DIR",
            "deliver into a Maildir, made if missing; one for each recipient if DIR has {address},"
            " {local}, {domain} or {detail}",
            mailboxes.from_spec,
        ),
        HandlerSpec(
            "mbox",
            "mbox:FILE",
            "deliver into an mbox file, made if missing",
            Mbox.from_spec,
        ),
        HandlerSpec(
            "pipe",
            "pipe:COMMAND",
            "run a command for each message, whose exit status is the verdict",
            Pipe.from_spec,
        ),
        HandlerSpec(
            "reject-unknown",
            "reject-unknown:FILE",
            "refuse recipients that are not in a file; goes before others",
            RejectUnknown.from_spec,
        ),
        HandlerSpec(
            "relay",
            "relay:HOST:PORT",
            "pass each message on to the next server while it comes, with its verdicts",
            Relay.from_spec,
        ),
        HandlerSpec(
            "relay-lmtp",
            "relay-lmtp:HOST:PORT",
            "the same for a server of LMTP; or relay-lmtp:unix:/PATH",
            Relay.from_lmtp_spec,
        ),
        HandlerSpec(
            "relay-tls",
            "relay-tls:HOST:PORT[,OPTION...]",
            "the same by TLS with a verified name; options starttls credentials= ca= name=",
            Relay.from_tls_spec,
        ),
        HandlerSpec(
            "sink",
            "sink",
            "accept every message and forget it",
            Sink.from_spec,
        ),
        HandlerSpec(
            "webhook",
            "webhook:URL",
            "post each message to a web server",
            Webhook.from_spec,
        ),
    )
}


def known_handlers() -> dict[str, Any]:
    """
    The handlers that have a short name, by that: :data:`BUILTIN`, and those of plugins, which
    provide :class:`~txsmtpd.interfaces.ISMTPHandlerFactory`.
    """
    plugins: dict[str, Any] = {}
    for plugin in getPlugins(ISMTPHandlerFactory):
        plugins.setdefault(plugin.name, plugin)
    return {**plugins, **BUILTIN}


def make_handler(spec: str) -> Any:
    """
    Make a handler of the value of ``--handler``.

    What was written for aiosmtpd, smtpd or twisted.mail is adapted, see :mod:`txsmtpd.adapters`; if
    it has ``from_cli``, the argument is words, as a shell would take them.

    :param spec: a name of :func:`known_handlers` or the dotted name of a class, either with an
        argument behind a colon.  A class gets the argument if it has `from_spec`, else it is called
        without.
    :raise ValueError: with one sentence that says what is wrong.
    """
    name, colon, rest = spec.partition(":")
    argument = rest if colon else None
    if name in BUILTIN:
        return BUILTIN[name].from_spec(argument)
    if "." not in name:
        return _make_of_plugin(name, argument)
    factory = _find(name)
    try:
        handler = _make(factory, argument)
        # Whatever else it is, the factory that gets it says what it lacks.
        return handler if adapters.kind_of(handler) is None else adapters.adapt(handler)
    except Exception as error:
        raise ValueError(f"handler {name} cannot be made: {_sentence(error)}") from error


def _make_of_plugin(name: str, argument: str | None) -> Any:
    known = known_handlers()
    if name not in known:
        names = ", ".join(sorted(known))
        raise ValueError(f"unknown handler {name!r}: say {names}, or the dotted name of a class")
    try:
        return known[name].from_spec(argument)
    except Exception as error:
        # Other people's.
        syntax = known[name].syntax
        raise ValueError(f"cannot make {syntax}: {_sentence(error)}") from error


def _find(name: str) -> Any:
    try:
        found = namedAny(name)
    except (AttributeError, ValueError) as error:
        # Also what namedAny raises where there is no such module.
        raise ValueError(f"there is no handler {name}: {_sentence(error)}") from error
    except Exception as error:
        # Whatever a module runs into when it is imported.
        raise ValueError(f"handler {name} cannot be imported: {_sentence(error)}") from error
    if ismodule(found) or not callable(found):
        raise ValueError(f"handler {name} is not a class")
    return found


def _make(factory: Any, argument: str | None) -> Any:
    from_spec = getattr(factory, "from_spec", None)
    if from_spec is not None:
        return from_spec(argument)
    if hasattr(factory, "from_cli"):
        return adapters.from_cli(factory, argument)
    if argument is not None:
        raise ValueError("it takes no argument")
    return factory()


def _sentence(error: Exception) -> str:
    # A ValueError is how one says it in words meant for a person.
    words = " ".join(str(error).split())
    if isinstance(error, ValueError) and words:
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__
