"""
The servers that are measured: one module each, with a function ``serve(tally, ready)``.

It listens on 127.0.0.1 at a port of its choice, calls ``ready(port)`` and never returns.  It
accepts every message, counts it in the tally and forgets it.
"""

from __future__ import annotations

from importlib.util import find_spec

import attrs

#: Modules by the names of their servers, in the order of the report.
MODULES = {
    "txsmtpd": "benchmarks.servers.ours",
    "aiosmtpd": "benchmarks.servers.aio",
    "floor": "benchmarks.servers.floor",
}


@attrs.define
class Tally:
    """
    What a server has taken.
    """

    messages: int = 0
    #: Of content.
    octets: int = 0


def missing(name: str) -> str | None:
    """
    One sentence that says how to get a server that is not installed, or None.
    """
    if name == "aiosmtpd" and find_spec("aiosmtpd") is None:
        return "aiosmtpd is not measured because it is not installed: pip install aiosmtpd==1.4.6"
    return None
