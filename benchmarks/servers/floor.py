"""
The floor: what the dialog costs on Twisted if nothing is checked and every reply is canned.

Content is looked at only as much as it takes to find its end.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import endpoints, reactor
from twisted.internet.protocol import Factory
from twisted.protocols.basic import LineReceiver

from . import Tally

_REPLIES = {
    b"EHLO": b"250-floor.example\r\n250-PIPELINING\r\n250 8BITMIME\r\n",
    b"MAIL": b"250 2.1.0 Sender OK\r\n",
    b"RCPT": b"250 2.1.5 Recipient OK\r\n",
    b"DATA": b"354 End data with <CR><LF>.<CR><LF>\r\n",
    b"QUIT": b"221 2.0.0 Bye\r\n",
}
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
        self.transport.write(b"250 2.0.0 Message accepted\r\n")
        self.setLineMode(data[end + len(_END) :])


class FloorFactory(Factory):
    """
    Knows what all connections count in.
    """

    protocol = Floor
    noisy = False

    def __init__(self, tally: Tally) -> None:
        self.tally = tally


def serve(tally: Tally, ready: Callable[[int], None]) -> None:
    loop: Any = reactor
    factory = FloorFactory(tally)
    listening: Any = endpoints.TCP4ServerEndpoint(loop, 0, interface="127.0.0.1").listen(factory)
    listening.addCallback(lambda port: ready(port.getHost().port))
    loop.run()
