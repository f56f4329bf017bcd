"""
Tests for txsmtpd.deadline.
"""

from __future__ import annotations

import weakref

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.deadline import Deadline, Deadlines


class DeadlineTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.expired: list[float] = []
        self.deadlines = Deadlines(self.clock)
        self.deadline = self.make()

    def make(self) -> Deadline:
        return Deadline(self.deadlines, lambda: self.expired.append(self.clock.seconds()))

    def test_expires_once(self) -> None:
        self.deadline.within(10)
        self.clock.advance(9.5)
        self.assertEqual(self.expired, [])
        self.clock.advance(0.5)
        self.clock.advance(100)
        self.assertEqual(self.expired, [10])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_put_off_costs_nothing(self) -> None:
        """
        Moving it further away touches nothing in the reactor.
        """
        self.deadline.within(10)
        (call,) = self.clock.getDelayedCalls()
        for _ in range(8):
            self.clock.advance(1)
            self.deadline.within(10)
        self.assertEqual(self.clock.getDelayedCalls(), [call])
        self.assertEqual(call.getTime(), 10)

    def test_put_off_expires_when_due(self) -> None:
        self.deadline.within(10)
        self.clock.advance(8)
        self.deadline.within(10)
        self.clock.pump([1] * 9)
        self.assertEqual(self.expired, [])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        self.assertEqual(self.expired, [18])

    def test_brought_forward(self) -> None:
        self.deadline.within(100)
        self.clock.advance(1)
        self.deadline.within(5)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(5)
        self.assertEqual(self.expired, [6])

    def test_zero_is_never(self) -> None:
        self.deadline.within(0)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(1e6)
        self.assertEqual(self.expired, [])

    def test_zero_calls_it_off(self) -> None:
        self.deadline.within(10)
        self.deadline.within(0)
        self.clock.advance(1e6)
        self.assertEqual(self.expired, [])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_set_anew_after_called_off(self) -> None:
        self.deadline.within(10)
        self.deadline.within(0)
        self.clock.advance(5)
        self.deadline.within(10)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(10)
        self.assertEqual(self.expired, [15])

    def test_set_anew_after_it_expired(self) -> None:
        self.deadline.within(10)
        self.clock.advance(10)
        self.deadline.within(10)
        self.clock.advance(10)
        self.assertEqual(self.expired, [10, 20])

    def test_set_anew_by_what_it_calls(self) -> None:
        deadline = Deadline(self.deadlines, lambda: deadline.within(5))
        deadline.within(10)
        self.clock.advance(10)
        (call,) = self.clock.getDelayedCalls()
        self.assertEqual(call.getTime(), 15)

    def test_stop(self) -> None:
        self.deadline.within(10)
        self.deadline.stop()
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.clock.advance(100)
        self.assertEqual(self.expired, [])

    def test_stop_without_need(self) -> None:
        self.deadline.stop()
        self.deadline.within(10)
        self.clock.advance(10)
        self.deadline.stop()
        self.assertEqual(self.expired, [10])

    def test_set_anew_after_stop(self) -> None:
        self.deadline.within(10)
        self.deadline.stop()
        self.deadline.within(20)
        self.clock.advance(20)
        self.assertEqual(self.expired, [20])

    def test_many_share_one_call(self) -> None:
        many = [self.make() for _ in range(50)]
        for seconds, deadline in enumerate(many, 1):
            deadline.within(seconds)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.pump([1] * 49)
        self.assertEqual(self.expired, [*range(1, 50)])
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_an_earlier_one(self) -> None:
        """
        The call is brought forward for it, and only for it.
        """
        self.deadline.within(10)
        self.make().within(20)
        (call,) = self.clock.getDelayedCalls()
        self.assertEqual(call.getTime(), 10)
        self.make().within(5)
        self.assertEqual(self.clock.getDelayedCalls(), [call])
        self.assertEqual(call.getTime(), 5)
        self.clock.pump([5] * 4)
        self.assertEqual(self.expired, [5, 10, 20])

    def test_what_was_stopped_is_not_kept(self) -> None:
        """
        Nobody waits hours for the room that short connections have taken.
        """
        self.deadline.within(10_000)
        for _ in range(1000):
            other = self.make()
            other.within(5000)
            other.stop()
        self.assertLess(len(self.deadlines._entries), 5)
        self.assertEqual(len(self.clock.getDelayedCalls()), 1)
        self.clock.advance(10_000)
        self.assertEqual(self.expired, [10_000])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_among_others_that_were_stopped(self) -> None:
        first, second, third = (self.make() for _ in range(3))
        for seconds, deadline in enumerate((self.deadline, first, second, third), 1):
            deadline.within(seconds)
        second.stop()
        self.clock.advance(4)
        self.assertEqual(self.expired, [4] * 3)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_one_that_fails(self) -> None:
        """
        The others are called all the same.
        """

        def fail() -> None:
            raise ZeroDivisionError

        failing = Deadline(self.deadlines, fail)
        failing.within(5)
        self.deadline.within(5)
        self.assertRaises(ZeroDivisionError, self.clock.advance, 5)
        self.clock.advance(0)
        self.assertEqual(self.expired, [5])

    def test_nothing_is_left_for_those_that_were_stopped(self) -> None:
        """
        Those that are due later go with the last one that is not stopped.
        """
        self.deadline.within(300)
        other = self.make()
        other.within(1)
        self.deadline.stop()
        self.clock.advance(1)
        self.assertEqual(self.expired, [1])
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_who_was_stopped_is_let_go(self) -> None:
        """
        What it would have called is the end of a whole connection.
        """

        class Connection:
            def expired(self) -> None:
                raise AssertionError

        # More of these, so that nobody tidies up.
        several = [self.make() for _ in range(3)]
        for deadline in several:
            deadline.within(10)
        connection = Connection()
        gone = weakref.ref(connection)
        other = Deadline(self.deadlines, connection.expired)
        other.within(5)
        other.stop()
        del connection, other
        self.assertIsNone(gone())
        self.clock.advance(10)
        self.assertEqual(self.expired, [10] * 3)
