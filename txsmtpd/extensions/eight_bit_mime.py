"""
8BITMIME and BINARYMIME: content with octets above 127 (RFC 6152), or of any octets at all
(RFC 3030 section 3).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.grammar import ascii_upper
from ..core.replies import BAD_SEQUENCE, Rejected
from ..core.session import Envelope, Parameters, Session
from ..core.settings import Settings
from .base import Extension


def _only_ascii(settings: Settings) -> bool:
    return settings.decode_data and not settings.enable_SMTPUTF8


class EightBitMIME(Extension):
    """
    Says that 8-bit content is kept as it is, and takes BODY.  It is not offered where content is
    decoded as ASCII.
    """

    def keyword(self, session: Session) -> str | None:
        return None if _only_ascii(self.settings) else "8BITMIME"

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"BODY": self._parse}

    def _parse(self, session: Session, value: str | None) -> str:
        body = ascii_upper(value or "")
        known = ("7BIT", "8BITMIME", *(["BINARYMIME"] if BinaryMIME in session.notes else []))
        if body not in known:
            raise ValueError("wants 7BIT or 8BITMIME, or BINARYMIME if it is offered")
        return body

    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        envelope.body = options.values.get("BODY")


class BinaryMIME(Extension):
    """
    Says that content may be binary, if it comes by BDAT, which keeps every octet whatever the
    setting `bare_newline` is.

    It adds a value to BODY of :class:`EightBitMIME` and needs
    :class:`~txsmtpd.extensions.chunking.Chunking`: leave it out where you leave out one of these.
    It is not offered where content is decoded as ASCII, or where its lines have a limit, because
    binary content has no lines.
    """

    def keyword(self, session: Session) -> str | None:
        if _only_ascii(self.settings) or self.settings.line_length_limit:
            return None
        # Another extension reads BODY, and no extension knows of others: the session tells it what
        # its client was offered.
        session.notes[BinaryMIME] = True
        return "BINARYMIME"

    def check_content(self, session: Session, envelope: Envelope, verb: str) -> None:
        if verb == "DATA" and envelope.body == "BINARYMIME":
            raise Rejected(BAD_SEQUENCE)
