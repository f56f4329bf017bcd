"""
8BITMIME: content with octets above 127 (RFC 6152).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.session import Envelope, Parameters, Session
from .base import Extension


class EightBitMIME(Extension):
    """
    Says that 8-bit content is kept as it is, and takes BODY.  It is not offered where content is
    decoded as ASCII.
    """

    def keyword(self, session: Session) -> str | None:
        only_ascii = self.settings.decode_data and not self.settings.enable_SMTPUTF8
        return None if only_ascii else "8BITMIME"

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"BODY": self._parse}

    def _parse(self, session: Session, value: str | None) -> str:
        # In bytes, where no other letter becomes an "I" when it is made upper.
        body = (value or "").encode().upper().decode()
        if body not in ("7BIT", "8BITMIME"):
            raise ValueError("wants 7BIT or 8BITMIME")
        return body

    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        envelope.body = options.values.get("BODY")
