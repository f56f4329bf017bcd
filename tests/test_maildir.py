"""
Tests for txsmtpd.handlers.maildir.
"""

from __future__ import annotations

import errno
import mailbox
import os
import re
import socket
import stat
import tracemalloc
from collections.abc import Callable
from datetime import datetime, timezone
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import LogEvent, LogLevel, capturedLogs, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from txsmtpd.core.replies import Rejected
from txsmtpd.core.session import Envelope, Session
from txsmtpd.handlers import maildir as module
from txsmtpd.handlers.base import HandlerError
from txsmtpd.handlers.disk import MEMORY
from txsmtpd.handlers.maildir import Maildir
from txsmtpd.interfaces import IContentHook, IContentReceiver

WHEN = datetime(2024, 2, 29, 12, 0, 0, 42, tzinfo=timezone.utc)
HEAD = (
    b"Return-Path: <a@example.org>\r\n"
    b"Delivered-To: b@example.com\r\n"
    b"Received: from client.example ([192.0.2.1])\r\n"
    b"\tby mx.example with ESMTP id abc1\r\n"
    b"\tfor <b@example.com>;\r\n"
    b"\tThu, 29 Feb 2024 12:00:00 +0000\r\n"
)
BODY = b"Subject: x\r\n\r\nHello\r\n"
BIG = b"0123456789abcde\n" * (MEMORY // 16 + 1)

NOT_STORED = "452 4.3.1 Insufficient system storage"
FAILED = "451 4.3.0 Local error, try again later"


class Server:
    """
    All that a handler wants to know of the protocol.
    """

    hostname = "mx.example"


class Threads:
    """
    Runs what is to run in a thread when it is told to.
    """

    def __init__(self) -> None:
        self.jobs: list[Callable[[], None]] = []

    def run(self, job: Callable[..., Any], *arguments: object) -> Deferred[Any]:
        done: Deferred[Any] = Deferred()

        def work() -> None:
            try:
                result = job(*arguments)
            except Exception:
                done.errback(Failure())
            else:
                done.callback(result)

        self.jobs.append(work)
        return done

    def step(self) -> None:
        self.jobs.pop(0)()


class Disk:
    """
    Stands before some functions of `os`: notes what is done below one directory, and fails.
    """

    def __init__(self, case: SynchronousTestCase, root: str) -> None:
        self.root = root
        self.calls: list[str] = []
        #: Descriptors that are open, with their paths.
        self.open: dict[int, str] = {}
        self.errors: dict[str, int] = {}
        self._before: dict[str, Callable[[], object]] = {}
        for name in ("open", "write", "fsync", "close", "rename", "unlink", "mkdir"):
            case.patch(os, name, self._watch(name, getattr(os, name)))

    def fail(self, call: str, error: int) -> None:
        """
        Let a call such as ``fsync new`` fail.
        """
        self.errors[call] = error

    def before(self, call: str, what: Callable[[], object]) -> None:
        self._before[call] = what

    def _watch(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def watched(target: Any, *arguments: Any, **named: Any) -> Any:
            path = self.open.get(target, "") if isinstance(target, int) else os.fspath(target)
            if not path.startswith(self.root):
                return real(target, *arguments, **named)
            if name == "close":
                # A descriptor is closed, whatever the error.
                del self.open[target]
                real(target)
            self._note(name, path)
            if name == "close":
                return None
            result = real(target, *arguments, **named)
            if name == "open":
                self.open[result] = path
            return result

        return watched

    def _note(self, name: str, path: str) -> None:
        words = os.path.relpath(path, self.root).split(os.sep)
        call = f"{name} {words[0]}{'/file' if len(words) > 1 else ''}"
        self.calls.append(call)
        self._before.get(call, lambda: None)()
        if call in self.errors:
            raise OSError(self.errors[call], "a secret", path)


class MaildirCase(SynchronousTestCase):
    """
    A Maildir whose threads are the caller's.
    """

    def setUp(self) -> None:
        self.logged: list[LogEvent] = []
        observer: Any = self.logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.path = os.path.abspath(self.mktemp())
        self.maildir = self.make()
        self.maildir.prepare()

    def complaints(self) -> list[LogEvent]:
        """
        What was logged of deliveries that failed for a reason outside of us: no traceback.
        """
        errors = [event for event in self.logged if event["log_level"] is LogLevel.error]
        self.assertEqual([], [event for event in errors if "log_failure" in event])
        return errors

    def make(self, run: Callable[..., Deferred[Any]] = maybeDeferred) -> Maildir:
        return Maildir(self.path, run=run, now=lambda: WHEN)

    def receiver(self, maildir: Maildir | None = None, **envelope: Any) -> Any:
        facts: dict[str, Any] = {
            "id": "abc1",
            "protocol": "ESMTP",
            "mail_from": "a@example.org",
            "rcpt_tos": ["b@example.com"],
        }
        return (maildir or self.maildir).open_content(
            Server(),
            Session(peer=("192.0.2.1", 1025), host_name="client.example"),
            Envelope(**{**facts, **envelope}),
        )

    def deliver(self, *chunks: bytes) -> None:
        receiver = self.receiver()
        for chunk in chunks:
            done = receiver.write(chunk)
            if done is not None:
                self.assertIsNone(self.successResultOf(done))
        self.assertIsNone(self.successResultOf(receiver.finish()))

    def messages(self) -> list[bytes]:
        box = mailbox.Maildir(self.path, factory=None, create=False)
        return [box.get_bytes(key) for key in sorted(box.keys())]

    def files(self, folder: str) -> list[str]:
        return os.listdir(os.path.join(self.path, folder))

    def assert_empty(self) -> None:
        for folder in ("tmp", "new", "cur"):
            self.assertEqual([], self.files(folder), folder)

    def assert_refused(self, done: Deferred[Any], reply: str) -> None:
        refusal = self.failureResultOf(done, Rejected).value
        self.assertEqual(reply, str(refusal.reply))


class DeliveryTests(MaildirCase):
    """
    What is in the Maildir afterwards.
    """

    def test_interfaces(self) -> None:
        verifyObject(IContentHook, self.maildir)
        verifyObject(IContentReceiver, self.receiver())

    def test_message(self) -> None:
        self.deliver(BODY)
        self.assertEqual([HEAD + BODY], self.messages())
        self.assertEqual([], self.files("tmp"))

    def test_empty(self) -> None:
        self.deliver()
        self.assertEqual([HEAD], self.messages())

    def test_recipients(self) -> None:
        """
        Each recipient has its header, in order, and duplicates have two.
        """
        receiver = self.receiver(rcpt_tos=["c@example.com", "b@example.com", "c@example.com"])
        self.successResultOf(receiver.finish())
        [message] = self.messages()
        self.assertEqual(
            [
                b"Return-Path: <a@example.org>",
                b"Delivered-To: c@example.com",
                b"Delivered-To: b@example.com",
                b"Delivered-To: c@example.com",
            ],
            message.split(b"\r\n")[:4],
        )

    def test_null_sender(self) -> None:
        self.successResultOf(self.receiver(mail_from="").finish())
        self.assertTrue(self.messages()[0].startswith(b"Return-Path: <>\r\nDelivered-To: "))

    def test_large(self) -> None:
        """
        A message that does not fit into memory goes to disk as it comes.
        """
        self.deliver(BIG, b"\x00\xff\r", b"\n", BIG, BIG, b"end")
        self.assertEqual([HEAD + BIG + b"\x00\xff\r\n" + BIG + BIG + b"end"], self.messages())
        self.assertEqual([], self.files("tmp"))

    def test_many(self) -> None:
        """
        Messages of the same microsecond do not meet, nor those of two handlers.
        """
        other = self.make()
        receivers = [self.receiver(other if n % 2 else None) for n in range(6)]
        for n, receiver in enumerate(receivers):
            receiver.write(b"%d" % n)
        for receiver in reversed(receivers):
            self.successResultOf(receiver.finish())
        self.assertEqual({HEAD + b"%d" % n for n in range(6)}, set(self.messages()))

    def test_short_writes(self) -> None:
        """
        A write may take less than it was given.
        """
        real = os.write
        self.patch(os, "write", lambda fd, data: real(fd, data[:7]))
        self.deliver(BODY)
        self.assertEqual([HEAD + BODY], self.messages())

    def test_mode(self) -> None:
        """
        Mail is for its owner's eyes.
        """
        self.addCleanup(os.umask, os.umask(0))
        self.deliver(BODY)
        [name] = self.files("new")
        mode = os.stat(os.path.join(self.path, "new", name)).st_mode
        self.assertEqual(0o600, stat.S_IMODE(mode))

    def test_abort_after_finish(self) -> None:
        """
        What was delivered stays.
        """
        receiver = self.receiver()
        self.successResultOf(receiver.write(BIG))
        self.successResultOf(receiver.finish())
        self.assertIsNone(receiver.abort("too late"))
        self.assertEqual([HEAD + BIG], self.messages())

    @settings(derandomize=True, deadline=None, max_examples=50)
    @given(st.lists(st.binary(max_size=40)), st.integers(0, 400))
    def test_any_content(self, chunks: list[bytes], memory: int) -> None:
        """
        Content is the same in the file, whatever it is and wherever it was cut.
        """
        self.setUp()
        self.patch(module, "MEMORY", memory)
        self.deliver(*chunks)
        self.assertEqual([HEAD + b"".join(chunks)], self.messages())


class FileNameTests(MaildirCase):
    """
    Names are unique on every machine that shares the directory.
    """

    def name(self, host: str) -> str:
        self.patch(socket, "gethostname", lambda: host)
        self.deliver(BODY)
        [name] = self.files("new")
        return name

    def test_form(self) -> None:
        pattern = rf"{int(WHEN.timestamp())}\.M42P{os.getpid()}Q[0-9]+\.mail\.example"
        self.assertTrue(re.fullmatch(pattern, self.name("mail.example")))

    def test_odd_host(self) -> None:
        self.assertTrue(self.name("a/b:c").endswith(".a\\057b\\072c"))

    def test_never_overwrites(self) -> None:
        """
        A file in tmp/ that has our name is somebody's: it is neither used nor removed.
        """
        self.patch(module, "unique_name", lambda when: "name")
        with open(os.path.join(self.path, "tmp", "name"), "wb") as file:
            file.write(b"theirs")
        self.assert_refused(self.receiver().finish(), FAILED)
        self.assertEqual(1, len(self.complaints()))
        with open(os.path.join(self.path, "tmp", "name"), "rb") as file:
            self.assertEqual(b"theirs", file.read())
        self.assertEqual([], self.files("new"))


class DurabilityTests(MaildirCase):
    """
    The order of system calls: that of a file that survives a power failure.
    """

    END = (
        "fsync tmp/file",
        "close tmp/file",
        "rename tmp/file",
        "open new",
        "fsync new",
        "close new",
    )

    def test_small(self) -> None:
        disk = Disk(self, self.path)
        self.deliver(b"a", b"b", b"c")
        self.assertEqual(["open tmp/file", "write tmp/file", *self.END], disk.calls)
        self.assertEqual({}, disk.open)

    def test_large(self) -> None:
        disk = Disk(self, self.path)
        self.deliver(BIG, b"a", b"b", BIG, b"c")
        writes = ["write tmp/file"] * 3
        self.assertEqual(["open tmp/file", *writes, *self.END], disk.calls)
        self.assertEqual({}, disk.open)

    def test_invisible_until_safe(self) -> None:
        """
        A reader sees nothing before the file is whole and on disk.
        """
        disk = Disk(self, self.path)
        seen: list[list[str]] = []
        disk.before("fsync tmp/file", lambda: seen.append(self.files("new")))
        disk.before("rename tmp/file", lambda: seen.append(self.files("new")))
        self.deliver(BODY)
        self.assertEqual([[], []], seen)

    def test_verdict_comes_last(self) -> None:
        """
        Nothing is on disk, and nothing is promised, before the thread has done its work.
        """
        threads = Threads()
        receiver = self.receiver(self.make(threads.run))
        self.assertIsNone(receiver.write(BODY))
        self.assertEqual([], threads.jobs)
        done = receiver.finish()
        self.assertNoResult(done)
        self.assert_empty()
        threads.step()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual([], threads.jobs)


class MemoryTests(MaildirCase):
    """
    Memory stays constant, because the client has to wait for the disk.
    """

    def test_limit(self) -> None:
        receiver = self.receiver()
        self.assertIsNone(receiver.write(b"x" * (MEMORY - len(HEAD))))
        self.assertEqual([], self.files("tmp"))
        self.assertIsNone(self.successResultOf(receiver.write(b"x")))
        [name] = self.files("tmp")
        self.assertEqual(MEMORY + 1, os.stat(os.path.join(self.path, "tmp", name)).st_size)
        self.assertIsNone(receiver.write(b"x" * MEMORY))
        self.successResultOf(receiver.finish())

    def test_small_chunks(self) -> None:
        """
        They take no more memory than their octets.
        """
        receiver = self.receiver()
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        for number in range(1000):
            receiver.write(bytes((number & 0xFF, number >> 8)))
        self.assertLess(tracemalloc.get_traced_memory()[0], 30_000)

    def test_back_pressure(self) -> None:
        threads = Threads()
        receiver = self.receiver(self.make(threads.run))
        for _ in range(2):
            waiting = receiver.write(BIG + BIG)
            self.assertNoResult(waiting)
            threads.step()
            self.successResultOf(waiting)

    def test_one_thread_at_a_time(self) -> None:
        """
        Also for a caller that does not wait.
        """
        threads = Threads()
        receiver = self.receiver(self.make(threads.run))
        results = [receiver.write(BIG), receiver.write(BIG), receiver.write(b"x")]
        done = receiver.finish()
        for _ in range(3):
            self.assertEqual(1, len(threads.jobs))
            self.assertNoResult(done)
            threads.step()
        self.successResultOf(done)
        self.assertIsNone(results.pop())
        self.assertEqual([HEAD + BIG + BIG + b"x"], self.messages())


class AbortTests(MaildirCase):
    """
    A message that is given up leaves nothing behind, neither a file nor a descriptor.
    """

    def setUp(self) -> None:
        super().setUp()
        self.threads = Threads()
        self.message = self.receiver(self.make(self.threads.run))
        self.disk = Disk(self, self.path)

    def assert_gone(self) -> None:
        self.assertEqual([], self.threads.jobs)
        self.assertEqual({}, self.disk.open)
        self.assert_empty()

    def test_small(self) -> None:
        """
        What was in memory only needs no thread.
        """
        self.message.write(BODY)
        self.assertIsNone(self.message.abort("connection lost"))
        self.assertEqual([], self.disk.calls)
        self.assert_gone()

    def test_large(self) -> None:
        waiting = self.message.write(BIG)
        self.threads.step()
        self.successResultOf(waiting)
        self.assertEqual(1, len(self.files("tmp")))
        self.assertIsNone(self.message.write(b"more"))
        done = self.message.abort("connection lost")
        self.assertNoResult(done)
        self.threads.step()
        self.assertIsNone(self.successResultOf(done))
        self.assert_gone()

    def test_during_write(self) -> None:
        """
        A write that is going on is waited for.
        """
        waiting = self.message.write(BIG)
        aborting: list[Deferred[None]] = []
        self.disk.before(
            "write tmp/file", lambda: aborting.append(self.message.abort("connection lost"))
        )
        self.threads.step()
        self.successResultOf(waiting)
        self.assertNoResult(aborting[0])
        self.assertEqual(1, len(self.files("tmp")))
        self.threads.step()
        self.successResultOf(aborting[0])
        self.assert_gone()

    def test_before_write_has_begun(self) -> None:
        """
        A write that waits for a thread does not even make the file.
        """
        waiting = self.message.write(BIG)
        aborting = self.message.abort("connection lost")
        self.threads.step()
        self.assert_refused(waiting, FAILED)
        self.threads.step()
        self.successResultOf(aborting)
        self.assertEqual([], self.disk.calls)
        self.assert_gone()

    def test_cancelled_write(self) -> None:
        """
        What a lost connection does: it cancels the step, then aborts the message.
        """
        waiting = self.message.write(BIG)
        self.disk.before("write tmp/file", waiting.cancel)
        self.threads.step()
        self.failureResultOf(waiting, CancelledError)
        aborting = self.message.abort("connection lost")
        self.threads.step()
        self.successResultOf(aborting)
        self.assert_gone()

    def test_cancelled_abort(self) -> None:
        """
        A caller that does not wait for the end of it changes nothing.
        """
        self.message.write(BIG)
        self.threads.step()
        aborting = self.message.abort("connection lost")
        aborting.cancel()
        self.failureResultOf(aborting, CancelledError)
        self.threads.step()
        self.assert_gone()

    def test_after_failure(self) -> None:
        self.disk.fail("write tmp/file", errno.ENOSPC)
        waiting = self.message.write(BIG)
        self.threads.step()
        self.assert_refused(waiting, NOT_STORED)
        self.assert_gone()
        aborting = self.message.abort("refused")
        self.threads.step()
        self.successResultOf(aborting)
        self.assert_gone()

    def test_disk_will_not_even_forget(self) -> None:
        """
        What cannot be removed is left to the readers, and nobody is troubled.
        """
        self.message.write(BIG)
        self.threads.step()
        self.disk.fail("close tmp/file", errno.EIO)
        self.disk.fail("unlink tmp/file", errno.EACCES)
        aborting = self.message.abort("connection lost")
        self.threads.step()
        self.assertIsNone(self.successResultOf(aborting))
        self.assertEqual({}, self.disk.open)
        self.assertEqual(1, len(self.files("tmp")))
        self.assertEqual([], self.files("new"))


class CancelTests(MaildirCase):
    """
    A delivery that nobody waits for any more, because the hook took too long.
    """

    def setUp(self) -> None:
        super().setUp()
        self.threads = Threads()
        self.message = self.receiver(self.make(self.threads.run))
        self.disk = Disk(self, self.path)
        self.message.write(BODY)
        self.done = self.message.finish()

    def end(self) -> None:
        self.threads.step()
        self.failureResultOf(self.done, CancelledError)
        self.assertEqual({}, self.disk.open)
        self.assertEqual([], self.files("tmp"))

    def test_before_it_began(self) -> None:
        self.done.cancel()
        self.end()
        self.assertEqual([], self.disk.calls)
        self.assert_empty()

    def test_before_rename(self) -> None:
        """
        The message is not delivered: the client was told to try again.
        """
        self.disk.before("fsync tmp/file", self.done.cancel)
        self.end()
        self.assertNotIn("rename tmp/file", self.disk.calls)
        self.assert_empty()

    def test_at_rename(self) -> None:
        """
        It is too late: the message is delivered, and the client's second try a duplicate.
        """
        self.disk.before("rename tmp/file", self.done.cancel)
        self.end()
        self.assertEqual([HEAD + BODY], self.messages())

    def test_failure_is_still_logged(self) -> None:
        self.disk.fail("fsync tmp/file", errno.EIO)
        self.disk.before("fsync tmp/file", self.done.cancel)
        self.end()
        self.assertEqual(1, len(self.complaints()))
        self.assert_empty()


class FailureTests(MaildirCase):
    """
    A disk that fails: the client hears that it may try again, and nothing is left behind.
    """

    CALLS = (
        "open tmp/file",
        "write tmp/file",
        "fsync tmp/file",
        "close tmp/file",
        "rename tmp/file",
        "open new",
        "fsync new",
        "close new",
    )

    def fails(self, call: str, error: int, reply: str, body: bytes = BODY) -> None:
        self.setUp()
        disk = Disk(self, self.path)
        disk.fail(call, error)
        receiver = self.receiver()
        done = receiver.write(body)
        if call not in disk.calls:
            done = receiver.finish()
        self.assert_refused(done, reply)
        self.assertIn(call, disk.calls)
        self.assertEqual({}, disk.open)
        self.assert_empty()
        self.assertEqual(1, len(self.complaints()))

    def test_full(self) -> None:
        for call in self.CALLS:
            for error in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
                self.fails(call, error, NOT_STORED)
                self.fails(call, error, NOT_STORED, BIG)

    def test_everything_else(self) -> None:
        for call in self.CALLS:
            for error in (errno.EACCES, errno.EIO, errno.EROFS, errno.ENOENT):
                self.fails(call, error, FAILED)
                self.fails(call, error, FAILED, BIG)

    def test_missing_directory(self) -> None:
        os.rmdir(os.path.join(self.path, "new"))
        self.assert_refused(self.receiver().finish(), FAILED)
        self.assertEqual([], self.files("tmp"))
        os.rmdir(os.path.join(self.path, "tmp"))
        self.assert_refused(self.receiver().finish(), FAILED)
        self.assertEqual(2, len(self.complaints()))

    def test_recovers(self) -> None:
        """
        The next message is a new chance.
        """
        disk = Disk(self, self.path)
        disk.fail("write tmp/file", errno.ENOSPC)
        self.assert_refused(self.receiver().finish(), NOT_STORED)
        disk.errors.clear()
        self.deliver(BODY)
        self.assertEqual([HEAD + BODY], self.messages())

    def test_nothing_after_a_failure(self) -> None:
        """
        A caller that goes on after a refusal cannot get half a message delivered.
        """
        disk = Disk(self, self.path)
        disk.fail("write tmp/file", errno.ENOSPC)
        receiver = self.receiver()
        self.assert_refused(receiver.write(BIG), NOT_STORED)
        disk.errors.clear()
        self.assert_refused(receiver.write(BIG), FAILED)
        self.assert_refused(receiver.finish(), FAILED)
        self.assert_empty()
        self.assertEqual(1, len(self.complaints()))

    def test_fault_of_ours(self) -> None:
        """
        An exception that is no system error is treated alike.
        """

        def run(job: Callable[..., Any], *arguments: object) -> Deferred[Any]:
            raise RuntimeError("no threads left")

        self.assert_refused(self.receiver(self.make(run)).finish(), FAILED)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_log(self) -> None:
        """
        Who runs the server learns all of it.
        """
        Disk(self, self.path).fail("fsync new", errno.EIO)
        with capturedLogs() as events:
            self.assert_refused(self.receiver().finish(), FAILED)
        [event] = events
        self.assertEqual((self.path, errno.EIO), (event["path"], event["errno"]))
        self.assertEqual("a secret", event["reason"])


class PrepareTests(SynchronousTestCase):
    """
    What is made and checked when the service starts.
    """

    def setUp(self) -> None:
        self.parent = os.path.abspath(self.mktemp())
        os.mkdir(self.parent)
        self.path = os.path.join(self.parent, "Mail", "dir")

    def prepare(self) -> None:
        Maildir(self.path).prepare()

    def fails(self, reason: str) -> None:
        error = self.assertRaises(HandlerError, self.prepare)
        self.assertEqual(f"maildir {self.path}: cannot be written: {reason}", str(error))

    def test_makes(self) -> None:
        """
        All that is missing is made for our user only, whatever the umask.
        """
        self.addCleanup(os.umask, os.umask(0))
        for umask in (0, 0o777):
            os.umask(umask)
            self.path = os.path.join(self.parent, str(umask), "dir")
            self.prepare()
            for name in ("..", ".", "tmp", "new", "cur"):
                mode = os.stat(os.path.join(self.path, name)).st_mode
                self.assertEqual(0o700, stat.S_IMODE(mode))
            self.assertEqual(["cur", "new", "tmp"], sorted(os.listdir(self.path)))

    def test_survives_power_failure(self) -> None:
        """
        A directory that was made is entered into the one above it for good.
        """
        disk = Disk(self, self.parent)
        self.path = os.path.join(self.parent, "dir")
        self.prepare()
        self.assertEqual(
            ["mkdir dir", "open .", "fsync .", "close .", "mkdir dir/file", "open dir"],
            disk.calls[:6],
        )

    def test_leaves_nothing(self) -> None:
        self.prepare()
        for name in ("tmp", "new", "cur"):
            self.assertEqual([], os.listdir(os.path.join(self.path, name)))

    def test_probe_is_hidden(self) -> None:
        """
        No reader takes what is tried at the start for mail.
        """
        names: list[str] = []
        real = os.rename

        def rename(source: str, target: str) -> None:
            names.append(os.path.basename(target))
            real(source, target)

        self.patch(os, "rename", rename)
        self.prepare()
        [name] = names
        self.assertTrue(name.startswith("."))

    def test_keeps(self) -> None:
        """
        What is there stays as it is: modes, mail, and old files in tmp/, which readers clean up.
        """
        self.prepare()
        os.chmod(self.path, 0o750)
        old = os.path.join(self.path, "tmp", "old")
        with open(old, "wb"):
            pass
        self.prepare()
        self.assertEqual(0o750, stat.S_IMODE(os.stat(self.path).st_mode))
        self.assertTrue(os.path.exists(old))

    def test_made_by_another(self) -> None:
        """
        Two processes may start at the same time.
        """
        real = os.mkdir

        def mkdir(path: str, mode: int) -> None:
            real(path, mode)
            real(path, mode)

        self.patch(os, "mkdir", mkdir)
        self.prepare()

    def test_in_a_file(self) -> None:
        with open(os.path.join(self.parent, "Mail"), "wb"):
            pass
        self.fails("Not a directory")

    def test_is_a_file(self) -> None:
        self.path = os.path.join(self.parent, "file")
        with open(self.path, "wb"):
            pass
        self.fails("Not a directory")

    def test_no_permission(self) -> None:
        """
        Each step is tried, so that the first message is no surprise.
        """
        for call in ("open tmp/file", "rename tmp/file", "open new", "fsync new"):
            self.path = os.path.join(self.parent, call.replace("/", "-"))
            self.prepare()
            disk = Disk(self, self.path)
            disk.fail(call, errno.EACCES)
            self.fails("a secret")
            self.assertEqual({}, disk.open)
            self.assertEqual([], os.listdir(os.path.join(self.path, "tmp")))

    def test_may_not_make(self) -> None:
        def mkdir(path: str, mode: int) -> None:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)

        self.patch(os, "mkdir", mkdir)
        self.fails("Permission denied")

    def test_without_reason(self) -> None:
        def mkdir(path: str, mode: int) -> None:
            raise PermissionError

        self.patch(os, "mkdir", mkdir)
        self.fails("PermissionError")


class FromSpecTests(SynchronousTestCase):
    """
    ``--handler maildir:DIR``.
    """

    def test_directory(self) -> None:
        self.assertEqual("/var/mail/a:b", Maildir.from_spec("/var/mail/a:b").path)

    def test_relative(self) -> None:
        """
        It is what the user saw who typed it, wherever the daemon goes.
        """
        self.assertEqual(os.path.join(os.getcwd(), "Maildir"), Maildir.from_spec("Maildir").path)

    def test_tilde(self) -> None:
        self.patch(os, "environ", {**os.environ, "HOME": "/home/a"})
        self.assertEqual("/home/a/Maildir", Maildir.from_spec("~/Maildir").path)

    def test_missing(self) -> None:
        for argument in (None, ""):
            error = self.assertRaises(ValueError, Maildir.from_spec, argument)
            self.assertEqual("maildir wants a directory: maildir:DIR", str(error))


class ReactorTests(TestCase):
    """
    Without a function that runs things in threads, the session's reactor has some.
    """

    async def test_threads(self) -> None:
        from twisted.internet import reactor

        maildir = Maildir(self.mktemp())
        maildir.prepare()
        receiver: Any = maildir.open_content(Server(), Session(reactor=reactor), Envelope())
        await receiver.write(BIG)
        self.assertIsNone(await receiver.finish())
        box = mailbox.Maildir(maildir.path, factory=None, create=False)
        [key] = box.keys()
        self.assertTrue(box.get_bytes(key).endswith(b"\r\n" + BIG))
