"""
Content as DATA wants it (RFC 5321 section 4.5.2).
"""

from __future__ import annotations

import attrs

from ...core.content import has_bare_newline, normalize_newlines


@attrs.define
class Stuffer:
    """
    Doubles dots at the beginning of lines, in chunks that may be cut anywhere.

    A bare CR or LF becomes what the setting `bare_newline` makes of it if nobody changes it: a
    server behind us that takes ``LF.LF`` for the end of a message could be made to see a second one
    (CVE-2023-51764).  Here they come from BDAT, which keeps them, or because that setting says so.
    """

    # Whether the next octet begins a line.
    _fresh: bool = True
    # A CR at the end of a chunk, whose LF may come with the next one.
    _held: bytes = b""

    def feed(self, chunk: bytes) -> bytes:
        """
        :return: what to send.
        """
        if self._held:
            chunk, self._held = self._held + chunk, b""
        if chunk.endswith(b"\r"):
            chunk, self._held = chunk[:-1], b"\r"
        if has_bare_newline(chunk):
            chunk = normalize_newlines(chunk)
        if not chunk:
            return chunk
        stuffed = chunk.replace(b"\r\n.", b"\r\n..")
        if self._fresh and chunk.startswith(b"."):
            stuffed = b"." + stuffed
        self._fresh = chunk.endswith(b"\r\n")
        return stuffed

    def end(self) -> bytes:
        """
        :return: the rest, and the end of data.
        """
        if self._held:
            return b" \r\n.\r\n"
        return b".\r\n" if self._fresh else b"\r\n.\r\n"
