"""
Messages that are easy to get wrong, and how to compare them.
"""

from __future__ import annotations

#: Every octet that content may hold anywhere: all but CR and LF.
OCTETS = bytes(set(range(256)) - set(b"\r\n"))

#: Octets in the line that is longer than RFC 5321 section 4.5.3.1.6 wants it.
LONG = 100_000

#: Content by what is special about it.  All of it is made of lines that end with CRLF.
MESSAGES = {
    "plain": b"Subject: plain\r\nTo: ann@example.com\r\n\r\nHello, Ann.\r\n",
    "lines that begin with dots": (
        b"Subject: dots\r\n\r\n.\r\n..\r\n...\r\n.dot\r\n..dot\r\n. \r\na.\r\n\r\n.\r\n\r\nend\r\n"
    ),
    "a first line that begins with a dot": b".Subject: odd\r\n\r\n.\r\nend\r\n",
    "last lines that are dots": b"Subject: dots\r\n\r\nend\r\n..\r\n.\r\n.\r\n",
    "empty lines first and last": b"\r\n\r\nbody\r\n\r\n\r\n",
    "a header and no body": b"Subject: nothing to say\r\n",
    "a line that is too long": b"Subject: long\r\n\r\n" + b"x" * LONG + b"\r\nend\r\n",
    "Latin-1": "Subject: café\r\n\r\nÀ la carte: ½ ÿ\r\n".encode("latin-1"),
    "UTF-8": "Subject: ☃\r\n\r\nЖ 漢字 \U0001f4e8 e\u0301 \ufeff\u2028\u0085\r\n".encode(),
    "headers like those of a server": (
        b"Return-Path: <eve@example.net>\r\nDelivered-To: eve@example.net\r\n"
        b"Received: from nowhere;\r\n\tnever\r\n\r\nbody\r\n"
    ),
    "a first line that looks like a continuation": b"\tSubject: odd\r\n\r\nbody\r\n",
    "white space at the ends of lines": b"Subject: space \r\n\r\n \t \r\nend \t\r\n",
}

#: What not every client can send: some hold a message in C's strings.
BINARY = b"Subject: octets\r\n\r\n" + OCTETS + b"\r\n" + OCTETS[::-1] + b"\r\n"


def large(octets: int) -> bytes:
    """
    Content of so many octets, no part of it like another and some of its lines with dots.
    """
    head = b"Subject: large\r\n\r\n"
    lines = (b"%s%09d\r\n" % (b"." * (number % 4), number) for number in range(octets // 11))
    content = head + b"".join(lines)
    # The last line is one that is cut short, so it must not be cut inside its CRLF.
    return content[: octets - 3].rstrip(b"\r\n").ljust(octets - 2, b"x") + b"\r\n"


def difference(found: bytes, expected: bytes) -> str:
    """
    Where two contents begin to differ, in a line that fits on a screen.
    """
    pairs = enumerate(zip(found, expected, strict=False))
    at = next((at for at, (a, b) in pairs if a != b), min(len(found), len(expected)))
    return (
        f"{len(found)} octets instead of {len(expected)}; from {at} on"
        f" {found[at : at + 50]!r} instead of {expected[at : at + 50]!r}"
    )
