"""
What surrounds a connection: the factory that it comes from, and the addresses of its two ends.
"""

from __future__ import annotations

from typing import Any, Protocol

from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from .core.replies import Reply
from .core.rules import Rules
from .core.session import Session
from .core.settings import Settings


class Home(Protocol):
    """
    What a connection needs from its factory.
    """

    rules: Rules
    settings: Settings
    reactor: IReactorTime

    def admit(self, protocol: Any) -> Reply | None:
        """
        Count a connection in, or say why not.
        """

    def release(self, protocol: Any) -> None:
        """
        Count a connection out that was admitted.
        """

    def outlive(self, work: Deferred[Any]) -> None:
        """
        Do not stop before `work` has ended, though its client has gone.
        """

    def next_session_id(self) -> str:
        """
        A name that no other connection of this server has.
        """


def plain_address(address: Any) -> Any:
    """
    An address as sockets have it.
    """
    if isinstance(address, IPv6Address):
        return (address.host, address.port, address.flowInfo, address.scopeID)
    if isinstance(address, IPv4Address):
        return (address.host, address.port)
    if isinstance(address, UNIXAddress):
        return address.name
    return None


def make_session(transport: Any, reactor: Any) -> Session:
    """
    A session of what the transport knows about its two ends.
    """
    peer, local = plain_address(transport.getPeer()), plain_address(transport.getHost())
    return Session(peer=peer, local=local, reactor=reactor)
