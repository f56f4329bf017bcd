"""
The command line: ``python -m benchmarks``, from a checkout.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Iterator, Sequence

from . import report
from .child import cores, pin
from .compare import Results, measure
from .place import lasting_directory, place
from .servers import MODULES, missing
from .workloads import WORKLOADS
from .workloads.base import Workload


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def _directory(text: str) -> str:
    if not os.path.isdir(text):
        raise argparse.ArgumentTypeError(f"{text} is no directory")
    return text


def options(arguments: Sequence[str] | None = None) -> argparse.Namespace:
    """
    :param arguments: None is those of the process.
    """
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Measure txsmtpd beside aiosmtpd and a floor, and print Markdown tables.",
    )
    parser.add_argument("--rounds", type=_positive, default=5, metavar="N", help="(5)")
    parser.add_argument(
        "--messages",
        type=_positive,
        default=3000,
        metavar="N",
        help="in each round of W1; the others send a part of it (3000)",
    )
    parser.add_argument(
        "--workload", action="append", choices=WORKLOADS, help="repeatable (all of them)"
    )
    parser.add_argument(
        "--server", action="append", choices=MODULES, help="repeatable (all of them)"
    )
    parser.add_argument(
        "--directory",
        type=_directory,
        default=lasting_directory(),
        metavar="DIR",
        help="where W11 writes (%(default)s)",
    )
    return parser.parse_args(arguments)


def _say(what: str) -> None:
    print(what, file=sys.stderr)


def _installed(names: Iterable[str]) -> Iterator[str]:
    for name in names:
        obstacle = missing(name)
        if obstacle is None:
            yield name
        else:
            _say(obstacle)


def _possible(names: Iterable[str]) -> Iterator[Workload]:
    for name in names:
        workload = WORKLOADS[name]()
        obstacle = workload.obstacle()
        if obstacle is None:
            yield workload
        else:
            _say(obstacle)


def _print(results: Sequence[Results]) -> None:
    """
    All tables, of what has figures.
    """
    good = [result for result in results if result.failure is None and result.samples]
    if good:
        print(report.legend(good), end="\n\n")
        print(report.figures(good))
    judged = report.verdicts(good)
    if judged:
        print(f"\n{judged}")
    for doubt in report.doubts(good):
        print(f"\n{doubt}")


def main(arguments: Sequence[str] | None = None) -> None:
    """
    Measure and report.

    :param arguments: None is those of the process.
    """
    chosen = options(arguments)
    servers = [*_installed(dict.fromkeys(chosen.server or MODULES))]
    workloads = [*_possible(dict.fromkeys(chosen.workload or WORKLOADS))]
    if not any(workload.names(servers) for workload in workloads):
        raise SystemExit("there is nothing to measure")
    pinned = cores()
    if pinned is not None:
        pin(pinned[1])
    with place(pinned[0] if pinned else None, chosen.directory) as where:
        results = measure(
            workloads,
            servers,
            where,
            rounds=chosen.rounds,
            messages=chosen.messages,
            progress=_say,
        )
    print(report.surroundings(chosen.rounds, chosen.messages, pinned is not None), end="\n\n")
    _print(results)
    failures = [result.failure for result in results if result.failure is not None]
    if failures:
        raise SystemExit("\n".join(f"benchmark FAILED, no figures: {each}" for each in failures))


if __name__ == "__main__":
    main()
