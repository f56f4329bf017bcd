"""
Tests for :mod:`txsmtpd.core.eager`.
"""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.eager import eagerly, resumed


@types.coroutine
def wait(wanted: Any) -> Generator[Any, Any, Any]:
    """
    Wait for what the test sends.
    """
    return (yield wanted)


class EagerlyTests(SynchronousTestCase):
    """
    A coroutine is run as far as it goes.
    """

    def setUp(self) -> None:
        self.log: list[str] = []

    async def twice(self) -> str:
        """
        Waits twice and minds its errors.
        """
        self.log.append("begun")
        try:
            first = await wait("first")
            self.log.append(first)
            try:
                second = await wait("second")
            except KeyError:
                second = "error"
            self.log.append(second)
        finally:
            self.log.append("ended")
        return "result"

    def begun(self) -> Coroutine[Any, Any, str]:
        """
        The rest, when it has been resumed as far as its first wait.
        """
        rest = eagerly(self.twice())
        assert not isinstance(rest, str)
        self.assertEqual(["begun"], self.log)
        self.assertEqual("first", rest.send(None))
        return rest

    def test_at_once(self) -> None:
        async def at_once() -> str:
            return "result"

        self.assertEqual("result", eagerly(at_once()))

    def test_raises_at_once(self) -> None:
        async def fail() -> None:
            raise KeyError

        self.assertRaises(KeyError, eagerly, fail())

    def test_waits(self) -> None:
        """
        What it waits for is passed on, and what comes of that is passed back.
        """
        rest = self.begun()
        self.assertEqual("second", rest.send("one"))
        with self.assertRaises(StopIteration) as caught:
            rest.send("two")
        self.assertEqual("result", caught.exception.value)
        self.assertEqual(["begun", "one", "two", "ended"], self.log)

    def test_error_inside(self) -> None:
        """
        So are errors.
        """
        rest = self.begun()
        self.assertEqual("second", rest.send("one"))
        with self.assertRaises(StopIteration) as caught:
            rest.throw(KeyError())
        self.assertEqual("result", caught.exception.value)
        self.assertEqual(["begun", "one", "error", "ended"], self.log)

    def test_error_outside(self) -> None:
        rest = self.begun()
        self.assertRaises(ValueError, rest.throw, ValueError())
        self.assertEqual(["begun", "ended"], self.log)

    def test_base_exceptions(self) -> None:
        """
        Not only those that programs usually catch.
        """
        rest = self.begun()
        self.assertRaises(KeyboardInterrupt, rest.throw, KeyboardInterrupt())
        self.assertEqual(["begun", "ended"], self.log)

    def test_closed(self) -> None:
        """
        Closing the rest closes the whole.
        """
        self.begun().close()
        self.assertEqual(["begun", "ended"], self.log)

    def test_in_a_coroutine(self) -> None:
        """
        The rest can be awaited.
        """

        async def outer() -> str:
            rest = eagerly(self.twice())
            assert not isinstance(rest, str)
            return "outer " + await rest

        whole = outer()
        self.assertEqual("first", whole.send(None))
        self.assertEqual("second", whole.send("one"))
        with self.assertRaises(StopIteration) as caught:
            whole.send("two")
        self.assertEqual("outer result", caught.exception.value)


class ResumedTests(SynchronousTestCase):
    """
    The rest of a coroutine that somebody else has started.
    """

    def test_resumed(self) -> None:
        async def once() -> Any:
            return await wait("wanted")

        started = once()
        rest: Any = resumed(started, started.send(None))
        self.assertEqual("wanted", rest.send(None))
        with self.assertRaises(StopIteration) as caught:
            rest.send("answer")
        self.assertEqual("answer", caught.exception.value)
