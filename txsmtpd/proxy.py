"""
The PROXY protocol, versions 1 and 2: what a proxy says about its client, ahead of everything else.

The specification is HAProxy's proxy-protocol.txt, whose sections are named here.  A reader has
``feed(data) -> (value, leftover)`` and raises :class:`ProxyError` as soon as what has come cannot
begin a header.  It is for one header, and of no more use after it or after an error.

Everything is judged strictly, because what is said here decides who the client is:

- The characters of version 1 are spelled out; ``int()`` would take ``+1``, ``1_0`` and other
  scripts' digits, and an IPv6Address a scope.
- What is not used is not judged: with LOCAL, UNKNOWN and UNSPEC the socket's own addresses stay,
  and the rest of the header is skipped, however it looks.  Under them there is no knowing whether
  TLVs are there, because some senders fill in dummy addresses and others do not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from enum import IntEnum
from ipaddress import IPv4Address, IPv6Address
from itertools import product
from struct import Struct
from typing import Any, TypeAlias

import attrs

from .core.addresses import unmapped
from .proxy_tlv import ProxyError, SSLClient, SSLInfo, TLVs, read_tlvs

__all__ = [
    "AF",
    "PROTO",
    "Command",
    "HeaderReader",
    "ProxyData",
    "ProxyError",
    "SSLClient",
    "SSLInfo",
    "TLVs",
    "V1Reader",
    "V2Reader",
]

#: Octets of the longest line of version 1, its CRLF included (section 2.1).
V1_LIMIT = 107

#: Octets of the longest header of version 2 that we take.  It could announce 65551, and would be
#: held in memory before anything is known about the client; but it is meant to fit into 536, and
#: only a certificate in it may need several thousand.
V2_LIMIT = 8192

SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"


class Command(IntEnum):
    """
    Who has made the connection: the proxy for itself, such as to see if we live, or a client.
    """

    LOCAL = 0
    PROXY = 1


class AF(IntEnum):
    """
    The family of the client's address.
    """

    UNSPEC = 0
    INET = 1
    INET6 = 2
    UNIX = 3


class PROTO(IntEnum):
    """
    What the client's connection is made of.
    """

    UNSPEC = 0
    STREAM = 1
    DGRAM = 2


Address: TypeAlias = IPv4Address | IPv6Address | bytes


@attrs.frozen
class ProxyData:
    """
    One header. The addresses are None where those of the socket stay.
    """

    #: 1 or 2.
    version: int
    command: Command
    family: AF
    protocol: PROTO
    #: The client's address; bytes of a UNIX socket: a path, NUL and an abstract name, or nothing.
    src_addr: Address | None = None
    #: The address that the client has connected to.
    dst_addr: Address | None = None
    src_port: int | None = None
    dst_port: int | None = None
    tlv: TLVs = attrs.field(factory=TLVs)
    #: The whole header.
    raw: bytes = attrs.field(default=b"", repr=False)

    @property
    def local(self) -> bool:
        """
        Whether the addresses of the socket stay.
        """
        return self.src_addr is None

    @property
    def own(self) -> bool:
        """
        Whether the proxy speaks for itself.  Where it does not, but the addresses of the socket
        stay, it has a client of whom nobody knows who it is: UNKNOWN and UNSPEC.
        """
        return self.command is Command.LOCAL

    @property
    def peer(self) -> Any:
        """
        The client's address as a socket gives it, or None.
        """
        return _as_sockets_have_it(self.src_addr, self.src_port)

    @property
    def sockname(self) -> Any:
        """
        The address that the client has connected to, likewise.
        """
        return _as_sockets_have_it(self.dst_addr, self.dst_port)

    @property
    def secure(self) -> bool:
        """
        Whether the client speaks TLS with the proxy.
        """
        return self.tlv.ssl is not None and SSLClient.SSL in self.tlv.ssl.client


def _as_sockets_have_it(address: Address | None, port: int | None) -> Any:
    if isinstance(address, IPv4Address):
        return str(address), port
    if isinstance(address, IPv6Address):
        plain = unmapped(address)
        # Python began to write it so in 3.13.
        return str(plain) if plain == address else f"::ffff:{plain}", port, 0, 0
    return address


_Fed: TypeAlias = tuple[ProxyData, bytes] | tuple[None, None]
_IPAddress: TypeAlias = type[IPv4Address] | type[IPv6Address]


# Section 2.1
#   line    = "PROXY" SP ( tcp4 / tcp6 / unknown ) CRLF
#   tcp4    = "TCP4" SP IPv4 SP IPv4 SP port SP port
#   tcp6    = "TCP6" SP IPv6 SP IPv6 SP port SP port
#   unknown = "UNKNOWN" [SP *OCTET]             ; no CRLF in it
#   port    = "0" / %x31-39 *4DIGIT             ; up to 65535
#
# Addresses are only told by their characters here, and judged when the line is complete, as the
# specification wants it.  An IPv6 may be ::ffff:192.0.2.1, though it speaks of hexadecimal digits
# only: HAProxy writes that when one side of its client's connection is IPv4 and the other IPv6.
#
# A line is a list of patterns, and each that matches some text matches how that begins, too.  So
# what a line may begin with is what the first few of them match, whatever their number.
_PORT = "(0|[1-9][0-9]{0,4})"
_CRLF = ("\r", "\n")


def _tcp(keyword: str, address: str) -> tuple[str, ...]:
    return (*f"PROXY {keyword} ", address, " ", address, " ", _PORT, " ", _PORT, *_CRLF)


_UNKNOWN = (*"PROXY UNKNOWN", "(?: .*)?", *_CRLF)
_TCP4 = _tcp("TCP4", "([0-9.]{1,15})")
_TCP6 = _tcp("TCP6", "([0-9A-Fa-f:.]{1,39})")


def _compile(*patterns: str) -> re.Pattern[bytes]:
    return re.compile("|".join(patterns).encode(), re.DOTALL)


_BEGINNING = _compile(
    *("".join(line[:end]) for line in (_UNKNOWN, _TCP4, _TCP6) for end in range(len(line)))
)
_LINE_OF_UNKNOWN = _compile("".join(_UNKNOWN))
_LINES: tuple[tuple[AF, _IPAddress, re.Pattern[bytes]], ...] = (
    (AF.INET, IPv4Address, _compile("".join(_TCP4))),
    (AF.INET6, IPv6Address, _compile("".join(_TCP6))),
)


@attrs.define
class V1Reader:
    """
    Reads the line of version 1 (section 2.1).
    """

    _head: bytes = b""

    def feed(self, data: bytes) -> _Fed:
        """
        :return: the header and what followed it, or None twice while it is not complete.
        :raise ProxyError: it is no header.
        """
        held = len(self._head)
        self._head += data[: V1_LIMIT - held]
        end = self._head.find(b"\r\n") + 2
        if end >= 2:
            return _parse_line(self._head[:end]), data[end - held :]
        if not _BEGINNING.fullmatch(self._head):
            raise ProxyError("not a line of the PROXY protocol")
        if len(self._head) == V1_LIMIT:
            raise ProxyError("the line is too long")
        return None, None


def _parse_line(line: bytes) -> ProxyData:
    if _LINE_OF_UNKNOWN.fullmatch(line):
        return ProxyData(1, Command.PROXY, AF.UNSPEC, PROTO.UNSPEC, raw=line)
    for family, kind, pattern in _LINES:
        if match := pattern.fullmatch(line):
            return _parse_fields(family, kind, match)
    raise ProxyError("not a line of the PROXY protocol")


def _parse_fields(family: AF, kind: _IPAddress, line: re.Match[bytes]) -> ProxyData:
    return ProxyData(
        version=1,
        command=Command.PROXY,
        family=family,
        protocol=PROTO.STREAM,
        src_addr=_parse_address(kind, line[1]),
        dst_addr=_parse_address(kind, line[2]),
        src_port=_parse_port(line[3]),
        dst_port=_parse_port(line[4]),
        raw=line[0],
    )


def _parse_address(kind: _IPAddress, text: bytes) -> Address:
    try:
        return kind(text.decode("ascii"))
    except ValueError:
        raise ProxyError("malformed address") from None


def _parse_port(digits: bytes) -> int:
    port = int(digits)
    if port > 0xFFFF:
        raise ProxyError("port out of range")
    return port


# Section 2.2: struct proxy_hdr_v2, and for each fam that tells addresses its proxy_addr.
_START = Struct("!12sBBH")
_ADDRESSES = {
    AF.INET: Struct("!4s4sHH"),
    AF.INET6: Struct("!16s16sHH"),
    AF.UNIX: Struct("!108s108s"),
}
_COMMANDS = {0x20 | command: command for command in Command}
_TRANSPORTS = {
    family << 4 | protocol: (family, protocol) for family, protocol in product(AF, PROTO)
}


@attrs.define
class V2Reader:
    """
    Reads the binary header of version 2 (section 2.2).
    """

    #: Octets of the longest header.
    limit: int = V2_LIMIT
    _head: bytes = b""

    def feed(self, data: bytes) -> _Fed:
        """
        :return: the header and what followed it, or None twice while it is not complete.
        :raise ProxyError: it is no header.
        """
        taken = 0
        while len(self._head) < (size := self._size()):
            piece = data[taken : taken + size - len(self._head)]
            if not piece:
                return None, None
            taken += len(piece)
            self._head += piece
        return _parse_header(self._head), data[taken:]

    def _size(self) -> int:
        """
        How many octets to read, as far as can be known; whatever has come is judged.
        """
        head = self._head
        if head[: len(SIGNATURE)] != SIGNATURE[: len(head)]:
            raise ProxyError("not the signature of the PROXY protocol")
        if len(head) > 12 and head[12] not in _COMMANDS:
            raise ProxyError("unknown version or command")
        if len(head) > 13 and head[13] not in _TRANSPORTS:
            raise ProxyError("unknown address family or protocol")
        if len(head) < _START.size:
            return _START.size
        return self._announced(int.from_bytes(head[14:16], "big"))

    def _announced(self, length: int) -> int:
        addresses = _addresses(self._head)
        if addresses is not None and length < addresses.size:
            raise ProxyError("too short for its addresses")
        if _START.size + length > self.limit:
            raise ProxyError("the header is too long")
        return _START.size + length


def _addresses(header: bytes) -> Struct | None:
    """
    How the addresses are laid out, or None if those of the socket stay.
    """
    family, protocol = _TRANSPORTS[header[13]]
    if _COMMANDS[header[12]] is Command.LOCAL or protocol is PROTO.UNSPEC:
        return None
    return _ADDRESSES.get(family)


def _parse_header(header: bytes) -> ProxyData:
    command = _COMMANDS[header[12]]
    family, protocol = _TRANSPORTS[header[13]]
    addresses = _addresses(header)
    if addresses is None:
        return ProxyData(2, command, family, protocol, raw=header)
    source, destination, *ports = addresses.unpack_from(header, _START.size)
    src_port, dst_port = ports or (None, None)
    read = _FROM_OCTETS[family]
    return ProxyData(
        version=2,
        command=command,
        family=family,
        protocol=protocol,
        src_addr=read(source),
        dst_addr=read(destination),
        src_port=src_port,
        dst_port=dst_port,
        tlv=read_tlvs(header, _START.size + addresses.size),
        raw=header,
    )


def _unix_name(octets: bytes) -> bytes:
    """
    :return: a path, or NUL and an abstract name, or nothing for a socket without a name.
    """
    name = octets.rstrip(b"\x00")
    if b"\x00" in name and not name.startswith(b"\x00"):
        # The system would see only what is before the NUL, and a log all of it.
        raise ProxyError("malformed address")
    return name


_FROM_OCTETS: Mapping[AF, Callable[[bytes], Address]] = {
    AF.INET: IPv4Address,
    AF.INET6: IPv6Address,
    AF.UNIX: _unix_name,
}


@attrs.define
class HeaderReader:
    """
    Reads a header of either version, which the first octet tells.
    """

    _reader: V1Reader | V2Reader | None = None

    def feed(self, data: bytes) -> _Fed:
        """
        :return: the header and what followed it, or None twice while it is not complete.
        :raise ProxyError: it is no header.
        """
        if not data:
            return None, None
        if self._reader is None:
            self._reader = V2Reader() if data[:1] == SIGNATURE[:1] else V1Reader()
        return self._reader.feed(data)
