"""
Tests for :mod:`txsmtpd.core.content`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise, product
from typing import ClassVar

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.content import (
    Budget,
    ChunkReader,
    DotReader,
    LineMeter,
    has_bare_newline,
    normalize_newlines,
)
from txsmtpd.core.outcomes import Reader

from .corekit import cuts

repeatable = settings(derandomize=True, deadline=None, database=None)

END = b"\r\n.\r\n"

# What some server somewhere takes for the end of data.  Each is preceded and followed by text.
NO_ENDS = [
    b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r.\r\n", b"\r\n.\n", b"\r\n.\r", b"\n.\r", b"\r.\n",
    b"\n\n.\n\n", b"\r\r.\r\r", b"\n\r.\n\r", b"\r\n.\r\r\n", b"\r\r\n.\r\r\n", b"\r\n.\r\rX\n",
    b"\r\n\x00.\r\n", b"\r\n.\x00\r\n", b"\r\n.\r\x00\n", b"\r\x00\n.\r\n", b"\r\n.\r\n\x00"[:4],
    b"\x00.\x00", b"\r\n.\x00\n", b"\r\n. \r\n", b"\r\n.\t\r\n", b"\r\n .\r\n", b"\r\n.X\r\n",
    b"\r\n..\r\n", b"\r\n...\r\n", b"\r\n.\x0b\r\n", b"\r\n.\x85", b"\r\n.\xc2\x85\r\n",
    b"\r\n.\xe2\x80\xa8", b"\x0b.\x0b", b"\x0c.\x0c", b"\x1c.\x1c", b"\x85.\x85", b"\r\n.\r\t\n",
    b"\r\n.\n\r\n", b"\n.\n.\n.\n", b"\r\n.\\r\\n", b"\r\n,\r\n", b".\r\n", b"\r\n.",
]  # fmt: skip


def stuffed(content: bytes) -> bytes:
    """
    Content as a client sends it, with its end.
    """
    lines = content.split(b"\r\n")
    whole = b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)
    return whole + (b".\r\n" if whole.endswith(b"\r\n") or not whole else END)


def unstuffed(sent: bytes) -> bytes:
    """
    What is left of dots at the beginnings of lines: one less, the plain way.
    """
    lines = sent.split(b"\r\n")
    return b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines)


class ReaderTestCase(SynchronousTestCase):
    """
    Everything is fed whole, byte by byte, at every cut, and with more behind it.
    """

    def read(self, reader: Reader, pieces: Iterable[bytes]) -> tuple[bytes, bytes | None]:
        """
        :return: the content, and what followed it, or None if its end did not come.
        """
        content, leftover = b"", None
        for piece in pieces:
            if leftover is None:
                some, leftover = reader.feed(piece)
                content += some
            else:
                leftover += piece
        return content, leftover

    def assertReads(
        self, make: Callable[[], Reader], sent: bytes, content: bytes, leftover: bytes | None
    ) -> None:
        for pieces in cuts(sent):
            self.assertEqual((content, leftover), self.read(make(), pieces), repr(pieces))

    def assertEnds(self, make: Callable[[], Reader], sent: bytes, content: bytes) -> None:
        for more in (b"", b"\n", b"\r\n", b".", b".\r\n", b"\r\n.\r\n", b"QUIT\r\n", b"\x00"):
            self.assertReads(make, sent + more, content, more)


class DotReaderTests(ReaderTestCase):
    """
    The content of DATA ends at CRLF.CRLF and nowhere else.
    """

    def test_message(self) -> None:
        self.assertEnds(
            DotReader, b"Subject: x\r\n\r\nHello\r\n.\r\n", b"Subject: x\r\n\r\nHello\r\n"
        )

    def test_empty(self) -> None:
        """
        The end may come at once: the line before it is the DATA command.
        """
        self.assertEnds(DotReader, b".\r\n", b"")

    def test_empty_line(self) -> None:
        self.assertEnds(DotReader, b"\r\n.\r\n", b"\r\n")

    def test_two_ends(self) -> None:
        """
        What follows the end is none of ours, even if it looks like an end too.
        """
        self.assertReads(DotReader, b"\r\n.\r\n.\r\n", b"\r\n", b".\r\n")
        self.assertReads(DotReader, b".\r\n\r\n.\r\n", b"", b"\r\n.\r\n")
        self.assertReads(DotReader, b"a\r\n.\r\n\r\n.\r\nQUIT\r\n", b"a\r\n", b"\r\n.\r\nQUIT\r\n")

    def test_dots(self) -> None:
        """
        One leading dot comes off each line (RFC 5321 section 4.5.2).
        """
        for sent, content in [
            (b"..\r\n.\r\n", b".\r\n"),
            (b"...\r\n.\r\n", b"..\r\n"),
            (b".x\r\n.\r\n", b"x\r\n"),
            (b"..x\r\n..y\r\n..\r\n.\r\n", b".x\r\n.y\r\n.\r\n"),
            (b"a.\r\n.\r\n", b"a.\r\n"),
            (b"a\r\n..\r\n.\r\n", b"a\r\n.\r\n"),
            (b"..\r\n..\r\n.\r\n", b".\r\n.\r\n"),
            (b"\r\n..\r\n\r\n.\r\n", b"\r\n.\r\n\r\n"),
            (b"a\n.b\r.c\r\n.\r\n", b"a\n.b\r.c\r\n"),
            (b"a\n..b\r\n.\r\n", b"a\n..b\r\n"),
        ]:
            self.assertEnds(DotReader, sent, content)

    def test_no_end(self) -> None:
        """
        No other sequence ends it, wherever it stands and however it is cut: the defence against
        SMTP smuggling (CVE-2023-51764 and its kin).
        """
        for fake in NO_ENDS:
            for before, after in product(
                (b"", b"a", b"\r\n", b"\r", b"\n"), (b"MAIL", b" \r\n", b"x")
            ):
                sent = before + fake + after
                if END in b"\r\n" + sent:
                    continue
                for pieces in cuts(sent):
                    self.assertIsNone(self.read(DotReader(), pieces)[1], repr(pieces))
                self.assertEnds(DotReader, sent + END, unstuffed(sent) + b"\r\n")

    def test_unfinished(self) -> None:
        """
        Every beginning of an end waits for the rest.
        """
        for length in range(len(END)):
            self.assertReads(DotReader, b"a" + END[:length], b"a", None)
        self.assertReads(DotReader, b"", b"", None)
        self.assertReads(DotReader, b".", b"", None)
        self.assertReads(DotReader, b".\r", b"", None)

    def test_octets(self) -> None:
        """
        Bytes are kept exactly.
        """
        octets = bytes(range(256))
        self.assertEnds(DotReader, octets + END, octets + b"\r\n")

    def test_never_inside_crlf(self) -> None:
        """
        Content comes out in chunks that do not end between CR and LF.
        """
        for pieces in cuts(b"a\r\nb\r\r\n\r\n..\r\nc\r\n.\r\n"):
            reader = DotReader()
            chunks = [reader.feed(piece)[0] for piece in pieces]
            for chunk, following in pairwise(chunks):
                self.assertFalse(chunk.endswith(b"\r") and following.startswith(b"\n"))
            for chunk in chunks:
                self.assertFalse(chunk.startswith(b"\n"), repr(pieces))

    def test_bounded(self) -> None:
        """
        It holds back four octets at most, so a stream without end costs no memory.
        """
        reader = DotReader()
        fed = came = 0
        for piece in [b"\r\n.\r"] * 100 + [b"\r\n."] * 100 + [b"\r\n"] * 100:
            fed += len(piece) - piece.count(b".")
            came += len(reader.feed(piece)[0])
            self.assertLessEqual(fed - came, 4)

    @repeatable
    @given(
        st.lists(st.sampled_from([b"\r", b"\n", b".", b"\r\n", b"\r\n.", b"x", b"\x00", END])),
        st.lists(st.integers(min_value=1, max_value=7)),
    )
    def test_round_trip(self, parts: list[bytes], sizes: list[int]) -> None:
        """
        What a client stuffs comes out as it was, however it is cut.
        """
        content = b"".join(parts)
        sent, more = stuffed(content), b".\r\nQUIT\r\n"
        rest, pieces = sent + more, []
        for size in sizes:
            pieces.append(rest[:size])
            rest = rest[size:]
        expected = content if content.endswith(b"\r\n") or not content else content + b"\r\n"
        self.assertEqual((expected, more), self.read(DotReader(), [*pieces, rest]))

    @repeatable
    @given(st.binary(max_size=40), st.integers(min_value=0, max_value=40))
    def test_any_cut_is_as_whole(self, sent: bytes, at: int) -> None:
        whole = self.read(DotReader(), [sent, END])
        self.assertEqual(whole, self.read(DotReader(), [sent[:at], sent[at:], END]))


class ChunkReaderTests(ReaderTestCase):
    """
    The content of BDAT is so many octets, whatever they are.
    """

    def test_chunk(self) -> None:
        for octets in (b"x", b"\r\n.\r\n", b"QUIT\r\n", b"\r", bytes(range(256))[:20], b"..\r\n"):
            self.assertEnds(partial(ChunkReader, len(octets)), octets, octets)

    def test_empty(self) -> None:
        """
        An empty chunk ends at once, before anything has come.
        """
        self.assertEqual((b"", b""), ChunkReader(0).feed(b""))
        self.assertEqual((b"", b"QUIT"), ChunkReader(0).feed(b"QUIT"))

    def test_unfinished(self) -> None:
        for length in range(5):
            self.assertReads(lambda: ChunkReader(5), b"abcd"[:length], b"abcd"[:length], None)

    def test_huge(self) -> None:
        """
        Nothing is set aside for what is only announced.
        """
        reader = ChunkReader(10**20 - 1)
        self.assertEqual((b"abc", None), reader.feed(b"abc"))
        self.assertEqual(10**20 - 4, reader.remaining)


class BareNewlineTests(SynchronousTestCase):
    """
    CR and LF stand together or not at all (RFC 5321 section 2.3.8).
    """

    GOOD: ClassVar = [b"", b"a", b"\r\n", b"a\r\nb\r\n", b"\r\n\r\n", b"\x0b\x0c\x85\x00"]
    BAD: ClassVar = {
        b"\n": b"\r\n",
        b"\r": b" ",
        b"a\nb": b"a\r\nb",
        b"a\rb": b"a b",
        b"\n\r": b"\r\n ",
        b"\r\r\n": b" \r\n",
        b"\r\n\n": b"\r\n\r\n",
        b"\r\n\r": b"\r\n ",
        b"\n\n": b"\r\n\r\n",
        b"\r\r": b"  ",
        b"\r\n\r\r\n\n\r\nx\ny\rz": b"\r\n \r\n\r\n\r\nx\r\ny z",
        b"\r\x00\n": b" \x00\r\n",
    }

    #: Lines that come before, none, long ones or short ones, because it depends on them how the
    #: others are found.
    BEFORE: ClassVar = [b"", b"x" * 600, b"x\r\n" * 200]

    def test_good(self) -> None:
        for chunk, before in product(self.GOOD, self.BEFORE):
            self.assertFalse(has_bare_newline(before + chunk), repr(chunk))
            self.assertEqual(before + chunk, normalize_newlines(before + chunk))

    def test_bad(self) -> None:
        for (chunk, normal), before in product(self.BAD.items(), self.BEFORE):
            self.assertTrue(has_bare_newline(before + chunk), repr(chunk))
            self.assertEqual(before + normal, normalize_newlines(before + chunk))

    @repeatable
    @given(st.sampled_from(BEFORE), st.text(alphabet="\r\nx.").map(str.encode))
    def test_normal(self, before: bytes, chunk: bytes) -> None:
        chunk = before + chunk
        normal = normalize_newlines(chunk)
        self.assertFalse(has_bare_newline(normal))
        self.assertEqual(chunk == normal, not has_bare_newline(chunk))


class LineMeterTests(SynchronousTestCase):
    """
    The limit counts the CRLF (RFC 5321 section 4.5.3.1.6).
    """

    def exceeded(self, limit: int, pieces: Iterable[bytes]) -> bool:
        meter = LineMeter(limit)
        return max([meter.exceeded(piece) for piece in pieces], default=False)

    def assertExceeded(self, expected: bool, limit: int, data: bytes) -> None:
        for pieces in cuts(data):
            self.assertIs(expected, self.exceeded(limit, pieces), repr((limit, pieces)))

    def test_exact(self) -> None:
        for limit in (3, 10, 1000):
            line = b"x" * (limit - 2) + b"\r\n"
            self.assertEqual(limit, len(line))
            sides = [b""] if limit > 100 else [b"", b"\r\n", b"a\r\n" * 5]
            for before, after in product(sides, sides):
                self.assertExceeded(False, limit, before + line + after)
                self.assertExceeded(True, limit, before + b"x" + line + after)

    def test_many_lines(self) -> None:
        self.assertExceeded(False, 5, b"abc\r\n" * 20)
        self.assertExceeded(True, 5, b"abc\r\n" * 20 + b"abcd\r\n" + b"abc\r\n" * 20)

    def test_bare_newlines_end_no_line(self) -> None:
        self.assertExceeded(True, 5, b"a\nb\rc\n\r\n")
        self.assertExceeded(True, 5, b"\r\r\r\r\r\n")

    def test_unfinished(self) -> None:
        """
        A line that is too long already is noticed before its end.
        """
        self.assertExceeded(True, 5, b"abcdef")
        self.assertExceeded(False, 5, b"abc\r")
        self.assertExceeded(False, 5, b"\r\n\r\nabc")

    def test_empty(self) -> None:
        self.assertExceeded(False, 1, b"")
        self.assertExceeded(True, 1, b"\r\n")

    def test_bounded(self) -> None:
        """
        It keeps no more than one line within the limit.
        """
        meter = LineMeter(10)
        for _ in range(1000):
            self.assertFalse(meter.exceeded(b"abc\r\nabcdefgh"))
            self.assertFalse(meter.exceeded(b"\r\n"))
        self.assertEqual(LineMeter(10), meter)

    @repeatable
    @given(
        st.lists(st.sampled_from([b"x", b"\r", b"\n", b"\r\n", b"xxx"]), max_size=20),
        st.integers(min_value=2, max_value=8),
    )
    def test_as_counted_by_line(self, pieces: list[bytes], limit: int) -> None:
        # A line that has begun is over the limit when it has more octets than that.
        lines = b"".join(pieces).split(b"\r\n")
        counts = [len(line) + 2 for line in lines[:-1]] + [len(lines[-1])]
        self.assertIs(max(counts) > limit, self.exceeded(limit, pieces))


class BudgetTests(SynchronousTestCase):
    """
    Memory for content is limited over all connections.
    """

    def test_limit(self) -> None:
        budget = Budget(10)
        self.assertTrue(budget.take(4))
        self.assertTrue(budget.take(6))
        self.assertTrue(budget.spent)
        self.assertFalse(budget.take(1))
        self.assertEqual(10, budget.used)

    def test_nothing_is_taken_in_part(self) -> None:
        budget = Budget(10)
        self.assertFalse(budget.take(11))
        self.assertEqual(0, budget.used)
        self.assertTrue(budget.take(10))

    def test_give_back(self) -> None:
        budget = Budget(10)
        budget.take(10)
        budget.give_back(3)
        self.assertFalse(budget.spent)
        self.assertFalse(budget.take(4))
        self.assertTrue(budget.take(3))

    def test_no_limit(self) -> None:
        budget = Budget(0)
        self.assertFalse(budget.spent)
        self.assertTrue(budget.take(2**50))
        self.assertFalse(budget.spent)
