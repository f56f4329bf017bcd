"""
Writes without waiting for the reactor where nothing is lost by that.

`transport.write` only queues: the reactor asks the kernel whether the socket is writable and comes
back in its next turn.  For a reply of fifty octets on a socket that has nothing else to send, that
is most of its cost.  So it is sent at once, if the transport is a plain TCP connection whose queue
is empty; what the kernel does not take, and all other data, goes the usual way, which keeps the
order, the back-pressure and TLS as they are.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.tcp import Server


def send(transport: Any, data: bytes) -> None:
    """
    Write `data` to any transport, at once if it can be.
    """
    if type(transport) is Server and _is_idle(transport):
        sent = transport.writeSomeData(data)
        # An exception says that the connection is lost, as the reactor will find out too.
        if isinstance(sent, int):
            data = data[sent:]
    if data:
        transport.write(data)


def _is_idle(transport: Any) -> bool:
    """
    Whether a TCP connection has nothing to send, and is not one of TLS by now.
    """
    if transport.TLS or not transport.connected or transport.disconnecting:
        return False
    # Twisted keeps what is to be sent in these two.
    return not transport.dataBuffer and not transport._tempDataBuffer
