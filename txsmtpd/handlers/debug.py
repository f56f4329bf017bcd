"""
A handler that shows each message to the person at the terminal.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any, TextIO

from zope.interface import implementer

from ..core.session import Envelope, Session
from ..interfaces import IDATAHook

# A message is a stranger's text, and a terminal obeys what it is shown.  Escaped are the C0 and C1
# controls but for tab and newline, what some programs take for a newline, what reorders text on
# the screen, and surrogates, which no encoding takes.
_UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)


def _escape(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}"


def _content(envelope: Envelope) -> str:
    content = envelope.original_content or envelope.content or ""
    if isinstance(content, bytes):
        content = content.decode("utf-8", "backslashreplace")
    return content.replace("\r\n", "\n")


def _lines(session: Session, envelope: Envelope) -> Iterator[str]:
    # The newline in front lets a message without any header end its header at once.
    header, _, body = f"\n{_content(envelope)}".partition("\n\n")
    header = header[1:].removesuffix("\n")
    yield "---------- MESSAGE FOLLOWS ----------"
    if envelope.mail_options:
        yield f"mail options: {' '.join(envelope.mail_options)}"
    if envelope.rcpt_options:
        yield f"rcpt options: {' '.join(envelope.rcpt_options)}"
    if envelope.mail_options or envelope.rcpt_options:
        yield ""
    if header:
        yield header
    yield f"X-Peer: {session.peer!r}"
    yield f"X-MailFrom: {envelope.mail_from or ''}"
    yield f"X-RcptTo: {', '.join(envelope.rcpt_tos)}"
    yield ""
    if body:
        yield body.removesuffix("\n")
    yield "------------ END MESSAGE ------------"


@implementer(IDATAHook)
class Debug:
    """
    Prints each message, with what is known of its envelope behind its own header.

    Control characters are shown as ``\\x1b`` and the like.  A message is written in one piece, so
    two that arrive at the same time do not mix; the server waits while the terminal takes it.

    :param stream: where to print: standard output if it is None.  What it was when the handler was
        made counts, because twistd later puts its log in the place of both standard streams.
    """

    def __init__(self, stream: TextIO | None = None) -> None:
        self.stream = sys.stdout if stream is None else stream

    @classmethod
    def from_spec(cls, argument: str | None) -> Debug:
        """
        Make it of ``debug``, ``debug:stdout`` or ``debug:stderr``.
        """
        if argument not in (None, "stdout", "stderr"):
            raise ValueError(f"debug prints to stdout or stderr, not to {argument!r}")
        return cls(sys.stderr if argument == "stderr" else sys.stdout)

    def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> None:
        text = _UNSAFE.sub(_escape, "\n".join(_lines(session, envelope))) + "\n"
        # A terminal in the C locale takes ASCII only, a StringIO everything.
        encoding = self.stream.encoding or "utf-8"
        self.stream.write(text.encode(encoding, "backslashreplace").decode(encoding))
        self.stream.flush()
