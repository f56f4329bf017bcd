"""
MT-PRIORITY: messages that come before others (RFC 6710).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..core.session import Session
from ..core.settings import Settings
from .base import Extension

# priority-value = (["-"] NZDIGIT) / "0"
# NZDIGIT        = %x31-39
_PRIORITY_VALUE = re.compile("-?[1-9]|0")

# RFC 5321 section 4.1.1.1
#   ehlo-param = 1*(%d33-126)
_EHLO_PARAM = re.compile("[!-~]+")


class MTPriority(Extension):
    """
    Takes MT-PRIORITY of MAIL: ``options.get("MT-PRIORITY")`` is a number from -9 to 9, None where
    the client said nothing, which means 0.

    Who offers this promises to tell important messages from others, and whose word to take for
    it.  The handler does that, which is why the extension is not offered unless it is asked for.
    It may answer MAIL that it has lowered a priority (``250 2.3.6``) or refuse it.

    :param profile: the name of the priority assignment policy that the server follows, such as
        ``MIXER``, for the EHLO reply: ``functools.partial(MTPriority, profile="MIXER")``.
    """

    def __init__(self, settings: Settings, *, profile: str = "") -> None:
        super().__init__(settings)
        if profile and _EHLO_PARAM.fullmatch(profile) is None:
            raise ValueError(f"profile wants a word of printable ASCII, not {profile!r}")
        self.profile = profile

    def keyword(self, session: Session) -> str:
        return f"MT-PRIORITY {self.profile}" if self.profile else "MT-PRIORITY"

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"MT-PRIORITY": _priority}


def _priority(session: Session, value: str | None) -> int:
    if value is None or _PRIORITY_VALUE.fullmatch(value) is None:
        raise ValueError("wants -9 to 9")
    return int(value)
