"""
Tests for txsmtpd.adapters.proxied.
"""

from __future__ import annotations

from struct import pack
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.adapters.proxied import ProxyData
from txsmtpd.proxy import AF, HeaderReader

V1 = b"PROXY TCP4 198.51.100.1 198.51.100.2 1025 25\r\n"
ADDRESSES = bytes([198, 51, 100, 1, 198, 51, 100, 2]) + pack("!HH", 1025, 25)
START = 16 + len(ADDRESSES)


def tlv(kind: int, value: bytes) -> bytes:
    return pack("!BH", kind, len(value)) + value


def v2(data: bytes, *, command: int = 1, family: int = 0x11, addresses: bytes = ADDRESSES) -> bytes:
    head = b"\r\n\r\n\x00\r\nQUIT\n" + bytes([0x20 | command, family])
    return head + pack("!H", len(addresses + data)) + addresses + data


def read(header: bytes) -> Any:
    reader = HeaderReader()
    proxy, _ = reader.feed(header)
    return ProxyData(proxy)


class DataTests(SynchronousTestCase):
    def test_first_version(self) -> None:
        data = read(V1)
        self.assertTrue(data)
        self.assertEqual((data.valid, data.error, data.rest), (True, "", b""))
        self.assertEqual(data.whole_raw, V1)
        self.assertEqual((data.tlv_start, data.tlv), (None, None))
        self.assertEqual(str(data.src_addr), "198.51.100.1")

    def test_unknown(self) -> None:
        self.assertEqual(read(b"PROXY UNKNOWN what ever\r\n").rest, b" what ever")

    def test_second_version(self) -> None:
        records = tlv(1, b"smtp")
        data = read(v2(records))
        self.assertEqual((data.version, data.tlv_start, data.rest), (2, START, records))
        self.assertIsNone(read(v2(b"")).tlv)

    def test_local(self) -> None:
        """
        What a proxy says of its own connections is not looked at.
        """
        data = read(v2(b"\x01", command=0, family=0, addresses=b""))
        self.assertEqual((data.tlv_start, data.rest, data.tlv), (16, b"\x01", None))

    def test_same_attributes(self) -> None:
        data = read(V1)
        self.assertTrue(data.same_attribs(version=1, family=AF.INET))
        self.assertFalse(data.same_attribs(version=2))
        self.assertFalse(data.same_attribs(nosuch=2))
        self.assertRaises(ValueError, data.same_attribs, _raises=True, version=2)


class TLVTests(SynchronousTestCase):
    RECORDS = tlv(2, b"mx.example") + tlv(
        0x20, pack("!BI", 1, 0) + tlv(0x21, b"TLSv1.3") + tlv(0x22, b"Ann")
    )

    def test_names(self) -> None:
        found = read(v2(self.RECORDS + tlv(0xE0, b"x"))).tlv
        self.assertEqual(found.AUTHORITY, b"mx.example")
        self.assertIs(found.SSL, True)
        self.assertEqual((found.SSL_CLIENT, found.SSL_VERIFY), (1, 0))
        self.assertEqual((found["SSL_VERSION"], found.SSL_CN), (b"TLSv1.3", b"Ann"))
        self.assertEqual(found.xE0, b"x")
        self.assertIsNone(found.UNIQUE_ID)
        self.assertEqual(found.PP2_TYPENAME[2], "AUTHORITY")

    def test_places(self) -> None:
        """
        Where each begins is told from the first of them.
        """
        data = read(v2(self.RECORDS))
        places = data.tlv.tlv_loc
        self.assertEqual(places["AUTHORITY"], 0)
        for name, kind in (("SSL", 0x20), ("SSL_VERSION", 0x21), ("SSL_CN", 0x22)):
            self.assertEqual(data.whole_raw[data.tlv_start + places[name]], kind)

    def test_same_attributes(self) -> None:
        found = read(v2(self.RECORDS)).tlv
        self.assertTrue(found.same_attribs(AUTHORITY=b"mx.example", SSL=True))
        self.assertFalse(found.same_attribs(AUTHORITY=b"other"))
        self.assertFalse(found.same_attribs(UNIQUE_ID=b"x"))
        self.assertRaises(ValueError, found.same_attribs, _raises=True, SSL=False)
        self.assertRaises(KeyError, found.same_attribs, _raises=True, UNIQUE_ID=b"x")
