"""
Tests for txsmtpd.handlers.relay.transaction, as the client of a server sees it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from zope.interface.verify import verifyObject

from txsmtpd.core.replies import RECIPIENT_OK
from txsmtpd.core.session import Envelope, Parameters, Recipient, Session
from txsmtpd.handlers.relay.transaction import BinaryContent, Content, Transaction
from txsmtpd.interfaces import IContentReceiver
from txsmtpd.testing import RecordingHandler

from .relaykit import DROP, SILENCE, Hop, RelayTestCase

HEAD = (
    b"Received: from client.example ([192.0.2.1])\r\n"
    b"\tby relay.example with ESMTP id 0-1.1\r\n"
    b"\tfor <b@example.com>;\r\n"
    b"\tThu, 29 Feb 2024 12:00:00 +0000\r\n"
)
SENDER, RECIPIENT, OTHER = (
    "MAIL FROM:<a@example.org>",
    "RCPT TO:<b@example.com>",
    "RCPT TO:<c@example.com>",
)
LOST = "451 4.4.2 The connection to the next hop was lost, try again later"
LATE = "451 4.4.2 The next hop took too long, try again later"
NONSENSE = "451 4.5.0 The next hop does not keep to the protocol, try again later"
BINARY = ("PIPELINING", "8BITMIME", "BINARYMIME", "CHUNKING")


class TransactionTestCase(RelayTestCase):
    def opened(self, hop: Hop, *handlers: object, **how: Any) -> Any:
        client = self.client(*handlers, self.relay(hop), **how)
        self.assertEqual(self.said(client, SENDER)[0][:3], "250")
        return client

    def send(self, client: Any, *content: str) -> str:
        """
        :return: the verdict.
        """
        go_ahead, *verdict = self.said(client, "DATA", *content, ".")
        self.assertEqual(go_ahead[:3], "354")
        return " / ".join(verdict)


class DataTests(TransactionTestCase):
    def test_message(self) -> None:
        client = self.opened(hop := self.hop())
        self.assertEqual(self.said(client, RECIPIENT), ["250 2.1.5 Recipient fine"])
        self.assertEqual(self.send(client, "Subject: x", "", "..", "..a"), "250 2.0.0 Queued as 17")
        self.assertEqual(hop.wire.contents, [HEAD + b"Subject: x\r\n\r\n.\r\n.a\r\n"])
        self.assertEqual(hop.heard[1:], [SENDER, RECIPIENT, "DATA", "END"])

    def test_next_message(self) -> None:
        client = self.opened(hop := self.hop())
        for _ in range(2):
            self.said(client, RECIPIENT)
            self.send(client, "x")
            self.said(client, SENDER)
        self.assertEqual(len(hop.wires), 1)
        self.assertEqual(hop.heard[1:5] * 2 + [SENDER], hop.heard[1:])

    def test_empty(self) -> None:
        client = self.opened(hop := self.hop())
        self.said(client, RECIPIENT)
        self.assertEqual(self.send(client)[:3], "250")
        self.assertEqual(hop.wire.contents, [HEAD])

    def test_recipients(self) -> None:
        """
        Each has a verdict of its own.
        """
        client = self.opened(self.hop(RCPT=["550 5.1.1 Nobody", "251 2.1.5 Elsewhere"]))
        replies = self.said(client, RECIPIENT, OTHER)
        self.assertEqual(replies, ["550 5.1.1 Nobody", "251 2.1.5 Elsewhere"])
        self.assertEqual(self.send(client, "x")[:3], "250")

    def test_recipient_refused_by_a_connection_for_one_message(self) -> None:
        """
        It is not offered XCLIENT any more.
        """
        ehlo = ["250-hop\r\n250 XCLIENT ADDR", "250 hop"]
        client = self.opened(hop := self.hop(EHLO=ehlo, RCPT=["550 5.1.1 Nobody"]))
        replies = self.said(client, RECIPIENT, OTHER)
        self.assertEqual([reply[:3] for reply in replies], ["550", "250"])
        self.assertEqual(self.send(client, "x")[:3], "250")
        self.assertEqual(hop.heard[-1], "QUIT")

    def test_out_of_step(self) -> None:
        """
        A verdict too many is not the answer to the next MAIL, and so on until a chunk's answer is
        the verdict.
        """
        hop = self.hop(*BINARY, END=[b"250 first\r\n250 stale\r\n", "550 5.7.1 Spam"])
        client = self.opened(hop)
        self.said(client, RECIPIENT, "DATA")
        client.send(b"x\r\n.\r\nMAIL FROM:<a@example.org> BODY=BINARYMIME\r\n")
        client.send(b"RCPT TO:<b@example.com>\r\nBDAT 1\r\nyBDAT 1 LAST\r\nz")
        first, *_, last = client.take().decode().splitlines()
        self.assertEqual((first, last), ("250 2.0.0 first", "550 5.7.1 Spam"))
        self.assertEqual(len(hop.wires), 2)

    def test_parameter_refused(self) -> None:
        client = self.opened(hop := self.hop())
        replies = self.said(client, f"{RECIPIENT} NOTIFY=SUCCESS", OTHER)
        self.assertEqual(replies[0], "550 5.3.3 The next hop cannot notify of success")
        self.assertEqual(hop.heard[2:], [OTHER])

    def test_verdict(self) -> None:
        for said, reply in (
            ("550 5.7.1 Spam", "550 5.7.1 Spam"),
            ("452 4.2.2 Full", "452 4.2.2 Full"),
            ("554", "554 5.0.0 Refused"),
            (b"250-2.0.0 Queued\r\n250 2.0.0 as 17\r\n", "250 2.0.0 as 17"),
            # Not for our client.
            ("421 4.3.2 Going down", "451 4.3.2 Going down"),
            ("221 Bye", NONSENSE),
            ("354 Go on", NONSENSE),
            (DROP, LOST),
            (b"250 2.0.0 Ok", LOST + "*"),
        ):
            drops = reply.endswith("*")
            client = self.opened(self.hop(END=(said, DROP) if drops else said))
            self.said(client, RECIPIENT)
            self.assertEqual(self.send(client, "x"), reply.removesuffix("*"), said)
            # Our client is still served.
            self.assertEqual(self.said(client, "NOOP"), ["250 2.0.0 OK"])
            self.assertEqual(self.said(client, SENDER)[0][:3], "250")

    def test_no_verdict(self) -> None:
        client = self.opened(hop := self.hop(END=SILENCE))
        self.said(client, RECIPIENT)
        self.assertEqual(self.send(client, "x"), "")
        client.wait(599)
        self.assertEqual(client.take(), b"")
        client.wait(1)
        self.assertEqual(client.take().decode(), f"{LATE}\r\n")
        self.assertTrue(hop.wire.lost)

    def test_data_refused(self) -> None:
        for said, reply in (
            ("450 4.2.0 Later", "450 4.2.0 Later"),
            ("554 5.5.1 No", "554 5.5.1 No"),
            ("421 4.3.2 Down", "451 4.3.2 Down"),
            ("250 What?", NONSENSE),
            (DROP, LOST),
        ):
            client = self.opened(hop := self.hop(DATA=[said]))
            self.said(client, RECIPIENT)
            self.assertEqual(self.said(client, "DATA"), [reply])
            if reply[:3] in ("450", "554"):
                # The transaction is still there, on both sides.
                self.assertEqual(self.send(client, "x")[:3], "250")
                self.assertEqual(len(hop.wires), 1)
            else:
                self.assertEqual(self.said(client, "DATA")[0][:3], "451")

    def test_early_refusal(self) -> None:
        """
        The client hears it at the end of the message, where it may be heard.
        """
        client = self.opened(hop := self.hop())
        self.said(client, RECIPIENT, "DATA")
        hop.wire.say("552 5.3.4 Too big")
        client.pump()
        self.assertEqual(self.said(client, "more", "and more"), [])
        self.assertEqual(self.said(client, "."), ["552 5.3.4 Too big"])
        self.assertTrue(hop.wire.lost)

    def test_lost_in_content(self) -> None:
        client = self.opened(hop := self.hop())
        self.said(client, RECIPIENT, "DATA", "x")
        hop.wire.close()
        client.pump()
        self.assertEqual(self.said(client, "more", "."), [LOST])
        self.assertEqual(hop.wire.contents, [])

    def test_lost_between(self) -> None:
        client = self.opened(hop := self.hop())
        hop.wire.close()
        client.pump()
        self.assertEqual(self.said(client, RECIPIENT, OTHER), [LOST, LOST])
        self.assertEqual(self.said(client, "RSET", SENDER)[-1][:3], "250")
        self.assertEqual(len(hop.wires), 2)

    def test_421_between(self) -> None:
        client = self.opened(self.hop(RCPT=["421 4.7.0 Enough"]))
        replies = self.said(client, RECIPIENT, OTHER)
        self.assertEqual(replies, ["451 4.7.0 Enough", "451 4.7.0 Enough"])
        self.assertFalse(client.closed)

    def test_back_pressure(self) -> None:
        """
        A client is read as fast as the next hop reads.
        """
        client = self.opened(hop := self.hop())
        self.said(client, RECIPIENT, "DATA")
        hop.wire.producer.pauseProducing()
        client.send(b"x" * 200000)
        self.assertFalse(client.transport.wants_read)
        hop.wire.producer.resumeProducing()
        client.pump()
        self.assertTrue(client.transport.wants_read)
        self.assertEqual(self.said(client, "", "."), ["250 2.0.0 Queued as 17"])
        self.assertEqual(len(hop.wire.contents[0]), len(HEAD) + 200002)

    def test_client_goes_in_content(self) -> None:
        client = self.opened(hop := self.hop())
        self.said(client, RECIPIENT, "DATA", "x")
        client.disconnect()
        self.assertTrue(hop.wire.aborted)
        self.assertEqual(hop.wire.contents, [])

    def test_client_goes_at_the_end(self) -> None:
        """
        The message is whole, so it is delivered.
        """
        client = self.opened(hop := self.hop(END=SILENCE))
        self.said(client, RECIPIENT, "DATA", "x", ".")
        client.disconnect()
        self.assertEqual(len(hop.wire.contents), 1)
        self.assertFalse(hop.wire.lost)
        hop.wire.say("250 OK")
        client.pump()
        self.assertEqual(hop.heard[-1], "END")
        self.assertFalse(hop.wire.lost)


class AgreeTests(TransactionTestCase):
    """
    A handler behind the relay may refuse recipients that the next hop has accepted.
    """

    def behind(self, hop: Hop, **verdicts: Any) -> Any:
        behind = RecordingHandler(verdicts, hooks=verdicts)
        client = self.client(self.relay(hop), behind)
        self.said(client, SENDER)
        return client

    def test_refused_behind(self) -> None:
        for features in ((), ("PIPELINING", "XFORWARD ADDR")):
            hop = self.hop("SIZE", *features, XFORWARD="501 What?")
            client = self.behind(hop, RCPT=["550 5.1.1 Not here", None])
            replies = self.said(client, RECIPIENT, OTHER)
            self.assertEqual(replies, ["550 5.1.1 Not here", "250 2.1.5 Recipient fine"])
            self.assertEqual(self.send(client, "x")[:3], "250")
            again = hop.heard[hop.heard.index("RSET") :]
            spoken = [line for line in again if not line.startswith("XFORWARD")]
            self.assertEqual(spoken, ["RSET", SENDER, OTHER, "DATA", "END"])

    def test_changed_its_mind(self) -> None:
        for how in (
            {"RCPT": ["250 Yes", "250 Yes", "450 No"]},
            {"RSET": "502 What?"},
            {"MAIL": ["250 Yes", "450 No"]},
            {"RCPT": ["250 Yes", "250 Yes", DROP]},
        ):
            client = self.behind(hop := self.hop(**how), RCPT=["550 5.1.1 Not here", None])
            self.said(client, RECIPIENT, OTHER)
            reply = LOST if DROP in how.get("RCPT", ()) else NONSENSE
            self.assertEqual(self.said(client, "DATA"), [reply])
            self.assertTrue(hop.wire.lost)

    def test_accepted_by_somebody_else(self) -> None:
        """
        Nothing goes to somebody of whom the next hop does not know.
        """
        envelope = Envelope()
        connection = self.connection(self.hop())
        transaction = Transaction(connection, Session(), envelope, False)
        envelope.recipients.append(Recipient("b@example.com", Parameters(), RECIPIENT_OK))
        opening = Deferred.fromCoroutine(transaction.open_content())
        self.assertEqual(str(self.failureResultOf(opening).value.reply)[:9], "451 4.3.0")

    def test_refused_in_front(self) -> None:
        """
        Of a refusal in front of it the relay hears nothing.
        """
        hop = self.hop()
        front = RecordingHandler({"RCPT": ["550 5.1.1 No", None]}, hooks=["RCPT"])
        client = self.opened(hop, front)
        self.said(client, RECIPIENT, OTHER)
        self.send(client, "x")
        self.assertEqual(hop.heard[1:], [SENDER, OTHER, "DATA", "END"])

    def test_message_refused_in_front(self) -> None:
        hop = self.hop()
        front = RecordingHandler({"DATA": "550 5.7.1 Spam"}, hooks=["DATA"])
        client = self.opened(hop, front)
        self.said(client, RECIPIENT)
        self.assertEqual(self.send(client, "x"), "550 5.7.1 Spam")
        self.assertTrue(hop.wire.aborted)
        self.assertEqual(hop.wire.contents, [])


class LMTPTests(RelayTestCase):
    def delivered(self, lmtp: bool, *handlers: object, **how: Any) -> tuple[Hop, list[str]]:
        hop = self.hop(lmtp=True, **how)
        client = self.client(*handlers, self.relay(hop), lmtp=lmtp)
        replies = self.said(client, SENDER, RECIPIENT, OTHER, RECIPIENT, "DATA", "x", ".")
        return hop, replies[5:]

    def test_verdicts(self) -> None:
        end = ["250 2.0.0 One", "550 5.2.1 Two", "452 4.2.2 Three"]
        _, replies = self.delivered(True, END=[*end])
        self.assertEqual(replies, end)

    def test_same(self) -> None:
        hop = self.hop()
        client = self.client(self.relay(hop), lmtp=True)
        replies = self.said(client, SENDER, RECIPIENT, OTHER, "DATA", "x", ".")
        self.assertEqual(replies[4:], ["250 2.0.0 Queued as 17"] * 2)

    def test_one_verdict(self) -> None:
        _, replies = self.delivered(False)
        self.assertEqual(replies, ["250 2.0.0 Queued as 17"])
        _, replies = self.delivered(False, END=["250 2.0.0 One", "550 5.2.1 Two"])
        self.assertEqual(replies, ["550 5.2.1 <c@example.com>: 550 5.2.1 Two"])

    def test_lost_between(self) -> None:
        """
        Who has a verdict keeps it.
        """
        _, replies = self.delivered(True, END=["250 2.0.0 One", DROP, SILENCE])
        self.assertEqual(replies, ["250 2.0.0 One", LOST, LOST])

    def test_421_between(self) -> None:
        _, replies = self.delivered(True, END=["250 2.0.0 One", "421 4.3.2 Down", SILENCE])
        self.assertEqual(replies, ["250 2.0.0 One", *["451 4.3.2 Down"] * 2])

    def test_refused_in_front(self) -> None:
        """
        The next hop cannot be told any more, so nobody has the message yet.
        """
        front = RecordingHandler({"DATA": [("550 5.7.1 Not me", None, None)]}, hooks=["DATA"])
        hop, replies = self.delivered(True, front)
        again = "451 4.3.0 Another recipient was refused, try again"
        self.assertEqual(replies, ["550 5.7.1 Not me", again, again])
        self.assertTrue(hop.wire.aborted)
        self.assertEqual(hop.wire.contents, [])


class BinaryTests(RelayTestCase):
    binary = f"{SENDER} BODY=BINARYMIME"

    def client_of(self, hop: Hop) -> Any:
        client = self.client(self.relay(hop))
        self.assertEqual(self.said(client, self.binary, RECIPIENT)[1][:3], "250")
        return client

    def chunk(self, client: Any, data: bytes, last: str = "") -> list[str]:
        client.send(b"BDAT %d%s\r\n%b" % (len(data), last.encode(), data))
        return [line for line in client.take().decode().splitlines() if line[3:4] == " "]

    def test_message(self) -> None:
        for features in (BINARY, BINARY[1:]):
            client = self.client_of(hop := self.hop(*features))
            self.assertEqual(self.chunk(client, b"\0\r.\n.")[0][:3], "250")
            self.assertEqual(self.chunk(client, b"\r\n.\r\n", " LAST"), ["250 2.0.0 Queued as 17"])
            self.assertEqual(hop.wire.contents, [HEAD + b"\0\r.\n.\r\n.\r\n"])
            chunks = [f"BDAT {len(HEAD) + 5}", "BDAT 5", "BDAT 0 LAST", "END"]
            self.assertEqual(hop.heard[1:], [self.binary, RECIPIENT, *chunks])

    def test_empty(self) -> None:
        client = self.client_of(hop := self.hop(*BINARY))
        self.assertEqual(self.chunk(client, b"", " LAST")[0][:3], "250")
        self.assertEqual(hop.wire.contents, [HEAD])

    def test_chunk_refused(self) -> None:
        for said, reply in (
            ("552 5.3.4 Too big", "552 5.3.4 Too big"),
            ("421 4.3.2 Down", "451 4.3.2 Down"),
            ("354 What?", NONSENSE),
            (DROP, LOST),
        ):
            for features in (BINARY, BINARY[1:]):
                client = self.client_of(hop := self.hop(*features, BDAT=said))
                self.chunk(client, b"some")
                self.assertEqual(self.chunk(client, b"more", " LAST"), [reply])
                self.assertTrue(hop.wire.lost)
                self.assertEqual(hop.wire.contents, [])

    def test_last_chunk_refused(self) -> None:
        client = self.client_of(self.hop(*BINARY, BDAT="552 5.3.4 Too big"))
        self.assertEqual(self.chunk(client, b"some", " LAST"), ["552 5.3.4 Too big"])

    def test_by_data(self) -> None:
        """
        Content that may have no bare newlines has none, however it came.
        """
        client = self.client(self.relay(hop := self.hop()))
        self.said(client, SENDER, RECIPIENT)
        self.assertEqual(self.chunk(client, b"a\n.\nb\r\n", " LAST")[0][:3], "250")
        self.assertEqual(hop.wire.contents, [HEAD + b"a\r\n.\r\nb\r\n"])


class InterfaceTests(RelayTestCase):
    def test_receivers(self) -> None:
        transaction = Transaction(self.connection(self.hop()), Session(), Envelope(), False)
        for kind in (Content, BinaryContent):
            receiver = kind(transaction, b"", lambda: None, lambda _: None)
            self.assertTrue(verifyObject(IContentReceiver, receiver))

    def test_reset(self) -> None:
        for said, spent in (("250 OK", False), ("502 What?", True), (DROP, False)):
            connection = self.connection(hop := self.hop(GREETING=SILENCE, RSET=said))
            hop.wire.say("220 hop")
            self.run_all()
            transaction = Transaction(connection, Session(), Envelope(), False)
            done = Deferred.fromCoroutine(transaction.reset())
            self.run_all()
            self.assertIsNone(self.successResultOf(done))
            self.assertEqual((connection.spent, hop.wire.lost), (spent, said is DROP))

    def test_reset_twice(self) -> None:
        connection = self.connection(self.hop())
        connection.greeting.addErrback(lambda _: None)
        transaction = Transaction(connection, Session(), Envelope(), False)
        transaction.receiving = True
        for _ in range(2):
            self.successResultOf(Deferred.fromCoroutine(transaction.reset()))
        self.assertIsNotNone(connection.gone)
