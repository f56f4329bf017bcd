"""
Coroutines that were written for asyncio.

They wait for asyncio's futures, which only a running loop of asyncio's makes happen, and only in a
Task.  Where such a loop runs, each coroutine becomes a Task before its first step.  Where none
does, it runs as any other of this package does, because many never wait; and if it turns out to
want a loop, it is told in one sentence how to get one.
"""

from __future__ import annotations

import asyncio
import re
import types
from collections.abc import Awaitable, Callable, Generator
from typing import Any

from twisted.internet.defer import Deferred

from ..core.hooks import is_later

# What asyncio says itself where there is no loop.
_NO_LOOP = re.compile("no (?:running|current) event loop")


class NoLoop(RuntimeError):
    """
    A handler wants asyncio, and there is none.
    """

    def __init__(self) -> None:
        super().__init__(
            "a handler wants asyncio's event loop, which does not run: start the server with"
            " twistd --reactor asyncio"
        )


class _Absent:
    """
    The loop where there is none.
    """

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            # Whoever looks at it does not want to use it yet.
            raise AttributeError(name)
        raise NoLoop


#: What `session.loop` is where no loop runs: whatever is wanted of it fails with that sentence.
ABSENT: Any = _Absent()


def running_loop() -> asyncio.AbstractEventLoop | None:
    """
    The loop that runs us, if one does: that of Twisted's asyncio reactor.
    """
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def as_deferred(awaitable: Awaitable[Any]) -> Deferred[Any]:
    """
    Run something that was written for asyncio.
    """
    if isinstance(awaitable, Deferred):
        return awaitable
    if running_loop() is not None:
        return Deferred.fromFuture(asyncio.ensure_future(awaitable))
    return Deferred.fromCoroutine(_alone(_awaited(awaitable)))


def awaitable_there(waiting: Deferred[Any]) -> Awaitable[Any]:
    """
    A Deferred, as a coroutine that was written for asyncio can await it.
    """
    loop = running_loop()
    return waiting if loop is None else waiting.asFuture(loop)


def then(answer: Any, read: Callable[[Any], Any]) -> Any:
    """
    What `read` makes of a hook's answer, now or later.
    """
    if not is_later(answer):
        return read(answer)
    return as_deferred(answer).addCallback(read)


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


@types.coroutine
def _alone(coroutine: Any) -> Generator[Any, Any, Any]:
    """
    A coroutine where no loop runs.
    """
    error: BaseException | None = None
    result = None
    while True:
        try:
            wanted = coroutine.send(result) if error is None else coroutine.throw(error)
        except StopIteration as stop:
            return stop.value
        except RuntimeError as failure:
            if _NO_LOOP.search(str(failure)) is None:
                raise
            raise NoLoop from failure
        error = result = None
        if asyncio.isfuture(wanted):
            error = NoLoop()
            continue
        try:
            result = yield wanted
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as failure:
            error = failure
