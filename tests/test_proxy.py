"""
Tests for :mod:`txsmtpd.proxy` and :mod:`txsmtpd.proxy_tlv`.

What is sent is made here, by other means than it is read.
"""

from __future__ import annotations

import socket
from collections.abc import Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd import proxy_tlv
from txsmtpd.proxy import (
    AF,
    PROTO,
    V1_LIMIT,
    V2_LIMIT,
    Command,
    HeaderReader,
    ProxyData,
    ProxyError,
    SSLClient,
    SSLInfo,
    TLVs,
    V1Reader,
    V2Reader,
)

from .corekit import cuts

repeatable = settings(derandomize=True, deadline=None, database=None, max_examples=200)

SIGNATURE = bytes.fromhex("0D0A0D0A000D0A515549540A")
LOCAL, PROXY = 0x20, 0x21

V1 = b"PROXY TCP4 192.0.2.1 198.51.100.2 56324 25\r\n"
ADDRESSES = bytes([192, 0, 2, 1, 198, 51, 100, 2]) + (56324).to_bytes(2, "big") + b"\x00\x19"

#: What may follow a header in the same segment: a command, a ClientHello, another header.
MORE = (b"", b"\n", b"EHLO x\r\n", b"\x16\x03\x01", V1, SIGNATURE)


def header_v1(keyword: str, *fields: object) -> bytes:
    return " ".join(["PROXY", keyword, *map(str, fields)]).encode() + b"\r\n"


def header_v2(transport: int, block: bytes, *, command: int = PROXY) -> bytes:
    return SIGNATURE + bytes([command, transport]) + len(block).to_bytes(2, "big") + block


def tlv(kind: int, value: bytes) -> bytes:
    return bytes([kind, *divmod(len(value), 256)]) + value


def with_tlvs(*tlvs: bytes) -> bytes:
    return header_v2(0x11, ADDRESSES + b"".join(tlvs))


def ssl(client: int, verify: int, *inner: bytes) -> bytes:
    return tlv(0x20, bytes([client]) + verify.to_bytes(4, "big") + b"".join(inner))


def crc_by_bits(data: bytes) -> int:
    """
    CRC32C as a division of polynomials, bit by bit.
    """
    crc = 0xFFFFFFFF
    for octet in data:
        for bit in range(8):
            odd = (crc ^ octet >> bit) & 1
            crc = crc >> 1 ^ odd * 0x82F63B78
    return crc ^ 0xFFFFFFFF


def with_checksum(*others: bytes) -> bytes:
    """
    A header whose first TLV is its checksum.
    """
    empty = with_tlvs(tlv(3, bytes(4)), *others)
    return with_tlvs(tlv(3, crc_by_bits(empty).to_bytes(4, "big")), *others)


def unix(path: bytes) -> bytes:
    return path.ljust(108, b"\x00")


def read(reader: Any, pieces: Iterable[bytes]) -> tuple[ProxyData | None, bytes | None]:
    """
    :return: the header, and what followed it, or None twice if it did not end.
    """
    data: ProxyData | None = None
    leftover: bytes | None = None
    for piece in pieces:
        if leftover is None:
            data, leftover = reader.feed(piece)
        else:
            leftover += piece
    return data, leftover


class ReaderTestCase(SynchronousTestCase):
    """
    Everything is fed whole, byte by byte, at every cut, and with more behind it.
    """

    def readers(self, sent: bytes) -> list[Callable[[], Any]]:
        return [HeaderReader, V1Reader if sent.startswith(b"P") else V2Reader]

    def get(self, sent: bytes) -> ProxyData:
        """
        :return: what is read from a header, however it is cut and whatever follows it.
        """
        data, leftover = HeaderReader().feed(sent)
        assert data is not None
        self.assertEqual((b"", sent), (leftover, data.raw))
        for make in self.readers(sent):
            for more in MORE:
                for pieces in cuts(sent + more):
                    self.assertEqual((data, more), read(make(), pieces), repr(pieces))
        return data

    def assertRefused(self, sent: bytes, *, after: int | None = None) -> None:
        """
        :param after: how many octets must be seen to know.
        """
        for make in self.readers(sent):
            for pieces in cuts(sent):
                error = self.assertRaises(ProxyError, read, make(), pieces)
                self.assertNothingOfTheirs(error)
            if after is not None:
                reader = make()
                for at in range(after - 1):
                    self.assertEqual((None, None), reader.feed(sent[at : at + 1]), at)
                self.assertRaises(ProxyError, reader.feed, sent[after - 1 : after])

    def assertNothingOfTheirs(self, error: BaseException) -> None:
        """
        Neither the message nor what a traceback would show has text that a client chose.
        """
        self.assertRegex(str(error), r"\A[a-zA-Z0-9 ]+\Z")
        self.assertTrue(error.__context__ is None or error.__suppress_context__)

    def assertWantsMore(self, sent: bytes) -> None:
        for make in self.readers(sent):
            for pieces in cuts(sent):
                self.assertEqual((None, None), read(make(), pieces), repr(pieces))


class V1Tests(ReaderTestCase):
    """
    The line of version 1 (section 2.1).
    """

    def test_example(self) -> None:
        """
        That of the specification.
        """
        line = b"PROXY TCP4 192.168.0.1 192.168.0.11 56324 443\r\n"
        request = b"GET / HTTP/1.1\r\nHost: 192.168.0.11\r\n\r\n"
        data, leftover = HeaderReader().feed(line + request)
        self.assertEqual(request, leftover)
        self.assertEqual(data, self.get(line))
        self.assertEqual(
            data,
            ProxyData(
                version=1,
                command=Command.PROXY,
                family=AF.INET,
                protocol=PROTO.STREAM,
                src_addr=IPv4Address("192.168.0.1"),
                dst_addr=IPv4Address("192.168.0.11"),
                src_port=56324,
                dst_port=443,
                raw=line,
            ),
        )

    def test_as_sockets_have_it(self) -> None:
        data = self.get(V1)
        self.assertEqual(("192.0.2.1", 56324), data.peer)
        self.assertEqual(("198.51.100.2", 25), data.sockname)
        data = self.get(header_v1("TCP6", "2001:DB8::1", "::", 0, 65535))
        self.assertEqual(("2001:db8::1", 0, 0, 0), data.peer)
        self.assertEqual(("::", 65535, 0, 0), data.sockname)
        self.assertEqual((False, False, AF.INET6), (data.local, data.secure, data.family))

    def test_mapped(self) -> None:
        """
        HAProxy writes so for a client that speaks IPv4 where the other side is IPv6.
        """
        for text in ("::ffff:192.0.2.1", "::FFFF:c000:201", "0:0:0:0:0:ffff:192.0.2.1"):
            data = self.get(header_v1("TCP6", text, "2001:db8::2", 1, 25))
            self.assertEqual(IPv6Address("::ffff:c000:201"), data.src_addr)
            self.assertEqual(("::ffff:192.0.2.1", 1, 0, 0), data.peer)

    def test_longest(self) -> None:
        """
        The worst cases that the specification lists, with their lengths.
        """
        full = ":".join(["ffff"] * 8)
        for length, sent in [
            (15, header_v1("UNKNOWN")),
            (56, header_v1("TCP4", "255.255.255.255", "255.255.255.255", 65535, 65535)),
            (104, header_v1("TCP6", full, full, 65535, 65535)),
            (107, header_v1("UNKNOWN", full, full, 65535, 65535)),
        ]:
            self.assertEqual(length, len(sent))
            self.get(sent)

    def test_unknown(self) -> None:
        """
        The rest of the line is ignored, whatever it is, and the addresses of the socket stay.
        """
        for rest in (b"", b" ", b" 1.2.3.4 x", b" \xff\x00", b"  ", b" \r \n", b" \r\r"):
            data = self.get(b"PROXY UNKNOWN" + rest + b"\r\n")
            self.assertEqual((True, False), (data.local, data.own))
            self.assertEqual(
                (1, AF.UNSPEC, PROTO.UNSPEC), (data.version, data.family, data.protocol)
            )
            self.assertEqual((None, None), (data.peer, data.sockname))
            self.assertEqual((None, None), (data.src_port, data.dst_port))

    def test_begun(self) -> None:
        for sent in (V1, header_v1("UNKNOWN"), header_v1("TCP6", "::1", "::2", 0, 25)):
            for end in range(len(sent)):
                self.assertWantsMore(sent[:end])

    def test_at_once(self) -> None:
        """
        What cannot become a line is refused at its first bad octet.
        """
        for good, bad in [
            (b"", b"proxy TCP4"),
            (b"P", b"roxy TCP4"),
            (b"PROX", b"Z"),
            (b"PROXY", b"\r\n"),
            (b"PROXY", b"\tTCP4"),
            (b"PROXY ", b" TCP4"),
            (b"PROXY ", b"tcp4"),
            (b"PROXY ", b"unknown"),
            (b"PROXY ", b"\r\n"),
            (b"PROXY TCP", b"5 "),
            (b"PROXY TCP", b" 4"),
            (b"PROXY TCP4", b"\r\n"),
            (b"PROXY TCP4", b"\t"),
            (b"PROXY TCP4 ", b" 192.0.2.1"),
            (b"PROXY TCP4 ", b"::1"),
            (b"PROXY TCP4 ", b"\xd9\xa1"),
            (b"PROXY TCP4 ", b"\r\n"),
            (b"PROXY TCP4 0", b"x7f.1 192.0.2.2 1 25\r\n"),
            (b"PROXY TCP4 192.0.2.1", b"\r\n"),
            (b"PROXY TCP4 192.0.2.1", b"/32 "),
            (b"PROXY TCP4 192.0.2.1 ", b" 192.0.2.2"),
            (b"PROXY TCP4 255.255.255.255", b"0"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 ", b"-1 25\r\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 ", b"+1 25\r\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 ", b"\xd9\xa1 25\r\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 ", b"\xb2 25\r\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 ", b" 1 25\r\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 0", b"0 25\r\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 0", b"1 25\r\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 0", b"x1 25\r\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1", b"_0 25\r\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1", b"\r\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 ", b" 25\r\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 ", b"\r\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 10000", b"0 25\r\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25", b"\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25", b" \r\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25", b"\x00\r\n"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r", b"EHLO"),
            (b"PROXY TCP4 192.0.2.1 192.0.2.2 1 25\r", b"\r\n"),
            (b"PROXY TCP6 ", b"[::1]"),
            (b"PROXY TCP6 ", b"g::"),
            (b"PROXY TCP6 fe80::1", b"%eth0"),
            (b"PROXY TCP6 fe80::1", b"%1 ::1 1 25\r\n"),
            (b"PROXY UNKNOWN", b"\n"),
            (b"PROXY UNKNOWN", b"X\r\n"),
            (b"PROXY UNKNOWN", b"\t\r\n"),
            (b"PROXY UNKNOWN\r", b"x\n\r\n"),
        ]:
            self.assertRefused(good + bad, after=len(good) + 1)

    def test_when_complete(self) -> None:
        """
        Values are judged when the line is there.
        """
        for keyword, *fields in [
            ("TCP4", "192.0.2", "192.0.2.2", 1, 25),
            ("TCP4", "192.0.2.256", "192.0.2.2", 1, 25),
            ("TCP4", "192.0.2.1", "192.0.2.256", 1, 25),
            ("TCP4", "192.0.2.01", "192.0.2.2", 1, 25),
            ("TCP4", "192.0.2.1", "0192.0.2.2", 1, 25),
            ("TCP4", "00.0.2.1", "192.0.2.2", 1, 25),
            ("TCP4", "192.0.2.1.", "192.0.2.2", 1, 25),
            ("TCP4", "192..2.1", "192.0.2.2", 1, 25),
            ("TCP4", "3221225985", "192.0.2.2", 1, 25),
            ("TCP4", "192.0.2.1", "192.0.2.2", 65536, 25),
            ("TCP4", "192.0.2.1", "192.0.2.2", 1, 99999),
            ("TCP6", "192.0.2.1", "2001:db8::2", 1, 25),
            ("TCP6", "2001:db8::1", "192.0.2.2", 1, 25),
            ("TCP6", "2001:db8::1::", "2001:db8::2", 1, 25),
            ("TCP6", "1:2:3:4:5:6:7", "2001:db8::2", 1, 25),
            ("TCP6", "1:2:3:4:5:6:7:8:9", "2001:db8::2", 1, 25),
            ("TCP6", "12345::", "2001:db8::2", 1, 25),
            ("TCP6", ":1", "2001:db8::2", 1, 25),
            ("TCP6", "::ffff:192.0.2.01", "2001:db8::2", 1, 25),
            ("TCP6", "::ffff:192.0.2.1", "::ffff:1.2.3", 1, 25),
        ]:
            line = header_v1(keyword, *fields)
            self.assertRefused(line, after=len(line))

    def test_too_long(self) -> None:
        """
        The CRLF has to be within 107 octets, if only just.
        """
        start = b"PROXY UNKNOWN "
        self.get(start + b"x" * (107 - len(start) - 2) + b"\r\n")
        for rest in (b"x" * 200, b"x" * (107 - len(start) - 1) + b"\r\n"):
            self.assertRefused(start + rest, after=107)


class V2Tests(ReaderTestCase):
    """
    The header of version 2 (section 2.2).
    """

    def test_inet(self) -> None:
        data = self.get(header_v2(0x11, ADDRESSES))
        self.assertEqual(
            data,
            ProxyData(
                version=2,
                command=Command.PROXY,
                family=AF.INET,
                protocol=PROTO.STREAM,
                src_addr=IPv4Address("192.0.2.1"),
                dst_addr=IPv4Address("198.51.100.2"),
                src_port=56324,
                dst_port=25,
                raw=data.raw,
            ),
        )
        self.assertEqual(("192.0.2.1", 56324), data.peer)
        self.assertEqual(("198.51.100.2", 25), data.sockname)
        self.assertEqual((False, False, TLVs()), (data.local, data.secure, data.tlv))

    def test_inet6(self) -> None:
        addresses = IPv6Address("2001:db8::1").packed + IPv6Address("::ffff:192.0.2.9").packed
        data = self.get(header_v2(0x22, addresses + b"\xff\xff\x00\x00"))
        self.assertEqual((AF.INET6, PROTO.DGRAM), (data.family, data.protocol))
        self.assertEqual(IPv6Address("2001:db8::1"), data.src_addr)
        self.assertEqual(("2001:db8::1", 65535, 0, 0), data.peer)
        self.assertEqual(("::ffff:192.0.2.9", 0, 0, 0), data.sockname)

    def test_unix(self) -> None:
        for name in (b"/run/x", b"\x00abstract", b"\x00ab\x00c", b"/" * 108, b"\xff\n", b""):
            data = self.get(header_v2(0x31, unix(name) + unix(b"/run/smtp")))
            self.assertEqual(AF.UNIX, data.family)
            self.assertEqual((name, name, b"/run/smtp"), (data.src_addr, data.peer, data.sockname))
            self.assertEqual((None, None, False), (data.src_port, data.dst_port, data.local))

    def test_path_with_nul(self) -> None:
        sent = header_v2(0x31, unix(b"/run/x\x00y") + unix(b"/run/smtp"))
        self.assertRefused(sent, after=len(sent))
        self.assertRefused(header_v2(0x32, unix(b"/run/x") + unix(b"/run\x00\x00/smtp")))

    def test_addresses_of_the_socket_stay(self) -> None:
        """
        What comes under LOCAL and UNSPEC is skipped unread, to the octet.
        """
        for command, transport in [
            *((LOCAL, family << 4 | protocol) for family in range(4) for protocol in range(3)),
            *((PROXY, transport) for transport in (0x00, 0x01, 0x02, 0x10, 0x20, 0x30)),
        ]:
            for block in (b"", b"\r\n", ADDRESSES, tlv(3, b"bad!"), b"\x20\x00\x06\x01"):
                data = self.get(header_v2(transport, block, command=command))
                self.assertTrue(data.local)
                self.assertEqual(command & 15, data.command)
                self.assertEqual(command == LOCAL, data.own)
                self.assertEqual(transport, data.family << 4 | data.protocol)
                self.assertEqual((None, None, False), (data.peer, data.sockname, data.secure))
                self.assertEqual(TLVs(), data.tlv)

    def test_health_check(self) -> None:
        """
        What a Network Load Balancer of AWS sends: no addresses, though it says IPv4.
        """
        sent = header_v2(0x11, bytes.fromhex("030004bce5951f04004a") + bytes(0x4A), command=LOCAL)
        self.assertEqual(100, len(sent))
        self.assertTrue(self.get(sent).local)

    def test_begun(self) -> None:
        sent = header_v2(0x11, ADDRESSES + tlv(0xEA, b"x"))
        for end in range(len(sent)):
            self.assertWantsMore(sent[:end])

    def test_at_once(self) -> None:
        self.assertRefused(b"\r\n\r\n\r\n", after=5)
        self.assertRefused(b"\r\n.\r\n", after=3)
        self.assertRefused(SIGNATURE[:-1] + b"\r", after=12)
        for at in range(12):
            wrong = bytearray(SIGNATURE)
            wrong[at] ^= 0x20
            # Its first octet tells the version.
            self.assertRefused(bytes(wrong), after=at + 1)
        for command in set(range(256)) - {LOCAL, PROXY}:
            self.assertRefused(header_v2(0x11, b"", command=command), after=13)
        good = {family << 4 | protocol for family in range(4) for protocol in range(3)}
        for command in (LOCAL, PROXY):
            for transport in set(range(256)) - good:
                sent = header_v2(transport, b"", command=command)
                self.assertRefused(sent, after=14)

    def test_too_short(self) -> None:
        """
        That there is no room for the addresses shows before they come.
        """
        for transport, size in [(0x11, 12), (0x12, 12), (0x21, 36), (0x31, 216), (0x32, 216)]:
            for length in (0, 1, size - 1):
                sent = header_v2(transport, b"\x01" * length)
                self.assertRefused(sent + b"\x01" * size, after=16)
            self.get(header_v2(transport, b"\x01" * size))

    def test_too_long(self) -> None:
        """
        A long header is refused before it comes.
        """
        for command in (LOCAL, PROXY):
            for length in (V2_LIMIT - 15, 0xFFFF):
                start = header_v2(0x11, b"", command=command)[:14] + length.to_bytes(2, "big")
                self.assertRefused(start, after=16)
        sent = with_tlvs(tlv(4, bytes(V2_LIMIT - 16 - 12 - 3)))
        self.assertEqual(V2_LIMIT, len(sent))
        for size in (1, 7, 536, 1460, V2_LIMIT, 2 * V2_LIMIT):
            pieces = [(sent + b"QUIT")[at : at + size] for at in range(0, len(sent) + 4, size)]
            data, leftover = read(HeaderReader(), pieces)
            assert data is not None
            self.assertEqual((sent, b"QUIT"), (data.raw, leftover))

    def test_limit(self) -> None:
        sent = header_v2(0x11, ADDRESSES)
        self.assertRaises(ProxyError, V2Reader(limit=27).feed, sent)
        self.assertEqual(b"", V2Reader(limit=28).feed(sent)[1])


class TLVTests(ReaderTestCase):
    """
    What follows the addresses.
    """

    def test_typed(self) -> None:
        data = self.get(
            with_tlvs(
                tlv(0x01, b"\xffh2"),
                tlv(0x02, "m\u00fcller.example".encode()),
                tlv(0x04, b"padding"),
                tlv(0x05, b"\x00" * 128),
                tlv(0x30, b"blue"),
                tlv(0xEA, b"\x01vpce-0"),
                tlv(0x04, b""),
                tlv(0xEA, b""),
            )
        )
        tlvs = data.tlv
        self.assertEqual((b"\xffh2", "m\u00fcller.example"), (tlvs.alpn, tlvs.authority))
        self.assertEqual((bytes(128), "blue"), (tlvs.unique_id, tlvs.netns))
        self.assertEqual((None, None), (tlvs.ssl, tlvs.crc32c))
        self.assertEqual((b"\x01vpce-0", b""), tlvs.values(0xEA))
        self.assertEqual((b"blue",), tlvs.values(0x30))
        self.assertEqual(((), ()), (tlvs.values(0x04), tlvs.values(0xEE)))
        self.assertEqual([0x01, 0x02, 0x05, 0x30, 0xEA, 0xEA], [kind for kind, _ in tlvs.records])

    def test_after_every_family(self) -> None:
        for transport, size in [(0x12, 12), (0x21, 36), (0x31, 216)]:
            data = self.get(header_v2(transport, bytes(size) + tlv(0x05, b"id")))
            self.assertEqual(b"id", data.tlv.unique_id)

    def test_empty(self) -> None:
        """
        HAProxy sends empty ones where it has nothing to say.
        """
        tlvs = self.get(with_tlvs(*(tlv(kind, b"") for kind in (0x01, 0x02, 0x05, 0x30)))).tlv
        self.assertEqual((b"", ""), (tlvs.alpn, tlvs.authority))
        self.assertEqual((b"", ""), (tlvs.unique_id, tlvs.netns))

    def test_malformed(self) -> None:
        for bad in (
            # Cut off, or longer than the header.
            b"\x01",
            b"\x04\x00",
            b"\x04\x00\x01",
            tlv(0xEA, b"") + b"\x04",
            tlv(0xEA, b"x")[:-1],
            b"\xea\xff\xffx",
            # Twice.
            *(tlv(kind, b"x") * 2 for kind in (0x01, 0x02, 0x05, 0x30)),
            ssl(1, 0) * 2,
            # Not in their encodings, or with controls.
            tlv(0x02, b"\xff"),
            tlv(0x02, b"\xc0\xaf"),
            tlv(0x02, b"\xed\xa0\x80"),
            tlv(0x02, b"a\r\nb"),
            tlv(0x02, b"\x00"),
            tlv(0x02, b"\x7f"),
            tlv(0x02, "\x85".encode()),
            tlv(0x02, "\u2028".encode()),
            tlv(0x30, "bl\u00e4u".encode()),
            tlv(0x30, b"\x1b[2J"),
            # Too long.
            tlv(0x05, bytes(129)),
        ):
            self.assertRefused(with_tlvs(bad))
            self.assertRefused(with_tlvs(tlv(0xE0, b"before"), bad))


class ChecksumTests(ReaderTestCase):
    """
    PP2_TYPE_CRC32C (section 2.2.3).
    """

    def test_vectors(self) -> None:
        """
        Those of RFC 3720 appendix B.4, and the usual one.
        """
        for data, expected in [
            (b"", 0),
            (b"123456789", 0xE3069283),
            (bytes(32), 0x8A9136AA),
            (b"\xff" * 32, 0x62A8AB43),
            (bytes(range(32)), 0x46DD794E),
            (bytes(reversed(range(32))), 0x113FDB5C),
        ]:
            self.assertEqual(expected, proxy_tlv.crc32c(data))
            self.assertEqual(expected, crc_by_bits(data))

    def test_of_amazon(self) -> None:
        """
        As a Network Load Balancer of AWS has computed it.
        """
        zeroed = header_v2(0x11, bytes.fromhex("0300040000000004004a") + bytes(0x4A), command=LOCAL)
        self.assertEqual(0xBCE5951F, proxy_tlv.crc32c(zeroed))

    def test_right(self) -> None:
        for others in ([], [tlv(4, bytes(9))], [tlv(0xEA, b"x"), ssl(1, 0)]):
            sent = with_checksum(*others)
            data = self.get(sent)
            self.assertEqual(crc_by_bits(sent[:31] + bytes(4) + sent[35:]), data.tlv.crc32c)

    def test_wrong(self) -> None:
        """
        One changed bit anywhere is noticed, unless it makes the header another kind of bad.
        """
        sent = with_checksum(tlv(0xEA, b"x"))
        for at in range(16, len(sent)):
            for bit in range(8):
                wrong = bytearray(sent)
                wrong[at] ^= 1 << bit
                if at == 28:
                    # It is no checksum any more.
                    continue
                self.assertRaises(ProxyError, HeaderReader().feed, bytes(wrong))
        self.assertRefused(with_tlvs(tlv(3, bytes(4))))

    def test_malformed(self) -> None:
        self.patch(proxy_tlv, "crc32c", lambda data: 0)
        for value in (b"", b"\x00" * 3, b"\x00" * 5):
            self.assertRefused(with_tlvs(tlv(3, value)))

    def test_twice(self) -> None:
        """
        Even if both could be right.
        """
        one = tlv(3, bytes(4))
        self.assertRefused(with_tlvs(one, one))
        self.patch(proxy_tlv, "crc32c", lambda data: 0)
        self.get(with_tlvs(one))
        self.assertRefused(with_tlvs(one, one))

    def test_twice_costs_nothing(self) -> None:
        """
        A header may have a thousand of them, and a checksum takes long.
        """
        checked: list[bytes] = []

        def crc32c(data: bytes) -> int:
            checked.append(data)
            return 0

        self.patch(proxy_tlv, "crc32c", crc32c)
        self.assertRefused(with_tlvs(*[tlv(3, bytes(4))] * 1000))
        self.assertEqual([], checked)


class SSLTests(ReaderTestCase):
    """
    PP2_TYPE_SSL (section 2.2.6).
    """

    def test_typed(self) -> None:
        data = self.get(
            with_tlvs(
                ssl(
                    0x07,
                    0,
                    tlv(0x21, b"TLSv1.3"),
                    tlv(0x22, "Ren\u00e9".encode()),
                    tlv(0x23, b"TLS_AES_128_GCM_SHA256"),
                    tlv(0x24, b"RSA-SHA256"),
                    tlv(0x25, b"RSA2048"),
                    tlv(0x26, b"secp256r1"),
                    tlv(0x27, b"rsa_pss_rsae_sha256"),
                    tlv(0x28, b"0\x82secret"),
                    tlv(0x2F, b"future"),
                    tlv(0x2F, b"future"),
                )
            )
        )
        self.assertTrue(data.secure)
        self.assertEqual(
            data.tlv.ssl,
            SSLInfo(
                client=SSLClient.SSL | SSLClient.CERT_CONN | SSLClient.CERT_SESS,
                verify=0,
                version="TLSv1.3",
                cn="Ren\u00e9",
                cipher="TLS_AES_128_GCM_SHA256",
                sig_alg="RSA-SHA256",
                key_alg="RSA2048",
                group="secp256r1",
                sig_scheme="rsa_pss_rsae_sha256",
                client_cert=b"0\x82secret",
            ),
        )
        self.assertNotIn("secret", repr(data.tlv.ssl))
        self.assertNotIn("QUIT", repr(data))

    def test_secure(self) -> None:
        """
        Only if the client speaks TLS now: HAProxy sends this TLV in the clear, too.
        """
        for client, secure in [(0, False), (1, True), (6, False), (7, True), (0xF8, False)]:
            data = self.get(with_tlvs(ssl(client, 0)))
            assert data.tlv.ssl is not None
            self.assertEqual((secure, client), (data.secure, data.tlv.ssl.client))

    def test_verified(self) -> None:
        """
        HAProxy says 0 where there was no certificate to verify.
        """
        for client, verify, verified in [
            (1, 0, False),
            (1, 1, False),
            (3, 0, True),
            (5, 0, True),
            (7, 0, True),
            (7, 0xFFFFFFFF, False),
        ]:
            data = self.get(with_tlvs(ssl(client, verify)))
            assert data.tlv.ssl is not None
            self.assertEqual((verify, verified), (data.tlv.ssl.verify, data.tlv.ssl.verified))

    def test_malformed(self) -> None:
        for bad in (
            tlv(0x20, b""),
            tlv(0x20, b"\x01\x00\x00\x00"),
            ssl(1, 0, b"\x21"),
            ssl(1, 0, b"\x21\x00"),
            ssl(1, 0, b"\x21\x00\x01"),
            ssl(1, 0, tlv(0x2F, b""), b"\x2f\x00\x08TLSv1.3"),
            ssl(1, 0, tlv(0x21, b"TLSv1.3") * 2),
            ssl(1, 0, tlv(0x21, b"\xff")),
            ssl(1, 0, tlv(0x22, b"\xff")),
            ssl(1, 0, tlv(0x22, b"a\nb")),
            ssl(1, 0, tlv(0x23, "\u00e4".encode())),
        ):
            self.assertRefused(with_tlvs(bad))
            # An inner one must not reach beyond the outer.
            self.assertRefused(with_tlvs(bad, tlv(0xE0, bytes(20))))


class HeaderReaderTests(ReaderTestCase):
    """
    Either version, or neither.
    """

    def test_nothing(self) -> None:
        for reader in (HeaderReader(), V1Reader(), V2Reader()):
            self.assertEqual((None, None), reader.feed(b""))
        reader = HeaderReader()
        self.assertEqual((None, None), reader.feed(b""))
        self.assertEqual((None, None), reader.feed(b"PROXY"))
        self.assertEqual((None, None), reader.feed(b""))
        self.assertEqual(b"", reader.feed(V1[5:])[1])

    def test_neither(self) -> None:
        for octet in set(range(256)) - {ord("P"), ord("\r")}:
            for make in (HeaderReader, V1Reader, V2Reader):
                self.assertRaises(ProxyError, make().feed, bytes([octet]))
        for sent in (b"EHLO x\r\n", b"\x16\x03\x01\x02\x00", b"GET / HTTP/1.0\r\n", b"\n" + V1):
            self.assertRefused(sent, after=1)
        self.assertRefused(b"POST / HTTP/1.0\r\n", after=2)

    def test_one_version_only(self) -> None:
        self.assertRaises(ProxyError, V1Reader().feed, SIGNATURE[:1])
        self.assertRaises(ProxyError, V2Reader().feed, V1[:1])

    def test_stays_refused(self) -> None:
        """
        More does not cure it.
        """
        for bad in (b"X", b"PROXY\n", SIGNATURE + b"\x11", with_tlvs(b"x"), V1[:-2] + b"0000\r\n"):
            reader = HeaderReader()
            self.assertRaises(ProxyError, reader.feed, bad)
            self.assertRaises(ProxyError, reader.feed, V1)


ports = st.integers(0, 65535)
tlvs = st.lists(st.tuples(st.integers(0xE0, 0xF7), st.binary(max_size=40)), max_size=4)
numbers = {4: st.ip_addresses(v=4), 6: st.ip_addresses(v=6)}


@st.composite
def headers(draw: st.DrawFn) -> tuple[bytes, Any, Any]:
    """
    A header, and its two addresses as sockets have them.
    """
    ip = draw(st.sampled_from([4, 6]))
    source, destination = draw(numbers[ip]), draw(numbers[ip])
    sport, dport = draw(ports), draw(ports)
    more = (0, 0) if ip == 6 else ()
    family = socket.AF_INET6 if ip == 6 else socket.AF_INET
    # The system's own spelling.
    texts = [socket.inet_ntop(family, each.packed) for each in (source, destination)]
    if draw(st.booleans()):
        sent = header_v1(f"TCP{ip}", *texts, sport, dport)
    else:
        block = source.packed + destination.packed
        block += sport.to_bytes(2, "big") + dport.to_bytes(2, "big")
        block += b"".join(tlv(kind, value) for kind, value in draw(tlvs))
        sent = header_v2(0x11 if ip == 4 else 0x21, block)
    return sent, (source, sport, *more), (destination, dport, *more)


@st.composite
def pieces_of(draw: st.DrawFn, data: bytes) -> Sequence[bytes]:
    at = sorted(draw(st.lists(st.integers(0, len(data)), max_size=6)))
    return [data[a:b] for a, b in zip([0, *at], [*at, len(data)], strict=True)]


@st.composite
def nearly(draw: st.DrawFn) -> bytes:
    """
    What looks like a header, and may be one.
    """
    sent, _, _ = draw(headers())
    start = draw(st.integers(0, len(sent)))
    end = draw(st.integers(start, min(start + 3, len(sent))))
    return sent[:start] + draw(st.binary(max_size=3)) + sent[end:]


junk = st.one_of(
    st.binary(max_size=300),
    nearly(),
    st.builds(header_v2, st.sampled_from([0x11, 0x21, 0x31, 0]), st.binary(max_size=300)),
    st.builds(with_tlvs, st.binary(max_size=60)),
    st.builds(lambda value: with_tlvs(tlv(0x20, value)), st.binary(max_size=30)),
    st.builds(lambda text: b"PROXY " + text.encode() + b"\r\n", st.text(max_size=110)),
    st.from_regex(rb"\APROXY (TCP4|TCP6|UNKNOWN)[ 0-9a-f.:\r\n]{0,110}", fullmatch=True),
)


class PropertyTests(SynchronousTestCase):
    @repeatable
    @given(st.data(), headers(), st.binary(max_size=20))
    def test_round_trip(self, data: st.DataObject, sent: Any, more: bytes) -> None:
        header, source, destination = sent
        got, leftover = read(HeaderReader(), data.draw(pieces_of(header + more)))
        assert got is not None
        self.assertEqual((header, more), (got.raw, leftover))
        self.assertEqual((source[0], source[1]), (got.src_addr, got.src_port))
        self.assertEqual((destination[0], destination[1]), (got.dst_addr, got.dst_port))
        self.assertEqual(len(source), len(got.peer))
        self.assertEqual(source[1:], got.peer[1:])

    def verdict(self, pieces: Iterable[bytes]) -> Any:
        reader = HeaderReader()
        try:
            data, leftover = read(reader, pieces)
        except ProxyError as error:
            self.assertRegex(str(error), r"\A[a-zA-Z0-9 ]+\Z")
            return "refused"
        finally:
            self.assertLessEqual(len(getattr(reader._reader, "_head", b"")), V2_LIMIT)
            if isinstance(reader._reader, V1Reader):
                self.assertLessEqual(len(reader._reader._head), V1_LIMIT)
        return data, leftover

    @repeatable
    @given(st.data(), junk)
    def test_any_octets(self, data: st.DataObject, sent: bytes) -> None:
        """
        No other exception, and the same verdict however it is cut.
        """
        whole = self.verdict([sent])
        self.assertEqual(whole, self.verdict(data.draw(pieces_of(sent))))
        self.assertEqual(whole, self.verdict(sent[at : at + 1] for at in range(len(sent))))

    @repeatable
    @given(junk)
    def test_beginnings(self, sent: bytes) -> None:
        """
        A verdict is final: more of the same changes neither a refusal nor a header.
        """
        final = self.verdict([sent])
        for end in range(len(sent)):
            verdict = self.verdict([sent[:end]])
            if verdict == "refused":
                self.assertEqual("refused", final)
            elif verdict != (None, None):
                self.assertEqual(verdict[0], final[0])
