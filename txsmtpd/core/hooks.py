"""
Which handler has which hook, found once when the factory is built; and how several handlers make
one chain.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import attrs
from zope.interface import Interface, implementedBy, implementer, providedBy
from zope.interface.exceptions import Invalid
from zope.interface.verify import verifyObject

from .. import interfaces
from .replies import Reply

#: Every hook interface by the name of its one method.
HOOKS: dict[str, type[Interface]] = {
    method: interface
    for interface in (
        interfaces.ICONNECTHook,
        interfaces.IPROXYHook,
        interfaces.IHELOHook,
        interfaces.IEHLOHook,
        interfaces.ISTARTTLSHook,
        interfaces.IMAILHook,
        interfaces.IRCPTHook,
        interfaces.IDATAStartHook,
        interfaces.IContentHook,
        interfaces.IDATAHook,
        interfaces.IRSETHook,
        interfaces.INOOPHook,
        interfaces.IVRFYHook,
        interfaces.IEXPNHook,
        interfaces.IHELPHook,
        interfaces.IQUITHook,
        interfaces.IDISCONNECTHook,
        interfaces.IExceptionHook,
    )
    for method in interface.names()
}

Hook = Callable[..., Any]
C = TypeVar("C", bound=type)


def hooks(cls: C) -> C:
    """
    Declare every hook interface whose method the class defines: a class decorator.

    :raise TypeError: if the class has no hook, or a method that looks like one and is none.
    """
    named = {name for interface in implementedBy(cls) for name in interface}
    _refuse_strays(cls, HOOKS.keys() | named, cls.__name__)
    found = [interface for method, interface in HOOKS.items() if hasattr(cls, method)]
    if not found:
        raise TypeError(f"{cls.__name__} defines no hook, such as handle_RCPT or handle_DATA")
    declare = implementer(*found)
    declare(cls)
    return cls


def _refuse_strays(thing: object, known: Any, name: str) -> None:
    """
    A misspelt hook would silently never be called, so it is an error at once.
    """
    for method in dir(thing):
        if method not in known and _looks_like_a_hook(method):
            complaint = f"{name} has {method}, which none of its interfaces names"
            if method in HOOKS:
                raise TypeError(f"{complaint}: declare {HOOKS[method].__name__}")
            raise TypeError(f"{complaint}: the nearest hook is {_nearest(method)}")


def _looks_like_a_hook(name: str) -> bool:
    if name.startswith("_"):
        return False
    return name.startswith("handle_") or bool(difflib.get_close_matches(name, HOOKS, 1, 0.85))


def _nearest(method: str) -> str:
    by_lower = {name.lower(): name for name in HOOKS}
    (nearest,) = difflib.get_close_matches(method.lower(), by_lower, n=1, cutoff=0)
    return by_lower[nearest]


def _hooks_of(handler: object) -> dict[str, Hook]:
    """
    The hooks that one handler declares, checked.

    :raise TypeError: if it declares none, or one that it does not fulfil, or has a stray.
    """
    name = type(handler).__name__
    provided = {m: i for m, i in HOOKS.items() if i.providedBy(handler)}
    if not provided:
        raise TypeError(
            f"{name} declares no hook of txsmtpd: decorate its class with @txsmtpd.hooks, or wrap"
            " it: txsmtpd.adapters.aiosmtpd(...) for what was written for aiosmtpd,"
            " txsmtpd.adapters.adapt(...) for any kind"
        )
    # Also what other interfaces name, such as that of a base class with hooks of its own.
    named = {name for interface in providedBy(handler) for name in interface}
    _refuse_strays(handler, named, name)
    for interface in provided.values():
        try:
            verifyObject(interface, handler)
        except Invalid as error:
            raise TypeError(str(error)) from error
    return {method: getattr(handler, method) for method in provided}


def is_later(answer: Any) -> bool:
    """
    Whether a hook's answer is a Deferred, a coroutine or another awaitable.
    """
    return hasattr(answer, "__await__")


async def _settled(answer: Any) -> Any:
    return await answer if is_later(answer) else answer


def as_reply(verdict: Any) -> Reply | None:
    """
    A verdict as a reply, or None.

    :raise TypeError: if it is not a verdict.
    :raise ValueError: if it is text that is no reply.
    """
    if verdict is None or isinstance(verdict, Reply):
        return verdict
    if isinstance(verdict, bytes):
        verdict = verdict.decode("utf-8", "replace")
    if isinstance(verdict, str):
        return Reply.parse(verdict)
    raise TypeError(f"a hook returned {type(verdict).__name__}, which is no verdict")


def _chain(methods: Sequence[Hook]) -> Hook | None:
    """
    One hook that asks several in order: the first refusal ends it, the last positive reply counts.
    """
    if len(methods) < 2:
        return methods[0] if methods else None

    async def ask_each(*arguments: Any) -> Reply | None:
        last = None
        for method in methods:
            reply = as_reply(await _settled(method(*arguments)))
            if reply is not None:
                if not reply.positive:
                    return reply
                last = reply
        return last

    return ask_each


_SEPARATED = re.compile("^250(?:[ -]|$)")


def ehlo_lines(answer: list[str]) -> Reply:
    """
    The EHLO reply from its lines, whatever stands between their code and their text.
    """
    return Reply(250, None, tuple(_SEPARATED.sub("", line, 1) for line in answer))


def _ehlo_chain(methods: Sequence[Hook]) -> Hook | None:
    """
    The same for EHLO, where each handler may edit the lines that the one before it left.
    """
    if not methods:
        return None

    async def ask_each(
        server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> Reply | None:
        last = None
        for method in methods:
            # A copy: who edits it and returns None has changed nothing.
            answer = await _settled(method(server, session, envelope, hostname, [*responses]))
            if isinstance(answer, list):
                responses, last = answer, ehlo_lines(answer)
                continue
            reply = as_reply(answer)
            if reply is not None:
                if not reply.positive:
                    return reply
                last = reply
        return last

    return ask_each


#: What False comes to from a hook that is asked whether to go on.
_NO = Reply(550, "5.7.1", ("Refused",))


_ASKED_WHETHER = frozenset(("PROXY", "STARTTLS"))


def _yes_or_no(method: Hook) -> Hook:
    """
    A hook that may also say True and False, as one that gives verdicts.
    """

    def verdict(answer: Any) -> Any:
        if isinstance(answer, bool):
            return None if answer else _NO
        return answer

    async def later(answer: Any) -> Any:
        return verdict(await answer)

    def ask(*arguments: Any) -> Any:
        answer = method(*arguments)
        return later(answer) if is_later(answer) else verdict(answer)

    return ask


@attrs.frozen
class Consumer:
    """
    What one handler wants of content: to get it as it comes, or whole, or both.
    """

    open_content: Hook | None
    handle_DATA: Callable[..., Any | Awaitable[Any]] | None


@attrs.frozen(init=False)
class Hooks:
    """
    The hooks of a chain of handlers, each one callable or None.

    :raise TypeError: for a handler that declares no hook, or one wrongly.
    """

    PROXY: Hook | None
    HELO: Hook | None
    EHLO: Hook | None
    STARTTLS: Hook | None
    MAIL: Hook | None
    RCPT: Hook | None
    DATA_start: Hook | None
    RSET: Hook | None
    NOOP: Hook | None
    VRFY: Hook | None
    EXPN: Hook | None
    HELP: Hook | None
    QUIT: Hook | None
    exception: Hook | None
    #: The CONNECT and DISCONNECT hooks of each handler that has one of them.
    greeters: tuple[tuple[Hook | None, Hook | None], ...]
    #: In the order of the handlers.
    consumers: tuple[Consumer, ...]
    #: Whether content must be put together in memory.
    wants_whole: bool

    def __init__(self, handlers: Sequence[object]) -> None:
        found = [_hooks_of(handler) for handler in handlers]

        def methods(name: str) -> tuple[Hook, ...]:
            return tuple(own[f"handle_{name}"] for own in found if f"handle_{name}" in own)

        def joined(name: str) -> Hook | None:
            if name == "EHLO":
                return _ehlo_chain(methods(name))
            if name in _ASKED_WHETHER:
                return _chain([_yes_or_no(method) for method in methods(name)])
            return _chain(methods(name))

        consumers = tuple(
            Consumer(own.get("open_content"), own.get("handle_DATA"))
            for own in found
            if "open_content" in own or "handle_DATA" in own
        )
        single = attrs.fields_dict(Hooks).keys() - {"consumers", "greeters", "wants_whole"}
        self.__attrs_init__(
            **{name: joined(name) for name in single},
            greeters=tuple(
                (own.get("handle_CONNECT"), own.get("handle_DISCONNECT"))
                for own in found
                if "handle_CONNECT" in own or "handle_DISCONNECT" in own
            ),
            consumers=consumers,
            wants_whole=any(consumer.handle_DATA is not None for consumer in consumers),
        )
