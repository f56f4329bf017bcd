"""
What strangers do to a server on purpose: noise, and more of everything than it should hold.
"""

from __future__ import annotations

import random
import select
import socket
from pathlib import Path
from unittest import skipUnless

from .messages import MESSAGES
from .server import DEADLINE, InteropTestCase, Server
from .test_socket import ENVELOPE, Wire

MEBIBYTE = 2**20
#: What no client may make the process grow by.
ALLOWED = 16 * MEBIBYTE

_WORDS = (
    b"EHLO a\r\n", b"HELO a\r\n", b"MAIL FROM:<a@example.org>\r\n", b"RCPT TO:<b@example.org>\r\n",
    b"MAIL FROM:<", b"RCPT TO:", b"SIZE=", b"BODY=8BITMIME", b"SMTPUTF8", b" ", b"\r\n", b"\n",
    b"\r", b"\0", b"DATA\r\n", b".\r\n", b"\r\n.", b"BDAT 10\r\n", b"BDAT 99999999999 LAST\r\n",
    b"BDAT -1\r\n", b"QUIT\r\n", b"RSET\r\n", b"VRFY \xff\xfe\r\n", b"GET / HTTP/1.0\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01", b"STARTTLS\r\n", b"AUTH PLAIN AGEAYg==\r\n", b"\xc3\xa4", b"<",
    b">", b"\"", b"\\", b"@", b"[", b"]", b":", b"A" * 600,
)  # fmt: skip


def _garbage(seed: int) -> bytes:
    chance = random.Random(seed)
    pieces = [
        chance.choice(_WORDS) if chance.random() < 0.8 else chance.randbytes(chance.randrange(40))
        for _ in range(chance.randrange(1, 40))
    ]
    return b"".join(pieces)


def _connect(server: Server) -> socket.socket:
    return socket.create_connection(("127.0.0.1", server.port), DEADLINE)


def _send_what_is_taken(connection: socket.socket, data: bytes) -> int:
    """
    Send as much as a server takes that may close or stop to read.

    :return: octets that it took.
    """
    sent = 0
    view = memoryview(data)
    connection.setblocking(False)
    # A second without any progress is the end of it: nobody reads any more.
    while sent < len(data) and select.select([], [connection], [], 1)[1]:
        try:
            sent += connection.send(view[sent : sent + 2**18])
        except BlockingIOError:
            continue
        except OSError:
            break
    return sent


class GarbageTests(InteropTestCase):
    def test_two_thousand_dialogs(self) -> None:
        """
        No noise leaves a traceback, and afterwards the server takes mail.
        """
        server = self.serve("--max-errors", "1000")
        for seed in range(2000):
            with _connect(server) as connection:
                try:
                    connection.sendall(_garbage(seed))
                    connection.shutdown(socket.SHUT_WR)
                    while connection.recv(65536):
                        pass
                except ConnectionError:
                    # It hung up on us, as it may.
                    continue
        server.take()
        name, content = next(iter(MESSAGES.items()))
        wire = Wire(server)
        wire.talk(ENVELOPE + b"BDAT %d LAST\r\n" % len(content) + content, 3)
        self.assertDelivered(server, content, what=name)


@skipUnless(Path("/proc/self/clear_refs").exists(), "the peak of memory is read from Linux's /proc")
class MemoryTestCase(InteropTestCase):
    """
    Watches the peak of the process's memory, from before the attack to after it.
    """

    size_limit = 1_000_000

    def setUp(self) -> None:
        super().setUp()
        self.server = self.serve("--size-limit", str(self.size_limit))
        # What is loaded on first use is not growth.
        wire = Wire(self.server)
        wire.talk(ENVELOPE + b"BDAT 2 LAST\r\n\r\nRSET\r\n", 4)
        self.server.take()
        Path(f"/proc/{self.server.pid}/clear_refs").write_text("5")
        self.before = self._peak()
        self.addCleanup(self._check)

    def _peak(self) -> int:
        status = Path(f"/proc/{self.server.pid}/status").read_text()
        (kibibytes,) = (line.split()[1] for line in status.splitlines() if "VmHWM" in line)
        return int(kibibytes) * 1024

    def _check(self) -> None:
        self.assertLess(self._peak() - self.before, ALLOWED)
        self.assertEqual(Wire(self.server).talk(b"QUIT\r\n", 1), ["221 2.0.0"])


class MemoryTests(MemoryTestCase):
    def test_content_over_the_limit(self) -> None:
        wire = Wire(self.server)
        self.assertEqual(wire.talk(ENVELOPE + b"DATA\r\n", 3), ["250 2.1.0", "250 2.1.5", "354"])
        line = b"x" * 1022 + b"\r\n"
        for _ in range(1024):
            wire.send(line * 1024)
        self.assertEqual(wire.talk(b".\r\nNOOP\r\n", 2), ["552 5.3.4", "250 2.0.0"])

    def test_chunk_over_the_limit(self) -> None:
        wire = Wire(self.server)
        wire.talk(ENVELOPE + b"BDAT %d\r\n" % (256 * MEBIBYTE), 2)
        for _ in range(256):
            wire.send(b"x" * MEBIBYTE)
        self.assertEqual(wire.talk(b"NOOP\r\n", 2), ["552 5.3.4", "250 2.0.0"])

    def test_one_line(self) -> None:
        with _connect(self.server) as connection:
            sent = _send_what_is_taken(connection, b"x" * (64 * MEBIBYTE))
        self.assertLess(sent, 64 * MEBIBYTE)

    def test_commands(self) -> None:
        wire = Wire(self.server)
        group = (b"NOOP " + b"x" * 1017 + b"\r\n") * 1024
        for _ in range(64):
            self.assertEqual(set(wire.talk(group, 1024)), {"250 2.0.0"})

    def test_short_commands(self) -> None:
        wire = Wire(self.server)
        for _ in range(16):
            self.assertEqual(set(wire.talk(b"NOOP\r\n" * 4096, 4096)), {"250 2.0.0"})

    def test_replies_that_nobody_reads(self) -> None:
        with _connect(self.server) as connection:
            sent = _send_what_is_taken(connection, b"HELP\r\n" * (4 * MEBIBYTE))
        self.assertLess(sent, 24 * MEBIBYTE)


class StreamingTests(MemoryTestCase):
    size_limit = 0

    def test_large_messages_go_to_disk_as_they_come(self) -> None:
        """
        Four at once, each four times as large as what the process may grow by.
        """
        wires = [Wire(self.server) for _ in range(4)]
        for wire in wires:
            wire.talk(ENVELOPE + b"BDAT %d LAST\r\n" % (64 * MEBIBYTE), 2)
        for _ in range(64):
            for wire in wires:
                wire.send(b"x" * MEBIBYTE)
        self.assertEqual([wire.replies(1) for wire in wires], [["250 2.0.0"]] * 4)
        sizes = [file.stat().st_size for file in (self.server.maildir / "new").iterdir()]
        self.assertEqual([size // MEBIBYTE for size in sizes], [64] * 4)

    def test_many_chunks(self) -> None:
        """
        One message in a thousand chunks, sixteen of them at a time in one group, and one in chunks
        of a few octets.
        """
        wire = Wire(self.server)
        self.assertEqual(wire.talk(ENVELOPE, 2), ["250 2.1.0", "250 2.1.5"])
        group = (b"BDAT 65536\r\n" + b"x" * 65536) * 16
        for _ in range(64):
            self.assertEqual(wire.talk(group, 16), ["250 2.0.0"] * 16)
        self.assertEqual(wire.talk(b"BDAT 0 LAST\r\n" + ENVELOPE, 3)[0], "250 2.0.0")
        group = b"BDAT 3\r\n\r\n." * 4096
        for _ in range(16):
            self.assertEqual(set(wire.talk(group, 4096)), {"250 2.0.0"})
        self.assertEqual(wire.talk(b"BDAT 0 LAST\r\n", 1), ["250 2.0.0"])
        sizes = [file.stat().st_size for file in (self.server.maildir / "new").iterdir()]
        self.assertEqual(sorted(size // MEBIBYTE for size in sizes), [0, 64])
        self.assertGreater(min(sizes), 3 * 65536)
