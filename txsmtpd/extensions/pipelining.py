"""
PIPELINING: commands sent without waiting for replies (RFC 2920).
"""

from __future__ import annotations

from ..core.session import Session
from .base import Extension


class Pipelining(Extension):
    """
    Says so; the protocol takes one step at a time however the commands come.
    """

    def keyword(self, session: Session) -> str:
        return "PIPELINING"
