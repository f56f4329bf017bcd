"""
Coroutines that mostly do not wait.

What the core does in several steps reads best as a coroutine.  But nearly always every hook decides
at once, so a coroutine is run as far as it goes; only if it then waits for something is there
anything for the event loop to do.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from functools import partial
from types import CoroutineType
from typing import Any, TypeVar, cast

T = TypeVar("T")


def eagerly(coroutine: Coroutine[Any, Any, T]) -> T | Coroutine[Any, Any, T]:
    """
    Run a coroutine up to the first thing it waits for.

    :return: its result if it waits for nothing, else a coroutine for the rest.
    """
    try:
        wanted = coroutine.send(None)
    except StopIteration as stop:
        result: T = stop.value
        return result
    return _rest(coroutine, wanted)


async def awaited(result: T | Coroutine[Any, Any, T]) -> T:
    """
    The result of what is there at once, or comes later.
    """
    if isinstance(result, CoroutineType):
        ended: T = await result
        return ended
    return cast(T, result)


async def _rest(coroutine: Coroutine[Any, Any, T], wanted: Any) -> T:
    result: T = await resumed(coroutine, wanted)
    return result


@types.coroutine
def resumed(coroutine: Coroutine[Any, Any, Any], wanted: Any) -> Generator[Any, Any, Any]:
    """
    The rest of a coroutine that has been started and waits for `wanted`.
    """
    while True:
        try:
            result = yield wanted
        except GeneratorExit:
            coroutine.close()
            raise
        except BaseException as error:
            step = partial(coroutine.throw, error)
        else:
            step = partial(coroutine.send, result)
        try:
            wanted = step()
        except StopIteration as stop:
            return stop.value
