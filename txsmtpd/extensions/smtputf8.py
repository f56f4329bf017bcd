"""
SMTPUTF8: addresses and headers in UTF-8 (RFC 6531).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.session import Envelope, Parameters, Session
from .base import Extension, flag, of_parameters
from .eight_bit_mime import EightBitMIME


class SMTPUTF8(Extension):
    """
    Lets one transaction have addresses that are not ASCII, and notes it in
    ``envelope.smtp_utf8``.

    Who offers it has to offer 8BITMIME too (section 3.1).
    """

    def keyword(self, session: Session) -> str | None:
        offered = self.settings.enable_SMTPUTF8 and self.beside(EightBitMIME, session)
        return "SMTPUTF8" if offered else None

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"SMTPUTF8": flag}

    @of_parameters
    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        envelope.smtp_utf8 = options.values.get("SMTPUTF8", False)
