"""
The command line: ``python -m benchmarks``, from a checkout.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from . import CheckFailed, report
from .child import cores, pin
from .compare import measure
from .servers import MODULES, missing
from .workloads import WORKLOADS


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


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
        "--messages", type=_positive, default=3000, metavar="N", help="in each round (3000)"
    )
    parser.add_argument(
        "--workload", action="append", choices=WORKLOADS, help="repeatable (all of them)"
    )
    parser.add_argument(
        "--server", action="append", choices=MODULES, help="repeatable (all of them)"
    )
    return parser.parse_args(arguments)


def main() -> None:
    """
    Measure and report.
    """
    chosen = options()
    servers = []
    for name in dict.fromkeys(chosen.server or MODULES):
        obstacle = missing(name)
        if obstacle is None:
            servers.append(name)
        else:
            print(obstacle, file=sys.stderr)
    if not servers:
        raise SystemExit("there is nothing to measure")
    pinned = cores()
    if pinned is not None:
        pin(pinned[1])
    try:
        results = measure(
            [WORKLOADS[name]() for name in dict.fromkeys(chosen.workload or WORKLOADS)],
            servers,
            rounds=chosen.rounds,
            messages=chosen.messages,
            core=pinned[0] if pinned else None,
            progress=lambda what: print(what, file=sys.stderr),
        )
    except CheckFailed as failure:
        raise SystemExit(f"benchmark FAILED, no figures: {failure}") from None
    print(report.surroundings(chosen.rounds, chosen.messages, pinned is not None), end="\n\n")
    print(report.figures(results))
    judged = report.verdicts(results)
    if judged:
        print(f"\n{judged}")
    for doubt in report.doubts(results):
        print(f"\n{doubt}")


if __name__ == "__main__":
    main()
