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

from .compare import Results, reached
from .workloads.base import CPU, Measure, Sample

#: With fewer rounds a median says little.
ENOUGH = 5


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
    found = ", ".join(_versions(("Twisted", "aiosmtpd", "uvloop", "txsmtpd")))
    few = "" if rounds >= ENOUGH else f" Fewer than {ENOUGH} rounds: not to be quoted."
    machine = f"{_cpu_model()}, {os.cpu_count()} cores, {platform.system()} {platform.release()}"
    return (
        f"{machine}; {found}; {date.today().isoformat()}. {messages} messages in W1, medians of"
        f" {rounds} interleaved rounds (least to most), {placed}.{few}"
    )


def _server_busy(sample: Sample) -> float:
    return 100 * sample.cpu / sample.wall


def _client_busy(sample: Sample) -> float:
    return 100 * sample.client / sample.wall


def _rate(sample: Sample) -> float:
    return sample.messages / sample.wall


def legend(results: Iterable[Results]) -> str:
    """
    What each workload is, and is about.
    """
    rows = [[r.workload.name, r.workload.title, r.workload.measure.name] for r in results]
    return table(["", "workload", "measured"], rows)


def figures(results: Iterable[Results]) -> str:
    """
    What each server needs.
    """
    heads = ["", "server", "measured", "of the floor's", "of aiosmtpd's", "CPU per message"]
    heads += ["messages/s", "server busy", "client busy"]
    return table(heads, (row for result in results for row in _rows(result)))


def _rows(result: Results) -> Iterator[list[str]]:
    for name in result.samples:
        beside = [
            str(result.ratio(name, other)) if other in result.samples and other != name else ""
            for other in ("floor", "aiosmtpd")
        ]
        yield [
            result.workload.name,
            name,
            _middle(result, name, result.workload.measure),
            *beside,
            *_per_message(result, name),
            f"{median(result.values(name, _server_busy)):.0f} %",
            f"{median(result.values(name, _client_busy)):.0f} %",
        ]


def _middle(result: Results, name: str, measure: Measure) -> str:
    return measure.form.format(median(result.values(name, measure.of)))


def _per_message(result: Results, name: str) -> tuple[str, str]:
    """
    CPU time and rate, unless it is not about messages.
    """
    if not all(sample.messages for sample in result.samples[name]):
        return "", ""
    return _middle(result, name, CPU), f"{median(result.values(name, _rate)):.0f}"


def verdicts(results: Sequence[Results]) -> str:
    """
    What was to be reached, and whether it was; nothing if there is nothing to compare.
    """
    rows = [row for result in results for row in _judged(result, results)]
    return table(["", "goal", "reach", "measured", ""], rows) if rows else ""


def _judged(result: Results, results: Sequence[Results]) -> Iterator[list[str]]:
    workload = result.workload
    for goal in workload.goals:
        found = reached(goal, result, results)
        if found is not None:
            met = "PASS" if goal.met(found) else "miss"
            yield [workload.name, goal.named(workload.measure), str(goal), f"{found:.2f}", met]


def doubts(results: Iterable[Results]) -> Iterator[str]:
    """
    What speaks against the figures, and against which.
    """
    where: dict[str, list[str]] = {}
    for result in results:
        for name in result.samples:
            server = median(result.values(name, _server_busy))
            client = median(result.values(name, _client_busy))
            doubt = result.workload.doubt(name, server, client)
            if doubt is not None:
                where.setdefault(doubt, []).append(f"{result.workload.name} {name}")
    for doubt, named in where.items():
        yield f"{', '.join(named)}: {doubt}."
