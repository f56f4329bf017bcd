"""
What no client at hand does: pipelining of everything, chunks, and ends in the middle.
"""

from __future__ import annotations

import re
import socket
import struct

from .messages import BINARY, MESSAGES, large
from .server import DEADLINE, InteropTestCase, Server

_REPLY = re.compile(rb"(?:[0-9]{3}-[^\r\n]*\r\n)*([0-9]{3}) ([^\r\n]*)\r\n")
_STATUS = re.compile(r"[245]\.[0-9]{1,3}\.[0-9]{1,3}(?= )")

ENVELOPE = b"MAIL FROM:<bob@example.org>\r\nRCPT TO:<ann@example.com>\r\n"


class Wire:
    """
    A connection to a server, its greeting and the reply to EHLO already read.
    """

    def __init__(self, server: Server) -> None:
        self._socket = socket.create_connection(("127.0.0.1", server.port), DEADLINE)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._replies = self._socket.makefile("rb")
        if self.talk(b"EHLO client.example.org\r\n", 2) != ["220", "250"]:
            raise AssertionError("no greeting")

    def send(self, data: bytes) -> None:
        self._socket.sendall(data)

    def replies(self, count: int) -> list[str]:
        """
        :return: the codes of so many replies, such as ``250 2.1.0``; fewer if the server closes.
        """
        found: list[str] = []
        text = b""
        while len(found) < count:
            line = self._replies.readline()
            if not line:
                break
            text += line
            if reply := _REPLY.fullmatch(text):
                status = _STATUS.match(reply[2].decode())
                found.append(" ".join([reply[1].decode(), *([status[0]] if status else [])]))
                text = b""
        return found

    def talk(self, data: bytes, count: int) -> list[str]:
        self.send(data)
        return self.replies(count)

    def at_end(self) -> bool:
        """
        Whether the server has closed the connection and said nothing more.
        """
        return self._replies.read() == b""

    def shutdown(self) -> None:
        """
        Send no more, but read on.
        """
        self._socket.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._replies.close()
        self._socket.close()

    def reset(self) -> None:
        """
        Be gone without a word, as when a machine fails.
        """
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close()


class SocketTestCase(InteropTestCase):
    def connect(self, server: Server) -> Wire:
        wire = Wire(server)
        self.addCleanup(wire.close)
        return wire


class PipeliningTests(SocketTestCase):
    def test_groups(self) -> None:
        """
        Two messages and QUIT, as RFC 2920 groups them: all up to DATA, then content and the next.
        """
        server = self.serve()
        wire = self.connect(server)
        opening = ["250 2.1.0", "250 2.1.5", "354"]
        self.assertEqual(wire.talk(ENVELOPE + b"DATA\r\n", 3), opening)
        group = b"first\r\n..\r\n.\r\n" + ENVELOPE + b"DATA\r\n"
        self.assertEqual(wire.talk(group, 4), ["250 2.0.0", *opening])
        # The empty message, whose end is its first line.
        self.assertEqual(wire.talk(b".\r\nQUIT\r\nNOOP\r\n", 2), ["250 2.0.0", "221 2.0.0"])
        self.assertTrue(wire.at_end())
        contents = {message.content for message in server.take()}
        self.assertEqual(contents, {b"first\r\n.\r\n", b""})
        # Octet by octet.
        wire = self.connect(server)
        dialog = ENVELOPE + b"DATA\r\n" + b"Subject: x\r\n\r\n..\r\n.\r\n" + b"QUIT\r\n"
        for octet in dialog:
            wire.send(bytes([octet]))
        self.assertEqual(
            wire.replies(6), ["250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "221 2.0.0"]
        )
        self.assertDelivered(server, b"Subject: x\r\n\r\n.\r\n")

    def test_no_smuggling(self) -> None:
        """
        Nothing but CRLF.CRLF ends content, so what looks like the next message is content.
        """
        server = self.serve("--bare-newline", "keep")
        wire = self.connect(server)
        for end in (
            b"\n.\n",
            b"\r\n.\n",
            b"\n.\r\n",
            b"\r.\r",
            b"\r\n.\r",
            b"\r.\r\n",
            b"\r\n\0.\r\n",
        ):
            wire.send(ENVELOPE + b"DATA\r\n")
            content = b"one" + end + ENVELOPE + b"DATA\r\ntwo\r\n"
            self.assertEqual(wire.replies(3)[2:], ["354"])
            self.assertEqual(wire.talk(content + b".\r\n", 1), ["250 2.0.0"])
            # A dot that follows a CRLF is a stuffed one, whatever follows it.
            self.assertDelivered(server, content.replace(b"\r\n.", b"\r\n"), what=repr(end))


class ChunkingTests(SocketTestCase):
    def bdat(self, *chunks: bytes) -> bytes:
        """
        :return: the commands that send these chunks, the last one of them marked.
        """
        commands = [b"BDAT %d\r\n%s" % (len(chunk), chunk) for chunk in chunks[:-1]]
        return b"".join([*commands, b"BDAT %d LAST\r\n%s" % (len(chunks[-1]), chunks[-1])])

    def test_content(self) -> None:
        """
        No dot and no newline is touched, and no line needs an end.
        """
        server = self.serve()
        wire = self.connect(server)
        contents = {
            **MESSAGES,
            "binary": BINARY,
            "bare newlines": b"a\rb\nc\r\n.\r\nQUIT\r\n.\n\r",
            "large": large(5 * 2**20),
        }
        for what, content in contents.items():
            half = len(content) // 2
            for chunks in ([content], [content[:half], content[half:], b""]):
                count = 2 + len(chunks)
                replies = wire.talk(ENVELOPE + self.bdat(*chunks), count)
                self.assertEqual(
                    replies, ["250 2.1.0", "250 2.1.5", *["250 2.0.0"] * len(chunks)], what
                )
                self.assertDelivered(server, content, what=what)
        self.assertEqual(wire.talk(ENVELOPE + self.bdat(b""), 3)[2:], ["250 2.0.0"])
        self.assertDelivered(server, b"")

    def test_refused(self) -> None:
        """
        The octets of a refused chunk are never commands, and the session stays in step.
        """
        server = self.serve("--size-limit", "100")
        wire = self.connect(server)
        evil = b"QUIT\r\n" * 10
        self.assertEqual(wire.talk(b"BDAT 60\r\n" + evil, 1), ["503 5.5.1"])
        group = ENVELOPE + self.bdat(evil, evil, evil) + b"NOOP\r\n"
        self.assertEqual(
            wire.talk(group, 6),
            ["250 2.1.0", "250 2.1.5", "250 2.0.0", "552 5.3.4", "503 5.5.1", "250 2.0.0"],
        )
        self.assertEqual(server.take(), [])
        self.assertEqual(wire.talk(ENVELOPE + self.bdat(evil), 3)[2:], ["250 2.0.0"])
        self.assertDelivered(server, evil)
        self.assertEqual(wire.talk(b"BDAT some\r\nNOOP\r\n", 2), ["521 5.5.4"])


class EndTests(SocketTestCase):
    def test_client_vanishes(self) -> None:
        """
        Inside of content that is on disk already, as the file left in tmp/ would show.
        """
        server = self.serve()
        for vanish in (Wire.close, Wire.reset):
            for start in (b"DATA\r\n", b"BDAT 9999999 LAST\r\n"):
                wire = self.connect(server)
                wire.send(ENVELOPE + start + large(2**20))
                vanish(wire)
        # One that has only sent its last is still answered.
        wire = self.connect(server)
        wire.send(ENVELOPE + b"BDAT 1 LAST\r\nx")
        wire.shutdown()
        self.assertEqual(wire.replies(4), ["250 2.1.0", "250 2.1.5", "250 2.0.0"])
        self.assertDelivered(server, b"x")

    def test_stop(self) -> None:
        """
        Idle clients are told at once, a message that is being received is delivered first.
        """
        server = self.serve()
        idle, between, busy = (self.connect(server) for _ in range(3))
        between.talk(ENVELOPE, 2)
        content = b"x\r\n" * 2**17
        self.assertEqual(busy.talk(ENVELOPE + b"DATA\r\n", 3)[2:], ["354"])
        busy.send(content[: 2**17])
        server.terminate()
        for wire in (idle, between):
            self.assertEqual(wire.replies(1), ["421 4.3.2"])
            self.assertTrue(wire.at_end())
        self.assertRaises(ConnectionRefusedError, Wire, server)
        busy.send(content[2**17 :] + b".\r\n")
        self.assertEqual(busy.replies(2), ["250 2.0.0", "421 4.3.2"])
        self.assertTrue(busy.at_end())
        server.wait()
        self.assertDelivered(server, content)
