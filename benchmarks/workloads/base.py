"""
What every workload is made of.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import ClassVar

import attrs

from .. import CheckFailed
from ..child import Child, Mark
from ..load import Load, Step
from ..place import Place
from ..servers import SLOW, Setup

#: Percent of the time that a process which is never waited for spends on its core.
BUSY = 90

#: What a client does before the clock runs.
OPENING = (
    Step(b"", (b"220",), connect=True),
    Step(b"EHLO client.example\r\n", (b"250",)),
)
#: Likewise, so that all that follows is encrypted.
SECURE_OPENING = (
    *OPENING,
    Step(b"STARTTLS\r\n", (b"220",)),
    Step(b"EHLO client.example\r\n", (b"250",), secure=True),
)
#: What it does after.
CLOSING = (Step(b"QUIT\r\n", (b"221",)),)


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
    #: None where it is not about them.
    messages: int = 0
    octets: int = 0
    #: Octets in memory for each connection.
    memory: float = 0
    #: Seconds that 99 of 100 messages take at most.
    p99: float = 0

    def __add__(self, other: Sample) -> Sample:
        """
        Another part of the same run.  Memory and p99 are not of parts.
        """
        return attrs.evolve(
            self,
            cpu=self.cpu + other.cpu,
            client=self.client + other.client,
            wall=self.wall + other.wall,
            messages=self.messages + other.messages,
            octets=self.octets + other.octets,
        )


def parts(whole: int, most: int) -> list[int]:
    """
    A number in parts that are as equal as can be, none of them zero.
    """
    number = min(whole, most)
    return [(whole + index) // number for index in range(number)]


def _cpu(sample: Sample) -> float:
    return sample.cpu / sample.messages * 1e6


@attrs.frozen
class Measure:
    """
    What a workload is about.
    """

    name: str
    #: How to write a value, for `str.format`.
    form: str
    of: Callable[[Sample], float]


CPU = Measure("CPU per message", "{:.0f} µs", _cpu)


@attrs.frozen
class Goal:
    """
    What our measure is to reach, or its ratio to another.
    """

    #: The server that it is compared with, or None if the measure itself is judged.
    beside: str | None
    limit: float
    #: Whether more is better.
    at_least: bool = False
    #: Where that server was measured, if not in the same workload.
    workload: str | None = None

    def met(self, reached: float) -> bool:
        return reached >= self.limit if self.at_least else reached <= self.limit

    def named(self, measure: Measure) -> str:
        """
        What is judged, in words.
        """
        if self.beside is None:
            return measure.name
        where = f" in {self.workload}" if self.workload else ""
        return f"{measure.name}, of {self.beside}'s{where}"

    def __str__(self) -> str:
        return f"at {'least' if self.at_least else 'most'} {self.limit:.3g}"


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
    #: Likewise to servers that take too long for them: what a message costs does not depend on how
    #: many there are.
    slow_share: ClassVar[float | None] = None
    #: In how many parts they are sent, between which the other servers have their turns.
    most_parts: ClassVar[int] = 10
    #: Messages that each client sends before the clock runs.
    warm_up: ClassVar[int] = 10
    #: The servers that it can be tried on; all, if none is named.
    servers: ClassVar[tuple[str, ...]] = ()
    #: Whether servers must be able to do TLS.
    tls: ClassVar[bool] = False
    #: Whether they speak LMTP.
    lmtp: ClassVar[bool] = False
    measure: ClassVar[Measure] = CPU
    goals: ClassVar[tuple[Goal, ...]] = ()

    opening: ClassVar[tuple[Step, ...]] = OPENING
    closing: ClassVar[tuple[Step, ...]] = CLOSING

    #: Octets of content in one message.
    octets: ClassVar[int]

    def obstacle(self) -> str | None:
        """
        One sentence that says why it cannot be tried on this machine, or None.
        """
        return None

    def names(self, servers: Sequence[str]) -> list[str]:
        """
        :param servers: those that are to be measured.
        :return: those of them that it is about.
        """
        return [name for name in servers if not self.servers or name in self.servers]

    @abstractmethod
    def script(self, client: int, messages: int) -> Iterable[Step]:
        """
        What one client does to send so many messages.
        """

    def scripts(self, messages: int) -> list[Iterable[Step]]:
        return [self.script(client, messages) for client in range(self.clients)]

    def warming(self) -> Sequence[Iterable[Step]]:
        """
        What is done before the clock runs.
        """
        return self.scripts(self.warm_up)

    def each(self, server: str, messages: int) -> int:
        """
        How many messages each client sends, if it is about so many in all.
        """
        slow = self.slow_share is not None and server in SLOW
        share = self.slow_share if slow and self.slow_share is not None else self.share
        return max(1, round(messages * share / self.clients))

    def samples(self, name: str, messages: int, place: Place) -> Generator[Sample, None, None]:
        """
        Measure one server, in a process of its own.

        :param messages: about how many, over all clients.
        :return: the parts of the measurement.  Each is made when it is asked for.
        :raise CheckFailed: if the server does not do what it should.
        """
        certificate = place.certificate if self.tls else None
        with Child(name, Setup(certificate, self.lmtp), place.core) as child:
            yield from self.run(child, messages)

    def run(self, server: Child, messages: int) -> Generator[Sample, None, None]:
        """
        Measure a server that runs.
        """
        with Load(server.address, self.clients) as load:
            load.play([self.opening] * self.clients)
            load.play(self.warming())
            start, sent = server.mark(), 0
            for each in parts(self.each(server.name, messages), self.most_parts):
                scripts = self.scripts(each)
                before, client, clock = server.mark(), time.process_time(), time.perf_counter()
                load.play(scripts)
                wall, client = time.perf_counter() - clock, time.process_time() - client
                spent, part = server.mark() - before, self.sent(scripts)
                sent += part
                yield Sample(spent.cpu, client, wall, part, part * self.octets)
            spent = server.mark() - start
            load.play([self.closing] * self.clients)
        self.check(server.name, spent, sent)

    def sent(self, scripts: Iterable[Iterable[Step]]) -> int:
        """
        How many messages there are in scripts.
        """
        return sum(step.codes.count(b"354") for script in scripts for step in script)

    def counted(self, server: str) -> int:
        """
        How many octets of content a server should count in one message.
        """
        return self.octets

    def check(self, server: str, spent: Mark, sent: int) -> None:
        """
        Compare what a server has counted with what it was sent.

        :raise CheckFailed: if that is not the same.
        """
        octets = self.counted(server)
        if (spent.messages, spent.octets) != (sent, sent * octets):
            raise CheckFailed(
                f"{sent} messages of {octets} octets were sent, but the server has counted"
                f" {spent.messages} with {spent.octets} octets in all"
            )

    def doubt(self, server: str, busy: float, client: float) -> str | None:
        """
        What speaks against the figures: usually that the server was not kept busy.

        :param busy: percent of the time that the server has used.
        :param client: likewise the load generator.
        """
        if busy >= BUSY:
            return None
        cause = (
            "the load generator was the bottleneck"
            if client >= BUSY
            else "something else was using the cores"
        )
        return f"{cause}, so messages/s says little"
