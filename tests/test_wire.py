from __future__ import annotations

import errno
import select
import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IPullProducer, IReadDescriptor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.internet.task import deferLater
from twisted.internet.tcp import Server
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from txsmtpd import SMTP, SMTPFactory, wire
from txsmtpd import factory as factory_module
from txsmtpd.handlers import Sink
from txsmtpd.wire import Readers, Wire, make_wire


class Noting(Protocol):
    """
    Tells the test about its connection.
    """

    factory: Any
    transport: Any

    def connectionMade(self) -> None:
        make_wire(self.transport, self.factory.readers)
        self.received: list[bytes] = []
        self.lost: Deferred[Exception] = Deferred()
        self.factory.made.append(self)
        waiting, self.factory.waiting = self.factory.waiting, Deferred()
        waiting.callback(self)

    def dataReceived(self, data: bytes) -> None:
        self.received.append(data)
        self.factory.received(self, data)

    def connectionLost(self, reason: Any = None) -> None:
        self.lost.callback(reason.value)


class OtherTransportTests(SynchronousTestCase):
    def test_stay_as_they_are(self) -> None:
        transport = StringTransport()
        make_wire(transport, Readers())
        self.assertIs(type(transport), StringTransport)

    def test_no_connection_no_descriptor(self) -> None:
        readers = Readers()
        verifyObject(IReadDescriptor, readers)
        self.assertEqual(readers.fileno(), -1)
        self.assertEqual(readers.logPrefix(), "txsmtpd")


class WireTestCase(TestCase):
    """
    Real connections: their other ends are plain sockets.
    """

    async def listen(self) -> None:
        factory: Any = Factory.forProtocol(Noting)
        self.factory = factory
        self.factory.readers = Readers()
        self.factory.made = []
        self.factory.waiting = Deferred()
        self.factory.received = lambda protocol, data: None
        endpoint: Any = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port = await endpoint.listen(self.factory)
        self.address = ("127.0.0.1", port.getHost().port)
        self.addCleanup(port.stopListening)
        self.addCleanup(self.turn)

    async def connect(self) -> tuple[Any, socket.socket]:
        """
        :return: the server's protocol, and the client.
        """
        made = self.factory.waiting
        client = socket.create_connection(self.address, 10)
        self.addCleanup(client.close)
        return await made, client

    def turn(self) -> Deferred[None]:
        loop: Any = reactor
        return deferLater(loop, 0.01, lambda: None)


class WriteTests(WireTestCase):
    async def connect_one(self) -> Any:
        """
        :return: the transport of the server's side.
        """
        await self.listen()
        #: What went the usual way.
        self.queued: list[bytes] = []
        self.write = Server.write
        self.patch(Server, "write", self._queue)
        protocol, self.client = await self.connect()
        return protocol.transport

    @property
    def _queue(self) -> Any:
        def queue(transport: Any, data: bytes) -> None:
            self.queued.append(data)
            self.write(transport, data)

        return queue

    def read(self, octets: int) -> Deferred[bytes]:
        def all_of_it() -> bytes:
            found = b""
            while len(found) < octets:
                found += self.client.recv(octets - len(found))
            return found

        return deferToThread(all_of_it)

    async def test_at_once(self) -> None:
        transport = await self.connect_one()
        transport.write(b"250 OK\r\n")
        self.assertEqual(self.queued, [])
        # Not a turn of the reactor has passed.
        self.assertEqual(self.client.recv(100), b"250 OK\r\n")

    async def test_behind_what_is_queued(self) -> None:
        transport = await self.connect_one()
        self.write(transport, b"first ")
        transport.write(b"second ")
        transport.write(b"third")
        self.assertEqual(self.queued, [b"second ", b"third"])
        self.assertEqual(await self.read(18), b"first second third")

    async def test_what_the_kernel_does_not_take(self) -> None:
        """
        It is queued, and what comes then is queued behind it.
        """
        transport = await self.connect_one()
        numbers = b"".join(b"%07d\n" % number for number in range(2**20))
        transport.write(numbers)
        transport.write(b"end")
        self.assertEqual(len(self.queued), 2)
        self.assertLess(len(self.queued[0]), len(numbers))
        self.assertEqual(await self.read(len(numbers) + 3), numbers + b"end")

    async def test_pull_producer(self) -> None:
        """
        It is asked for more whenever what it has written has left.
        """
        transport = await self.connect_one()

        @implementer(IPullProducer)
        class Producer:
            left = 3

            def resumeProducing(self) -> None:
                self.left -= 1
                transport.write(b"x")
                if not self.left:
                    transport.unregisterProducer()

            def stopProducing(self) -> None:
                pass

        transport.registerProducer(Producer(), False)
        self.assertEqual(await self.read(3), b"xxx")

    async def test_lost(self) -> None:
        """
        The reactor finds out, as ever.
        """
        transport = await self.connect_one()
        transport.socket.shutdown(socket.SHUT_WR)
        transport.write(b"250 OK\r\n")
        self.assertEqual(self.queued, [b"250 OK\r\n"])
        await transport.protocol.lost

    async def test_closing(self) -> None:
        transport = await self.connect_one()
        transport.loseConnection()
        transport.write(b"x")
        self.assertEqual(self.queued, [b"x"])
        self.assertEqual(await self.read(1), b"x")

    async def test_gone(self) -> None:
        transport = await self.connect_one()
        transport.abortConnection()
        await transport.protocol.lost
        transport.write(b"x")
        self.assertEqual(self.queued, [b"x"])

    async def test_not_in_the_clear(self) -> None:
        """
        A connection that has become one of TLS does its own writing.
        """
        transport = await self.connect_one()
        protocol = transport.protocol
        transport.startTLS(CertificateOptions())
        transport.write(b"z")
        self.assertEqual(self.queued, [b"z"])
        transport.abortConnection()
        await protocol.lost
        # Nothing came before that.
        with self.assertRaises(ConnectionResetError):
            await deferToThread(self.client.recv, 1)

    async def test_at_once_again(self) -> None:
        """
        When what was queued has left.
        """
        transport = await self.connect_one()
        self.write(transport, b"first ")
        self.assertEqual(await self.read(6), b"first ")
        # The reactor asks once more whether there is room.
        while transport in reactor.getWriters():
            await self.turn()
        transport.write(b"second")
        self.assertEqual(self.queued, [])
        self.assertEqual(self.client.recv(100), b"second")


class ReadTests(WireTestCase):
    def readers_of_the_reactor(self) -> list[Any]:
        loop: Any = reactor
        return [each for each in loop.getReaders() if isinstance(each, (Readers, Wire))]

    async def received(self, protocol: Any, data: bytes) -> None:
        """
        Wait until that has come.
        """
        while b"".join(protocol.received) != data:
            await self.turn()

    async def test_in_common(self) -> None:
        """
        All connections are one reader, which is there as long as there are some.
        """
        await self.listen()
        self.assertEqual(self.readers_of_the_reactor(), [])
        one, client = await self.connect()
        other, another = await self.connect()
        self.assertIs(type(one.transport), Wire)
        self.assertEqual(self.readers_of_the_reactor(), [self.factory.readers])
        client.sendall(b"one")
        another.sendall(b"other")
        await self.received(one, b"one")
        await self.received(other, b"other")
        client.close()
        reason = await one.lost
        self.assertIsInstance(reason, ConnectionDone)
        another.sendall(b"!")
        await self.received(other, b"other!")
        another.close()
        await other.lost
        self.assertEqual(self.readers_of_the_reactor(), [])

    async def test_again(self) -> None:
        """
        When the last has gone, another may come.
        """
        await self.listen()
        for _ in range(2):
            protocol, client = await self.connect()
            client.sendall(b"x")
            await self.received(protocol, b"x")
            client.close()
            await protocol.lost

    async def test_paused(self) -> None:
        await self.listen()
        protocol, client = await self.connect()
        protocol.transport.pauseProducing()
        protocol.transport.pauseProducing()
        client.sendall(b"x")
        await self.turn()
        self.assertEqual(protocol.received, [])
        protocol.transport.resumeProducing()
        protocol.transport.resumeProducing()
        await self.received(protocol, b"x")

    async def test_closed_by_its_neighbour(self) -> None:
        """
        Both were readable when the reactor looked.
        """
        await self.listen()
        protocols = []
        clients = []
        for _ in range(2):
            protocol, client = await self.connect()
            protocols.append(protocol)
            clients.append(client)

        def close_the_other(protocol: Any, data: bytes) -> None:
            other = protocols[1 - protocols.index(protocol)]
            other.transport.connectionLost(Failure(ConnectionLost()))

        self.factory.received = close_the_other
        for client in clients:
            client.sendall(b"x")
        await self.turn()
        self.assertEqual(sorted(len(each.received) for each in protocols), [0, 1])

    async def test_nothing_to_read(self) -> None:
        """
        The kernel may have called for nothing.
        """
        await self.listen()
        protocol, client = await self.connect()
        self.assertIsNone(protocol.transport.doRead())
        client.sendall(b"x")
        await self.received(protocol, b"x")

    async def test_leaves_with_the_turn(self) -> None:
        """
        Who closes with nothing to send does not wait for the reactor.
        """
        await self.listen()
        protocol, client = await self.connect()
        self.patch(Server, "loseConnection", self.fail)
        said: list[str] = []

        def answer(protocol: Any, data: bytes) -> None:
            protocol.transport.write(b"bye")
            protocol.transport.loseConnection()
            # Not in the middle of it.
            said.append("closed" if protocol.lost.called else "still there")

        self.factory.received = answer
        client.sendall(b"QUIT")
        self.assertIsInstance(await protocol.lost, ConnectionDone)
        self.assertEqual(said, ["still there"])
        self.assertEqual(client.recv(100), b"bye")
        self.assertEqual(client.recv(100), b"")

    async def test_says_more_when_leaving(self) -> None:
        """
        What is written behind that is sent first.
        """
        await self.listen()
        protocol, client = await self.connect()

        def answer(protocol: Any, data: bytes) -> None:
            protocol.transport.loseConnection()
            protocol.transport.write(b"bye")

        self.factory.received = answer
        client.sendall(b"QUIT")
        self.assertIsInstance(await protocol.lost, ConnectionDone)
        self.assertEqual(client.recv(100), b"bye")

    async def test_leaves_and_is_aborted(self) -> None:
        """
        It is aborted, and ends once.
        """
        await self.listen()
        protocol, client = await self.connect()

        def answer(protocol: Any, data: bytes) -> None:
            protocol.transport.loseConnection()
            protocol.transport.abortConnection()

        self.factory.received = answer
        client.sendall(b"QUIT")
        self.assertIsInstance(await protocol.lost, ConnectionAborted)
        await self.turn()
        self.assertRaises(ConnectionResetError, client.recv, 1)

    async def test_leaves_though_reading_fails(self) -> None:
        """
        What fails in a turn is nothing that a connection which leaves has to wait for.
        """
        await self.listen()
        protocol, _ = await self.connect()
        epoll = self.factory.readers._epoll

        class Failing:
            def poll(self, timeout: float, most: int) -> list[tuple[int, int]]:
                protocol.transport.loseConnection()
                raise OSError(errno.EBADF, "Bad file descriptor")

            def __getattr__(self, name: str) -> Any:
                return getattr(epoll, name)

        self.factory.readers._epoll = Failing()
        self.assertRaises(OSError, self.factory.readers.doRead)
        self.assertIsInstance(await protocol.lost, ConnectionDone)

    async def test_reset(self) -> None:
        await self.listen()
        protocol, client = await self.connect()
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        client.close()
        reason = await protocol.lost
        self.assertIsInstance(reason, ConnectionLost)

    async def test_protocol_fails(self) -> None:
        """
        What it raises is logged and ends its connection, and no other.
        """
        await self.listen()
        one, client = await self.connect()
        other, another = await self.connect()

        def fail(protocol: Any, data: bytes) -> None:
            if protocol is one:
                raise ZeroDivisionError

        self.factory.received = fail
        client.sendall(b"x")
        another.sendall(b"x")
        reason = await one.lost
        self.assertIsInstance(reason, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        await self.received(other, b"x")
        self.assertFalse(other.lost.called)

    async def test_reactor_ends(self) -> None:
        """
        A reactor that stops tells all that it reads from.
        """
        await self.listen()
        one, _ = await self.connect()
        other, _ = await self.connect()
        self.factory.readers.connectionLost(Failure(ConnectionLost()))
        for protocol in (one, other):
            self.assertIsInstance(await protocol.lost, ConnectionLost)
        self.assertEqual(self.readers_of_the_reactor(), [])

    async def fail_at_the_end(self, clients: int) -> list[Any]:
        """
        Connections that raise something when they are told that they are lost.
        """
        await self.listen()
        found = []
        for _ in range(clients):
            protocol, client = await self.connect()
            protocol.client = client
            protocol.connectionLost = self.fail
            found.append(protocol)
        self.told = 0
        return found

    @property
    def fail(self) -> Any:
        def fail(reason: Failure) -> None:
            self.told += 1
            raise ZeroDivisionError

        return fail

    async def test_protocol_fails_at_its_end(self) -> None:
        """
        It is logged, and neither its neighbours nor those that come later suffer.
        """
        one, other = await self.fail_at_the_end(2)
        one.client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        one.client.close()
        while not self.told:
            await self.turn()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        late, client = await self.connect()
        for protocol, sender in ((other, other.client), (late, client)):
            sender.sendall(b"x")
            await self.received(protocol, b"x")
        self.assertEqual(self.told, 1)
        other.client.close()
        client.close()
        await late.lost
        await self.turn()
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertEqual(self.readers_of_the_reactor(), [])

    async def test_reactor_ends_and_protocols_fail(self) -> None:
        await self.fail_at_the_end(3)
        self.factory.readers.connectionLost(Failure(ConnectionLost()))
        self.assertEqual(self.told, 3)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 3)

    async def test_all_readers_removed(self) -> None:
        """
        As trial does between two tests: whoever comes then is read.
        """
        await self.listen()
        _, client = await self.connect()
        loop: Any = reactor
        loop.removeReader(self.factory.readers)
        protocol, another = await self.connect()
        another.sendall(b"x")
        await self.received(protocol, b"x")
        client.close()
        another.close()

    async def test_no_descriptor_left(self) -> None:
        """
        Then the connection stays as Twisted has made it.
        """

        def none_left() -> None:
            raise OSError(errno.EMFILE, "Too many open files")

        self.patch(select, "epoll", none_left)
        await self.listen()
        protocol, client = await self.connect()
        self.assertIs(type(protocol.transport), Server)
        client.sendall(b"x")
        await self.received(protocol, b"x")

    async def test_no_epoll(self) -> None:
        self.patch(select, "epoll", None)
        del select.epoll
        await self.listen()
        protocol, client = await self.connect()
        self.assertIs(type(protocol.transport), Server)
        client.sendall(b"x")
        await self.received(protocol, b"x")


class TurnTests(WireTestCase):
    """
    What is written while the connections are read.
    """

    async def answer(self, act: Any) -> tuple[Any, socket.socket]:
        """
        Have a connection do something when it receives the first octets.

        :return: the server's protocol, and the client.
        """
        await self.listen()
        protocol, client = await self.connect()
        self.factory.received = lambda protocol, data: act(protocol.transport)
        client.sendall(b"x")
        return protocol, client

    def read(self, client: socket.socket) -> Deferred[bytes]:
        """
        What comes until the server has closed.
        """

        def all_of_it() -> bytes:
            found = []
            while more := client.recv(65536):
                found.append(more)
            return b"".join(found)

        return deferToThread(all_of_it)

    async def test_leaves_when_the_turn_ends(self) -> None:
        """
        In one piece, and behind it what is written later.
        """
        await self.listen()
        protocols, clients = zip(*[await self.connect() for _ in range(2)], strict=True)
        seen: list[bytes] = []

        def answer(protocol: Any, data: bytes) -> None:
            for client in clients:
                client.setblocking(False)
                try:
                    seen.append(client.recv(100))
                except BlockingIOError:
                    seen.append(b"")
            protocol.transport.write(b"250 ")
            protocol.transport.write(b"OK\r\n")

        self.factory.received = answer
        for client in clients:
            client.sendall(b"x")
        await self.turn()
        self.assertEqual(seen, [b""] * 4)
        for protocol, client in zip(protocols, clients, strict=True):
            self.assertEqual(client.recv(100), b"250 OK\r\n")
            protocol.transport.write(b"more")
            self.assertEqual(client.recv(100), b"more")

    async def test_how_long_it_is(self) -> None:
        """
        Of more connections than that the others have the next one.
        """
        self.patch(wire, "A_TURN", 2)
        await self.listen()
        clients = [(await self.connect())[1] for _ in range(5)]
        answered: list[int] = []

        def answer(protocol: Any, data: bytes) -> None:
            answered.append(self.turns)

        def turn() -> Any:
            self.turns += 1
            return read()

        self.turns = 0
        read = self.factory.readers.doRead
        self.factory.readers.doRead = turn
        self.factory.received = answer
        for client in clients:
            client.sendall(b"x")
        while len(answered) < len(clients):
            await self.turn()
        self.assertEqual(answered, [1, 1, 2, 2, 3])

    async def test_bulk(self) -> None:
        """
        Nobody waits for what comes of much that another one has sent.
        """
        await self.listen()
        (_, small), (_, large) = [await self.connect() for _ in range(2)]
        seen: list[bytes] = []

        def answer(protocol: Any, data: bytes) -> None:
            if len(data) > wire.BULK:
                seen.append(small.recv(100))
            protocol.transport.write(b"250 OK\r\n")

        self.factory.received = answer
        small.settimeout(10)
        small.sendall(b"x")
        large.sendall(bytes(wire.BULK + 1))
        await self.turn()
        self.assertEqual(seen, [b"250 OK\r\n"])
        self.assertEqual(await deferToThread(large.recv, 100), b"250 OK\r\n")

    async def test_order(self) -> None:
        """
        Whatever way each of them takes.
        """

        def act(transport: Any) -> None:
            transport.write(b"1 ")
            transport.writeSequence([b"2 ", b"3 "])
            transport.startWriting()
            transport.write(b"4 ")
            transport.loseConnection()

        _protocol, client = await self.answer(act)
        self.assertEqual(await self.read(client), b"1 2 3 4 ")

    async def test_no_octets(self) -> None:
        """
        What is no bytes is refused, as Twisted does.
        """

        def act(transport: Any) -> None:
            for words in ("250 OK", bytearray(b"250 OK")):
                self.assertRaises(TypeError, transport.write, words)
            transport.write(b"451 Not so")
            transport.loseConnection()

        _protocol, client = await self.answer(act)
        self.assertEqual(await self.read(client), b"451 Not so")

    async def test_more_than_the_kernel_takes(self) -> None:
        """
        Who closes behind that closes when all of it has left.
        """
        words = bytes(range(256)) * 2**16

        def act(transport: Any) -> None:
            transport.write(words)
            transport.loseConnection()

        _protocol, client = await self.answer(act)
        self.assertEqual(await self.read(client), words)

    async def test_reactor_runs_in_a_turn(self) -> None:
        """
        A hook may do that; nothing is lost, and who leaves has said all.
        """
        loop: Any = reactor
        await self.listen()
        (first, one), (_, two), (_, three) = [await self.connect() for _ in range(3)]

        def answer(protocol: Any, data: bytes) -> None:
            protocol.transport.write(b"221 ")
            if protocol is first:
                two.sendall(b"x")
                three.sendall(b"x")
                loop.iterate(0)
            protocol.transport.write(b"Bye")
            protocol.transport.loseConnection()

        self.factory.received = answer
        one.sendall(b"x")
        for client in (one, two, three):
            self.assertEqual(await self.read(client), b"221 Bye")

    async def test_tls(self) -> None:
        """
        Nobody waits for what it takes.
        """
        await self.listen()
        (_, small), (secure, other) = [await self.connect() for _ in range(2)]
        seen: list[bytes] = []

        class Slow(Protocol):
            def dataReceived(self, data: bytes) -> None:
                seen.append(small.recv(100))

        self.factory.received = lambda protocol, data: protocol.transport.write(b"250 OK\r\n")
        slow = Slow()
        # What it does with what it reads stands for a handshake.
        secure.transport.TLS, secure.transport.protocol = True, slow
        small.settimeout(10)
        small.sendall(b"x")
        other.sendall(b"x")
        await self.turn()
        self.assertEqual(seen, [b"250 OK\r\n"])
        secure.transport.TLS, secure.transport.protocol = False, secure
        secure.transport.abortConnection()
        await secure.lost

    async def test_much(self) -> None:
        """
        More than a little does not wait for the end, and what the kernel does not take stops who
        produces it.
        """
        paused: list[int] = []

        class Producer:
            def pauseProducing(self) -> None:
                paused.append(count)

            def resumeProducing(self) -> None:
                pass

            def stopProducing(self) -> None:
                pass

        count = 0

        def act(transport: Any) -> None:
            nonlocal count
            transport.registerProducer(Producer(), True)
            while not paused and count < 10000:
                transport.write(b"%07d\n" % count * 1000)
                count += 1
            transport.unregisterProducer()
            transport.loseConnection()

        _protocol, client = await self.answer(act)
        said = await self.read(client)
        self.assertEqual(said, b"".join(b"%07d\n" % number * 1000 for number in range(count)))
        self.assertEqual(len(paused), 1)

    async def test_aborted(self) -> None:
        """
        What was not sent yet never is.
        """

        def act(transport: Any) -> None:
            transport.write(b"250 OK\r\n")
            transport.abortConnection()

        protocol, client = await self.answer(act)
        self.assertIsInstance(await protocol.lost, ConnectionAborted)
        with self.assertRaises(ConnectionResetError):
            await self.read(client)

    async def test_lost(self) -> None:
        """
        Who was lost has nothing to send.
        """

        def act(transport: Any) -> None:
            transport.write(b"250 OK\r\n")
            transport.connectionLost(Failure(ConnectionLost()))

        protocol, client = await self.answer(act)
        self.assertIsInstance(await protocol.lost, ConnectionLost)
        self.assertEqual(await self.read(client), b"")

    async def test_aborted_by_a_producer(self) -> None:
        """
        One that is told of another's reply before it is read itself: it hears nothing more.
        """
        await self.listen()
        (one, client), (other, another) = [await self.connect() for _ in range(2)]

        class Producer:
            def pauseProducing(self) -> None:
                other.transport.abortConnection()

            def stopProducing(self) -> None:
                pass

        def answer(protocol: Any, data: bytes) -> None:
            protocol.transport.registerProducer(Producer(), True)
            protocol.transport.write(bytes(2**24))

        self.factory.received = answer
        client.sendall(b"x")
        another.sendall(bytes(wire.BULK + 1))
        await self.turn()
        self.assertEqual((one.received, other.received), ([b"x"], []))
        self.assertIsInstance(await other.lost, ConnectionAborted)
        client.close()
        await one.lost

    async def test_half_closed_behind_much(self) -> None:
        """
        What a producer writes when it may go on is the last.
        """

        class Producer:
            def __init__(self, transport: Any) -> None:
                self.transport = transport

            def pauseProducing(self) -> None:
                self.transport.loseWriteConnection()

            def resumeProducing(self) -> None:
                self.transport.write(b"more")
                self.transport.unregisterProducer()

            def stopProducing(self) -> None:
                pass

        def act(transport: Any) -> None:
            transport.registerProducer(Producer(transport), True)
            transport.write(bytes(2**24))

        protocol, client = await self.answer(act)
        self.assertEqual(await self.read(client), bytes(2**24) + b"more")
        client.close()
        await protocol.lost

    async def test_half_closed(self) -> None:
        def act(transport: Any) -> None:
            transport.write(b"bye")
            transport.loseWriteConnection()

        protocol, client = await self.answer(act)
        self.assertEqual(await self.read(client), b"bye")
        self.assertFalse(protocol.lost.called)
        client.close()
        await protocol.lost

    async def test_then_tls(self) -> None:
        """
        What was said before it is in the clear.
        """

        def act(transport: Any) -> None:
            transport.write(b"220 Go ahead\r\n")
            transport.startTLS(CertificateOptions())

        protocol, client = await self.answer(act)
        self.assertEqual(await deferToThread(client.recv, 100), b"220 Go ahead\r\n")
        client.close()
        await protocol.lost

    async def test_then_a_pull_producer(self) -> None:
        """
        It is asked when what was written before it has left.
        """

        @implementer(IPullProducer)
        class Producer:
            def __init__(self, transport: Any) -> None:
                self.transport = transport

            def resumeProducing(self) -> None:
                self.transport.write(b"second")
                self.transport.unregisterProducer()
                self.transport.loseConnection()

            def stopProducing(self) -> None:
                pass

        def act(transport: Any) -> None:
            transport.write(b"first ")
            transport.registerProducer(Producer(transport), False)

        _protocol, client = await self.answer(act)
        self.assertEqual(await self.read(client), b"first second")

    async def test_producer_fails(self) -> None:
        """
        That ends its connection, and no other.
        """
        await self.listen()
        one, client = await self.connect()
        other, another = await self.connect()

        class Producer:
            def pauseProducing(self) -> None:
                raise ZeroDivisionError

            def stopProducing(self) -> None:
                pass

        def answer(protocol: Any, data: bytes) -> None:
            if protocol is one:
                protocol.transport.registerProducer(Producer(), True)
                # More than the kernel takes.
                protocol.transport.write(bytes(2**24))
            else:
                protocol.transport.write(b"250 OK\r\n")

        self.factory.received = answer
        client.sendall(b"x")
        another.sendall(b"x")
        self.assertEqual(await deferToThread(another.recv, 100), b"250 OK\r\n")
        self.assertIsInstance(await one.lost, ZeroDivisionError)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.assertFalse(other.lost.called)


class AcceptedTests(TestCase):
    """
    What a port makes of the connections that it accepts.
    """

    def visit(self, port: Any) -> Deferred[None]:
        """
        Connect, and leave.
        """

        def talk() -> None:
            with socket.create_connection(("127.0.0.1", port.getHost().port), 10) as client:
                client.sendall(b"QUIT\r\n")
                while client.recv(65536):
                    pass

        return deferToThread(talk)

    async def accepted(self, *wired: bool) -> list[type]:
        """
        The classes of connections, one after the other.
        """
        made: list[type] = []

        class Noted(SMTP):
            def connectionMade(self) -> None:
                super().connectionMade()
                made.append(type(self.transport))

        loop: Any = reactor
        factory = SMTPFactory(Sink(), hostname="mx.example")
        port: Any = await TCP4ServerEndpoint(loop, 0, interface="127.0.0.1").listen(factory)
        for each in wired:
            factory.protocol = type("Either", (Noted,), {"uses_wire": each})
            await self.visit(port)
        await port.stopListening()
        await factory.drain()
        return made

    async def test_wires(self) -> None:
        self.assertEqual(await self.accepted(True, True, True), [Wire] * 3)

    async def test_none(self) -> None:
        self.assertEqual(await self.accepted(False, False), [Server] * 2)

    async def test_port_that_makes_its_own(self) -> None:
        """
        Somebody else may have said what it makes.
        """
        loop: Any = reactor
        factory = SMTPFactory(Sink(), hostname="mx.example")
        port: Any = await TCP4ServerEndpoint(loop, 0, interface="127.0.0.1").listen(factory)
        made: list[Server] = []

        def make(*arguments: Any) -> Server:
            made.append(Server(*arguments))
            return made[-1]

        port.transport = make

        for _ in range(2):
            await self.visit(port)
        await port.stopListening()
        await factory.drain()
        self.assertEqual([type(each) for each in made], [Wire, Wire])

    async def test_each_as_it_wants(self) -> None:
        expected = [Server, Wire, Wire, Server, Wire]
        self.assertEqual(await self.accepted(False, True, True, False, True), expected)

    async def test_no_descriptor_left(self) -> None:
        """
        The port makes one that Twisted serves, and so it stays.
        """
        openings = iter([True, False, False, True])

        class Few(Readers):
            def open(self) -> bool:
                return next(openings) and super().open()

        self.patch(factory_module, "Readers", Few)
        self.assertEqual(await self.accepted(True, True, True), [Wire, Server, Wire])


class SwitchTests(TestCase):
    """
    The protocol says the same either way.
    """

    async def converse(self, wired: bool) -> bytes:
        class Either(SMTP):
            uses_wire = wired

        loop: Any = reactor
        factory = SMTPFactory(Sink(), hostname="mx.example")
        factory.protocol = Either
        port: Any = await TCP4ServerEndpoint(loop, 0, interface="127.0.0.1").listen(factory)
        address = ("127.0.0.1", port.getHost().port)

        def talk() -> bytes:
            with socket.create_connection(address, 10) as client:
                client.sendall(b"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n")
                client.sendall(b"HELP\r\n")
                # What is received up to here is answered though the client says no more.
                client.shutdown(socket.SHUT_WR)
                said = b""
                while more := client.recv(65536):
                    said += more
                return said

        said = await deferToThread(talk)
        await port.stopListening()
        await factory.drain()
        return said

    async def test_same(self) -> None:
        said = await self.converse(True)
        self.assertEqual(said, await self.converse(False))
        self.assertIn(b"\r\n214 2.0.0 ", said)
