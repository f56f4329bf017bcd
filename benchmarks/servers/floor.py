"""
The floor: what the dialog costs on Twisted if nothing is checked and every reply is canned.

Content is looked at only as much as it takes to find its end, and counted as it came over the wire,
the dots that were stuffed into it included.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet import endpoints, reactor, ssl
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver

from . import Setup, Tally

_EHLO = b"250-floor.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n"
_REPLIES = {
    b"EHLO": _EHLO,
    b"LHLO": _EHLO,
    b"STAR": b"220 2.0.0 Go ahead\r\n",
    b"MAIL": b"250 2.1.0 Sender OK\r\n",
    b"RCPT": b"250 2.1.5 Recipient OK\r\n",
    b"DATA": b"354 End data with <CR><LF>.<CR><LF>\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
}
_ACCEPTED = b"250 2.0.0 Message accepted\r\n"
_END = b"\r\n.\r\n"


class Floor(LineReceiver):
    """
    Plays the server's part without listening.
    """

    transport: Any
    factory: Any

    _tail = b""

    def connectionMade(self) -> None:
        self.transport.write(b"220 floor.example ESMTP\r\n")

    def lineReceived(self, line: bytes) -> None:
        verb = line[:4]
        self.transport.write(_REPLIES[verb])
        if verb == b"DATA":
            self.setRawMode()
        elif verb == b"QUIT":
            self.transport.loseConnection()

    def rawDataReceived(self, data: bytes) -> None:
        tally: Tally = self.factory.tally
        data = self._tail + data
        end = data.find(_END)
        if end < 0:
            # The tail may be the beginning of the end.
            self._tail = data[-len(_END) + 1 :]
            tally.octets += len(data) - len(self._tail)
            return
        self._tail = b""
        tally.octets += end + 2
        tally.messages += 1
        self.accept()
        self.setLineMode(data[end + len(_END) :])

    def accept(self) -> None:
        self.transport.write(_ACCEPTED)


class SecureFloor(Floor):
    """
    Begins TLS when it is told to.
    """

    def lineReceived(self, line: bytes) -> None:
        super().lineReceived(line)
        if line == b"STARTTLS":
            self.transport.startTLS(self.factory.context)


class LMTPFloor(Floor):
    """
    Accepts a message once for each recipient.
    """

    _recipients = 0

    def lineReceived(self, line: bytes) -> None:
        super().lineReceived(line)
        if line[:4] == b"RCPT":
            self._recipients += 1

    def accept(self) -> None:
        self.transport.write(_ACCEPTED * self._recipients)
        self._recipients = 0


class FloorFactory(Factory):
    """
    Knows what all connections count in.
    """

    noisy = False

    def __init__(self, setup: Setup, tally: Tally) -> None:
        self.tally = tally
        self.protocol = Floor
        if setup.lmtp:
            self.protocol = LMTPFloor
        elif setup.certificate is not None:
            self.protocol = SecureFloor
            pem = Path(setup.certificate).read_bytes()
            self.context = ssl.PrivateCertificate.loadPEM(pem).options()


def serve(setup: Setup, tally: Tally, ready: Callable[[int], None]) -> None:
    loop: Any = reactor
    factory = FloorFactory(setup, tally)
    listening: Any = endpoints.TCP4ServerEndpoint(loop, 0, interface="127.0.0.1").listen(factory)
    listening.addCallback(lambda port: ready(port.getHost().port))
    loop.run()
