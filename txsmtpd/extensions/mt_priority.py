"""
MT-PRIORITY: messages that come before others (RFC 6710).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..core.session import Envelope, Parameters, Session
from ..core.settings import Settings
from .base import Extension, of_parameters

# Section 7
#   priority-value   = (["-"] NZDIGIT) / "0"
#   NZDIGIT          = %x31-39
#   priority-profile = 1*20( ALPHA / DIGIT / "-" / "_" / "." )
_PRIORITY_VALUE = re.compile("-?[1-9]|0")
_PRIORITY_PROFILE = re.compile("[A-Za-z0-9._-]{1,20}")


class MTPriority(Extension):
    """
    Takes MT-PRIORITY of MAIL: ``envelope.priority`` is a number from -9 to 9, None where the client
    said nothing, which means 0 if the server does not know better.

    Who offers this promises to tell important messages from others, and not to take everybody's
    word for it: no positive priority from strangers (section 4.1).  The handler does that, which is
    why the extension is not offered unless it is asked for.  Its MAIL hook may set another
    priority in the envelope and say so (``250 2.3.6 0 is the new priority``), or refuse the message
    (``550 5.7.15``).

    :param profile: the name of the priority assignment policy that the server follows, such as
        ``STANAG4406``, for the EHLO reply: ``functools.partial(MTPriority, profile=...)``.
    """

    def __init__(self, settings: Settings, *, profile: str = "") -> None:
        super().__init__(settings)
        if profile and _PRIORITY_PROFILE.fullmatch(profile) is None:
            raise ValueError(
                f"profile wants up to 20 letters, digits, '-', '_' and '.', not {profile!r}"
            )
        self.profile = profile

    def keyword(self, session: Session) -> str:
        return f"MT-PRIORITY {self.profile}" if self.profile else "MT-PRIORITY"

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"MT-PRIORITY": _priority}

    @of_parameters
    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        envelope.priority = options.values.get("MT-PRIORITY")


def _priority(session: Session, value: str | None) -> int:
    if value is None or _PRIORITY_VALUE.fullmatch(value) is None:
        raise ValueError("wants -9 to 9")
    return int(value)
