"""
Tests for TLS as the protocol does it: STARTTLS, implicit TLS and endpoints of TLS, with OpenSSL at
both ends.  What STARTTLS forgets and refuses, command by command, is in test_starttls.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from io import BytesIO
from typing import Any

from OpenSSL import SSL
from twisted.internet import reactor
from twisted.internet.address import UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ClientEndpoint, connectProtocol
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import (
    IAddress,
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    ISSLTransport,
)
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    PrivateCertificate,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.mail.smtp import ESMTPSenderFactory
from twisted.protocols.policies import ProtocolWrapper, WrappingFactory
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from txsmtpd import SMTP, SMTPFactory
from txsmtpd.brakes import CONTENT as NOT_READY
from txsmtpd.brakes import UNREAD
from txsmtpd.census import GRACE
from txsmtpd.core.trace import received
from txsmtpd.departure import LINGER
from txsmtpd.testing import Client, RecordingHandler, Transcript, connect, make_factory, serve
from txsmtpd.tls import Certificates, self_signed

from . import certificates
from .test_flow import (
    CONTENT,
    DATA,
    MAIL,
    MESSAGE,
    RCPT,
    FlowTestCase,
    Later,
    codes,
)

CA = certificates.make_ca("Example CA")
PAIR = CA.issue("mx.example")
CREATOR = self_signed("mx.example")

NOW = datetime(2026, 1, 2, tzinfo=timezone.utc)

#: What a record of TLS begins with that tells of an error.
ALERT = b"\x15\x03"


@implementer(IOpenSSLClientConnectionCreator)
class Speaks:
    """
    A client's end of TLS, with options of `certificates.client_connection`.

    :param believes: whether any certificate will do, or none.
    """

    def __init__(
        self, server_name: bytes | None = None, *, believes: bool = True, **options: Any
    ) -> None:
        self.server_name = server_name
        self.believes = believes
        self.options = options

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = certificates.client_connection(self.server_name, **self.options)
        if not self.believes:
            connection.set_verify(SSL.VERIFY_PEER, lambda *context: False)
        return connection


class Wire(Client):
    """
    A client that notes what comes through the wire, encrypted or not.
    """

    def __init__(self, factory: SMTPFactory, **options: Any) -> None:
        self.wire = b""
        super().__init__(factory, **options)

    def _hear(self, data: bytes) -> None:
        self.wire += data
        super()._hear(data)

    def take_wire(self) -> bytes:
        heard, self.wire = self.wire, b""
        return heard


class SecuringTestCase(FlowTestCase):
    def connect(
        self, handler: object = None, *more: object, options: Any = None, **settings: Any
    ) -> Wire:
        handler = handler or RecordingHandler()
        factory = make_factory(handler, *more, **{"context_factory": CREATOR, **settings})
        client = Wire(factory, **(options or {}))
        client.take()
        client.take_wire()
        return client

    def upgraded(self, handler: object = None, *more: object, **settings: Any) -> Wire:
        """
        A client after STARTTLS.
        """
        client = self.connect(handler, *more, **settings)
        self.upgrade(client)
        return client

    def upgrade(self, client: Wire, options: Any = None) -> None:
        client.send(b"STARTTLS\r\n")
        self.assertEqual(client.take(), b"220 2.0.0 Ready to start TLS\r\n", client.transcript)
        client.start_tls(options)
        self.assertIsNotNone(client.tls, client.transcript)
        client.take_wire()

    def implicit(self, handler: object = None, *more: object, **settings: Any) -> Wire:
        """
        A client of a port where TLS comes first.
        """
        return self.connect(handler, *more, implicit_tls=True, **settings)

    def assert_silent_end(self, client: Wire) -> None:
        """
        It has been closed without a word, and one line of the log says so.
        """
        heard = client.take_wire()
        self.assertTrue(heard.startswith(ALERT) or not heard, heard)
        self.assert_clean(client)
        self.assertEqual(len(self.log_lines("handshake")), 1)
        self.assertEqual(self.log_lines("connection"), [])


class StartTLSTests(SecuringTestCase):
    def test_message(self) -> None:
        handler = RecordingHandler()
        client = self.connect(handler)
        client.send(b"EHLO c.example\r\n")
        self.assertIn(b"250-STARTTLS\r\n", client.take())
        self.upgrade(client)
        client.send(b"MAIL FROM:<a@b.example>\r\n")
        self.assertEqual(codes(client), [503])
        client.send(b"EHLO c.example\r\n")
        self.assertNotIn(b"STARTTLS", client.take())
        client.send(b"STARTTLS\r\n")
        self.assertEqual(codes(client), [503])
        client.send(MESSAGE + b"QUIT\r\n")
        self.assertEqual(codes(client), [250, 250, 250, 354, 250, 221])
        self.assertEqual([CONTENT], [message.content for message in handler.messages])
        self.assert_clean(client)
        self.assertEqual(self.log_lines("handshake"), [])
        self.assertEqual(len(self.log_lines("connection")), 1)

    def test_nothing_in_the_clear(self) -> None:
        client = self.upgraded()
        client.send(MESSAGE)
        self.assertEqual(codes(client)[-1], 250)
        heard = client.take_wire()
        self.assertEqual(heard[:3], b"\x17\x03\x03")
        self.assertNotIn(b"250", heard)

    def test_facts(self) -> None:
        """
        What hooks find in the session.
        """
        handler = RecordingHandler()
        client = self.connect(handler)
        self.upgrade(client, Speaks(b"mx.example"))
        session = client.protocol.session
        call = handler.calls[-1]
        self.assertEqual((call.hook, call.arguments), ("STARTTLS", ()))
        self.assertIs(call.session, session)
        self.assertIs(call.envelope, client.protocol.envelope)
        tls = session.tls
        self.assertEqual((tls.version, tls.server_name), ("TLSv1.3", "mx.example"))
        self.assertEqual(session.ssl["cipher"], (tls.cipher, "TLSv1.3", tls.bits))
        self.assertIsNone(session.ssl["peercert"])
        server, same = (each.getHandle() for each in (client.protocol.transport, client.tls))
        self.assertEqual(tls.cipher, same.get_cipher_name())
        self.assertEqual(
            tls.channel_binding("tls-exporter"),
            same.export_keying_material(b"EXPORTER-Channel-Binding", 32, b""),
        )
        self.assertEqual(server.get_finished(), same.get_peer_finished())

    def test_client_certificate(self) -> None:
        pair = CA.issue("alice@example.org", client=True)
        prefix, ca = self.mktemp(), self.mktemp()
        certificates.replace(ca, CA.pem)
        creator = Certificates([PAIR.write(prefix)], clock=Clock(), client_ca=ca)
        client = self.connect(context_factory=creator)
        self.upgrade(client, Speaks(pair=pair))
        session = client.protocol.session
        self.assertEqual(session.tls.peer_certificate, pair.der)
        self.assertEqual(
            session.ssl["peercert"]["subjectAltName"], (("email", "alice@example.org"),)
        )

    def test_session_is_new(self) -> None:
        """
        What CONNECT has noted survives, and what was learnt later does not.
        """

        def connected(server: Any, session: Any, envelope: Any) -> None:
            session.notes["known"], session.kept = "good", 1

        def said(server: Any, session: Any, envelope: Any, *arguments: Any) -> None:
            session.notes["known"], session.kept, session.more = "bad", 2, 3

        handler = RecordingHandler({"CONNECT": connected, "EHLO": said})
        client = self.connect(handler)
        client.send(RCPT)
        client.take()
        before = client.protocol.session
        self.upgrade(client)
        after = client.protocol.session
        self.assertIsNot(before, after)
        self.assertEqual(after.notes["known"], "good")
        self.assertEqual((after.kept, hasattr(after, "more")), (1, False))
        self.assertEqual((after.id, after.peer), (before.id, before.peer))
        self.assertEqual((after.host_name, after.extended_smtp), (None, False))
        self.assertIsNone(client.protocol.envelope.mail_from)
        client.disconnect()
        last = handler.calls[-1]
        self.assertEqual((last.hook, last.session), ("DISCONNECT", after))
        self.assertEqual([call.hook for call in handler.calls].count("DISCONNECT"), 1)

    def test_log_knows_the_new_session(self) -> None:
        client = self.upgraded()
        client.send(b"EHLO new.example\r\n")
        client.disconnect()
        (line,) = self.log_lines("connection")
        self.assertIn("new.example [192.0.2.1] left", line)

    def test_after_helo(self) -> None:
        client = self.connect()
        client.send(b"HELO c.example\r\n")
        self.assertEqual(codes(client), [250])
        self.upgrade(client)

    def test_inside_a_transaction(self) -> None:
        client = self.connect()
        client.send(RCPT)
        codes(client)
        self.upgrade(client)
        client.send(b"DATA\r\nRCPT TO:<c@d.example>\r\n")
        self.assertEqual(codes(client), [503, 503])

    def test_argument(self) -> None:
        client = self.connect()
        client.send(b"STARTTLS now\r\nNOOP\r\n")
        self.assertEqual(codes(client), [501, 250])

    def test_no_certificate(self) -> None:
        client = self.connect(context_factory=None)
        client.send(b"EHLO c.example\r\n")
        self.assertNotIn(b"STARTTLS", client.take())
        client.send(b"STARTTLS\r\nNOOP\r\n")
        self.assertEqual(codes(client), [502, 250])

    def test_transport_cannot(self) -> None:
        """
        A pipe, such as standard input, is no ITLSTransport.
        """
        factory = make_factory(RecordingHandler(), context_factory=CREATOR)
        protocol = factory.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        transport.clear()
        protocol.dataReceived(b"EHLO c.example\r\nSTARTTLS\r\nNOOP\r\n")
        said = transport.value()
        self.assertNotIn(b"STARTTLS", said)
        self.assertIn(b"\r\n502 5.5.1 ", said)
        self.assertTrue(said.endswith(b"250 2.0.0 OK\r\n"))
        protocol.connectionLost(Failure(ConnectionDone()))

    def test_trace_header(self) -> None:
        """
        RFC 3848.
        """
        names: list[Any] = []

        def seen(server: Any, session: Any, envelope: Any) -> None:
            header = received(session, envelope, server.hostname, NOW)
            names.append((envelope.protocol, f" with {envelope.protocol} id ".encode() in header))

        handler = RecordingHandler({"DATA": seen})
        client = self.upgraded(handler, authenticator=lambda *context: True)
        client.send(MESSAGE)
        client.send(b"AUTH PLAIN AGEAYg==\r\n" + MESSAGE[16:])
        client.send(b"HELO c.example\r\n" + MESSAGE[16:])
        self.assertEqual(names, [("ESMTPS", True), ("ESMTPSA", True), ("SMTP", True)])

    def test_subclass(self) -> None:
        """
        Who extends the command may take time to do so.
        """
        later = Later()

        class Slow(SMTP):
            async def smtp_STARTTLS(self, argument: str) -> Any:
                outcome = await self.builtin("STARTTLS", argument)
                await later()
                return outcome

        factory = make_factory(RecordingHandler(), context_factory=CREATOR)
        factory.protocol = Slow
        client = Wire(factory)
        client.take()
        client.send(b"STARTTLS\r\nNOOP\r\n")
        self.assertEqual(codes(client), [])
        client.send(b"NOOP\r\n")
        later.fire(client)
        self.assertEqual(codes(client), [220])
        client.start_tls()
        client.send(b"HELP\r\n")
        self.assertEqual(codes(client), [214])

    def test_interface(self) -> None:
        verifyObject(IHandshakeListener, SMTP())

    def test_handshake_of_who_leaves(self) -> None:
        """
        Who is about to leave is not greeted any more.
        """
        client = self.connect(implicit_tls=True)
        client.protocol.close()
        client.take()
        client.protocol.handshakeCompleted()
        self.assertEqual(b"", client.take())
        self.assertEqual("start", client.protocol.dialog.state)

    def test_nobody_waits_for_a_handshake(self) -> None:
        """
        Another one is none of ours.
        """
        client = self.upgraded()
        session = client.protocol.session
        client.protocol.handshakeCompleted()
        self.assertIs(client.protocol.session, session)
        client.send(b"NOOP\r\n")
        self.assertEqual(codes(client), [250])


class InjectionTests(SecuringTestCase):
    """
    What came in the clear has never been said (CVE-2011-0411, and the paper "Why TLS is better
    without STARTTLS").
    """

    def assert_unheard(self, client: Wire, handler: RecordingHandler) -> None:
        """
        The handshake succeeds, and nothing is there but what is said then.
        """
        asked = len(handler.calls)
        client.start_tls()
        self.assertIsNotNone(client.tls)
        self.assertEqual(client.take(), b"")
        client.send(b"NOOP\r\n")
        self.assertEqual(codes(client), [250])
        hooks = [call.hook for call in handler.calls[asked:]]
        self.assertEqual(hooks, ["STARTTLS", "NOOP"])
        self.assertIsNone(client.protocol.envelope.mail_from)

    def test_same_segment(self) -> None:
        for more in (b"RSET\r\n", MESSAGE, b"QUIT\r\n", b"STARTTLS\r\n", b"\r\n", b"\x16\x03"):
            handler = RecordingHandler()
            client = self.connect(handler)
            client.send(b"STARTTLS\r\n" + more)
            self.assertEqual(client.take_wire(), b"220 2.0.0 Ready to start TLS\r\n")
            client.take()
            self.assert_unheard(client, handler)

    def test_half_line_behind(self) -> None:
        """
        It is not the beginning of what comes encrypted.
        """
        handler = RecordingHandler()
        client = self.connect(handler)
        client.send(b"STARTTLS\r\nVRFY someone-else-")
        self.assertEqual(codes(client), [220])
        self.assert_unheard(client, handler)

    def test_half_line_before(self) -> None:
        handler = RecordingHandler()
        client = self.connect(handler)
        client.send(b"START")
        client.send(b"TLS\r")
        self.assertEqual(codes(client), [])
        client.send(b"\nEHLO c")
        self.assertEqual(codes(client), [220])
        self.assert_unheard(client, handler)

    def test_next_segment(self) -> None:
        """
        It is no TLS, so the handshake has failed.
        """
        for more in (b"RSET\r\n", MESSAGE, b"\r\n", b"QUIT\r\n" * 100, b"\0", b"\x80" * 11):
            self.logged.clear()
            handler = RecordingHandler()
            client = self.connect(handler)
            client.send(b"STARTTLS\r\n", more)
            self.assertEqual(client.take_wire()[:30], b"220 2.0.0 Ready to start TLS\r\n")
            client.send(b"QUIT\r\n")
            if not client.closed:
                client.disconnect()
            self.assert_silent_end(client)
            self.assertEqual([call.hook for call in handler.calls], ["CONNECT", "DISCONNECT"], more)

    def test_early_hello(self) -> None:
        """
        A client that does not wait for 220 is not understood.
        """
        hello = self.client_hello()
        client = self.connect()
        client.send(b"STARTTLS\r\n" + hello)
        self.assertEqual(client.take_wire(), b"220 2.0.0 Ready to start TLS\r\n")
        client.wait(300)
        self.assert_silent_end(client)

    def client_hello(self) -> bytes:
        connection = certificates.client_connection()
        self.assertRaises(SSL.WantReadError, connection.do_handshake)
        return connection.bio_read(2**16)

    def test_group(self) -> None:
        """
        What was pipelined before it is answered first, in order and in the clear.
        """
        handler = RecordingHandler()
        client = self.connect(handler)
        client.send(b"NOOP\r\nVRFY x\r\nBOGUS\r\nHELP\r\nSTARTTLS\r\nNOOP\r\n")
        self.assertEqual(client.take_wire()[-30:], b"220 2.0.0 Ready to start TLS\r\n")
        self.assertEqual(codes(client), [250, 252, 500, 214, 220])
        self.assert_unheard(client, handler)

    def test_behind_a_pending_hook(self) -> None:
        later = Later()
        handler = RecordingHandler({"MAIL": later})
        client = self.connect(handler)
        client.send(MAIL + b"STARTTLS\r\nRCPT TO:<c@d.example>\r\n")
        client.send(b"NOOP\r\n", b"NO")
        self.assertEqual(codes(client), [250])
        later.fire(client)
        self.assertEqual(codes(client), [250, 220])
        self.assert_unheard(client, handler)

    def test_behind_content(self) -> None:
        """
        In the message it is a line of it, and behind its end a command.
        """
        handler = RecordingHandler()
        client = self.connect(handler)
        client.send(DATA + b"STARTTLS\r\n.\r\nSTARTTLS\r\nNOOP\r\n")
        self.assertEqual(codes(client), [250, 250, 250, 354, 250, 220])
        self.assertEqual([b"STARTTLS\r\n"], [message.content for message in handler.messages])
        self.assert_unheard(client, handler)

    def test_more_than_is_held(self) -> None:
        """
        What waits behind a hook may be so much that the transport had to stop reading.
        """
        later = Later()
        handler = RecordingHandler({"NOOP": [later, None]})
        client = self.connect(handler)
        client.send(b"NOOP\r\n", b"STARTTLS\r\n" + b"HELP\r\n" * 5000, b"HELP\r\n" * 20000)
        self.assertFalse(client.transport.wants_read)
        codes(client)
        # What has not been read yet comes after it, and that is no TLS.
        later.fire(client)
        self.assertEqual(
            client.take_wire()[:44], b"250 2.0.0 OK\r\n220 2.0.0 Ready to start TLS\r\n"
        )
        self.assert_silent_end(client)

    def test_state_is_not_carried_over(self) -> None:
        """
        Neither who it was nor who has logged in.
        """
        client = self.connect(authenticator=lambda *context: True, auth_require_tls=False)
        client.send(b"EHLO evil.example\r\nAUTH PLAIN AGEAYg==\r\n")
        self.assertEqual(codes(client), [250, 235])
        self.upgrade(client)
        session = client.protocol.session
        self.assertEqual((session.authenticated, session.host_name), (None, None))
        client.send(b"EHLO c.example\r\nAUTH PLAIN AGEAYg==\r\n")
        self.assertEqual(codes(client), [250, 235])

    def test_in_the_middle_of_auth(self) -> None:
        """
        There it is an answer.
        """
        client = self.connect(authenticator=lambda *context: True, auth_require_tls=False)
        client.send(b"EHLO c.example\r\nAUTH LOGIN\r\nSTARTTLS\r\nNOOP\r\n")
        self.assertEqual(codes(client), [250, 334, 501, 250])

    def test_wrapped_protocol(self) -> None:
        """
        Somebody stands between the transport and us, and does not tell that the handshake is done.
        It is noticed all the same, before anything is obeyed.
        """
        handler = RecordingHandler()

        class Wrapped(SMTPFactory):
            def buildProtocol(self, addr: IAddress | None) -> Any:
                inner = WrappingFactory(Factory.forProtocol(Protocol))
                return ProtocolWrapper(inner, super().buildProtocol(addr))

        factory = Wrapped(handler, reactor=Clock(), hostname="mx.example", context_factory=CREATOR)
        client = Wire(factory)
        client.send(MAIL + b"STARTTLS\r\n")
        self.assertEqual(codes(client), [220, 250, 250, 220])
        client.start_tls()
        client.send(b"RCPT TO:<c@d.example>\r\n")
        self.assertEqual(codes(client), [503])
        self.assertEqual(
            [call.hook for call in handler.calls], ["CONNECT", "EHLO", "MAIL", "STARTTLS"]
        )
        self.assertEqual(client.protocol.wrappedProtocol.session.tls.version, "TLSv1.3")
        client.disconnect()
        self.assertEqual(client.clock.getDelayedCalls(), [])


class RequiredTests(SecuringTestCase):
    def test_clear(self) -> None:
        client = self.connect(require_starttls=True)
        client.send(DATA + b"NOOP\r\n")
        self.assertEqual(codes(client), [250, 530, 530, 530, 250])
        self.upgrade(client)
        client.send(MESSAGE)
        self.assertEqual(codes(client), [250, 250, 250, 354, 250])

    def test_chunk(self) -> None:
        """
        It is swallowed: nobody takes it for commands.
        """
        handler = RecordingHandler()
        client = self.connect(handler, require_starttls=True)
        client.send(b"EHLO c.example\r\nBDAT 12 LAST\r\nQUIT\r\nQUIT\r\nNOOP\r\n")
        self.assertEqual(codes(client), [250, 530, 250])
        self.assertFalse(client.closed)

    def test_unix_socket(self) -> None:
        client = self.connect(
            options={"peer": UNIXAddress(None), "host": UNIXAddress(b"/run/smtp")},
            require_starttls=True,
        )
        client.send(MESSAGE)
        self.assertEqual(codes(client), [250, 250, 250, 354, 250])
        self.upgrade(client)

    def test_implicit(self) -> None:
        client = self.implicit(require_starttls=True)
        client.start_tls()
        client.send(MESSAGE)
        self.assertEqual(codes(client), [220, 250, 250, 250, 354, 250])


class HookTests(SecuringTestCase):
    """
    handle_STARTTLS.
    """

    def assert_shut(self, client: Wire) -> None:
        client.send(b"EHLO c.example\r\nNOOP\r\nSTARTTLS\r\nQUIT\r\n")
        self.assertEqual(codes(client), [554, 554, 554, 221])
        self.assert_clean(client)

    def test_refuses(self) -> None:
        for answer in (False, "554 5.7.0 Too weak"):
            client = self.upgraded(RecordingHandler({"STARTTLS": answer}))
            self.assertEqual(client.take(), b"")
            self.assert_shut(client)

    def test_says_go(self) -> None:
        client = self.upgraded(RecordingHandler({"STARTTLS": "421 4.7.0 Go away"}))
        self.assertEqual(client.take(), b"421 4.7.0 Go away\r\n")
        self.assert_clean(client)

    def test_fails(self) -> None:
        client = self.upgraded(RecordingHandler({"STARTTLS": RuntimeError("boom")}))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertEqual(client.take(), b"")
        self.assert_shut(client)

    def test_later(self) -> None:
        """
        What comes right behind the handshake waits for it.
        """
        for answer, said in ((None, [250, 250]), (False, [554, 554])):
            later = Later()
            client = self.connect(RecordingHandler({"STARTTLS": later}))
            client.send(b"STARTTLS\r\n")
            client.take()
            client.reading = False
            client.start_tls()
            client.reading = True
            client.send(b"EHLO c.example\r\nNOOP\r\n")
            self.assertEqual(codes(client), [])
            later.fire(client, answer)
            self.assertEqual(codes(client), said)

    def test_takes_too_long(self) -> None:
        later = Later()
        client = self.upgraded(RecordingHandler({"STARTTLS": later}))
        client.send(b"NOOP\r\n")
        client.wait(300)
        self.assertEqual(later.cancelled, later.waiting)
        self.assertEqual(codes(client), [554])
        self.assert_shut(client)
        self.assertEqual(len(self.log_lines("timeout")), 1)

    def test_client_goes_meanwhile(self) -> None:
        later = Later()
        handler = RecordingHandler({"STARTTLS": later})
        client = self.upgraded(handler)
        client.disconnect()
        self.assertEqual(later.cancelled, later.waiting)
        self.assertEqual(handler.calls[-1].hook, "DISCONNECT")
        self.assertIsNotNone(handler.calls[-1].session.tls)
        self.assert_clean(client)


class HandshakeTests(SecuringTestCase):
    """
    It can fail, and it can take too long.
    """

    def begun(self, handler: object = None, **settings: Any) -> Wire:
        """
        A client that has said STARTTLS and nothing else.
        """
        client = self.connect(handler, **settings)
        client.send(b"STARTTLS\r\n")
        self.assertEqual(codes(client), [220])
        client.take_wire()
        return client

    def halfway(self, **settings: Any) -> Wire:
        """
        One that has begun with the handshake, and does not read what comes of it.
        """
        client = self.begun(**settings)
        client.reading = False
        client.start_tls()
        self.assertIsNone(client.tls)
        return client

    def test_no_common_version(self) -> None:
        client = self.begun()
        client.start_tls(Speaks(version=SSL.TLS1_1_VERSION))
        self.assertIsNone(client.tls)
        self.assert_silent_end(client)
        (line,) = self.log_lines("handshake")
        self.assertIn("[192.0.2.1] left without a TLS handshake: ", line)
        self.assertIn("unsupported protocol", line)

    def test_client_does_not_believe(self) -> None:
        """
        The client says why, encrypted or not.
        """
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            self.logged.clear()
            handler = RecordingHandler()
            client = self.begun(handler)
            client.start_tls(Speaks(version=version, believes=False))
            self.assertIsNone(client.tls)
            # What is between is the server's part of the handshake.
            self.assertEqual(client.take_wire()[:3], b"\x16\x03\x03")
            self.assert_silent_end(client)
            (line,) = self.log_lines("handshake")
            self.assertIn("alert ", line)
            self.assertEqual([call.hook for call in handler.calls], ["CONNECT", "DISCONNECT"])

    def test_wrong_name(self) -> None:
        client = self.begun(context_factory=self.certified())
        client.start_tls(self.believing("other.example"))
        self.assertEqual(client.take(), b"")
        self.assert_clean(client)

    def test_believed(self) -> None:
        client = self.begun(context_factory=self.certified())
        client.start_tls(self.believing("mx.example"))
        self.assertIsNotNone(client.tls)
        self.assertEqual(client.protocol.session.tls.server_name, "mx.example")

    def certified(self) -> Certificates:
        return Certificates([PAIR.write(self.mktemp())], clock=Clock())

    def believing(self, name: str) -> Any:
        root = trustRootFromCertificates([Certificate.loadPEM(CA.pem)])
        return optionsForClientTLS(name, root)

    def test_client_vanishes(self) -> None:
        for reason in (None, ConnectionDone()):
            for client in (self.begun(), self.halfway()):
                self.logged.clear()
                client.disconnect(reason)
                self.assert_silent_end(client)

    def test_client_closes(self) -> None:
        """
        TLS has no end of file, so what is half closed is closed.
        """
        self.logged.clear()
        client = self.begun()
        client.half_close()
        self.assert_silent_end(client)

    def test_idle(self) -> None:
        """
        A handshake gets the time of a command.
        """
        for make in (self.begun, self.halfway):
            self.logged.clear()
            client = make(timeout=60)
            client.wait(59)
            self.assertFalse(client.closed)
            client.wait(1)
            self.assert_silent_end(client)

    def test_trickled(self) -> None:
        """
        It does not get more of it for each octet.
        """
        client = self.begun(timeout=60)
        hello = b"\x16\x03\x01\x01\x00" + b"\x01\x00\x00\xfc"
        for octet in hello:
            client.send(bytes([octet]))
            client.wait(10)
        self.assert_silent_end(client)

    def test_idle_afterwards(self) -> None:
        """
        There it is told.
        """
        client = self.upgraded(timeout=60)
        client.wait(60)
        self.assertEqual(client.take(), b"421 4.4.2 Timed out\r\n")
        self.assert_clean(client)

    def test_drain(self) -> None:
        for make in (self.begun, self.halfway):
            self.logged.clear()
            client = make()
            drained = client.protocol.factory.drain()
            client.pump()
            self.successResultOf(drained)
            self.assert_silent_end(client)

    def test_drain_afterwards(self) -> None:
        client = self.upgraded()
        drained = client.protocol.factory.drain()
        client.pump()
        self.assertEqual(codes(client), [421])
        self.successResultOf(drained)
        self.assert_clean(client)

    def test_session_timeout(self) -> None:
        for make in (self.begun, self.halfway):
            self.logged.clear()
            client = make(session_timeout=60)
            client.wait(60)
            self.assert_silent_end(client)

    def test_session_timeout_afterwards(self) -> None:
        """
        The new session is not given more time than the one of before.
        """
        client = self.connect(session_timeout=60)
        client.wait(50)
        self.upgrade(client)
        client.wait(10)
        self.assertEqual(codes(client), [421])
        self.assert_clean(client)

    def test_unread_go_ahead(self) -> None:
        """
        A client that does not read anything gets no more than one that does.
        """
        client = self.connect()
        client.reading = False
        client.send(b"STARTTLS\r\n")
        client.wait(300)
        client.wait(LINGER)
        self.assert_silent_end(client)

    def test_unread_replies(self) -> None:
        """
        The client begins to read when so much waits for it that the server has stopped: with the
        last replies before the handshake.  It goes on when all is read, which TLS has to tell.
        """
        client = self.connect()
        client.reading = False
        client.send(b"EHLO c.example\r\n" * 257)
        waiting = len(client.transport.dataBuffer) + client.transport._tempDataLen
        self.assertGreater(waiting, 50_000)
        self.assertEqual(client.protocol.brakes, 0)
        client.send(b"EHLO c.example\r\n" * 100 + b"STARTTLS\r\n")
        client.reading = True
        client.pump()
        self.assertEqual(codes(client), [250] * 357 + [220])
        client.start_tls()
        self.assertIsNotNone(client.tls)
        client.send(MESSAGE)
        self.assertEqual(codes(client), [250, 250, 250, 354, 250])


class ImplicitTests(SecuringTestCase):
    """
    TLS with the first octet (RFC 8314).
    """

    def test_message(self) -> None:
        handler = RecordingHandler()
        client = self.implicit(handler)
        self.assertEqual((client.wire, handler.calls), (b"", []))
        client.start_tls(Speaks(b"mx.example"))
        self.assertEqual(client.take(), b"220 mx.example ESMTP txsmtpd\r\n")
        session: Any = handler.calls[0].session
        self.assertEqual(session.tls.server_name, "mx.example")
        self.assertEqual(session.ssl["cipher"][1], "TLSv1.3")
        client.send(b"EHLO c.example\r\nSTARTTLS\r\n")
        self.assertNotIn(b"-STARTTLS", client.received)
        self.assertEqual(codes(client), [250, 503])
        client.send(MESSAGE + b"QUIT\r\n")
        self.assertEqual(codes(client), [250, 250, 250, 354, 250, 221])
        self.assertEqual(handler.messages[0].envelope.protocol, "ESMTPS")
        self.assertNotIn("STARTTLS", [call.hook for call in handler.calls])
        self.assert_clean(client)

    def test_plain_text(self) -> None:
        handler = RecordingHandler()
        client = self.implicit(handler)
        client.send(b"EHLO c.example\r\n")
        self.assert_silent_end(client)
        self.assertEqual(handler.calls, [])

    def test_binary_in_tls(self) -> None:
        """
        What does not speak SMTP is sent away there as it is in the clear.
        """
        client = self.implicit()
        client.start_tls()
        client.take()
        client.send(b"\x16\x03\x01\x00")
        self.assertEqual(client.take(), b"")
        self.assert_clean(client)
        self.assertEqual(len(self.log_lines("junk")), 1)

    def test_client_waits(self) -> None:
        """
        It waits to be greeted, as in the clear, and is not.
        """
        handler = RecordingHandler()
        client = self.implicit(handler, timeout=60)
        client.wait(60)
        self.assert_silent_end(client)
        self.assertEqual(handler.calls, [])

    def test_client_vanishes(self) -> None:
        for reason in (None, ConnectionDone()):
            self.logged.clear()
            client = self.implicit()
            client.disconnect(reason)
            self.assert_silent_end(client)

    def test_drain(self) -> None:
        client = self.implicit()
        drained = client.protocol.factory.drain()
        client.pump()
        self.successResultOf(drained)
        self.assert_silent_end(client)

    def test_session_timeout(self) -> None:
        client = self.implicit(session_timeout=60)
        client.wait(60)
        self.assert_silent_end(client)

    def test_connect_hook_is_slow(self) -> None:
        later = Later()
        client = self.implicit(RecordingHandler({"CONNECT": later}))
        client.start_tls()
        client.send(b"EHLO c.example\r\n")
        self.assertEqual(codes(client), [])
        later.fire(client)
        self.assertEqual(codes(client), [220, 250])

    def test_connect_hook_says_go(self) -> None:
        client = self.implicit(RecordingHandler({"CONNECT": "421 4.7.0 Go"}))
        client.start_tls()
        self.assertEqual(client.take(), b"421 4.7.0 Go\r\n")
        self.assert_clean(client)

    def test_over_the_limit(self) -> None:
        """
        Nobody is told, because that would have to be encrypted.
        """
        for limit in ("max_connections", "max_connections_per_host"):
            self.logged.clear()
            first = self.implicit(**{limit: 1})
            second = Wire(first.protocol.factory)
            self.assertEqual(second.wire, b"")
            self.assertTrue(second.closed)
            self.assertEqual(len(self.log_lines("refusal")), 1)
            first.start_tls()
            self.assertEqual(codes(first), [220])
            first.disconnect()
            self.assertEqual(first.clock.getDelayedCalls(), [])

    def test_after_shutdown(self) -> None:
        factory = make_factory(RecordingHandler(), context_factory=CREATOR, implicit_tls=True)
        factory.drain()
        client = Wire(factory)
        self.assertEqual((client.wire, client.closed), (b"", True))


def connect_through_tls(handler: object = None, **settings: Any) -> Wire:
    """
    A client of a port whose endpoint does TLS.
    """

    class Wrapped(SMTPFactory):
        def buildProtocol(self, addr: IAddress | None) -> Any:
            tls = TLSMemoryBIOFactory(CREATOR, False, Inner(super().buildProtocol), self.reactor)
            return tls.buildProtocol(addr)

    class Inner(Factory):
        def __init__(self, build: Callable[[IAddress | None], Any]) -> None:
            self.build = build

        def buildProtocol(self, addr: IAddress | None) -> Any:
            return self.build(addr)

    handler = handler or RecordingHandler()
    return Wire(Wrapped(handler, **{"reactor": Clock(), "hostname": "mx.example", **settings}))


class EndpointTests(SecuringTestCase):
    """
    An endpoint that does TLS, such as ``ssl:``, has no implicit_tls set, and may have no
    context_factory either.
    """

    def connect_through(self, handler: object = None, **settings: Any) -> Wire:
        client = connect_through_tls(handler, **settings)
        self.assertIsInstance(client.protocol.wrappedProtocol, SMTP)
        return client

    def assert_gone(self, client: Wire) -> None:
        self.assertTrue(client.closed)
        self.assertEqual(client.clock.getDelayedCalls(), [])

    def test_message(self) -> None:
        handler = RecordingHandler()
        client = self.connect_through(handler)
        self.assertEqual((client.wire, handler.calls), (b"", []))
        client.start_tls()
        self.assertEqual(codes(client), [220])
        client.send(b"EHLO c.example\r\nSTARTTLS\r\n")
        self.assertNotIn(b"-STARTTLS", client.received)
        self.assertEqual(codes(client), [250, 503])
        client.send(MESSAGE + b"QUIT\r\n")
        self.assertEqual(codes(client), [250, 250, 250, 354, 250, 221])
        self.assert_gone(client)
        self.assertEqual(handler.messages[0].envelope.protocol, "ESMTPS")
        session: Any = handler.calls[0].session
        self.assertEqual((session.tls.version, session.peer), ("TLSv1.3", ("192.0.2.1", 54321)))
        self.assertEqual(len(self.log_lines("connection")), 1)

    def test_with_a_certificate_for_starttls(self) -> None:
        """
        Also where implicit_tls is set too: one TLS is enough.
        """
        for implicit in (False, True):
            client = self.connect_through(context_factory=CREATOR, implicit_tls=implicit)
            client.start_tls()
            client.send(b"EHLO c.example\r\nSTARTTLS\r\n")
            self.assertEqual(codes(client), [220, 250, 503])
            self.assertNotIn(b"-STARTTLS", client.received)

    def test_plain_text(self) -> None:
        client = self.connect_through()
        client.send(b"EHLO c.example\r\n")
        self.assertTrue(client.wire.startswith(ALERT) or not client.wire)
        self.assert_gone(client)
        self.assertEqual(len(self.log_lines("handshake")), 1)

    def test_over_the_limit(self) -> None:
        first = self.connect_through(max_connections=1)
        second = Wire(first.protocol.wrappedProtocol.factory)
        self.assertEqual((second.wire, second.closed), (b"", True))

    def test_idle(self) -> None:
        client = self.connect_through(timeout=60)
        client.wait(60)
        self.assertEqual(client.wire, b"")
        self.assert_gone(client)

    def test_back_pressure(self) -> None:
        client = self.connect_through()
        client.start_tls()
        client.take()
        client.reading = False
        client.send(b"HELP\r\n" * 10000)
        self.assertEqual(client.protocol.wrappedProtocol.brakes, UNREAD)
        client.reading = True
        client.pump()
        self.assertEqual(len(codes(client)), 10000)


class ProxyTests(SecuringTestCase):
    """
    Behind a PROXY header, which is in the clear and comes before all TLS.
    """

    HEADER = b"PROXY TCP4 198.51.100.7 192.0.2.25 1025 465\r\n"

    def proxied(self, handler: object = None, **settings: Any) -> Wire:
        trusted = {"proxy_protocol": True, "trusted_proxies": ["192.0.2.0/24"]}
        client = self.connect(handler, **{**trusted, **settings})
        self.assertEqual(client.wire, b"")
        return client

    def start_tls_behind(self, client: Wire, header: bytes) -> None:
        """
        Send the ClientHello in the same segment.
        """
        say = client._say

        def say_together(data: bytes) -> None:
            client._say = say  # type: ignore[method-assign]
            say(header + data)

        client._say = say_together  # type: ignore[method-assign]
        client.start_tls()

    def test_hello_in_the_same_segment(self) -> None:
        handler = RecordingHandler()
        client = self.proxied(handler, implicit_tls=True)
        self.start_tls_behind(client, self.HEADER)
        self.assertEqual(client.take(), b"220 mx.example ESMTP txsmtpd\r\n")
        client.send(MESSAGE)
        self.assertEqual(codes(client), [250, 250, 250, 354, 250])
        session: Any = handler.calls[-1].session
        self.assertEqual(session.peer, ("198.51.100.7", 1025))
        self.assertEqual(session.tls.version, "TLSv1.3")

    def test_hello_while_the_hook_is_pending(self) -> None:
        later = Later()
        client = self.proxied(RecordingHandler({"PROXY": later}), implicit_tls=True)
        self.start_tls_behind(client, self.HEADER)
        self.assertEqual(client.wire, b"")
        later.fire(client)
        self.assertEqual(codes(client), [220])

    def test_hello_in_pieces(self) -> None:
        client = self.proxied(implicit_tls=True)
        for octet in self.HEADER:
            client.send(bytes([octet]))
        client.start_tls()
        self.assertEqual(codes(client), [220])

    def test_header_in_tls(self) -> None:
        """
        It is too late there.
        """
        client = self.proxied(implicit_tls=True)
        client.start_tls()
        self.assertEqual((client.wire, client.tls), (b"", None))
        self.assert_clean(client)

    def test_text_behind(self) -> None:
        client = self.proxied(implicit_tls=True)
        client.send(self.HEADER + b"EHLO c.example\r\n")
        self.assert_silent_end(client)

    def test_takes_its_time(self) -> None:
        """
        A handshake has as much time as without a header.
        """
        client = self.proxied(implicit_tls=True, timeout=60)
        client.send(self.HEADER)
        client.wait(59)
        client.start_tls()
        self.assertEqual(codes(client), [220])
        client = self.proxied(implicit_tls=True, timeout=60)
        client.send(self.HEADER)
        client.wait(60)
        self.assert_silent_end(client)

    def test_starttls(self) -> None:
        """
        What the proxy has said survives it.
        """
        handler = RecordingHandler()
        client = self.proxied(handler)
        client.send(self.HEADER)
        self.assertEqual(codes(client), [220])
        proxy = client.protocol.session.proxy
        client.send(b"EHLO c.example\r\n")
        codes(client)
        self.upgrade(client)
        session = client.protocol.session
        self.assertIs(session.proxy, proxy)
        self.assertEqual(session.peer, ("198.51.100.7", 1025))
        client.send(self.HEADER + b"NOOP\r\n")
        self.assertEqual(codes(client), [500, 250])

    def test_header_and_injection(self) -> None:
        client = self.proxied()
        client.send(self.HEADER + b"STARTTLS\r\nMAIL FROM:<a@b.example>\r\n")
        self.assertEqual(codes(client), [220, 220])
        client.start_tls()
        self.assertEqual(client.take(), b"")
        client.send(b"NOOP\r\n")
        self.assertEqual(codes(client), [250])

    def test_endpoint_of_tls(self) -> None:
        """
        There a header could only come encrypted, from anybody.
        """
        client = connect_through_tls(proxy_protocol=True, trusted_proxies=["192.0.2.0/24"])
        self.assertEqual((client.wire, client.closed), (b"", True))


class FlowTests(SecuringTestCase):
    """
    Brakes, producers and ends, under TLS.
    """

    def test_replies_leave_together(self) -> None:
        client = self.upgraded()
        client.writes.clear()
        client.send(b"NOOP\r\n" * 50)
        self.assertEqual([len(each) for each in client.writes], [50 * 14])

    def test_unread_replies(self) -> None:
        """
        Commands wait while replies are not read, and memory does not grow.
        """
        client = self.upgraded()
        client.reading = False
        client.send(b"HELP\r\n" * 5000, b"HELP\r\n" * 5000)
        self.assertEqual(client.protocol.brakes, UNREAD)
        held = len(client.transport.dataBuffer) + client.transport._tempDataLen
        self.assertLess(held, 200_000)
        for _ in range(20):
            client.send(b"HELP\r\n" * 5000)
        self.assertFalse(client.transport.wants_read)
        self.assertEqual(held, len(client.transport.dataBuffer) + client.transport._tempDataLen)
        client.reading = True
        client.pump()
        self.assertEqual(codes(client), [214] * 110_000)
        self.assertEqual((client.protocol.brakes, client.transport.wants_read), (0, True))

    def test_pending_step_is_not_released(self) -> None:
        """
        A transport that goes on does not decide for a hook.
        """
        later = Later()
        client = self.upgraded(RecordingHandler({"NOOP": later}))
        client.reading = False
        client.send(b"HELP\r\n" * 2000 + b"NOOP\r\nHELP\r\n")
        client.reading = True
        client.pump()
        self.assertEqual(len(codes(client)), 2000)
        client.send(b"HELP\r\n")
        self.assertEqual(codes(client), [])
        later.fire(client)
        self.assertEqual(codes(client), [250, 214, 214])

    def test_much_content(self) -> None:
        handler = RecordingHandler(content="stream")
        client = self.upgraded(handler)
        line = b"x" * 998 + b"\r\n"
        client.send(DATA, *[line * 100] * 50, b".\r\nNOOP\r\n")
        self.assertEqual(codes(client), [250, 250, 250, 354, 250, 250])
        self.assertEqual(len(handler.messages[0].content), 5_000_000)

    def test_consumer_that_is_slow(self) -> None:
        """
        It is not given more than it can take, and the client has to wait.
        """
        later = Later()
        handler = RecordingHandler({"write": later}, content="stream")
        client = self.upgraded(handler)
        client.send(DATA)
        codes(client)
        chunk = b"y" * 998 + b"\r\n"
        client.send(*[chunk * 64] * 20)
        self.assertEqual(client.protocol.brakes, NOT_READY)
        self.assertFalse(client.transport.wants_read)
        self.assertLess(len(client.protocol._arrived), 300_000)
        while later.waiting:
            later.fire(client)
        client.send(b".\r\n")
        while later.waiting:
            later.fire(client)
        self.assertEqual(codes(client), [250])
        self.assertEqual(len(handler.messages[0].content), 20 * 64 * 1000)

    def test_long_line(self) -> None:
        client = self.upgraded()
        client.send(b"N" * 70_000)
        self.assertEqual(codes(client), [421])
        self.assert_clean(client)

    def test_close(self) -> None:
        """
        The client learns that nothing was cut off.
        """
        client = self.upgraded()
        client.send(b"QUIT\r\n")
        self.assertEqual(codes(client), [221])
        self.assertTrue(client.tls._lostTLSConnection)
        self.assertIsNone(client.tls._reason)
        self.assertTrue(client.closed)
        self.assertTrue(client.transcript.endswith("S: [close]"))

    def test_client_does_not_close(self) -> None:
        """
        It may take its time for an answer to our close_notify, but not for ever.
        """
        client = self.upgraded()
        client.reading = False
        client.send(b"QUIT\r\n")
        client.wait(LINGER - 1)
        self.assertFalse(client.closed)
        client.wait(1)
        self.assert_clean(client)

    def test_half_close(self) -> None:
        """
        With its close_notify the client has left; what it has said before counts.
        """
        handler = RecordingHandler()
        client = self.upgraded(handler)
        client.send(MESSAGE)
        self.assertEqual(codes(client)[-1], 250)
        client.half_close()
        self.assertEqual(len(handler.messages), 1)
        self.assertEqual(handler.calls[-1].hook, "DISCONNECT")
        self.assert_clean(client)

    def test_half_close_while_a_hook_is_pending(self) -> None:
        later = Later()
        handler = RecordingHandler({"RCPT": later})
        client = self.upgraded(handler)
        client.send(DATA)
        client.half_close()
        self.assertEqual(later.cancelled, later.waiting)
        self.assert_clean(client)

    def test_half_close_while_delivering(self) -> None:
        """
        The message is whole, so it is delivered.
        """
        later = Later()
        client = self.upgraded(RecordingHandler({"DATA": later}))
        client.send(MESSAGE)
        client.half_close()
        self.assertEqual(later.cancelled, [])
        later.fire(client)
        self.assert_clean(client)
        (line,) = self.log_lines("transaction")
        self.assertIn("but the client had gone", line)

    def test_cut_off(self) -> None:
        """
        An end without close_notify is one of the connection, and no end of content.
        """
        for end in (b"", b".", b".\r"):
            handler = RecordingHandler(content="stream")
            client = self.upgraded(handler)
            client.send(DATA + CONTENT + end)
            client.transport.incoming.append(b"")
            client.pump()
            self.assertEqual(handler.messages, [])
            self.assertEqual([call.hook for call in handler.calls][-2:], ["abort", "DISCONNECT"])
            self.assert_clean(client)

    def test_garbage(self) -> None:
        """
        Somebody on the way meddles with what is encrypted.
        """
        handler = RecordingHandler()
        client = self.upgraded(handler)
        client.transport.incoming.append(b"\x17\x03\x03\x00\x20" + b"x" * 32)
        client.pump()
        heard = client.take_wire()
        self.assertEqual(heard[:1], b"\x17", "an alert, encrypted")
        self.assertEqual(handler.calls[-1].hook, "DISCONNECT")
        self.assert_clean(client)

    def test_drain_waits_for_a_message(self) -> None:
        client = self.upgraded()
        client.send(DATA)
        drained = client.protocol.factory.drain()
        client.pump()
        self.assertNoResult(drained)
        client.send(b".\r\n")
        self.assertEqual(codes(client), [250, 250, 250, 354, 250, 421])
        self.successResultOf(drained)

    def test_grace(self) -> None:
        client = self.upgraded()
        client.send(DATA)
        drained = client.protocol.factory.drain()
        client.wait(GRACE)
        self.successResultOf(drained)
        self.assert_clean(client)


class Speaker(Protocol):
    """
    A client that says STARTTLS and then what it was given.
    """

    def __init__(self, words: bytes, options: Any) -> None:
        self.words = words
        self.options = options
        self.received = b""
        self.lost: Deferred[BaseException | None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        self.received += data
        if self.received.count(b"\r\n") == 1 and data.startswith(b"220 mx"):
            transport.write(b"STARTTLS\r\n")
        elif data == b"220 2.0.0 Ready to start TLS\r\n":
            transport.startTLS(self.options)
            transport.write(self.words)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost.callback(reason.value)


class RealTests(TestCase):
    """
    Real sockets.
    """

    timeout = 30

    async def say(self, server: Any, words: bytes, options: Any = None) -> Speaker:
        endpoint = TCP4ClientEndpoint(reactor, server.host, server.port)
        speaker = Speaker(words, options or CertificateOptions())
        await connectProtocol(endpoint, speaker)
        return speaker

    async def test_message(self) -> None:
        """
        What is recorded is what was said, not what it was encrypted to.
        """
        handler = RecordingHandler()
        server = await serve(self, handler, context_factory=CREATOR)
        speaker = await self.say(server, MESSAGE + b"QUIT\r\n")
        await handler.wait_for()
        reason = await speaker.lost
        self.assertIsInstance(reason, ConnectionDone)
        await server.stop()
        self.assertTrue(speaker.received.endswith(b"221 2.0.0 Bye\r\n"))
        self.assertIn(
            "C: STARTTLS\nS: 220 2.0.0 Ready to start TLS\nC: [start-tls]\nC: EHLO c.example\n",
            server.transcript,
        )
        self.assertEqual(server.transcript[-27:], "S: 221 2.0.0 Bye\nS: [close]")
        self.assertEqual(handler.messages[0].envelope.protocol, "ESMTPS")

    async def test_replies_at_once(self) -> None:
        """
        The way around the reactor is not taken under TLS.
        """
        factory = SMTPFactory(RecordingHandler(), hostname="mx.example", context_factory=CREATOR)
        port = reactor.listenTCP(0, factory, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        words = b"NOOP\r\n" * 3 + b"QUIT\r\n"
        address = port.getHost()
        speaker = await self.say(address, words)
        await speaker.lost
        await factory.drain()
        self.assertTrue(speaker.received.endswith(b"250 2.0.0 OK\r\n" * 3 + b"221 2.0.0 Bye\r\n"))

    async def test_much_content(self) -> None:
        handler = RecordingHandler()
        server = await serve(self, handler, context_factory=CREATOR)
        content = (b"z" * 998 + b"\r\n") * 4000
        speaker = await self.say(server, DATA + content + b".\r\nQUIT\r\n")
        message = await handler.wait_for(timeout=20)
        self.assertEqual(len(message.content), len(content))
        await speaker.lost

    async def test_stops_in_the_middle(self) -> None:
        """
        Also in that of a handshake.
        """
        server = await serve(self, RecordingHandler(), context_factory=CREATOR)
        endpoint = TCP4ClientEndpoint(reactor, server.host, server.port)
        secure = await self.say(server, b"NOOP\r\n")
        halfway = Speaker(b"", None)
        halfway.dataReceived = lambda data: None  # type: ignore[method-assign]
        await connectProtocol(endpoint, halfway)
        transport: Any = halfway.transport
        transport.write(b"STARTTLS\r\n")
        while (
            "NOOP" not in server.transcript or "[start-tls]" not in server.recordings[1].transcript
        ):
            turned: Deferred[None] = Deferred()
            reactor.callLater(0, turned.callback, None)
            await turned
        await server.stop()
        await secure.lost
        await halfway.lost
        first, second = server.transcript.split("\n\n")
        self.assertEqual(first[-26:], "S: 250 2.0.0 OK\nS: [close]")
        self.assertTrue(second.endswith("C: [start-tls]\nS: [close]"))

    async def test_ssl_endpoint(self) -> None:
        """
        Twisted's own port for TLS.
        """
        pair = certificates.Pair(PAIR.cert_pem, PAIR.key_pem)
        options = PrivateCertificate.loadPEM(pair.cert_pem + pair.key_pem).options()
        handler = RecordingHandler()
        factory = SMTPFactory(handler, hostname="mx.example")
        ours: Any = reactor
        port = ours.listenSSL(0, factory, options, interface="127.0.0.1")
        self.addCleanup(port.stopListening)
        received: list[bytes] = []
        lost: Deferred[None] = Deferred()

        class Talker(Protocol):
            transport: Any

            def dataReceived(self, data: bytes) -> None:
                if not received:
                    self.transport.write(MESSAGE + b"QUIT\r\n")
                received.append(data)

            def connectionLost(self, reason: Failure = connectionDone) -> None:
                lost.callback(None)

        client = Factory.forProtocol(Talker)
        client.noisy = False
        address = port.getHost()
        endpoint = TCP4ClientEndpoint(reactor, address.host, address.port)
        await endpoint.connect(TLSMemoryBIOFactory(CertificateOptions(), True, client))
        await lost
        await factory.drain()
        self.assertTrue(b"".join(received).endswith(b"221 2.0.0 Bye\r\n"))
        self.assertEqual(handler.messages[0].envelope.protocol, "ESMTPS")


class TestingKitTests(SecuringTestCase):
    """
    What txsmtpd.testing offers for TLS.
    """

    def sender(self, options: Any) -> tuple[ESMTPSenderFactory, Deferred[Any]]:
        sent: Deferred[Any] = Deferred()
        factory = ESMTPSenderFactory(
            None, None, "a@b.example", ["c@d.example"], BytesIO(CONTENT), sent,
            contextFactory=options, requireAuthentication=False, retries=0,
            hostname="client.example",
        )  # fmt: skip
        return factory, sent

    def test_speaker(self) -> None:
        """
        A client protocol that wants TLS gets it.
        """
        handler = RecordingHandler()
        client = connect(make_factory(handler, context_factory=CREATOR))
        factory, sent = self.sender(CertificateOptions())
        speaker = factory.buildProtocol(None)
        client.attach(speaker)
        self.assertEqual(self.successResultOf(sent)[0], 1)
        self.assertIn("C: [start-tls]", client.transcript)
        self.assertEqual(handler.messages[0].envelope.protocol, "ESMTPS")
        self.assertTrue(ISSLTransport.providedBy(speaker.transport))

    def test_certificate(self) -> None:
        creator = Certificates([PAIR.write(self.mktemp())], clock=Clock())
        client = self.upgraded(context_factory=creator)
        speaker = Protocol()
        client.attach(speaker)
        self.assertTrue(ISSLTransport.providedBy(speaker.transport))
        transport: Any = speaker.transport
        names = {each.getPeerCertificate().get_subject().CN for each in (transport, client.tls)}
        self.assertEqual(names, {"mx.example"})

    def test_speaker_on_implicit_tls(self) -> None:
        handler = RecordingHandler()
        client = self.implicit(handler)
        client.start_tls()
        factory, sent = self.sender(None)
        client._taken = 0
        client.attach(factory.buildProtocol(None))
        self.assertEqual(self.successResultOf(sent)[0], 1)
        self.assertEqual(len(handler.messages), 1)

    def test_failed(self) -> None:
        client = self.connect()
        client.send(b"STARTTLS\r\n")
        client.start_tls(Speaks(version=SSL.TLS1_1_VERSION))
        self.assertIsNone(client.tls)
        self.assertTrue(client.closed)

    def test_segments(self) -> None:
        """
        Each is one for the server too.
        """
        client = self.upgraded()
        heard: list[bytes] = []
        then = client.protocol.dataReceived

        def note(data: bytes) -> None:
            heard.append(data)
            then(data)

        client.protocol.dataReceived = note
        client.send(b"NO", b"OP\r\nNO", b"OP\r\n")
        self.assertEqual(heard, [b"NO", b"OP\r\nNO", b"OP\r\n"])
        self.assertEqual(codes(client), [250, 250])

    def test_transcript(self) -> None:
        """
        A dialog with STARTTLS can be written down, and replayed however its octets come.
        """
        text = (
            "S: 220 mx.example ESMTP txsmtpd\nC: STARTTLS\nS: 220 2.0.0 Ready to start TLS\n"
            "C: [start-tls]\nC: NOOP\nS: 250 2.0.0 OK\nC: QUIT\nS: 221 2.0.0 Bye\nS: [close]"
        )
        client = connect(make_factory(RecordingHandler(), context_factory=CREATOR))
        client.send(b"STARTTLS\r\n")
        client.start_tls()
        client.send(b"NOOP\r\n")
        client.send(b"QUIT\r\n")
        self.assertEqual(client.transcript, text)

        def make(*handlers: object, **settings: Any) -> SMTPFactory:
            return make_factory(*handlers, context_factory=CREATOR, **settings)

        transcript = Transcript.parse(text)
        for cut in ("whole", "lock-step", "octets", "burst", 3, 14):
            self.assertTrue(transcript.replay(make, cut).closed)
