"""
Tests for :mod:`txsmtpd.census`; with real connections in test_ends.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.census import GRACE, Census
from txsmtpd.core.replies import SHUTTING_DOWN, TOO_MANY_CONNECTIONS, Reply
from txsmtpd.core.settings import Settings

#: Where clients come from.
HERE, THERE = ("192.0.2.1", 1025), ("2001:db8::1", 1025, 0, 0)


class Connection:
    """
    A connection that has left as soon as the test says so.
    """

    def __init__(self, census: Census, *, polite: bool = False) -> None:
        self.census = census
        #: Whether it leaves when it is asked to.
        self.polite = polite
        self.asked = 0
        self.aborted = False
        self.transport: Any = self

    def leave(self) -> None:
        self.asked += 1
        if self.polite:
            self.census.release(self)

    def abortConnection(self) -> None:
        self.aborted = True
        self.census.release(self)


class CensusTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def census(self, **settings: Any) -> Census:
        return Census(Settings(**settings), self.clock)

    def enter(self, census: Census, peer: Any = HERE, *, polite: bool = False) -> Connection:
        """
        A connection that is admitted.
        """
        connection = Connection(census, polite=polite)
        self.assertIsNone(census.admit(connection, peer))
        return connection

    def assertRefused(self, census: Census, peer: Any = HERE, reply: Reply | None = None) -> None:
        self.assertIs(census.admit(Connection(census), peer), reply or TOO_MANY_CONNECTIONS)


class LimitTests(CensusTestCase):
    def test_total(self) -> None:
        census = self.census(max_connections=2)
        first = self.enter(census)
        self.enter(census, THERE)
        self.assertRefused(census, ("192.0.2.3", 1025))
        census.release(first)
        self.enter(census)
        self.assertRefused(census)

    def test_no_limit(self) -> None:
        census = self.census(max_connections=0, max_connections_per_host=0)
        for _ in range(2000):
            self.enter(census)

    def test_per_host(self) -> None:
        """
        A host is an address, whatever the port.
        """
        census = self.census(max_connections_per_host=2)
        first = self.enter(census)
        self.enter(census, ("192.0.2.1", 1026))
        self.assertRefused(census, ("192.0.2.1", 1027))
        self.enter(census, THERE)
        census.release(first)
        self.enter(census)
        self.assertRefused(census)

    def test_no_host(self) -> None:
        """
        A unix socket has none, and counts only towards the total.
        """
        census = self.census(max_connections=3, max_connections_per_host=1)
        for peer in (None, b"/run/client", None):
            self.enter(census, peer)
        self.assertRefused(census, None)

    def test_refused_do_not_count(self) -> None:
        census = self.census(max_connections_per_host=1, max_connections=2)
        first = self.enter(census)
        for _ in range(3):
            self.assertRefused(census)
        self.enter(census, THERE)
        census.release(first)
        self.enter(census)

    def test_forgets_hosts(self) -> None:
        census = self.census()
        connections = [self.enter(census, (f"192.0.2.{n}", 1)) for n in range(9)]
        connections += [self.enter(census, ("192.0.2.1", 2)), self.enter(census, None)]
        for connection in connections:
            census.release(connection)
        self.assertEqual({}, census._hosts)
        self.assertEqual({}, census._connections)


class HostTests(CensusTestCase):
    """
    The client may turn out to be another one, such as behind a proxy.
    """

    def test_moves(self) -> None:
        census = self.census(max_connections_per_host=1)
        connection = self.enter(census, HERE)
        self.assertIsNone(census.admit_host(connection, THERE))
        self.assertRefused(census, THERE)
        self.enter(census, HERE)
        census.release(connection)
        self.enter(census, THERE)

    def test_not_known_before(self) -> None:
        census = self.census(max_connections_per_host=1)
        connection = self.enter(census, None)
        self.assertIsNone(census.admit_host(connection, HERE))
        self.assertRefused(census, HERE)

    def test_same_one(self) -> None:
        """
        It is not counted twice.
        """
        census = self.census(max_connections_per_host=1)
        connection = self.enter(census)
        self.assertIsNone(census.admit_host(connection, HERE))
        self.assertRefused(census)

    def test_refused(self) -> None:
        """
        It is to go, and until it has it counts towards the total only.
        """
        census = self.census(max_connections=2, max_connections_per_host=1)
        first = self.enter(census, THERE)
        connection = self.enter(census, HERE)
        self.assertIs(census.admit_host(connection, THERE), TOO_MANY_CONNECTIONS)
        self.assertRefused(census, ("192.0.2.3", 1))
        census.release(first)
        self.enter(census, THERE)
        census.release(connection)
        self.enter(census, HERE)

    def test_total_is_not_asked_again(self) -> None:
        census = self.census(max_connections=1)
        connection = self.enter(census)
        self.assertIsNone(census.admit_host(connection, THERE))


class SessionIdTests(CensusTestCase):
    def test_of_start_and_number(self) -> None:
        self.clock.advance(255.9)
        census = self.census()
        self.assertEqual(["ff-1", "ff-2"], [census.next_session_id() for _ in range(2)])

    def test_go_on(self) -> None:
        """
        They are not used again by a server that starts anew in the same process.
        """
        census = self.census()
        census.next_session_id()
        census.drain()
        census.reopen()
        self.assertEqual("0-2", census.next_session_id())


class DrainTests(CensusTestCase):
    def test_nobody_there(self) -> None:
        census = self.census()
        self.successResultOf(census.drain())
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_all_leave_at_once(self) -> None:
        census = self.census()
        connections = [self.enter(census, polite=True) for _ in range(3)]
        self.successResultOf(census.drain())
        self.assertEqual([1, 1, 1], [connection.asked for connection in connections])
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_some_take_their_time(self) -> None:
        census = self.census()
        first, _, last = (self.enter(census, polite=polite) for polite in (False, True, False))
        drained = census.drain()
        census.release(first)
        self.clock.advance(GRACE - 1)
        self.assertNoResult(drained)
        census.release(last)
        self.successResultOf(drained)
        self.assertEqual((1, False), (last.asked, last.aborted))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_too_much_time(self) -> None:
        census = self.census()
        connections = [self.enter(census) for _ in range(2)]
        drained = census.drain()
        self.clock.advance(GRACE)
        self.assertEqual([True, True], [connection.aborted for connection in connections])
        self.successResultOf(drained)
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_twice(self) -> None:
        """
        Nobody is asked again.
        """
        census = self.census()
        connection = self.enter(census)
        drained = census.drain()
        self.assertIs(drained, census.drain())
        census.release(connection)
        self.successResultOf(drained)
        self.assertIs(drained, census.drain())
        self.assertEqual(1, connection.asked)

    def test_nobody_comes_in(self) -> None:
        census = self.census()
        connection = self.enter(census)
        drained = census.drain()
        self.assertRefused(census, reply=SHUTTING_DOWN)
        census.release(connection)
        self.successResultOf(drained)
        self.assertRefused(census, reply=SHUTTING_DOWN)


class UnfinishedTests(CensusTestCase):
    """
    What goes on although its client has gone.
    """

    def test_waits(self) -> None:
        census, work = self.census(), Deferred[str]()
        census.outlive(work)
        drained = census.drain()
        self.assertNoResult(drained)
        work.callback("done")
        self.successResultOf(drained)
        self.assertEqual("done", self.successResultOf(work))
        self.assertEqual([], self.clock.getDelayedCalls())

    def test_failures_pass(self) -> None:
        census, work = self.census(), Deferred[None]()
        census.outlive(work)
        drained = census.drain()
        work.errback(RuntimeError("boom"))
        self.successResultOf(drained)
        self.failureResultOf(work, RuntimeError)

    def test_ended_already(self) -> None:
        census = self.census()
        census.outlive(succeed(None))
        self.successResultOf(census.drain())

    def test_ended_before(self) -> None:
        """
        Nobody waits for it yet.
        """
        census, work = self.census(), Deferred[None]()
        census.outlive(work)
        work.callback(None)
        self.successResultOf(census.drain())

    def test_connection_and_work(self) -> None:
        for work_first in (True, False):
            census, work = self.census(), Deferred[None]()
            connection = self.enter(census)
            census.outlive(work)
            drained = census.drain()
            ends = [partial(work.callback, None), partial(census.release, connection)]
            ends[not work_first]()
            self.assertNoResult(drained)
            ends[work_first]()
            self.successResultOf(drained)

    def test_takes_too_long(self) -> None:
        """
        Later nobody hears of it.
        """
        census, work = self.census(), Deferred[None]()
        census.outlive(work)
        drained = census.drain()
        self.clock.advance(GRACE)
        self.successResultOf(drained)
        work.callback(None)

    def test_begins_when_time_is_up(self) -> None:
        """
        What a connection that is cut off leaves behind is not waited for.
        """
        census = self.census()
        connection = self.enter(census)

        def abort() -> None:
            census.outlive(Deferred())
            census.release(connection)

        connection.abortConnection = abort  # type: ignore[method-assign]
        drained = census.drain()
        self.clock.advance(GRACE)
        self.successResultOf(drained)


class ReopenTests(CensusTestCase):
    def test_never_closed(self) -> None:
        census = self.census()
        census.reopen()
        self.enter(census)

    def test_after_the_end(self) -> None:
        census = self.census()
        self.successResultOf(census.drain())
        census.reopen()
        connection = self.enter(census)
        drained = census.drain()
        self.assertNoResult(drained)
        census.release(connection)
        self.successResultOf(drained)

    def test_before_the_end(self) -> None:
        """
        Whoever waits for that waits no longer, and nobody is cut off.
        """
        census = self.census()
        connection = self.enter(census)
        drained = census.drain()
        census.reopen()
        self.successResultOf(drained)
        self.clock.advance(GRACE)
        self.assertFalse(connection.aborted)
        self.enter(census)

    def test_after_giving_up(self) -> None:
        """
        The next time there is time again.
        """
        census = self.census()
        census.outlive(Deferred())
        census.drain()
        self.clock.advance(GRACE)
        census.reopen()
        drained = census.drain()
        self.assertNoResult(drained)
        self.clock.advance(GRACE)
        self.successResultOf(drained)
