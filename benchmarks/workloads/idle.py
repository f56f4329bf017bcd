"""
Clients that are connected and say nothing.
"""

from __future__ import annotations

import time
from collections.abc import Generator
from contextlib import ExitStack
from typing import ClassVar

from .. import CheckFailed
from ..child import Child
from ..load import Load, Step
from ..place import allow_files
from ..serve import STATUS
from .base import SECURE_OPENING, Goal, Measure, Sample, Workload

#: How many come at the same time: more than that, and connections are refused.
AT_ONCE = 20
#: Files that are open besides those of the connections, and one for each group of them.
FILES = 500


def _kib(sample: Sample) -> float:
    return sample.memory / 1024


MEMORY = Measure("memory of a connection", "{:.1f} KiB", _kib)


class Idle(Workload):
    """
    Measures what the server's process has in memory, before and after they have come.
    """

    name = "W7"
    title = "5,000 idle connections"
    measure = MEMORY
    goals: ClassVar[tuple[Goal, ...]] = (Goal(None, 3),)
    octets = 0
    connections: ClassVar[int] = 5000

    def obstacle(self) -> str | None:
        if not STATUS.exists():
            return f"{self.name} is not measured, because there is no {STATUS}"
        if not allow_files(self.connections + FILES):
            wanted = self.connections + FILES
            return f"{self.name} is not measured: it wants {wanted} open files (ulimit -H -n)"
        return None

    def script(self, client: int, messages: int) -> list[Step]:
        return [*self.opening, *self.closing]

    def run(self, server: Child, messages: int) -> Generator[Sample, None, None]:
        with ExitStack() as stack:
            # What the first of them leave behind, all others use again.
            self._load(server, stack).play(self.scripts(0))
            before, client, clock = server.mark(), time.process_time(), time.perf_counter()
            without = server.memory()
            loads = []
            for _ in range(self.connections // AT_ONCE):
                loads.append(self._load(server, stack))
                loads[-1].play([self.opening] * AT_ONCE)
            memory = server.memory() - without
            wall, client = time.perf_counter() - clock, time.process_time() - client
            spent = server.mark() - before
            # They have all been there.
            for load in loads:
                load.play([self.closing] * AT_ONCE)
        if memory <= 0:
            raise CheckFailed(f"{self.connections} connections took {memory} octets of memory")
        yield Sample(spent.cpu, client, wall, memory=memory / self.connections)

    def _load(self, server: Child, stack: ExitStack) -> Load:
        return stack.enter_context(Load(server.address, AT_ONCE))

    def doubt(self, server: str, busy: float, client: float) -> None:
        """
        Memory does not depend on who was busy.
        """


class SecureIdle(Idle):
    """
    The same behind STARTTLS.
    """

    name = "W7t"
    title = "5,000 idle connections with TLS"
    goals = (Goal(None, 52),)
    tls = True
    opening = SECURE_OPENING
