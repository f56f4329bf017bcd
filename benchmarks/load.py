"""
The load generator: many SMTP connections in one thread, each playing a script.

Scripts are made beforehand, so that while the clock runs there is nothing to do but to send, to
receive and to check the code of every reply line.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Iterable, Iterator, Sequence
from types import TracebackType

import attrs

from . import CheckFailed

#: Seconds without any reply from the server that end the benchmark.
STALL = 30


@attrs.frozen
class Step:
    """
    Something to send, and the codes of the replies that must come before the next step.
    """

    send: bytes
    codes: tuple[bytes, ...]
    #: Whether it begins with a new connection, in place of the one there was.
    connect: bool = False


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

    def __init__(self, address: tuple[str, int], selector: selectors.BaseSelector) -> None:
        self._address = address
        self._selector = selector
        self._socket: socket.socket | None = None
        self._replies = Replies()
        self._script: Iterator[Step] = iter(())
        self._unsent = b""
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
        if step.send:
            self._send(step.send)
        return False

    def _connect(self) -> None:
        self.close()
        self._socket = socket.create_connection(self._address, timeout=STALL)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._socket.setblocking(False)
        self._selector.register(self._socket, selectors.EVENT_READ, self)

    def _send(self, data: bytes) -> None:
        if self._socket is None:
            raise CheckFailed("the server closed the connection")
        try:
            sent = self._socket.send(data)
        except BlockingIOError:
            sent = 0
        if sent < len(data) or self._unsent:
            self._unsent = data[sent:]
            both = selectors.EVENT_READ | selectors.EVENT_WRITE
            events = both if self._unsent else selectors.EVENT_READ
            self._selector.modify(self._socket, events, self)

    def ready(self, events: int) -> bool:
        """
        :return: whether the script has ended.
        :raise CheckFailed: if the server says something wrong, or hangs up.
        """
        if events & selectors.EVENT_WRITE:
            self._send(self._unsent)
        if not events & selectors.EVENT_READ:
            return False
        assert self._socket is not None
        data = self._socket.recv(65536)
        if not data:
            if self._playing:
                raise CheckFailed("the server closed the connection")
            # It has been told QUIT.
            self.close()
            return False
        return self._replies.feed(data) and self._next()

    def close(self) -> None:
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
        self._connections = [Connection(address, self._selector) for _ in range(connections)]

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
