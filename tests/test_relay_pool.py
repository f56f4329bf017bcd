"""
Tests for txsmtpd.handlers.relay.pool.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.error import ConnectingCancelledError, ConnectionRefusedError

from txsmtpd.core.replies import Rejected
from txsmtpd.handlers.relay import NextHop, Timeouts, answers
from txsmtpd.handlers.relay.answers import Lost
from txsmtpd.handlers.relay.pool import Pool

from .relaykit import SILENCE, FakeCreator, Hop, RelayTestCase


class PoolTestCase(RelayTestCase):
    limit, spare = 3, 2

    def pool(self, hop: Hop, **where: Any) -> Pool:
        return Pool(NextHop("hop.example", 25, **where), Timeouts(), self.limit, self.spare, hop)

    def start(self, pool: Pool, *, fresh: bool = False) -> Deferred[Any]:
        getting = Deferred.fromCoroutine(pool.get(self.clock, "relay.example", fresh=fresh))
        self.run_all()
        return getting

    def get(self, pool: Pool, *, fresh: bool = False) -> Any:
        return self.successResultOf(self.start(pool, fresh=fresh))

    def put_back(self, pool: Pool, connection: Any) -> None:
        pool.put_back(connection, self.clock.seconds())
        self.run_all()

    def fails(self, getting: Deferred[Any], reply: Any) -> None:
        self.assertEqual(self.failureResultOf(getting, Rejected).value.reply, reply)


class ReuseTests(PoolTestCase):
    def test_again(self) -> None:
        pool = self.pool(hop := self.hop("SIZE 10"))
        self.assertIsNone(pool.features)
        connection = self.get(pool)
        self.assertEqual(pool.features, {"SIZE": "10"})
        self.put_back(pool, connection)
        self.assertIs(self.get(pool), connection)
        self.assertEqual(len(hop.wires), 1)

    def test_the_last_one(self) -> None:
        pool = self.pool(self.hop())
        first, second = self.get(pool), self.get(pool)
        self.put_back(pool, first)
        self.put_back(pool, second)
        self.assertIs(self.get(pool), second)
        self.assertIs(self.get(pool), first)

    def test_fresh(self) -> None:
        pool = self.pool(self.hop())
        connection = self.get(pool)
        self.put_back(pool, connection)
        self.assertIsNot(self.get(pool, fresh=True), connection)

    def test_fresh_where_there_is_no_room(self) -> None:
        """
        One that has nothing to do makes room.
        """
        pool = self.pool(hop := self.hop())
        connections = [self.get(pool) for _ in range(3)]
        self.put_back(pool, connections[0])
        self.put_back(pool, connections[1])
        self.assertNotIn(self.get(pool, fresh=True), connections)
        self.assertEqual(hop.wires[0].heard[-1], "QUIT")
        self.assertIs(self.get(pool), connections[1])

    def test_spare(self) -> None:
        pool = self.pool(hop := self.hop())
        for connection in [self.get(pool) for _ in range(3)]:
            self.put_back(pool, connection)
        self.assertEqual([wire.lost for wire in hop.wires], [False, False, True])
        self.assertEqual(hop.wires[2].heard[-1], "QUIT")

    def test_spent(self) -> None:
        pool = self.pool(hop := self.hop())
        connection = self.get(pool)
        connection.spent = True
        self.put_back(pool, connection)
        self.assertEqual(hop.heard[-1], "QUIT")
        self.assertIsNot(self.get(pool), connection)

    def test_old(self) -> None:
        pool = self.pool(hop := self.hop())
        connection = self.get(pool)
        self.clock.advance(300)
        self.put_back(pool, connection)
        self.assertEqual(hop.heard[-1], "QUIT")

    def test_idle_for_long(self) -> None:
        pool = self.pool(hop := self.hop(QUIT=SILENCE))
        connection = self.get(pool)
        self.put_back(pool, connection)
        self.clock.advance(45)
        self.assertEqual(hop.heard[-1], "QUIT")
        self.assertIsNot(self.get(pool), connection)
        self.clock.advance(5)
        self.assertTrue(hop.wires[0].lost)

    def test_closed_while_idle(self) -> None:
        """
        That is the next hop's right, and no news.
        """
        pool = self.pool(hop := self.hop())
        for act in (hop_closes, hop_says_421):
            connection = self.get(pool)
            self.put_back(pool, connection)

            def happen(act: Any = act) -> None:
                act(hop.wires[-1])
                self.run_all()

            self.assertEqual(self.logged(happen), [])
            self.assertIsNot(self.get(pool), connection)

    def test_gone(self) -> None:
        pool = self.pool(hop := self.hop())
        connection = self.get(pool)

        def happen() -> None:
            hop_closes(hop.wire)
            self.run_all()

        self.assertEqual(self.logged(happen), ["Connection was closed cleanly."])
        self.put_back(pool, connection)
        self.assertIsNot(self.get(pool), connection)


def hop_closes(wire: Any) -> None:
    wire.close()


def hop_says_421(wire: Any) -> None:
    wire.say("421 4.4.2 Bored")


class LimitTests(PoolTestCase):
    limit = 1

    def test_wait_for_one(self) -> None:
        pool = self.pool(hop := self.hop())
        connection = self.get(pool)
        waiting = self.start(pool), self.start(pool)
        self.assertNoResult(waiting[0])
        self.put_back(pool, connection)
        self.assertIs(self.successResultOf(waiting[0]), connection)
        self.assertNoResult(waiting[1])
        hop_closes(hop.wire)
        self.run_all()
        self.assertIsNot(self.successResultOf(waiting[1]), connection)

    def test_wait_for_long(self) -> None:
        pool = self.pool(self.hop())
        connection = self.get(pool)
        waiting = self.start(pool)
        self.clock.advance(30)
        self.fails(waiting, answers.CONGESTED)
        self.put_back(pool, connection)
        self.assertIs(self.get(pool), connection)

    def test_given_up(self) -> None:
        pool = self.pool(self.hop())
        connection = self.get(pool)
        waiting = self.start(pool)
        waiting.cancel()
        self.failureResultOf(waiting, CancelledError)
        self.put_back(pool, connection)
        self.assertIs(self.get(pool), connection)

    def test_failures_do_not_count(self) -> None:
        pool = self.pool(hop := self.hop(GREETING=["554 No"]))
        self.fails(self.start(pool), answers.UNWELCOME)
        hop.trouble = ConnectionRefusedError()
        self.fails(self.start(pool), answers.UNREACHABLE)
        hop.trouble = None
        self.get(pool)


def pending(error: Exception | None) -> Deferred[Any]:
    """
    A connection that is not made, and what it says when it is cancelled.
    """

    def cancelled(connecting: Deferred[Any]) -> None:
        if error is not None:
            connecting.errback(error)

    return Deferred(cancelled)


class ConnectTests(PoolTestCase):
    def test_refused(self) -> None:
        pool = self.pool(hop := self.hop())
        hop.trouble = ConnectionRefusedError("refused")
        getting: list[Any] = []
        said = self.logged(lambda: getting.append(self.start(pool)))
        self.fails(getting[0], answers.UNREACHABLE)
        self.assertEqual(said, ["Connection was refused by other side: refused."])

    def test_without_words(self) -> None:
        pool = self.pool(hop := self.hop())
        hop.trouble = ValueError()
        getting: list[Any] = []
        self.assertEqual(self.logged(lambda: getting.append(self.start(pool))), ["ValueError"])
        self.fails(getting[0], answers.UNREACHABLE)

    def test_no_answer(self) -> None:
        """
        However an endpoint says that it was cancelled.
        """
        for error in (None, ConnectingCancelledError(None)):
            pool = self.pool(hop := self.hop())
            hop.trouble = pending(error)
            getting = self.start(pool)
            self.clock.advance(29)
            self.assertNoResult(getting)
            self.clock.advance(1)
            self.fails(getting, answers.UNREACHABLE)

    def test_given_up(self) -> None:
        for error in (None, ConnectingCancelledError(None)):
            pool = self.pool(hop := self.hop())
            hop.trouble = pending(error)
            getting = self.start(pool)
            self.assertEqual(self.logged(getting.cancel), [])
            self.failureResultOf(getting, CancelledError)
            self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_given_up_on_the_way(self) -> None:
        pool = self.pool(hop := self.hop(EHLO=SILENCE))
        getting = self.start(pool)
        self.assertEqual(self.logged(getting.cancel), [])
        self.failureResultOf(getting, CancelledError)
        self.run_all()
        self.assertTrue(hop.wire.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_does_not_greet_us(self) -> None:
        pool = self.pool(hop := self.hop(GREETING="421 4.7.0 Too many"))
        getting: list[Any] = []
        said = self.logged(lambda: getting.append(self.start(pool)))
        self.fails(getting[0], answers.UNWELCOME)
        self.assertEqual(said, ["421 4.7.0 Too many"])
        self.assertTrue(hop.wire.lost)

    def test_our_own_fault(self) -> None:
        """
        Whatever it is, no connection is left.
        """
        pool = self.pool(hop := self.hop())
        getting = Deferred.fromCoroutine(pool.get(self.clock, "relay\n.example"))
        self.run_all()
        self.failureResultOf(getting, ValueError)
        self.assertTrue(hop.wire.lost)


class TLSTests(PoolTestCase):
    limit = 1

    def test_opportunistic(self) -> None:
        pool = self.pool(hop := self.hop("STARTTLS"), tls=FakeCreator())
        self.assertTrue(self.get(pool).tls)
        self.assertEqual(len(hop.wires), 1)

    def test_broken(self) -> None:
        """
        In the clear, then: nobody was promised more.
        """
        pool = self.pool(hop := self.hop("STARTTLS"), tls=FakeCreator())
        hop.handshake = "none"
        self.assertFalse(self.get(pool).tls)
        self.assertEqual(hop.wires[1].heard, ["EHLO relay.example"])

    def test_verified(self) -> None:
        for implicit in (False, True):
            hop = self.hop("STARTTLS")
            pool = self.pool(hop, tls=FakeCreator(), verified=True, implicit=implicit)
            hop.handshake = "none"
            self.fails(self.start(pool), answers.UNSAFE)
            self.assertEqual(len(hop.wires), 1)


class StopTests(PoolTestCase):
    def test_nothing(self) -> None:
        self.successResultOf(self.pool(self.hop()).stop())

    def test_all(self) -> None:
        pool = self.pool(hop := self.hop())
        idle, busy = self.get(pool), self.get(pool)
        self.put_back(pool, idle)
        asked = busy.ask("NOOP")
        stopping = pool.stop()
        self.failureResultOf(asked, Lost)
        self.assertNoResult(stopping)
        self.run_all()
        self.successResultOf(stopping)
        self.assertEqual(hop.wires[0].heard[-1], "QUIT")
        self.assertEqual([wire.lost for wire in hop.wires], [True, True])
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.get(pool)
