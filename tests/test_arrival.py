"""
Tests for what precedes the greeting: PROXY headers and the limits on connections; TLS alone is in
test_securing.
"""

from __future__ import annotations

import io
import socket
from collections.abc import Iterator
from contextlib import redirect_stdout
from datetime import datetime, timezone
from typing import Any

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import ISSLTransport
from twisted.internet.testing import StringTransport
from twisted.logger import formatEvent
from zope.interface import alsoProvides

from docs.code import proxied
from txsmtpd import LMTP
from txsmtpd.arrival import HEADER_TIMEOUT
from txsmtpd.brakes import HELD
from txsmtpd.core.trace import received
from txsmtpd.factory import SMTPFactory
from txsmtpd.proxy import SIGNATURE, Command, ProxyData
from txsmtpd.testing import Client, RecordingHandler, make_factory
from txsmtpd.tls import self_signed

from .test_flow import CONTENT, MESSAGE, FlowTestCase, Later, codes

CREATOR = self_signed("mx.example")

V1 = b"PROXY TCP4 198.51.100.7 203.0.113.1 40000 25\r\n"
CLIENT, LOCAL = ("198.51.100.7", 40000), ("203.0.113.1", 25)
#: Of the kit's client, which is the proxy here.
PROXY, OURS = ("192.0.2.1", 54321), ("192.0.2.25", 25)
TRUSTED = ("192.0.2.0/24",)
WHEN = datetime(2026, 1, 2, tzinfo=timezone.utc)


def v2(
    source: str = CLIENT[0], *tlvs: bytes, command: int = 0x21, kind: int = 0x11, port: int = 40000
) -> bytes:
    """
    A header of version 2.
    """
    family = socket.AF_INET6 if kind >> 4 == 2 else socket.AF_INET
    own = "2001:db8::1" if family == socket.AF_INET6 else LOCAL[0]
    ends = socket.inet_pton(family, source) + socket.inet_pton(family, own)
    body = ends + port.to_bytes(2, "big") + LOCAL[1].to_bytes(2, "big") + b"".join(tlvs)
    return SIGNATURE + bytes((command, kind)) + len(body).to_bytes(2, "big") + body


def tlv(kind: int, value: bytes) -> bytes:
    return bytes((kind,)) + len(value).to_bytes(2, "big") + value


#: The client speaks TLS with the proxy, and has shown no certificate.
SSL = tlv(0x20, b"\x01\x00\x00\x00\x00" + tlv(0x21, b"TLSv1.3"))


class ArrivalTestCase(FlowTestCase):
    def factory(self, handler: object = None, *more: object, **settings: Any) -> SMTPFactory:
        usual: dict[str, Any] = {"proxy_protocol": True, "trusted_proxies": TRUSTED}
        return make_factory(handler or RecordingHandler(), *more, **{**usual, **settings})

    def connect(self, handler: object = None, **settings: Any) -> Client:
        return Client(self.factory(handler, **settings))

    def assert_turned_away(self, client: Client, reason: str) -> None:
        """
        It was closed without a byte, and one line of the log says why.
        """
        self.assertEqual(client.received, b"", client.transcript)
        self.assert_clean(client)
        (event,) = (event for event in self.logged if event.get("event"))
        self.assertEqual((event["event"], event["reason"]), ("proxy", reason))
        self.assertIn(reason, formatEvent(event))
        self.logged.clear()


class HeaderTests(ArrivalTestCase):
    """
    A header comes before the greeting, in any segmentation.
    """

    def segments(self, header: bytes, behind: bytes) -> Iterator[tuple[bytes, ...]]:
        data = header + behind
        yield (data,)
        yield tuple(data[at : at + 1] for at in range(len(data)))
        for cut in range(1, len(data)):
            yield data[:cut], data[cut:]

    def test_segments(self) -> None:
        """
        Whole, octet by octet and cut everywhere, with all of a session behind it.
        """
        behind = b"HELO c\r\nNOOP\r\nQUIT\r\n"
        for header in (V1, v2(), v2("198.51.100.7", SSL)):
            for segments in self.segments(header, behind):
                for together in (False, True):
                    handler = RecordingHandler()
                    client = self.connect(handler)
                    self.assertEqual(client.received, b"")
                    for group in [segments] if together else [(each,) for each in segments]:
                        client.send(*group)
                    self.assertEqual(codes(client), [220, 250, 250, 221], segments)
                    session = handler.calls[0].session
                    self.assertEqual((session.peer, session.local), (CLIENT, LOCAL))
                    self.assert_clean(client)

    def test_nothing_before_the_header(self) -> None:
        for header in (V1, v2()):
            client = self.connect()
            client.send(header[:-1])
            self.assertEqual(client.received, b"")
            client.send(header[-1:])
            self.assertEqual(codes(client), [220])

    def test_session(self) -> None:
        """
        What hooks find: the PROXY hook first, then that which greets.
        """
        handler = RecordingHandler()
        client = self.connect(handler)
        self.assertEqual(handler.calls, [])
        client.send(v2("198.51.100.7", SSL))
        first, second = handler.calls
        self.assertEqual((first.hook, second.hook), ("PROXY", "CONNECT"))
        session = client.protocol.session
        self.assertIs(first.session, session)
        (data,) = first.arguments
        assert isinstance(data, ProxyData)
        self.assertIs(session.proxy, data)
        self.assertEqual((data.version, data.command), (2, Command.PROXY))
        self.assertEqual((session.peer, session.local), (CLIENT, LOCAL))
        self.assertEqual(session.via, PROXY)
        self.assertTrue(session.secure)
        self.assertIsNone(session.ssl)

    def test_ipv6(self) -> None:
        for header in (
            b"PROXY TCP6 2001:db8::7 2001:db8::1 40000 25\r\n",
            v2("2001:db8::7", kind=0x21),
        ):
            client = self.connect()
            client.send(header)
            self.assertEqual(client.protocol.session.peer, ("2001:db8::7", 40000, 0, 0))
            self.assertEqual(client.protocol.session.local, ("2001:db8::1", 25, 0, 0))

    def test_unix_client(self) -> None:
        """
        The client has come to the proxy by a unix socket.
        """
        body = b"/run/client".ljust(108, b"\0") + b"/run/proxy".ljust(108, b"\0")
        client = self.connect(max_connections_per_host=1)
        client.send(SIGNATURE + b"\x21\x31" + len(body).to_bytes(2, "big") + body)
        self.assertEqual(codes(client), [220])
        self.assertEqual(client.protocol.session.peer, b"/run/client")
        self.assertFalse(client.protocol.session.exempt)

    def test_local(self) -> None:
        """
        The addresses of the socket stay.
        """
        for header in (
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN 198.51.100.7 203.0.113.1 40000 25\r\n",
            v2(command=0x20),
            v2(command=0x20, kind=0x12),
            v2(kind=0x00),
            v2(kind=0x10),
        ):
            handler = RecordingHandler()
            client = self.connect(handler)
            client.send(header)
            self.assertEqual(codes(client), [220], header)
            session = client.protocol.session
            self.assertEqual((session.peer, session.local), (PROXY, OURS))
            self.assertTrue(session.proxy.local)
            self.assertFalse(session.secure)
            self.assertEqual([call.hook for call in handler.calls], ["PROXY", "CONNECT"])

    def test_bad(self) -> None:
        for header, reason in (
            (b"EHLO c.example\r\n", "not a line of the PROXY protocol"),
            (b"\x16\x03\x01\x02\x00", "not a line of the PROXY protocol"),
            (b"GET / HTTP/1.1\r\n", "not a line of the PROXY protocol"),
            (b"PROXY TCP4 1.2.3.4 1.2.3.4 65536 25\r\n", "port out of range"),
            (SIGNATURE + b"\x11", "unknown version or command"),
            (v2(kind=0x12), "the client is said to send datagrams"),
            (v2(source="2001:db8::7", kind=0x22), "the client is said to send datagrams"),
        ):
            for behind in (b"", b"EHLO c.example\r\nQUIT\r\n"):
                handler = RecordingHandler()
                client = self.connect(handler)
                client.send(header + behind)
                self.assert_turned_away(client, reason)
                self.assertEqual(handler.calls, [])

    def test_nothing_is_heard_after_it(self) -> None:
        client = self.connect()
        client.send(b"x", V1, b"EHLO c.example\r\n")
        self.assert_turned_away(client, "not a line of the PROXY protocol")

    def test_transport_that_goes_on(self) -> None:
        """
        Some transports give more, though they are to close.
        """
        protocol = self.factory().buildProtocol(None)
        transport = StringTransport(peerAddress=IPv4Address("TCP", *PROXY))
        protocol.makeConnection(transport)
        protocol.dataReceived(b"x")
        protocol.dataReceived(V1)
        self.assertEqual(transport.value(), b"")
        self.assertTrue(transport.disconnecting)

    def test_binary_behind_it(self) -> None:
        """
        A TLS ClientHello behind a header, where SMTP is wanted.
        """
        client = self.connect()
        client.send(V1 + b"\x16\x03\x01\x02\x00")
        self.assertEqual(codes(client), [220])
        self.assert_clean(client)
        self.assertEqual(len(self.log_lines("junk")), 1)

    def test_gone(self) -> None:
        """
        Who goes before the header is complete gets one line of the log too.
        """
        for leave in (Client.disconnect, Client.half_close):
            for said in (b"", V1[:9], SIGNATURE[:5], v2()[:-1]):
                client = self.connect()
                client.send(said)
                leave(client)
                self.assertEqual(client.received, b"")
                self.assert_clean(client)
                (event,) = (event for event in self.logged if event.get("event"))
                self.assertEqual(event["event"], "proxy")
                self.logged.clear()

    def test_half_close_behind_it(self) -> None:
        client = self.connect()
        client.send(V1 + b"NOOP\r\n")
        client.half_close()
        self.assertEqual(codes(client), [220, 250])
        self.assert_clean(client)

    def test_lmtp(self) -> None:
        factory = self.factory().beside(LMTP, require_starttls=True, context_factory=CREATOR)
        client = Client(factory)
        client.send(V1 + b"LHLO c.example\r\n" + MESSAGE.partition(b"\r\n")[2])
        self.assertEqual(codes(client), [220, 250, 250, 250, 354, 250])
        self.assertEqual(client.protocol.session.peer, CLIENT)


class TrustTests(ArrivalTestCase):
    """
    Whose header is believed: judged by the address at the other end of the connection.
    """

    def outcome(self, peer: Any, *trusted: str) -> bool:
        """
        Whether a header is believed.
        """
        client = Client(self.factory(trusted_proxies=trusted), peer=peer)
        if client.closed:
            self.assert_turned_away(client, "the client is no trusted proxy")
            return False
        client.send(V1)
        self.assertEqual(codes(client), [220])
        return True

    def tcp(self, host: str) -> Any:
        if ":" in host:
            return IPv6Address("TCP", host, 1025)
        return IPv4Address("TCP", host, 1025)

    def test_this_machine(self) -> None:
        for host in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
            self.assertTrue(self.outcome(self.tcp(host)), host)
        for host in ("192.0.2.1", "126.255.255.255", "::2", "::ffff:192.0.2.1"):
            self.assertFalse(self.outcome(self.tcp(host)), host)

    def test_named(self) -> None:
        """
        Who names networks names all of them.
        """
        for host in ("192.0.2.77", "2001:db8::5", "2001:db8::5%eth0", "::ffff:192.0.2.77"):
            self.assertTrue(self.outcome(self.tcp(host), "192.0.2.0/24", "2001:db8::/32"), host)
        for host in ("127.0.0.1", "::1", "192.0.3.1", "2001:db9::1", "::ffff:127.0.0.1"):
            self.assertFalse(self.outcome(self.tcp(host), "192.0.2.0/24", "2001:db8::/32"), host)

    def test_unix_socket(self) -> None:
        """
        Who may connect to it is its mode's business.
        """
        for trusted in ((), TRUSTED):
            self.assertTrue(self.outcome(UNIXAddress(None), *trusted))
            self.assertTrue(self.outcome(UNIXAddress(b"/run/x"), *trusted))

    def test_not_the_client(self) -> None:
        """
        It does not help a client to be in a trusted network.
        """
        client = Client(self.factory(trusted_proxies=["198.51.100.0/24"]))
        self.assert_turned_away(client, "the client is no trusted proxy")

    def test_encrypted(self) -> None:
        """
        Behind an endpoint of TLS there is no place for a header.
        """
        protocol = self.factory().buildProtocol(None)
        transport = StringTransport(peerAddress=IPv4Address("TCP", *PROXY))
        alsoProvides(transport, ISSLTransport)
        protocol.makeConnection(transport)
        self.assertTrue(transport.disconnecting)
        self.assertEqual(transport.value(), b"")


class TimeTests(ArrivalTestCase):
    def test_header_timeout(self) -> None:
        """
        It is for the whole header.
        """
        client = self.connect()
        for at in range(HEADER_TIMEOUT - 1):
            client.wait(1)
            client.send(V1[at : at + 1])
        client.wait(0.9)
        self.assertFalse(client.closed)
        client.wait(0.1)
        self.assert_turned_away(client, "the header took too long")

    def test_shorter(self) -> None:
        client = self.connect(timeout=2)
        client.wait(2)
        self.assert_turned_away(client, "the header took too long")

    def test_no_timeout(self) -> None:
        """
        A server that waits for ever does not wait for a header.
        """
        client = self.connect(timeout=0)
        client.wait(HEADER_TIMEOUT)
        self.assert_turned_away(client, "the header took too long")

    def test_behind_it(self) -> None:
        """
        The client has the time that any other has.
        """
        client = self.connect(timeout=100)
        client.wait(3)
        client.send(V1)
        self.assertEqual(codes(client), [220])
        client.wait(99)
        self.assertFalse(client.closed)
        client.wait(1)
        self.assertEqual(codes(client), [421])
        self.assert_clean(client)

    def test_for_ever_behind_it(self) -> None:
        client = self.connect(timeout=0)
        client.send(V1)
        client.wait(1e6)
        self.assertFalse(client.closed)

    def test_session_timeout(self) -> None:
        client = self.connect(session_timeout=3)
        client.wait(3)
        self.assertEqual(client.received, b"")
        self.assert_clean(client)

    def test_shutdown(self) -> None:
        """
        Who is still to send a header is let go, without a byte.
        """
        client = self.connect()
        client.send(V1[:9])
        drained = client.protocol.factory.drain()
        client.pump()
        self.successResultOf(drained)
        self.assertEqual(client.received, b"")
        self.assert_clean(client)

    def test_shutdown_while_the_hook_decides(self) -> None:
        later = Later()
        client = self.connect(RecordingHandler({"PROXY": later}))
        client.send(V1)
        drained = client.protocol.factory.drain()
        client.pump()
        self.assertNoResult(drained)
        later.fire(client)
        self.assertEqual(codes(client), [220, 421])
        self.successResultOf(drained)


class HookTests(ArrivalTestCase):
    def test_go_on(self) -> None:
        for answer in (None, True, "250 OK", "250 2.0.0 Yes"):
            client = self.connect(RecordingHandler({"PROXY": answer}))
            client.send(V1)
            self.assertEqual(codes(client), [220])

    def test_refused(self) -> None:
        for when in ("now", "coroutine", "later"):
            for answer in (False, "550 5.7.1 Not you", "421 4.7.0 Not now"):
                handler = RecordingHandler({"PROXY": answer}, when=when)
                client = self.connect(handler)
                client.send(V1 + b"EHLO c.example\r\n")
                self.assert_turned_away(client, "refused by handle_PROXY")
                # Nobody is told goodbye who was not greeted.
                self.assertEqual([call.hook for call in handler.calls], ["PROXY"])

    def test_fails(self) -> None:
        def fail(*context: Any) -> None:
            raise RuntimeError("secret")

        for when in ("now", "coroutine", "later"):
            client = self.connect(RecordingHandler({"PROXY": fail}, when=when))
            client.send(V1)
            self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
            self.assertEqual(client.received, b"")
            self.assert_clean(client)
            self.assertEqual(len(self.log_lines("proxy")), 1)
            self.logged.clear()

    def test_pending(self) -> None:
        """
        What the client says meanwhile waits, and is obeyed then.
        """
        later = Later()
        client = self.connect(RecordingHandler({"PROXY": later}))
        client.send(V1 + b"EHLO c.exa")
        client.send(b"mple\r\nNOOP\r\n")
        client.send(b"QUIT\r\n")
        self.assertEqual(client.received, b"")
        later.fire(client)
        self.assertEqual(codes(client), [220, 250, 250, 221])
        self.assert_clean(client)

    def test_pending_before_all_is_said(self) -> None:
        later = Later()
        client = self.connect(RecordingHandler({"PROXY": later}))
        client.send(V1)
        later.fire(client)
        self.assertEqual(codes(client), [220])
        client.send(b"NOOP\r\n")
        self.assertEqual(codes(client), [250])

    def test_pending_behind_much(self) -> None:
        """
        The client is not read when too much waits, and read again then.
        """
        later = Later()
        client = self.connect(RecordingHandler({"PROXY": later}))
        client.send(V1 + b"NOOP\r\n" * (HELD // 2))
        self.assertFalse(client.transport.wants_read)
        self.assertLess(len(client.protocol._arrived), HELD * 3)
        later.fire(client)
        self.assertEqual(codes(client), [220] + [250] * (HELD // 2))
        self.assertTrue(client.transport.wants_read)

    def test_both_pending(self) -> None:
        first, second = Later(), Later()
        client = self.connect(RecordingHandler({"PROXY": first, "CONNECT": second}))
        client.send(V1 + b"NOOP\r\n")
        first.fire(client)
        client.send(b"NOOP\r\n")
        self.assertEqual(client.received, b"")
        second.fire(client)
        self.assertEqual(codes(client), [220, 250, 250])

    def test_gone_while_pending(self) -> None:
        later = Later()
        client = self.connect(RecordingHandler({"PROXY": later}))
        client.send(V1 + b"NOOP\r\n")
        client.disconnect()
        self.assertEqual(len(later.cancelled), 1)
        self.assert_clean(client)
        self.assertEqual(len(self.log_lines("connection")), 1)

    def test_half_closed_while_pending(self) -> None:
        later = Later()
        client = self.connect(RecordingHandler({"PROXY": later}))
        client.send(V1 + b"NOOP\r\n")
        client.half_close()
        self.assertFalse(client.closed)
        later.fire(client)
        self.assertEqual(codes(client), [220, 250])
        self.assert_clean(client)

    def test_takes_too_long(self) -> None:
        later = Later()
        client = self.connect(RecordingHandler({"PROXY": later}), hook_timeout=7)
        client.send(V1)
        client.wait(HEADER_TIMEOUT)
        self.assertFalse(client.closed)
        client.wait(2)
        self.assertEqual(client.received, b"")
        self.assert_clean(client)
        self.assertEqual(self.flushLoggedErrors(CancelledError), [])
        self.assertEqual(len(self.log_lines("timeout")), 1)

    def test_chain(self) -> None:
        first, second = RecordingHandler({"PROXY": False}), RecordingHandler()
        client = Client(self.factory(first, second))
        client.send(V1)
        self.assert_turned_away(client, "refused by handle_PROXY")
        self.assertEqual(second.calls, [])


class LimitTests(ArrivalTestCase):
    def client(self, factory: SMTPFactory, host: str = CLIENT[0]) -> Client:
        client = Client(factory)
        client.send(b"PROXY TCP4 %s 203.0.113.1 40000 25\r\n" % host.encode())
        return client

    def test_per_host(self) -> None:
        """
        It is the client's host that counts, and not the proxy's.
        """
        factory = self.factory(max_connections_per_host=1)
        first = self.client(factory)
        other = self.client(factory, "198.51.100.8")
        self.assertEqual([codes(each) for each in (first, other)], [[220], [220]])
        again = self.client(factory)
        self.assertEqual(codes(again), [421])
        self.assertTrue(again.closed)
        first.disconnect()
        self.assertEqual(codes(self.client(factory)), [220])
        self.assertEqual(codes(self.client(factory, "198.51.100.8")), [421])

    def test_per_host_is_not_the_proxys(self) -> None:
        """
        Until the header is there nobody counts for any host.
        """
        factory = self.factory(max_connections_per_host=1)
        waiting = [Client(factory) for _ in range(3)]
        self.assertEqual([each.closed for each in waiting], [False] * 3)
        local = Client(factory)
        local.send(b"PROXY UNKNOWN\r\n")
        self.assertEqual(codes(local), [220])
        second = Client(factory)
        second.send(b"PROXY UNKNOWN\r\n")
        self.assertEqual(codes(second), [421])

    def test_per_host_after_the_hook(self) -> None:
        handler = RecordingHandler()
        factory = self.factory(handler, max_connections_per_host=1)
        self.client(factory)
        handler.calls.clear()
        self.client(factory)
        self.assertEqual([call.hook for call in handler.calls], ["PROXY"])

    def test_spelled_otherwise(self) -> None:
        """
        An IPv4 client is the same whatever kind of socket it has come to.
        """
        factory = make_factory(RecordingHandler(), max_connections_per_host=1)
        first = Client(factory, peer=IPv4Address("TCP", "198.51.100.7", 1))
        second = Client(factory, peer=IPv6Address("TCP", "::ffff:198.51.100.7", 2))
        self.assertEqual([codes(first), codes(second)], [[220], [421]])

    def test_mapped_in_a_header(self) -> None:
        factory = self.factory(max_connections_per_host=1)
        self.assertEqual(codes(self.client(factory)), [220])
        client = Client(factory)
        client.send(b"PROXY TCP6 ::ffff:198.51.100.7 2001:db8::1 40000 25\r\n")
        self.assertEqual(codes(client), [421])

    def test_implicit_tls(self) -> None:
        """
        Over the limit there is not a byte where TLS would come first.
        """
        factory = self.factory(
            max_connections_per_host=1, implicit_tls=True, context_factory=CREATOR
        )
        self.client(factory)
        client = self.client(factory)
        self.assertEqual(client.received, b"")
        self.assertTrue(client.closed)

    def test_total(self) -> None:
        """
        Who sends no header counts towards the total, and is told at once when that is reached.
        """
        factory = self.factory(max_connections=1)
        first = Client(factory)
        second = Client(factory)
        self.assertEqual(codes(second), [421])
        self.assertTrue(second.closed)
        first.disconnect()
        self.assertEqual(codes(self.client(factory)), [220])

    def test_turned_away_counts_no_more(self) -> None:
        factory = self.factory(max_connections=1, max_connections_per_host=1)
        for _ in range(3):
            client = Client(factory)
            client.send(b"x")
            self.assertTrue(client.closed)
        self.assertEqual(codes(self.client(factory)), [220])


class EffectTests(ArrivalTestCase):
    """
    The client that the header names is the client everywhere.
    """

    def test_trace_and_log(self) -> None:
        handler = RecordingHandler()
        client = self.connect(handler)
        client.send(V1 + MESSAGE)
        (message,) = handler.messages
        session = client.protocol.session
        self.assertIn(
            b"from c.example ([198.51.100.7])",
            received(session, message.envelope, "mx.example", WHEN),
        )
        client.send(b"RCPT TO:<a@b>\r\nQUIT\r\n")
        for event in self.logged:
            if event.get("event") in ("refusal", "connection"):
                self.assertEqual(event["peer"], "198.51.100.7")
        self.assertEqual(len(self.log_lines("refusal", "connection")), 2)

    def test_secure(self) -> None:
        """
        TLS that the proxy has ended is as good as our own.
        """
        settings: dict[str, Any] = {
            "require_starttls": True,
            "context_factory": CREATOR,
            "authenticator": lambda *given: True,
        }
        client = self.connect(**settings)
        client.send(v2(CLIENT[0], SSL) + b"EHLO c.example\r\n")
        self.assertIn(b"250-AUTH PLAIN LOGIN\r\n", client.received)
        client.send(MESSAGE)
        self.assertEqual(codes(client)[-1], 250)
        plain = self.connect(**settings)
        plain.send(v2() + b"EHLO c.example\r\nMAIL FROM:<a@b>\r\n")
        self.assertNotIn(b"AUTH", plain.received.replace(b"AUTHENTIC", b""))
        self.assertEqual(codes(plain), [220, 250, 530])

    def test_not_secure(self) -> None:
        """
        A TLV that says what TLS would be, but not that it is.
        """
        client = self.connect()
        client.send(v2(CLIENT[0], tlv(0x20, b"\x00\x00\x00\x00\x01")))
        self.assertFalse(client.protocol.session.secure)

    def test_exempt(self) -> None:
        """
        By a unix socket nobody has to do STARTTLS, unless a proxy has clients of its own there.
        """
        settings: dict[str, Any] = {"require_starttls": True, "context_factory": CREATOR}
        for header, code in ((V1, 530), (b"PROXY UNKNOWN\r\n", 530), (v2(command=0x20), 250)):
            client = Client(self.factory(**settings), peer=UNIXAddress(b"/run/x"))
            client.send(header + b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n")
            self.assertEqual(codes(client), [220, 250, code])

    def test_no_header_wanted(self) -> None:
        """
        Without the setting the same socket is exempt.
        """
        factory = self.factory(proxy_protocol=False, require_starttls=True, context_factory=CREATOR)
        client = Client(factory, peer=UNIXAddress(b"/run/x"))
        client.send(b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n")
        self.assertEqual(codes(client), [220, 250, 250])


class DocumentedTests(ArrivalTestCase):
    """
    The handler in the documentation.
    """

    def test_proxied(self) -> None:
        handler = proxied.Behind(PROXY[0])
        for header, proxy, expected in (
            (V1, PROXY[0], [220]),
            (V1, "192.0.2.2", []),
            (b"PROXY UNKNOWN\r\n", "192.0.2.2", []),
            (v2(command=0x20), "192.0.2.2", [220]),
        ):
            handler.proxy = proxy
            client = self.connect(handler)
            client.send(header)
            self.assertEqual(codes(client), expected)

    def test_name(self) -> None:
        client = self.connect(proxied.Behind(PROXY[0]), proxy_protocol=False)
        with redirect_stdout(io.StringIO()) as printed:
            client.send(b"XCLIENT ADDR=203.0.113.9\r\n" + MESSAGE)
            client.send(b"XFORWARD ADDR=203.0.113.8\r\n" + MESSAGE.partition(b"\r\n")[2])
        self.assertEqual(printed.getvalue(), "203.0.113.9\n203.0.113.8\n")
        client.take()
        client.send(b"XCLIENT NAME=[TEMPUNAVAIL]\r\nEHLO c.example\r\nMAIL FROM:<a@b.example>\r\n")
        self.assertEqual(codes(client), [220, 250, 450])


class TLSTests(ArrivalTestCase):
    """
    A header comes before TLS.
    """

    def implicit(self, handler: object = None, **settings: Any) -> Client:
        return self.connect(handler, implicit_tls=True, context_factory=CREATOR, **settings)

    def test_implicit(self) -> None:
        handler = RecordingHandler()
        client = self.implicit(handler)
        client.send(V1)
        self.assertEqual(client.received, b"")
        client.start_tls()
        self.assertEqual(codes(client), [220])
        session = client.protocol.session
        self.assertEqual((session.peer, session.via), (CLIENT, PROXY))
        self.assertIsNotNone(session.tls)
        client.send(MESSAGE + b"QUIT\r\n")
        self.assertEqual(codes(client), [250, 250, 250, 354, 250, 221])
        self.assertEqual([CONTENT], [message.content for message in handler.messages])
        self.assert_clean(client)

    def test_client_hello_in_the_same_segment(self) -> None:
        """
        Header and ClientHello cut everywhere: neither may be taken for the other.
        """
        for header in (V1, v2()):
            for cut in range(0, len(header) + 40, 7):
                client = _Hasty(
                    self.factory(implicit_tls=True, context_factory=CREATOR), header, cut
                )
                client.start_tls()
                self.assertEqual(codes(client), [220], cut)
                client.send(b"NOOP\r\nQUIT\r\n")
                self.assertEqual(codes(client), [250, 221])
                self.assert_clean(client)

    def test_pending_hook(self) -> None:
        """
        The ClientHello comes while the hook decides.
        """
        later = Later()
        client = self.implicit(RecordingHandler({"PROXY": later}))
        client.send(V1)
        client.start_tls()
        self.assertIsNone(client.tls)
        later.fire(client)
        self.assertIsNotNone(client.tls)
        self.assertEqual(codes(client), [220])

    def test_refused(self) -> None:
        client = self.implicit(RecordingHandler({"PROXY": False}))
        client.send(V1)
        self.assert_turned_away(client, "refused by handle_PROXY")

    def test_no_header(self) -> None:
        client = self.implicit()
        client.start_tls()
        self.assert_turned_away(client, "not a line of the PROXY protocol")

    def test_no_tls_behind_it(self) -> None:
        client = self.implicit()
        client.send(V1 + b"EHLO c.example\r\n")
        self.assertTrue(client.closed)
        self.assertEqual(len(self.log_lines("handshake")), 1)
        self.assertEqual(self.log_lines("proxy", "connection"), [])

    def test_starttls(self) -> None:
        """
        What the header has said outlives it.
        """
        handler = RecordingHandler()
        client = self.connect(handler, context_factory=CREATOR)
        client.send(V1 + b"EHLO c.example\r\nSTARTTLS\r\n")
        before = client.protocol.session
        client.start_tls()
        session = client.protocol.session
        self.assertIsNot(session, before)
        self.assertIs(session.proxy, before.proxy)
        self.assertEqual((session.peer, session.local, session.via), (CLIENT, LOCAL, PROXY))
        client.take()
        client.send(MESSAGE)
        self.assertEqual(codes(client), [250, 250, 250, 354, 250])
        self.assertEqual(
            [call.hook for call in handler.calls][:4], ["PROXY", "CONNECT", "EHLO", "STARTTLS"]
        )
        client.disconnect()
        (event,) = (event for event in self.logged if event.get("event") == "connection")
        self.assertEqual(event["peer"], CLIENT[0])


class _Hasty(Client):
    """
    A client whose header is cut somewhere, and whose ClientHello comes right behind it.
    """

    def __init__(self, factory: SMTPFactory, header: bytes, cut: int) -> None:
        self.header, self.cut = header, cut
        super().__init__(factory)

    def _say(self, data: bytes) -> None:
        whole, self.header = self.header + data, b""
        cut, self.cut = self.cut, 0
        for segment in filter(None, (whole[:cut], whole[cut:])):
            super()._say(segment)
