"""
Tests for txsmtpd.handlers.relay.verdicts.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.replies import Reply
from txsmtpd.core.session import Parameters, Recipient
from txsmtpd.handlers.relay.verdicts import merged

YES, ALSO = Reply(250, "2.0.0", ("Yes",)), Reply(250, "2.0.0", ("Also",))
LATER, NEVER = Reply(452, "4.2.2", ("Full",)), Reply(550, "5.1.1", ("Nobody",))


def merge(*replies: Reply) -> Reply:
    names = [f"{letter}@example.com" for letter in "abcdefghijklmnopqrstuvwxyz"]
    recipients = [Recipient(name, Parameters(), YES) for name in names]
    return merged(recipients[: len(replies)], replies)


class MergedTests(SynchronousTestCase):
    def test_of_one_mind(self) -> None:
        self.assertEqual(merge(YES, ALSO), YES)
        self.assertEqual(merge(LATER, LATER), LATER)
        self.assertEqual(merge(NEVER), NEVER)

    def test_nobody_has_it(self) -> None:
        self.assertEqual(merge(NEVER, LATER), LATER)

    def test_others_may_have_it_later(self) -> None:
        lines = ("Delivered, but not to these:", "<b@example.com>: 452 4.2.2 Full")
        self.assertEqual(merge(YES, LATER), Reply(452, "4.2.2", lines))

    def test_someone_will_never_have_it(self) -> None:
        lines = (
            "Delivered, but not to these:",
            "<a@example.com>: 452 4.2.2 Full",
            "<c@example.com>: 550 5.1.1 Nobody",
        )
        self.assertEqual(merge(LATER, YES, NEVER), Reply(550, "5.1.1", lines))

    def test_many(self) -> None:
        reply = merge(YES, *[NEVER] * 13)
        self.assertEqual(len(reply.lines), 12)
        self.assertEqual(reply.lines[-1], "and 3 more")
