"""
One message, from the go-ahead to the verdict.

Whatever goes wrong on the way is remembered and the content is consumed to its true end, because
only there can the client hear of it (RFC 5321 section 4.5.4).
"""

from __future__ import annotations

import io
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from functools import partial
from typing import Any

from .content import LineMeter, has_bare_newline, normalize_newlines
from .context import Context, itself
from .eager import awaited, eagerly
from .hooks import Hook, is_later
from .outcomes import CLOSE, Outcome, Step
from .replies import (
    BARE_NEWLINE,
    DELIVERED,
    GO_AHEAD,
    NO_MEMORY,
    TEXT_LINE_TOO_LONG,
    TOO_BIG,
    Declined,
    Rejected,
    Reply,
)
from .session import Envelope
from .verdicts import Verdicts

_NOT_ASCII = Reply(554, "5.6.1", ("The message is not ASCII",))


def begin(context: Context, verb: str, opened: Callable[[Delivery], Outcome]) -> Step:
    """
    Ask whether a message may come, and open every handler that wants it as it comes.

    :param verb: ``DATA`` or ``BDAT``, whose chunks keep their newlines as they are.
    :param opened: makes the outcome of a message that may come.
    :raise Rejected: if an extension refuses.
    :raise Declined: if a limit or a handler does.
    """
    envelope = context.envelope
    for check in context.rules.content_checks:
        check(context.session, envelope, verb)
    if context.hooks.wants_whole and context.rules.budget.spent:
        raise Declined(NO_MEMORY)
    newlines = context.settings.bare_newline if verb == "DATA" else "keep"
    delivery = Delivery(context, envelope, newlines, opened)
    return context.ask(context.hooks.DATA_start, GO_AHEAD, delivery.open)


class Delivery:
    """
    A message on its way to the handlers.

    It is a :class:`~txsmtpd.core.outcomes.Message`, and a :class:`~txsmtpd.core.outcomes.Sink` for
    the whole content of DATA.
    """

    #: What was said in the end: one reply, or under LMTP one for each recipient.
    verdicts: Sequence[Reply]

    def __init__(
        self,
        context: Context,
        envelope: Envelope,
        newlines: str,
        opened: Callable[[Delivery], Outcome],
    ) -> None:
        self._context = context
        self._newlines = newlines
        self._opened = opened
        self.envelope = envelope
        #: Those that the client was told are accepted.
        self.recipients = context.recipients
        #: Octets of content so far.
        self.size = 0
        #: Why the message is lost already, or None.
        self.refusal: Reply | None = None
        settings = context.settings
        self._most = settings.data_size_limit
        longest = settings.line_length_limit
        self._lines = LineMeter(longest) if longest else None
        self._buffer = io.BytesIO() if context.hooks.wants_whole else None
        # Octets of the budget: to ask the buffer would make it copy what it holds.
        self._taken = 0
        # In step with the consumers; None where one has no receiver, or has it no more.
        self._receivers: list[Any] = []

    def open(self, go_ahead: Reply) -> Step:
        """
        Open the handlers.

        :param go_ahead: what the client is told that may send DATA's content now.
        :raise Declined: if a handler refuses; those that were open already are aborted.
        """
        if go_ahead.code >= 400:
            raise Declined(go_ahead)
        self.go_ahead = go_ahead
        return self._open_rest()

    def _open_rest(self) -> Step:
        context = self._context
        for consumer in context.hooks.consumers[len(self._receivers) :]:
            if consumer.open_content is None:
                self._receivers.append(None)
                continue
            try:
                receiver = consumer.open_content(context.server, context.session, self.envelope)
                if is_later(receiver):
                    receiver = context.runner.start(receiver, self._abort_late)
                    if is_later(receiver):
                        return self._open_later(receiver)
                self._add(receiver)
            except Rejected as refusal:
                raise self._turned_down(refusal) from None
            except Exception as error:
                return self._failed_to_open(error)
        context.delivery = self
        return self._opened(self)

    async def _open_later(self, opening: Awaitable[Any]) -> Outcome:
        try:
            self._add(await opening)
        except Rejected as refusal:
            raise self._turned_down(refusal) from None
        except Exception as error:
            return await self._failed_to_open(error)
        return await awaited(self._open_rest())

    def _turned_down(self, refusal: Rejected) -> Declined:
        self.abort("refused by another handler")
        return Declined(self._context.judge(refusal.reply, GO_AHEAD))

    async def _failed_to_open(self, error: Exception) -> Outcome:
        self.abort("another handler failed")
        raise Declined(await self._context.explain(error))

    def _add(self, receiver: Any) -> None:
        """
        :param receiver: what `open_content` has returned.
        :raise Declined: it is a verdict.
        :raise TypeError: it is nothing at all.
        """
        if receiver is None or hasattr(receiver, "write"):
            self._receivers.append(receiver)
        elif isinstance(receiver, (Reply, str, bytes)):
            raise Declined(self._context.judge(receiver, GO_AHEAD))
        else:
            raise TypeError(f"open_content returned {type(receiver).__name__}, no receiver")

    def write(self, chunk: bytes) -> Coroutine[Any, Any, None] | None:
        """
        Pass content on, or swallow it if the message is lost already.
        """
        if self.refusal is not None:
            return None
        if self._newlines != "keep" and has_bare_newline(chunk):
            if self._newlines == "reject":
                self.refuse(BARE_NEWLINE)
                return None
            chunk = normalize_newlines(chunk)
        self.size += len(chunk)
        if 0 < self._most < self.size:
            self.refuse(TOO_BIG)
            return None
        if self._lines is not None and self._lines.exceeded(chunk):
            self.refuse(TEXT_LINE_TOO_LONG)
            return None
        if self._buffer is not None:
            if not self._context.rules.budget.take(len(chunk)):
                self.refuse(NO_MEMORY)
                return None
            self._taken += len(chunk)
            self._buffer.write(chunk)
        return self._pass_on(chunk)

    def _pass_on(self, chunk: bytes) -> Coroutine[Any, Any, None] | None:
        pending: list[Awaitable[None]] = []
        for receiver in self._receivers:
            if receiver is None:
                continue
            try:
                answer = receiver.write(chunk)
                if answer is not None:
                    answer = self._context.started(answer)
                    if is_later(answer):
                        pending.append(answer)
            except Rejected as refusal:
                self._give_up(self._context.judge(refusal.reply, DELIVERED), pending)
                return None
            except Exception as error:
                return self._fail(error, pending)
        return self._wait(pending) if pending else None

    async def _wait(self, pending: list[Awaitable[None]]) -> None:
        """
        Wait for every receiver: the slowest sets the pace.
        """
        while pending:
            try:
                await pending.pop(0)
            except Rejected as refusal:
                self._give_up(self._context.judge(refusal.reply, DELIVERED), pending)
            except Exception as error:
                self._give_up(await self._context.explain(error), pending)

    async def _fail(self, error: Exception, pending: list[Awaitable[None]]) -> None:
        self._give_up(await self._context.explain(error), pending)

    def _give_up(self, reply: Reply, pending: list[Awaitable[None]]) -> None:
        """
        Refuse the message, so that it does not matter any more who is ready for it.
        """
        self.refuse(reply)
        while pending:
            self._context.runner.cancel(pending.pop())

    def refuse(self, reply: Reply) -> None:
        """
        Give the message up.
        """
        self.refusal = reply
        self.abort(str(reply))

    def abort(self, reason: str) -> None:
        """
        Let go of everything that was received, and of everyone who was to have it.
        """
        # If the client has gone, what failed then failed because of that.
        reason = self._context.gone or reason
        if self._buffer is not None:
            self._release()
        receivers, self._receivers = self._receivers, []
        for receiver in receivers:
            if receiver is not None:
                self._abort_one(receiver, reason)

    def _abort_late(self, receiver: Any) -> None:
        self._abort_one(receiver, self._context.gone or "it took too long")

    def _abort_one(self, receiver: Any, reason: str) -> None:
        runner = self._context.runner
        try:
            answer = receiver.abort(reason)
            if is_later(answer):
                runner.detach(answer)
        except Exception as error:
            runner.report(error)

    def _release(self) -> None:
        self._context.rules.budget.give_back(self._taken)
        self._buffer = None

    def finish(self) -> Step:
        """
        The content is whole: ask every handler for its verdict and end the transaction.
        """
        # From here on nothing but a verdict ends it: see `Body.message`.
        self._context.delivery = None
        if self._buffer is not None and self.refusal is None:
            self._put_together(self._buffer.getvalue())
        if self._context.rules.lmtp:
            return eagerly(self._ask_for_each())
        if self.refusal is not None:
            return self._end((self.refusal,))
        self._unasked = iter(self._hooks())
        self._verdict = DELIVERED
        step = self._go_on(DELIVERED)
        return step if isinstance(step, Outcome) else self._go_on_later(step)

    def _go_on(self, reply: Reply) -> Outcome | Coroutine[Any, Any, Reply]:
        """
        Ask one handler after the other.

        :param reply: what the one before has said.
        :return: the end, or what to wait for before it goes on.
        """
        while True:
            if reply.code >= 400:
                self.abort(reply.text)
                return self._end((reply,))
            if reply is not DELIVERED:
                self._verdict = reply
            hook = next(self._unasked, None)
            if hook is None:
                return self._end((self._verdict,))
            answer = self._context.ask(hook, DELIVERED, itself)
            if not isinstance(answer, Reply):
                return answer
            reply = answer

    async def _go_on_later(self, answer: Coroutine[Any, Any, Reply]) -> Outcome:
        while True:
            step = self._go_on(await answer)
            if isinstance(step, Outcome):
                return step
            answer = step

    def _end(self, verdicts: Sequence[Reply], unsaid: tuple[Reply, ...] | None = None) -> Outcome:
        """
        :param unsaid: those that the client has not heard yet, if it has heard some.
        """
        context = self._context
        self.verdicts = verdicts
        if self._buffer is not None:
            self._release()
        then = None
        for reply in verdicts:
            if reply.code < 400:
                context.errors = 0
            elif reply.code == 421:
                then = CLOSE
        context.end_content()
        return Outcome(tuple(verdicts) if unsaid is None else unsaid, then, None)

    def _put_together(self, whole: bytes) -> None:
        envelope = self.envelope
        envelope.original_content = envelope.content = whole
        if self._context.settings.decode_data:
            try:
                envelope.content = self._decoded(whole)
            except UnicodeDecodeError:
                self.refuse(_NOT_ASCII)

    async def _ask_for_each(self) -> Outcome:
        """
        The same under LMTP, where each recipient gets a verdict.
        """
        if self.refusal is not None:
            return self._end((self.refusal,) * len(self.recipients))
        verdicts = Verdicts(self._context)
        hooks = self._hooks()
        for index, hook in enumerate(hooks, 1):
            if verdicts.undecided:
                await verdicts.ask(hook, last=index == len(hooks))
        # Who was not asked because nobody was left.
        self.abort("all recipients were refused")
        return self._end(verdicts.replies, verdicts.conclude())

    def _hooks(self) -> list[Hook]:
        """
        What to ask for a verdict, in the order of the handlers: one may have taken the content as
        it came, want it whole, or both.
        """
        hooks: list[Hook] = []
        for index, consumer in enumerate(self._context.hooks.consumers):
            if self._receivers[index] is not None:
                hooks.append(partial(self._finish, index))
            if consumer.handle_DATA is not None:
                hooks.append(consumer.handle_DATA)
        return hooks

    def _finish(self, index: int, *arguments: Any) -> Any:
        # Once asked, it is not to be aborted.
        receiver, self._receivers[index] = self._receivers[index], None
        return receiver.finish()

    def _decoded(self, whole: bytes) -> str:
        if self._context.settings.enable_SMTPUTF8:
            return whole.decode("utf-8", "surrogateescape")
        return whole.decode("ascii")
