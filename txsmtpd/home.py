"""
What surrounds a connection: the factory that it comes from, and the addresses of its two ends.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.interfaces import IReactorTime, ITLSTransport

from .census import Census
from .core.rules import Rules
from .core.session import Session
from .core.settings import Settings
from .deadline import Deadlines
from .wire import Readers


class Home(Protocol):
    """
    What a connection needs from its factory.
    """

    rules: Rules
    settings: Settings
    reactor: IReactorTime
    census: Census
    readers: Readers
    deadlines: Deadlines


def plain_address(address: Any) -> Any:
    """
    An address as sockets have it: a client by a unix socket rarely has a name there, so it is b"".
    """
    if isinstance(address, IPv6Address):
        return (address.host, address.port, address.flowInfo, address.scopeID)
    if isinstance(address, IPv4Address):
        return (address.host, address.port)
    if isinstance(address, UNIXAddress):
        return address.name or b""
    return None


def make_session(transport: Any, reactor: Any, lmtp: bool) -> Session:
    """
    A session of what the transport knows about its two ends.
    """
    peer = transport.getPeer()
    address = plain_address(peer)
    return Session(
        peer=address,
        via=address,
        local=plain_address(transport.getHost()),
        reactor=reactor,
        can_start_tls=ITLSTransport.providedBy(transport),
        exempt=lmtp or isinstance(peer, UNIXAddress),
        lmtp=lmtp,
    )
