"""
aiosmtpd on uvloop.
"""

from __future__ import annotations

from collections.abc import Callable

import uvloop

from . import Setup, Tally
from .aio import listen


def serve(setup: Setup, tally: Tally, ready: Callable[[int], None]) -> None:
    uvloop.run(listen(setup, tally, ready))
