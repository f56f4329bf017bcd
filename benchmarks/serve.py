"""
Runs one server until its standard input ends: ``python -m benchmarks.serve NAME SETUP [CORE]``.

It says its port first.  Then each line that it reads is answered: ``memory`` with the octets that
the process has in memory, any other with its CPU time, messages and octets of content so far.  A
thread does that, because it is the same for every event loop, and it costs nothing while it waits.
"""

from __future__ import annotations

import gc
import os
import re
import sys
import threading
import time
from importlib import import_module
from pathlib import Path

from .child import MEMORY, pin
from .servers import MODULES, Setup, Tally

#: Where Linux says what a process has in memory.
STATUS = Path("/proc/self/status")
_RESIDENT = re.compile(r"^VmRSS:\s*(\d+) kB$", re.MULTILINE)


def resident() -> int:
    """
    Octets that this process has in memory, without what nobody can reach.
    """
    gc.collect()
    found = _RESIDENT.search(STATUS.read_text())
    return int(found[1]) * 1024 if found else 0


def _answer(tally: Tally) -> None:
    for line in sys.stdin:
        if line.strip() == MEMORY:
            print(resident(), flush=True)
        else:
            print(time.process_time(), tally.messages, tally.octets, flush=True)
    os._exit(0)


def _ready(port: int) -> None:
    print(port, flush=True)


def main(name: str, setup: str, core: str | None = None) -> None:
    """
    :param setup: a `Setup` in JSON.
    :param core: where to run, or None for anywhere.
    """
    if core is not None:
        pin(int(core))
    tally = Tally()
    threading.Thread(target=_answer, args=(tally,), daemon=True).start()
    import_module(MODULES[name]).serve(Setup.from_json(setup), tally, _ready)


if __name__ == "__main__":
    main(*sys.argv[1:])
