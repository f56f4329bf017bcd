from __future__ import annotations

import io
import os
import resource
import socket
import sys
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.endpoints import TCP4ServerEndpoint, UNIXServerEndpoint
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IStreamServerEndpoint
from twisted.internet.protocol import Protocol, ServerFactory
from twisted.internet.stdio import PipeAddress
from twisted.internet.task import deferLater
from twisted.internet.testing import EventLoggingObserver
from twisted.logger import globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer

from txsmtpd.core.settings import Settings
from txsmtpd.handlers.base import HandlerError
from txsmtpd.service import SPARE_FILES, CannotStart, Listener, SMTPService


class FakeReactor:
    """
    Notes whether it was stopped.
    """

    stopped = False

    def stop(self) -> None:
        self.stopped = True


class FakeFactory(ServerFactory):
    """
    A factory that drains when the test says so.
    """

    protocol = Protocol
    noisy = False
    settings = Settings(max_connections=10)
    #: Who counts its connections.
    census: object = "ours"

    def __init__(self) -> None:
        self.drained: Deferred[None] | None = None
        self.drains = 0

    def drain(self) -> Deferred[None]:
        # As often as it is asked, it drains once.
        if self.drained is None:
            self.drains += 1
            self.drained = Deferred()
        return self.drained


@implementer(IListeningPort)
class FakePort:
    def __init__(self, address: Any, stopping: Any = None) -> None:
        self.address = address
        self.stopping = stopping
        self.stopped = False

    def startListening(self) -> None:
        """
        Never called.
        """

    def stopListening(self) -> Any:
        self.stopped = True
        return self.stopping

    def getHost(self) -> Any:
        return self.address


@implementer(IStreamServerEndpoint)
class FakeEndpoint:
    """
    An endpoint that gives what the test wants.
    """

    def __init__(self, result: Any) -> None:
        self.result = result
        self.listened = 0

    def listen(self, protocolFactory: Any) -> Any:
        self.listened += 1
        if isinstance(self.result, Exception):
            return fail(self.result)
        return self.result if isinstance(self.result, Deferred) else succeed(self.result)


PORT = IPv4Address("TCP", "127.0.0.1", 2525)
IN_USE = CannotListenError("127.0.0.1", 2525, OSError(98, "Address already in use"))


class Wary:
    """
    A handler that prepares itself, or cannot.
    """

    def __init__(self, error: Exception | None = None) -> None:
        self.prepared = 0
        self.error = error

    def prepare(self) -> None:
        self.prepared += 1
        if self.error is not None:
            raise self.error


class Closing:
    """
    A handler that has something to close.
    """

    def __init__(self, result: Any) -> None:
        self.stops = 0
        self.result = result

    def stop(self) -> Any:
        self.stops += 1
        return self.result


class ServiceCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = FakeReactor()
        self.factory = FakeFactory()
        self.stderr = io.StringIO()
        self.patch(sys, "__stderr__", self.stderr)
        self.events = EventLoggingObserver()
        globalLogPublisher.addObserver(self.events)
        self.addCleanup(globalLogPublisher.removeObserver, self.events)

    def service(self, *endpoints: Any, handlers: Any = (), factory: Any = None) -> SMTPService:
        factory = factory or self.factory
        listeners = [Listener(each, factory, f"port {n}") for n, each in enumerate(endpoints, 25)]
        reactor: Any = self.reactor
        return SMTPService(reactor, listeners, handlers)

    def logged(self) -> list[str]:
        return [
            event["log_format"].format(**event)
            for event in self.events
            if event["log_namespace"] == "txsmtpd.service.SMTPService"
        ]

    def assertEnds(self, start: Any, sentence: str) -> None:
        """
        Check that the process would end with status 1 and one sentence.
        """
        end = self.assertRaises(SystemExit, start)
        self.assertEqual(end.code, 1)
        self.assertEqual(str(end), sentence)
        self.assertEqual(self.stderr.getvalue(), f"twistd smtpd: {sentence}\n")
        self.assertEqual(self.logged()[-1:], [sentence])


class StartTests(ServiceCase):
    def test_with_privileges(self) -> None:
        """
        twistd asks twice: the ports are opened the first time, the handlers prepared the second.
        """
        endpoint, handler = FakeEndpoint(FakePort(PORT)), Wary()
        service = self.service(endpoint, handlers=[handler, object()])
        service.privilegedStartService()
        self.assertEqual((endpoint.listened, handler.prepared), (1, 0))
        service.startService()
        self.assertEqual((endpoint.listened, handler.prepared), (1, 1))
        self.assertTrue(service.running)

    def test_without_privileges(self) -> None:
        endpoint, handler = FakeEndpoint(FakePort(PORT)), Wary()
        self.service(endpoint, handlers=[handler]).startService()
        self.assertEqual((endpoint.listened, handler.prepared), (1, 1))

    def test_log(self) -> None:
        for address, shown in (
            (PORT, "127.0.0.1:2525"),
            (IPv6Address("TCP", "::1", 25), "[::1]:25"),
            (UNIXAddress("/run/smtp.sock"), "unix:/run/smtp.sock"),
            (UNIXAddress(None), "UNIXAddress(None)"),
            (PipeAddress(), "standard input"),
        ):
            self.service(FakeEndpoint(FakePort(address))).privilegedStartService()
            self.assertEqual(self.logged()[-1:], [f"listening on {shown}"])

    def test_port_in_use(self) -> None:
        first = FakePort(PORT)
        service = self.service(FakeEndpoint(first), FakeEndpoint(IN_USE), FakeEndpoint(first))
        self.assertEnds(
            service.privilegedStartService, "cannot listen on port 26: Address already in use"
        )

    def test_without_reason(self) -> None:
        for error, reason in (
            (RuntimeError("no\nluck"), "no luck"),
            (RuntimeError(), "RuntimeError"),
            (OSError("no such thing"), "no such thing"),
        ):
            self.stderr.truncate(0)
            self.stderr.seek(0)
            service = self.service(FakeEndpoint(error))
            self.assertEnds(service.privilegedStartService, f"cannot listen on port 25: {reason}")

    def test_handler_cannot(self) -> None:
        """
        Without privileges nothing was opened before.
        """
        endpoint = FakeEndpoint(FakePort(PORT))
        service = self.service(endpoint, handlers=[Wary(HandlerError("disk full"))])
        self.assertEnds(service.startService, "disk full")
        self.assertEqual(endpoint.listened, 0)

    def test_twistd_tidies_up(self) -> None:
        """
        It does for an Exception, which a mere SystemExit is not.
        """
        self.assertTrue(issubclass(CannotStart, Exception))


class RoomTests(ServiceCase):
    """
    Every connection is an open file, and the message that comes by it another.
    """

    def limit(self, soft: int, hard: int) -> list[tuple[int, int]]:
        """
        Start a server of ten connections where so many open files are allowed.

        :return: the limits that were set.
        """
        limits: list[tuple[int, int]] = []
        self.patch(resource, "getrlimit", lambda which: (soft, hard))
        self.patch(resource, "setrlimit", lambda which, both: limits.append(both))
        self.service(FakeEndpoint(succeed(FakePort("x")))).privilegedStartService()
        return limits

    def test_enough(self) -> None:
        for soft in (20 + SPARE_FILES, resource.RLIM_INFINITY):
            self.assertEqual(self.limit(soft, resource.RLIM_INFINITY), [])

    def test_raised(self) -> None:
        for hard in (1000, resource.RLIM_INFINITY):
            self.assertEqual(self.limit(30, hard), [(20 + SPARE_FILES, hard)])

    def test_no_limit_on_connections(self) -> None:
        self.factory.settings = Settings(max_connections=0)
        self.assertEqual(self.limit(30, 1000), [(1000, 1000)])
        self.assertEqual(self.limit(30, resource.RLIM_INFINITY), [(resource.RLIM_INFINITY,) * 2])

    def test_system_that_refuses(self) -> None:
        self.limit(30, 1000)

        def refuse(which: int, both: tuple[int, int]) -> None:
            raise ValueError("current limit exceeds maximum limit")

        self.patch(resource, "setrlimit", refuse)
        self.service(FakeEndpoint(succeed(FakePort("x")))).privilegedStartService()
        self.assertIn("84 open files may be needed, and only 30 are allowed", self.logged())

    def test_as_far_as_allowed(self) -> None:
        self.assertEqual(self.limit(30, 40), [(40, 40)])
        self.assertIn("84 open files may be needed, and only 40 are allowed", self.logged())


class LateTests(ServiceCase):
    """
    An endpoint that needs a running reactor to find out whether it can listen.
    """

    def setUp(self) -> None:
        super().setUp()
        self.listening: Deferred[Any] = Deferred()
        self.running = self.service(FakeEndpoint(self.listening))
        self.running.privilegedStartService()
        self.running.startService()

    def test_can(self) -> None:
        self.listening.callback(FakePort(PORT))
        self.assertEqual(self.logged(), ["listening on 127.0.0.1:2525"])
        self.assertFalse(self.reactor.stopped)

    def test_cannot(self) -> None:
        self.listening.errback(IN_USE)
        sentence = "cannot listen on port 25: Address already in use"
        self.assertEqual(self.logged(), [sentence])
        self.assertEqual(self.stderr.getvalue(), f"twistd smtpd: {sentence}\n")
        self.assertTrue(self.reactor.stopped)
        self.assertEqual(self.running.trouble, sentence)

    def test_stopped_before(self) -> None:
        stopped = self.running.stopService()
        assert self.factory.drained is not None
        self.factory.drained.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.logged(), [])
        self.assertFalse(self.reactor.stopped)


class StopTests(ServiceCase):
    def test_order(self) -> None:
        """
        First the ports are closed, all of them, then the factory drains, once.
        """
        closing: Deferred[None] = Deferred()
        ports = [FakePort(PORT, closing), FakePort(PORT)]
        service = self.service(*map(FakeEndpoint, ports))
        service.startService()
        stopped = service.stopService()
        self.assertFalse(service.running)
        self.assertEqual([port.stopped for port in ports], [True, True])
        self.assertEqual(self.factory.drains, 0)
        closing.callback(None)
        self.assertEqual(self.factory.drains, 1)
        self.assertNoResult(stopped)
        assert self.factory.drained is not None
        self.factory.drained.callback(None)
        self.assertIsNone(self.successResultOf(stopped))

    def test_handlers(self) -> None:
        """
        They stop when all clients have gone, and are waited for.
        """
        closing: Deferred[None] = Deferred()
        handler = Closing(closing)
        service = self.service(FakeEndpoint(FakePort(PORT)), handlers=[handler, Wary()])
        service.startService()
        stopped = service.stopService()
        self.assertEqual(handler.stops, 0)
        assert self.factory.drained is not None
        self.factory.drained.callback(None)
        self.assertEqual(handler.stops, 1)
        self.assertNoResult(stopped)
        closing.callback(None)
        self.successResultOf(stopped)

    def test_handler_does_not_stop(self) -> None:
        """
        The others are stopped nevertheless.
        """
        handler = Closing(None)
        service = self.service(
            FakeEndpoint(FakePort(PORT)), handlers=[Closing(fail(ValueError())), handler]
        )
        service.startService()
        stopped = service.stopService()
        assert self.factory.drained is not None
        self.factory.drained.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(handler.stops, 1)
        self.assertEqual(self.logged()[-1:], ["a handler cannot be stopped"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_port_does_not_close(self) -> None:
        """
        The sessions are told nevertheless.
        """
        port = FakePort(PORT, fail(PermissionError(13, "Permission denied")))
        service = self.service(FakeEndpoint(port))
        service.startService()
        service.stopService()
        self.assertEqual(self.factory.drains, 1)
        self.assertEqual(self.logged()[-1:], ["cannot stop listening: Permission denied"])


class RealPortTests(ServiceCase, TestCase):
    """
    With the reactor's own ports, which a start that fails must not leave open.
    """

    def setUp(self) -> None:
        super().setUp()
        from twisted.internet import reactor

        self.real: Any = reactor

    def taken(self) -> int:
        """
        :return: a TCP port of which someone else takes the connections.
        """
        someone = socket.socket()
        self.addCleanup(someone.close)
        someone.bind(("127.0.0.1", 0))
        someone.listen()
        number: int = someone.getsockname()[1]
        return number

    def test_everything_is_closed(self) -> None:
        path = self.mktemp()
        service = self.service(
            TCP4ServerEndpoint(self.real, 0, interface="127.0.0.1"),
            UNIXServerEndpoint(self.real, path, wantPID=False),
            TCP4ServerEndpoint(self.real, self.taken(), interface="127.0.0.1"),
        )
        self.assertEnds(
            service.privilegedStartService, "cannot listen on port 27: Address already in use"
        )
        self.assertFalse(os.path.exists(path))
        # Trial sees to it that the reactor holds no port.

    def test_socket_cannot_be_removed(self) -> None:
        """
        The reason why the service ends is told nevertheless.
        """
        path = self.mktemp()
        service = self.service(
            UNIXServerEndpoint(self.real, path, wantPID=False),
            handlers=[Wary(HandlerError("disk full"))],
        )
        service.privilegedStartService()
        os.unlink(path)
        self.assertEnds(service.startService, "disk full")
        self.real.removeAll()

    async def test_file_cannot_be_removed(self) -> None:
        """
        The port is closed nevertheless.
        """
        path = self.mktemp()
        service = self.service(UNIXServerEndpoint(self.real, path, wantPID=False))
        service.startService()
        os.rename(path, f"{path}.elsewhere")
        stopped = service.stopService()
        while self.factory.drained is None:
            await deferLater(self.real, 0)
        self.factory.drained.callback(None)
        await stopped
        self.assertEqual(self.logged()[-1:], ["cannot stop listening: No such file or directory"])
        with socket.socket(socket.AF_UNIX) as client:
            self.assertRaises(ConnectionRefusedError, client.connect, f"{path}.elsewhere")
