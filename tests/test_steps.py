"""
Tests for txsmtpd.steps.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Awaitable, Callable, Coroutine, Generator
from contextvars import ContextVar
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.replies import BAD_SEQUENCE, Rejected
from txsmtpd.steps import Pending, Steps

request: ContextVar[str] = ContextVar("request", default="none")


class NotingSteps(Steps):
    def __init__(
        self,
        report: Callable[[BaseException], None],
        outlive: Callable[[Deferred[Any]], None],
        clock: Clock,
    ) -> None:
        super().__init__(clock)
        self._report = report
        self._outlive = outlive

    def report(self, error: BaseException) -> None:
        self._report(error)

    def outlive(self, work: Deferred[Any]) -> None:
        self._outlive(work)


class StepsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reported: list[BaseException] = []
        outliving: list[Deferred[Any]] = []
        self.steps = NotingSteps(self.reported.append, outliving.append, Clock())

    def start(self, awaitable: Awaitable[Any]) -> Deferred[Any]:
        """
        Start something that has to wait.
        """
        waiting = self.steps.start(awaitable)
        self.assertIsInstance(waiting, Deferred)
        return waiting  # type: ignore[no-any-return]

    def count_deferreds(self) -> Callable[[], int]:
        """
        :return: tells how many Deferreds were made since.
        """
        made: list[Deferred[Any]] = []
        make = Deferred.__init__

        def counting(deferred: Deferred[Any], *arguments: Any, **options: Any) -> None:
            made.append(deferred)
            make(deferred, *arguments, **options)

        self.patch(Deferred, "__init__", counting)
        return lambda: len(made)


class AtOnceTests(StepsTestCase):
    """
    What does not wait is over at once and costs no Deferred.
    """

    def test_coroutine(self) -> None:
        async def hook() -> str:
            return "250 OK"

        count = self.count_deferreds()
        self.assertEqual(self.steps.start(hook()), "250 OK")
        self.assertEqual(count(), 0)

    def test_coroutine_of_coroutines(self) -> None:
        async def inner() -> str:
            return "250"

        async def hook() -> str:
            return await inner() + " OK"

        count = self.count_deferreds()
        self.assertEqual(self.steps.start(hook()), "250 OK")
        self.assertEqual(count(), 0)

    def test_coroutine_that_awaits_fired_deferreds(self) -> None:
        fired = [succeed("250"), succeed("OK")]

        async def hook() -> str:
            return " ".join([await one for one in fired])

        count = self.count_deferreds()
        self.assertEqual(self.steps.start(hook()), "250 OK")
        self.assertEqual(count(), 0)

    def test_coroutine_that_raises(self) -> None:
        async def hook() -> None:
            raise ValueError("no")

        count = self.count_deferreds()
        self.assertRaises(ValueError, self.steps.start, hook())
        self.assertEqual(count(), 0)

    def test_fired_deferred(self) -> None:
        fired = succeed("250 OK")
        count = self.count_deferreds()
        self.assertEqual(self.steps.start(fired), "250 OK")
        self.assertEqual(count(), 0)

    def test_failed_deferred(self) -> None:
        """
        Its failure is raised, and nobody hears of it as unhandled.
        """
        failed: Deferred[None] = fail(ValueError("no"))
        count = self.count_deferreds()
        self.assertRaises(ValueError, self.steps.start, failed)
        self.assertEqual(count(), 0)
        del failed
        gc.collect()

    def test_cancelled_by_asyncio(self) -> None:
        """
        What asyncio raises there is no Exception; here it is one.
        """

        async def hook() -> None:
            raise asyncio.CancelledError

        with self.assertRaises(CancelledError):
            self.steps.start(hook())

    def test_none(self) -> None:
        self.assertIsNone(self.steps.start(succeed(None)))

    def test_other_awaitable(self) -> None:
        class Answer:
            def __await__(self) -> Generator[Any, Any, str]:
                return "250 OK"
                yield

        self.assertEqual(self.steps.start(Answer()), "250 OK")


class LaterTests(StepsTestCase):
    """
    What waits goes on when what it waits for is there.
    """

    def test_deferred(self) -> None:
        hook: Deferred[str] = Deferred()
        waiting = self.start(hook)
        self.assertNoResult(waiting)
        hook.callback("250 OK")
        self.assertEqual(self.successResultOf(waiting), "250 OK")

    def test_deferred_that_fails(self) -> None:
        hook: Deferred[str] = Deferred()
        waiting = self.start(hook)
        hook.errback(ValueError("no"))
        self.failureResultOf(waiting, ValueError)
        self.assertEqual(self.reported, [])

    def test_coroutine_that_awaits_several(self) -> None:
        parts: list[Deferred[str]] = [Deferred(), succeed("2.0.0"), Deferred(), Deferred()]

        async def hook() -> str:
            return " ".join([await part for part in parts])

        waiting = self.start(hook())
        parts[0].callback("250")
        self.assertNoResult(waiting)
        # Before it is asked for.
        parts[3].callback("OK")
        parts[2].callback("very")
        self.assertEqual(self.successResultOf(waiting), "250 2.0.0 very OK")

    def test_coroutine_that_raises_after_waiting(self) -> None:
        part: Deferred[None] = Deferred()

        async def hook() -> None:
            await part
            raise ValueError("no")

        waiting = self.start(hook())
        part.callback(None)
        self.failureResultOf(waiting, ValueError)

    def test_coroutine_sees_failures(self) -> None:
        parts: list[Deferred[str]] = [Deferred(), Deferred()]

        async def hook() -> str:
            try:
                return await parts[0]
            except ValueError as error:
                return str(error) + await parts[1]

        waiting = self.start(hook())
        parts[0].errback(ValueError("250"))
        parts[1].callback(" OK")
        self.assertEqual(self.successResultOf(waiting), "250 OK")

    def test_coroutine_that_lets_failures_through(self) -> None:
        part: Deferred[None] = Deferred()

        async def hook() -> None:
            await part

        waiting = self.start(hook())
        part.errback(ValueError("no"))
        self.failureResultOf(waiting, ValueError)

    def test_other_awaitable(self) -> None:
        part: Deferred[str] = Deferred()

        class Answer:
            def __await__(self) -> Generator[Any, Any, str]:
                return (yield from part.__await__())

        waiting = self.start(Answer())
        part.callback("250 OK")
        self.assertEqual(self.successResultOf(waiting), "250 OK")

    def test_future_of_asyncio(self) -> None:
        """
        A handler that takes us for asyncio hears of it as an exception and does not hang.
        """
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)

        async def hook() -> None:
            await loop.create_future()

        self.assertRaises(RuntimeError, self.steps.start, hook())

    def test_forgotten_coroutine_is_closed(self) -> None:
        """
        One that waits for something that will never come cleans up behind it.
        """
        steps: list[str] = []

        async def hook() -> None:
            try:
                await Deferred()
            finally:
                steps.append("closed")

        waiting = self.start(hook())
        del waiting
        gc.collect()
        self.assertEqual(steps, ["closed"])
        self.assertEqual(self.reported, [])


class ContextTests(StepsTestCase):
    """
    Context variables of a coroutine are its own, from its first line to its last.
    """

    def test_kept_while_waiting(self) -> None:
        parts: list[Deferred[None]] = [Deferred(), Deferred()]

        async def hook(name: str, part: Deferred[None]) -> str:
            before = request.get()
            request.set(name)
            await part
            return f"{before} {request.get()}"

        first, second = self.start(hook("a", parts[0])), self.start(hook("b", parts[1]))
        request.set("mine")
        self.addCleanup(request.set, "none")
        parts[1].callback(None)
        parts[0].callback(None)
        self.assertEqual(self.successResultOf(first), "none a")
        self.assertEqual(self.successResultOf(second), "none b")

    def test_not_leaked(self) -> None:
        async def hook() -> None:
            request.set("theirs")

        self.steps.start(hook())
        self.assertEqual(request.get(), "none")

    def test_taken_from_the_caller(self) -> None:
        async def hook() -> str:
            return request.get()

        token = request.set("mine")
        self.addCleanup(request.reset, token)
        self.assertEqual(self.steps.start(hook()), "mine")

    def test_still_there_after_waiting(self) -> None:
        part: Deferred[None] = Deferred()

        async def hook() -> str:
            await part
            return request.get()

        token = request.set("mine")
        waiting = self.start(hook())
        request.reset(token)
        part.callback(None)
        self.assertEqual(self.successResultOf(waiting), "mine")


class CancelTests(StepsTestCase):
    """
    Cancelling ends the wait at once, whatever is behind it.
    """

    def test_deferred(self) -> None:
        cancelled: list[Deferred[None]] = []
        hook: Deferred[None] = Deferred(cancelled.append)
        waiting = self.start(hook)
        waiting.cancel()
        self.assertEqual(cancelled, [hook])
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.reported, [])

    def test_coroutine(self) -> None:
        steps: list[str] = []
        cancelled: list[Deferred[None]] = []

        async def hook() -> None:
            try:
                await Deferred(cancelled.append)
            except CancelledError:
                steps.append("cancelled")
                raise

        waiting = self.start(hook())
        waiting.cancel()
        self.assertEqual(len(cancelled), 1)
        self.assertEqual(steps, ["cancelled"])
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.reported, [])

    def swallow(self) -> tuple[Deferred[Any], Deferred[str]]:
        """
        :return: a cancelled step that goes on all the same, and what it waits for.
        """
        late: Deferred[str] = Deferred()

        async def hook() -> str:
            with contextlib.suppress(CancelledError):
                await Deferred()
            return await late

        waiting = self.start(hook())
        waiting.cancel()
        return waiting, late

    def test_swallowed(self) -> None:
        waiting, late = self.swallow()
        self.failureResultOf(waiting, CancelledError)
        late.callback("250 OK")
        self.assertEqual(self.reported, [])

    def test_swallowed_and_failed(self) -> None:
        """
        Nobody waits for it any more, so its failure is reported.
        """
        waiting, late = self.swallow()
        self.failureResultOf(waiting, CancelledError)
        error = ValueError("no")
        late.errback(error)
        self.assertEqual(self.reported, [error])

    def test_swallowed_and_cancelled_late(self) -> None:
        waiting, late = self.swallow()
        self.failureResultOf(waiting, CancelledError)
        late.cancel()
        self.assertEqual(self.reported, [])

    def test_failed_on_cancelling(self) -> None:
        """
        What its clean-up raises comes too late to be the outcome, so it is reported.
        """
        error = ValueError("no")

        async def hook() -> None:
            try:
                await Deferred()
            finally:
                raise error

        waiting = self.start(hook())
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(self.reported, [error])

    def test_answered_on_cancelling(self) -> None:
        """
        That is too late as well.
        """

        async def hook() -> str:
            with contextlib.suppress(CancelledError):
                await Deferred()
            return "250 OK"

        late: list[str] = []
        waiting = self.steps.start(hook(), late.append)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(late, ["250 OK"])

    def test_too_late(self) -> None:
        """
        Who has to clean up behind a late result is told of it.
        """
        results: list[str] = []
        part: Deferred[str] = Deferred()

        class Answer:
            def __await__(self) -> Generator[Any, Any, str]:
                with contextlib.suppress(CancelledError):
                    yield from Deferred().__await__()
                return (yield from part.__await__())

        waiting = self.steps.start(Answer(), results.append)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.assertEqual(results, [])
        part.callback("250 OK")
        self.assertEqual(results, ["250 OK"])

    def test_too_late_outlives(self) -> None:
        """
        Until then it is somebody's business: but not if it ends at once, and not where there is
        nothing to clean up.
        """
        work: list[Deferred[Any]] = []
        results: list[str] = []
        steps = NotingSteps(self.reported.append, work.append, Clock())

        def stubborn() -> Deferred[Any]:
            part: Deferred[str] = Deferred(lambda _: None)
            # It does not end when it is cancelled.
            part.cancel = lambda: None  # type: ignore[method-assign]
            return part

        first: Deferred[str] = Deferred()
        for part, too_late in ((first, results.append), (stubborn(), None)):
            waiting = steps.start(part, too_late)
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
        self.assertEqual(work, [])
        for end in (
            lambda part: part.callback("OK"),
            lambda part: part.errback(Rejected(BAD_SEQUENCE)),
        ):
            part = stubborn()
            waiting = steps.start(part, results.append)
            waiting.cancel()
            self.failureResultOf(waiting, CancelledError)
            late = work.pop()
            self.assertFalse(late.called)
            end(part)
            self.assertTrue(late.called)
        self.assertEqual((results, self.reported), (["OK"], []))

    def test_too_late_for_who_outlives(self) -> None:
        """
        Nobody waits for ever, but it is still cleaned up.
        """
        clock = Clock()
        results: list[str] = []

        def outlive(work: Deferred[Any]) -> None:
            work.addTimeout(10, clock)

        part: Deferred[str] = Deferred()
        part.cancel = lambda: None  # type: ignore[method-assign]
        waiting = NotingSteps(self.reported.append, outlive, clock).start(part, results.append)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        clock.advance(10)
        part.callback("OK")
        self.assertEqual((results, self.reported), (["OK"], []))

    def test_in_time(self) -> None:
        results: list[str] = []
        part: Deferred[str] = Deferred()
        waiting = self.steps.start(part, results.append)
        part.callback("250 OK")
        self.assertEqual(self.successResultOf(waiting), "250 OK")
        self.assertEqual(results, [])

    def test_not_waited_for_any_more(self) -> None:
        """
        Nobody is told that it was cancelled.
        """
        cancelled: list[Deferred[None]] = []
        hook: Deferred[None] = Deferred(cancelled.append)
        self.steps.cancel(self.start(hook))
        self.assertEqual(cancelled, [hook])
        self.assertEqual(self.reported, [])
        gc.collect()


class DetachTests(StepsTestCase):
    """
    What nobody waits for runs to its end, and its failure is reported.
    """

    def test_at_once(self) -> None:
        ran: list[int] = []

        async def hook() -> None:
            ran.append(1)

        self.steps.detach(hook())
        self.assertEqual((ran, self.reported), ([1], []))

    def test_later(self) -> None:
        hook: Deferred[str] = Deferred()
        self.steps.detach(hook)
        hook.callback("250 OK")
        self.assertEqual(self.reported, [])

    def test_outlives(self) -> None:
        """
        What goes on is somebody's business, until it ends.
        """
        work: list[Deferred[Any]] = []
        steps = NotingSteps(self.reported.append, work.append, Clock())
        steps.detach(succeed(None))
        self.assertEqual(work, [])
        hook: Deferred[None] = Deferred()
        steps.detach(hook)
        self.assertNoResult(work[0])
        hook.callback(None)
        self.successResultOf(work[0])

    def test_raises_at_once(self) -> None:
        error = ValueError("no")
        self.steps.detach(fail(error))
        self.assertEqual(self.reported, [error])

    def test_raises_later(self) -> None:
        hook: Deferred[str] = Deferred()
        self.steps.detach(hook)
        error = ValueError("no")
        hook.errback(error)
        self.assertEqual(self.reported, [error])
        gc.collect()


class StepTests(SynchronousTestCase):
    """
    A coroutine of the core goes on when what it waits for is there.
    """

    def setUp(self) -> None:
        self.results: list[Any] = []
        self.broken: list[Failure] = []

    def step(self, coroutine: Coroutine[Any, Any, Any]) -> Pending:
        return Pending(coroutine, self.results.append, self.broken.append)

    def test_ends(self) -> None:
        parts: list[Deferred[str]] = [Deferred(), succeed("and"), Deferred()]

        async def core() -> list[str]:
            return [await part for part in parts]

        self.step(core())
        parts[0].callback("a")
        self.assertEqual(self.results, [])
        parts[2].callback("b")
        self.assertEqual(self.results, [["a", "and", "b"]])

    def test_failure_is_seen(self) -> None:
        part: Deferred[str] = Deferred()

        async def core() -> str:
            try:
                return await part
            except ValueError as error:
                return str(error)

        self.step(core())
        part.errback(ValueError("no"))
        self.assertEqual(self.results, ["no"])

    def test_cancelled_again_and_again(self) -> None:
        """
        It decides itself when that is enough.
        """

        async def core() -> int:
            for _ in range(3):
                with contextlib.suppress(CancelledError):
                    await Deferred()
            return 3

        step = self.step(core())
        step.cancel()
        step.cancel()
        self.assertEqual(self.results, [])
        step.cancel()
        self.assertEqual(self.results, [3])
        step.cancel()

    def test_broken(self) -> None:
        part: Deferred[None] = Deferred()

        async def core() -> None:
            await part
            raise ValueError("no")

        self.step(core())
        part.callback(None)
        (failure,) = self.broken
        self.assertIsNotNone(failure.check(ValueError))
        self.assertEqual(self.results, [])

    def test_broken_by_what_follows(self) -> None:
        """
        A defect in what its end sets going is no less one.
        """
        part: Deferred[None] = Deferred()

        async def core() -> None:
            await part

        def ended(result: None) -> None:
            raise ValueError("no")

        Pending(core(), ended, self.broken.append)
        part.callback(None)
        self.assertEqual(len(self.broken), 1)
