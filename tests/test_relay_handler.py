"""
Tests for txsmtpd.handlers.relay.handler.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionRefusedError
from twisted.internet.testing import MemoryReactorClock
from zope.interface.verify import verifyObject

from docs.code import smarthost
from txsmtpd import interfaces
from txsmtpd.core.replies import Rejected
from txsmtpd.handlers import Relay, make_handler
from txsmtpd.handlers.relay import Timeouts
from txsmtpd.testing import RecordingHandler

from .relaykit import DROP, SILENCE, Hop, RelayTestCase

SENDER, RECIPIENT = "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>"
DEAD = "451 4.4.1 The next hop cannot be reached, try again later"
LOST = "451 4.4.2 The connection to the next hop was lost, try again later"


class MakingTests(RelayTestCase):
    def test_interfaces(self) -> None:
        relay = self.relay(self.hop())
        for name in ("IEHLO", "IMAIL", "IRCPT", "IContent", "IRSET", "IDISCONNECT"):
            self.assertTrue(verifyObject(getattr(interfaces, f"{name}Hook"), relay))

    def test_specs(self) -> None:
        for spec, verified, lmtp in (
            ("relay:a:25", False, False),
            ("relay-tls:a", True, False),
            ("relay-lmtp:unix:/a", False, True),
        ):
            relay = make_handler(spec)
            self.assertIsInstance(relay, Relay)
            self.assertEqual((relay.hop.verified, relay.hop.lmtp), (verified, lmtp))

    def test_in_a_program(self) -> None:
        """
        The one in docs/howto/relay.rst.
        """
        reactor: Any = MemoryReactorClock()
        serving = Deferred.fromCoroutine(smarthost.serve(reactor, "secret"))
        self.assertIsNone(self.successResultOf(serving))
        ((port, factory, _, _),) = reactor.tcpServers
        (relay,) = factory._handlers
        self.assertEqual((port, str(relay.hop)), (2525, "mail.example.org:587"))
        self.assertTrue(relay.hop.verified)
        self.assertEqual(reactor.triggers["before"]["shutdown"], [(relay.stop, (), {})])


class GreetingTests(RelayTestCase):
    def offered(self, hop: Hop, *, meet: bool = True, **settings: Any) -> list[str]:
        client = self.client(self.relay(hop), **settings)
        if meet:
            self.said(client, SENDER, "RSET")
        client.send(b"EHLO client.example\r\n")
        return [line[4:] for line in client.take().decode().splitlines()]

    def test_not_known(self) -> None:
        """
        Nearly everybody has these, and hardly anybody the others.
        """
        offered = self.offered(self.hop(), meet=False)
        for keyword in ("8BITMIME", "BINARYMIME", "SMTPUTF8", "DSN", "CHUNKING", "SIZE 33554432"):
            self.assertIn(keyword, offered)
        for keyword in ("MT-PRIORITY", "REQUIRETLS"):
            self.assertNotIn(keyword, offered)

    def test_known(self) -> None:
        offered = self.offered(self.hop("SMTPUTF8", "BINARYMIME", "MT-PRIORITY MIXER"))
        self.assertIn("SMTPUTF8", offered)
        self.assertTrue(any(keyword.startswith("MT-PRIORITY") for keyword in offered))
        for keyword in ("8BITMIME", "BINARYMIME", "DSN"):
            self.assertNotIn(keyword, offered)
        self.assertEqual(offered[0], "relay.example")
        self.assertEqual(offered[-1], "HELP")

    def test_size(self) -> None:
        for ours, theirs, said in (
            (1000, "SIZE 500", "SIZE 500"),
            (1000, "SIZE 5000", "SIZE 1000"),
            (1000, "SIZE 1000", "SIZE 1000"),
            (1000, "SIZE \xb2", "SIZE 1000"),
            (1000, "SIZE 0", "SIZE 1000"),
            (1000, "SIZE", "SIZE 1000"),
            (1000, "DSN", "SIZE 1000"),
            (0, "SIZE 500", "SIZE 500"),
            (0, "SIZE", "SIZE"),
        ):
            offered = self.offered(self.hop(theirs), data_size_limit=ours)
            self.assertIn(said, offered)


class TransactionTests(RelayTestCase):
    def test_sender(self) -> None:
        for said, reply in (
            ("250 2.1.0 Fine", "250 2.1.0 Fine"),
            ("550 5.7.1 Not you", "550 5.7.1 Not you"),
            ("450 4.7.1 Later", "450 4.7.1 Later"),
            ("421 4.7.0 Enough", "451 4.7.0 Enough"),
            (DROP, LOST),
        ):
            client = self.client(self.relay(hop := self.hop(MAIL=[said])))
            self.assertEqual(self.said(client, SENDER), [reply])
            self.assertEqual(len(hop.wires), 1)
            self.assertFalse(client.closed)

    def test_after_a_refusal(self) -> None:
        """
        The connection serves again, if it is still there.
        """
        for said, connections in (("550 No", 1), ("421 Enough", 2), (DROP, 2)):
            client = self.client(self.relay(hop := self.hop(MAIL=[said])))
            self.assertEqual(self.said(client, SENDER, SENDER)[1][:3], "250")
            self.assertEqual(len(hop.wires), connections)

    def test_message(self) -> None:
        client = self.client(self.relay(hop := self.hop()))
        replies = self.said(client, SENDER, RECIPIENT, "DATA", "x", ".")
        self.assertEqual([reply[:3] for reply in replies], ["250", "250", "354", "250"])
        (content,) = hop.wire.contents
        self.assertTrue(content.startswith(b"Received: from client.example ([192.0.2.1])\r\n"))
        self.assertTrue(content.endswith(b"12:00:00 +0000\r\nx\r\n"))

    def test_binary_message(self) -> None:
        client = self.client(self.relay(hop := self.hop("BINARYMIME", "CHUNKING")))
        self.said(client, f"{SENDER} BODY=BINARYMIME", RECIPIENT)
        client.send(b"BDAT 3 LAST\r\n\0\r\0")
        self.assertEqual(client.take(), b"250 2.0.0 Queued as 17\r\n")
        self.assertTrue(hop.wire.contents[0].endswith(b"\r\n\0\r\0"))

    def test_dead(self) -> None:
        client = self.client(self.relay(hop := self.hop()))
        hop.trouble = ConnectionRefusedError()
        self.assertEqual(self.said(client, SENDER), [DEAD])
        hop.trouble = None
        self.assertEqual(self.said(client, SENDER)[0][:3], "250")

    def test_says_nothing(self) -> None:
        hop = self.hop(GREETING=SILENCE)
        client = self.client(self.relay(hop, timeouts=Timeouts(greeting=7)))
        self.assertEqual(self.said(client, SENDER), [])
        client.wait(7)
        self.assertEqual(client.take()[:9], b"451 4.4.2")

    def test_client_goes_meanwhile(self) -> None:
        client = self.client(self.relay(hop := self.hop(MAIL=SILENCE)))
        self.said(client, SENDER)
        client.disconnect()
        self.assertTrue(hop.wire.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_parameter_refused(self) -> None:
        client = self.client(self.relay(hop := self.hop("SIZE")))
        (reply,) = self.said(client, f"{SENDER} SMTPUTF8")
        self.assertEqual(reply, "550 5.6.7 The next hop does not take SMTPUTF8")
        self.assertEqual(self.said(client, SENDER)[0][:3], "250")
        self.assertEqual(hop.heard[1:], [SENDER])

    def test_xforward(self) -> None:
        for pipelining in ((), ("PIPELINING",)):
            hop = self.hop("XFORWARD ADDR HELO IDENT", *pipelining, XFORWARD="501 What?")
            client = self.client(self.relay(hop))
            self.assertEqual(self.said(client, SENDER), ["250 2.1.0 Sender fine"])
            forward = "XFORWARD ADDR=192.0.2.1 HELO=client.example IDENT=0-1.1"
            self.assertEqual(hop.heard[1:], [forward, SENDER])

    def test_xclient(self) -> None:
        hop = self.hop("XCLIENT ADDR", "XFORWARD ADDR")
        client = self.client(self.relay(hop))
        self.said(client, SENDER)
        ehlo = "EHLO relay.example"
        self.assertEqual(hop.heard, [ehlo, "XCLIENT ADDR=192.0.2.1", ehlo, SENDER])
        self.said(client, "RSET", SENDER)
        self.assertEqual(hop.heard[4:], ["RSET", SENDER])

    def test_xclient_refused(self) -> None:
        hop = self.hop("XCLIENT ADDR", XCLIENT="550 5.7.1 Not from there")
        client = self.client(self.relay(hop))
        self.assertEqual(self.said(client, SENDER), ["550 5.7.1 Not from there"])


class ReuseTests(RelayTestCase):
    def test_stale(self) -> None:
        """
        A connection that the next hop closes just when it is wanted again is no news.
        """
        for said in (DROP, "421 4.4.2 Bored", (b"250", DROP)):
            hop = self.hop(MAIL=["250 Yes", said])
            client = self.client(self.relay(hop))
            self.assertEqual(self.said(client, SENDER, "RSET", SENDER)[-1][:3], "250")
            self.assertEqual(len(hop.wires), 2)
            self.assertEqual(self.said(client, RECIPIENT)[0][:3], "250")

    def test_once_only(self) -> None:
        hop = self.hop(MAIL=["250 Yes", DROP, DROP])
        client = self.client(self.relay(hop))
        self.assertEqual(self.said(client, SENDER, "RSET", SENDER)[-1], LOST)
        self.assertEqual(len(hop.wires), 2)

    def test_421_on_a_fresh_one(self) -> None:
        hop = self.hop(MAIL=["250 Yes", "421 Bored", "421 4.7.0 Enough"])
        client = self.client(self.relay(hop))
        self.assertEqual(self.said(client, SENDER, "RSET", SENDER)[-1], "451 4.7.0 Enough")
        self.assertEqual(len(hop.wires), 2)

    def test_shared(self) -> None:
        relay = self.relay(hop := self.hop())
        for _ in range(2):
            client = self.client(relay)
            self.said(client, SENDER, "QUIT")
        self.assertEqual(hop.heard[1:], [SENDER, "RSET", SENDER, "RSET"])

    def test_two_at_a_time(self) -> None:
        relay = self.relay(hop := self.hop())
        clients = [self.client(relay) for _ in range(2)]
        for client in clients:
            self.said(client, SENDER)
        self.assertEqual(len(hop.wires), 2)


class EndTests(RelayTestCase):
    def test_rset(self) -> None:
        client = self.client(self.relay(hop := self.hop()))
        replies = self.said(client, "RSET", SENDER, RECIPIENT, "RSET", SENDER)
        self.assertEqual(replies[3], "250 2.0.0 OK")
        self.assertEqual(hop.heard[1:], [SENDER, RECIPIENT, "RSET", SENDER])

    def test_rset_refused(self) -> None:
        for said in ("502 What?", DROP, "421 Bye"):
            client = self.client(self.relay(hop := self.hop(RSET=said)))
            replies = self.said(client, SENDER, "RSET", SENDER)
            self.assertEqual([reply[:3] for reply in replies], ["250"] * 3)
            self.assertEqual(len(hop.wires), 2)
            self.assertTrue(hop.wires[0].lost)

    def test_ehlo(self) -> None:
        """
        The next hop hears of it when there is another transaction.
        """
        client = self.client(self.relay(hop := self.hop()))
        replies = self.said(client, SENDER, "EHLO client.example", RECIPIENT, SENDER)
        self.assertEqual([reply[:3] for reply in replies], ["250", "250", "503", "250"])
        self.assertEqual(hop.heard[1:], [SENDER, "RSET", SENDER])

    def test_refused_by_another(self) -> None:
        """
        Of the sender that a handler behind has refused nothing is left.
        """
        behind = RecordingHandler({"MAIL": ["550 5.7.1 No", None]}, hooks=["MAIL"])
        client = self.client(self.relay(hop := self.hop()), behind)
        replies = self.said(client, SENDER, SENDER, RECIPIENT)
        self.assertEqual([reply[:3] for reply in replies], ["550", "250", "250"])
        self.assertEqual(hop.heard[1:], [SENDER, "RSET", SENDER, RECIPIENT])

    def test_without_transaction(self) -> None:
        """
        As when somebody has accepted a sender in the relay's place.
        """
        relay = self.relay(self.hop())

        class Server:
            hostname = "relay.example"

        error = self.assertRaises(Rejected, relay._open, Server(), None)
        self.assertEqual(str(error), LOST)

    def test_disconnect(self) -> None:
        client = self.client(self.relay(hop := self.hop()))
        self.said(client, SENDER)
        client.disconnect()
        self.assertEqual(hop.heard[1:], [SENDER, "RSET"])
        self.assertFalse(hop.wire.lost)

    def test_stop(self) -> None:
        relay = self.relay(hop := self.hop())
        client = self.client(relay)
        self.said(client, SENDER, "QUIT")
        stopping = relay.stop()
        self.run_all()
        self.successResultOf(stopping)
        self.assertEqual(hop.heard[-1], "QUIT")
        self.assertTrue(hop.wire.lost)
