"""
Tests for LMTP (RFC 2033), as a client sees it; its rules one by one are in tests/dialogs.
"""

from __future__ import annotations

import os
import re
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from docs.code import quota
from txsmtpd import LMTP, hooks
from txsmtpd.extensions.enhanced_status_codes import EnhancedStatusCodes
from txsmtpd.extensions.pipelining import Pipelining
from txsmtpd.extensions.size import Size
from txsmtpd.factory import DEFAULT, SMTPFactory
from txsmtpd.testing import Client, RecordingHandler, connect, make_factory
from txsmtpd.tls import self_signed

LHLO = b"LHLO c.example\r\n"
OPENING = b"MAIL FROM:<a@b.example>\r\nRCPT TO:<c@d.example>\r\nRCPT TO:<e@f.example>\r\n"
CREATOR = self_signed("mx.example")


def codes(client: Client) -> list[int]:
    """
    The codes of the replies since the last call.
    """
    return [int(code) for code in re.findall(rb"(?m)^([0-9]{3}) ", client.take())]


def greeted(handler: object | None = None, **settings: Any) -> Client:
    client = connect(make_factory(handler or RecordingHandler(), lmtp=True, **settings))
    client.take()
    return client


class GreetingTests(SynchronousTestCase):
    def greeting(self, handler: object | None = None, **settings: Any) -> bytes:
        return connect(make_factory(handler or RecordingHandler(), lmtp=True, **settings)).received

    def test_ident(self) -> None:
        self.assertEqual(b"220 mx.example LMTP txsmtpd\r\n", self.greeting())
        self.assertEqual(b"220 mx.example LMTP Us\r\n", self.greeting(ident="Us"))
        self.assertEqual(b"220 mx.example LMTP Us\r\n", self.greeting(ident="ESMTP Us"))

    def test_hook(self) -> None:
        handler = RecordingHandler({"CONNECT": "220 mx.example LMTP hello"})
        self.assertEqual(b"220 mx.example LMTP hello\r\n", self.greeting(handler))
        handler = RecordingHandler({"CONNECT": "554 5.7.1 No"})
        client = greeted(handler)
        client.send(LHLO + b"EHLO x\r\nQUIT\r\n")
        self.assertEqual([503, 503, 221], codes(client))

    def test_hooks_of_lhlo(self) -> None:
        """
        LHLO is EHLO for the hooks; nobody can say HELO.
        """
        handler = RecordingHandler({"EHLO": ["550 5.7.1 No", ["250-a", "250 MINE"]]})
        client = greeted(handler)
        client.send(LHLO * 2 + b"HELO x\r\nEHLO x\r\n")
        self.assertEqual(b"550 5.7.1 No\r\n250-a\r\n250 MINE\r\n", client.take()[:31])
        self.assertEqual(["CONNECT", "EHLO", "EHLO"], [call.hook for call in handler.calls])
        self.assertEqual("c.example", client.protocol.session.host_name)
        self.assertTrue(client.protocol.session.extended_smtp)

    def test_session(self) -> None:
        """
        Handlers can tell.
        """
        client = greeted()
        self.assertTrue(client.protocol.session.lmtp)
        self.assertTrue(client.protocol.session.exempt)
        session = connect(make_factory(RecordingHandler())).protocol.session
        self.assertFalse(session.lmtp or session.exempt)

    def test_default_extensions(self) -> None:
        """
        What RFC 2033 wants is offered whatever the factory was told, and never twice.
        """
        for extensions in ((), (Size,), (EnhancedStatusCodes, Size), DEFAULT):
            client = greeted(extensions=extensions)
            client.send(LHLO)
            lines = [line[4:] for line in client.take().decode().splitlines()]
            for keyword in ("PIPELINING", "ENHANCEDSTATUSCODES"):
                self.assertEqual(1, lines.count(keyword), (extensions, lines))
        factory = make_factory(RecordingHandler(), extensions=(Size,))
        client = connect(factory)
        client.send(b"EHLO c.example\r\n")
        self.assertNotIn(b"PIPELINING", client.take())
        self.assertNotIn(Pipelining, factory._extensions)


class ProtocolNameTests(SynchronousTestCase):
    """
    The name in trace headers (RFC 3848, RFC 6531 section 4.3).
    """

    def name(self, client: Client, mail: bytes = b"MAIL FROM:<>\r\n") -> str:
        client.send(LHLO + mail)
        name: str = client.protocol.envelope.protocol
        return name

    def test_names(self) -> None:
        self.assertEqual("LMTP", self.name(greeted()))
        self.assertEqual("UTF8LMTP", self.name(greeted(), b"MAIL FROM:<> SMTPUTF8\r\n"))
        client = greeted(context_factory=CREATOR, authenticator=lambda *context: True)
        client.send(b"STARTTLS\r\n")
        client.start_tls()
        self.assertEqual("LMTPS", self.name(client))
        client.send(b"RSET\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<>\r\n")
        self.assertEqual("LMTPSA", client.protocol.envelope.protocol)
        client.send(b"RSET\r\nMAIL FROM:<> SMTPUTF8\r\n")
        self.assertEqual("UTF8LMTPSA", client.protocol.envelope.protocol)


class SecurityTests(SynchronousTestCase):
    """
    What is demanded of others is not demanded here, but may be used.
    """

    demands = {"require_starttls": True, "auth_required": True}  # noqa: RUF012

    def server(self, **more: Any) -> SMTPFactory:
        return make_factory(
            RecordingHandler(),
            context_factory=CREATOR,
            authenticator=lambda *context: True,
            **{**self.demands, **more},
        )

    def deliver(self, client: Client, hello: bytes = LHLO) -> list[int]:
        client.take()
        client.send(hello + OPENING + b"DATA\r\n.\r\n")
        return codes(client)

    def test_not_demanded(self) -> None:
        factory = self.server(lmtp=True)
        self.assertEqual([250, 250, 250, 250, 354, 250, 250], self.deliver(connect(factory)))

    def test_unix_socket(self) -> None:
        """
        Nor is it of SMTP there.
        """
        address = UNIXAddress(b"/run/mail/lmtp.sock")
        for lmtp, hello, last in ((True, LHLO, [250, 250]), (False, b"EHLO x\r\n", [250])):
            client = connect(self.server(lmtp=lmtp), peer=UNIXAddress(None), host=address)
            self.assertEqual([250, 250, 250, 250, 354, *last], self.deliver(client, hello))

    def test_demanded_beside(self) -> None:
        """
        The port for SMTP of the same server demands it.
        """
        factory = self.server()
        lmtp = factory.beside(protocol=LMTP)
        client = connect(factory)
        self.assertEqual([250, 530, 530, 530, 530], self.deliver(client, b"EHLO x\r\n")[:5])
        self.assertEqual([250, 250, 250, 250, 354, 250, 250], self.deliver(connect(lmtp)))

    def test_starttls(self) -> None:
        client = connect(self.server(lmtp=True))
        client.send(LHLO)
        self.assertIn(b"250-STARTTLS\r\n", client.take())
        client.send(b"STARTTLS\r\n")
        self.assertEqual([220], codes(client))
        client.start_tls()
        client.send(b"MAIL FROM:<>\r\n")
        self.assertEqual([503], codes(client))
        client.send(LHLO)
        heard = client.take()
        self.assertNotIn(b"STARTTLS", heard)
        self.assertIn(b"250-AUTH ", heard)
        self.assertTrue(client.protocol.session.lmtp)
        client.send(OPENING + b"DATA\r\n.\r\n")
        self.assertEqual([250, 250, 250, 354, 250, 250], codes(client))

    def test_tls_first(self) -> None:
        client = connect(self.server(lmtp=True).beside(implicit_tls=True))
        client.start_tls()
        self.assertEqual(b"220 mx.example LMTP txsmtpd\r\n", client.received)
        self.assertEqual([250, 250, 250, 250, 354, 250, 250], self.deliver(client))

    def test_auth(self) -> None:
        """
        Offered under TLS only, as elsewhere.
        """
        client = connect(self.server(lmtp=True))
        client.take()
        client.send(LHLO)
        self.assertNotIn(b"AUTH", client.take())
        client.send(b"AUTH PLAIN AGEAYg==\r\n")
        self.assertEqual([538], codes(client))


class BesideTests(SynchronousTestCase):
    """
    LMTP and SMTP of one server.
    """

    def test_counted_together(self) -> None:
        factory = make_factory(RecordingHandler(), max_connections=1)
        lmtp = factory.beside(protocol=LMTP)
        first = connect(factory)
        self.assertEqual([421], codes(connect(lmtp)))
        first.disconnect()
        client = connect(lmtp)
        self.assertEqual([220], codes(client))
        self.assertEqual([421], codes(connect(factory)))

    def test_drained_together(self) -> None:
        factory = make_factory(RecordingHandler())
        lmtp = factory.beside(protocol=LMTP)
        client = connect(lmtp)
        drained = factory.drain()
        client.pump()
        self.successResultOf(drained)
        self.assertTrue(client.closed)

    def test_each_in_its_way(self) -> None:
        factory = make_factory(RecordingHandler())
        lmtp = factory.beside(protocol=LMTP)
        clients = connect(factory), connect(lmtp)
        for client in clients:
            client.take()
            client.send(LHLO + b"EHLO c.example\r\n")
        self.assertEqual([[500, 250], [250, 500]], [codes(client) for client in clients])

    def test_subclass(self) -> None:
        """
        Commands of a subclass, and its own LHLO.
        """

        class Mine(LMTP):
            def smtp_PING(self, argument: str) -> str:
                return "250 2.0.0 PONG"

            async def smtp_LHLO(self, argument: str) -> Any:
                self.session.notes["asked"] = argument
                return await super().smtp_LHLO(argument)

        factory = make_factory(RecordingHandler()).beside(protocol=Mine)
        client = connect(factory)
        client.take()
        client.send(b"PING\r\n" + LHLO + OPENING + b"DATA\r\n.\r\n")
        self.assertEqual([250, 250, 250, 250, 250, 354, 250, 250], codes(client))
        self.assertEqual("c.example", client.protocol.session.notes["asked"])


class TimeTests(SynchronousTestCase):
    def test_idle(self) -> None:
        client = greeted()
        client.send(LHLO + OPENING)
        codes(client)
        client.wait(300)
        self.assertEqual([421], codes(client))
        self.assertTrue(client.closed)

    def test_idle_after_verdicts(self) -> None:
        """
        Time begins anew with the last of them.
        """
        client = greeted(RecordingHandler({"DATA": (None, None)}, when="later"))
        client.send(LHLO + OPENING + b"DATA\r\n.\r\n")
        self.assertEqual([250, 250], codes(client)[-2:])
        client.wait(299)
        self.assertFalse(client.closed)
        client.wait(1)
        self.assertEqual([421], codes(client))

    def test_client_vanishes_in_content(self) -> None:
        for start in (b"DATA\r\nx\r\n", b"BDAT 9 LAST\r\nx", b"BDAT 1\r\nx"):
            handler = RecordingHandler(content="stream")
            client = greeted(handler)
            client.send(LHLO + OPENING + start)
            client.disconnect()
            self.assertEqual([], handler.messages)
            self.assertEqual(["abort", "DISCONNECT"], [call.hook for call in handler.calls][-2:])
            self.assertEqual([], client.clock.getDelayedCalls())

    def test_client_vanishes_before_the_verdicts(self) -> None:
        """
        Nothing is said to who is not there, neither early nor in the end.
        """
        waiting: list[Deferred[Any]] = []

        @hooks
        class Slow:
            def handle_DATA(self, server: Any, session: Any, envelope: Any) -> Deferred[Any]:
                waiting.append(Deferred())
                return waiting[-1]

        client = greeted(Slow())
        more = [b"RCPT TO:<%d@h.example>\r\n" % number for number in range(300)]
        client.send(LHLO + OPENING + b"".join(more) + b"DATA\r\n.\r\n")
        written: list[bytes] = []
        client.disconnect()
        self.patch(client.transport, "write", written.append)
        early: Deferred[Any] = Deferred()
        waiting[0].callback(["550 no", *[early] * 301])
        early.callback("550 no")
        self.assertEqual([], written)


class ChunkTests(SynchronousTestCase):
    """
    However content comes, every recipient has one reply when it is whole.
    """

    @settings(derandomize=True, deadline=None, max_examples=60)
    @given(
        st.lists(st.binary(max_size=12), min_size=1, max_size=5),
        st.integers(1, 4),
        st.data(),
    )
    def test_any_chunks(self, chunks: list[bytes], recipients: int, data: st.DataObject) -> None:
        handler = RecordingHandler()
        client = greeted(handler)
        dialog = LHLO + b"MAIL FROM:<>\r\n" + b"RCPT TO:<c@d.example>\r\n" * recipients
        for chunk in chunks[:-1]:
            dialog += b"BDAT %d\r\n%b" % (len(chunk), chunk)
        dialog += b"BDAT %d LAST\r\n%bNOOP\r\n" % (len(chunks[-1]), chunks[-1])
        places = sorted(data.draw(st.sets(st.integers(1, len(dialog) - 1), max_size=6)))
        segments = [
            dialog[start:end] for start, end in zip([0, *places], [*places, None], strict=True)
        ]
        client.send(*segments)
        expected = [250] * (2 + recipients + len(chunks) - 1 + recipients + 1)
        self.assertEqual(expected, codes(client), client.transcript)
        self.assertEqual([b"".join(chunks)], [message.content for message in handler.messages])
        self.assertEqual(("c@d.example",) * recipients, handler.messages[0].rcpt_tos)

    def test_verdicts_come_after_the_last(self) -> None:
        handler = RecordingHandler({"DATA": (None, "452 4.2.2 Full")}, when="later")
        client = greeted(handler)
        client.send(LHLO + OPENING + b"BDAT 1\r\nx")
        self.assertEqual([250, 250, 250, 250, 250], codes(client))
        client.send(b"BDAT 1 LAST\r\ny")
        self.assertEqual([250, 452], codes(client))

    def test_memory(self) -> None:
        """
        More than may be held of all messages is refused to each.
        """
        client = greeted(content_memory=10)
        client.send(LHLO + OPENING + b"DATA\r\n" + b"x" * 11 + b"\r\n.\r\n")
        self.assertEqual([452, 452], codes(client)[-2:])

    def test_not_ascii(self) -> None:
        """
        Nor is a message taken by any of them that nobody can decode.
        """
        client = greeted(decode_data=True, enable_SMTPUTF8=False)
        client.send(LHLO + OPENING + b"DATA\r\n\xff\r\n.\r\n")
        self.assertEqual([554, 554], codes(client)[-2:])


class OneVerdictTests(SynchronousTestCase):
    """
    What LMTP allows is no verdict under SMTP.
    """

    def test_under_smtp(self) -> None:
        for answer in ([None, None], {"c@d.example": None}):

            @hooks
            class Lists:
                def handle_DATA(self, *context: Any, answer: Any = answer) -> Any:
                    return answer

            client = connect(make_factory(Lists()))
            client.send(b"EHLO c.example\r\n" + OPENING + b"DATA\r\n.\r\n")
            self.assertTrue(client.received.endswith(b"451 4.3.0 Local error, try again later\r\n"))
            self.assertEqual(1, len(self.flushLoggedErrors(TypeError)))


class DocumentedTests(SynchronousTestCase):
    """
    The program in docs/howto/lmtp.rst.
    """

    def test_handler(self) -> None:
        client = greeted(quota.Quota())
        client.send(LHLO + b"MAIL FROM:<>\r\nRCPT TO:<bob@example.org>\r\nRCPT TO:<eve@b>\r\n")
        codes(client)
        client.send(b"DATA\r\n.\r\n")
        self.assertEqual([354, 452, 250], codes(client))

    def test_listens(self) -> None:
        reactor: Any = MemoryReactorClock()
        base = os.path.abspath(self.mktemp())
        self.successResultOf(quota.listen(reactor, "/run/mail/lmtp.sock", f"{base}/{{local}}"))
        ((path, factory, _, mode, _),) = reactor.unixServers
        self.assertEqual(("/run/mail/lmtp.sock", 0o660), (path, mode))
        self.assertIs(LMTP, factory.protocol)
        self.assertTrue(os.path.isdir(base))
