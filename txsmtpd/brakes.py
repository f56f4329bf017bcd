"""
A LineReceiver that can be made to wait.

`paused` of LineReceiver is set while any of three brakes is on:

- `STEP`: a hook has not decided yet.  What the client has sent meanwhile stays in the buffer, so
  replies cannot overtake each other.
- `UNREAD`: the client does not read its replies.
- `CONTENT`: a handler is not ready for more content.

A brake leaves the transport reading, because a paused transport does not notice that the client
has gone; only when more than `HELD` octets wait is it paused too.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IPushProducer
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

STEP, UNREAD, CONTENT = 1, 2, 4

#: Octets that wait behind a brake before the transport is paused too.
HELD = 65536


@implementer(IPushProducer)
class _Unread:
    """
    Our replies as a producer that the transport may pause, which puts on the `UNREAD` brake.

    It is not the protocol itself: the transport may resume its producer at any time, and must not
    release a step that is pending.
    """

    __slots__ = ("_protocol",)

    def __init__(self, protocol: BrakedLineReceiver) -> None:
        self._protocol = protocol

    def pauseProducing(self) -> None:
        self._protocol.brake(UNREAD)

    def resumeProducing(self) -> None:
        self._protocol.release(UNREAD)

    def stopProducing(self) -> None:
        """
        The connection is lost, as `connectionLost` says too.
        """


class BrakedLineReceiver(LineReceiver):
    """
    Lines and raw data, one after the other, as fast as the brakes allow.

    Lines end with CRLF, whatever `delimiter` says, and `line_mode` says nothing.
    """

    # What is looked at for every line is set on each instance, and no class has it too: CPython
    # takes three times as long to find what hides something of a class.

    transport: Any
    #: The brakes that are on.
    brakes: int
    #: Whether the connection is closed or about to close, so that nothing more is obeyed.
    closing: bool
    #: Whether something is being obeyed right now.
    feeding: bool
    #: Whether anything was obeyed since this was last set to False.
    progress: bool
    #: What octets go to before they are lines or raw data: it returns those that are.
    first: Callable[[bytes], bytes] | None

    # The transport is paused too.
    _held = False

    def connectionMade(self) -> None:
        self.brakes = 0
        self.closing = self.feeding = self.progress = False
        self.first = None
        # Whether nothing is obeyed now: what LineReceiver calls paused.
        self._stopped = False
        # Whether what comes is raw data, not lines.
        self._raw = False
        # What has come, and how many octets of it are done with.
        self._arrived, self._done = b"", 0
        self.transport.registerProducer(_Unread(self), True)

    @property
    def paused(self) -> bool:
        return self._stopped

    @paused.setter
    def paused(self, paused: bool) -> None:
        self._stopped = paused or self.closing

    def setRawMode(self) -> None:
        self._raw = True

    def setLineMode(self, extra: bytes = b"") -> None:
        self.take_back(extra)
        self.proceed()

    def afterInput(self) -> None:
        """
        Everything that had arrived was obeyed, or waits behind a brake.
        """
        raise NotImplementedError

    def _broken(self, failure: Failure) -> None:
        """
        A line or raw data came to an exception, which is a defect of our own.
        """
        raise NotImplementedError

    def dataReceived(self, data: bytes) -> None:
        if self.first is not None:
            data = self.first(data)
        if self.closing:
            return
        self._arrived += data
        if self.feeding:
            # From within: the loop that runs finds it in the buffer.
            return
        self.feeding = True
        try:
            self._feed()
        except BaseException:
            # Also what is no Exception: a hook has no business to end the process.
            self._broken(Failure())
        finally:
            if self._done:
                self._arrived, self._done = self._arrived[self._done :], 0
            self.feeding = False
        if not self.closing:
            if self.brakes:
                self._hold()
            self.afterInput()

    def _feed(self) -> None:
        """
        The loop of LineReceiver, but it does not copy the rest of the buffer for every line: many
        short ones in one segment would cost the square of their number.
        """
        transport, most = self.transport, self.MAX_LENGTH
        while not (self._stopped or transport.disconnecting):
            buffer, start = self._arrived, self._done
            if start == len(buffer):
                return
            if self._raw:
                self._done = len(buffer)
                self.progress = True
                self.rawDataReceived(buffer[start:])
                continue
            end = buffer.find(b"\r\n", start)
            if end < 0:
                if len(buffer) - start < most + 2:
                    return
            elif end - start <= most:
                self._done = end + 2
                self.progress = True
                self.lineReceived(buffer[start:end])
                continue
            self.lineLengthExceeded(self.clearLineBuffer())
            return

    def clearLineBuffer(self) -> bytes:
        """
        :return: what was in the buffer and is not done with.
        """
        rest = self._arrived[self._done :]
        self._arrived, self._done = b"", 0
        return rest

    def _hold(self) -> None:
        if not self._held and len(self._arrived) > HELD:
            self._held = True
            self.transport.pauseProducing()

    def take_back(self, data: bytes) -> None:
        """
        End raw data, of which `data` was too much.
        """
        self._raw = False
        self._arrived = data + self.clearLineBuffer()

    def brake(self, brake: int) -> None:
        """
        Put a brake on.
        """
        self.brakes |= brake
        self._stopped = True

    def release(self, brake: int) -> None:
        """
        Take a brake off, and go on if it was the last.
        """
        self.brakes &= ~brake
        self.proceed()

    def proceed(self) -> None:
        """
        Go on with what is in the buffer, unless a brake is on.
        """
        if self.closing:
            return
        if self.brakes:
            self.afterInput()
            return
        self._stopped = False
        if self._held:
            self._held = False
            self.transport.resumeProducing()
        self.dataReceived(b"")

    def end(self) -> None:
        """
        Obey nothing more.
        """
        self.closing = self._stopped = True

    def close(self) -> None:
        """
        Close when everything that was written has left.
        """
        self.end()
        # A producer that stays registered keeps a TLS connection open for ever.
        self.transport.unregisterProducer()
        self.transport.loseConnection()
