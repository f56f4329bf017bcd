"""
Runs what hooks return, and what the core makes of it, under Twisted.

Most hooks decide at once, even those written as ``async def``.  So a coroutine is started by hand,
and only one that really waits for something costs a Deferred.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextvars import copy_context
from inspect import iscoroutine
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

from .core.eager import resumed
from .core.replies import Rejected, Reply


class GivenUp(CancelledError):
    """
    Nobody wants to wait any longer: not what a hook has cancelled itself.
    """


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


def _ignore(result: Any) -> None:
    pass


def _as_twisted_has_it(result: Any) -> Any:
    """
    A result, where asyncio's way to say "cancelled" is Twisted's.
    """
    if isinstance(result, Failure) and result.check(asyncio.CancelledError):
        return Failure(CancelledError())
    return result


class Steps:
    """
    A :class:`~txsmtpd.core.outcomes.Runner`, less what a connection does in its own way.
    """

    # Every connection, also an idle one, has one.
    __slots__ = ("_clock",)

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock

    def report(self, error: Any) -> None:
        """
        Hear of an exception that nobody else hears of.
        """
        raise NotImplementedError

    def outlive(self, work: Deferred[Any]) -> None:
        """
        Take over what may go on when the client has gone.
        """
        raise NotImplementedError

    def say(self, reply: Reply) -> None:
        """
        Send a reply before the step that it belongs to has ended.
        """
        raise NotImplementedError

    def pause(self, seconds: float) -> Deferred[None]:
        """
        :return: for the core to await: it ends after that time.
        """
        return deferLater(self._clock, seconds)

    def start(
        self, awaitable: Awaitable[Any], too_late: Callable[[Any], None] | None = None
    ) -> Any:
        """
        Begin to wait for what a hook returned.

        :param too_late: called with the result if it comes when nobody waits for it any more.
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
            except asyncio.CancelledError as error:
                # It is no Exception, so nothing would take it for the hook's own end.
                raise CancelledError from error
            inner = context.run(Deferred.fromCoroutine, resumed(awaitable, wanted))
        elif isinstance(awaitable, Deferred):
            inner = awaitable
        else:
            return self.start(_awaited(awaitable), too_late)
        return self._shielded(inner, too_late or _ignore)

    def _shielded(self, inner: Deferred[Any], too_late: Callable[[Any], None]) -> Any:
        at_once: list[Any] = []
        outer: Deferred[Any] | None = None
        cancelled = False
        # What comes too late may have to be undone, and somebody waits for that.
        late: Deferred[None] | None = None if too_late is _ignore else Deferred()

        def arrived(result: Any) -> Any:
            result = _as_twisted_has_it(result)
            if outer is None:
                at_once.append(result)
            elif cancelled:
                self._arrived_late(result, too_late)
                if late is not None:
                    late.callback(None)
            else:
                outer.callback(result)
            # Somebody else may have been given the same Deferred.
            return None if isinstance(result, Failure) else result

        def cancel(waiting: Deferred[Any]) -> None:
            nonlocal cancelled
            # First, because what comes when it is cancelled comes too late.
            cancelled = True
            try:
                inner.cancel()
            except Exception as error:
                self.report(error)
            if late is not None and not late.called:
                self.outlive(late)
                # Its time may be up.
                late.addErrback(_ignore)
            waiting.errback(GivenUp())

        inner.addBoth(arrived)
        if not at_once:
            outer = Deferred(cancel)
            return outer
        if isinstance(at_once[0], Failure):
            at_once[0].raiseException()
        return at_once[0]

    def _arrived_late(self, result: Any, too_late: Callable[[Any], None]) -> None:
        if not isinstance(result, Failure):
            too_late(result)
        elif result.check(CancelledError, Rejected) is None:
            self.report(result.value)

    def interrupt(self, waiting: Deferred[Any]) -> None:
        """
        End something that `start` has returned, for whoever awaits it too.
        """
        waiting.cancel()

    def has_cancelled(self, error: BaseException) -> bool:
        """
        Whether an exception says that nobody wants to wait any longer.
        """
        return isinstance(error, GivenUp)

    def cancel(self, waiting: Deferred[Any]) -> None:
        """
        Wait no longer for something that `start` has returned.
        """
        waiting.addErrback(_ignore)
        waiting.cancel()

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
                self.outlive(waiting)
                waiting.addErrback(self._report_failure)

    def _report_failure(self, failure: Failure) -> None:
        self.report(failure.value)


class Pending:
    """
    A coroutine of the core that waits.

    The core waits only for what :meth:`Steps.start` has returned.  So a step goes on when that
    fires, and can be cancelled again and again, without being a Deferred itself.

    :param ended: called with its result.
    :param broken: called with the Failure if it raises, which is a defect of ours.
    """

    def __init__(
        self,
        coroutine: Coroutine[Any, Any, Any],
        ended: Callable[[Any], None],
        broken: Callable[[Failure], None],
    ) -> None:
        self._coroutine = coroutine
        self._ended = ended
        self._broken = broken
        self._waiting: Deferred[Any] = Deferred()
        self._go_on(None)

    def cancel(self) -> None:
        """
        Cancel what it waits for: it goes on with the exception, and may wait again.
        """
        self._waiting.cancel()

    def _go_on(self, result: Any) -> None:
        try:
            if isinstance(result, Failure):
                self._waiting = result.throwExceptionIntoGenerator(self._coroutine)
            else:
                self._waiting = self._coroutine.send(result)
        except StopIteration as stop:
            self._ended(stop.value)
        except BaseException:
            self._broken(Failure())
        else:
            self._waiting.addBoth(self._go_on).addErrback(self._broken)
