"""
ENHANCEDSTATUSCODES: codes such as 5.1.1 in replies (RFC 2034).
"""

from __future__ import annotations

from ..core.session import Session
from .base import Extension


class EnhancedStatusCodes(Extension):
    """
    Says so; every reply that may have such a code has one.
    """

    def keyword(self, session: Session) -> str:
        return "ENHANCEDSTATUSCODES"
