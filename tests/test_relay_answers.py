"""
Tests for txsmtpd.handlers.relay.answers.
"""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.replies import Reply
from txsmtpd.handlers.relay.answers import (
    LINES_LIMIT,
    LOST,
    Answer,
    AnswerReader,
    BadAnswer,
    Lost,
    verdict_of,
)


class AnswerReaderTests(SynchronousTestCase):
    def test_one_line(self) -> None:
        for line, answer in {
            b"250 OK": Answer(250, ("OK",)),
            b"250": Answer(250, ("",)),
            b"250 ": Answer(250, ("",)),
            b"299 2.1.0 caf\xc3\xa9 \xff": Answer(299, ("2.1.0 caf\xe9 \ufffd",)),
            b"599 a\tb": Answer(599, ("a\tb",)),
        }.items():
            self.assertEqual(AnswerReader().feed(line), answer)

    def test_several_lines(self) -> None:
        reader = AnswerReader()
        for _ in range(2):
            self.assertIsNone(reader.feed(b"250-hop"))
            self.assertIsNone(reader.feed(b"250-"))
            answer = reader.feed(b"250 SIZE")
            self.assertEqual(answer, Answer(250, ("hop", "", "SIZE")))

    def test_no_reply(self) -> None:
        for line in (
            *(b"", b"25", b"2500", b"250OK", b"250_OK", b" 250 OK", b"HTTP/1.1 200 OK", b"+OK"),
            *(b"150 wait", b"650 no", b"\xb250 OK", b"250 a\nb", b"250 a\rb", b"250 a\0b"),
        ):
            self.assertRaises(BadAnswer, AnswerReader().feed, line)

    def test_another_code(self) -> None:
        reader = AnswerReader()
        reader.feed(b"550-no")
        self.assertRaises(BadAnswer, reader.feed, b"250 yes")

    def test_without_end(self) -> None:
        reader = AnswerReader()
        for _ in range(LINES_LIMIT):
            self.assertIsNone(reader.feed(b"250-more"))
        self.assertRaises(BadAnswer, reader.feed, b"250 done")
        reader = AnswerReader()
        for _ in range(LINES_LIMIT - 1):
            reader.feed(b"250-more")
        self.assertIsNotNone(reader.feed(b"250 done"))

    def test_what_it_says(self) -> None:
        self.assertTrue(Answer(250, ("",)).accepted)
        self.assertFalse(Answer(221, ("",)).accepted)
        self.assertFalse(Answer(354, ("",)).accepted)
        self.assertFalse(Answer(354, ("",)).refused)
        self.assertTrue(Answer(421, ("",)).refused)
        self.assertEqual(Answer(250, ("a", "b")).text, "250 a / b")


class VerdictTests(SynchronousTestCase):
    def verdict(self, *lines: str) -> Reply:
        reader = AnswerReader()
        answers = [reader.feed(line.encode()) for line in lines]
        assert answers[-1] is not None
        return verdict_of(answers[-1])

    def test_as_it_is(self) -> None:
        self.assertEqual(
            self.verdict("550-5.1.1 No such user", "550 5.1.1 here"),
            Reply(550, "5.1.1", ("No such user", "here")),
        )
        self.assertEqual(self.verdict("252 maybe"), Reply(252, None, ("maybe",)))
        self.assertEqual(self.verdict("250-2.0.0", "250 2.0.0"), Reply(250, "2.0.0"))
        self.assertEqual(self.verdict("450"), Reply(450))

    def test_421_is_not_for_our_client(self) -> None:
        self.assertEqual(self.verdict("421 bye"), Reply(451, "4.4.2", ("bye",)))
        self.assertEqual(self.verdict("421 4.3.2 bye"), Reply(451, "4.3.2", ("bye",)))

    def test_codes_of_their_own(self) -> None:
        self.assertEqual(self.verdict("571 5.7.1 no").code, 550)
        self.assertEqual(self.verdict("471 later").code, 451)
        self.assertEqual(self.verdict("260 yes").code, 250)

    def test_status_that_does_not_fit(self) -> None:
        self.assertEqual(self.verdict("550 4.7.1 no"), Reply(550, None, ("4.7.1 no",)))
        self.assertEqual(self.verdict("550 5.1.1.1 no"), Reply(550, None, ("5.1.1.1 no",)))
        self.assertEqual(
            self.verdict("550-5.1.1 no", "550 5.7.1 never"),
            Reply(550, "5.1.1", ("no", "5.7.1 never")),
        )

    @given(st.integers(200, 599).filter(lambda code: not 300 <= code < 400), st.text())
    def test_whatever_comes(self, code: int, text: str) -> None:
        """
        Every reply but a 3xx comes to one of the same class.
        """
        reply = verdict_of(Answer(code, (text,)))
        self.assertEqual(reply.code // 100, code // 100)
        self.assertNotEqual(reply.code, 421)


class AnswerTests(SynchronousTestCase):
    def test_for_logs(self) -> None:
        """
        Whoever reads the log has a terminal.
        """
        self.assertEqual(Answer(550, ("a\x1b[2J", "b\x85")).text, "550 a [2J / b ")


class LostTests(SynchronousTestCase):
    def test_reason(self) -> None:
        error = Lost(LOST, "reset by peer")
        self.assertEqual((error.reply, error.reason), (LOST, "reset by peer"))
        self.assertFalse(error.planned)
        self.assertEqual(Lost(LOST, planned=True).reason, LOST.text)
        self.assertTrue(Lost(LOST, planned=True).planned)
