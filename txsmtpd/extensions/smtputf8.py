"""
SMTPUTF8: addresses and headers in UTF-8 (RFC 6531).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.session import Envelope, Parameters, Session
from .base import Extension, flag


class SMTPUTF8(Extension):
    """
    Lets one transaction have addresses that are not ASCII.
    """

    def keyword(self, session: Session) -> str | None:
        return "SMTPUTF8" if self.settings.enable_SMTPUTF8 else None

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"SMTPUTF8": flag}

    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        envelope.smtp_utf8 = options.values.get("SMTPUTF8", False)
