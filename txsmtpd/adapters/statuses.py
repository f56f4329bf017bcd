"""
What aiosmtpd's handlers say to clients: text that it sends as it is.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterable, Iterator
from typing import Any

import attrs

from ..core.replies import Reply
from ..core.session import Envelope, Session

_LINE_END = re.compile("\r\n|\n|\r")


class _Missing(enum.Enum):
    MISSING = "MISSING"


#: Stands for aiosmtpd's own where that is not there.
MISSING = _Missing.MISSING


def is_missing(answer: Any) -> bool:
    """
    Whether something is aiosmtpd's ``MISSING``, or ours.
    """
    return isinstance(answer, enum.Enum) and answer.name == "MISSING"


@attrs.frozen
class _Unfinished(Reply):
    """
    A line of a reply of which more will come.
    """

    def _encode(self) -> bytes:
        prefix = f"{self.code}-{self.status} " if self.status else f"{self.code}-"
        return "".join(f"{prefix}{line}\r\n" for line in self.lines).encode("utf-8", "replace")


def _text(status: str | bytes) -> str:
    return status.decode("utf-8", "replace") if isinstance(status, bytes) else status


def lines_of(status: str | bytes) -> list[str]:
    """
    The lines of what is to be sent, which may be several.
    """
    return _LINE_END.split(_text(status).rstrip("\r\n"))


def line(text: str) -> Reply:
    """
    One line of a reply, to be sent as it stands.

    :raise ValueError: if it begins with no reply code.
    """
    reply = Reply.parse(text)
    if text[3:4] != "-":
        return reply
    return _Unfinished(reply.code, reply.status, reply.lines)


def joined(lines: Iterable[str]) -> Reply | None:
    """
    One reply of its lines: the last one tells its code.  But where some are a refusal it is the
    first of them, without those that are none: nothing is accepted that was also refused.

    :raise ValueError: if one of them begins with no reply code.
    """
    parsed = [Reply.parse(each) for each in lines]
    if not parsed:
        return None
    refusals = [reply for reply in parsed if not reply.positive]
    code = refusals[0].code if refusals else parsed[-1].code
    kept = [reply for reply in parsed if reply.code == code] if refusals else parsed
    texts = tuple(text for reply in kept for text in reply.lines)
    return Reply(code, kept[-1].status, texts)


def _replies_in(lines: Iterable[str]) -> Iterator[list[str]]:
    """
    The lines of each reply: in all but its last one a hyphen follows the code.
    """
    reply: list[str] = []
    for each in lines:
        reply.append(each)
        if each[3:4] != "-":
            yield reply
            reply = []
    if reply:
        yield reply


def as_delivery_verdict(status: Any, session: Session, envelope: Envelope) -> Any:
    """
    What ``handle_DATA`` has returned.  aiosmtpd sends text as it is, so handlers for LMTP return
    the replies for all recipients as one text.
    """
    if session.lmtp and isinstance(status, (str, bytes)):
        replies = list(_replies_in(lines_of(status)))
        if len(replies) > 1 and len(replies) == len(envelope.recipients):
            return [joined(lines) for lines in replies]
    return as_verdict(status)


def as_verdict(status: Any) -> Any:
    """
    What a hook has returned, as one of this package would.
    """
    if is_missing(status):
        return None
    if isinstance(status, (str, bytes)):
        lines = lines_of(status)
        return joined(lines) if len(lines) > 1 else lines[0]
    return status
