"""
The tables, in Markdown.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterable, Iterator, Sequence
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from statistics import median

from .compare import Results
from .workloads.base import Sample

#: The server whose ratios have goals.
OURS = "txsmtpd"
#: With fewer rounds a median says little.
ENOUGH = 5
#: Percent of the time that a process which is never waited for spends on its core.
BUSY = 90


def table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """
    A Markdown table.
    """
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _versions(packages: Iterable[str]) -> Iterator[str]:
    yield f"{platform.python_implementation()} {platform.python_version()}"
    for package in packages:
        try:
            yield f"{package} {version(package)}"
        except PackageNotFoundError:
            # Run from a checkout that is not installed.
            continue


def surroundings(rounds: int, messages: int, apart: bool) -> str:
    """
    Where, when and how it was measured.

    :param apart: whether server and load generator had a core each.
    """
    placed = "a core each for server and client" if apart else "server and client NOT kept apart"
    found = ", ".join(_versions(("Twisted", "aiosmtpd", "txsmtpd")))
    few = "" if rounds >= ENOUGH else f" Fewer than {ENOUGH} rounds: not to be quoted."
    machine = f"{_cpu_model()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    return (
        f"{machine}; {found}; {date.today().isoformat()}. {messages} messages a round, medians of"
        f" {rounds} interleaved rounds (least to most), {placed}.{few}"
    )


def _busy(seconds: float, wall: float) -> float:
    return 100 * seconds / wall


def _server_busy(sample: Sample) -> float:
    return _busy(sample.cpu, sample.wall)


def _client_busy(sample: Sample) -> float:
    return _busy(sample.client, sample.wall)


def _rate(sample: Sample) -> float:
    return sample.messages / sample.wall


def figures(results: Iterable[Results]) -> str:
    """
    What each server needs.
    """
    heads = ["workload", "server", "measure", "", "of the floor's", "of aiosmtpd's"]
    heads += ["messages/s", "server busy", "client busy"]
    return table(heads, (row for result in results for row in _rows(result)))


def _rows(result: Results) -> Iterator[list[str]]:
    measure = result.workload.measure
    for name in result.samples:
        beside = [
            str(result.ratio(name, other, measure))
            if other in result.samples and other != name
            else ""
            for other in ("floor", "aiosmtpd")
        ]
        yield [
            f"{result.workload.name} {result.workload.title}",
            name,
            measure.name,
            measure.form.format(median(result.values(name, measure.of))),
            *beside,
            f"{median(result.values(name, _rate)):.0f}",
            f"{median(result.values(name, _server_busy)):.0f} %",
            f"{median(result.values(name, _client_busy)):.0f} %",
        ]


def verdicts(results: Iterable[Results]) -> str:
    """
    What was to be reached, and whether it was; nothing if there is nothing to compare.
    """
    rows = [row for result in results for row in _judged(result)]
    return table(["workload", "goal", "reach", "measured", ""], rows) if rows else ""


def _judged(result: Results) -> Iterator[list[str]]:
    workload = result.workload
    for goal in workload.goals:
        if OURS in result.samples and goal.beside in result.samples:
            ratio = result.ratio(OURS, goal.beside, workload.measure)
            met = "PASS" if goal.met(ratio.middle) else "miss"
            named = f"{workload.measure.name}, of {goal.beside}'s"
            yield [workload.name, named, str(goal), f"{ratio.middle:.2f}", met]


def doubts(results: Iterable[Results]) -> Iterator[str]:
    """
    What speaks against the figures: a server that was not kept busy, and who is to blame.
    """
    for result in results:
        for name in result.samples:
            server = median(result.values(name, _server_busy))
            client = median(result.values(name, _client_busy))
            if server < BUSY:
                cause = (
                    "the load generator was the bottleneck"
                    if client >= BUSY
                    else "something else was using the cores"
                )
                yield f"{result.workload.name} {name}: {cause}, so messages/s says little."
