"""
What the servers are given to do: one class each, by the name that ``--workload`` takes.
"""

from __future__ import annotations

from .base import Workload
from .bulk import Bulk, Chunked, ShortLines, Stuffed
from .connections import NewConnections
from .kept import LockStep, Pipelined
from .recipients import ManyRecipients

#: In the order of the report.
WORKLOADS: dict[str, type[Workload]] = {
    workload.name: workload
    for workload in (
        NewConnections,
        LockStep,
        Pipelined,
        Bulk,
        Stuffed,
        ShortLines,
        ManyRecipients,
        Chunked,
    )
}
