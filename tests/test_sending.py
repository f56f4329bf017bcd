from __future__ import annotations

import socket
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.internet.testing import StringTransport
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase, TestCase

from txsmtpd import SMTP, SMTPFactory
from txsmtpd.handlers import Sink
from txsmtpd.sending import send


class Silent(Protocol):
    """
    Tells the test about its connection.
    """

    def connectionMade(self) -> None:
        made: Any = self.factory
        made.made.callback(self)


class OtherTransportTests(SynchronousTestCase):
    def test_written(self) -> None:
        transport = StringTransport()
        send(transport, b"250 OK\r\n")
        self.assertEqual(transport.value(), b"250 OK\r\n")


class TCPTests(TestCase):
    """
    A real connection: its other end is a plain socket.
    """

    async def connect(self) -> Any:
        """
        :return: the transport of the server's side.
        """
        factory: Any = Factory.forProtocol(Silent)
        factory.made = Deferred()
        endpoint: Any = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        port = await endpoint.listen(factory)
        self.client = socket.create_connection(("127.0.0.1", port.getHost().port), 10)
        protocol = await factory.made
        self.addCleanup(port.stopListening)
        self.addCleanup(self.turn)
        self.addCleanup(self.client.close)
        self.queued: list[bytes] = []
        self.write = protocol.transport.write
        protocol.transport.write = self._queue
        return protocol.transport

    def _queue(self, data: bytes) -> None:
        self.queued.append(data)
        self.write(data)

    def turn(self) -> Deferred[None]:
        loop: Any = reactor
        return deferLater(loop, 0.01, lambda: None)

    def read(self, octets: int) -> Deferred[bytes]:
        def all_of_it() -> bytes:
            found = b""
            while len(found) < octets:
                found += self.client.recv(octets - len(found))
            return found

        return deferToThread(all_of_it)

    async def test_at_once(self) -> None:
        transport = await self.connect()
        send(transport, b"250 OK\r\n")
        self.assertEqual(self.queued, [])
        # Not a turn of the reactor has passed.
        self.assertEqual(self.client.recv(100), b"250 OK\r\n")

    async def test_behind_what_is_queued(self) -> None:
        transport = await self.connect()
        self.write(b"first ")
        send(transport, b"second ")
        send(transport, b"third")
        self.assertEqual(self.queued, [b"second ", b"third"])
        self.assertEqual(await self.read(18), b"first second third")

    async def test_what_the_kernel_does_not_take(self) -> None:
        """
        It is queued, and what comes then is queued behind it.
        """
        transport = await self.connect()
        numbers = b"".join(b"%07d\n" % number for number in range(2**20))
        send(transport, numbers)
        send(transport, b"end")
        self.assertEqual(len(self.queued), 2)
        self.assertLess(len(self.queued[0]), len(numbers))
        self.assertEqual(await self.read(len(numbers) + 3), numbers + b"end")

    async def test_lost(self) -> None:
        """
        The reactor finds out, as ever.
        """
        transport = await self.connect()
        lost: Deferred[Any] = Deferred()
        transport.protocol.connectionLost = lambda reason: lost.callback(None)
        transport.socket.shutdown(socket.SHUT_WR)
        send(transport, b"250 OK\r\n")
        self.assertEqual(self.queued, [b"250 OK\r\n"])
        await lost

    async def test_not_in_the_clear(self) -> None:
        """
        A connection that has become one of TLS, or is closing, does its own writing.
        """
        transport = await self.connect()
        transport.disconnecting = 1
        send(transport, b"x")
        self.assertEqual(self.queued, [b"x"])
        transport.disconnecting = 0
        await self.read(1)
        transport.TLS = True
        transport.write = self.queued.append
        send(transport, b"y")
        self.assertEqual(self.queued, [b"x", b"y"])
        transport.TLS = False


class SwitchTests(TestCase):
    """
    The protocol says the same either way.
    """

    async def converse(self, at_once: bool) -> bytes:
        class Either(SMTP):
            sends_at_once = at_once

        loop: Any = reactor
        factory = SMTPFactory(Sink(), hostname="mx.example")
        factory.protocol = Either
        port: Any = await TCP4ServerEndpoint(loop, 0, interface="127.0.0.1").listen(factory)
        address = ("127.0.0.1", port.getHost().port)

        def talk() -> bytes:
            with socket.create_connection(address, 10) as client:
                client.sendall(b"EHLO a\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nx\r\n.\r\n")
                client.sendall(b"HELP\r\nQUIT\r\n")
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
        self.assertTrue(said.endswith(b"221 2.0.0 Bye\r\n"), said)
