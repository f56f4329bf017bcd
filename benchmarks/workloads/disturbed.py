"""
How long small messages take while a large one comes in.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from statistics import quantiles
from typing import ClassVar

from .. import CheckFailed
from ..child import Child, Mark
from ..load import Load, Step
from .base import Goal, Measure, Sample, Workload
from .bulk import MIB
from .kept import end, lock_step

#: How many messages, over all clients, stand for a second of this.
A_SECOND = 750


def _milliseconds(sample: Sample) -> float:
    return sample.p99 * 1e3


P99 = Measure("99 of 100 messages take at most", "{:.1f} ms", _milliseconds)


def p99(seconds: Sequence[float]) -> float:
    """
    What 99 of 100 do not exceed.
    """
    return quantiles(seconds, n=100, method="inclusive")[-1]


def _octets(last: Step) -> int:
    """
    Of content, in the step that ends a message.
    """
    return len(last.send) - len(b".\r\n")


class Race:
    """
    Several clients send small messages, and note how long each takes, until time is up; another one
    sends large messages as fast as they are taken, until the others have ended.

    :param clients: how many send small ones.
    """

    def __init__(
        self,
        clients: int,
        seconds: float,
        small: Step,
        large: Step,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._clock = clock
        self._running = clients
        self._seconds = seconds
        self._small = small
        self._large = large
        #: How long each small message took, in seconds.
        self.delays: list[float] = []
        #: How many large ones there were.
        self.large = 0

    def send_small(self, client: int) -> Iterator[Step]:
        """
        A script that is made while it is played: it goes on when a step was answered.
        """
        number, now = 0, self._clock()
        until = now + self._seconds
        while now < until:
            begun = now
            yield from lock_step(client, number, self._small)
            number, now = number + 1, self._clock()
            self.delays.append(now - begun)
        self._running -= 1

    def send_large(self, client: int) -> Iterator[Step]:
        while self._running:
            yield from lock_step(client, self.large, self._large)
            self.large += 1

    def check(self, spent: Mark) -> None:
        """
        :raise CheckFailed: if the server has not counted what it was sent.
        """
        small = len(self.delays)
        octets = small * _octets(self._small) + self.large * _octets(self._large)
        if (spent.messages, spent.octets) != (small + self.large, octets):
            raise CheckFailed(
                f"{small} small and {self.large} large messages were sent, {octets} octets, but the"
                f" server has counted {spent.messages} with {spent.octets} octets in all"
            )


class Disturbed(Workload):
    """
    One client streams, and the others wait for every reply.
    """

    name = "W10"
    title = "1 KiB, lock-step, 5 at once, while another client streams messages of 30 MiB"
    clients = 5
    measure = P99
    goals = (Goal("aiosmtpd", 0.1), Goal("floor", 2.0))
    octets = 1024
    #: Octets in a large message.
    huge: ClassVar[int] = 30 * MIB

    def script(self, client: int, messages: int) -> list[Step]:
        last = end(self.octets)
        return [step for number in range(messages) for step in lock_step(client, number, last)]

    def run(self, server: Child, messages: int) -> Generator[Sample, None, None]:
        everyone = self.clients + 1
        race = Race(self.clients, messages / A_SECOND, end(self.octets), end(self.huge))
        with Load(server.address, everyone) as load:
            load.play([self.opening] * everyone)
            load.play([*self.warming(), ()])
            before, client, clock = server.mark(), time.process_time(), time.perf_counter()
            small = [race.send_small(number) for number in range(self.clients)]
            load.play([*small, race.send_large(self.clients)])
            wall, client = time.perf_counter() - clock, time.process_time() - client
            spent = server.mark() - before
            load.play([self.closing] * everyone)
        race.check(spent)
        yield Sample(spent.cpu, client, wall, p99=p99(race.delays))
