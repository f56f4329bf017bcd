"""
Readers that find where content ends, and what is checked in it on the way.

Everything here works on whole chunks with ``bytes.find``, ``replace`` and ``count``; handling each
line in Python would make bulk mail several times slower.
"""

from __future__ import annotations

from io import IncrementalNewlineDecoder

import attrs

_END = b"\r\n.\r\n"
_DOT = b"\r\n."

# Lines are short if they are on an average shorter than this, as far as the first octets tell.
_SHORT = 32
_SAMPLE = 512


@attrs.define
class DotReader:
    """
    Reads the content of DATA: up to CRLF.CRLF, less the dots that make it transparent
    (RFC 5321 section 4.5.2).

    Only a real CRLF.CRLF ends it.  A server that takes ``LF.LF`` or ``LF.CRLF`` for the end lets a
    sender smuggle a second message past one that does not (CVE-2023-51764 and its kin).

    A chunk of content that comes out never ends inside a CRLF.
    """

    # The tail of what was fed that may be the beginning of the end.  Content starts at the
    # beginning of a line, so it is read as if it followed a CRLF, which is taken off again when it
    # comes out.
    _held: bytes = _END[:2]
    _borrowed: bool = True

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """
        :return: content, and what followed its end, or None while the end has not come.
        """
        if self._borrowed and len(self._held) == 2 and data[:1] not in (b".", b""):
            # The line end before it makes no difference: the common case, which needs no copy.
            self._held, self._borrowed = b"", False
        data = self._held + data
        # Base64 has no dots at all, and one octet is found much faster than three; three are found
        # faster from behind.
        dot = data.rfind(_DOT) if b"." in data else -1
        if dot < 0:
            end = -1
        elif data.startswith(_END, dot) and data.rfind(_DOT, 0, dot) < 0:
            # A small message has no other dot than the one that ends it.
            end, dot = dot, -1
        else:
            end = data.find(_END)
        if end < 0:
            leftover = None
            whole = len(data) - _length_of_tail(data)
        else:
            leftover = data[end + len(_END) :]
            whole = end + 2
        content, self._held = data[:whole], data[whole:]
        if dot >= 0:
            # Before the end, every dot that begins a line is a stuffed one.
            content = b"\r\n".join(content.split(_DOT))
        if self._borrowed and content:
            content, self._borrowed = content[2:], False
        return content, leftover


def _length_of_tail(data: bytes) -> int:
    """
    How many of the last octets may be the beginning of the end of data.
    """
    for length in range(len(_END) - 1, 0, -1):
        if data.endswith(_END[:length]):
            return length
    return 0


@attrs.define
class ChunkReader:
    """
    Reads the content of one BDAT command: so many octets, whatever they are (RFC 3030 section 2).
    """

    #: Octets that are still to come.
    remaining: int

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """
        :return: content, and what followed its end, or None while the end has not come.
        """
        content = data[: self.remaining]
        self.remaining -= len(content)
        return content, None if self.remaining else data[len(content) :]


def has_bare_newline(chunk: bytes) -> bool:
    """
    Whether there is a CR or an LF in `chunk` that is not half of a CRLF (RFC 5321 section 2.3.8).

    :param chunk: content that does not end inside a CRLF.
    """
    if chunk.count(b"\n", 0, _SAMPLE) * _SHORT < _SAMPLE:
        # Without its LF, and then with one behind every CR, it is the same only if they are in
        # pairs.  What this takes depends on how many there are.
        return chunk.replace(b"\n", b"").replace(b"\r", b"\r\n") != chunk
    # This decoder tells the kinds of newlines that it has met, and looks at each octet once; as
    # text they are of no other use.
    decoder = IncrementalNewlineDecoder(None, False)
    decoder.decode(chunk.decode("latin-1"), True)
    return decoder.newlines not in (None, "\r\n")


def normalize_newlines(chunk: bytes) -> bytes:
    """
    Make every bare LF a CRLF, and every CR that no LF follows a space, as Postfix does.

    :param chunk: content that does not end inside a CRLF.
    """
    return chunk.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")


@attrs.define
class LineMeter:
    """
    Notices a line of content that is too long (RFC 5321 section 4.5.3.1.6).
    """

    #: Octets in a line, its CRLF included.
    limit: int
    #: Octets of the unfinished line, as far as they were fed.
    _open: bytes = b""

    def exceeded(self, chunk: bytes) -> bool:
        """
        :return: whether `chunk` contains or completes a line over the limit.
        """
        data = self._open + chunk
        start = 0
        # Leap from the last line end that is near enough to the next: many lines at a time.
        while len(data) - start > self.limit:
            end = data.rfind(b"\r\n", start, start + self.limit)
            if end < 0:
                return True
            start = end + 2
        end = data.rfind(b"\r\n", start)
        self._open = data[start if end < 0 else end + 2 :]
        return False


@attrs.define(eq=False)
class Budget:
    """
    Octets of content that may be in memory at a time, over all connections.
    """

    #: 0 is no limit.
    limit: int
    used: int = 0

    @property
    def spent(self) -> bool:
        return bool(self.limit) and self.used >= self.limit

    def take(self, octets: int) -> bool:
        """
        :return: whether there was room; if not, nothing is taken.
        """
        if self.limit and self.used + octets > self.limit:
            return False
        self.used += octets
        return True

    def give_back(self, octets: int) -> None:
        self.used -= octets
