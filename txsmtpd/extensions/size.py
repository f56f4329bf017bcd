"""
SIZE: message size declaration (RFC 1870).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from ..core.replies import TOO_BIG, Rejected
from ..core.session import Envelope, Parameters, Session
from .base import Extension, of_parameters

# size-value ::= 1*20DIGIT
_SIZE_VALUE = re.compile("[0-9]{1,20}")


class Size(Extension):
    """
    Tells the limit, and refuses at MAIL what says that it is over it.
    """

    def keyword(self, session: Session) -> str:
        limit = self.settings.data_size_limit
        return f"SIZE {limit}" if limit else "SIZE"

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"SIZE": self._parse}

    def _parse(self, session: Session, value: str | None) -> int:
        if value is None or _SIZE_VALUE.fullmatch(value) is None:
            raise ValueError("wants a number of octets")
        size = int(value)
        if 0 < self.settings.data_size_limit < size:
            raise Rejected(TOO_BIG)
        return size

    @of_parameters
    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        envelope.size = options.values.get("SIZE")
