"""
The servers that are measured: one module each, with a function ``serve(setup, tally, ready)``.

It listens on 127.0.0.1 at a port of its choice, calls ``ready(port)`` and never returns.  It
accepts every message, counts it in the tally and forgets it, unless the setup says otherwise.
"""

from __future__ import annotations

import json
from importlib.util import find_spec

import attrs

#: The one whose measures have goals.
OURS = "txsmtpd"
#: Modules by the names of their servers, in the order of the report.
MODULES = {
    OURS: "benchmarks.servers.ours",
    "aiosmtpd": "benchmarks.servers.aio",
    "aiosmtpd-uvloop": "benchmarks.servers.aio_uvloop",
    "floor": "benchmarks.servers.floor",
}

#: Those that need so long for some messages that they get fewer of them.
SLOW = frozenset({"aiosmtpd", "aiosmtpd-uvloop"})

#: What a server cannot do without, and what installs it.
_WANTED = {
    "aiosmtpd": {"aiosmtpd": "aiosmtpd==1.4.6"},
    "aiosmtpd-uvloop": {"aiosmtpd": "aiosmtpd==1.4.6", "uvloop": "uvloop"},
}


@attrs.frozen
class Setup:
    """
    What a workload wants of a server.
    """

    #: Offer STARTTLS, with this file in PEM.
    certificate: str | None = None
    #: Speak LMTP.
    lmtp: bool = False
    #: Deliver into this Maildir and do not count.
    maildir: str | None = None

    def to_json(self) -> str:
        return json.dumps(attrs.asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Setup:
        return cls(**json.loads(text))


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
    wanted = _WANTED.get(name, {})
    absent = [package for package in wanted if find_spec(package) is None]
    if not absent:
        return None
    what = " and ".join(absent)
    how = " ".join(wanted[package] for package in absent)
    return f"{name} is not measured without {what}: pip install {how}"
