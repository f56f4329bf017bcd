from __future__ import annotations

import os
import socket
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.endpoints import UNIXServerEndpoint
from twisted.internet.error import CannotListenError, ReactorNotRunning
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.stdio import PipeAddress
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from zope.interface.verify import verifyObject

from txsmtpd.endpoints import InheritedEndpoint, StdioEndpoint, UNIXEndpoint


class EndpointCase(TestCase):
    """
    With real sockets: what it is about is the system's.
    """

    def setUp(self) -> None:
        from twisted.internet import reactor

        self.real: Any = reactor
        self.factory = ServerFactory.forProtocol(Protocol)
        self.factory.noisy = False

    def bound(self, path: str) -> socket.socket:
        bound = socket.socket(socket.AF_UNIX)
        self.addCleanup(bound.close)
        bound.bind(path)
        return bound


class UNIXEndpointTests(EndpointCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.mktemp()
        self.lock = f"{self.path}.lock"
        self.endpoint = UNIXEndpoint(self.path, UNIXServerEndpoint(self.real, self.path, wantPID=1))

    def test_interface(self) -> None:
        verifyObject(IStreamServerEndpoint, self.endpoint)

    async def assertListens(self) -> None:
        port = await self.endpoint.listen(self.factory)
        self.assertTrue(os.path.islink(self.lock))
        await maybeDeferred(port.stopListening)
        self.assertFalse(os.path.lexists(self.lock))

    async def test_nothing_there(self) -> None:
        await self.assertListens()

    async def test_left_over(self) -> None:
        """
        Whosever number is in the lock, here our own.
        """
        self.bound(self.path).close()
        os.symlink(str(os.getpid()), self.lock)
        await self.assertListens()

    async def test_only_the_lock_left_over(self) -> None:
        os.symlink(str(os.getpid()), self.lock)
        await self.assertListens()

    def assertReason(self, reason: str) -> None:
        failure = self.failureResultOf(self.endpoint.listen(self.factory), CannotListenError)
        self.assertEqual(failure.value.socketError.strerror, reason)
        self.assertFalse(os.path.lexists(self.lock))

    def test_in_use(self) -> None:
        listening = self.bound(self.path)
        listening.listen(0)
        self.assertReason("Address already in use")
        # Its queue is full now.
        self.assertReason("Address already in use")
        self.assertTrue(os.path.exists(self.path))

    def test_no_socket(self) -> None:
        with open(self.path, "wb"):
            pass
        self.assertReason("there is a file that is no socket")
        self.assertTrue(os.path.exists(self.path))


class InheritedEndpointTests(EndpointCase):
    def inherited(self, listening: socket.socket) -> InheritedEndpoint:
        fd = listening.detach()
        endpoint = InheritedEndpoint(self.real, fd)
        verifyObject(IStreamServerEndpoint, endpoint)
        return endpoint

    async def test_tcp(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        name = listening.getsockname()
        port = await self.inherited(listening).listen(self.factory)
        self.assertEqual(port.getHost(), IPv4Address("TCP", *name))
        await maybeDeferred(port.stopListening)

    async def test_unix(self) -> None:
        """
        Its file keeps its mode, and stays, and whoever else has the socket can go on with it.
        """
        path = self.mktemp()
        listening = self.bound(path)
        os.chmod(path, 0o600)
        listening.listen()
        accepted: Deferred[Any] = Deferred()
        self.factory.buildProtocol = accepted.callback  # type: ignore[assignment]
        port = await self.inherited(listening.dup()).listen(self.factory)
        self.assertEqual(port.getHost(), UNIXAddress(path))
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            await accepted
        await maybeDeferred(port.stopListening)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(path)
            listening.accept()[0].close()

    def test_does_not_listen(self) -> None:
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        self.addCleanup(theirs.close)
        failure = self.failureResultOf(
            InheritedEndpoint(self.real, theirs.fileno()).listen(self.factory), OSError
        )
        self.assertEqual(failure.value.strerror, "it is no socket that listens")


class Echo(Protocol):
    """
    Says what it is told, until it is told to go.
    """

    transport: Any
    peer: Any = None

    def connectionMade(self) -> None:
        self.peer = self.transport.getPeer()

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)
        if data == b"abort":
            self.transport.abortConnection()
            self.transport.abortConnection()
        elif data == b"go":
            self.transport.loseConnection()


class StdioReactor:
    """
    The real reactor, but stopping it ends only the test.
    """

    def __init__(self, real: Any) -> None:
        self._real = real
        self.stopped: Deferred[None] = Deferred()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def stop(self) -> None:
        if self.stopped.called:
            raise ReactorNotRunning
        self.stopped.callback(None)


class StdioEndpointTests(EndpointCase):
    """
    With the standard input, output and error of this very process, for the time being.
    """

    def setUp(self) -> None:
        super().setUp()
        self.reactor = StdioReactor(self.real)
        self.echo = Echo()
        self.factory.buildProtocol = lambda addr: self.echo  # type: ignore[method-assign]
        self.endpoint = StdioEndpoint(self.reactor)

    def claim(self, stdin: int, stdout: int, stderr: int) -> None:
        """
        :raise AssertionError: if the claim leaves the standard input of the client to others.
        """
        saved = [os.dup(fd) for fd in range(3)]
        try:
            for fd, stream in enumerate((stdin, stdout, stderr)):
                os.dup2(stream, fd)
            self.endpoint.claim()
            self.assertEqual(os.read(0, 1), b"")
            os.write(1, b"print")
        finally:
            for fd, stream in enumerate(saved):
                os.dup2(stream, fd)
                os.close(stream)

    def sockets(self) -> tuple[socket.socket, socket.socket]:
        """
        :return: that of the client, and ours.
        """
        client, server = socket.socketpair()
        self.addCleanup(client.close)
        self.addCleanup(server.close)
        client.settimeout(5)
        return client, server

    def claim_socket(self) -> socket.socket:
        """
        :return: that of the client.
        """
        client, server = self.sockets()
        self.claim(server.fileno(), server.fileno(), server.fileno())
        server.close()
        return client

    def claim_pipes(self) -> tuple[int, int]:
        """
        :return: where the client writes and where it reads.
        """
        stdin, writing = os.pipe()
        reading, stdout = os.pipe()
        null = os.open(os.devnull, os.O_WRONLY)
        self.claim(stdin, stdout, null)
        for fd in (stdin, stdout, null):
            os.close(fd)
        return writing, reading

    def test_is_socket(self) -> None:
        """
        Only a socket can do TLS.
        """
        self.claim_socket()
        self.assertTrue(self.endpoint.is_socket)
        for each in self.claim_pipes():
            os.close(each)
        self.assertFalse(self.endpoint.is_socket)

    async def test_pipes(self) -> None:
        """
        What others print does not come to the client.
        """
        writing, reading = self.claim_pipes()
        port = await self.endpoint.listen(self.factory)
        verifyObject(IListeningPort, port)
        os.write(writing, b"go")
        await self.reactor.stopped
        os.close(writing)
        self.assertEqual(os.read(reading, 9), b"go")
        os.close(reading)
        self.assertIsInstance(self.echo.peer, PipeAddress)
        self.assertIsInstance(port.getHost(), PipeAddress)
        await maybeDeferred(port.stopListening)

    async def test_abort(self) -> None:
        writing, reading = self.claim_pipes()
        await self.endpoint.listen(self.factory)
        os.write(writing, b"abort")
        await self.reactor.stopped
        os.close(writing)
        os.close(reading)

    async def test_input_ends(self) -> None:
        writing, reading = self.claim_pipes()
        await self.endpoint.listen(self.factory)
        os.close(writing)
        await self.reactor.stopped
        os.close(reading)

    async def test_nobody_reads(self) -> None:
        writing, reading = self.claim_pipes()
        await self.endpoint.listen(self.factory)
        os.close(reading)
        await self.reactor.stopped
        os.close(writing)

    async def test_stderr_stays(self) -> None:
        """
        If it is not the client, it gets what is printed.
        """
        client, server = self.sockets()
        log, stderr = self.sockets()
        self.claim(server.fileno(), server.fileno(), stderr.fileno())
        self.assertEqual(log.recv(9), b"print")
        server.close()
        await self.endpoint.listen(self.factory)
        client.send(b"go")
        await self.reactor.stopped
        self.assertEqual(client.recv(9), b"go")

    async def test_socket(self) -> None:
        """
        It is a transport like that of a port, and stderr, which is the client too, is silent.
        """
        client = self.claim_socket()
        await self.endpoint.listen(self.factory)
        client.send(b"go")
        await self.reactor.stopped
        self.assertEqual(client.recv(9), b"go")
        self.assertEqual(client.recv(9), b"")
        self.assertIsInstance(self.echo.peer, UNIXAddress)

    async def test_client_has_gone(self) -> None:
        """
        Before the session began, and the reactor is stopping already.
        """
        with socket.create_server(("127.0.0.1", 0)) as listening:
            # No client at all: a socket that listens, as inetd passes to services that "wait".
            fd = listening.fileno()
            self.claim(fd, fd, fd)
        self.reactor.stop()
        await self.endpoint.listen(self.factory)
        await deferLater(self.real, 0)
        self.assertIsNone(self.echo.peer)
