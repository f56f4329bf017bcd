"""
Replies: what the server says, as values (RFC 5321 section 4.2, RFC 2034).

A :class:`Reply` is clean by construction.  Text that a hook or a client has a part in is folded to
512 octets a line and stripped of controls when the reply is made, so nothing downstream has to ask
whether it may be written, logged or shown.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterable
from functools import lru_cache
from typing import ClassVar

import attrs

#: RFC 5321 section 4.5.3.1.5: octets in one reply line, CRLF included.
LINE_LIMIT = 512

# Reply-code = %x32-35 %x30-35 %x30-39            (RFC 5321 section 4.2, less the unused 1yz)
_CODE = r"([2-5][0-5][0-9])"
# status-code = class "." subject "." detail      (RFC 3463 section 2)
_STATUS = r"([245]\.[0-9]{1,3}\.[0-9]{1,3})"
_REPLY = re.compile(rf"{_CODE}(?:[ -](?:{_STATUS}(?: |$))?(.*))?", re.DOTALL)
_FULL_STATUS = re.compile(_STATUS)

# C0, DEL, C1, and the two separators that some readers take for line ends.
CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


def _fold(text: str, room: int) -> Iterable[str]:
    """
    Cut `text` into pieces of at most `room` octets, never inside a character.
    """
    piece, used = "", 0
    for character in text:
        size = len(character.encode("utf-8", "replace"))
        if used + size > room:
            yield piece
            piece, used = "", 0
        piece += character
        used += size
    yield piece


def _as_lines(lines: str | Iterable[str]) -> tuple[str, ...]:
    return (lines,) if isinstance(lines, str) else tuple(lines)


@attrs.frozen
class Reply:
    """
    One reply: a code, an enhanced status code or None, and text of one line or several.

    Controls in the text become spaces and a line too long for the wire becomes several, so that
    every instance can be sent as it stands.

    :raise ValueError: for a code whose digits are not 2-5, 0-5 and 0-9, or a status of another
        class.
    """

    _room: ClassVar[int] = LINE_LIMIT

    code: int
    status: str | None = None
    lines: tuple[str, ...] = attrs.field(default=(), converter=_as_lines)
    # Made once, because most replies are constants.
    #: The reply in octets.
    wire: bytes = attrs.field(init=False, repr=False, eq=False)
    #: The reply on one line, for logs.
    text: str = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        if not (200 <= self.code <= 559 and self.code % 100 < 60):
            raise ValueError(f"not a reply code: {self.code}")
        if self.status is not None and (
            _FULL_STATUS.fullmatch(self.status) is None or int(self.status[0]) != self.code // 100
        ):
            raise ValueError(f"status {self.status!r} does not fit code {self.code}")
        prefix = f"{self.code} {self.status} " if self.status else f"{self.code} "
        room = self._room - len(prefix) - len("\r\n")
        lines: list[str] = []
        for line in self.lines or ("OK" if self.code < 400 else "Refused",):
            clean = CONTROLS.sub(" ", line)
            # A character takes four octets at most, so a short line needs no counting.
            lines.extend([clean] if len(clean) * 4 <= room else _fold(clean, room))
        object.__setattr__(self, "lines", tuple(lines))
        object.__setattr__(self, "wire", self._encode())
        words = (str(self.code), self.status, " / ".join(lines))
        object.__setattr__(self, "text", " ".join(filter(None, words)))

    def _encode(self) -> bytes:
        status = f"{self.status} " if self.status else ""
        *most, last = self.lines
        text = "".join(f"{self.code}-{status}{line}\r\n" for line in most)
        return f"{text}{self.code} {status}{last}\r\n".encode("utf-8", "replace")

    @property
    def positive(self) -> bool:
        """
        Whether the client may go on: 2xx or 3xx.
        """
        return self.code < 400

    def in_ascii(self) -> Reply:
        """
        This reply for a client that did not ask for SMTPUTF8.

        251 and 551 tell another address, which is one no more (RFC 6531 section 3.7.4.1).
        """
        if self.wire.isascii():
            return self
        ascii_lines = (line.encode("ascii", "replace").decode("ascii") for line in self.lines)
        code = {251: 250, 551: 550}.get(self.code, self.code)
        return Reply(code, self.status, tuple(ascii_lines))

    def with_status(self, good: str | None) -> Reply:
        """
        This reply with an enhanced status code, for one that came without.

        :param good: the code that the command's own success carries, or None where success has
            none.  A refusal takes its subject and the detail 0, "other" (RFC 3463 section 3).
        """
        if self.status is not None or self.code // 100 == 3:
            return self
        return _with_status(self, good)

    @classmethod
    @lru_cache(maxsize=256)
    def parse(cls, text: str) -> Reply:
        """
        The reply that a hook spelled as text, such as ``"550 5.1.1 No such user"``.

        :raise ValueError: if `text` does not begin with a reply code, or the code and the enhanced
            status code disagree.
        """
        match = _REPLY.fullmatch(text.rstrip("\r\n"))
        if match is None:
            raise ValueError("a reply begins with a code from 200 to 559")
        code, status, rest = match.groups()
        return cls(int(code), status, rest or ())

    def __str__(self) -> str:
        return self.text


@lru_cache(maxsize=256)
def said_often(code: int, lines: tuple[str, ...]) -> Reply:
    """
    A reply without enhanced status code that depends on little but the server, such as a greeting.
    """
    return Reply(code, None, lines)


# Hooks say the same few things again and again.
@lru_cache(maxsize=256)
def _with_status(reply: Reply, good: str | None) -> Reply:
    if reply.code < 400:
        return reply if good is None else Reply(reply.code, good, reply.lines)
    subject = "0" if good is None else good.split(".")[1]
    return Reply(reply.code, f"{reply.code // 100}.{subject}.0", reply.lines)


LOCAL_ERROR = Reply(451, "4.3.0", ("Local error, try again later",))


class Rejected(Exception):
    """
    Raised by a hook to refuse, which is the same as returning the reply.

    :param reply: a negative :class:`Reply`, or its text.
    :raise ValueError: if the reply is not negative.
    """

    #: What is said; this, if a subclass does not call ours.
    reply: Reply = LOCAL_ERROR

    def __init__(self, reply: Reply | str | bytes) -> None:
        if isinstance(reply, bytes):
            reply = reply.decode("utf-8", "replace")
        self.reply = Reply.parse(reply) if isinstance(reply, str) else reply
        super().__init__(str(self.reply))
        if self.reply.positive:
            raise ValueError(f"a refusal is 4xx or 5xx, not {self.reply.code}")


class Declined(Rejected):
    """
    A refusal that has nothing to do with how the command was put: no error of the client's.
    """


@attrs.frozen(repr=False)
class _Challenge(Reply):
    """
    A reply that no log may have.
    """

    # It is one line, however long (RFC 4954 section 4).
    _room = sys.maxsize

    def __repr__(self) -> str:
        return "Challenge()"


def challenge(words: bytes) -> Reply:
    """
    A challenge of AUTH (RFC 4954 section 4), which is for the client only.

    :param words: in base64.
    """
    return _Challenge(334, None, (words.decode("ascii"),))


def syntax_error(syntax: str) -> Reply:
    """
    What is told who says a command in another way than that (RFC 5321 section 4.2.2).
    """
    return Reply(501, "5.5.4", (f"Syntax: {syntax}",))


# What the core itself says.  Section numbers are RFC 5321's unless another is named.
OK = Reply(250, "2.0.0", ("OK",))
BYE = Reply(221, "2.0.0", ("Bye",))
SENDER_OK = Reply(250, "2.1.0", ("Sender OK",))
RECIPIENT_OK = Reply(250, "2.1.5", ("Recipient OK",))
GO_AHEAD = Reply(354, None, ("End data with <CR><LF>.<CR><LF>",))
DELIVERED = Reply(250, "2.0.0", ("Message accepted",))
NOT_IN_ASCII = Reply(252, "2.6.8", ("That cannot be told in ASCII: ask with SMTPUTF8",))
CANNOT_VERIFY = Reply(252, "2.0.0", ("Cannot VRFY user, but will take mail for it",))

BAD_COMMAND = Reply(500, "5.5.2", ("Command not recognized",))
BAD_LINE = Reply(500, "5.5.2", ("Line holds a control character",))
LINE_TOO_LONG = Reply(500, "5.5.2", ("Command line too long",))
NO_ARGUMENT = Reply(501, "5.5.4", ("This command takes no argument",))
BAD_HOSTNAME = Reply(501, "5.5.4", ("Say a domain or an address literal",))
BAD_PARAMETER = Reply(501, "5.5.4", ("Bad parameter value",))
TWICE_PARAMETER = Reply(501, "5.5.4", ("Parameter given twice",))
UNKNOWN_PARAMETER = Reply(555, "5.5.4", ("Parameter not recognized or not offered",))
BAD_SENDER = Reply(501, "5.1.7", ("Malformed reverse-path",))
BAD_RECIPIENT = Reply(501, "5.1.3", ("Malformed forward-path",))
NEEDS_SMTPUTF8 = Reply(553, "5.6.7", ("A non-ASCII address needs SMTPUTF8",))
NOT_SERVED = Reply(502, "5.5.1", ("Command not implemented",))
BAD_SEQUENCE = Reply(503, "5.5.1", ("Bad sequence of commands",))
NO_RECIPIENTS = Reply(554, "5.5.1", ("No valid recipients",))
TOO_MANY_RECIPIENTS = Reply(452, "4.5.3", ("Too many recipients",))
TOO_BIG = Reply(552, "5.3.4", ("Message exceeds the size limit",))
BARE_NEWLINE = Reply(554, "5.6.0", ("Bare CR or LF in the message",))
TEXT_LINE_TOO_LONG = Reply(500, "5.6.0", ("A line of the message is too long",))
NO_MEMORY = Reply(452, "4.3.1", ("Too much mail at once, try again later",))

TOO_MANY_ERRORS = Reply(421, "4.7.0", ("Too many errors",))
TOO_MANY_CONNECTIONS = Reply(421, "4.7.0", ("Too many connections, try again later",))
NOT_SMTP = Reply(421, "4.7.0", ("This is a mail server",))
ENDLESS_LINE = Reply(421, "4.7.0", ("Line without end",))
UNAVAILABLE = Reply(421, "4.3.0", ("Local error, try again later",))
TIMED_OUT = Reply(421, "4.4.2", ("Timed out",))
SHUTTING_DOWN = Reply(421, "4.3.2", ("Shutting down, try again later",))
