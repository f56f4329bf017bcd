"""
Tests for txsmtpd.brakes.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsmtpd.brakes import CONTENT, HELD, STEP, UNREAD, BrakedLineReceiver

#: Octets of a segment that is long enough to be worth cutting.
PIECE = 4096


class Lines(BrakedLineReceiver):
    """
    Notes what it receives.
    """

    MAX_LENGTH = 65536

    def __init__(self) -> None:
        self.seen: list[bytes] = []
        self.inputs = 0
        #: What to do when a line comes.
        self.on: dict[bytes, Callable[[], Any]] = {}

    def lineReceived(self, line: bytes) -> None:
        self.seen.append(line)
        self.on.get(line, bool)()

    def rawDataReceived(self, data: bytes) -> None:
        self.seen.append(b"raw " + data)
        self.on.get(b"raw", bool)()

    def lineLengthExceeded(self, line: bytes) -> None:
        self.seen.append(b"exceeded")
        self.close()

    def afterInput(self) -> None:
        self.inputs += 1


class BrakesTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.lines = Lines()
        self.transport: Any = StringTransport()
        self.lines.makeConnection(self.transport)

    def brake_on(self, line: bytes, brake: int) -> None:
        self.lines.on[line] = lambda: self.lines.brake(brake)


class BrakeTests(BrakesTestCase):
    """
    While a brake is on, what comes waits.
    """

    def test_no_brake(self) -> None:
        self.lines.dataReceived(b"a\r\nb\r\nc")
        self.lines.dataReceived(b"d\r\n")
        self.assertEqual(self.lines.seen, [b"a", b"b", b"cd"])

    def test_each_holds(self) -> None:
        for brake in (STEP, UNREAD, CONTENT):
            self.setUp()
            self.brake_on(b"a", brake)
            self.lines.dataReceived(b"a\r\nb\r\n")
            self.lines.dataReceived(b"c\r\n")
            self.assertEqual(self.lines.seen, [b"a"])
            self.lines.release(brake)
            self.assertEqual(self.lines.seen, [b"a", b"b", b"c"])

    def test_last_one_counts(self) -> None:
        self.lines.brake(STEP)
        self.lines.brake(UNREAD)
        self.lines.brake(CONTENT)
        self.lines.dataReceived(b"a\r\n")
        self.lines.release(STEP)
        self.lines.release(CONTENT)
        self.assertEqual(self.lines.seen, [])
        self.lines.release(UNREAD)
        self.assertEqual(self.lines.seen, [b"a"])

    def test_order_does_not_matter(self) -> None:
        self.lines.brake(STEP)
        self.lines.brake(UNREAD)
        self.lines.dataReceived(b"a\r\n")
        self.lines.release(UNREAD)
        self.assertEqual(self.lines.seen, [])
        self.lines.release(STEP)
        self.assertEqual(self.lines.seen, [b"a"])

    def test_twice_on_is_once_off(self) -> None:
        self.lines.brake(STEP)
        self.lines.brake(STEP)
        self.lines.dataReceived(b"a\r\n")
        self.lines.release(STEP)
        self.assertEqual(self.lines.seen, [b"a"])

    def test_raw_data_waits(self) -> None:
        self.lines.setRawMode()
        self.brake_on(b"raw", CONTENT)
        self.lines.dataReceived(b"a")
        self.lines.dataReceived(b"b")
        self.lines.dataReceived(b"c")
        self.assertEqual(self.lines.seen, [b"raw a"])
        self.lines.release(CONTENT)
        self.assertEqual(self.lines.seen, [b"raw a", b"raw bc"])

    def test_in_the_middle_of_a_long_segment(self) -> None:
        """
        Lines behind the one that brakes are not looked at, wherever in it that one is.
        """
        lines = [b"%05d" % number for number in range(3 * PIECE // 7)]
        for first in (lines[0], lines[PIECE // 7], lines[-2]):
            self.setUp()
            self.brake_on(first, STEP)
            self.lines.dataReceived(b"".join(line + b"\r\n" for line in lines))
            self.assertEqual(self.lines.seen[-1], first)
            self.lines.release(STEP)
            self.assertEqual(self.lines.seen, lines)

    def test_raw_data_in_a_long_segment(self) -> None:
        """
        It is not cut up: content in large chunks is quicker.
        """
        self.lines.on[b"DATA"] = self.lines.setRawMode
        self.lines.dataReceived(b"x" * PIECE + b"\r\nDATA\r\n" + b"y" * 3 * PIECE)
        raw = [len(seen) for seen in self.lines.seen if seen.startswith(b"raw ")]
        self.assertEqual(sum(raw), 3 * PIECE + 4 * len(raw))
        self.assertLessEqual(len(raw), 2)

    def test_take_back(self) -> None:
        """
        What was too much comes before what had been waiting.
        """
        self.lines.setRawMode()
        self.brake_on(b"raw", CONTENT)
        self.lines.dataReceived(b"content")
        self.lines.dataReceived(b"\r\nb\r\n")
        self.lines.take_back(b"a")
        self.lines.release(CONTENT)
        self.assertEqual(self.lines.seen, [b"raw content", b"a", b"b"])

    def test_line_mode(self) -> None:
        """
        As LineReceiver has it: what is given comes first.
        """
        self.lines.setRawMode()
        self.lines.dataReceived(b"content")
        self.lines.setLineMode(b"a\r\nb")
        self.lines.dataReceived(b"c\r\n")
        self.assertEqual(self.lines.seen, [b"raw content", b"a", b"bc"])

    def test_line_feed_is_no_line_end(self) -> None:
        self.lines.dataReceived(b"a\nb\rc\n\rd\r\n")
        self.assertEqual(self.lines.seen, [b"a\nb\rc\n\rd"])


class AfterInputTests(BrakesTestCase):
    """
    It is told once for all that had arrived.
    """

    def test_once_for_a_segment(self) -> None:
        self.lines.dataReceived(b"a\r\n" * PIECE)
        self.assertEqual(self.lines.inputs, 1)

    def test_behind_a_brake(self) -> None:
        self.brake_on(b"a", STEP)
        self.lines.dataReceived(b"a\r\nb\r\n")
        self.assertEqual(self.lines.inputs, 1)

    def test_when_a_brake_is_off_and_another_on(self) -> None:
        self.lines.brake(STEP)
        self.lines.brake(UNREAD)
        self.lines.release(STEP)
        self.assertEqual(self.lines.inputs, 1)

    def test_not_after_closing(self) -> None:
        self.lines.on[b"a"] = self.lines.close
        self.lines.dataReceived(b"a\r\n")
        self.assertEqual(self.lines.inputs, 0)

    def test_must_be_written(self) -> None:
        self.assertRaises(NotImplementedError, BrakedLineReceiver().afterInput)


class TransportTests(BrakesTestCase):
    """
    The transport goes on reading, up to a limit, so that a disconnect is noticed.
    """

    def test_reads_on(self) -> None:
        self.lines.brake(STEP)
        self.lines.dataReceived(b"x" * HELD)
        self.assertEqual(self.transport.producerState, "producing")

    def test_paused_when_too_much_is_held(self) -> None:
        self.lines.brake(STEP)
        self.lines.dataReceived(b"x" * HELD)
        self.lines.dataReceived(b"x")
        self.assertEqual(self.transport.producerState, "paused")

    def test_paused_in_one_segment(self) -> None:
        self.brake_on(b"a", STEP)
        self.lines.dataReceived(b"a\r\n" + b"b\r\n" * HELD)
        self.assertEqual(self.transport.producerState, "paused")

    def test_paused_once(self) -> None:
        self.lines.brake(STEP)
        pauses: list[str] = []
        self.patch(self.transport, "pauseProducing", lambda: pauses.append("pause"))
        for _ in range(3):
            self.lines.dataReceived(b"x" * HELD)
        self.assertEqual(pauses, ["pause"])

    def test_not_paused_without_a_brake(self) -> None:
        """
        An unfinished line has its own limit.
        """
        self.lines.dataReceived(b"x" * (HELD + 1))
        self.assertEqual(self.transport.producerState, "producing")

    def test_resumed(self) -> None:
        self.lines.brake(STEP)
        self.lines.dataReceived(b"abcdef\r\n" * (HELD // 8 + 1))
        self.lines.release(STEP)
        self.assertEqual(self.transport.producerState, "producing")
        self.assertEqual(len(self.lines.seen), HELD // 8 + 1)

    def test_not_resumed_while_another_brake_is_on(self) -> None:
        self.lines.brake(STEP)
        self.lines.brake(UNREAD)
        self.lines.dataReceived(b"abcdef\r\n" * (HELD // 8 + 1))
        self.lines.release(STEP)
        self.assertEqual(self.transport.producerState, "paused")

    def test_paused_again(self) -> None:
        """
        When the first line that goes on brakes anew.
        """
        self.brake_on(b"a", STEP)
        self.lines.dataReceived(b"a\r\na\r\n" + b"b\r\n" * HELD)
        self.lines.release(STEP)
        self.assertEqual(self.lines.seen, [b"a", b"a"])
        self.assertEqual(self.transport.producerState, "paused")

    def test_resume_delivers_at_once(self) -> None:
        """
        A TLS transport may hand over what it has while it is being resumed.
        """
        self.lines.brake(STEP)
        count = HELD // 8 + 1
        self.lines.dataReceived(b"abcdef\r\n" * count)
        resume = self.transport.resumeProducing

        def resuming() -> None:
            resume()
            self.lines.dataReceived(b"last\r\n")

        self.patch(self.transport, "resumeProducing", resuming)
        self.lines.release(STEP)
        self.assertEqual(self.lines.seen, [b"abcdef"] * count + [b"last"])


class UnreadTests(BrakesTestCase):
    """
    Replies are a producer that the transport pauses when the client does not read.
    """

    def test_producer(self) -> None:
        verifyObject(IPushProducer, self.transport.producer)
        self.assertIs(self.transport.streaming, True)

    def test_not_the_protocol(self) -> None:
        self.assertIsNot(self.transport.producer, self.lines)

    def test_brake(self) -> None:
        self.transport.producer.pauseProducing()
        self.assertEqual(self.lines.brakes, UNREAD)
        self.lines.dataReceived(b"a\r\n")
        self.assertEqual(self.lines.seen, [])
        self.transport.producer.resumeProducing()
        self.assertEqual(self.lines.seen, [b"a"])

    def test_does_not_release_others(self) -> None:
        self.lines.brake(STEP)
        self.transport.producer.pauseProducing()
        self.transport.producer.resumeProducing()
        self.transport.producer.resumeProducing()
        self.lines.dataReceived(b"a\r\n")
        self.assertEqual(self.lines.seen, [])
        self.lines.release(STEP)
        self.assertEqual(self.lines.seen, [b"a"])

    def test_paused_from_within(self) -> None:
        """
        The reply to a line fills the transport's buffer.
        """
        self.lines.on[b"a"] = self.transport.producer.pauseProducing
        self.lines.dataReceived(b"a\r\nb\r\n")
        self.assertEqual(self.lines.seen, [b"a"])
        self.transport.producer.resumeProducing()
        self.assertEqual(self.lines.seen, [b"a", b"b"])

    def test_stop(self) -> None:
        """
        Being told that the connection is lost does no harm.
        """
        self.transport.producer.stopProducing()
        self.assertFalse(self.transport.disconnecting)


class CloseTests(BrakesTestCase):
    """
    After it was closed nothing more is obeyed.
    """

    def test_producer_is_unregistered_first(self) -> None:
        """
        Or a TLS connection would never close.
        """
        producers: list[Any] = []
        self.patch(
            self.transport, "loseConnection", lambda: producers.append(self.transport.producer)
        )
        self.lines.close()
        self.assertEqual(producers, [None])

    def test_following_lines(self) -> None:
        self.lines.on[b"a"] = self.lines.close
        self.lines.dataReceived(b"a\r\nb\r\n")
        self.lines.dataReceived(b"c\r\n")
        self.assertEqual(self.lines.seen, [b"a"])

    def test_closed_by_someone_else(self) -> None:
        """
        A hook may have told the transport so itself.
        """
        self.lines.on[b"a"] = self.transport.loseConnection
        self.lines.dataReceived(b"a\r\nb\r\n")
        self.assertEqual(self.lines.seen, [b"a"])

    def test_following_pieces(self) -> None:
        self.lines.on[b"a"] = self.lines.close
        self.lines.dataReceived(b"a\r\n" + b"b\r\n" * PIECE)
        self.assertEqual(self.lines.seen, [b"a"])

    def test_lines_that_follow_raw_data(self) -> None:
        """
        The end of content may close, and then the next line is not run.
        """

        def ends() -> None:
            self.lines.take_back(b"b\r\n")
            self.lines.close()

        self.lines.setRawMode()
        self.lines.on[b"raw"] = ends
        self.lines.dataReceived(b"content")
        self.assertEqual(self.lines.seen, [b"raw content"])

    def test_released_later(self) -> None:
        """
        Resuming a transport that is closing is an error.
        """
        self.lines.brake(STEP)
        self.lines.dataReceived(b"a\r\n" * HELD)
        self.assertEqual(self.transport.producerState, "paused")
        self.lines.close()
        self.lines.release(STEP)
        self.assertEqual(self.lines.seen, [])
        self.assertEqual(self.transport.producerState, "paused")

    def test_endless_line(self) -> None:
        self.lines.dataReceived(b"x" * 3 * 65536)
        self.assertEqual(self.lines.seen, [b"exceeded"])


class FromWithinTests(BrakesTestCase):
    """
    Data that comes while other data is being looked at waits for its turn.
    """

    def test_comes_last(self) -> None:
        self.lines.on[b"a"] = lambda: self.lines.dataReceived(b"z\r\n")
        self.lines.dataReceived(b"a\r\nb\r\n")
        self.assertEqual(self.lines.seen, [b"a", b"b", b"z"])
        self.assertEqual(self.lines.inputs, 1)

    def test_comes_last_in_a_long_segment(self) -> None:
        self.lines.on[b"a"] = lambda: self.lines.dataReceived(b"z\r\n")
        self.lines.dataReceived(b"a\r\n" + b"b\r\n" * PIECE)
        self.assertEqual(self.lines.seen, [b"a", *[b"b"] * PIECE, b"z"])
