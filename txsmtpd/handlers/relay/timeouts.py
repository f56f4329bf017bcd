"""
How long everything may take.
"""

from __future__ import annotations

from typing import Any

import attrs


def _seconds(default: float) -> Any:
    return attrs.field(default=default, converter=float, validator=attrs.validators.gt(0))


@attrs.frozen
class Timeouts:
    """
    How many seconds the next hop gets.
    """

    #: To accept a connection, also for a free place among the connections that we may have.
    connect: float = _seconds(30)
    #: To greet, the handshake of implicit TLS included.
    greeting: float = _seconds(60)
    #: For most commands, and for the handshake of STARTTLS.
    command: float = _seconds(60)
    #: To let content come.
    data_start: float = _seconds(120)
    #: To take some content, when it is the one who is waited for.
    block: float = _seconds(180)
    #: For its verdict on a message: as long as RFC 5321 section 4.5.3.2.6 wants, because who gives
    #: up here has the message delivered twice (RFC 1047).
    data_end: float = _seconds(600)
    #: For a connection without work; most servers wait longer.
    idle: float = _seconds(45)
    #: How long a connection is used again: after that somebody else behind the same name gets a
    #: chance.
    lifetime: float = _seconds(300)
    #: To take leave.
    quit: float = _seconds(5)
