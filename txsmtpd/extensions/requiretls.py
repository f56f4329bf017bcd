"""
REQUIRETLS: a message that travels over TLS or not at all (RFC 8689).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.session import Envelope, Parameters, Session
from .base import Extension, flag, of_parameters


class RequireTLS(Extension):
    """
    Takes REQUIRETLS of MAIL where TLS is on, and notes it in ``envelope.require_tls``.

    Who offers this promises that its messages go on only over TLS to servers that offer it too,
    and that what bounces is treated so as well and returned without its content (RFC 8689
    sections 4.2.1 and 5).  The handler keeps that promise, which is why the extension is not
    offered unless it is asked for.  Without TLS it does not exist, nor its parameter
    (section 2).
    """

    def keyword(self, session: Session) -> str | None:
        return "REQUIRETLS" if session.secure else None

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"REQUIRETLS": flag}

    @of_parameters
    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        envelope.require_tls = options.values.get("REQUIRETLS", False)
