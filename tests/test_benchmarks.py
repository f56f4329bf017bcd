"""
Tests for benchmarks: what it computes, checks and writes.  Nothing here is timed.
"""

from __future__ import annotations

import io
import os
import platform
import selectors
import socket
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any
from unittest import mock, skipIf, skipUnless

import attrs
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from benchmarks import CheckFailed, child, load, logins, place, report, serve, servers
from benchmarks import __main__ as command
from benchmarks.child import Child, Mark
from benchmarks.compare import Ratio, Results, measure, reached, rotated
from benchmarks.load import Load, Replies, Step
from benchmarks.place import Place
from benchmarks.servers import Setup, Tally, floor, ours
from benchmarks.workloads import WORKLOADS, durable, idle
from benchmarks.workloads.base import CPU, SECURE_OPENING, Goal, Sample, Workload, parts
from benchmarks.workloads.bulk import RATE, Bulk, Chunked, Encrypted, ShortLines, Stuffed, stuffed
from benchmarks.workloads.connections import NewConnections, SecureConnections
from benchmarks.workloads.disturbed import P99, Disturbed, Race, p99
from benchmarks.workloads.durable import DISK, Durable, Writers, check_maildir
from benchmarks.workloads.idle import MEMORY, Idle, SecureIdle
from benchmarks.workloads.kept import LockStep, Pipelined, content, end
from benchmarks.workloads.recipients import LocalDelivery, ManyRecipients
from txsmtpd.handlers.maildir import Maildir
from txsmtpd.testing import connect

WITHOUT_RSS = not serve.STATUS.exists()
MIB = 2**20


def sample(cpu: float, *, client: float = 0.1, wall: float = 1.0) -> Sample:
    return Sample(cpu, client, wall, messages=1000, octets=1024000)


def sent(steps: Iterable[Step]) -> bytes:
    return b"".join(step.send for step in steps)


def small(kind: type[Workload], **attributes: Any) -> Workload:
    """
    A workload that does not take long.
    """
    made: Workload = type(kind.__name__, (kind,), attributes)()
    return made


class RepliesTests(SynchronousTestCase):
    """
    How the load generator checks what a server says.
    """

    def setUp(self) -> None:
        self.replies = Replies()
        self.replies.expect((b"250", b"354"))

    def test_right(self) -> None:
        self.assertTrue(self.replies.feed(b"250-one\r\n250 two\r\n354 go\r\n"))

    def test_in_pieces(self) -> None:
        said = b"250-one\r\n250 two\r\n354\r\n"
        done = [self.replies.feed(said[at : at + 1]) for at in range(len(said))]
        self.assertEqual(done, [False] * (len(said) - 1) + [True])

    def test_wrong(self) -> None:
        """
        Every line has the code that is wanted, also those in the middle of a reply.
        """
        for said in (b"451 no\r\n", b"250-one\r\n251 two\r\n", b"2500 what\r\n", b"\r\n"):
            replies = Replies()
            replies.expect((b"250",))
            with self.assertRaisesRegex(CheckFailed, "wanted 250"):
                replies.feed(said)

    def test_too_much(self) -> None:
        for more in (b"250 more\r\n", b"2"):
            replies = Replies()
            replies.expect((b"250",))
            with self.assertRaisesRegex(CheckFailed, "wanted nothing"):
                replies.feed(b"250 one\r\n" + more)


class Peer:
    """
    A server for one client, in a thread: it does what it is told to, and closes the connection.

    :ivar took: what the client has sent.
    """

    def __init__(self, act: Callable[[Peer], None]) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.address = self._listening.getsockname()
        self.took = b""
        self._thread = threading.Thread(target=self._serve, args=(act,))
        self._thread.start()

    def _serve(self, act: Callable[[Peer], None]) -> None:
        self.socket, _ = self._listening.accept()
        with self.socket:
            act(self)

    def say(self, data: bytes) -> None:
        self.socket.sendall(data)

    def take(self, octets: int) -> None:
        """
        Take so many, or all if the client goes before.
        """
        taken = bytearray()
        while len(taken) < octets:
            try:
                chunk = self.socket.recv(octets - len(taken))
            except ConnectionResetError:
                break
            if not chunk:
                break
            taken += chunk
        self.took += taken

    def end(self) -> None:
        self._thread.join()
        self._listening.close()


class LoadTests(SynchronousTestCase):
    """
    One connection, to a server of which it does not know that it is none.
    """

    greeted = Step(b"", (b"220",), connect=True)

    def play(self, act: Callable[[Peer], None], *scripts: Iterable[Step]) -> bytes:
        """
        :return: what the server got.
        """
        peer = Peer(act)
        self.addCleanup(peer.end)
        with Load(peer.address, 1) as clients:
            for script in scripts:
                clients.play([script])
        peer.end()
        return peer.took

    def test_large(self) -> None:
        """
        More than fits into any buffer is sent as it is taken.
        """
        octets = os.urandom(20 * MIB)

        def act(peer: Peer) -> None:
            peer.say(b"220 ready\r\n")
            peer.take(len(octets))
            peer.say(b"250 OK\r\n")

        took = self.play(act, [self.greeted, Step(octets, (b"250",))])
        self.assertTrue(took == octets)

    def test_later(self) -> None:
        """
        A connection stays between two scripts; an empty one is over at once.
        """

        def act(peer: Peer) -> None:
            peer.say(b"220 ready\r\n")
            peer.take(3)
            peer.say(b"250 OK\r\n")

        self.assertEqual(self.play(act, [self.greeted], [], [Step(b"one", (b"250",))]), b"one")

    def test_hangs_up(self) -> None:
        with self.assertRaisesRegex(CheckFailed, "closed the connection"):
            self.play(lambda peer: peer.say(b"220"), [self.greeted])

    def test_hung_up_before(self) -> None:
        """
        It has been told QUIT: that is no mistake before anything else is sent.
        """

        def script(peer: Peer) -> Iterable[Step]:
            yield self.greeted
            peer.end()

        peer = Peer(lambda peer: peer.say(b"220 ready\r\n"))
        self.addCleanup(peer.end)
        selector = selectors.DefaultSelector()
        self.addCleanup(selector.close)
        client = load.Connection(peer.address, selector, load.trusting())
        self.addCleanup(client.close)
        self.assertTrue(client.start(script(peer)))
        while selector.get_map():
            for key, events in selector.select():
                self.assertIs(key.data, client)
                client.ready(events)
        with self.assertRaisesRegex(CheckFailed, "closed the connection"):
            client.start([Step(b"NOOP\r\n", (b"250",))])

    def test_hasty(self) -> None:
        """
        A reply to what has not been sent yet.
        """

        def act(peer: Peer) -> None:
            peer.say(b"220 ready\r\n")
            peer.take(1)
            peer.say(b"250 OK\r\n")
            # Or the reply may be lost when the connection is closed.
            peer.take(200 * MIB)

        octets = bytes(100 * MIB)
        with self.assertRaisesRegex(CheckFailed, "did not wait"):
            self.play(act, [self.greeted, Step(octets, (b"250",))])

    def test_silent(self) -> None:
        self.patch(load, "STALL", 0.01)
        ended = threading.Event()
        self.addCleanup(ended.set)
        with self.assertRaisesRegex(CheckFailed, r"no reply in 0\.01 seconds"):
            try:
                self.play(lambda peer: void(ended.wait()), [self.greeted])
            finally:
                ended.set()

    def test_refused(self) -> None:
        """
        Nothing is left open if nobody listens.
        """
        with socket.create_server(("127.0.0.1", 0)) as nobody:
            address = nobody.getsockname()
        with Load(address, 1) as clients, self.assertRaises(ConnectionRefusedError):
            clients.play([[self.greeted]])

    def test_no_tls(self) -> None:
        def act(peer: Peer) -> None:
            peer.say(b"220 ready\r\n")
            peer.take(1)
            peer.say(b"what?\r\n")

        with self.assertRaises(OSError):
            self.play(act, [self.greeted, Step(b"NOOP\r\n", (b"250",), secure=True)])

    def test_tls(self) -> None:
        """
        A handshake that cannot go on at once, and replies in records of their own.
        """
        shake_hands = ssl.SSLSocket.do_handshake
        obstacles = [ssl.SSLWantWriteError()]

        def hesitate(connection: ssl.SSLSocket, block: bool = False) -> None:
            if obstacles and not connection.server_side:
                raise obstacles.pop(0)
            shake_hands(connection, block)

        self.patch(ssl.SSLSocket, "do_handshake", hesitate)
        os.mkdir(directory := self.mktemp())
        with place.place(None, directory) as where:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(where.certificate)

        def act(peer: Peer) -> None:
            peer.say(b"220 ready\r\n")
            peer.socket = context.wrap_socket(peer.socket, server_side=True)
            peer.take(6)
            peer.say(b"250 OK\r\n")
            peer.say(b"250 OK\r\n")

        secure = Step(b"RSET\r\n", (b"250", b"250"), secure=True)
        self.assertEqual(self.play(act, [self.greeted, secure]), b"RSET\r\n")
        self.assertEqual(obstacles, [])

    def test_full(self) -> None:
        """
        A socket that is not as ready as the selector has said.
        """

        class Full(socket.socket):
            room = False

            def send(self, data: Any, flags: int = 0) -> int:
                if not self.room:
                    raise BlockingIOError
                return super().send(data, flags)

        selector = selectors.DefaultSelector()
        self.addCleanup(selector.close)
        ours, theirs = socket.socketpair()
        self.addCleanup(theirs.close)
        full = Full(fileno=ours.detach())
        client = load.Connection(("", 0), selector, load.trusting())
        self.addCleanup(client.close)
        client._adopt(full)
        client.start([Step(b"NOOP\r\n", (b"250",))])
        ((key, _),) = selector.select()
        self.assertEqual(key.events, selectors.EVENT_READ | selectors.EVENT_WRITE)
        full.room = True
        self.assertFalse(client.ready(selectors.EVENT_WRITE))
        self.assertEqual(theirs.recv(10), b"NOOP\r\n")
        self.assertEqual(selector.get_key(full).events, selectors.EVENT_READ)

    def test_spurious(self) -> None:
        """
        Nothing to read although the selector has said so.
        """
        selector = selectors.DefaultSelector()
        self.addCleanup(selector.close)
        peer = Peer(lambda peer: peer.take(1))
        self.addCleanup(peer.end)
        client = load.Connection(peer.address, selector, load.trusting())
        self.addCleanup(client.close)
        client.start([self.greeted])
        self.assertFalse(client.ready(selectors.EVENT_READ))


def void(result: object) -> None:
    """
    For a lambda that must not return anything.
    """


class WorkloadTests(SynchronousTestCase):
    """
    What the servers are given to do.
    """

    def test_content(self) -> None:
        """
        It has the length that it says, ends a line, and needs no dot-stuffing.
        """
        for octets in range(900, 1100):
            for width in (10, 76):
                made = content(octets, width)
                self.assertEqual(len(made), octets)
                self.assertEqual(made[-2:], b"\r\n")
                self.assertNotIn(b"\r\n.", made)
                self.assertEqual(made.count(b"\n"), made.count(b"\r\n"))

    def test_same_messages(self) -> None:
        """
        Lock-step and pipelined, the same octets are sent and the same replies wanted.
        """
        slow, fast = LockStep().script(3, 5), Pipelined().script(3, 5)
        self.assertEqual(sent(slow), sent(fast))
        self.assertEqual([c for s in slow for c in s.codes], [c for s in fast for c in s.codes])
        self.assertEqual((len(slow), len(fast)), (20, 6))

    def test_waits_for_go_ahead(self) -> None:
        """
        DATA ends a group (RFC 2920 section 3.1).
        """
        for workload in (Pipelined(), LocalDelivery()):
            for step in workload.script(0, 3)[:-1]:
                self.assertTrue(step.send.endswith(b"\r\nDATA\r\n"))
                self.assertEqual(step.codes[-1], b"354")

    def test_check(self) -> None:
        """
        The server must have counted each message, and all of it.
        """
        for workload in (LockStep(), Pipelined(), NewConnections(), LocalDelivery()):
            scripts = [workload.script(client, 4) for client in range(2)]
            self.assertEqual(workload.sent(scripts), 8)
            workload.check("floor", Mark(1.0, 8, 8192), 8)
            for wrong in (Mark(1.0, 7, 8192), Mark(1.0, 8, 8191)):
                with self.assertRaisesRegex(CheckFailed, "8 messages of 1024 octets"):
                    workload.check("floor", wrong, 8)

    def test_opening(self) -> None:
        self.assertEqual(LockStep.opening[0], Step(b"", (b"220",), connect=True))

    def test_names(self) -> None:
        names = "W1 W2 W3 W4 W4b W4c W5 W6 W6b W7 W7t W8 W9 W10 W11"
        self.assertEqual(list(WORKLOADS), names.split())
        for name, kind in WORKLOADS.items():
            self.assertEqual(kind.name, name)
            self.assertTrue(kind.goals)

    def test_servers(self) -> None:
        for kind, names in (
            (LockStep, ["txsmtpd", "floor"]),
            (Chunked, ["txsmtpd"]),
            (Durable, ["txsmtpd", DISK]),
        ):
            self.assertEqual(kind().names(["txsmtpd", "floor"]), names)
        self.assertEqual(Durable().names(["floor"]), [])

    def test_number(self) -> None:
        """
        Who takes long gets fewer messages, but everybody one.
        """
        for kind, names, number in (
            (LockStep, ("txsmtpd", "aiosmtpd"), 150),
            (Bulk, ("txsmtpd", "floor"), 12),
            (Bulk, ("aiosmtpd", "aiosmtpd-uvloop"), 1),
        ):
            for name in names:
                self.assertEqual(kind().each(name, 3000), number)
        self.assertEqual(Bulk().each("txsmtpd", 1), 1)

    def test_new_connections(self) -> None:
        steps = NewConnections().script(0, 2)
        self.assertEqual([step.connect for step in steps].count(True), 2)
        self.assertEqual(sent(steps).count(b"QUIT\r\n"), 2)

    def test_secure(self) -> None:
        """
        Nothing but EHLO and STARTTLS is said before the handshake.
        """
        steps = SecureConnections().script(0, 2)
        self.assertEqual(tuple(steps[:4]), SECURE_OPENING)
        for kind in (SecureConnections, Encrypted, SecureIdle):
            self.assertTrue(kind.tls)
        for kind in (Encrypted, SecureIdle):
            self.assertEqual(kind.opening, SECURE_OPENING)

    def test_recipients(self) -> None:
        steps = ManyRecipients().script(1, 2)
        self.assertEqual(len(steps), 4)
        self.assertEqual(sent(steps).count(b"RCPT TO:<recipient.1.0.99@"), 1)
        self.assertEqual(steps[0].codes.count(b"250"), 101)

    def test_lmtp(self) -> None:
        """
        As many replies to each message as it has recipients (RFC 2033 section 4.2).
        """
        first, second, last = LocalDelivery().script(0, 2)
        self.assertEqual(first.codes, (b"250",) * 6 + (b"354",))
        self.assertEqual(second.codes, (b"250",) * 11 + (b"354",))
        self.assertEqual(last.codes, (b"250",) * 5)

    def test_doubt(self) -> None:
        workload = LockStep()
        self.assertIsNone(workload.doubt("floor", 95, 95))
        self.assertIn("load generator", str(workload.doubt("floor", 50, 95)))
        self.assertIn("something else", str(workload.doubt("floor", 50, 50)))


class BulkTests(SynchronousTestCase):
    """
    Large messages.
    """

    def test_stuffed(self) -> None:
        """
        RFC 5321 section 4.5.2.
        """
        self.assertEqual(stuffed(b".a\r\n.\r\nb.\r\n"), b"..a\r\n..\r\nb.\r\n")
        self.assertEqual(stuffed(b"a\r\n"), b"a\r\n")

    def test_lines(self) -> None:
        for kind, lines in (
            (Bulk, {b"x" * 76}),
            (Stuffed, {b"." + b"x" * 75}),
            (ShortLines, {b"x" * 10}),
        ):
            workload = kind()
            made = workload.content()
            self.assertEqual(len(made), 10 * MIB)
            body = made.partition(b"\r\n\r\n")[2]
            # The last line is what is left.
            self.assertEqual(set(body.split(b"\r\n")[:-2]), lines)
            (last,) = [step for step in workload.script(0, 1) if len(step.send) > MIB]
            self.assertEqual(last.send, stuffed(made) + b".\r\n")

    def test_dots(self) -> None:
        """
        The floor counts those that were stuffed, all others the message.
        """
        workload = Stuffed()
        dots = workload.content().count(b"\r\n.")
        self.assertGreater(dots, 100_000)
        self.assertEqual(workload.counted("txsmtpd"), 10 * MIB)
        self.assertEqual(workload.counted("floor"), 10 * MIB + dots)
        self.assertEqual(Bulk().counted("floor"), 10 * MIB)

    def test_rate(self) -> None:
        one = Sample(0.5, 0, 9.0, 2, 20 * MIB)
        self.assertEqual(RATE.form.format(RATE.of(one)), "40 MiB/s")

    def test_warming(self) -> None:
        warming = Bulk().warming()
        self.assertEqual(len(warming), 4)
        self.assertLess(max(len(step.send) for script in warming for step in script), 2048)

    def test_chunks(self) -> None:
        """
        All of the content, and nothing else.
        """
        workload = Chunked()
        steps = workload.script(0, 2)
        self.assertEqual(workload.sent([steps, steps]), 4)
        rest, body = steps[1].send, b""
        for _ in steps[1].codes:
            line, _, rest = rest.partition(b"\r\n")
            size = int(line.split()[1])
            body, rest = body + rest[:size], rest[size:]
        self.assertEqual(line, b"BDAT 1048576 LAST")
        self.assertTrue(body == workload.content())
        self.assertEqual((len(steps[1].codes), rest), (10, b""))


class FakeLoad:
    """
    Connections that only note what they are told.
    """

    def __init__(self, address: tuple[str, int], connections: int) -> None:
        self.played: list[tuple[Step, ...]] = []
        self.connections = connections

    def play(self, scripts: Sequence[Iterable[Step]]) -> None:
        assert len(scripts) == self.connections
        self.played.extend(map(tuple, scripts))

    def __enter__(self) -> FakeLoad:
        return self

    def __exit__(self, *exception: object) -> None:
        pass


class FakeChild:
    """
    A server that has as much memory as it is told.
    """

    name = "txsmtpd"
    address = ("192.0.2.1", 25)

    def __init__(self, *memory: int) -> None:
        self._memory = iter(memory)

    def memory(self) -> int:
        return next(self._memory)

    def mark(self) -> Mark:
        return Mark(0, 0, 0)


class IdleTests(SynchronousTestCase):
    """
    Memory of idle connections.
    """

    def setUp(self) -> None:
        self.loads: list[FakeLoad] = []
        self.patch(idle, "Load", self.make_load)

    def make_load(self, *arguments: Any) -> FakeLoad:
        self.loads.append(FakeLoad(*arguments))
        return self.loads[-1]

    def run_idle(self, *memory: int) -> Sample:
        server: Any = FakeChild(*memory)
        (found,) = Idle().run(server, 1)
        return found

    def test_memory(self) -> None:
        found = self.run_idle(10 * MIB, 10 * MIB + 5000 * 2560)
        self.assertEqual(MEMORY.form.format(MEMORY.of(found)), "2.5 KiB")
        self.assertEqual(found.messages, 0)

    def test_connections(self) -> None:
        """
        The first come and go; then there are five thousand that stay until all was measured.
        """
        self.run_idle(0, MIB)
        first, *others = self.loads
        self.assertEqual(set(first.played), {(*Idle.opening, *Idle.closing)})
        self.assertEqual(sum(each.connections for each in others), 5000)
        for each in others:
            self.assertEqual(each.played, [Idle.opening] * 20 + [Idle.closing] * 20)

    def test_nothing(self) -> None:
        with self.assertRaisesRegex(CheckFailed, "5000 connections took -1 octets"):
            self.run_idle(1, 0)

    def test_obstacles(self) -> None:
        self.patch(idle, "STATUS", Path(self.mktemp()))
        self.assertIn("there is no", str(Idle().obstacle()))
        self.patch(idle, "STATUS", Path(__file__))
        self.patch(idle, "allow_files", lambda count: False)
        self.assertIn("W7t is not measured: it wants 5500", str(SecureIdle().obstacle()))
        self.patch(idle, "allow_files", lambda count: True)
        self.assertIsNone(Idle().obstacle())
        self.assertIsNone(LockStep().obstacle())

    def test_no_doubt(self) -> None:
        workload: Workload = Idle()
        self.assertIsNone(workload.doubt("floor", 1, 1))


class DisturbedTests(SynchronousTestCase):
    """
    Small messages beside large ones.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.race = Race(2, 10, end(1024), end(2048), self.clock.seconds)

    def send(self, client: int, *seconds: float) -> None:
        """
        :param seconds: what each step takes.
        """
        script = iter(self.race.send_small(client))
        next(script)
        for each in seconds:
            self.clock.advance(each)
            next(script, None)

    def test_delays(self) -> None:
        """
        From the first octet of a message to the last reply to it.
        """
        self.send(0, 1, 2, 3, 1, 1, 1, 1, 1)
        self.assertEqual(self.race.delays, [7, 4])

    def test_end(self) -> None:
        """
        The last small message ends the race, and the large one that is on its way is sent.
        """
        large = iter(self.race.send_large(2))
        self.assertEqual(len([next(large) for _ in range(5)]), 5)
        self.assertEqual(self.race.large, 1)
        self.send(0, 1, 1, 1, 9)
        self.send(1, 0, 0, 0, 10)
        self.assertEqual(len([*large]), 3)
        self.assertEqual((self.race.delays, self.race.large), ([12, 10], 2))

    def test_check(self) -> None:
        self.race.delays = [1.0, 1.0, 1.0]
        self.race.large = 2
        self.race.check(Mark(1.0, 5, 3 * 1024 + 2 * 2048))
        for wrong in (Mark(1.0, 4, 3 * 1024 + 2 * 2048), Mark(1.0, 5, 3 * 1024)):
            with self.assertRaisesRegex(CheckFailed, "3 small and 2 large messages"):
                self.race.check(wrong)

    def test_p99(self) -> None:
        self.assertEqual(p99([float(number) for number in range(101)]), 99)
        self.assertEqual(P99.form.format(P99.of(Sample(1, 1, 1, p99=0.0125))), "12.5 ms")

    def test_script(self) -> None:
        self.assertEqual(Disturbed().script(0, 2), LockStep().script(0, 2))


class DurableTests(SynchronousTestCase):
    """
    The disk beside which a Maildir is measured.
    """

    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.directory.mkdir()

    def test_writers(self) -> None:
        done = Writers(str(self.directory), 3, 2, b"data").run()
        self.assertEqual((done.messages, done.octets), (6, 24))
        files = sorted((self.directory / "new").iterdir())
        names = ["0.0", "0.1", "1.0", "1.1", "2.0", "2.1"]
        self.assertEqual([file.name for file in files], names)
        self.assertEqual({file.read_bytes() for file in files}, {b"data"})
        self.assertEqual(stat.S_IMODE(files[0].stat().st_mode), 0o600)
        self.assertEqual([*(self.directory / "tmp").iterdir()], [])

    def test_order(self) -> None:
        """
        A file is on the disk before it has its name.
        """
        did: list[str] = []

        def noting(name: str) -> None:
            real = getattr(os, name)

            def do(*arguments: Any) -> None:
                did.append(name)
                real(*arguments)

            self.patch(os, name, do)

        noting("fsync")
        noting("rename")
        Writers(str(self.directory), 1, 2, b"data").run()
        self.assertEqual(did, ["fsync", "rename", "fsync", "rename"])

    def test_failure(self) -> None:
        def full(fd: int) -> None:
            raise OSError(28, "No space left on device")

        self.patch(os, "fsync", full)
        with self.assertRaisesRegex(OSError, "No space left"):
            Writers(str(self.directory), 2, 2, b"data").run()

    def test_check(self) -> None:
        new = self.directory / "new"
        new.mkdir()
        (new / "1").write_bytes(b"Received: x\r\nbody\r\n")
        (new / "2").write_bytes(b"body\r\n")
        check_maildir(str(self.directory), 2, b"body\r\n")
        with self.assertRaisesRegex(CheckFailed, "of 3 messages there are 2, and 2 are whole"):
            check_maildir(str(self.directory), 3, b"body\r\n")
        (new / "2").write_bytes(b"bo")
        with self.assertRaisesRegex(CheckFailed, "of 2 messages there are 2, and 1 are whole"):
            check_maildir(str(self.directory), 2, b"body\r\n")

    def test_rate(self) -> None:
        self.assertEqual(durable.RATE.form.format(durable.RATE.of(sample(1, wall=0.5))), "2000/s")

    def test_doubt(self) -> None:
        """
        A disk that keeps its core busy was not the limit.
        """
        workload = Durable()
        self.assertIn("no measure of the disk", str(workload.doubt(DISK, 95, 0)))
        self.assertIsNone(workload.doubt(DISK, 50, 0))
        self.assertIsNone(workload.doubt("txsmtpd", 50, 50))


class ServerTests(SynchronousTestCase):
    """
    The servers that are measured, in memory.
    """

    def setUp(self) -> None:
        self.tally = Tally()
        with ExitStack() as stack:
            self.place = stack.enter_context(place.place(None, self.temporary()))
            self.addCleanup(stack.pop_all().close)

    def temporary(self) -> str:
        path: str = self.mktemp()
        os.mkdir(path)
        return path

    def floor(self, setup: Setup) -> tuple[Any, StringTransport]:
        protocol: Any = floor.FloorFactory(setup, self.tally).buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        transport.clear()
        return protocol, transport

    def codes(self, transport: StringTransport) -> list[bytes]:
        lines = transport.value().splitlines()
        transport.clear()
        return [line[:3] for line in lines if line[3:4] == b" "]

    def test_floor(self) -> None:
        protocol, transport = self.floor(Setup())
        message = b"Subject: x\r\n\r\nbody\r\n"
        said = b"MAIL FROM:<>\r\nRCPT TO:<a>\r\nDATA\r\n" + message + b".\r\n"
        protocol.dataReceived(b"EHLO a\r\n" + said + said)
        self.assertEqual(self.codes(transport), [b"250"] + [b"250", b"250", b"354", b"250"] * 2)
        self.assertEqual(self.tally, Tally(2, 2 * len(message)))
        protocol.dataReceived(b"QUIT\r\n")
        self.assertEqual(self.codes(transport), [b"221"])
        self.assertTrue(transport.disconnecting)

    def test_floor_anywhere_cut(self) -> None:
        """
        It finds the end of content wherever a segment ends, and leaves dots alone.
        """
        message = b"a\r\n..\r\n..b\r\n"
        for size in range(1, 20):
            self.tally = Tally()
            protocol, transport = self.floor(Setup())
            said = b"DATA\r\n" + message + b".\r\nEHLO a\r\n"
            for at in range(0, len(said), size):
                protocol.dataReceived(said[at : at + size])
            self.assertEqual(self.codes(transport), [b"354", b"250", b"250"])
            self.assertEqual(self.tally, Tally(1, len(message)))

    def test_floor_lmtp(self) -> None:
        protocol, transport = self.floor(Setup(lmtp=True))
        group = b"MAIL FROM:<>\r\nRCPT TO:<a>\r\nRCPT TO:<b>\r\nDATA\r\n"
        protocol.dataReceived(b"LHLO a\r\n" + group)
        transport.clear()
        for _ in range(2):
            protocol.dataReceived(
                b"x\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<a>\r\nRCPT TO:<b>\r\nDATA\r\n"
            )
            codes = [b"250"] * 5 + [b"354"]
            self.assertEqual(self.codes(transport), codes)

    def test_floor_tls(self) -> None:
        protocol, transport = self.floor(Setup(self.place.certificate))
        contexts: list[Any] = []
        transport.startTLS = contexts.append  # type: ignore[attr-defined]
        protocol.dataReceived(b"EHLO a\r\n")
        self.assertEqual(contexts, [])
        protocol.dataReceived(b"STARTTLS\r\n")
        self.assertEqual(contexts, [protocol.factory.context])
        self.assertEqual(self.codes(transport), [b"250", b"220"])

    def test_ours(self) -> None:
        client = connect(ours.make_factory(Setup(), self.tally, Clock()))
        client.send(sent([*LockStep.opening, *LockStep().script(0, 1)]))
        self.assertEqual(self.tally, Tally(1, 1024))
        self.assertNotIn(b"STARTTLS", client.take())

    def test_ours_gives_up(self) -> None:
        """
        A message that does not end is not counted.
        """
        client = connect(ours.make_factory(Setup(), self.tally, Clock()))
        client.send(sent([*LockStep.opening, *LockStep().script(0, 1)])[:-3])
        client.disconnect()
        self.assertEqual(self.tally.messages, 0)

    def test_ours_tls(self) -> None:
        factory = ours.make_factory(Setup(self.place.certificate), self.tally, Clock())
        client = connect(factory)
        client.send(b"EHLO a\r\n")
        self.assertIn(b"250-STARTTLS\r\n", client.take())

    def test_ours_lmtp(self) -> None:
        client = connect(ours.make_factory(Setup(lmtp=True), self.tally, Clock()))
        client.send(sent([*LocalDelivery.opening, *LocalDelivery().script(0, 1)]))
        self.assertEqual(client.take().count(b"\r\n250 2.0.0"), 5)
        self.assertEqual(self.tally, Tally(1, 1024))

    def test_ours_maildir(self) -> None:
        directory = self.temporary()
        factory = ours.make_factory(Setup(maildir=directory), self.tally, Clock())
        (handler,) = factory._handlers
        assert isinstance(handler, Maildir)
        self.assertEqual(handler.path, os.path.abspath(directory))
        self.assertTrue(os.path.isdir(os.path.join(directory, "new")))

    @skipIf(servers.missing("aiosmtpd"), "aiosmtpd is not installed")
    def test_aiosmtpd(self) -> None:
        """
        Under LMTP its handler has to say all replies.
        """
        from benchmarks.servers import aio

        @attrs.define
        class Envelope:
            content: bytes = b"content"
            rcpt_tos: tuple[str, ...] = ("a", "b")

        for kind, replies in ((aio.CountingSink, 1), (aio.CountingMailbox, 2)):
            envelope: Any = Envelope()
            nobody: Any = None
            said = kind(self.tally).handle_DATA(nobody, nobody, envelope)
            with self.assertRaises(StopIteration) as ended:
                said.send(None)
            self.assertEqual(ended.exception.value.split("\r\n"), [aio._ACCEPTED] * replies)
        self.assertEqual(self.tally, Tally(2, 14))
        self.assertIsNone(aio.make_context(None))
        self.assertIsNotNone(aio.make_context(self.place.certificate))

    def test_setup(self) -> None:
        setup = Setup("a.pem", True, "Mail")
        self.assertEqual(Setup.from_json(setup.to_json()), setup)
        self.assertEqual(Setup.from_json("{}"), Setup())

    def test_missing(self) -> None:
        self.patch(servers, "find_spec", lambda name: None)
        self.assertIsNone(servers.missing("floor"))
        self.assertTrue(str(servers.missing("aiosmtpd")).endswith("pip install aiosmtpd==1.4.6"))
        self.assertEqual(
            servers.missing("aiosmtpd-uvloop"),
            "aiosmtpd-uvloop is not measured without aiosmtpd and uvloop:"
            " pip install aiosmtpd==1.4.6 uvloop",
        )
        self.patch(servers, "find_spec", lambda name: name)
        self.assertIsNone(servers.missing("aiosmtpd-uvloop"))


class PlaceTests(SynchronousTestCase):
    """
    What a run has.
    """

    def test_place(self) -> None:
        os.mkdir(parent := self.mktemp())
        with place.place(1, parent) as made:
            self.assertEqual(made.core, 1)
            self.assertEqual(os.listdir(made.directory), ["server.pem"])
            self.assertEqual(stat.S_IMODE(os.stat(made.directory).st_mode), 0o700)
            pem = Path(made.certificate).read_text()
            self.assertIn("-----BEGIN CERTIFICATE-----", pem)
            self.assertIn("-----BEGIN PRIVATE KEY-----", pem)
        self.assertEqual(os.listdir(parent), [])

    def test_lasting(self) -> None:
        self.patch(place, "LASTING", self.mktemp())
        self.assertEqual(place.lasting_directory(), tempfile.gettempdir())
        os.mkdir(place.LASTING)
        self.assertEqual(place.lasting_directory(), place.LASTING)

    def test_files(self) -> None:
        import resource

        asked: list[tuple[int, int]] = []
        self.patch(resource, "setrlimit", lambda kind, limits: asked.append(limits))
        for limits, count, allowed, raised in (
            ((1024, 4096), 1024, True, []),
            ((1024, 4096), 2000, True, [(2000, 4096)]),
            ((1024, 4096), 5000, False, []),
            ((1024, resource.RLIM_INFINITY), 5000, True, [(5000, resource.RLIM_INFINITY)]),
            ((resource.RLIM_INFINITY, resource.RLIM_INFINITY), 5000, True, []),
        ):
            asked.clear()
            self.patch(resource, "getrlimit", lambda kind, limits=limits: limits)
            self.assertEqual(place.allow_files(count), allowed)
            self.assertEqual(asked, raised)

    def test_no_limits(self) -> None:
        """
        Where there is no such module, nothing is promised.
        """
        with mock.patch.dict(sys.modules, {"resource": None}):
            self.assertFalse(place.allow_files(1))

    def test_cores(self) -> None:
        self.patch(os, "sched_getaffinity", lambda process: {3, 5, 7})
        self.assertEqual(child.cores(), (7, 3))
        self.patch(os, "sched_getaffinity", lambda process: {3})
        self.assertIsNone(child.cores())
        self.patch(child, "os", object())
        self.assertIsNone(child.cores())

    def test_on_core(self) -> None:
        """
        For a while only, also if that fails.
        """
        asked: list[set[int]] = []
        self.patch(os, "sched_getaffinity", lambda process: {3, 5})
        self.patch(os, "sched_setaffinity", lambda process, cores: asked.append(cores))
        with child.on_core(None):
            self.assertEqual(asked, [])
        with self.assertRaises(ZeroDivisionError), child.on_core(5):
            self.assertEqual(asked, [{5}])
            raise ZeroDivisionError
        self.assertEqual(asked, [{5}, {3, 5}])

    @skipIf(WITHOUT_RSS, "there is no /proc")
    def test_resident(self) -> None:
        self.assertGreater(serve.resident(), MIB)
        path = Path(self.mktemp())
        path.write_text("Name:\tx\nVmRSS:\t    2048 kB\nThreads:\t1\n")
        self.patch(serve, "STATUS", path)
        self.assertEqual(serve.resident(), 2 * MIB)


class CompareTests(SynchronousTestCase):
    """
    Ratios and goals.
    """

    def test_mark(self) -> None:
        self.assertEqual(Mark(3.0, 20, 200) - Mark(1.0, 5, 50), Mark(2.0, 15, 150))

    def test_ratio(self) -> None:
        """
        It is taken within each round, and then the median of the rounds.
        """
        ratio = Ratio.of([1.0, 20.0, 3.0], [2.0, 10.0, 3.0])
        self.assertEqual(ratio, Ratio(1.0, 0.5, 2.0))
        self.assertEqual(str(ratio), "1.00 (0.50 to 2.00)")

    def test_rotated(self) -> None:
        turns = ["".join(rotated("abc", turn)) for turn in range(4)]
        self.assertEqual(turns, ["abc", "bca", "cab", "abc"])

    def test_goal(self) -> None:
        less, more = Goal("floor", 2.5), Goal("aiosmtpd", 20, at_least=True)
        self.assertEqual([less.met(2.5), less.met(2.51)], [True, False])
        self.assertEqual([more.met(20), more.met(19.9)], [True, False])
        self.assertEqual([str(less), str(more)], ["at most 2.5", "at least 20"])
        self.assertEqual(str(Goal("floor", 1 / 1.4, at_least=True)), "at least 0.714")

    def test_named(self) -> None:
        for goal, name in (
            (Goal("floor", 1), "CPU per message, of floor's"),
            (Goal(None, 1), "CPU per message"),
            (Goal("txsmtpd", 1, workload="W4"), "CPU per message, of txsmtpd's in W4"),
        ):
            self.assertEqual(goal.named(CPU), name)

    def test_reached(self) -> None:
        """
        By itself, beside another server, beside ourselves in another workload, or not at all.
        """
        one = Results(LockStep(), {"txsmtpd": [sample(0.5)] * 3, "floor": [sample(0.25)] * 3})
        two = Results(Pipelined(), {"txsmtpd": [sample(0.1)] * 3})
        others = Results(Pipelined(), {"floor": [sample(0.1)] * 3})
        both = [one, two]
        for goal, result, value in (
            (Goal(None, 1), one, 500),
            (Goal("floor", 1), one, 2),
            (Goal("aiosmtpd", 1), one, None),
            (Goal("txsmtpd", 1, workload="W2"), two, 0.2),
            (Goal("txsmtpd", 1, workload="W4"), two, None),
            (Goal(None, 1), others, None),
        ):
            found = reached(goal, result, both)
            if value is None:
                self.assertIsNone(found)
            else:
                assert found is not None
                self.assertAlmostEqual(found, value)

    def test_measure(self) -> None:
        self.assertEqual(CPU.form.format(CPU.of(sample(0.25))), "250 µs")

    def test_sum(self) -> None:
        """
        Parts are one measurement in all.
        """
        one, two = Sample(1, 2, 3, 4, 5, 6, 7), Sample(10, 20, 30, 40, 50)
        self.assertEqual(one + two, Sample(11, 22, 33, 44, 55, 6, 7))

    def test_parts(self) -> None:
        for whole, most, expected in (
            (20, 4, [5, 5, 5, 5]),
            (10, 4, [2, 2, 3, 3]),
            (3, 4, [1, 1, 1]),
            (1, 1, [1]),
        ):
            self.assertEqual(parts(whole, most), expected)

    def test_rounds(self) -> None:
        """
        Each round has every server of every workload, and each begins with another one.  The
        servers have their turns until the last has ended.
        """
        seen: list[str] = []

        class Two(LockStep):
            def samples(self, name: str, messages: int, place: Place) -> Any:
                for number in range(1 if name == "slow" else 2):
                    seen.append(f"{name} {number}")
                    yield sample(1)
                seen.append(f"{name} ends")

        said: list[str] = []
        where = Place(None, "", "")
        names = ["a", "slow"]
        (result,) = measure([Two()], names, where, rounds=2, messages=1, progress=said.append)
        first = ["a 0", "slow 0", "slow ends", "a 1", "a ends"]
        self.assertEqual(seen, [*first, "slow 0", "a 0", "a 1", "slow ends", "a ends"])
        self.assertEqual(said, ["round 1 of 2: W2", "round 2 of 2: W2"])
        self.assertEqual(result.samples["slow"], [sample(1)] * 2)
        self.assertEqual([each.cpu for each in result.samples["a"]], [2, 2])
        self.assertIsNone(result.failure)

    def test_failure(self) -> None:
        """
        A workload that failed is over, and its servers end; the others are not.
        """
        seen: list[str] = []

        class Bad(LockStep):
            def samples(self, name: str, messages: int, place: Place) -> Any:
                try:
                    yield sample(1)
                    if name == "b":
                        raise CheckFailed("wanted 250, got 451")
                    yield sample(1)
                finally:
                    seen.append(f"bad {name}")

        class Good(Pipelined):
            def samples(self, name: str, messages: int, place: Place) -> Any:
                seen.append(f"good {name}")
                yield sample(1)

        where = Place(None, "", "")
        bad, good = measure([Bad(), Good()], ["a", "b"], where, rounds=2, messages=1, progress=void)
        self.assertEqual(seen, ["bad b", "bad a", "good a", "good b", "good b", "good a"])
        self.assertEqual(bad.failure, "W2 on b: wanted 250, got 451")
        self.assertIsNone(good.failure)


class RunTests(SynchronousTestCase):
    """
    Real servers, each in a process of its own, with a few messages.
    """

    def setUp(self) -> None:
        os.mkdir(directory := self.mktemp())
        core, _ = child.cores() or (None, None)
        with ExitStack() as stack:
            self.place = stack.enter_context(place.place(core, os.path.abspath(directory)))
            self.addCleanup(stack.pop_all().close)

    def measured(self, workload: Workload, *names: str) -> dict[str, list[Sample]]:
        (result,) = measure([workload], names, self.place, rounds=1, messages=40, progress=void)
        self.assertIsNone(result.failure)
        return result.samples

    def test_kept(self) -> None:
        (one,) = self.measured(LockStep(), "floor")["floor"]
        self.assertEqual((one.messages, one.octets), (40, 40960))
        self.assertGreater(min(one.cpu, one.client, one.wall), 0)

    def test_tls(self) -> None:
        samples = self.measured(small(SecureConnections, clients=2, share=0.1), "floor", "txsmtpd")
        self.assertEqual([one.messages for (one,) in samples.values()], [4, 4])

    def test_lmtp(self) -> None:
        samples = self.measured(LocalDelivery(), "floor", "txsmtpd")
        self.assertEqual([one.messages for (one,) in samples.values()], [40, 40])

    def test_stuffed(self) -> None:
        """
        Each server counts in its own way, and the report is about the same octets.
        """
        samples = self.measured(small(Stuffed, octets=MIB, warm_up=1), "floor", "txsmtpd")
        self.assertEqual([one.octets for (one,) in samples.values()], [4 * MIB, 4 * MIB])

    def test_chunked(self) -> None:
        workload = small(Chunked, octets=2 * MIB + 5, warm_up=1)
        ((one,),) = self.measured(workload, "txsmtpd").values()
        self.assertEqual(one.messages, 4)

    def test_disturbed(self) -> None:
        ((one,),) = self.measured(small(Disturbed, huge=MIB), "floor").values()
        self.assertGreater(one.p99, 0)

    def test_durable(self) -> None:
        samples = self.measured(small(Durable, clients=2, warm_up=1), "txsmtpd")
        self.assertEqual([one.messages for (one,) in samples.values()], [40, 40])
        self.assertEqual(list(samples), ["txsmtpd", DISK])
        # What was written is there until the run ends.
        written = [*Path(self.place.directory).glob("*/new/*")]
        self.assertEqual(len(written), 40 + 2 + 40)

    @skipUnless(hasattr(os, "sched_getaffinity"), "cores cannot be told apart")
    def test_core_of_the_disk(self) -> None:
        """
        Those that are measured next do not find us there.
        """
        usual = os.sched_getaffinity(0)
        samples = small(Durable, clients=1).samples(DISK, 1, self.place)
        self.addCleanup(samples.close)
        next(samples)
        self.assertEqual(os.sched_getaffinity(0), usual)

    def test_wrong_count(self) -> None:
        (result,) = measure(
            [small(LockStep, octets=1024, counted=lambda self, server: 1025)],
            ["floor"],
            self.place,
            rounds=1,
            messages=40,
            progress=void,
        )
        self.assertIn("40 messages of 1025 octets were sent", str(result.failure))

    @skipIf(WITHOUT_RSS, "there is no /proc")
    def test_memory(self) -> None:
        with Child("floor", Setup(), None) as server:
            self.assertGreater(server.memory(), MIB)
            self.assertEqual(server.mark().messages, 0)

    def test_no_server(self) -> None:
        """
        One that does not start, and says why on its standard error.
        """
        with open(self.mktemp(), "wb") as errors:
            self.patch(subprocess, "Popen", quiet(subprocess.Popen, errors))
            with self.assertRaisesRegex(CheckFailed, "floor ended by itself"):
                Child("floor", Setup("/nonexistent"), None)

    def test_silent_server(self) -> None:
        self.patch(child, "PATIENCE", 0)
        with self.assertRaisesRegex(CheckFailed, "floor is silent"):
            Child("floor", Setup(), None)

    def test_dead_server(self) -> None:
        with Child("floor", Setup(), None) as server:
            server._process.kill()
            server._process.wait()
            with self.assertRaisesRegex(CheckFailed, "floor ended by itself"):
                server.mark()


def quiet(popen: Any, errors: Any) -> Callable[..., Any]:
    def start(*arguments: Any, **options: Any) -> Any:
        return popen(*arguments, stderr=errors, **options)

    return start


class LoginsTests(SynchronousTestCase):
    """
    Two distributions of times, side by side.
    """

    def test_distribution(self) -> None:
        found = logins.Distribution.of([float(number) for number in range(100, -1, -1)])
        self.assertEqual((found.low, found.middle, found.high), (5.0, 50.0, 95.0))
        self.assertEqual(str(logins.Distribution(1e-6, 2.25e-5, 0.003)), "1.0 22.5 3000.0")

    def test_sooner(self) -> None:
        """
        Half of the time where nothing can be told.
        """
        for some, others, probability in (
            ([1.0, 2.0], [3.0], 1.0),
            ([3.0], [1.0, 2.0], 0.0),
            ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], 0.5),
            ([1.0], [1.0], 0.5),
            ([2.0], [1.0, 2.0, 3.0, 4.0], 0.625),
        ):
            self.assertEqual(logins.sooner(some, others), probability)

    def test_measure(self) -> None:
        """
        Each kind of file can be read, and refuses every attempt.
        """
        for kind in ("plain", "SCRAM"):
            known, unknown = logins.measure(kind, 2)
            self.assertEqual((len(known), len(unknown)), (2, 2))
            self.assertGreater(min(known + unknown), 0)
        self.assertEqual(list(logins.KINDS), ["plain", "SCRAM", "bcrypt", "scrypt", "argon2"])


class ReportTests(SynchronousTestCase):
    """
    The tables.
    """

    def results(self, **cpu: float) -> Results:
        return Results(LockStep(), {name: [sample(c)] * 5 for name, c in cpu.items()})

    def test_table(self) -> None:
        self.assertEqual(
            report.table(["a", "b"], [["1", "2"]]), "| a | b |\n| --- | --- |\n| 1 | 2 |"
        )

    def test_legend(self) -> None:
        self.assertEqual(
            report.legend([self.results(txsmtpd=1)]).splitlines()[2],
            "| W2 | 1 KiB, session kept, lock-step, 20 at once | CPU per message |",
        )

    def test_figures(self) -> None:
        lines = report.figures([self.results(txsmtpd=0.5, aiosmtpd=1.0, floor=0.25)]).splitlines()
        self.assertEqual(
            lines[2],
            "| W2 | txsmtpd | 500 µs | 2.00 (2.00 to 2.00) | 0.50 (0.50 to 0.50) | 500 µs | 1000"
            " | 50 % | 10 % |",
        )
        self.assertEqual(len(lines), 5)

    def test_other_measure(self) -> None:
        """
        CPU time for a message stands there too, where there are messages.
        """
        bulk = Results(Bulk(), {"txsmtpd": [Sample(0.5, 0.1, 1, 10, 100 * MIB)]})
        none = Results(Idle(), {"txsmtpd": [Sample(0.5, 0.1, 1, memory=2048)]})
        self.assertEqual(
            report.figures([bulk, none]).splitlines()[2:],
            [
                "| W4 | txsmtpd | 200 MiB/s |  |  | 50000 µs | 10 | 50 % | 10 % |",
                "| W7 | txsmtpd | 2.0 KiB |  |  |  |  | 50 % | 10 % |",
            ],
        )

    def test_verdicts(self) -> None:
        said = report.verdicts([self.results(txsmtpd=0.5, aiosmtpd=5.0, floor=0.25)])
        self.assertIn("| W2 | CPU per message, of floor's | at most 0.9 | 2.00 | miss |", said)
        self.assertIn("| W2 | CPU per message, of aiosmtpd's | at most 0.15 | 0.10 | PASS |", said)

    def test_nothing_to_compare(self) -> None:
        """
        A server alone has figures, but no ratios and no verdict.
        """
        alone = [self.results(txsmtpd=0.5)]
        self.assertIn("500 µs |  |  | 500 µs | 1000", report.figures(alone))
        self.assertEqual(report.verdicts(alone), "")
        self.assertEqual(report.verdicts([self.results(aiosmtpd=1.0, floor=0.25)]), "")

    def test_doubts(self) -> None:
        """
        A server that was kept waiting, by us or by others: once for each reason.
        """
        waiting, ours, fine = sample(0.5), sample(0.5, client=0.95), sample(0.95)
        results = [
            Results(LockStep(), {"floor": [waiting], "txsmtpd": [fine], "aiosmtpd": [ours]}),
            Results(Pipelined(), {"floor": [waiting]}),
        ]
        so = "so messages/s says little"
        self.assertEqual(
            [*report.doubts(results)],
            [
                f"W2 floor, W3 floor: something else was using the cores, {so}.",
                f"W2 aiosmtpd: the load generator was the bottleneck, {so}.",
            ],
        )

    def test_surroundings(self) -> None:
        self.assertIn("not to be quoted", report.surroundings(4, 100, apart=True))
        self.assertNotIn("not to be quoted", report.surroundings(5, 100, apart=True))
        self.assertIn("NOT kept apart", report.surroundings(5, 100, apart=False))

    def test_unknown_machine(self) -> None:
        """
        Something stands there in any case.
        """

        class Nowhere:
            def __init__(self, path: str) -> None:
                pass

            def read_text(self) -> str:
                raise FileNotFoundError

        self.patch(report, "Path", Nowhere)
        self.patch(platform, "processor", lambda: "")
        self.patch(platform, "machine", lambda: "abacus")
        self.assertTrue(report.surroundings(5, 100, apart=True).startswith("abacus, "))


class CommandTests(SynchronousTestCase):
    """
    ``python -m benchmarks``.
    """

    def setUp(self) -> None:
        self.results: list[Results] = []
        self.asked: dict[str, Any] = {}
        self.patch(command, "cores", lambda: None)
        self.patch(command, "measure", self.measure)
        self.patch(command, "missing", lambda name: None)

    def measure(
        self, workloads: Sequence[Workload], names: Sequence[str], place: Place, **more: Any
    ) -> list[Results]:
        self.asked = {"workloads": [each.name for each in workloads], "servers": names, **more}
        return self.results

    def run_command(self, *arguments: str) -> tuple[str, str]:
        os.mkdir(directory := self.mktemp())
        out, err = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(err):
            try:
                command.main(["--directory", directory, *arguments])
            except SystemExit as ended:
                err.write(f"exit: {ended.code}")
        return out.getvalue(), err.getvalue()

    def test_default(self) -> None:
        self.patch(Idle, "obstacle", lambda self: None)
        self.run_command()
        self.assertEqual(self.asked["workloads"], list(WORKLOADS))
        self.assertEqual(self.asked["servers"], list(servers.MODULES))
        self.assertEqual((self.asked["rounds"], self.asked["messages"]), (5, 3000))

    def test_chosen(self) -> None:
        self.run_command(
            *["--workload", "W3", "--workload", "W3", "--server", "floor", "--rounds", "1"]
        )
        self.assertEqual(self.asked["workloads"], ["W3"])
        self.assertEqual(self.asked["servers"], ["floor"])

    def test_tables(self) -> None:
        self.results = [Results(LockStep(), {"txsmtpd": [sample(0.5)], "floor": [sample(1)]})]
        out, err = self.run_command("--rounds", "1")
        self.assertIn("3000 messages in W1, medians of 1 interleaved", out)
        self.assertIn("| W2 | txsmtpd | 500 µs |", out)
        self.assertIn("| W2 | CPU per message, of floor's | at most 0.9 | 0.50 | PASS |", out)
        self.assertIn("W2 txsmtpd: something else", out)
        self.assertEqual(err, "")

    def test_no_verdicts(self) -> None:
        self.results = [Results(LockStep(), {"floor": [sample(1)]})]
        self.assertNotIn("goal", self.run_command()[0])

    def test_failure(self) -> None:
        """
        What has failed is said, has no figures and is no success.
        """
        bad = Results(Pipelined(), {"txsmtpd": [sample(1)]}, "W3 on floor: wanted 250")
        self.results = [Results(LockStep(), {"txsmtpd": [sample(0.5)]}), bad]
        out, err = self.run_command()
        self.assertIn("W2", out)
        self.assertNotIn("W3", out)
        self.assertEqual(err, "exit: benchmark FAILED, no figures: W3 on floor: wanted 250")

    def test_all_failed(self) -> None:
        self.results = [Results(LockStep(), {"txsmtpd": []}, "W2 on txsmtpd: wanted 250")]
        out, err = self.run_command()
        self.assertNotIn("|", out)
        self.assertIn("FAILED", err)

    def test_left_out(self) -> None:
        """
        One sentence for what is missing, and the rest is measured.
        """
        self.patch(command, "missing", lambda name: "get it" if name == "aiosmtpd" else None)
        self.patch(Idle, "obstacle", lambda self: "no memory")
        arguments = "--workload W7 --workload W2 --server aiosmtpd --server floor"
        _, err = self.run_command(*arguments.split())
        self.assertEqual(err, "get it\nno memory\n")
        self.assertEqual(self.asked["workloads"], ["W2"])
        self.assertEqual(self.asked["servers"], ["floor"])

    def test_nothing(self) -> None:
        self.patch(command, "missing", lambda name: "get it")
        self.assertIn("there is nothing to measure", self.run_command()[1])
        self.patch(command, "missing", lambda name: None)
        _, err = self.run_command("--workload", "W9", "--server", "floor")
        self.assertIn("there is nothing to measure", err)

    def test_cores(self) -> None:
        """
        The load generator keeps to its own.
        """
        pinned: list[int] = []
        self.patch(command, "cores", lambda: (7, 3))
        self.patch(command, "pin", pinned.append)
        self.assertIn("a core each", self.run_command()[0])
        self.assertEqual(pinned, [3])

    def test_wrong_options(self) -> None:
        for wrong in (("--rounds", "0"), ("--messages", "x"), ("--directory", "/nonexistent")):
            self.assertIn("exit: 2", self.run_command(*wrong)[1])
