"""
Rounds, ratios and medians.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from statistics import median

import attrs

from . import CheckFailed
from .place import Place
from .servers import OURS
from .workloads.base import Goal, Sample, Workload


@attrs.frozen
class Ratio:
    """
    What one server needs beside another, in the same round each time.
    """

    middle: float
    least: float
    most: float

    @classmethod
    def of(cls, ours: Sequence[float], others: Sequence[float]) -> Ratio:
        """
        :param others: in the same order of rounds.
        """
        ratios = [one / other for one, other in zip(ours, others, strict=True)]
        return cls(median(ratios), min(ratios), max(ratios))

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.least:.2f} to {self.most:.2f})"


@attrs.define
class Results:
    """
    The samples of one workload: a list for each server, in the order of the rounds.
    """

    workload: Workload
    samples: dict[str, list[Sample]]
    #: The check that a server did not pass: there are no figures then.
    failure: str | None = None

    def values(self, server: str, of: Callable[[Sample], float]) -> list[float]:
        return [of(sample) for sample in self.samples[server]]

    def own(self, server: str) -> list[float]:
        """
        What the workload is about, in each round.
        """
        return self.values(server, self.workload.measure.of)

    def ratio(self, server: str, other: str) -> Ratio:
        return Ratio.of(self.own(server), self.own(other))


def reached(goal: Goal, result: Results, results: Iterable[Results]) -> float | None:
    """
    What was reached of what a goal is about, or None if that was not measured.

    :param results: where to look for another workload.
    """
    if OURS not in result.samples:
        return None
    if goal.beside is None:
        return median(result.own(OURS))
    where = goal.workload or result.workload.name
    for other in results:
        if other.workload.name == where and goal.beside in other.samples:
            return Ratio.of(result.own(OURS), other.own(goal.beside)).middle
    return None


def rotated(names: Sequence[str], turn: int) -> Iterator[str]:
    """
    The same names, beginning with another in each turn.
    """
    for index in range(len(names)):
        yield names[(index + turn) % len(names)]


def measure(
    workloads: Iterable[Workload],
    servers: Sequence[str],
    place: Place,
    *,
    rounds: int,
    messages: int,
    progress: Callable[[str], None],
) -> list[Results]:
    """
    Measure every workload on every server, once in each round.

    Within a round the servers of a workload stand side by side and have their turns: whatever makes
    the machine faster or slower meanwhile concerns them all.  A workload in which a server does not
    do what it should is given up, the others go on.

    :param progress: told what is going on.
    """
    results = [
        Results(workload, {name: [] for name in workload.names(servers)}) for workload in workloads
    ]
    for turn in range(rounds):
        for result in results:
            if result.failure is None:
                progress(f"round {turn + 1} of {rounds}: {result.workload.name}")
                _measure_round(result, turn, messages, place)
    return results


def _measure_round(result: Results, turn: int, messages: int, place: Place) -> None:
    workload = result.workload
    found: dict[str, Sample] = {}
    with ExitStack() as stack:
        running = {}
        for name in result.samples:
            running[name] = samples = workload.samples(name, messages, place)
            stack.callback(samples.close)
        while running:
            for name in rotated(tuple(running), turn):
                try:
                    part = next(running[name], None)
                except (CheckFailed, OSError) as error:
                    result.failure = f"{workload.name} on {name}: {error}"
                    return
                if part is None:
                    del running[name]
                else:
                    found[name] = found[name] + part if name in found else part
            turn += 1
    for name, sample in found.items():
        result.samples[name].append(sample)
