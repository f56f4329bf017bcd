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
from .base import Extension, of_parameters
from .chunking import Chunking


class EightBitMIME(Extension):
    """
    Says that 8-bit content is kept as it is, and takes BODY, which is noted in ``envelope.body``.
    It is not offered where content is decoded as ASCII.
    """

    def keyword(self, session: Session) -> str | None:
        only_ascii = self.settings.decode_data and not self.settings.enable_SMTPUTF8
        return None if only_ascii else "8BITMIME"

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"BODY": self._parse}

    def _parse(self, session: Session, value: str | None) -> str:
        body = ascii_upper(value or "")
        if body in ("7BIT", "8BITMIME"):
            return body
        if body == "BINARYMIME" and self.beside(BinaryMIME, session):
            return body
        raise ValueError("wants 7BIT or 8BITMIME, or BINARYMIME if it is offered")

    @of_parameters
    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        envelope.body = options.values.get("BODY")


class BinaryMIME(Extension):
    """
    Says that content may be binary, if it comes by BDAT, which keeps every octet whatever the
    setting `bare_newline` is.

    It adds a value to BODY of :class:`EightBitMIME` and needs :class:`Chunking`, so it is offered
    only where both are.  Nor is it offered where lines have a limit, because binary content has no
    lines.
    """

    def keyword(self, session: Session) -> str | None:
        if self.settings.line_length_limit:
            return None
        needed = (EightBitMIME, Chunking)
        return "BINARYMIME" if all(self.beside(each, session) for each in needed) else None

    def check_content(self, session: Session, envelope: Envelope, verb: str) -> None:
        if verb == "DATA" and envelope.body == "BINARYMIME":
            raise Rejected(BAD_SEQUENCE)
