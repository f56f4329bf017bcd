"""
Tests for txsmtpd.handlers.mbox.

Locks of other processes are in tests.interop.test_handlers.
"""

from __future__ import annotations

import errno
import fcntl
import mailbox
import os
import re
import stat
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsmtpd.handlers import Mbox, disk, make_handler
from txsmtpd.handlers import mbox as module
from txsmtpd.handlers.base import HandlerError
from txsmtpd.handlers.disk import MEMORY
from txsmtpd.handlers.mbox import AGAIN, PATIENCE, PIECE, STALE, Quoter, from_line
from txsmtpd.interfaces import IContentHook, IContentReceiver

from .spoolkit import BODY, Server, SpoolCase, make_envelope, make_session

FAILED = "451 4.3.0 Local error, try again later"
LOCKED = "451 4.2.0 Mailbox is locked, try again later"
FULL = "452 4.3.1 Insufficient system storage"


class Time:
    """
    What the module takes for `time`: sleeping is how it passes.
    """

    asctime = staticmethod(time.asctime)

    def __init__(self) -> None:
        self.now = 1000.0
        #: Called at each sleep.
        self.asleep: Callable[[], object] = lambda: None

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.asleep()

    def time(self) -> float:
        return time.time()


class MboxCase(SpoolCase):
    """
    An mbox whose threads are the caller's.
    """

    def setUp(self) -> None:
        super().setUp()
        self.time = Time()
        self.patch(module, "time", self.time)
        self.path = Path(self.mktemp()).absolute()
        self.lock = Path(f"{self.path}.lock")
        self.mbox = Mbox(self.path, run=maybeDeferred)
        self.addCleanup(self._look_for_lock)
        self.foreign_lock = False

    def _look_for_lock(self) -> None:
        self.assertEqual(self.lock.exists(), self.foreign_lock)

    def receiver(self, mbox: Mbox | None = None, *to: str, **envelope: Any) -> Any:
        mbox = mbox or self.mbox
        return mbox.open_content(Server(), make_session(), make_envelope(*to, **envelope))

    def deliver(self, *chunks: bytes, **envelope: Any) -> str:
        """
        :return: the verdict, if it is not the usual one.
        """
        receiver = self.receiver(**envelope)
        for chunk in chunks:
            receiver.write(chunk)
        return str(self.verdict_of(receiver) or "")

    def messages(self) -> list[bytes]:
        """
        What Python's `mailbox` finds, without headers of ours.
        """
        box = mailbox.mbox(self.path, create=False)
        found = [box.get_bytes(key) for key in sorted(box.keys())]
        box.close()
        return [re.sub(rb"(?s)\AReturn-Path.*?\n\t[^\n;]* [-+]\d{4}\n", b"", m) for m in found]

    def told(self) -> list[tuple[str, str]]:
        """
        What was logged of messages that were not delivered.
        """
        return [(event["path"], event["reason"]) for event in self.complaints()]


class DeliveryTests(MboxCase):
    """
    What is in the file afterwards.
    """

    def test_interfaces(self) -> None:
        verifyObject(IContentHook, self.mbox)
        receiver = self.receiver()
        verifyObject(IContentReceiver, receiver)
        receiver.abort("enough")

    def test_message(self) -> None:
        self.assertEqual(self.deliver(BODY), "")
        self.assertRegex(
            self.path.read_bytes(),
            rb"\AFrom a@example\.org [A-Z][a-z]{2} [A-Z][a-z]{2} [ 0-9]\d \d\d:\d\d:\d\d \d{4}\n"
            rb"Return-Path: <a@example\.org>\n"
            rb"Delivered-To: b@example\.com\n"
            rb"Received: from client\.example \(\[192\.0\.2\.1\]\)\n"
            rb"\tby mx\.example with ESMTP id abc1\n"
            rb"\tfor <b@example\.com>;\n"
            rb"\t[^\n]+\n"
            rb"Subject: x\n\nHello\n\n\Z",
        )
        self.assertEqual(self.messages(), [b"Subject: x\n\nHello\n"])

    def test_recipients(self) -> None:
        """
        Those that other handlers have made of them.
        """
        receiver = self.receiver(None, "c@example.com", "d@example.com", rcpt_tos=["x@y", "z@y"])
        self.assertIsNone(self.verdict_of(receiver))
        self.assertIn(b"\nDelivered-To: x@y\nDelivered-To: z@y\nRec", self.path.read_bytes())

    def test_many(self) -> None:
        """
        Each is one, whatever it looks like.
        """
        messages = {
            b"": b"",
            b"\r\n": b"\n",
            b"no header\r\n": b"no header\n",
            b"From me\r\n>From me\r\n\r\nFrom me\r\n": b">From me\n>>From me\n\n>From me\n",
            b"A: b\r\n\r\nfrom me\r\n From me\r\nFrom: x\r\nFrom": (
                b"A: b\n\nfrom me\n From me\nFrom: x\nFrom\n"
            ),
            b"A: b\r\n\r\nbare\nFrom me\nand \rFrom me\r\n": (
                b"A: b\n\nbare\n>From me\nand \rFrom me\n"
            ),
            "A: b\r\n\r\nGr\u00fc\u00dfe\r\n".encode() + b"\xff\0\r\n": (
                "A: b\n\nGr\u00fc\u00dfe\n".encode() + b"\xff\0\n"
            ),
            b"A: b\r\n\r\nno end": b"A: b\n\nno end\n",
            b"A: b\r\n\r\nno end>": b"A: b\n\nno end>\n",
            b"A: b\r\n\r\nend\r\n\r\n\r\n": b"A: b\n\nend\n\n\n",
        }
        for content in messages:
            self.assertEqual(self.deliver(content), "")
        self.assertEqual(self.messages(), list(messages.values()))

    def test_long_line(self) -> None:
        """
        What stands where the copy is cut is no line's beginning.
        """
        fill = b"x" * (PIECE - 2)
        for cut in range(7):
            self.path.unlink(missing_ok=True)
            text = b"A: b\r\n\r\n" + fill[cut:] + b"From From \r\nFrom x" + fill + b"\r\n"
            self.assertEqual(self.deliver(text), "")
            [message] = self.messages()
            expected = text.replace(b"\r\n", b"\n").replace(b"\nFrom x", b"\n>From x")
            self.assertEqual(message, expected)

    def test_large(self) -> None:
        """
        Whose content is in a file by then.
        """
        line = b"From 123456789\r\n"
        self.assertEqual(self.deliver(b"A: b\r\n\r\n", line * (MEMORY // 8)), "")
        [message] = self.messages()
        self.assertEqual(message, b"A: b\n\n" + b">From 123456789\n" * (MEMORY // 8))

    def test_binary(self) -> None:
        """
        It stays as it is, and From is quoted there too.
        """
        self.assertEqual(self.deliver(b"A: b\r\n\r\na\r\nb\nFrom c", body="BINARYMIME"), "")
        text = self.path.read_bytes()
        self.assertTrue(text.endswith(b"\r\nA: b\r\n\r\na\r\nb\n>From c\n\n"), text)

    def test_mode(self) -> None:
        """
        It is nobody else's, whatever the umask allows; one that is there keeps its mode.
        """
        self.addCleanup(os.umask, os.umask(0))
        self.deliver(BODY)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.path.chmod(0o660)
        self.deliver(BODY)
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o660)

    def test_torn(self) -> None:
        """
        Somebody has left half a message there.
        """
        for before, gap in (
            (b"From x\nA: b\n\nhal", b"\n\n"),
            (b"From x\nA: b\n\nwhole\n", b"\n"),
            (b"From x\nA: b\n\nwhole\n\n", b""),
            (b"\n", b"\n"),
            (b"x", b"\n\n"),
        ):
            self.path.write_bytes(before)
            self.assertEqual(self.deliver(BODY), "")
            self.assertTrue(self.path.read_bytes().startswith(before + gap + b"From a@"))

    def test_safe(self) -> None:
        """
        The file is fsynced, and so is the directory if it is new there.
        """
        synced: list[str] = []

        def fsync(fd: int) -> None:
            synced.append("directory" if stat.S_ISDIR(os.fstat(fd).st_mode) else "file")
            # By then all of it is written.
            self.assertTrue(self.path.read_bytes().endswith(b"Hello\n\n"))
            self.assertTrue(self.lock.exists())

        self.patch(os, "fsync", fsync)
        self.deliver(BODY)
        self.assertEqual(synced, ["file", "directory"])
        self.deliver(BODY)
        self.assertEqual(synced[2:], ["file"])

    def test_turns(self) -> None:
        """
        One thread at a time is enough, since others would wait in theirs.
        """
        mbox = Mbox(self.path, run=self.threads.run)
        first, second = (self.finished(self.receiver(mbox)) for _ in range(2))
        self.assertEqual(len(self.threads.jobs), 1)
        self.threads.step()
        self.assertIsNone(self.successResultOf(first))
        self.assertNoResult(second)
        self.threads.step()
        self.assertIsNone(self.successResultOf(second))
        self.assertEqual(len(self.messages()), 2)


class FailureTests(MboxCase):
    """
    The file is as it was, and the lock is gone (`MboxCase` looks).
    """

    def setUp(self) -> None:
        super().setUp()
        self.deliver(b"first\r\n")
        self.before = self.path.read_bytes()

    def fails(self, verdict: str, *chunks: bytes) -> None:
        self.assertEqual(self.deliver(*chunks or (BODY,)), verdict)
        self.assertEqual(self.path.read_bytes(), self.before)

    def test_full(self) -> None:
        """
        In the middle of the message.
        """
        real, room = disk.write_all, PIECE * 2

        def write_all(fd: int, data: bytes) -> None:
            nonlocal room
            real(fd, data[:room])
            room -= len(data)
            if room < 0:
                raise OSError(errno.ENOSPC, "no space")

        self.patch(module, "write_all", write_all)
        self.fails(FULL, b"x" * PIECE * 3)
        self.assertEqual(self.told(), [(f"mbox {self.path}", "no space")])
        [event] = self.complaints()
        self.assertEqual((event["event"], event["errno"]), ("delivery", errno.ENOSPC))

    def fail_in(self, name: str, error: int = errno.EIO, of: Any = os) -> None:
        def fail(*arguments: object) -> None:
            raise OSError(error, "a reason")

        self.patch(of, name, fail)

    def test_fsync(self) -> None:
        self.fail_in("fsync")
        self.fails(FAILED)
        self.assertEqual(self.told(), [(f"mbox {self.path}", "a reason")])

    def test_quota(self) -> None:
        self.fail_in("fsync", errno.EDQUOT)
        self.fails(FULL)

    def test_torn(self) -> None:
        """
        If it cannot be cut off either, the next message is whole nevertheless.
        """
        real = os.fsync
        self.fail_in("fsync")
        self.fail_in("ftruncate")
        self.assertEqual(self.deliver(b"second\r\nno end"), FAILED)
        self.patch(os, "fsync", real)
        self.assertEqual(self.deliver(b"third\r\n"), "")
        self.assertEqual(self.messages(), [b"first\n", b"second\nno end\n", b"third\n"])

    def test_close(self) -> None:
        """
        When it is safe, nothing that follows makes it undelivered.
        """
        real_close, real_unlink = os.close, os.unlink

        def close(fd: int) -> None:
            mailbox = stat.S_ISREG(os.fstat(fd).st_mode) and os.fstat(fd).st_size
            real_close(fd)
            if mailbox:
                raise OSError(errno.EIO, "a reason")

        def unlink(path: str) -> None:
            real_unlink(path)
            raise OSError(errno.EIO, "a reason")

        self.patch(os, "close", close)
        self.patch(os, "unlink", unlink)
        self.assertEqual(self.deliver(BODY), "")
        self.assertEqual(len(self.messages()), 2)

    def test_defect(self) -> None:
        """
        Anything else is for the core to log.
        """

        def fail(fd: int, data: bytes) -> None:
            raise ZeroDivisionError

        self.patch(module, "write_all", fail)
        self.failureResultOf(self.finished(self.receiver()), ZeroDivisionError)
        self.assertEqual(self.path.read_bytes(), self.before)

    def forget_in(self, name: str) -> Deferred[Any]:
        """
        Give a message up in the thread, when that calls a function.
        """
        mbox = Mbox(self.path, run=self.threads.run)
        done = self.finished(self.receiver(mbox))
        real = getattr(os, name)

        def cancel(*arguments: Any) -> Any:
            done.cancel()
            return real(*arguments)

        self.patch(os, name, cancel)
        return done

    def test_forgotten(self) -> None:
        """
        Nobody waits for it any more: it must not be there, and the log has said so already.
        """
        done = self.forget_in("fsync")
        self.threads.step()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.path.read_bytes(), self.before)
        self.assertEqual(self.told(), [])

    def test_forgotten_too_late(self) -> None:
        """
        Past the last look it stays: the client is told to try again, so there will be two.
        """
        done = self.forget_in("unlink")
        self.threads.step()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(len(self.messages()), 2)

    def test_forgotten_before_its_turn(self) -> None:
        mbox = Mbox(self.path, run=self.threads.run)
        first, second, third = (self.finished(self.receiver(mbox)) for _ in range(3))
        second.cancel()
        self.failureResultOf(second, CancelledError)
        for _ in range(3):
            self.threads.step()
        self.assertIsNone(self.successResultOf(first))
        self.assertIsNone(self.successResultOf(third))
        self.assertEqual(len(self.messages()), 3)


class LockTests(MboxCase):
    """
    Others who use the file.
    """

    def lock_file(self, age: float = 0) -> None:
        self.foreign_lock = True
        self.lock.touch()
        then = time.time() - age
        os.utime(self.lock, (then, then))

    def test_ours(self) -> None:
        """
        While we write others can see it.
        """
        real, seen = fcntl.lockf, []

        def lockf(fd: int, what: int) -> None:
            seen.append((self.lock.exists(), what))
            real(fd, what)

        self.patch(fcntl, "lockf", lockf)
        self.deliver(BODY)
        self.assertEqual(seen, [(True, fcntl.LOCK_EX | fcntl.LOCK_NB)])

    def test_lock_file(self) -> None:
        self.lock_file()
        self.assertEqual(self.deliver(BODY), LOCKED)
        self.assertEqual(self.told(), [(f"mbox {self.path}", "somebody else has locked it")])
        self.assertAlmostEqual(self.time.now, 1000 + PATIENCE, delta=2 * AGAIN)
        self.assertFalse(self.path.exists())

    def test_lock_file_goes(self) -> None:
        self.lock_file()
        self.time.asleep = self.lock.unlink
        self.assertEqual(self.deliver(BODY), "")
        self.assertEqual(self.time.now, 1000 + AGAIN)
        self.foreign_lock = False

    def test_stale(self) -> None:
        """
        Whoever has made it is dead.
        """
        self.lock_file(STALE + 10)
        self.assertEqual(self.deliver(BODY), "")
        self.assertEqual(self.time.now, 1000 + AGAIN)
        self.foreign_lock = False

    def test_not_stale(self) -> None:
        self.lock_file(STALE - 10)
        self.assertEqual(self.deliver(BODY), LOCKED)

    def test_lock_file_of_the_future(self) -> None:
        self.lock_file(-1000)
        self.assertEqual(self.deliver(BODY), LOCKED)

    def test_lock_file_goes_at_once(self) -> None:
        """
        It was there, and is not when we look how old it is.
        """
        self.lock_file()
        real = os.lstat

        def lstat(path: str) -> Any:
            self.patch(os, "lstat", real)
            self.lock.unlink()
            return real(path)

        self.patch(os, "lstat", lstat)
        self.assertEqual(self.deliver(BODY), "")
        self.foreign_lock = False

    def in_fsync(self, act: Callable[[], object]) -> None:
        """
        Do something while a message is being written.
        """
        real = os.fsync

        def fsync(fd: int) -> None:
            self.patch(os, "fsync", real)
            act()
            real(fd)

        self.patch(os, "fsync", fsync)

    def test_lock_file_taken_over(self) -> None:
        """
        Somebody thought that we are dead, and has made another: that is not ours to remove.
        """

        def take_over() -> None:
            self.lock.unlink()
            self.lock.write_text("theirs")

        self.in_fsync(take_over)
        self.foreign_lock = True
        self.assertEqual(self.deliver(BODY), "")
        self.assertEqual(self.lock.read_text(), "theirs")

    def test_lock_file_taken_away(self) -> None:
        self.in_fsync(self.lock.unlink)
        self.assertEqual(self.deliver(BODY), "")

    def test_lock_file_is_closed(self) -> None:
        """
        However it goes.
        """
        before = self.next_descriptor()
        self.deliver(BODY)
        self.lock_file()
        self.deliver(BODY)
        self.foreign_lock = False
        self.lock.unlink()
        self.path.unlink()
        self.path.mkdir()
        self.deliver(BODY)
        self.assertEqual(self.next_descriptor(), before)

    def next_descriptor(self) -> int:
        descriptor = os.open(os.devnull, os.O_RDONLY)
        os.close(descriptor)
        return descriptor

    def test_lock_file_cannot_be_made(self) -> None:
        directory = Path(self.mktemp()).absolute()
        self.mbox = Mbox(directory / "mbox", run=maybeDeferred)
        self.assertEqual(self.deliver(BODY), FAILED)
        self.assertEqual(self.told(), [(f"mbox {directory / 'mbox'}", "No such file or directory")])

    def test_range(self) -> None:
        """
        While another has the second lock we have not the first.
        """
        for error in (BlockingIOError, PermissionError):
            tries = [0]

            def lockf(fd: int, what: int, error: Any = error, tries: Any = tries) -> None:
                tries[0] += 1
                if tries[0] < 4:
                    raise error(errno.EAGAIN, "locked")

            self.time.asleep = lambda: self.assertFalse(self.lock.exists())
            self.patch(fcntl, "lockf", lockf)
            self.assertEqual(self.deliver(BODY), "")
            self.assertEqual(tries, [4])

    def test_range_for_too_long(self) -> None:
        def lockf(fd: int, what: int) -> None:
            raise BlockingIOError

        self.patch(fcntl, "lockf", lockf)
        self.mbox.patience = 3
        self.assertEqual(self.deliver(BODY), LOCKED)
        self.assertAlmostEqual(self.time.now, 1003, delta=2 * AGAIN)
        self.assertEqual(self.path.read_bytes(), b"")

    def test_replaced(self) -> None:
        """
        Somebody has put another file in its place before we had the lock.
        """

        def replace() -> None:
            self.path.unlink()
            self.path.write_bytes(b"From x\n\nother\n\n")

        self.before_lock(replace)
        self.assertEqual(self.deliver(BODY), "")
        self.assertEqual(len(self.messages()), 2)

    def test_replaced_and_kept(self) -> None:
        """
        The old one has another name by then.
        """
        old = self.path.with_name("old")

        def replace() -> None:
            self.path.rename(old)
            self.path.touch()

        self.before_lock(replace)
        self.assertEqual(self.deliver(BODY), "")
        self.assertEqual(len(self.messages()), 1)
        self.assertEqual(old.read_bytes(), b"")

    def test_removed(self) -> None:
        self.before_lock(self.path.unlink)
        self.assertEqual(self.deliver(BODY), "")
        self.assertEqual(len(self.messages()), 1)

    def before_lock(self, act: Callable[[], object]) -> None:
        """
        Do something when the file is open and not yet locked.
        """
        self.path.touch()
        real = fcntl.lockf

        def lockf(fd: int, what: int) -> None:
            self.patch(fcntl, "lockf", real)
            act()
            real(fd, what)

        self.patch(fcntl, "lockf", lockf)

    def test_no_locks(self) -> None:
        """
        As on some file systems.
        """

        def lockf(fd: int, what: int) -> None:
            raise OSError(errno.ENOLCK, "no locks")

        self.patch(fcntl, "lockf", lockf)
        self.assertEqual(self.deliver(BODY), FAILED)

    def test_patience_is_one(self) -> None:
        """
        Who has waited for a turn has waited.
        """
        self.lock_file()
        mbox = Mbox(self.path, run=self.threads.run)
        first, second = (self.finished(self.receiver(mbox)) for _ in range(2))
        self.threads.step()
        self.assertEqual(str(self.successResultOf(first)), LOCKED)
        now = self.time.now
        self.threads.step()
        self.assertEqual(str(self.successResultOf(second)), LOCKED)
        self.assertEqual(self.time.now, now)

    def test_forgotten(self) -> None:
        """
        No thread waits for a lock for nobody.
        """
        self.lock_file()
        mbox = Mbox(self.path, run=self.threads.run)
        done = self.finished(self.receiver(mbox))
        self.time.asleep = done.cancel
        self.threads.step()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.time.now, 1000 + AGAIN)
        self.assertEqual(self.told(), [])


class PathTests(MboxCase):
    """
    What is no mailbox.
    """

    def refused(self, reason: str) -> None:
        error = self.assertRaises(HandlerError, self.mbox.prepare)
        self.assertEqual(str(error), f"mbox {self.path}: cannot be locked and written: {reason}")
        self.assertEqual(self.deliver(BODY), FAILED)
        self.assertEqual(self.told(), [(f"mbox {self.path}", reason)])

    def test_symbolic_link(self) -> None:
        """
        Somebody wants us to write into another file.
        """
        other = self.path.with_name("other")
        other.touch()
        self.path.symlink_to(other)
        self.refused("it is a symbolic link")
        self.assertEqual(other.read_bytes(), b"")

    def test_dangling_symbolic_link(self) -> None:
        other = self.path.with_name("other")
        self.path.symlink_to(other)
        self.refused("it is a symbolic link")
        self.assertFalse(other.exists())

    def test_hard_link(self) -> None:
        other = self.path.with_name("other")
        other.touch()
        os.link(other, self.path)
        self.refused("it has more than one name")
        self.assertEqual(other.read_bytes(), b"")

    def test_directory(self) -> None:
        self.path.mkdir()
        self.refused("Is a directory")

    def test_fifo(self) -> None:
        """
        Nobody waits for somebody to read it.
        """
        os.mkfifo(self.path)
        self.refused("it is not a regular file")

    def test_prepare(self) -> None:
        self.mbox.prepare()
        self.assertEqual(self.path.read_bytes(), b"")
        self.assertEqual(stat.S_IMODE(self.path.stat().st_mode), 0o600)
        self.deliver(BODY)
        self.mbox.prepare()
        self.assertEqual(len(self.messages()), 1)

    def test_prepare_while_locked(self) -> None:
        """
        Somebody reads it just now: it is looked at nevertheless.
        """
        self.lock.touch()
        self.foreign_lock = True
        self.mbox.prepare()
        self.assertEqual(self.path.read_bytes(), b"")
        self.path.unlink()
        self.path.symlink_to("other")
        error = self.assertRaises(HandlerError, self.mbox.prepare)
        self.assertIn("it is a symbolic link", str(error))

    def test_prepare_without_directory(self) -> None:
        mbox = Mbox(self.path / "no" / "mbox")
        error = self.assertRaises(HandlerError, mbox.prepare)
        self.assertIn("No such file or directory", str(error))

    def test_spec(self) -> None:
        for argument in (None, ""):
            error = self.assertRaises(ValueError, Mbox.from_spec, argument)
            self.assertEqual(str(error), "mbox wants a file: mbox:FILE")
        made = make_handler("mbox:box")
        self.assertIsInstance(made, Mbox)
        self.assertEqual(made.path, os.path.abspath("box"))
        self.patch(os, "environ", {"HOME": "/home/ann"})
        self.assertEqual(make_handler("mbox:~/box").path, "/home/ann/box")


class FromTests(SynchronousTestCase):
    """
    The line that begins a message, and those that look like it.
    """

    WHEN = datetime(2024, 3, 1, 0, 30, 5, tzinfo=timezone(timedelta(hours=1)))

    def test_line(self) -> None:
        """
        RFC 4155 wants UTC, in the words of C.
        """
        for sender, shown in {
            "a@example.org": "a@example.org",
            "": "MAILER-DAEMON",
            '"a b"@example.org': '"a_b"@example.org',
            "a@b\r\nFrom c\0\x85\u2028": "a@b__From_c___",
            "\u00fc@example.org": "\u00fc@example.org",
            "\ud800@example.org": "?@example.org",
        }.items():
            line = from_line(sender, self.WHEN)
            self.assertEqual(line.decode(), f"From {shown} Thu Feb 29 23:30:05 2024\n")

    def check_quoted(self, text: bytes, cuts: list[int]) -> None:
        quoter, got = Quoter(), b""
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            got += quoter.feed(text[start:end])
            self.assertLess(len(quoter.rest), len(b"From "))
        got += quoter.rest
        self.assertEqual(got, re.sub(rb"(?m)^(>*From )", rb">\1", text))
        # And back again.
        self.assertEqual(re.sub(rb"(?m)^>(>*From )", rb"\1", got), text)

    def test_quoted_octet_by_octet(self) -> None:
        for text in (b"From x", b">>From x", b"x\n>From x\nFrom \nx From ", b">>Fro\nFrom", b">x"):
            self.check_quoted(text, list(range(len(text))))
            for cut in range(len(text)):
                self.check_quoted(text, [cut])

    @given(st.lists(st.sampled_from([*">From \nx\r", "From ", "\nFrom ", ">>"])), st.data())
    def test_quoted(self, parts: list[str], data: st.DataObject) -> None:
        """
        However it is cut.
        """
        text = "".join(parts).encode()
        self.check_quoted(text, data.draw(st.lists(st.integers(0, len(text))).map(sorted)))
