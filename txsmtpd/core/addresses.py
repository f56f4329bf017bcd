"""
IP addresses, as sockets have them.
"""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import TypeAlias

IPAddress: TypeAlias = IPv4Address | IPv6Address


def unmapped(address: IPAddress) -> IPAddress:
    """
    An address, or the IPv4 address that it stands for: a socket that takes both families shows a
    client that speaks IPv4 as ``::ffff:192.0.2.1`` (RFC 4291 section 2.5.5.2).
    """
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address


def host_address(host: object) -> IPAddress:
    """
    Read the host of a socket's address, without a scope: that belongs to this machine.

    :raise ValueError: if it is no IP address.
    """
    return unmapped(ip_address(str(host).partition("%")[0]))
