"""
The load generator: many SMTP connections in one thread, each playing a script.

Scripts are made beforehand where that is possible, so that while the clock runs there is nothing to
do but to send, to receive and to check the code of every reply line.
"""

from __future__ import annotations

import selectors
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

import attrs

from . import CheckFailed

#: Seconds without any reply from the server that end the benchmark.
STALL = 30
#: Octets that are sent at a time: nobody else has a turn before they are copied.
SLICE = 65536

_EITHER = selectors.EVENT_READ | selectors.EVENT_WRITE


@attrs.frozen
class Step:
    """
    Something to send, and the codes of the replies that must come before the next step.
    """

    send: bytes
    codes: tuple[bytes, ...]
    #: Whether it begins with a new connection, in place of the one there was.
    connect: bool = False
    #: Whether it begins with a TLS handshake.
    secure: bool = False


def trusting() -> ssl.SSLContext:
    """
    What makes connections with whatever certificate there is.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class Replies:
    """
    Checks what a server says against the codes that a step wants.
    """

    def __init__(self) -> None:
        self._codes: Iterator[bytes] = iter(())
        self._code: bytes | None = None
        self._partial = b""

    def expect(self, codes: Iterable[bytes]) -> None:
        self._codes = iter(codes)
        self._code = next(self._codes, None)

    def feed(self, data: bytes) -> bool:
        """
        :return: whether every reply is there.
        :raise CheckFailed: for a line with another code, or one too many.
        """
        *lines, self._partial = (self._partial + data).split(b"\r\n")
        for line in lines:
            if self._code is None or line[:3] != self._code or line[3:4] not in (b" ", b"-", b""):
                wanted = "nothing" if self._code is None else self._code.decode("ascii")
                raise CheckFailed(f"wanted {wanted}, got {line[:80]!r}")
            if line[3:4] != b"-":
                self._code = next(self._codes, None)
        if self._code is None and self._partial:
            raise CheckFailed(f"wanted nothing, got {self._partial[:80]!r}")
        return self._code is None


class Connection:
    """
    One client.
    """

    def __init__(
        self, address: tuple[str, int], selector: selectors.BaseSelector, tls: ssl.SSLContext
    ) -> None:
        self._address = address
        self._selector = selector
        self._tls = tls
        self._socket: socket.socket | None = None
        self._events = selectors.EVENT_READ
        self._replies = Replies()
        self._script: Iterator[Step] = iter(())
        self._unsent = memoryview(b"")
        self._shaking_hands = False
        self._playing = False

    def start(self, script: Iterable[Step]) -> bool:
        """
        :return: whether there is anything to wait for.
        """
        self._script = iter(script)
        self._playing = True
        return not self._next()

    def _next(self) -> bool:
        """
        :return: whether the script has ended.
        """
        step = next(self._script, None)
        if step is None:
            self._playing = False
            return True
        if step.connect:
            self._connect()
        self._replies.expect(step.codes)
        self._unsent = memoryview(step.send)
        if step.secure:
            self._secure()
        elif step.send:
            self._send()
        return False

    def _connect(self) -> None:
        self.close()
        connection = socket.socket()
        try:
            connection.settimeout(STALL)
            connection.connect(self._address)
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            connection.setblocking(False)
        except BaseException:
            connection.close()
            raise
        self._adopt(connection)

    def _adopt(self, connection: socket.socket) -> None:
        self._socket = connection
        self._events = selectors.EVENT_READ
        self._selector.register(connection, self._events, self)

    def _wait_for(self, events: int) -> None:
        if events != self._events:
            self._events = events
            self._selector.modify(self._connected(), events, self)

    def _connected(self) -> socket.socket:
        if self._socket is None:
            raise CheckFailed("the server closed the connection")
        return self._socket

    def _secure(self) -> None:
        plain = self._connected()
        self._selector.unregister(plain)
        self._socket = None
        try:
            self._adopt(self._tls.wrap_socket(plain, do_handshake_on_connect=False))
        finally:
            # If it was wrapped, this is an empty shell.
            plain.close()
        self._shaking_hands = True
        self._shake_hands()

    def _shake_hands(self) -> None:
        connection = self._connected()
        assert isinstance(connection, ssl.SSLSocket)
        try:
            connection.do_handshake()
        except ssl.SSLWantReadError:
            self._wait_for(selectors.EVENT_READ)
        except ssl.SSLWantWriteError:
            self._wait_for(_EITHER)
        else:
            self._shaking_hands = False
            self._send()

    def _send(self) -> None:
        try:
            sent = self._connected().send(self._unsent[:SLICE])
        except (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError):
            sent = 0
        self._unsent = self._unsent[sent:]
        self._wait_for(_EITHER if self._unsent else selectors.EVENT_READ)

    def _receive(self) -> bytes | None:
        """
        :return: None if there is nothing yet, nothing if there will be no more.
        """
        try:
            # More than a TLS record, so that nothing is left of which the selector knows nothing.
            return self._connected().recv(65536)
        except (BlockingIOError, ssl.SSLWantReadError):
            return None

    def ready(self, events: int) -> bool:
        """
        :return: whether the script has ended.
        :raise CheckFailed: if the server says something wrong, or hangs up.
        """
        if self._shaking_hands:
            self._shake_hands()
            return False
        if events & selectors.EVENT_WRITE:
            self._send()
        if not events & selectors.EVENT_READ:
            return False
        data = self._receive()
        if data is None:
            return False
        if not data:
            if self._playing:
                raise CheckFailed("the server closed the connection")
            # It has been told QUIT.
            self.close()
            return False
        return self._heard(data)

    def _heard(self, data: bytes) -> bool:
        if not self._replies.feed(data):
            return False
        if self._unsent:
            raise CheckFailed("the server did not wait for the end of what it replies to")
        return self._next()

    def close(self) -> None:
        self._shaking_hands = False
        if self._socket is not None:
            self._selector.unregister(self._socket)
            self._socket.close()
            self._socket = None


class Load:
    """
    Connections to one server, all at work at once.
    """

    def __init__(self, address: tuple[str, int], connections: int) -> None:
        self._selector = selectors.DefaultSelector()
        tls = trusting()
        self._connections = [Connection(address, self._selector, tls) for _ in range(connections)]

    def play(self, scripts: Sequence[Iterable[Step]]) -> None:
        """
        Play one script on each connection, until the last has ended.

        :raise CheckFailed: if the server says something wrong, hangs up or falls silent.
        """
        started = zip(self._connections, scripts, strict=True)
        playing = sum([connection.start(script) for connection, script in started])
        while playing:
            ready = self._selector.select(STALL)
            if not ready:
                raise CheckFailed(f"no reply in {STALL} seconds")
            for key, events in ready:
                if key.data.ready(events):
                    playing -= 1

    def __enter__(self) -> Load:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for connection in self._connections:
            connection.close()
        self._selector.close()
