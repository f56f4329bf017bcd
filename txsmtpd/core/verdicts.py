"""
The verdicts of LMTP: one for each recipient (RFC 2033 section 4.2).

A handler gives one for all, a list in the order of the recipients, or a mapping by recipient or by
address, and each of them may come later.  A reply leaves as soon as it is final and all those
before it have left.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from .context import Context
from .hooks import Hook, is_later
from .replies import DELIVERED, Rejected, Reply
from .session import Recipient


class Verdicts:
    """
    The verdicts on one message.

    The handlers are asked in order.  Who was refused by one keeps that verdict, and those that
    follow see only the others.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._recipients: Sequence[Recipient] = context.recipients
        #: The recipients whose verdict may still change, by their place in the order.
        self.undecided = list(range(len(self._recipients)))
        # The places of those that the envelope still has.
        self._shown = self.undecided
        #: What each was told so far.
        self.replies: list[Reply] = [DELIVERED] * len(self._recipients)
        self._final = [False] * len(self._recipients)
        self._said = 0
        # What those hear whose time was up, once it was.
        self._too_late: Reply | None = None

    async def ask(self, hook: Hook, *, last: bool) -> None:
        """
        Ask one handler.

        :param last: whether nobody is asked after it.
        """
        self._too_late = None
        self._show()
        answer = await self._answer(hook)
        if isinstance(answer, list):
            await self._decide_each(answer, last)
        else:
            self._decide(self.undecided, await self._reply(answer, {}), last)
        if last:
            self.undecided = []
        else:
            self.undecided = [index for index in self.undecided if not self._final[index]]

    async def _decide_each(self, answers: Sequence[Any], last: bool) -> None:
        # Two recipients may share one verdict, which can be waited for only once.
        replies: dict[int, Reply] = {}
        waiting = self._start(answers)
        for index, answer in zip(self.undecided, answers, strict=True):
            key = id(answer)
            if key not in replies:
                replies[key] = await self._reply(waiting.get(key, answer), waiting)
            self._decide((index,), replies[key], last)

    def _decide(self, places: Sequence[int], reply: Reply, last: bool) -> None:
        final = last or not reply.positive
        for index in places:
            if reply is not DELIVERED:
                self.replies[index] = reply
            self._final[index] = final

    def conclude(self) -> tuple[Reply, ...]:
        """
        :return: what the client has not heard yet.
        """
        return tuple(self.replies[self._said :])

    def _show(self) -> None:
        """
        Show a handler only those that it is asked about.  That stays so: who keeps the envelope to
        deliver it later must not find anybody there who was refused.
        """
        envelope, undecided = self._context.envelope, self.undecided
        # Always, because another may have changed the list.
        envelope.recipients = [self._recipients[index] for index in undecided]
        if undecided == self._shown:
            return
        # Hooks may have rewritten the addresses, but if there are not as many of them as before,
        # nobody can tell which is whose.
        if len(envelope.rcpt_tos) == len(self._shown):
            addresses = dict(zip(self._shown, envelope.rcpt_tos, strict=True))
            envelope.rcpt_tos = [addresses[index] for index in undecided]
        self._shown = undecided

    async def _answer(self, hook: Hook) -> Any:
        """
        :return: a list in the order of the undecided, or one verdict for all of them.
        """
        context = self._context
        try:
            answer = context.started(hook(context.server, context.session, context.envelope))
            if is_later(answer):
                self._say_final()
                answer = await answer
            return self._in_order(answer)
        except Rejected as refusal:
            return context.judge(refusal.reply, DELIVERED)
        except Exception as error:
            return await context.explain(error)

    def _in_order(self, answer: Any) -> Any:
        """
        :raise ValueError: for a list of another length.
        """
        if answer is None or isinstance(answer, Reply):
            return answer
        if isinstance(answer, (list, tuple)):
            if len(answer) != len(self.undecided):
                raise ValueError(f"{len(answer)} verdicts for {len(self.undecided)} recipients")
            return list(answer)
        if isinstance(answer, Mapping):
            return self._looked_up(answer)
        # It may still be one that comes later.
        return [answer] * len(self.undecided)

    def _looked_up(self, answer: Mapping[Any, Any]) -> list[Any]:
        fallback = self._context.fallback
        found: list[Any] = []
        missing = 0
        for recipient in [self._recipients[index] for index in self.undecided]:
            key = recipient if recipient in answer else recipient.address
            missing += key not in answer
            found.append(answer.get(key, fallback))
        if missing:
            error = LookupError(f"no verdict for {missing} of {len(found)} recipients")
            self._context.runner.report(error)
        return found

    def _start(self, answers: Sequence[Any]) -> dict[int, Any]:
        """
        Begin to wait for all that come later.
        """
        started: dict[int, Any] = {}
        for answer in answers:
            if is_later(answer) and id(answer) not in started:
                try:
                    started[id(answer)] = self._context.started(answer)
                except Exception as error:
                    started[id(answer)] = error
        return started

    async def _reply(self, answer: Any, waiting: Mapping[int, Any]) -> Reply:
        context = self._context
        try:
            # What was raised, or what `asyncio.gather` and its like have collected.
            if isinstance(answer, Exception):
                raise answer
            if is_later(answer):
                self._say_final()
                answer = await answer
            return context.judge(answer, DELIVERED)
        except Rejected as refusal:
            return context.judge(refusal.reply, DELIVERED)
        except Exception as error:
            if not context.runner.has_cancelled(error):
                return await context.explain(error)
            if self._too_late is None:
                # The time is up for all of them, and one explanation will do.
                for each in filter(is_later, waiting.values()):
                    context.runner.interrupt(each)
                self._too_late = await context.explain(error)
            return self._too_late

    def _say_final(self) -> None:
        """
        Before waiting: say what can be said.
        """
        while self._said < len(self._final) and self._final[self._said]:
            self._context.runner.say(self.replies[self._said])
            self._said += 1
