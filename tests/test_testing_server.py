"""
Tests for the server of txsmtpd.testing that has a port.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone, ConnectionLost, ConnectionRefusedError
from twisted.internet.interfaces import IAddress
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase

from txsmtpd.factory import SMTPFactory
from txsmtpd.testing import RealServer, RecordingHandler, serve

MESSAGE = b"EHLO client.example\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\nSubject: Hi\r\n.\r\n"


class Speaker(Protocol):
    """
    A client that says something when it is greeted, and stays.
    """

    def __init__(self, words: bytes) -> None:
        self.words = words
        self.received = b""
        self.reason: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        if not self.received:
            self.transport.write(self.words)
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason


class RealServerTests(TestCase):
    """
    It serves, and when it has stopped there is nothing left.  If there were, trial would say so.
    """

    async def say(self, server: RealServer, words: bytes) -> Speaker:
        endpoint = TCP4ClientEndpoint(reactor, server.host, server.port)
        speaker: Speaker = await connectProtocol(endpoint, Speaker(words))
        return speaker

    def assertNothingLeft(self, *speakers: Speaker) -> None:
        """
        Not even at the other ends.
        """
        for speaker in speakers:
            self.assertIsNotNone(speaker.reason)

    async def test_serves(self) -> None:
        handler = RecordingHandler()
        server = await serve(self, handler, max_recipients=3, make=self.make)
        self.assertEqual((3, "mx.example"), (server.factory.settings.max_recipients, self.hostname))
        speaker = await self.say(server, MESSAGE + b"QUIT\r\n")
        message = await handler.wait_for()
        self.assertEqual(b"Subject: Hi\r\n", message.content)
        self.assertIn("S: 220 mx.example ESMTP txsmtpd\nC: EHLO client", server.transcript)
        self.assertIs(server.recordings[0], message.recording)
        self.assertEqual(server.transcript, handler.recordings[0].transcript)
        await server.stop()
        self.assertNothingLeft(speaker)
        self.assertTrue(server.transcript.endswith("S: 221 2.0.0 Bye\nS: [close]"))

    def make(self, *handlers: Any, hostname: str, **settings: Any) -> SMTPFactory:
        self.hostname = hostname
        return SMTPFactory(*handlers, hostname=hostname, **settings)

    async def test_stops(self) -> None:
        """
        Clients that stay are cut off, and nobody listens any more.
        """
        connected: Deferred[None] = Deferred()
        handler = RecordingHandler({"NOOP": lambda *context: connected.callback(None)})
        server = await serve(self, handler)
        speakers = [await self.say(server, b""), await self.say(server, b"NOOP\r\n")]
        await connected
        await server.stop()
        self.assertNothingLeft(*speakers)
        with self.assertRaises(ConnectionRefusedError):
            await self.say(server, b"")
        await server.stop()
        first, second = server.transcript.split("\n\n")
        self.assertEqual("S: 220 mx.example ESMTP txsmtpd\nS: [close]", first)
        self.assertIn("C: NOOP", second)

    async def test_stops_undecided_hooks(self) -> None:
        """
        Whatever never ends is cancelled, also where two hooks never end, one after the other.
        """
        for hook in ("MAIL", "DATA"):
            asked: Deferred[None] = Deferred()
            cancelled: list[str] = []

            def never(
                *context: Any, name: str = hook, asked: Any = asked, seen: Any = cancelled
            ) -> Any:
                if not asked.called:
                    asked.callback(None)
                return Deferred(lambda _: seen.append(name))

            handler = RecordingHandler({hook: never, "exception": never})
            server = RealServer(SMTPFactory(handler, hostname="mx.example"))
            await server.start()
            speaker = await self.say(server, MESSAGE)
            await asked
            await server.stop()
            self.assertNothingLeft(speaker)
            self.assertEqual(hook, cancelled[0])

    async def test_clients_that_leave(self) -> None:
        """
        It is known who has ended a connection.
        """
        gone: list[Deferred[None]] = [Deferred(), Deferred()]
        reasons = iter(gone)
        handler = RecordingHandler({"DISCONNECT": lambda *context: next(reasons).callback(None)})
        server = await serve(self, handler)
        speaker: Any = await self.say(server, b"")
        speaker.transport.loseConnection()
        await gone[0]
        speaker = await self.say(server, b"NOOP\r\n")
        speaker.transport.abortConnection()
        await gone[1]
        first, second = server.transcript.split("\n\n")
        self.assertEqual("C: [half-close]\nS: [close]", first[-26:])
        self.assertEqual("C: [disconnect]", second[-15:])

    async def test_no_protocol(self) -> None:
        """
        A factory may decline a connection.
        """

        class Shy(SMTPFactory):
            def buildProtocol(self, addr: IAddress | None) -> Any:
                return None

        server = await serve(self, RecordingHandler(), make=Shy)
        speaker = await self.say(server, b"")
        while speaker.reason is None:
            await self.turn()
        self.assertIsNotNone(speaker.reason.check(ConnectionDone, ConnectionLost))
        self.assertEqual([], server.recordings)

    async def turn(self) -> None:
        turned: Deferred[None] = Deferred()
        reactor.callLater(0, turned.callback, None)
        await turned

    async def test_not_started(self) -> None:
        await RealServer(SMTPFactory(RecordingHandler(), hostname="mx.example")).stop()

    async def test_account(self) -> None:
        """
        A message that does not come is missed with the dialog at hand.
        """
        handler = RecordingHandler({"RCPT": "550 5.1.1 No such user"}, hooks=["RCPT", "DATA"])
        server = await serve(self, handler)
        speaker = await self.say(server, MESSAGE)
        while b"550 " not in speaker.received:
            await self.turn()
        with self.assertRaisesRegex(
            AssertionError, "(?s)only 0:\n\nS: 220 .*\nS: 550 5.1.1 No such"
        ):
            await handler.wait_for(timeout=0.01)
