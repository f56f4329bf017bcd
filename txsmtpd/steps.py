"""
Runs what hooks return: Deferreds, coroutines and other awaitables, under Twisted.

Most hooks decide at once, even those written as ``async def``.  So a coroutine is started by hand,
and only one that really waits for something costs a Deferred.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextvars import copy_context
from inspect import iscoroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from .core.eager import resumed


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


class Steps:
    """
    A :class:`~txsmtpd.core.outcomes.Runner`.

    :param report: told of exceptions that nobody else hears of.
    """

    def __init__(self, report: Callable[[Any], None]) -> None:
        self.report = report

    def start(self, awaitable: Awaitable[Any]) -> Any:
        """
        Begin to wait for what a hook returned.

        :return: its result, if it is there at once; else a Deferred.  Cancelling that always ends
            it at once, even if what is behind it takes no notice.
        :raise Exception: what it raised, if that is at once.
        """
        if iscoroutine(awaitable):
            context = copy_context()
            try:
                wanted = context.run(awaitable.send, None)
            except StopIteration as stop:
                return stop.value
            inner = context.run(Deferred.fromCoroutine, resumed(awaitable, wanted))
        elif isinstance(awaitable, Deferred):
            inner = awaitable
        else:
            return self.start(_awaited(awaitable))
        return self._shielded(inner)

    def _shielded(self, inner: Deferred[Any]) -> Any:
        at_once: list[Any] = []
        outer: Deferred[Any] | None = None

        def arrived(result: Any) -> None:
            if outer is None:
                at_once.append(result)
            elif not outer.called:
                outer.callback(result)
            elif isinstance(result, Failure) and result.check(CancelledError) is None:
                self._report_failure(result)

        inner.addBoth(arrived)
        if not at_once:
            outer = Deferred(lambda _: inner.cancel())
            return outer
        if isinstance(at_once[0], Failure):
            at_once[0].raiseException()
        return at_once[0]

    def detach(self, awaitable: Awaitable[Any]) -> None:
        """
        Run something to its end that nobody waits for.
        """
        try:
            waiting = self.start(awaitable)
        except Exception as error:
            self.report(error)
        else:
            if isinstance(waiting, Deferred):
                waiting.addErrback(self._report_failure)

    def _report_failure(self, failure: Failure) -> None:
        self.report(failure.value)
