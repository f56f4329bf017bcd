"""
Tests for txsmtpd.adapters.waiting.
"""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.adapters.waiting import (
    ABSENT,
    NoLoop,
    _alone,
    as_deferred,
    awaitable_there,
    running_loop,
    then,
)

from .adapterskit import in_loop

SENTENCE = (
    "a handler wants asyncio's event loop, which does not run: start the server with"
    " twistd --reactor asyncio"
)


class Awaitable:
    """
    What is awaitable and neither a coroutine nor a future.
    """

    def __await__(self) -> Generator[Any, Any, str]:
        return (yield from succeed("ready").__await__())


class WithoutLoopTests(SynchronousTestCase):
    """
    Under another reactor.
    """

    def assertSaysSo(self, coroutine: Any) -> None:
        error = self.failureResultOf(as_deferred(coroutine), NoLoop).value
        self.assertEqual(str(error), SENTENCE)

    def test_absent_loop(self) -> None:
        self.assertIsNone(running_loop())
        error = self.assertRaises(RuntimeError, lambda: ABSENT.run_in_executor)
        self.assertEqual(str(error), SENTENCE)
        self.assertFalse(hasattr(ABSENT, "__len__"))

    def test_runs(self) -> None:
        async def hook() -> str:
            return "250 OK"

        self.assertEqual(self.successResultOf(as_deferred(hook())), "250 OK")

    def test_deferreds(self) -> None:
        """
        It may wait for what is Twisted's.
        """
        waiting: Deferred[str] = Deferred()

        async def hook() -> str:
            try:
                await succeed(None)
                return await waiting
            except KeyError:
                return "failed"

        result = as_deferred(hook())
        self.assertNoResult(result)
        waiting.errback(KeyError())
        self.assertEqual(self.successResultOf(result), "failed")

    def test_no_wait(self) -> None:
        """
        ``asyncio.sleep(0)`` wants no loop.
        """

        async def hook() -> str:
            await asyncio.sleep(0)
            return "250 OK"

        self.assertEqual(self.successResultOf(as_deferred(hook())), "250 OK")

    def test_sleep(self) -> None:
        async def hook() -> None:
            await asyncio.sleep(1)

        self.assertSaysSo(hook())

    def test_future(self) -> None:
        """
        A loop that does not run makes futures that nobody makes happen.
        """
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        cleaned = []

        async def hook() -> None:
            try:
                await loop.create_future()
            finally:
                cleaned.append(True)

        self.assertSaysSo(hook())
        self.assertEqual(cleaned, [True])
        self.assertSaysSo(loop.create_future())

    def test_other_errors(self) -> None:
        async def hook() -> None:
            raise RuntimeError("no database")

        error = self.failureResultOf(as_deferred(hook()), RuntimeError).value
        self.assertEqual(str(error), "no database")

    def test_cancelled(self) -> None:
        cleaned = []

        async def hook() -> None:
            try:
                await Deferred()
            finally:
                cleaned.append(True)

        result = as_deferred(hook())
        result.cancel()
        self.failureResultOf(result, CancelledError)
        self.assertEqual(cleaned, [True])

    def test_forgotten(self) -> None:
        cleaned = []

        async def hook() -> None:
            try:
                await Deferred()
            finally:
                cleaned.append(True)

        running: Any = _alone(hook())
        running.send(None)
        self.assertEqual(cleaned, [])
        running.close()
        self.assertEqual(cleaned, [True])

    def test_deferred_itself(self) -> None:
        waiting: Deferred[str] = Deferred()
        self.assertIs(as_deferred(waiting), waiting)
        self.assertIs(awaitable_there(waiting), waiting)

    def test_awaitable(self) -> None:
        self.assertEqual(self.successResultOf(as_deferred(Awaitable())), "ready")

    def test_then(self) -> None:
        async def hook() -> int:
            return 1

        self.assertEqual(then(1, str), "1")
        self.assertEqual(self.successResultOf(then(hook(), str)), "1")


class WithLoopTests(SynchronousTestCase):
    """
    Under the asyncio reactor.
    """

    def test_task(self) -> None:
        """
        From its first step it is in a task.
        """

        async def hook() -> Any:
            async with asyncio.timeout(10) if hasattr(asyncio, "timeout") else asyncio.Lock():
                await asyncio.sleep(0)
            return asyncio.current_task()

        async def test() -> None:
            loop = asyncio.get_running_loop()
            self.assertIs(running_loop(), loop)
            task = await as_deferred(hook()).asFuture(loop)
            self.assertIsInstance(task, asyncio.Task)

        in_loop(test())

    def test_future(self) -> None:
        """
        A hook may also be no coroutine and return what another one does.
        """

        async def test() -> None:
            loop = asyncio.get_running_loop()
            future = loop.run_in_executor(None, lambda: "250 OK")
            self.assertEqual(await as_deferred(future).asFuture(loop), "250 OK")

        in_loop(test())

    def test_cancelled(self) -> None:
        cleaned = []

        async def hook() -> None:
            try:
                await asyncio.Event().wait()
            finally:
                cleaned.append(True)

        async def test() -> None:
            result = as_deferred(hook())
            await asyncio.sleep(0)
            result.cancel()
            for _ in range(3):
                await asyncio.sleep(0)
            self.failureResultOf(result, asyncio.CancelledError)
            self.assertEqual(cleaned, [True])

        in_loop(test())

    def test_awaitable_there(self) -> None:
        async def test() -> None:
            waiting: Deferred[str] = Deferred()
            there = asyncio.ensure_future(awaitable_there(waiting))
            waiting.callback("answer")
            self.assertEqual(await asyncio.wait_for(there, 10), "answer")

        in_loop(test())
