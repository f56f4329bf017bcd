"""
Tests for txsmtpd.protocol: what it makes of connections, answers and defects.  How it waits is in
test_flow, how it ends in test_ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from typing import Any

from twisted.internet.address import HostnameAddress, IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.internet.interfaces import IAddress, IHalfCloseableProtocol
from zope.interface.verify import verifyObject

from txsmtpd import SMTP, Rejected, Reply, hooks
from txsmtpd.core.outcomes import Outcome, Verb
from txsmtpd.core.session import Session
from txsmtpd.core.states import START
from txsmtpd.extensions.base import Extension
from txsmtpd.factory import DEFAULT
from txsmtpd.testing import RecordingHandler, connect, make_factory

from .test_flow import CONTENT, DATA, MAIL, MESSAGE, RCPT, FlowTestCase, Later, codes, greeted

token: ContextVar[str] = ContextVar("token", default="none")


class ConnectionTests(FlowTestCase):
    """
    What a session knows of its connection.
    """

    def session(self, peer: IAddress, host: IAddress) -> Session:
        handler = RecordingHandler()
        connect(make_factory(handler), peer=peer, host=host)
        return handler.calls[0].session

    def test_greeting(self) -> None:
        client = connect(make_factory(RecordingHandler(), ident="ESMTP test"))
        self.assertEqual(client.received, b"220 mx.example ESMTP test\r\n")
        self.assertEqual(len(client.writes), 1)

    def test_ipv4(self) -> None:
        peer, host = IPv4Address("TCP", "192.0.2.1", 1025), IPv4Address("TCP", "192.0.2.2", 25)
        session = self.session(peer, host)
        self.assertEqual(session.peer, ("192.0.2.1", 1025))
        self.assertEqual(session.local, ("192.0.2.2", 25))

    def test_ipv6(self) -> None:
        peer = IPv6Address("TCP", "2001:db8::1", 1025, 7, 3)
        session = self.session(peer, IPv6Address("TCP", "2001:db8::2", 25))
        self.assertEqual(session.peer, ("2001:db8::1", 1025, 7, 3))
        self.assertEqual(session.local, ("2001:db8::2", 25, 0, 0))

    def test_unix(self) -> None:
        session = self.session(UNIXAddress(None), UNIXAddress(b"/run/lmtp.sock"))
        self.assertEqual(session.peer, b"")
        self.assertEqual(session.local, b"/run/lmtp.sock")

    def test_other(self) -> None:
        session = self.session(HostnameAddress(b"x", 1), HostnameAddress(b"y", 2))
        self.assertIsNone(session.peer)

    def test_reactor(self) -> None:
        handler = RecordingHandler()
        factory = make_factory(handler)
        connect(factory)
        self.assertIs(handler.calls[0].session.reactor, factory.reactor)

    def test_server(self) -> None:
        """
        What hooks find on their first argument.
        """
        seen: list[Any] = []
        handler = RecordingHandler({"NOOP": lambda *arguments: seen.extend(arguments[:3])})
        client = greeted(handler)
        client.send(b"NOOP\r\n")
        server, session, envelope = seen
        self.assertIs(server, client.protocol)
        self.assertIs(server.session, session)
        self.assertIs(server.envelope, envelope)
        self.assertEqual(server.hostname, "mx.example")
        self.assertEqual(server.settings.timeout, 300)

    def test_log_prefix(self) -> None:
        class MySMTP(SMTP):
            pass

        self.assertEqual(SMTP().logPrefix(), "SMTP")
        self.assertEqual(MySMTP().logPrefix(), "MySMTP")

    def test_half_closeable(self) -> None:
        verifyObject(IHalfCloseableProtocol, SMTP())


class JunkTests(FlowTestCase):
    """
    What does not speak SMTP is sent away with one log line.
    """

    def assert_sent_away(self, sent: bytes, *, says: list[int]) -> None:
        self.logged.clear()
        handler = RecordingHandler()
        client = greeted(handler)
        client.send(sent)
        self.assertEqual(codes(client), says)
        self.assertEqual([call.hook for call in handler.calls], ["CONNECT", "DISCONNECT"])
        self.assertEqual(len(self.log_lines()), 1, sent)
        self.assert_clean(client)

    def test_tls(self) -> None:
        hello = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\x00\r\nNOOP\r\n" * 20
        self.assert_sent_away(hello, says=[])

    def test_binary(self) -> None:
        for octet in (0, 1, 8, 11, 12, 27, 31, 127, 128, 255):
            self.assert_sent_away(bytes([octet]) + b"NOOP\r\nNOOP\r\n", says=[])

    def test_http(self) -> None:
        for verb in ("GET", "POST", "PUT", "HEAD", "OPTIONS", "CONNECT", "DELETE", "get"):
            sent = f"{verb} / HTTP/1.1\r\nHost: x\r\n\r\nNOOP\r\n"
            self.assert_sent_away(sent.encode(), says=[421])

    def test_before_the_greeting(self) -> None:
        later = Later()
        client = connect(make_factory(RecordingHandler({"CONNECT": later})))
        client.send(b"\x16\x03\x01")
        self.assertEqual(client.received, b"")
        self.assertEqual(later.cancelled, later.waiting)
        self.assert_clean(client)

    def test_verdict_after_junk_before_the_greeting(self) -> None:
        """
        Nothing is greeted that is on its way out.
        """
        for verdict in (None, "421 Go"):
            later = Later()
            client = connect(make_factory(RecordingHandler({"CONNECT": later})))
            client.transport.blocked = True
            client.reading = False
            client.protocol.dataReceived(b"\x16\x03\x01")
            later.waiting[0].callback(verdict)
            client.reading = True
            client.pump()
            self.assertNotIn(b"220", client.received)
            self.assert_clean(client)

    def test_only_at_the_start(self) -> None:
        """
        Later it is one bad line among others.
        """
        client = greeted(RecordingHandler())
        client.send(b"NOOP\r\n")
        client.send(b"\x16\x03\x01\r\nNOOP\r\n")
        self.assertEqual(codes(client), [250, 500, 250])

    def test_white_space_at_the_start(self) -> None:
        for octet in (b"\r\n", b"\n", b"\t"):
            client = greeted(RecordingHandler())
            client.send(octet + b"\r\nNOOP\r\n")
            self.assertFalse(client.closed)
            self.assertEqual(codes(client)[-1], 250)

    def test_nothing_at_the_start(self) -> None:
        client = greeted(RecordingHandler())
        client.protocol.dataReceived(b"")
        client.send(b"\x16")
        self.assert_clean(client)


class AnswerTests(FlowTestCase):
    """
    A hook may answer with a value, a Deferred or a coroutine: the client cannot tell.
    """

    def answers(self, value: Any) -> dict[str, Callable[..., Any]]:
        """
        Every way to answer with `value`, which is raised if it is an exception.
        """
        later: Deferred[Any] = Deferred()

        def conclude(_: Any = None) -> Any:
            if isinstance(value, Exception):
                raise value
            return value

        async def coroutine() -> Any:
            return conclude()

        async def awaits_fired() -> Any:
            await succeed(None)
            return await coroutine()

        async def awaits_later() -> Any:
            await self.clock_tick()
            await self.clock_tick()
            return conclude()

        async def fails_before_waiting() -> Any:
            await coroutine()
            await Deferred()

        ways: dict[str, Callable[..., Any]] = {
            "value": conclude,
            "coroutine": coroutine,
            "coroutine that awaits what is there": awaits_fired,
            "coroutine that awaits several": awaits_later,
            "Deferred": lambda: self.clock_tick().addCallback(conclude),
            "fired Deferred": lambda: succeed(None).addCallback(conclude),
        }
        if isinstance(value, Exception):
            ways["failed Deferred"] = lambda: fail(value)
            ways["coroutine that fails before it waits"] = fails_before_waiting
        self.assertFalse(later.called)
        return ways

    def clock_tick(self) -> Deferred[None]:
        tick: Deferred[None] = Deferred()
        self.factory.reactor.callLater(0, tick.callback, None)
        return tick

    def check(self, value: Any, said: bytes, errors: int = 0) -> None:
        for way, answer in self.answers(value).items():
            handler = Answering(answer)
            self.factory = make_factory(handler)
            client = connect(self.factory)
            client.take()
            client.send(b"VRFY x\r\nNOOP\r\n")
            self.assertEqual(client.take(), said + b"250 2.0.0 OK\r\n", way)
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), errors, way)
            client.disconnect()
            self.assert_clean(client)

    def test_none(self) -> None:
        self.check(None, b"252 2.0.0 Cannot VRFY user, but will take mail for it\r\n")

    def test_text(self) -> None:
        self.check("250 2.1.5 <x@d.example>", b"250 2.1.5 <x@d.example>\r\n")

    def test_octets(self) -> None:
        self.check(b"250 Yes", b"250 2.0.0 Yes\r\n")

    def test_reply(self) -> None:
        self.check(
            Reply(550, "5.1.1", ("No", "such user")), b"550-5.1.1 No\r\n550 5.1.1 such user\r\n"
        )

    def test_rejected(self) -> None:
        self.check(Rejected("550 5.1.1 No such user"), b"550 5.1.1 No such user\r\n")

    def test_exception(self) -> None:
        said = b"451 4.3.0 Local error, try again later\r\n"
        self.check(RuntimeError("secret"), said, errors=1)

    def test_no_deferred_when_nothing_waits(self) -> None:
        """
        A whole dialog makes none, neither for plain hooks nor for coroutines that do not wait.
        """
        made: list[Deferred[Any]] = []
        make = Deferred.__init__

        def counting(deferred: Deferred[Any], *arguments: Any, **options: Any) -> None:
            made.append(deferred)
            make(deferred, *arguments, **options)

        for when in ("now", "coroutine"):
            for content in ("whole", "stream"):
                handler = RecordingHandler(when=when, content=content)
                factory = make_factory(handler)
                self.patch(Deferred, "__init__", counting)
                client = connect(factory)
                client.send(MESSAGE + RCPT + b"BDAT 5 LAST\r\nHelloHELP\r\nRSET\r\nQUIT\r\n")
                self.assertEqual(made, [])
                self.assertTrue(client.closed)
                self.assertEqual(len(handler.messages), 2)

    def test_context_variables(self) -> None:
        """
        They are kept in a hook that waits, and no other hook sees them.
        """
        seen: list[str] = []

        async def hook(*arguments: Any) -> None:
            seen.append(token.get())
            token.set(arguments[-1])
            await self.clock_tick()
            seen.append(token.get())

        self.factory = make_factory(RecordingHandler({"NOOP": hook}))
        client = connect(self.factory)
        client.send(b"NOOP a\r\nNOOP b\r\n")
        self.assertEqual(seen, ["none", "a", "none", "b"])


@hooks
class Answering:
    """
    Answers VRFY as it is told, without anything in between.
    """

    def __init__(self, answer: Callable[[], Any]) -> None:
        self._answer = answer

    def handle_VRFY(self, server: Any, session: Any, envelope: Any, address: str) -> Any:
        return self._answer()


class ExceptionTests(FlowTestCase):
    """
    What a hook raises is logged once, with its traceback, and never shown to the client.
    """

    def check(self, hook: str, sent: bytes, said: list[int], **options: Any) -> None:
        for error in (RuntimeError("secret"), lambda *_: fail(RuntimeError("secret"))):
            handler = RecordingHandler({hook: error}, **options)
            client = connect(make_factory(handler))
            client.send(sent + b"NOOP\r\n")
            self.assertEqual(codes(client)[-len(said) :], said, hook)
            self.assertNotIn(b"secret", client.received)
            (failure,) = self.flushLoggedErrors(RuntimeError)
            self.assertIn("secret", failure.getTraceback())
            self.assertEqual([call.hook for call in handler.calls].count("exception"), 1, hook)
            client.disconnect()
            self.assert_clean(client)

    def test_connect(self) -> None:
        self.check("CONNECT", b"", [421])

    def test_commands(self) -> None:
        cases = {
            "EHLO": b"EHLO c.example\r\n",
            "HELO": b"HELO c.example\r\n",
            "MAIL": MAIL,
            "RCPT": RCPT,
            "DATA_start": DATA,
            "RSET": b"RSET\r\n",
            "VRFY": b"VRFY x\r\n",
            "EXPN": b"EXPN x\r\n",
            "HELP": b"HELP\r\n",
        }
        for hook, sent in cases.items():
            self.check(hook, sent, [451, 250])

    def test_quit(self) -> None:
        self.check("QUIT", b"QUIT\r\n", [451])

    def test_delivery(self) -> None:
        self.check("DATA", MESSAGE, [451, 250])
        self.check("DATA", MESSAGE, [451, 250], content="stream")

    def test_receiver(self) -> None:
        self.check("open_content", DATA, [451, 250], content="stream")
        self.check("write", MESSAGE, [451, 250], content="stream")

    def test_chunk(self) -> None:
        self.check("DATA_start", RCPT + b"BDAT 6 LAST\r\nNOOP\r\n", [451, 250])

    def test_abort(self) -> None:
        """
        There is nobody to tell but the log.
        """
        for error in (RuntimeError("boom"), lambda *_: fail(RuntimeError("boom"))):
            handler = RecordingHandler({"abort": error}, content="stream")
            client = greeted(handler)
            client.send(DATA + CONTENT)
            client.disconnect()
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
            self.assert_clean(client)

    def test_session_is_named(self) -> None:
        handler = RecordingHandler({"VRFY": RuntimeError("boom")})
        client = greeted(handler)
        client.send(b"VRFY x\r\n")
        (event,) = [event for event in self.logged if "log_failure" in event]
        self.assertEqual(event["session"], handler.calls[-1].session.id)
        self.flushLoggedErrors(RuntimeError)

    def test_several(self) -> None:
        """
        The connection goes on, each time.
        """
        client = greeted(RecordingHandler({"VRFY": RuntimeError("boom")}))
        client.send(b"VRFY x\r\n" * 50)
        self.assertEqual(codes(client), [451] * 50)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 50)

    def test_cancelled_by_asyncio(self) -> None:
        """
        What asyncio raises for a task that was cancelled is no Exception, and may not hang the
        session.
        """
        later = Later()
        client = greeted(RecordingHandler({"VRFY": later}))
        client.send(b"VRFY x\r\nNOOP\r\n")
        later.waiting.pop().errback(asyncio.CancelledError())
        client.pump()
        self.assertEqual(codes(client), [451, 250])
        self.flushLoggedErrors(asyncio.CancelledError)

    def test_cancelled_in_disconnect_hook(self) -> None:
        """
        Something that ends because the connection has ended is no news.
        """
        client = greeted(RecordingHandler({"DISCONNECT": CancelledError()}))
        client.disconnect()
        self.assertEqual(self.log_lines(), [])
        self.assert_clean(client)


class Broken(Extension):
    """
    An extension whose refusal is defective.
    """

    later = Later()

    def verbs(self) -> Mapping[str, Verb]:
        async def run(context: Any, argument: str) -> Outcome:
            await self.later()
            raise Rejected("550 No")

        def refused(context: Any, argument: str, reply: Reply) -> Outcome:
            raise RuntimeError("boom")

        return {"XBROKEN": Verb(run, "XBROKEN", refused=refused)}

    def rows(self) -> Any:
        return {START: {"XBROKEN": START}}


class BrokenAtOnce(Extension):
    """
    An extension whose refusal is defective, and which does not wait.
    """

    def verbs(self) -> Mapping[str, Verb]:
        def run(context: Any, argument: str) -> Outcome:
            raise Rejected("550 No")

        def refused(context: Any, argument: str, reply: Reply) -> Outcome:
            raise RuntimeError("boom")

        return {"XATONCE": Verb(run, "XATONCE", refused=refused)}

    def rows(self) -> Any:
        return {START: {"XATONCE": START}}


class DefectTests(FlowTestCase):
    """
    When the dialog itself fails, it cannot be trusted any more.
    """

    def setUp(self) -> None:
        super().setUp()
        Broken.later = Later()
        self.handler = RecordingHandler()
        extensions = (*DEFAULT, Broken, BrokenAtOnce)
        factory = make_factory(self.handler, extensions=extensions)
        self.client = connect(factory)
        self.client.take()
        self.client.send(b"XBROKEN\r\nNOOP\r\n")

    def test_behind_a_pending_hook(self) -> None:
        """
        The client hears of it and does not wait for ever.
        """
        later = Later()
        handler = RecordingHandler({"NOOP": later})
        client = connect(make_factory(handler, extensions=(*DEFAULT, BrokenAtOnce)))
        client.take()
        client.send(b"NOOP\r\nXATONCE\r\n")
        later.fire(client)
        self.assertEqual(codes(client), [250, 421])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assert_clean(client)

    def test_closed(self) -> None:
        Broken.later.fire(self.client)
        self.assertTrue(self.client.take().startswith(b"421 4.3.0 "))
        self.assertEqual([call.hook for call in self.handler.calls], ["CONNECT", "DISCONNECT"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assert_clean(self.client)

    def test_closed_already(self) -> None:
        self.client.disconnect()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(self.client.take(), b"")
        self.assert_clean(self.client)
