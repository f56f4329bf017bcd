"""
Rounds, ratios and medians.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from statistics import median

import attrs

from . import CheckFailed
from .child import Child
from .workloads.base import Measure, Sample, Workload


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

    def values(self, server: str, of: Callable[[Sample], float]) -> list[float]:
        return [of(sample) for sample in self.samples[server]]

    def ratio(self, server: str, other: str, measure: Measure) -> Ratio:
        return Ratio.of(self.values(server, measure.of), self.values(other, measure.of))


def rotated(names: Sequence[str], turn: int) -> Iterator[str]:
    """
    The same names, beginning with another in each turn.
    """
    for index in range(len(names)):
        yield names[(index + turn) % len(names)]


def measure(
    workloads: Sequence[Workload],
    servers: Sequence[str],
    *,
    rounds: int,
    messages: int,
    core: int | None,
    progress: Callable[[str], None],
) -> list[Results]:
    """
    Measure every workload on every server, once in each round.

    :param core: where the servers run, or None for anywhere.
    :param progress: told what is going on.
    :raise CheckFailed: if a server does not do what it should.
    """
    results = [
        Results(
            workload,
            {name: [] for name in servers if not workload.servers or name in workload.servers},
        )
        for workload in workloads
    ]
    for turn in range(rounds):
        for result in results:
            for name in rotated(tuple(result.samples), turn):
                progress(f"round {turn + 1} of {rounds}: {result.workload.name} {name}")
                result.samples[name].append(_one(result.workload, name, messages, core))
    return results


def _one(workload: Workload, name: str, messages: int, core: int | None) -> Sample:
    try:
        with Child(name, core) as child:
            return workload.run(child, messages)
    except (CheckFailed, OSError) as error:
        raise CheckFailed(f"{workload.name} on {name}: {error}") from error
