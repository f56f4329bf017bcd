"""
DSN: what a sender wants to be told about its message (RFC 3461).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from ..core import grammar
from ..core.session import Envelope, Parameters, Session
from .base import Extension, of_parameters

# Sections 4.2 and 4.4, in characters as they are sent.
_ORCPT_LIMIT = 500
_ENVID_LIMIT = 100


@attrs.frozen
class DSN:
    """
    What MAIL said for all recipients.
    """

    #: How much to return of a message that failed: ``FULL``, ``HDRS`` or None.
    ret: str | None = None
    #: The sender's name for the transaction, decoded, or None.
    envid: str | None = None


@attrs.frozen
class Notify:
    """
    NOTIFY of RCPT: when to notify the sender, never if none of these (RFC 3461 section 4.1).
    """

    success: bool = False
    failure: bool = False
    delay: bool = False

    @property
    def never(self) -> bool:
        return not (self.success or self.failure or self.delay)

    def __str__(self) -> str:
        """
        The value of the parameter, for who relays the message.
        """
        asked = {"SUCCESS": self.success, "FAILURE": self.failure, "DELAY": self.delay}
        return ",".join(word for word, wanted in asked.items() if wanted) or "NEVER"


@attrs.frozen
class OriginalRecipient:
    """
    ORCPT of RCPT: whom the sender wrote to (RFC 3461 section 4.2).
    """

    #: In small letters: ``rfc822``, ``utf-8`` (RFC 6533) or another.
    addr_type: str
    #: Decoded; of ``rfc822`` and ``utf-8`` usually a mailbox, though nothing says it must be one.
    address: str


class DeliveryStatus(Extension):
    """
    Takes RET and ENVID of MAIL, NOTIFY and ORCPT of RCPT.

    It only reads them: to honour them is up to the handler.  One that relays passes the words on
    as they are; one that delivers sends what was asked for, or says at RCPT that it will not take
    the recipient.  It finds a :class:`DSN` in ``envelope.dsn``, None if MAIL had neither
    parameter, and for each recipient ``options.get("NOTIFY")``, a :class:`Notify`, and
    ``options.get("ORCPT")``, an :class:`OriginalRecipient`.  A server whose handlers throw these
    away leaves this extension out.

    A message that came with REQUIRETLS is never returned whole, whatever RET says (RFC 8689
    section 5).
    """

    def keyword(self, session: Session) -> str:
        return "DSN"

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"RET": _ret, "ENVID": _envid}

    def rcpt_parameters(self) -> Mapping[str, Any]:
        return {"NOTIFY": _notify, "ORCPT": _orcpt}

    @of_parameters
    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        values = options.values
        if "RET" in values or "ENVID" in values:
            envelope.dsn = DSN(values.get("RET"), values.get("ENVID"))


def _ret(session: Session, value: str | None) -> str:
    ret = grammar.ascii_upper(value or "")
    if ret not in ("FULL", "HDRS"):
        raise ValueError("wants FULL or HDRS")
    return ret


def _envid(session: Session, value: str | None) -> str:
    return grammar.ascii_xtext_decode(_limited(value, _ENVID_LIMIT))


def _orcpt(session: Session, value: str | None) -> OriginalRecipient:
    return OriginalRecipient(*grammar.typed_address(_limited(value, _ORCPT_LIMIT)))


def _limited(value: str | None, limit: int) -> str:
    if value is None or len(value) > limit:
        raise ValueError(f"wants up to {limit} characters")
    return value


# Section 4.1, where "#" is that of RFC 822 section 2.7: between its commas there may be nothing.
#   notify-esmtp-value  = "NEVER" / 1#notify-list-element
#   notify-list-element = "SUCCESS" / "FAILURE" / "DELAY"
def _notify(session: Session, value: str | None) -> Notify:
    whole = grammar.ascii_upper(value or "")
    if whole == "NEVER":
        return Notify()
    words = [word for word in whole.split(",") if word]
    asked = {word.lower(): True for word in words}
    if not words or len(asked) < len(words) or not asked.keys() <= _CONDITIONS:
        raise ValueError("wants NEVER, or any of SUCCESS, FAILURE and DELAY")
    return Notify(**asked)


_CONDITIONS = {field.name for field in attrs.fields(Notify)}
