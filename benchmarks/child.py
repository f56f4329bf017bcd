"""
A server in a process of its own, on a core of its own.
"""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

import attrs

from . import CheckFailed
from .servers import Setup

#: Where the interpreter finds this package.
CHECKOUT = Path(__file__).parent.parent
#: What asks a server how much it has in memory.
MEMORY = "memory"
#: Seconds that a server may take to start, to tell its figures, and to end.
PATIENCE = 20


@attrs.frozen
class Mark:
    """
    What a server has spent and counted up to now.
    """

    #: Seconds, user and system.
    cpu: float
    messages: int
    #: Octets of content.
    octets: int

    def __sub__(self, earlier: Mark) -> Mark:
        return Mark(
            self.cpu - earlier.cpu,
            self.messages - earlier.messages,
            self.octets - earlier.octets,
        )


def cores() -> tuple[int, int] | None:
    """
    The cores of the server and of the load generator, or None if they cannot be kept apart.
    """
    if not hasattr(os, "sched_getaffinity"):
        return None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[-1], usable[0]) if len(usable) > 1 else None


def pin(core: int) -> None:
    """
    Keep this thread, and those that it starts, on one core.
    """
    os.sched_setaffinity(0, {core})


@contextmanager
def on_core(core: int | None) -> Iterator[None]:
    """
    Keep this thread, and those that it starts, on another core for a while.

    :param core: None is anywhere.
    """
    if core is None:
        yield
        return
    usual = os.sched_getaffinity(0)
    pin(core)
    try:
        yield
    finally:
        os.sched_setaffinity(0, usual)


class Child:
    """
    A running server: a context manager, which ends it.

    The process answers each line on its standard input with its figures, and ends when that is
    closed, which happens even if we are killed.

    :param setup: how it is to serve.
    :param core: where it runs, or None for anywhere.
    :raise CheckFailed: if it does not start.
    """

    def __init__(self, name: str, setup: Setup, core: int | None) -> None:
        self.name = name
        command = [sys.executable, "-m", "benchmarks.serve", name, setup.to_json()]
        if core is not None:
            command.append(str(core))
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0, cwd=CHECKOUT
        )
        try:
            self.address = ("127.0.0.1", int(self._line()))
        except BaseException:
            self._end()
            raise

    def _line(self) -> bytes:
        assert self._process.stdout is not None
        if not select.select([self._process.stdout], [], [], PATIENCE)[0]:
            raise CheckFailed(f"{self.name} is silent")
        line = self._process.stdout.readline()
        if not line:
            raise CheckFailed(f"{self.name} ended by itself")
        return line

    def _ask(self, question: str) -> list[bytes]:
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(question.encode() + b"\n")
        except BrokenPipeError:
            raise CheckFailed(f"{self.name} ended by itself") from None
        return self._line().split()

    def mark(self) -> Mark:
        """
        :raise CheckFailed: if the process has died.
        """
        cpu, messages, octets = self._ask("")
        return Mark(float(cpu), int(messages), int(octets))

    def memory(self) -> int:
        """
        :return: how many octets it has in memory.
        :raise CheckFailed: if the process has died.
        """
        (octets,) = self._ask(MEMORY)
        return int(octets)

    def _end(self) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.close()
        try:
            self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def __enter__(self) -> Child:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._end()
