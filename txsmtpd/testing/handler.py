"""
A handler that notes what it is asked and answers what it is told to.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

import attrs
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import directlyProvides, implementer

from ..core.hooks import HOOKS, as_reply, is_later
from ..core.replies import Rejected
from ..core.session import Envelope, Session
from ..interfaces import IContentReceiver
from .message import Message
from .recording import Recording
from .spelling import listed

if TYPE_CHECKING:
    from ..factory import SMTPFactory

#: How a hook answers: with a plain value, from a coroutine that does not wait, or with a Deferred
#: that fires when the clock is next looked at.
When: TypeAlias = Literal["now", "coroutine", "later"]
#: How content is wanted: by ``handle_DATA``, or by ``open_content``.
Content: TypeAlias = Literal["whole", "stream"]
#: What is waited for: so many messages, or one of which this is true.
Wanted: TypeAlias = int | Callable[[Message], bool]

_METHODS = {method.removeprefix("handle_"): method for method in HOOKS}
#: What the hooks are called here: ``RCPT`` for ``handle_RCPT``, and so on.
NAMES = frozenset(_METHODS)


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
        exception is raised; a callable is called with the arguments of the hook.  Under LMTP a
        verdict of ``DATA`` may be one for each recipient: a tuple or a list within that list, in
        their order, or a mapping.
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
        #: The connections to servers of this handler, if they are those of this package.
        self.recordings: list[Recording] = []
        self.when = when
        self._given = dict(verdicts or {})
        self._waits: list[_Wait] = []
        self.reset()
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

    def reset(self) -> None:
        """
        Forget what there was, and give the verdicts from the first one on again.
        """
        self.calls.clear()
        self.messages.clear()
        self.recordings.clear()
        self._verdicts = {
            name: list(verdict) if isinstance(verdict, list) else verdict
            for name, verdict in self._given.items()
        }

    def wait_for(
        self, wanted: Wanted = 1, timeout: float = 5, reactor: IReactorTime | None = None
    ) -> Deferred[Message]:
        """
        Wait for a message, unless it is there already.

        :param wanted: how many messages are to be there, of which the last is returned; or a
            function that says of a message whether it is the one.
        :param timeout: in seconds.
        :param reactor: where time comes from: ``client.clock`` for a server in memory; None is the
            reactor that is installed.
        :return: fires when the hook has answered; fails with an AssertionError that tells
            `account`, or with what the function raises.
        """
        if reactor is None:
            from twisted.internet import reactor as installed

            reactor = cast(IReactorTime, installed)
        try:
            message = self._first(wanted)
        except Exception:
            return fail()
        if message is not None:
            return succeed(message)
        wait = _Wait(self, wanted, timeout, reactor)
        self._waits.append(wait)
        return wait.fired

    def _first(self, wanted: Wanted) -> Message | None:
        if isinstance(wanted, int):
            return self.messages[wanted - 1] if wanted <= len(self.messages) else None
        return next(filter(wanted, self.messages), None)

    @property
    def account(self) -> str:
        """
        The messages that were delivered and the dialogs as they went, for the text of a failure.
        """
        messages = listed((message.addresses, message.content) for message in self.messages)
        dialogs = [recording.transcript for recording in self.recordings]
        return "\n\n".join(filter(None, [messages, *dialogs]))

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
        return self._deliver(verdict, context, context[2].original_content)

    def _deliver(self, verdict: Any, context: tuple[Any, ...], content: bytes) -> Any:
        server, session, envelope = context
        verdict = _for_each(verdict, partial(_answer, context))
        accepted = _accepted(verdict, envelope)
        if accepted is not None:
            self.messages.append(
                Message(
                    envelope.mail_from or "",
                    accepted,
                    content,
                    envelope,
                    next((each for each in self.recordings if each.protocol is server), None),
                )
            )
            for wait in tuple(self._waits):
                wait.look()
        return _for_each(verdict, partial(self._timed, session))

    def _timed(self, session: Session, answer: Any) -> Any:
        """
        The verdict on one of several recipients, there when verdicts are.
        """
        if self.when == "later":
            return deferLater(session.reactor, 0, _settle, answer, _as_it_is, ())
        return _Soon(answer) if self.when == "coroutine" else answer

    def _open(self, verdict: Any, *context: Any) -> _Receiver:
        _refuse(verdict)
        return _Receiver(self, context)


def introduce(recording: Recording, factory: SMTPFactory) -> None:
    """
    Tell the recording handlers of a server about a connection to it.
    """
    for handler in factory._handlers:
        if isinstance(handler, RecordingHandler):
            handler.recordings.append(recording)


class _Wait:
    """
    Somebody waits for a message.
    """

    def __init__(
        self, handler: RecordingHandler, wanted: Wanted, timeout: float, reactor: IReactorTime
    ) -> None:
        self.handler = handler
        self.wanted = wanted
        self.timeout = timeout
        self.reactor = reactor
        self.fired: Deferred[Message] = Deferred(lambda _: self._end())
        self._call = reactor.callLater(timeout, self._expired)

    def look(self) -> None:
        """
        See whether the message has come.  If so, the one who waits learns of it a moment later,
        when the server has had time to answer its client.
        """
        try:
            message = self.handler._first(self.wanted)
        except Exception:
            self._end()
            self._call = self.reactor.callLater(0, self.fired.errback, Failure())
            return
        if message is not None:
            self._end()
            self._call = self.reactor.callLater(0, self.fired.callback, message)

    def _end(self) -> None:
        self._call.cancel()
        if self in self.handler._waits:
            self.handler._waits.remove(self)

    def _expired(self) -> None:
        self.handler._waits.remove(self)
        if isinstance(self.wanted, int):
            what = f"message {self.wanted} has not come"
        else:
            name = getattr(self.wanted, "__qualname__", repr(self.wanted))
            what = f"no message has come that fits {name}"
        account = self.handler.account or "nobody has connected"
        self.fired.errback(
            AssertionError(
                f"{what} within {self.timeout:g} seconds, only {len(self.handler.messages)}:"
                f"\n\n{account}"
            )
        )


def _as_it_is(verdict: Any, *context: Any) -> Any:
    return verdict


def _for_each(verdict: Any, act: Callable[[Any], Any]) -> Any:
    """
    A verdict, after something was made of each of its parts if it has one for each recipient.
    """
    if isinstance(verdict, Mapping):
        return {key: act(each) for key, each in verdict.items()}
    return [act(each) for each in verdict] if isinstance(verdict, (list, tuple)) else verdict


def _answer(context: tuple[Any, ...], verdict: Any) -> Any:
    try:
        return verdict(*context) if callable(verdict) else verdict
    except Exception as error:
        return error


def _accepted(verdict: Any, envelope: Envelope) -> tuple[str, ...] | None:
    """
    Whom a verdict accepts a message for, or None if it refuses the message.
    """
    recipients = envelope.recipients
    if isinstance(verdict, Mapping):
        lost = Rejected("451 4.3.0 Missing")
        found = [verdict.get(each, verdict.get(each.address, lost)) for each in recipients]
    elif isinstance(verdict, list):
        found = verdict
    else:
        return tuple(envelope.rcpt_tos) if _accepts(verdict) else None
    if len(found) != len(recipients):
        return None
    pairs = zip(recipients, found, strict=True)
    return tuple(recipient.address for recipient, each in pairs if _accepts(each)) or None


def _accepts(verdict: Any) -> bool:
    if isinstance(verdict, Exception):
        return False
    # What comes later is taken for a good one.
    reply = None if is_later(verdict) else as_reply(verdict)
    return reply is None or 200 <= reply.code < 300


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


@attrs.frozen(eq=False)
class _Soon:
    """
    What a coroutine gives, but nobody minds if it is not awaited.
    """

    answer: Any

    def __await__(self) -> Any:
        return _from_coroutine(self.answer, _as_it_is, ()).__await__()


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
        return self.handler._deliver(verdict, context, self.content)

    def abort(self, reason: str) -> Any:
        return self.handler._ask("abort", _as_it_is, *self.context, reason)
