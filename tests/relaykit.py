"""
What the tests of the relay share: a next hop in memory that says what it is told to.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from OpenSSL import SSL
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionAborted, ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.handlers.relay import NextHop, Relay, Timeouts
from txsmtpd.handlers.relay.connection import Connection
from txsmtpd.protocol import LMTP, SMTP
from txsmtpd.testing import Client, connect, make_factory

WHEN = datetime(2024, 2, 29, 12, 0, tzinfo=timezone.utc)
#: The connection closes.
DROP = object()
#: Nothing is said.
SILENCE = None
#: What it offers if not told otherwise.
OFFERED = ("PIPELINING", "8BITMIME", "ENHANCEDSTATUSCODES")

_USUAL = {
    "GREETING": "220 hop ESMTP",
    "HELO": "250 hop",
    "MAIL": "250 2.1.0 Sender fine",
    "RCPT": "250 2.1.5 Recipient fine",
    "DATA": "354 Go on",
    "END": "250 2.0.0 Queued as 17",
    "BDAT": "250 2.0.0 Chunk taken",
    "RSET": "250 2.0.0 Forgotten",
    "QUIT": "221 2.0.0 Bye",
    "STARTTLS": "220 2.0.0 Go on",
    "XCLIENT": "220 hop ESMTP again",
    "XFORWARD": "250 2.0.0 Noted",
    "AUTH": "235 2.7.0 Welcome",
}


class FakeTLS:
    """
    What Twisted gives to who makes TLS.
    """

    disconnecting = False


class FakeCreator:
    """
    TLS that encrypts nothing.
    """

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:
        return tlsProtocol


class Wire(StringTransport):
    """
    One connection of the relay to the hop, as the relay's transport.
    """

    def __init__(self, hop: Hop, protocol: Any) -> None:
        super().__init__()
        self.hop = hop
        self.clock = hop.clock
        self.relay: Any = protocol
        #: All that the relay has said, line by line; content is one entry.
        self.heard: list[str] = []
        self.contents: list[bytes] = []
        self.lost = self.aborted = self.secured = False
        self.protocol = protocol
        self._chunks: list[bytes] = []
        self._in_data = False
        self._bytes = b""
        self._recipients = 0

    producer: Any

    def setTcpNoDelay(self, enabled: bool) -> None:
        """
        As sockets have it.
        """

    # What the relay does.

    def write(self, data: bytes) -> None:
        self._bytes += data
        while self._bytes and self._take():
            pass

    def _take(self) -> bool:
        if self._in_data:
            return self._take_content()
        line, end, rest = self._bytes.partition(b"\r\n")
        if not end:
            return False
        verb = line.split(b" ")[0].decode().upper()
        if verb == "BDAT":
            return self._take_chunk(line, rest)
        self._bytes = rest
        self.heard.append(line.decode())
        answer = self.hop.answer(verb, line.decode())
        if verb == "DATA" and str(answer).startswith("354"):
            self._in_data = True
        if verb in ("MAIL", "RSET"):
            self._recipients = 0
        if verb == "RCPT" and str(answer).startswith("25"):
            self._recipients += 1
        self.say(answer)
        return True

    def _take_content(self) -> bool:
        # The first line may be the end.
        whole, end, rest = (b"\r\n" + self._bytes).partition(b"\r\n.\r\n")
        if not end:
            return False
        self._in_data = False
        self._bytes = rest
        self._ended(whole[2:].replace(b"\r\n..", b"\r\n.") + b"\r\n"[: len(whole) and 2])
        return True

    def _take_chunk(self, line: bytes, rest: bytes) -> bool:
        size = int(line.split(b" ")[1])
        if len(rest) < size:
            return False
        self._chunks.append(rest[:size])
        self._bytes = rest[size:]
        self.heard.append(line.decode())
        if line.endswith(b"LAST"):
            chunks, self._chunks = self._chunks, []
            self._ended(b"".join(chunks))
        else:
            self.say(self.hop.answer("BDAT", line.decode()))
        return True

    def _ended(self, content: bytes) -> None:
        self.contents.append(content)
        self.heard.append("END")
        for _ in range(self._recipients if self.hop.lmtp else 1):
            self.say(self.hop.answer("END", ""))
        self._recipients = 0

    def registerProducer(self, producer: Any, streaming: bool) -> None:
        assert streaming
        super().registerProducer(producer, streaming)

    def startTLS(self, creator: Any) -> None:
        tls = FakeTLS()
        creator.clientConnectionForTLS(tls)
        if self.hop.handshake == "never":
            return
        if self.hop.handshake == "wrong name":
            tls.disconnecting = True
            self.relay.handshakeCompleted()
        if self.hop.handshake != "fine":
            self.close(SSL.Error("no handshake"))
            return
        self.secured = True
        self.clock.callLater(0, self.relay.handshakeCompleted)

    def abortConnection(self) -> None:
        self.aborted = True
        self.close(ConnectionAborted())

    # What the hop does.

    def say(self, answer: Any) -> None:
        """
        Say a reply, several, or octets; or close.
        """
        for each in answer if isinstance(answer, (list, tuple)) else (answer,):
            if each is DROP:
                self.close()
            elif each is not SILENCE:
                data = each if isinstance(each, bytes) else f"{each}\r\n".encode()
                self.clock.callLater(0, self._deliver, data)

    def _deliver(self, data: bytes) -> None:
        if not self.lost:
            self.relay.dataReceived(data)

    def close(self, error: Exception | None = None) -> None:
        self.clock.callLater(0, self._lose, error or ConnectionDone())

    def _lose(self, error: Exception) -> None:
        if not self.lost:
            self.lost = True
            self.relay.connectionLost(Failure(error))

    def loseConnection(self) -> None:
        raise AssertionError("the relay never closes like that")


class Hop:
    """
    The next hop.

    :param answers: what it says, by command, ``GREETING`` and ``END``; a list is used up, and then
        it is as usual.  A callable gets the line.
    """

    handshake = "fine"

    def __init__(self, clock: Clock, *offered: str, lmtp: bool = False, **answers: Any) -> None:
        self.clock = clock
        self.lmtp = lmtp
        self.offered = offered or OFFERED
        self.answers = answers
        self.wires: list[Wire] = []
        #: How to refuse connections.
        self.trouble: Exception | Deferred[Any] | None = None

    def __call__(self, reactor: Any) -> Hop:
        assert reactor is self.clock
        return self

    def connect(self, factory: Any) -> Deferred[Any]:
        if isinstance(self.trouble, Deferred):
            return self.trouble
        if self.trouble is not None:
            return fail(self.trouble)
        protocol = factory.buildProtocol(None)
        wire = Wire(self, protocol)
        self.wires.append(wire)
        protocol.makeConnection(wire)
        wire.say(self.answer("GREETING", ""))
        return succeed(protocol)

    def answer(self, verb: str, line: str) -> Any:
        given = self.answers.get(verb, self)
        if isinstance(given, list):
            given = given.pop(0) if given else self
        if given is self:
            if verb in ("EHLO", "LHLO"):
                lines = ["hop", *self.offered]
                dashed = [f"250-{each}\r\n" for each in lines[:-1]]
                return f"{''.join(dashed)}250 {lines[-1]}"
            return _USUAL.get(verb, "500 5.5.2 What?")
        return given(line) if callable(given) else given

    @property
    def wire(self) -> Wire:
        (wire,) = self.wires
        return wire

    @property
    def heard(self) -> list[str]:
        """
        What was said to it by its only connection.
        """
        return self.wire.heard


class RelayTestCase(SynchronousTestCase):
    """
    A test with a clock, whose log is checked by the test.
    """

    def setUp(self) -> None:
        self.clock = Clock()

    def hop(self, *offered: str, **how: Any) -> Hop:
        return Hop(self.clock, *offered, **how)

    def connection(self, hop: Hop, timeouts: Timeouts | None = None, creator: Any = None) -> Any:
        """
        A bare connection to the hop.
        """
        connection = Connection(self.clock, timeouts or Timeouts(), creator)
        wire = Wire(hop, connection)
        hop.wires.append(wire)
        connection.makeConnection(wire)
        return connection

    def run_all(self) -> None:
        """
        Let everything happen that can happen without time passing.
        """
        while any(call.getTime() <= self.clock.seconds() for call in self.clock.getDelayedCalls()):
            self.clock.advance(0)

    def relay(self, hop: Hop, **how: Any) -> Relay:
        tls = how.pop("tls", None)
        where = NextHop("hop.example", 25, lmtp=hop.lmtp, tls=tls, **how.pop("where", {}))
        return Relay(where, endpoint=hop, now=lambda: WHEN, **how)

    def client(
        self,
        *handlers: object,
        lmtp: bool = False,
        make: Callable[..., Any] = make_factory,
        **settings: Any,
    ) -> Client:
        factory = make(*handlers, reactor=self.clock, hostname="relay.example", **settings)
        client = connect(factory.beside(protocol=LMTP if lmtp else SMTP))
        client.send(b"%s client.example\r\n" % (b"LHLO" if lmtp else b"EHLO"))
        client.take()
        return client

    def said(self, client: Client, *lines: str) -> list[str]:
        """
        Send lines, one by one.

        :return: the last line of each reply.
        """
        for line in lines:
            client.send(f"{line}\r\n".encode())
        replies = client.take().decode().splitlines()
        return [line for line in replies if line[3:4] == " "]

    def logged(self, do: Callable[[], Any]) -> list[str]:
        """
        :return: what a relay has warned of meanwhile.
        """
        with capturedLogs() as events:
            do()
        return [str(event["reason"]) for event in events if event.get("event") == "relay"]
