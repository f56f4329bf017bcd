"""
Tests for txsmtpd.adapters.statuses.
"""

from __future__ import annotations

import enum

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.adapters.statuses import (
    MISSING,
    as_delivery_verdict,
    as_verdict,
    is_missing,
    joined,
    line,
    lines_of,
)
from txsmtpd.core.replies import Reply
from txsmtpd.core.session import Envelope, Parameters, Recipient, Session


class Theirs(enum.Enum):
    MISSING = 1
    OTHER = 2


class MissingTests(SynchronousTestCase):
    def test_by_its_name(self) -> None:
        self.assertTrue(is_missing(MISSING))
        self.assertTrue(is_missing(Theirs.MISSING))

    def test_others(self) -> None:
        for other in (None, False, "MISSING", Theirs.OTHER, Theirs):
            self.assertFalse(is_missing(other), other)


class LineTests(SynchronousTestCase):
    def test_last(self) -> None:
        self.assertEqual(line("250 2.0.0 OK"), Reply(250, "2.0.0", "OK"))

    def test_unfinished(self) -> None:
        """
        More will come, and there is no line that says otherwise, however long it is.
        """
        self.assertEqual(line("250-wait").wire, b"250-wait\r\n")
        self.assertEqual(line("450-4.2.0 wait").wire, b"450-4.2.0 wait\r\n")
        wire = line("250-" + "250 x" * 200).wire
        lines = wire.split(b"\r\n")[:-1]
        self.assertGreater(len(lines), 1)
        self.assertTrue(all(each.startswith(b"250-") and len(each) <= 510 for each in lines), wire)

    def test_no_reply(self) -> None:
        self.assertRaises(ValueError, line, "hello")

    def test_lines(self) -> None:
        self.assertEqual(lines_of("250-a\r\n250 b\r\n"), ["250-a", "250 b"])
        self.assertEqual(lines_of(b"250-a\n250 b"), ["250-a", "250 b"])
        self.assertEqual(lines_of(b"250 \xd0\xb6"), ["250 ж"])
        self.assertEqual(lines_of(b"250 \xff"), ["250 \ufffd"])


class JoinedTests(SynchronousTestCase):
    def test_nothing(self) -> None:
        self.assertIsNone(joined([]))

    def test_one(self) -> None:
        self.assertEqual(joined(["501 5.5.2 No"]), Reply(501, "5.5.2", "No"))

    def test_several(self) -> None:
        reply = joined(["535-5.7.8 Not", "535 5.7.8 so"])
        self.assertEqual(reply, Reply(535, "5.7.8", ("Not", "so")))

    def test_refusal_wins(self) -> None:
        """
        Whatever is said before it or after it.
        """
        for lines in (
            ["550-no", "250 ok"],
            ["250-ok", "550 no"],
            ["250 ok", "550 no", "451 later"],
        ):
            self.assertEqual(joined(lines), Reply(550, None, "no"), lines)


class DeliveryTests(SynchronousTestCase):
    """
    Under LMTP a text may be the replies for all recipients.
    """

    def verdict(self, status: object, recipients: int = 2, *, lmtp: bool = True) -> object:
        envelope = Envelope()
        envelope.recipients = [Recipient("a@b", Parameters(), Reply(250))] * recipients
        return as_delivery_verdict(status, Session(lmtp=lmtp), envelope)

    def test_each(self) -> None:
        for status in ("250 ok\r\n550 no", b"250 ok\n550 no\n"):
            self.assertEqual(self.verdict(status), [Reply(250, None, "ok"), Reply(550, None, "no")])

    def test_several_lines_each(self) -> None:
        self.assertEqual(
            self.verdict("550-not\r\n550 so\r\n250 ok"),
            [Reply(550, None, ("not", "so")), Reply(250, None, "ok")],
        )
        self.assertEqual(self.verdict("250 ok\n550-no")[1], Reply(550, None, "no"))  # type: ignore[index]

    def test_one_for_all(self) -> None:
        self.assertEqual(self.verdict("550-not\r\n550 so"), Reply(550, None, ("not", "so")))
        self.assertEqual(self.verdict("250 ok", 1), "250 ok")
        self.assertIsNone(self.verdict(None))

    def test_list(self) -> None:
        self.assertEqual(self.verdict(["250 ok", "550 no"]), ["250 ok", "550 no"])

    def test_others_than_recipients(self) -> None:
        """
        Nobody can tell which is whose, so nothing is accepted that was refused.
        """
        self.assertEqual(self.verdict("250 ok\r\n550 no", 3), Reply(550, None, "no"))

    def test_smtp(self) -> None:
        self.assertEqual(self.verdict("250 ok\r\n550 no", lmtp=False), Reply(550, None, "no"))


class VerdictTests(SynchronousTestCase):
    def test_nothing(self) -> None:
        self.assertIsNone(as_verdict(None))
        self.assertIsNone(as_verdict(Theirs.MISSING))

    def test_line(self) -> None:
        self.assertEqual(as_verdict("250 OK\r\n"), "250 OK")
        self.assertEqual(as_verdict(b"550 no"), "550 no")

    def test_lines(self) -> None:
        self.assertEqual(as_verdict("550-not\r\n550 so"), Reply(550, None, ("not", "so")))

    def test_other(self) -> None:
        """
        The core says what is wrong with it.
        """
        self.assertIs(as_verdict(17), 17)
        reply = Reply(250)
        self.assertIs(as_verdict(reply), reply)
