"""
XFORWARD: who has sent the next message to the one who sends it to us, for the log (Postfix's
XFORWARD_README).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from ..core.context import Context
from ..core.outcomes import Outcome
from ..core.replies import OK
from .behalf import (
    UNAVAILABLE,
    OnBehalf,
    Reader,
    address,
    harmless,
    host_name,
    one_of,
    optional,
    port,
)

#: Octets of a protocol's name.
_PROTOCOL_LIMIT = 64


def _protocol(text: str) -> str:
    if len(text) > _PROTOCOL_LIMIT:
        raise ValueError("too long")
    return harmless(text)


class XForward(OnBehalf):
    """
    Takes XFORWARD of trusted proxies, and notes it in ``envelope.forwarded``.

    It is about the next message, and goes with it: several commands add up until then.  It changes
    nothing but the log.
    """

    name = "XFORWARD"
    readers: ClassVar[Mapping[str, Reader]] = {
        "NAME": optional(host_name),
        "ADDR": optional(address),
        "PROTO": optional(_protocol),
        "HELO": optional(harmless),
        "SOURCE": optional(one_of("LOCAL", "REMOTE")),
        "PORT": optional(port),
        "IDENT": optional(harmless),
    }

    def said(self, context: Context, attributes: dict[str, str]) -> Outcome:
        def note() -> None:
            both = {**context.envelope.forwarded, **attributes}
            available = {name: each for name, each in both.items() if each != UNAVAILABLE}
            context.envelope.forwarded = available

        return Outcome((OK,), commit=note)
