"""
A handler that notes what it is asked and answers what it is told to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import Any, Literal, TypeAlias

import attrs
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater
from zope.interface import directlyProvides, implementer

from ..core.hooks import HOOKS, as_reply, is_later
from ..core.replies import Rejected
from ..core.session import Envelope, Session
from ..interfaces import IContentReceiver

#: How a hook answers: with a plain value, from a coroutine that does not wait, or with a Deferred
#: that fires when the clock is next looked at.
When: TypeAlias = Literal["now", "coroutine", "later"]
#: How content is wanted: by ``handle_DATA``, or by ``open_content``.
Content: TypeAlias = Literal["whole", "stream"]

_METHODS = {method.removeprefix("handle_"): method for method in HOOKS}
#: What the hooks are called here: ``RCPT`` for ``handle_RCPT``, and so on.
NAMES = frozenset(_METHODS)


@attrs.frozen
class Message:
    """
    A message that was delivered.
    """

    mail_from: str
    rcpt_tos: tuple[str, ...]
    content: bytes
    envelope: Envelope = attrs.field(eq=False, repr=False)


@attrs.frozen
class Call:
    """
    What a hook was asked.
    """

    #: ``RCPT`` for ``handle_RCPT``, and so on.
    hook: str
    #: What came after server, session and envelope.
    arguments: tuple[Any, ...]
    session: Session = attrs.field(eq=False, repr=False)
    envelope: Envelope = attrs.field(eq=False, repr=False)


class RecordingHandler:
    """
    A handler that has every hook, notes each call and each message, and answers as it is told.

    A subclass may define hooks of its own.

    :param verdicts: what a hook answers, by its name: ``CONNECT``, ``RCPT``, ``DATA_start``,
        ``exception`` and so on.  ``DATA`` is the verdict on a message, however its content comes;
        ``open_content``, ``write`` and ``abort`` are asked only where it is streamed, and any
        verdict of the first two refuses.  A list is used up call by call, and then it is None; an
        exception is raised; a callable is called with the arguments of the hook.
    :param hooks: the names of those to have, if not all.
    :raise ValueError: for a name that no hook has.
    """

    def __init__(
        self,
        verdicts: Mapping[str, Any] | None = None,
        *,
        when: When = "now",
        content: Content = "whole",
        hooks: Iterable[str] | None = None,
    ) -> None:
        self.calls: list[Call] = []
        self.messages: list[Message] = []
        self.when = when
        self._verdicts = {
            name: list(verdict) if isinstance(verdict, list) else verdict
            for name, verdict in (verdicts or {}).items()
        }
        wanted = set(NAMES if hooks is None else hooks)
        unknown = (wanted | (self._verdicts.keys() - {"write", "abort"})) - NAMES
        if unknown:
            raise ValueError(f"no hook is called {', '.join(sorted(unknown))}")
        if "DATA" in wanted:
            wanted -= {"DATA", "open_content"}
            wanted.add("DATA" if content == "whole" else "open_content")
        for name in wanted:
            if not hasattr(self, _METHODS[name]):
                conclude = {"open_content": self._open, "DATA": self._deliver_whole}.get(name)
                setattr(self, _METHODS[name], partial(self._ask, name, conclude or _as_it_is))
        directlyProvides(self, *(HOOKS[_METHODS[name]] for name in wanted))

    def _ask(self, name: str, conclude: Callable[..., Any], *context: Any) -> Any:
        """
        Note a call and answer it.

        :param conclude: makes the answer of the verdict and `context`.
        """
        _, session, envelope, *arguments = context
        self.calls.append(Call(name, tuple(arguments), session, envelope))
        verdict = self._verdicts.get(name)
        if isinstance(verdict, list):
            verdict = verdict.pop(0) if verdict else None
        if self.when == "later":
            return deferLater(session.reactor, 0, _settle, verdict, conclude, context)
        if self.when == "coroutine":
            return _from_coroutine(verdict, conclude, context)
        return _settle(verdict, conclude, context)

    def _deliver_whole(self, verdict: Any, *context: Any) -> Any:
        return self._deliver(verdict, context[2], context[2].original_content)

    def _deliver(self, verdict: Any, envelope: Envelope, content: bytes) -> Any:
        reply = as_reply(verdict)
        if reply is None or 200 <= reply.code < 300:
            message = Message(envelope.mail_from or "", tuple(envelope.rcpt_tos), content, envelope)
            self.messages.append(message)
        return verdict

    def _open(self, verdict: Any, *context: Any) -> _Receiver:
        _refuse(verdict)
        return _Receiver(self, context)


def _as_it_is(verdict: Any, *context: Any) -> Any:
    return verdict


def _refuse(verdict: Any, *context: Any) -> None:
    if verdict is not None:
        raise Rejected(verdict)


def _settle(verdict: Any, conclude: Callable[..., Any], context: tuple[Any, ...]) -> Any:
    if callable(verdict):
        verdict = verdict(*context)
    if isinstance(verdict, BaseException):
        raise verdict
    if is_later(verdict):
        return Deferred.fromCoroutine(_concluded(verdict, conclude, context))
    return conclude(verdict, *context)


async def _from_coroutine(
    verdict: Any, conclude: Callable[..., Any], context: tuple[Any, ...]
) -> Any:
    answer = _settle(verdict, conclude, context)
    return await answer if is_later(answer) else answer


async def _concluded(waiting: Any, conclude: Callable[..., Any], context: tuple[Any, ...]) -> Any:
    return conclude(await waiting, *context)


@implementer(IContentReceiver)
@attrs.define(eq=False)
class _Receiver:
    handler: RecordingHandler
    context: tuple[Any, ...]
    content: bytes = b""

    def write(self, chunk: bytes) -> Any:
        self.content += chunk
        return self.handler._ask("write", _refuse, *self.context, chunk)

    def finish(self) -> Any:
        return self.handler._ask("DATA", self._finished, *self.context)

    def _finished(self, verdict: Any, *context: Any) -> Any:
        return self.handler._deliver(verdict, context[2], self.content)

    def abort(self, reason: str) -> Any:
        return self.handler._ask("abort", _as_it_is, *self.context, reason)
