"""
What version 2 of the PROXY protocol appends to the addresses: types, lengths and values
(proxy-protocol.txt section 2.2, "Type-Length-Value").

Some of it comes from the proxy's client, such as the name that it asked for and that of its
certificate, and ends up in logs.  So a text that is not in its encoding, or has controls in it, is
malformed, as is a type that comes twice and can only be meant once: nobody has to guess which.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from enum import IntFlag
from functools import partial
from struct import Struct
from typing import Any

import attrs

ALPN, AUTHORITY, CRC32C, NOOP, UNIQUE_ID, SSL, NETNS = 0x01, 0x02, 0x03, 0x04, 0x05, 0x20, 0x30

UNIQUE_ID_LIMIT = 128

# struct pp2_tlv without its value, and struct pp2_tlv_ssl without its sub_tlv.
_TLV = Struct("!BH")
_SSL = Struct("!BI")

# Whatever ends a line for somebody, or moves the cursor of a terminal.
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\u2028\u2029]")


class ProxyError(ValueError):
    """
    A malformed header. The message has nothing of the client's in it.
    """


class SSLClient(IntFlag):
    """
    What there was between the client and the proxy; bits without a name are kept.
    """

    SSL = 0x01
    #: A certificate of the client over this connection.
    CERT_CONN = 0x02
    #: A certificate of the client at least once over the TLS session.
    CERT_SESS = 0x04


@attrs.frozen
class SSLInfo:
    """
    TLS that the proxy has ended (section 2.2.6).
    """

    client: SSLClient
    #: 0 is also what proxies send where there was no certificate: see :attr:`verified`.
    verify: int
    #: Such as ``TLSv1.3``.
    version: str | None = None
    #: The common name in the client's certificate.
    cn: str | None = None
    cipher: str | None = None
    #: How the certificate of the proxy is signed, and the kind of its key.
    sig_alg: str | None = None
    key_alg: str | None = None
    #: How the keys of the connection were exchanged, and the exchange signed.
    group: str | None = None
    sig_scheme: str | None = None
    #: In DER.
    client_cert: bytes | None = attrs.field(default=None, repr=False)

    @property
    def verified(self) -> bool:
        """
        Whether there was a certificate of the client, and the proxy found it valid.
        """
        certificate = self.client & (SSLClient.CERT_CONN | SSLClient.CERT_SESS)
        return bool(certificate) and not self.verify


@attrs.frozen
class TLVs:
    """
    All of them, and those typed that the specification names.
    """

    #: Types with their values as they came, without padding.
    records: tuple[tuple[int, bytes], ...] = ()
    #: The protocol that the client speaks to the proxy.
    alpn: bytes | None = None
    #: The name of the host that the client asked for.
    authority: str | None = None
    crc32c: int | None = None
    #: The proxy's name for the connection.
    unique_id: bytes | None = None
    ssl: SSLInfo | None = None
    netns: str | None = None

    def values(self, kind: int) -> tuple[bytes, ...]:
        """
        :return: what came under one type: that of a vendor, for example.
        """
        return tuple(value for each, value in self.records if each == kind)


def read_tlvs(header: bytes, start: int) -> TLVs:
    """
    Read what follows the addresses, up to the end of the header.

    :raise ProxyError: malformed, or the header has a checksum (section 2.2.3) and it is wrong.
    """
    found = [each for each in _split(header, start) if each[0] != NOOP]
    records = tuple((kind, value) for kind, _, value in found)
    tlvs = TLVs(records, **_typed(records, _FIELDS))
    # Behind that, because it takes long, and by then there is at most one.
    for kind, at, value in found:
        if kind == CRC32C:
            _check_sum(header, at, value)
    return tlvs


def _split(data: bytes, at: int) -> Iterator[tuple[int, int, bytes]]:
    """
    :return: types, where their values begin, and these.
    """
    while at < len(data):
        if len(data) - at < _TLV.size:
            raise ProxyError("a TLV is cut off")
        kind, length = _TLV.unpack_from(data, at)
        at += _TLV.size
        if len(data) - at < length:
            raise ProxyError("a TLV is longer than what it is in")
        yield kind, at, data[at : at + length]
        at += length


_Fields = Mapping[int, tuple[str, Callable[[bytes], Any]]]


def _typed(records: Iterable[tuple[int, bytes]], fields: _Fields) -> dict[str, Any]:
    """
    :param fields: for each type the attribute that it fills, and how its value is read.
    """
    found: dict[str, Any] = {}
    for kind, value in records:
        if kind not in fields:
            continue
        name, read = fields[kind]
        if name in found:
            raise ProxyError("a TLV comes twice")
        found[name] = read(value)
    return found


def _text(encoding: str, value: bytes) -> str:
    try:
        text = value.decode(encoding)
    except UnicodeDecodeError:
        raise ProxyError("text in a TLV is not in its encoding") from None
    if _CONTROLS.search(text):
        raise ProxyError("text in a TLV has controls in it")
    return text


_ascii = partial(_text, "ascii")
_utf8 = partial(_text, "utf-8")


def _unique_id(value: bytes) -> bytes:
    if len(value) > UNIQUE_ID_LIMIT:
        raise ProxyError("the unique id is too long")
    return value


def _ssl(value: bytes) -> SSLInfo:
    if len(value) < _SSL.size:
        raise ProxyError("the TLV about TLS is cut off")
    client, verify = _SSL.unpack_from(value)
    inner = [(kind, within) for kind, _, within in _split(value, _SSL.size)]
    return SSLInfo(SSLClient(client), verify, **_typed(inner, _SSL_FIELDS))


_FIELDS: _Fields = {
    ALPN: ("alpn", bytes),
    AUTHORITY: ("authority", _utf8),
    CRC32C: ("crc32c", partial(int.from_bytes, byteorder="big")),
    UNIQUE_ID: ("unique_id", _unique_id),
    SSL: ("ssl", _ssl),
    NETNS: ("netns", _ascii),
}
_SSL_FIELDS: _Fields = {
    0x21: ("version", _ascii),
    0x22: ("cn", _utf8),
    0x23: ("cipher", _ascii),
    0x24: ("sig_alg", _ascii),
    0x25: ("key_alg", _ascii),
    0x26: ("group", _ascii),
    0x27: ("sig_scheme", _ascii),
    0x28: ("client_cert", bytes),
}


def _check_sum(header: bytes, at: int, value: bytes) -> None:
    """
    The checksum is that of the whole header with zeros in its place.
    """
    if len(value) != 4:
        raise ProxyError("the checksum is not of 4 octets")
    zeroed = header[:at] + bytes(4) + header[at + 4 :]
    if crc32c(zeroed) != int.from_bytes(value, "big"):
        raise ProxyError("the checksum is wrong")


def _crc32c_of_octet(octet: int) -> int:
    for _ in range(8):
        # The polynomial 0x1EDC6F41 of Castagnoli, its bits in reverse.
        octet = octet >> 1 ^ (0x82F63B78 if octet & 1 else 0)
    return octet


_CRC32C = tuple(map(_crc32c_of_octet, range(256)))


def crc32c(data: bytes) -> int:
    """
    RFC 4960 appendix B; that of :mod:`zlib` has another polynomial.
    """
    crc = 0xFFFFFFFF
    for octet in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ octet) & 0xFF]
    return crc ^ 0xFFFFFFFF
