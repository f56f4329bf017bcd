"""
LIMITS: limits said beforehand (RFC 9422).
"""

from __future__ import annotations

from ..core.session import Session
from .base import Extension


class Limits(Extension):
    """
    Tells how many recipients a message may have, if that is limited.
    """

    def keyword(self, session: Session) -> str | None:
        limit = self.settings.max_recipients
        return f"LIMITS RCPTMAX={limit}" if limit else None
