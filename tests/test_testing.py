"""
Tests for txsmtpd.testing: above all, that it fails when it should.
"""

from __future__ import annotations

from base64 import b64encode
from functools import partial
from io import BytesIO
from textwrap import dedent
from typing import Any

from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionAborted, ConnectionDone, ConnectionLost
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import Clock
from twisted.protocols.basic import FileSender
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer, providedBy
from zope.interface.verify import verifyObject

from txsmtpd.core.hooks import HOOKS
from txsmtpd.core.replies import Rejected, Reply
from txsmtpd.core.session import Envelope, Session
from txsmtpd.factory import DEFAULT, SMTPFactory
from txsmtpd.interfaces import IContentHook, IContentReceiver, IDATAHook, IRCPTHook
from txsmtpd.testing import (
    Call,
    Client,
    Cut,
    Message,
    RecordingHandler,
    Rehearsal,
    Transcript,
    connect,
    make_factory,
)
from txsmtpd.testing.replay import LONG
from txsmtpd.testing.spelling import unescape

HELLO = b"EHLO client.example\r\n"
MAIL = b"MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"


class PlainPeer(Protocol):
    """
    Notes what the transport tells it; also a producer.
    """

    def __init__(self) -> None:
        self.events: list[Any] = []

    def dataReceived(self, data: bytes) -> None:
        self.events.append(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.events.append(reason.type)

    def pauseProducing(self) -> None:
        self.events.append("pause")

    def resumeProducing(self) -> None:
        self.events.append("resume")

    def stopProducing(self) -> None:
        self.events.append("stop")


@implementer(IHalfCloseableProtocol)
class Peer(PlainPeer):
    """
    The same that knows half-closed connections.
    """

    def readConnectionLost(self) -> None:
        self.events.append("read lost")

    def writeConnectionLost(self) -> None:
        """
        Never called.
        """


def peer(make: type[PlainPeer] = Peer, **options: Any) -> tuple[Client, PlainPeer]:
    """
    A client of a protocol that is no SMTP.
    """
    factory = make_factory(RecordingHandler())
    factory.buildProtocol = lambda addr: make()  # type: ignore[method-assign]
    client = connect(factory, **options)
    return client, client.protocol


class TransportTests(SynchronousTestCase):
    """
    The transport behaves as Twisted's own for TCP, between a client and any protocol.
    """

    def test_addresses(self) -> None:
        there, here = IPv4Address("TCP", "192.0.2.7", 7), IPv4Address("TCP", "192.0.2.8", 8)
        _, protocol = peer(peer=there, host=here)
        transport: Any = protocol.transport
        self.assertEqual((there, here), (transport.getPeer(), transport.getHost()))

    def test_wants_a_clock(self) -> None:
        factory = SMTPFactory(RecordingHandler())
        self.assertRaises(TypeError, Client, factory)

    def test_octets(self) -> None:
        """
        What is sent comes in the segments that were sent, none larger than a read from a socket.
        """
        client, protocol = peer()
        client.send(b"a", b"", b"b")
        client.send(b"x" * 65537)
        self.assertEqual([b"a", b"b", b"x" * 65536, b"x"], protocol.events)

    def test_take(self) -> None:
        client, protocol = peer()
        assert protocol.transport is not None
        protocol.transport.write(b"1")
        protocol.transport.write(b"2")
        self.assertEqual(b"", client.take())
        client.pump()
        self.assertEqual(b"12", client.take())
        protocol.transport.write(b"3")
        client.pump()
        self.assertEqual((b"3", b"123"), (client.take(), client.received))
        self.assertEqual([b"1", b"2", b"3"], client.writes)

    def test_paused(self) -> None:
        """
        A paused transport keeps input back, also the news that the client has gone.
        """
        client, protocol = peer()
        transport: Any = protocol.transport
        transport.pauseProducing()
        client.send(b"a")
        client.disconnect()
        self.assertEqual([], protocol.events)
        transport.resumeProducing()
        client.pump()
        self.assertEqual([b"a", ConnectionLost], protocol.events)
        self.assertTrue(client.closed)

    def test_lose_connection(self) -> None:
        """
        It is closed later, when all is written, and nothing is read any more.
        """
        client, protocol = peer()
        transport: Any = protocol.transport
        transport.write(b"bye")
        transport.loseConnection()
        self.assertEqual([], protocol.events)
        transport.resumeProducing()
        client.send(b"too late")
        self.assertEqual([ConnectionDone], protocol.events)
        self.assertEqual(b"bye", client.received)
        self.assertTrue(client.closed)
        client.send(b"much too late")
        transport.write(b"ghost")
        client.pump()
        self.assertEqual(b"bye", client.received)

    def test_lose_connection_with_producer(self) -> None:
        """
        A producer that was paused and stays registered keeps the connection open.
        """
        client, protocol = peer()
        transport: Any = protocol.transport
        transport.registerProducer(protocol, True)
        transport.write(b"x" * 65537)
        transport.loseConnection()
        client.pump()
        self.assertEqual(["pause", "resume"], protocol.events)
        self.assertFalse(client.closed)
        transport.unregisterProducer()
        client.pump()
        self.assertEqual(["pause", "resume", ConnectionDone], protocol.events)
        self.assertTrue(client.closed)

    def test_lost_with_producer(self) -> None:
        client, protocol = peer()
        transport: Any = protocol.transport
        transport.registerProducer(protocol, True)
        client.disconnect()
        self.assertEqual(["stop", ConnectionLost], protocol.events)

    def test_not_reading(self) -> None:
        """
        A client that does not read has the producer paused, and the connection kept open, until
        it does.
        """
        client, protocol = peer(reading=False)
        transport: Any = protocol.transport
        transport.registerProducer(protocol, True)
        transport.write(b"x" * 65537)
        client.pump()
        self.assertEqual((["pause"], b""), (protocol.events, client.received))
        client.reading = True
        client.pump()
        self.assertEqual((["pause", "resume"], 65537), (protocol.events, len(client.received)))
        client.reading = False
        transport.write(b"bye")
        transport.unregisterProducer()
        transport.loseConnection()
        client.pump()
        self.assertFalse(client.closed)
        client.reading = True
        client.pump()
        self.assertTrue(client.closed)
        self.assertEqual(b"bye", client.received[-3:])

    def test_write_to_nobody(self) -> None:
        """
        A client that has gone is noticed by writing, even if nothing is read.
        """
        client, protocol = peer()
        transport: Any = protocol.transport
        transport.pauseProducing()
        client.disconnect(ConnectionDone())
        transport.write(b"anyone?")
        client.pump()
        self.assertEqual([ConnectionDone], protocol.events)

    def test_gone_while_not_reading(self) -> None:
        client, protocol = peer(reading=False)
        transport: Any = protocol.transport
        transport.pauseProducing()
        transport.write(b"anyone?")
        client.pump()
        self.assertEqual([], protocol.events)
        client.disconnect()
        self.assertEqual([ConnectionLost], protocol.events)

    def test_abort(self) -> None:
        """
        It is over at once, but connectionLost comes later; what was written is lost.
        """
        client, protocol = peer()
        transport: Any = protocol.transport
        transport.write(b"lost")
        transport.abortConnection()
        transport.abortConnection()
        self.assertEqual([], protocol.events)
        client.send(b"too late")
        self.assertEqual([ConnectionAborted], protocol.events)
        self.assertEqual(b"", client.received)
        transport.abortConnection()
        client.pump()
        self.assertEqual([ConnectionAborted], protocol.events)

    def test_half_close(self) -> None:
        """
        Who reads on after the end finds it again.
        """
        client, protocol = peer()
        transport: Any = protocol.transport
        client.half_close()
        self.assertEqual(["read lost"], protocol.events)
        transport.resumeProducing()
        client.pump()
        self.assertEqual(["read lost", "read lost"], protocol.events)
        self.assertFalse(client.closed)

    def test_half_close_unknown(self) -> None:
        """
        A protocol that knows no half-closed connections loses the whole one.
        """
        client, protocol = peer(PlainPeer)
        client.half_close()
        self.assertEqual([ConnectionDone], protocol.events)

    def test_not_reentrant(self) -> None:
        """
        What a client sends from within a call of the server comes when that call is over.
        """
        client, protocol = peer()

        def answer(data: bytes) -> None:
            protocol.events.append(data)
            if data == b"a":
                client.send(b"b")
                protocol.events.append("done")

        protocol.dataReceived = answer  # type: ignore[method-assign]
        client.send(b"a")
        self.assertEqual([b"a", "done", b"b"], protocol.events)

    def test_wait(self) -> None:
        client, _ = peer()
        fired: list[float] = []
        client.clock.callLater(2, lambda: client.clock.callLater(0, fired.append, 2))
        client.wait(1)
        self.assertEqual([], fired)
        client.wait(1.5)
        self.assertEqual([2], fired)

    def test_speaker(self) -> None:
        """
        A client protocol says what the client says and hears what it hears, the past included.
        """
        client, protocol = peer()
        transport: Any = protocol.transport
        transport.write(b"1")
        client.pump()
        speaker = PlainPeer()
        client.attach(speaker)
        self.assertEqual([b"1"], speaker.events)
        there: Any = speaker.transport
        there.write(b"a")
        there.writeSequence([b"b", b"c"])
        self.assertEqual([b"a", b"bc"], protocol.events)
        transport.write(b"2")
        client.pump()
        transport.loseConnection()
        client.pump()
        self.assertEqual([b"1", b"2", ConnectionDone], speaker.events)
        self.assertEqual(
            (there.getPeer(), there.getHost()), (transport.getHost(), transport.getPeer())
        )

    def test_speaker_leaves(self) -> None:
        for leave, reason in (
            ("loseConnection", ConnectionDone),
            ("abortConnection", ConnectionLost),
        ):
            client, protocol = peer()
            speaker = PlainPeer()
            client.attach(speaker)
            getattr(speaker.transport, leave)()
            self.assertEqual([reason], protocol.events)
            self.assertEqual([ConnectionDone], speaker.events)

    def test_speaker_produces(self) -> None:
        """
        A producer that has to be asked for everything is asked until it has no more.
        """
        client, protocol = peer()
        speaker = PlainPeer()
        client.attach(speaker)
        there: Any = speaker.transport
        sent = Deferred.fromCoroutine(self.produce(there, b"x" * 100000))
        self.successResultOf(sent)
        self.assertEqual(b"x" * 100000, b"".join(protocol.events))
        there.registerProducer(speaker, True)
        self.assertEqual([], speaker.events)

    async def produce(self, transport: Any, data: bytes) -> None:
        await FileSender().beginFileTransfer(BytesIO(data), transport)

    def test_transcript(self) -> None:
        client, protocol = peer()
        transport: Any = protocol.transport
        client.send(b"\x01\r")
        client.send(b"\n\xff\\\r\nhalf")
        client.wait(1.5)
        transport.write(b"2" * 301 + b"\r\nx")
        client.half_close()
        transport.loseConnection()
        client.pump()
        digits = "2" * 100
        self.assertEqual(
            "C: \\x01\nC: \\xff\\\\\nC> half\nC: [wait 1.5]\nC: [half-close]\n"
            f"S: {digits} [... 301 octets ...] {digits}\nS> x\nS: [close]",
            client.transcript,
        )


class RecordingHandlerTests(SynchronousTestCase):
    """
    The handler that notes everything.
    """

    def converse(self, handler: RecordingHandler, *segments: bytes) -> bytes:
        client = connect(make_factory(handler))
        client.send(HELLO)
        client.take()
        for segment in segments:
            client.send(segment)
        return client.take()

    def test_interfaces(self) -> None:
        for content, missing in (("whole", IContentHook), ("stream", IDATAHook)):
            handler = RecordingHandler(content=content)  # type: ignore[arg-type]
            for interface in set(HOOKS.values()) - {missing}:
                verifyObject(interface, handler)
            self.assertFalse(missing.providedBy(handler))
        receiver = handler.open_content(None, Session(), Envelope())  # type: ignore[attr-defined]
        verifyObject(IContentReceiver, receiver)

    def test_chosen_hooks(self) -> None:
        handler = RecordingHandler(hooks=["RCPT", "DATA"], content="stream")
        self.assertEqual({IRCPTHook, IContentHook}, set(providedBy(handler)))
        self.assertEqual({IRCPTHook}, set(providedBy(RecordingHandler(hooks=["RCPT"]))))

    def test_unknown_hook(self) -> None:
        error = self.assertRaises(ValueError, RecordingHandler, {"RCTP": None, "write": None})
        self.assertEqual("no hook is called RCTP", str(error))
        self.assertRaises(ValueError, RecordingHandler, hooks=["write"])

    def test_messages(self) -> None:
        for content in ("whole", "stream"):
            for when in ("now", "coroutine", "later"):
                handler = RecordingHandler(content=content, when=when)
                self.converse(handler, MAIL, b"DATA\r\nHi\r", b"\n.\r\n")
                (message,) = handler.messages
                self.assertEqual(Message("a@b", ("c@d",), b"Hi\r\n", Envelope()), message)
                self.assertEqual("a@b", message.envelope.mail_from)

    def test_refused_messages(self) -> None:
        for verdict in ("550 5.7.1 No", "354 More", Rejected("550 5.7.1 No")):
            for content in ("whole", "stream"):
                handler = RecordingHandler({"DATA": verdict}, content=content)
                self.converse(handler, MAIL, b"DATA\r\nHi\r\n.\r\n")
                self.assertEqual([], handler.messages)
        self.flushLoggedErrors(ValueError)

    def test_calls(self) -> None:
        handler = RecordingHandler(hooks=["RCPT", "VRFY", "DATA"], content="stream")
        self.converse(handler, b"VRFY x\r\n", MAIL, b"BDAT 2\r\nab", b"RSET\r\n")
        self.assertEqual(
            [
                Call("VRFY", ("x",), Session(), Envelope()),
                Call("RCPT", ("c@d", []), Session(), Envelope()),
                Call("open_content", (), Session(), Envelope()),
                Call("write", (b"ab",), Session(), Envelope()),
                Call("abort", ("RSET",), Session(), Envelope()),
            ],
            handler.calls,
        )
        self.assertEqual("client.example", handler.calls[0].session.host_name)
        self.assertEqual("a@b", handler.calls[1].envelope.mail_from)

    def test_refused_content(self) -> None:
        """
        Any verdict on opening and writing is a refusal.
        """
        for name in ("open_content", "write"):
            handler = RecordingHandler({name: "552 5.2.2 Full"}, content="stream")
            replies = self.converse(handler, MAIL, b"DATA\r\n", b"Hi\r\n.\r\n")
            self.assertIn(b"552 5.2.2 Full\r\n", replies)
            self.assertEqual([], handler.messages)

    def test_list(self) -> None:
        """
        A list is used up, and it stays what it was for the next handler.
        """
        verdicts = {"NOOP": ["250 2.0.0 One", Reply(450, "4.0.0", ("Two",))]}
        for _ in range(2):
            self.assertEqual(
                b"250 2.0.0 One\r\n450 4.0.0 Two\r\n250 2.0.0 OK\r\n",
                self.converse(RecordingHandler(verdicts), b"NOOP\r\n" * 3),
            )

    def test_raised(self) -> None:
        handler = RecordingHandler({"NOOP": ArithmeticError("secret")})
        self.assertEqual(b"451 4.3.0", self.converse(handler, b"NOOP\r\n")[:9])
        self.assertEqual(1, len(self.flushLoggedErrors(ArithmeticError)))

    def test_callable(self) -> None:
        """
        It gets what the hook gets, and may return something to wait for.
        """
        for when in ("now", "coroutine", "later"):
            waiting: Deferred[str] = Deferred()
            verdicts = {
                "NOOP": lambda server, session, envelope, arg: f"250 2.0.0 {arg}",
                "VRFY": partial(self.pass_on, waiting),
            }
            client = connect(make_factory(RecordingHandler(verdicts, when=when)))
            client.take()
            client.send(b"NOOP x\r\nVRFY y\r\n")
            self.assertEqual(b"250 2.0.0 x\r\n", client.take())
            waiting.callback("252 2.0.0 Perhaps")
            client.pump()
            self.assertEqual(b"252 2.0.0 Perhaps\r\n", client.take())

    def pass_on(self, waiting: Deferred[str], *context: Any) -> Deferred[str]:
        return waiting

    def test_arrives_at_once(self) -> None:
        """
        What is sent at once has arrived before the clock is looked at.
        """
        client = connect(make_factory(RecordingHandler()))
        seen: list[bytes] = []
        client.protocol.dataReceived = seen.append
        client.clock.callLater(0, lambda: seen.append(b"tick"))
        client.send(b"NOOP\r", b"\nNOOP\r\n")
        self.assertEqual([b"NOOP\r", b"\nNOOP\r\n", b"tick"], seen)

    def test_subclass(self) -> None:
        """
        A hook that a subclass defines is that which is called.
        """

        class Mine(RecordingHandler):
            def handle_NOOP(
                self, server: Any, session: Session, envelope: Envelope, arg: str
            ) -> str:
                return "250 2.0.0 Mine"

        self.assertEqual(b"250 2.0.0 Mine\r\n", self.converse(Mine(), b"NOOP\r\n"))


GOOD = r"""
# A comment.
%set ident="here" # Python
%hook VRFY ["raise", "550 5.1.1 Nobody"]
S: 220 mx.example here
C: EHLO client.example
S: *
C: MAIL FROM:<a@b>
S: 250 2.1.0 ...
C: RCPT TO:<c@d>
S: 250 2.1.5 ... OK
C: DATA
S: 354 ...
C:
C> a\r\n
C: b
C: .
S: 250 2.0.0 Message accepted
M: <a@b> -> <c@d>
|
| a
|> b\r\n
C: QUIT
S: 221 2.0.0 Bye
S: [close]
C: is not sent any more
"""


class TranscriptTests(SynchronousTestCase):
    """
    Dialogs that are written down.
    """

    def assertFails(self, text: str, *expected: str, **options: Any) -> None:
        error = self.assertRaises(AssertionError, Transcript.parse(text).replay, **options)
        for words in expected:
            self.assertIn(words, str(error))

    def changed(self, old: str, new: str) -> str:
        self.assertEqual(1, GOOD.count(old), old)
        return GOOD.replace(old, new)

    def test_good(self) -> None:
        """
        A transcript of what happens passes in every way, and what happened is returned.
        """
        transcript = Transcript.parse(GOOD)
        for cut in ("whole", "lock-step", "octets", "burst", *transcript.cuts()):
            for when in ("now", "coroutine", "later"):
                for content in ("whole", "stream"):
                    replayed = transcript.replay(cut=cut, when=when, content=content)  # type: ignore[arg-type]
                    self.assertEqual((("<a@b> -> <c@d>", b"\r\na\r\nb\r\n"),), replayed.messages)
                    self.assertTrue(replayed.closed)
                    self.assertTrue(replayed.received.endswith(b"221 2.0.0 Bye\r\n"))
        self.assertTrue(transcript.explains([]))
        self.assertFalse(transcript.explains(["RuntimeError"]))

    def test_wrong_reply(self) -> None:
        self.assertFails(
            self.changed("here\nC", "there\nC"),
            "line 5 wants  S: 220 mx.example there\nbut there is  S: 220 mx.example here\n",
            "(replayed octets, hooks later, content stream)\n\nS: 220 mx.example here",
            cut="octets",
            when="later",
            content="stream",
        )

    def test_cut_is_named(self) -> None:
        self.assertFails(self.changed("Bye", "Hi"), "(replayed cut behind octet 7, hooks", cut=7)

    def test_pattern_is_whole(self) -> None:
        self.assertFails(self.changed("S: 354 ...", "S: 35...4 x"), "line 13 wants")

    def test_dialog_is_shown(self) -> None:
        self.assertFails(
            self.changed("Bye", "Hi"),
            "C: RCPT TO:<c@d>\nS: 250 2.1.5 Recipient OK\nC: DATA\n",
            "S: [close]",
            cut="lock-step",
        )

    def test_missing_reply(self) -> None:
        self.assertFails(
            self.changed("S: [close]", "S: 250 more"),
            "line 25 wants  S: 250 more\nbut there is nothing",
        )

    def test_missing_long_reply(self) -> None:
        self.assertFails(
            self.changed("S: [close]", "S: *"), "line 25 wants  S: *\nbut there is nothing"
        )

    def test_reply_that_is_late(self) -> None:
        """
        A reply has to be there before what stands below it is said.
        """
        text = "S: 220 ...\nS: 250 2.0.0 OK\nC: NOOP\n"
        self.assertFails(text, "line 2 wants  S: 250 2.0.0 OK\nbut there is nothing")

    def test_extra_reply(self) -> None:
        self.assertFails(
            self.changed("S: 221 2.0.0 Bye\n", ""),
            "no more replies are wanted\nbut there is  S: 221 2.0.0 Bye",
        )

    def test_unfinished_reply(self) -> None:
        class Unfinished(SMTPFactory):
            def buildProtocol(self, addr: Any) -> Any:
                protocol = super().buildProtocol(addr)
                protocol.connectionMade = lambda: protocol.transport.write(b"250-a\r\n220")
                protocol.connectionLost = lambda reason: None
                return protocol

        def make(handler: object, **settings: Any) -> SMTPFactory:
            return Unfinished(handler, reactor=Clock(), **settings)

        self.assertFails("S: 250-a", "but there is  S: 220 (without CRLF)", make=make)
        self.assertFails("S: *\nS: 250", "line 2 wants", make=make)

    def test_wrong_message(self) -> None:
        for old, new in (
            ("| a\n", "| A\n"),
            ("|> b\\r\\n", "|> b"),
            ("-> <c@d>", "-> <c@e>"),
            ("-> <c@d>", "-> <c@d> <e@f>"),
        ):
            self.assertFails(self.changed(old, new), "these messages are wanted:\nM: <a@b> -> <c@")

    def test_missing_message(self) -> None:
        self.assertFails(
            GOOD + "M: <> -> <e@f>\n| x\n|> y",
            "M: <> -> <e@f>\n| x\n|> y\nbut there are:\nM: <a@b> -> <c@d>\n| \n| a\n| b\n(replayed",
        )

    def test_extra_message(self) -> None:
        start = GOOD.index("M: <")
        without = GOOD[:start] + GOOD[GOOD.index("C: QUIT") :]
        self.assertFails(without, "these messages are wanted:\n\nbut there are:\nM: <a@b>")

    def test_not_closed(self) -> None:
        self.assertFails("S: 220 ...\nS: [close]", "the connection is open at the end")

    def test_closed(self) -> None:
        self.assertFails("S: 220 ...\nC: QUIT\nS: 221 ...", "the connection is closed at the end")

    def test_events(self) -> None:
        for text in (
            "S: 220 ...\nC: NOOP\nC: [half-close]\nS: 250 ...\nS: [close]",
            "S: 220 ...\nC: NOOP\nS: 250 ...\nC: [disconnect]",
            "S: 220 ...\nC: NOOP\nC: [wait 299.5]\nS: 250 ...\nC: [wait 1]\nS: 421 ...\nS: [close]",
        ):
            transcript = Transcript.parse(text)
            cuts: list[Cut] = ["whole", "lock-step", "octets", *transcript.cuts()]
            for cut in cuts:
                transcript.replay(cut=cut)

    def test_extensions(self) -> None:
        """
        There are those that are named besides the default ones, with the settings that follow.
        """
        text = """
            %extension txsmtpd.extensions.size.Size
            %extension txsmtpd.extensions.mt_priority.MTPriority
            %extension txsmtpd.extensions.deliverby.DeliverBy minimum=300
            S: 220 ...
            C: EHLO client.example
            S: *
            C: MAIL FROM:<a@b> SIZE=1 MT-PRIORITY=3 BY=300;R
            S: 250 2.1.0 ...
            C: RSET
            S: 250 2.0.0 ...
            C: MAIL FROM:<a@b> BY=299;R
            S: 555 5.5.4 ...
            """
        transcript = Transcript.parse(dedent(text))
        transcript.replay()
        offered: list[Any] = []

        def make(handler: object, **settings: Any) -> SMTPFactory:
            offered.append(settings.get("extensions"))
            return make_factory(handler, **settings)

        transcript.replay(make)
        Transcript.parse("%extension txsmtpd.extensions.size.Size\nS: 220 ...").replay(make)
        more, default = offered
        self.assertEqual((*DEFAULT, *transcript.extensions[1:]), more)
        self.assertIsNone(default)

    def test_users(self) -> None:
        """
        Those that are named can log in, and a failure takes as long as it takes.
        """
        text = """
            %set auth_require_tls=False
            %user ann through the looking-glass
            %user b\\xc3\\xb6b x
            S: 220 ...
            C: EHLO client.example
            S: *
            C: AUTH PLAIN AGFubgB3cm9uZw==
            C: [wait 1]
            S: 535 5.7.8 ...
            C: AUTH PLAIN {}
            S: 235 2.7.0 ...
            """
        for name, password in (("ann", "through the looking-glass"), ("b\u00f6b", "x")):
            message = b64encode(f"\0{name}\0{password}".encode()).decode()
            transcript = Transcript.parse(dedent(text.format(message)))
            cuts: list[Cut] = ["whole", "lock-step", "octets", *transcript.cuts()]
            for cut in cuts:
                transcript.replay(cut=cut)
        hasty = dedent(text.format(message)).replace("[wait 1]", "[wait 0.9]")
        self.assertFails(hasty, "wants  S: 535 5.7.8 ...\nbut there is nothing")

    def test_raise(self) -> None:
        """
        The exception's words never get to the client.
        """
        text = "%hook NOOP raise\nS: 220 ...\nC: NOOP\nS: 451 4.3.0 Local..."
        Transcript.parse(text).replay()
        (failure,) = self.flushLoggedErrors(RuntimeError)
        self.assertEqual("boom, not for clients", failure.getErrorMessage())

    def test_logs(self) -> None:
        any_error, one = Transcript.parse("%logs"), Transcript.parse("%logs KeyError")
        self.assertFalse(any_error.explains([]))
        self.assertTrue(any_error.explains(["KeyError", "ValueError"]))
        self.assertFalse(one.explains([]))
        self.assertFalse(one.explains(["KeyError", "ValueError"]))
        self.assertTrue(one.explains(["KeyError"]))

    def test_needed_hooks(self) -> None:
        """
        Every hook is called, or only those that the transcript speaks of.
        """
        handlers: list[Any] = []

        def make(handler: object, **settings: Any) -> SMTPFactory:
            handlers.append(handler)
            return make_factory(handler, **settings)

        transcript = Transcript.parse(GOOD)
        first = transcript.replay(make, every_hook=False)
        self.assertEqual(first, transcript.replay(make))
        few, every = ({call.hook for call in handler.calls} for handler in handlers)
        self.assertEqual({"DATA"}, few)
        self.assertLess({"CONNECT", "EHLO", "MAIL", "RCPT", "DATA", "QUIT", "DISCONNECT"}, every)

    def test_expn(self) -> None:
        """
        There is a hook for EXPN only where the transcript has one, because the hook offers it.
        """
        Transcript.parse("S: 220 ...\nC: EXPN x\nS: 502 ...").replay()
        Transcript.parse("%hook EXPN '250 y'\nS: 220 ...\nC: EXPN x\nS: 250 ... y").replay()

    def test_left_overs(self) -> None:
        """
        What a server leaves behind fails, even if the dialog is right.
        """
        text = "S: 220 ..."

        def with_timer(handler: object, **settings: Any) -> SMTPFactory:
            factory = make_factory(handler, **settings)
            factory.reactor.callLater(60, print)
            return factory

        def with_connection(handler: object, **settings: Any) -> SMTPFactory:
            factory = make_factory(handler, **settings)
            factory.census.release = lambda connection: None  # type: ignore[method-assign]
            return factory

        def with_content(handler: object, **settings: Any) -> SMTPFactory:
            factory = make_factory(handler, **settings)
            factory.rules.budget.take(5)
            return factory

        self.assertFails(text, "delayed calls are left over:\n", make=with_timer)
        self.assertFails(text, "the connection still counts", make=with_connection)
        self.assertFails(text, "5 octets of content still count", make=with_content)

    def test_rehearsal(self) -> None:
        """
        One server serves every replay, and what one of them leaves behind is found at once.
        """
        made: list[SMTPFactory] = []

        def make(handler: object, **settings: Any) -> SMTPFactory:
            made.append(make_factory(handler, **settings))
            return made[-1]

        transcript = Transcript.parse(GOOD)
        rehearsal = Rehearsal(transcript, make)
        first = transcript.replay()
        cuts: list[Cut] = ["whole", "lock-step", "octets", "burst", 7, 100]
        for cut in cuts:
            self.assertEqual(first, rehearsal.replay(cut))
        (factory,) = made
        factory.census.release = lambda connection: None  # type: ignore[method-assign]
        error = self.assertRaises(AssertionError, rehearsal.replay)
        self.assertTrue(str(error).startswith("the connection still counts"), str(error))

    def test_other_handlers(self) -> None:
        """
        A server of one's own is a function that makes its factory.
        """
        own = RecordingHandler({"NOOP": "250 2.0.0 Mine"})

        def make(handler: object, **settings: Any) -> SMTPFactory:
            return make_factory(own, handler, **settings)

        Transcript.parse("S: 220 ...\nC: NOOP\nS: 250 2.0.0 Mine").replay(make)

    def test_cannot_be_read(self) -> None:
        for line in (
            "EHLO client.example",
            "C:\\q",
            "C: \\",
            "C: \\x1",
            "C: \\{a*}",
            "C: [sleep]",
            "C: [wait soon]",
            "| content",
            "%set timeout=soon",
            "%set timeout=(",
            "%hook",
            "%hook RCPT",
            "%user",
            "%user ann",
            "%user  wonderland",
            "%user ann \\q",
            "%extension",
            "%extension txsmtpd.extensions.size.Sise",
            "%extension nowhere.Size",
            "%extension txsmtpd.extensions.size.Size limit",
            "%unknown",
        ):
            error = self.assertRaises(ValueError, Transcript.parse, f"\n{line}")
            self.assertTrue(str(error).startswith("line 2: "), str(error))
        for line in ("S: 250 OK", "S: [close]"):
            self.assertRaises(ValueError, Transcript.parse, f"S: [close]\n{line}")

    def test_escapes(self) -> None:
        for text, octets in (
            ("plain", b"plain"),
            ("é", b"\xc3\xa9"),
            (r"\r\n\t\0\\\x4f\xfF", b"\r\n\t\0\\O\xff"),
            (r"<\{a.*3}>", b"<a.a.a.>"),
            (r"\{\r\n*2}\{é*2}", b"\r\n\r\n\xc3\xa9\xc3\xa9"),
            (r"\{x*0}", b""),
            (r"\\{x*2}", b"\\{x*2}"),
        ):
            self.assertEqual(octets, unescape(text))

    def test_cuts(self) -> None:
        """
        A short script is cut everywhere, a long one near its line ends and inside its lines.
        """
        self.assertEqual(list(range(1, 12)), Transcript.parse("C: NOOP\nC: QUIT").cuts())
        self.assertEqual([], Transcript.parse("S: 220 ...").cuts())
        long = Transcript.parse(f"C: \\{{x*{LONG}}}\nC: \\{{y*{LONG}}}")
        middle = LONG + 2
        self.assertEqual(
            [
                *(1, 2, 3, 4, middle // 2),
                *range(middle - 4, middle + 5),
                middle + middle // 2,
                *range(2 * middle - 4, 2 * middle),
            ],
            long.cuts(),
        )
        many = Transcript.parse("C: \\{x\\r\\n*2000}").cuts()
        self.assertLessEqual(len(many), 300)

    def test_long_octets(self) -> None:
        """
        The inside of long lines is not sent octet by octet, but all of it is sent.
        """
        text = f"S: 220 ...\nC: NOOP\nC: NOOP \\{{x*{LONG}}}\nS: 250 ...\nS: 500 ..."
        for cut in ("octets", "burst"):
            Transcript.parse(text).replay(cut=cut)
