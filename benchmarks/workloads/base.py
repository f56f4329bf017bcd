"""
What every workload is made of.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from typing import ClassVar

import attrs

from .. import CheckFailed
from ..child import Child, Mark
from ..load import Load, Step


@attrs.frozen
class Sample:
    """
    What one run of one workload on one server came to.
    """

    #: The server's CPU time in seconds, user and system.
    cpu: float
    #: Likewise the load generator's.
    client: float
    #: Seconds by the clock.
    wall: float
    messages: int
    octets: int


@attrs.frozen
class Measure:
    """
    What a workload is about.
    """

    name: str
    #: How to write a value, for `str.format`.
    form: str
    of: Callable[[Sample], float]


CPU = Measure("CPU per message", "{:.0f} µs", lambda sample: sample.cpu / sample.messages * 1e6)


@attrs.frozen
class Goal:
    """
    What the ratio of our measure to that of another server is to reach.
    """

    beside: str
    limit: float
    #: Whether more is better.
    at_least: bool = False

    def met(self, ratio: float) -> bool:
        return ratio >= self.limit if self.at_least else ratio <= self.limit

    def __str__(self) -> str:
        return f"at {'least' if self.at_least else 'most'} {self.limit:g}"


class Workload(ABC):
    """
    A number of clients that each play a script.

    Most workloads only say which one.  Those that measure something else replace `run`.
    """

    name: ClassVar[str]
    #: What goes on, in a few words, for the table.
    title: ClassVar[str]
    clients: ClassVar[int] = 20
    #: How many messages, as a part of what others send.
    share: ClassVar[float] = 1.0
    #: Messages that each client sends before the clock runs.
    warm_up: ClassVar[int] = 10
    #: The servers that it can be tried on; all, if none is named.
    servers: ClassVar[tuple[str, ...]] = ()
    measure: ClassVar[Measure] = CPU
    goals: ClassVar[tuple[Goal, ...]] = ()

    #: What a client does before the clock runs, and after.
    opening: ClassVar[tuple[Step, ...]] = (
        Step(b"", (b"220",), connect=True),
        Step(b"EHLO client.example\r\n", (b"250",)),
    )
    closing: ClassVar[tuple[Step, ...]] = (Step(b"QUIT\r\n", (b"221",)),)

    #: Octets of content in one message.
    octets: ClassVar[int]

    @abstractmethod
    def script(self, client: int, messages: int) -> list[Step]:
        """
        What one client does to send so many messages.
        """

    def scripts(self, messages: int) -> list[list[Step]]:
        return [self.script(client, messages) for client in range(self.clients)]

    def run(self, server: Child, messages: int) -> Sample:
        """
        Measure one server.

        :param messages: about how many, over all clients.
        :raise CheckFailed: if it does not do what it should.
        """
        scripts = self.scripts(max(1, round(messages * self.share / self.clients)))
        with Load(server.address, self.clients) as load:
            load.play([self.opening] * self.clients)
            load.play(self.scripts(self.warm_up))
            before, client, clock = server.mark(), time.process_time(), time.perf_counter()
            load.play(scripts)
            wall, client = time.perf_counter() - clock, time.process_time() - client
            spent = server.mark() - before
            self.check(spent, scripts)
            load.play([self.closing] * self.clients)
        return Sample(spent.cpu, client, wall, spent.messages, spent.octets)

    def check(self, spent: Mark, scripts: Iterable[Iterable[Step]]) -> None:
        """
        Compare what the server has counted with what it was sent.

        :raise CheckFailed: if that is not the same.
        """
        sent = sum(step.codes.count(b"354") for script in scripts for step in script)
        self.check_count(spent, sent)

    def check_count(self, spent: Mark, sent: int) -> None:
        """
        :raise CheckFailed: if the server has not counted so many messages.
        """
        if (spent.messages, spent.octets) != (sent, sent * self.octets):
            raise CheckFailed(
                f"{sent} messages of {self.octets} octets were sent, but the server has counted"
                f" {spent.messages} with {spent.octets} octets in all"
            )
