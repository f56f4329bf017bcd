"""
Runs one server until its standard input ends: ``python -m benchmarks.serve NAME [CORE]``.

It says its port first.  Then each line that it reads is answered with its CPU time, messages and
octets of content so far.  A thread does that, because it is the same for every event loop, and it
costs nothing while it waits.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from importlib import import_module

from .child import pin
from .servers import MODULES, Tally


def _answer(tally: Tally) -> None:
    for _ in sys.stdin:
        print(time.process_time(), tally.messages, tally.octets, flush=True)
    os._exit(0)


def _ready(port: int) -> None:
    print(port, flush=True)


def main(name: str, core: str | None = None) -> None:
    """
    :param core: where to run, or None for anywhere.
    """
    if core is not None:
        pin(int(core))
    tally = Tally()
    threading.Thread(target=_answer, args=(tally,), daemon=True).start()
    import_module(MODULES[name]).serve(tally, _ready)


if __name__ == "__main__":
    main(*sys.argv[1:])
