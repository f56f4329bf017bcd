"""
Tests for txsmtpd.handlers.relay.stuffing.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.content import DotReader, has_bare_newline, normalize_newlines
from txsmtpd.handlers.relay.stuffing import Stuffer


def stuffed(*chunks: bytes) -> bytes:
    stuffer = Stuffer()
    return b"".join([*map(stuffer.feed, chunks), stuffer.end()])


class StufferTests(SynchronousTestCase):
    def test_dots(self) -> None:
        for content, expected in {
            b"": b".\r\n",
            b"a\r\n": b"a\r\n.\r\n",
            b"a": b"a\r\n.\r\n",
            b".\r\n": b"..\r\n.\r\n",
            b".": b"..\r\n.\r\n",
            b"..a\r\n.b\r\na.b\r\n": b"...a\r\n..b\r\na.b\r\n.\r\n",
            b"\r\n.\r\n.\r\n": b"\r\n..\r\n..\r\n.\r\n",
        }.items():
            self.assertEqual(stuffed(content), expected)

    def test_bare_newlines(self) -> None:
        """
        None of the ends of data that lax servers know survives.
        """
        for content, expected in {
            b"a\n.\nb": b"a\r\n..\r\nb\r\n.\r\n",
            b"a\r.\rb": b"a . b\r\n.\r\n",
            b"a\n.\r\nb": b"a\r\n..\r\nb\r\n.\r\n",
            b"a\r\n.\nb": b"a\r\n..\r\nb\r\n.\r\n",
            b"a\r\n.\rb": b"a\r\n.. b\r\n.\r\n",
            b"a\r": b"a \r\n.\r\n",
            b"\r": b" \r\n.\r\n",
            b"a\r\r\n.": b"a \r\n..\r\n.\r\n",
        }.items():
            self.assertEqual(stuffed(content), expected, content)
            pieces = [content[i : i + 1] for i in range(len(content))]
            self.assertEqual(stuffed(*pieces), expected, content)

    @given(st.lists(st.sampled_from([b"a", b".", b"\r", b"\n", b"\r\n", b""])))
    def test_in_chunks(self, chunks: list[bytes]) -> None:
        """
        However it is cut, it is read back as it was, and what follows its end is left.
        """
        whole = b"".join(chunks)
        wire = stuffed(*chunks)
        self.assertEqual(wire, stuffed(whole))
        self.assertFalse(has_bare_newline(wire))
        content, leftover = DotReader().feed(wire + b"QUIT\r\n")
        self.assertEqual(leftover, b"QUIT\r\n")
        expected = normalize_newlines(whole)
        if expected and not expected.endswith(b"\r\n"):
            expected += b"\r\n"
        self.assertEqual(content, expected)
