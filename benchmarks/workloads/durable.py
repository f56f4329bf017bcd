"""
Messages that are on the disk before they are accepted.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import ClassVar

from .. import CheckFailed
from ..child import Child, Mark, on_core
from ..place import Place
from ..servers import OURS, Setup
from .base import BUSY, Goal, Measure, Sample
from .kept import Pipelined, content

#: What the results call the disk itself.
DISK = "disk"


def _per_second(sample: Sample) -> float:
    return sample.messages / sample.wall


RATE = Measure("messages per second", "{:.0f}/s", _per_second)


def _write(path: str, target: str, data: bytes) -> None:
    fd = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
    try:
        os.write(fd, data)
        os.fsync(fd)
    finally:
        os.close(fd)
    os.rename(path, target)


class Writers:
    """
    Threads that each write files, one after the other: what a disk allows.

    :param files: how many each of them writes.
    """

    def __init__(self, directory: str, threads: int, files: int, data: bytes) -> None:
        self._tmp, self._new = (os.path.join(directory, name) for name in ("tmp", "new"))
        self._files = files
        self._data = data
        self._start = threading.Barrier(threads + 1)
        self._threads = [
            threading.Thread(target=self._work, args=(number,)) for number in range(threads)
        ]
        self._failed: list[OSError] = []

    def _work(self, thread: int) -> None:
        self._start.wait()
        try:
            for number in range(self._files):
                name = f"{thread}.{number}"
                _write(os.path.join(self._tmp, name), os.path.join(self._new, name), self._data)
        except OSError as error:
            self._failed.append(error)

    def run(self) -> Sample:
        """
        :raise OSError: if a file could not be written.
        """
        for directory in (self._tmp, self._new):
            os.mkdir(directory)
        for thread in self._threads:
            thread.start()
        cpu, clock = time.process_time(), time.perf_counter()
        self._start.wait()
        for thread in self._threads:
            thread.join()
        wall, cpu = time.perf_counter() - clock, time.process_time() - cpu
        if self._failed:
            raise self._failed[0]
        written = self._files * len(self._threads)
        return Sample(cpu, 0, wall, written, written * len(self._data))


def check_maildir(directory: str, messages: int, end: bytes) -> None:
    """
    :raise CheckFailed: if there are not so many files in a Maildir, or one ends in another way.
    """
    found = list(Path(directory, "new").iterdir())
    whole = sum(path.read_bytes().endswith(end) for path in found)
    if (len(found), whole) != (messages, messages):
        raise CheckFailed(f"of {messages} messages there are {len(found)}, and {whole} are whole")


class Durable(Pipelined):
    """
    Beside it, in the same round and directory, as many threads as there are clients do no more than
    to write a file, fsync and rename it.
    """

    name = "W11"
    title = "1 KiB into a Maildir, durable, pipelined groups, 20 at once"
    servers = (OURS,)
    measure = RATE
    #: The disk has no parts.
    most_parts = 1
    goals: ClassVar[tuple[Goal, ...]] = (Goal(DISK, 0.8, at_least=True),)

    def names(self, servers: Sequence[str]) -> list[str]:
        ours = super().names(servers)
        return [*ours, DISK] if ours else []

    def samples(self, name: str, messages: int, place: Place) -> Generator[Sample, None, None]:
        each = self.each(name, messages)
        # It goes when the run ends: a file system without a journal takes long to make a file while
        # others are gone but a minute.
        directory = tempfile.mkdtemp(dir=place.directory)
        data = content(self.octets)
        if name == DISK:
            with on_core(place.core):
                written = Writers(directory, self.clients, each, data).run()
            # Not in there: until it is asked again, others are measured.
            yield written
            return
        with Child(name, Setup(maildir=directory), place.core) as child:
            yield from self.run(child, messages)
        check_maildir(directory, self.clients * (self.warm_up + each), data)

    def check(self, server: str, spent: Mark, sent: int) -> None:
        """
        The files will be counted.
        """

    def doubt(self, server: str, busy: float, client: float) -> str | None:
        if server == DISK and busy >= BUSY:
            return "the core was the bottleneck, so it is no measure of the disk"
        return None
