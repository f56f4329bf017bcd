"""
What the servers are given to do: one class each, by the name that ``--workload`` takes.
"""

from __future__ import annotations

from .base import Workload
from .bulk import Bulk, Chunked, Encrypted, ShortLines, Stuffed
from .connections import NewConnections, SecureConnections
from .disturbed import Disturbed
from .durable import Durable
from .idle import Idle, SecureIdle
from .kept import LockStep, Pipelined
from .recipients import LocalDelivery, ManyRecipients

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
        SecureConnections,
        Encrypted,
        Idle,
        SecureIdle,
        LocalDelivery,
        Chunked,
        Disturbed,
        Durable,
    )
}
