"""
Tests for txsmtpd.watched.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.watched import WatchedFile


def parse(data: bytes) -> list[bytes]:
    if b"bad" in data:
        raise ValueError("line 1 is bad")
    return data.split()


class WatchedFileTests(SynchronousTestCase):
    """
    What a file says, as it is now.
    """

    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.clock = Clock()
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def watched(self, data: bytes) -> WatchedFile[Any]:
        self.path.write_bytes(data)
        return WatchedFile(
            self.path,
            parse,
            self.clock,
            describe=lambda value: f"{len(value)} words",
            event="words",
        )

    def texts(self) -> list[str | None]:
        return [formatEvent(event) for event in self.events]

    def test_once_a_second(self) -> None:
        watched = self.watched(b"a")
        self.path.write_bytes(b"a b")
        self.clock.advance(0.9)
        self.assertEqual([b"a"], watched.get())
        self.clock.advance(0.1)
        self.assertEqual([b"a", b"b"], watched.get())
        self.assertEqual([f"{self.path.absolute()} was read again: 2 words"], self.texts())

    def test_unchanged(self) -> None:
        watched = self.watched(b"a")
        self.clock.advance(1)
        self.assertEqual([b"a"], watched.get())
        self.assertEqual([], self.events)

    def test_broken(self) -> None:
        watched = self.watched(b"a")
        self.path.write_bytes(b"bad")
        for _ in range(3):
            self.clock.advance(1)
            self.assertEqual([b"a"], watched.get())
        (event,) = self.events
        self.assertEqual(LogLevel.warn, event["log_level"])
        self.assertEqual("words", event["event"])
        self.assertIn("line 1 is bad; until that is mended", formatEvent(event))
        self.path.write_bytes(b"c")
        self.clock.advance(1)
        self.assertEqual([b"c"], watched.get())

    def test_gone_and_back(self) -> None:
        watched = self.watched(b"a")
        aside = self.path.with_suffix(".aside")
        self.path.rename(aside)
        self.clock.advance(1)
        self.assertEqual([b"a"], watched.get())
        self.assertIn("No such file or directory; ", str(self.texts()))
        aside.rename(self.path)
        self.clock.advance(1)
        self.assertEqual([b"a"], watched.get())
        self.assertEqual(2, len(self.events))

    def test_clock_set_back(self) -> None:
        self.clock.advance(1000)
        watched = self.watched(b"a")
        self.path.write_bytes(b"b c")
        self.clock.rightNow = 10
        self.assertEqual([b"b", b"c"], watched.get())

    def test_start(self) -> None:
        error = self.assertRaises(ValueError, self.watched, b"bad")
        self.assertEqual(f"{self.path.absolute()}: line 1 is bad", str(error))
        self.assertIsNone(error.__context__)
        self.path.unlink()
        os.mkfifo(self.path)
        error = self.assertRaises(
            ValueError, WatchedFile, self.path, parse, self.clock, describe=str, event="words"
        )
        self.assertEqual(f"{self.path.absolute()}: it is not a regular file", str(error))

    def test_public(self) -> None:
        self.assertFalse(self.made(0o640).public)
        self.assertTrue(self.made(0o644).public)

    def test_public_later(self) -> None:
        """
        Who may read it is looked at each time; it is a warning only where there are secrets.
        """
        warning = f"{self.path.absolute()} can be read by everybody on this machine: chmod o-r it"
        for secret, warnings in ((True, 2), (False, 0)):
            self.events.clear()
            watched = self.made(0o640, secret)
            for mode in (0o644, 0o645, 0o600, 0o604):
                self.path.chmod(mode)
                self.clock.advance(1)
                watched.get()
                self.assertEqual(bool(mode & 0o4), watched.public)
            self.assertEqual(warnings, self.texts().count(warning))

    def test_times_kept(self) -> None:
        """
        A file that is written in place, is as long as before and has the old time.
        """
        watched = self.watched(b"a")
        status = self.path.stat()
        # The clock of some file systems has ticks of some milliseconds.
        while self.path.stat().st_ctime_ns == status.st_ctime_ns:
            self.path.write_bytes(b"b")
            os.utime(self.path, ns=(status.st_atime_ns, status.st_mtime_ns))
        self.clock.advance(1)
        self.assertEqual([b"b"], watched.get())

    def made(self, mode: int, secret: bool = False) -> WatchedFile[Any]:
        self.path.write_bytes(b"a")
        self.path.chmod(mode)
        return WatchedFile(self.path, parse, self.clock, describe=str, event="words", secret=secret)
