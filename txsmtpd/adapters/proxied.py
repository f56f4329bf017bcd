"""
What a PROXY header has said, as aiosmtpd's handlers find it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

# The first octets of a header of version 2, and what its addresses take by their family.
_START = 16
_ADDRESSES = {1: 12, 2: 36, 3: 216}

_NAMES = {
    0x01: "ALPN",
    0x02: "AUTHORITY",
    0x03: "CRC32C",
    0x04: "NOOP",
    0x05: "UNIQUE_ID",
    0x20: "SSL",
    0x21: "SSL_VERSION",
    0x22: "SSL_CN",
    0x23: "SSL_CIPHER",
    0x24: "SSL_SIG_ALG",
    0x25: "SSL_KEY_ALG",
    0x30: "NETNS",
}
_SSL = 0x20
# What stands in SSL before it goes on with types of its own: the client's flags and the verdict.
_SSL_HEAD = 5


def _split(data: bytes, at: int = 0) -> Iterator[tuple[int, int, bytes]]:
    """
    :return: types, where each begins, and values.  Our own reader has judged the header.
    """
    while at < len(data):
        size = int.from_bytes(data[at + 1 : at + 3], "big")
        yield data[at], at, data[at + 3 : at + 3 + size]
        at += 3 + size


class ProxyTLV(dict[str, Any]):
    """
    What follows the addresses: values by name, which are attributes too, None if they did not come.
    """

    PP2_TYPENAME: Mapping[int, str] = _NAMES

    def __init__(self, data: bytes) -> None:
        super().__init__()
        #: Where each begins.
        self.tlv_loc: dict[str, int] = {}
        self._read(data)

    def _read(self, data: bytes, offset: int = 0) -> None:
        for kind, at, value in _split(data):
            name = _NAMES.get(kind, f"x{kind:02X}")
            self.tlv_loc[name] = offset + at
            if kind == _SSL:
                self.update(SSL=True, SSL_CLIENT=value[0])
                self["SSL_VERIFY"] = int.from_bytes(value[1:_SSL_HEAD], "big")
                self._read(value[_SSL_HEAD:], offset + at + 3 + _SSL_HEAD)
            else:
                self[name] = value

    def __getattr__(self, name: str) -> Any:
        return self.get(name)

    def same_attribs(self, _raises: bool = False, **attributes: Any) -> bool:
        """
        :return: whether all of these are what is asked for.
        :raise KeyError: if one of them is not there, where that is wanted.
        :raise ValueError: if one is something else, likewise.
        """
        if _raises and not attributes.keys() <= self.keys():
            raise KeyError(f"not found: {', '.join(attributes.keys() - self.keys())}")
        return _same(self.get, attributes, _raises)


class ProxyData:
    """
    A header; what else is asked for is our own.
    """

    valid = True
    error = ""

    def __init__(self, proxy: Any) -> None:
        self._proxy = proxy
        #: To be written to, where somebody calculates its checksum.
        self.whole_raw = bytearray(proxy.raw)
        self.tlv_start: int | None = None
        if proxy.version == 2:
            self.tlv_start = _START + _ADDRESSES.get(proxy.raw[13] >> 4, 0)
            self.rest: bytes = proxy.raw[self.tlv_start :]
        else:
            self.rest = proxy.raw.partition(b"UNKNOWN")[2].removesuffix(b"\r\n")

    def __bool__(self) -> bool:
        return True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._proxy, name)

    @property
    def tlv(self) -> ProxyTLV | None:
        if self.tlv_start is None or not self.rest or self._proxy.local:
            return None
        return ProxyTLV(self.rest)

    def same_attribs(self, _raises: bool = False, **attributes: Any) -> bool:
        """
        :return: whether all of these are what is asked for.
        :raise ValueError: if one of them is not, where that is wanted.
        """
        return _same(lambda name: getattr(self, name, None), attributes, _raises)


def _same(look_up: Any, attributes: Mapping[str, Any], raises: bool) -> bool:
    for name, wanted in attributes.items():
        found = look_up(name)
        if found != wanted:
            if raises:
                raise ValueError(f"mismatch for {name}: {found!r} instead of {wanted!r}")
            return False
    return True
