"""
What the next hop answers (RFC 5321 section 4.2), and what our client is told of it.

The reader is strict, because a half or a wrong reply that is taken for a good one loses a message.
"""

from __future__ import annotations

import re

import attrs

from ...core.replies import CONTROLS, Rejected, Reply

#: Octets in one line of a reply, CRLF included.  RFC 5321 section 4.5.3.1.5 allows 512, and some
#: servers say more.
LINE_LIMIT = 2048
#: Lines in one reply.
LINES_LIMIT = 100

# Reply-line = Reply-code [ ("-" / SP) textstring ]; what has no text needs no space.
_LINE = re.compile(rb"([2-5][0-9]{2})(?:([ -])([^\x00\r\n]*))?")
_STATUS = re.compile(r"([245])\.[0-9]{1,3}\.[0-9]{1,3}(?= |$)")

UNREACHABLE = Reply(451, "4.4.1", ("The next hop cannot be reached, try again later",))
LOST = Reply(451, "4.4.2", ("The connection to the next hop was lost, try again later",))
TIMED_OUT = Reply(451, "4.4.2", ("The next hop took too long, try again later",))
NONSENSE = Reply(451, "4.5.0", ("The next hop does not keep to the protocol, try again later",))
UNWELCOME = Reply(451, "4.4.1", ("The next hop does not serve us now, try again later",))
UNSAFE = Reply(451, "4.7.5", ("There is no safe way to the next hop now, try again later",))
NO_LOGIN = Reply(451, "4.7.0", ("The next hop does not let us in now, try again later",))
CONGESTED = Reply(451, "4.4.5", ("Too much mail for the next hop, try again later",))

#: What stands in for codes that are none of RFC 5321's, such as 571.
_USUAL = {2: 250, 4: 451, 5: 550}


class BadAnswer(Exception):
    """
    What was said is no reply.
    """


class Lost(Rejected):
    """
    The connection is of no use any more; a hook that lets this pass refuses with its reply.

    :param reason: for the log; None is the reply itself.
    :param planned: whether that is as it should be.
    """

    def __init__(self, reply: Reply, reason: str | None = None, *, planned: bool = False) -> None:
        super().__init__(reply)
        self.reason = reply.text if reason is None else reason
        self.planned = planned


@attrs.frozen
class Answer:
    """
    One whole reply of the next hop.
    """

    code: int
    lines: tuple[str, ...]

    @property
    def accepted(self) -> bool:
        """
        Whether it says yes; 221 never does, because it says goodbye.
        """
        return self.code // 100 == 2 and self.code != 221

    @property
    def refused(self) -> bool:
        return self.code >= 400

    @property
    def text(self) -> str:
        """
        All of it on one line, for logs.
        """
        return CONTROLS.sub(" ", f"{self.code} {' / '.join(self.lines)}")


@attrs.define
class AnswerReader:
    """
    Puts lines together.
    """

    _lines: list[str] = attrs.field(factory=list)
    _code: bytes = b""

    @property
    def begun(self) -> bool:
        """
        Whether more lines are to come.
        """
        return bool(self._lines)

    def feed(self, line: bytes) -> Answer | None:
        """
        :param line: without its CRLF.
        :return: a reply, if this was its last line.
        :raise BadAnswer: if it was none, or one without end.
        """
        match = _LINE.fullmatch(line)
        if match is None or (self._lines and match[1] != self._code):
            raise BadAnswer
        code, separator, text = match.groups()
        self._code = code
        self._lines.append((text or b"").decode("utf-8", "replace"))
        if len(self._lines) > LINES_LIMIT:
            raise BadAnswer
        if separator == b"-":
            return None
        lines, self._lines = tuple(self._lines), []
        return Answer(int(code), lines)


def verdict_of(answer: Answer) -> Reply:
    """
    The reply for our client: code, enhanced code and text are the next hop's own, if they fit.

    Only 421 becomes 451.  It says that the next hop closes *its* connection; said by us, it would
    close that of our client, who may well go on, with the next message perhaps by a connection that
    serves.

    :param answer: any but a 3xx.
    """
    kind = answer.code // 100
    code, otherwise = answer.code, None
    if code == 421:
        code, otherwise = 451, "4.4.2"
    elif code % 100 >= 60:
        code = _USUAL[kind]
    found = _STATUS.match(answer.lines[0])
    status = found[0] if found is not None and found[1] == str(kind) else otherwise
    lines = [_without(line, status) for line in answer.lines]
    return Reply(code, status, tuple(lines) if any(lines) else ())


def _without(line: str, status: str | None) -> str:
    """
    A line of text without the enhanced code, which each line repeats.
    """
    if status is not None and line.split(" ", 1)[0] == status:
        return line[len(status) + 1 :]
    return line
