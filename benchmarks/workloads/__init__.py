"""
What the servers are given to do: one class each, by the name that ``--workload`` takes.
"""

from __future__ import annotations

from .base import Workload
from .kept import LockStep, Pipelined

#: In the order of the report.
WORKLOADS: dict[str, type[Workload]] = {w.name: w for w in (LockStep, Pipelined)}
