"""
What the server has acknowledged is in the Maildir, whatever becomes of the server.

Each round starts a server on the same Maildir, lets several clients send as fast as they can, and
kills the process in the middle of that.  The clients know what they sent and what they were told.
A message which was acknowledged must be there once; one which was not may be there; and whatever
is in ``new/`` must be a whole message that a client sent, byte for byte.

The kernel lives on here, so this shows the order of writing, renaming and acknowledging.  That a
power failure takes nothing either is up to fsync, whose calls `tests.test_maildir` watches.
"""

from __future__ import annotations

import random
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event, Semaphore

import attrs

from txsmtpd.handlers.disk import MEMORY

from .messages import large
from .server import DEADLINE, Delivered, InteropTestCase, Server
from .test_socket import Wire

#: How often the server is killed, and how often it must be where a start takes long.
ROUNDS, FEWEST = 20, 5
#: Seconds after which no more rounds are begun.
ENOUGH = 25
#: Clients at a time.
CLIENTS = 6
#: The server is killed after at most so many acknowledgements, and then so many seconds.
ACKNOWLEDGED, MOMENT = 60, 0.03

_ACCEPTED = ["250 2.1.0", "250 2.1.5"]


class CutOff(Exception):
    """
    The connection ended, as it does when the server is killed.
    """


@attrs.define(eq=False)
class Sender:
    """
    A client that sends one message after another, in every way there is, until it is cut off.

    :param heard: is released for each message which was acknowledged.
    """

    name: str
    wire: Wire
    heard: Semaphore
    chance: random.Random
    #: Content by the reverse-path that nothing else has: whatever the server may have got.
    sent: dict[str, bytes] = attrs.field(factory=dict, init=False)
    #: Reverse-paths of what it has acknowledged.
    acknowledged: list[str] = attrs.field(factory=list, init=False)

    def run(self) -> None:
        ways = (self._data, self._chunk, self._chunks, self._group)
        try:
            while True:
                self.chance.choice(ways)()
        except (CutOff, ConnectionError):
            self.wire.close()

    def _data(self) -> None:
        path, content = self._compose()
        self._talk(self._envelope(path) + b"DATA\r\n", *_ACCEPTED, "354")
        # The first line is a header, so dots are behind newlines only.
        self._send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
        self._acknowledge(path)

    def _chunk(self) -> None:
        path, content = self._compose()
        self._send(self._envelope(path) + b"BDAT %d LAST\r\n" % len(content) + content)
        self._acknowledge(path, *_ACCEPTED)

    def _chunks(self) -> None:
        path, content = self._compose()
        cut = self.chance.randrange(len(content) + 1)
        first, last = content[:cut], content[cut:]
        self._talk(
            self._envelope(path) + b"BDAT %d\r\n" % len(first) + first, *_ACCEPTED, "250 2.0.0"
        )
        self._send(b"BDAT %d LAST\r\n" % len(last) + last)
        self._acknowledge(path)

    def _group(self) -> None:
        """
        Several messages before the first reply is read.
        """
        messages = [self._compose() for _ in range(self.chance.randrange(2, 6))]
        for path, content in messages:
            self._send(self._envelope(path) + b"BDAT %d LAST\r\n" % len(content) + content)
        for path, _ in messages:
            self._acknowledge(path, *_ACCEPTED)

    def _compose(self) -> tuple[str, bytes]:
        """
        :return: a reverse-path, and content which is too large for memory now and then.
        """
        path = f"{self.name}.{len(self.sent)}@example.org"
        octets = self.chance.randrange(MEMORY, 4 * MEMORY) if self.chance.random() < 0.15 else 0
        content = f"Subject: {path}\r\n".encode() + large(max(octets, self.chance.randrange(2000)))
        self.sent[path] = content
        return path, content

    def _envelope(self, path: str) -> bytes:
        return f"MAIL FROM:<{path}>\r\nRCPT TO:<ann@example.com>\r\n".encode()

    def _acknowledge(self, path: str, *before: str) -> None:
        self._read(*before, "250 2.0.0")
        self.acknowledged.append(path)
        self.heard.release()

    def _talk(self, data: bytes, *replies: str) -> None:
        self._send(data)
        self._read(*replies)

    def _send(self, data: bytes) -> None:
        self.wire.send(data)

    def _read(self, *expected: str) -> None:
        found = self.wire.replies(len(expected))
        if len(found) < len(expected):
            raise CutOff
        if found != list(expected):
            raise AssertionError(f"{found} instead of {expected}")


class KillTests(InteropTestCase):
    def test_nothing_lost_and_nothing_torn(self) -> None:
        directory = Path(self.mktemp()).absolute()
        chance = random.Random("durability")
        enough = time.monotonic() + ENOUGH
        files: set[str] = set()
        for number in range(ROUNDS):
            if number >= FEWEST and time.monotonic() > enough:
                break
            server = Server(directory)
            self.addCleanup(server.kill)
            senders = self._send_until_killed(server, number, chance)
            self.assertFalse(server.troubled, server.log)
            files = self._check(server, senders, files)

    def _send_until_killed(
        self, server: Server, number: int, chance: random.Random
    ) -> list[Sender]:
        heard = Semaphore(0)
        senders = [
            Sender(f"{number}.{client}", Wire(server), heard, random.Random(f"{number}.{client}"))
            for client in range(CLIENTS)
        ]
        with ThreadPoolExecutor(CLIENTS) as threads:
            runs = [threads.submit(sender.run) for sender in senders]
            acknowledged = chance.randrange(ACKNOWLEDGED)
            in_time = all(heard.acquire(timeout=DEADLINE) for _ in range(acknowledged))
            Event().wait(chance.uniform(0, MOMENT))
            server.kill()
        for run in runs:
            run.result()
        self.assertTrue(in_time, server.log)
        return senders

    def _check(self, server: Server, senders: list[Sender], before: set[str]) -> set[str]:
        """
        :param before: the files that earlier rounds have left, which were checked then.
        :return: all files that are there now.
        """
        new = server.maildir / "new"
        files = {file.name for file in new.iterdir()}
        self.assertEqual(before - files, set())
        sent = {path: content for sender in senders for path, content in sender.sent.items()}
        messages = [Delivered.parse((new / name).read_bytes()) for name in files - before]
        for message in messages:
            self.assertEqual(message.recipients, ["ann@example.com"])
            self.assertSame(message.content, sent[message.sender], message.sender)
        found = [message.sender for message in messages]
        # Nobody sent anything twice.
        self.assertEqual(len(found), len(set(found)))
        for sender in senders:
            self.assertEqual(set(sender.acknowledged) - set(found), set())
            # Or it would not have been under load.
            self.assertLess(len(sender.acknowledged), len(sender.sent))
        return files
