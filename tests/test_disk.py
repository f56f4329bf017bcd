"""
Tests for :mod:`txsmtpd.handlers.disk`.
"""

from __future__ import annotations

import errno
import os
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.handlers import disk as module
from txsmtpd.handlers.disk import make_directory, sync_together

from .test_maildir import Disk


class SyncTogetherTests(SynchronousTestCase):
    """
    Many threads that have renamed files in one directory.
    """

    def setUp(self) -> None:
        self.path = os.path.abspath(self.mktemp())
        os.mkdir(self.path)
        self.threads = ThreadPoolExecutor(8)
        self.addCleanup(self.threads.shutdown)
        self.syncs = 0
        #: Somebody is having a turn.
        self.busy = threading.Event()
        #: It may end.
        self.proceed = threading.Event()
        self.addCleanup(self.proceed.set)
        self.error: OSError | None = None
        self.patch(os, "fsync", self.fsync)

    def fsync(self, fd: int) -> None:
        self.syncs += 1
        self.busy.set()
        self.assertTrue(self.proceed.wait(10))
        if self.error is not None:
            raise self.error

    def begin(self) -> list[Future[None]]:
        """
        One that is having its turn, and one that waits for the next.
        """
        first = self.threads.submit(sync_together, self.path)
        self.assertTrue(self.busy.wait(10))
        second = self.threads.submit(sync_together, self.path)
        while self.path not in module._next:
            os.sched_yield()
        return [first, second]

    def follow(self, count: int) -> list[Future[None]]:
        """
        Others who wait for that one too.
        """
        over = module._next[self.path].over
        wait, waiting = over.wait, threading.Semaphore(0)

        def announced() -> None:
            waiting.release()
            wait()

        self.patch(over, "wait", announced)
        others = [self.threads.submit(sync_together, self.path) for _ in range(count)]
        for _ in others:
            self.assertTrue(waiting.acquire(timeout=10))
        return others

    def test_one_turn_for_all_who_wait(self) -> None:
        done = self.begin()
        done += self.follow(4)
        self.proceed.set()
        for each in done:
            each.result(10)
        self.assertEqual(2, self.syncs)
        self.assertEqual(({}, {}), (module._current, module._next))

    def test_none_waits_for_nothing(self) -> None:
        self.proceed.set()
        for turn in range(1, 4):
            sync_together(self.path)
            self.assertEqual(turn, self.syncs)

    def test_failed(self) -> None:
        """
        It has failed for all who have waited for it, and for nobody later.
        """
        done = self.begin()
        done += self.follow(1)
        self.error = OSError(errno.ENOSPC, "full")
        self.proceed.set()
        for each in done:
            error = self.assertRaises(OSError, each.result, 10)
            self.assertEqual((errno.ENOSPC, "full"), (error.errno, error.strerror))
        self.error = None
        sync_together(self.path)

    def test_died(self) -> None:
        """
        Nobody is told that it is safe if it was not even an error.
        """
        done = self.begin()
        done += self.follow(1)
        died: Any = SystemExit()
        self.error = died
        self.proceed.set()
        for each in done[:2]:
            self.assertRaises(SystemExit, each.result, 10)
        self.assertEqual(errno.EIO, self.assertRaises(OSError, done[2].result, 10).errno)


class MakeDirectoryTests(SynchronousTestCase):
    """
    Whoever has made a directory, it is on disk before anything is delivered into it.
    """

    SYNC = ("open .", "fsync .", "close .")

    def setUp(self) -> None:
        self.base = os.path.abspath(self.mktemp())
        os.mkdir(self.base)
        self.path = os.path.join(self.base, "dir")
        self.disk = Disk(self, self.base)

    def make(self) -> list[str]:
        """
        What is done to the directory and to the one above it.
        """
        self.disk.calls.clear()
        make_directory(self.path)
        return list(self.disk.calls)

    def test_made(self) -> None:
        self.assertEqual(["mkdir dir", *self.SYNC], self.make())
        self.assertEqual([], self.make())

    def test_made_by_another_process(self) -> None:
        os.mkdir(self.path)
        self.assertEqual([*self.SYNC], self.make())
        self.assertEqual([], self.make())

    def test_another_thread_is_about_to(self) -> None:
        """
        Who finds it made does not wait for who has made it, but fsyncs the directory above too.
        """
        inner: list[list[str]] = []

        def meanwhile() -> None:
            self.disk.before("fsync .", lambda: None)
            inner.append(self.make())

        self.disk.before("fsync .", meanwhile)
        make_directory(self.path)
        self.assertEqual([[*self.SYNC]], inner)

    def test_another_thread_was_faster(self) -> None:
        def faster() -> None:
            self.disk.before("mkdir dir", lambda: None)
            os.mkdir(self.path)

        self.disk.before("mkdir dir", faster)
        self.assertEqual(["mkdir dir", "mkdir dir", *self.SYNC], self.make())

    def test_failed(self) -> None:
        """
        Nobody takes for safe what could not be made so.
        """
        for error in (errno.EIO, errno.EACCES):
            self.disk.fail("fsync .", error)
            self.assertRaises(OSError, make_directory, self.path)
            self.disk.fail("fsync .", errno.EIO)
            self.assertRaises(OSError, make_directory, self.path)
            self.disk.errors.clear()
            self.assertEqual([*self.SYNC], self.make())
            os.rmdir(self.path)

    def test_gone_in_between(self) -> None:
        self.make()
        os.rmdir(self.path)
        self.assertEqual(["mkdir dir", *self.SYNC], self.make())

    def test_not_ours(self) -> None:
        """
        What stands where we may not look was there before us.
        """
        os.mkdir(self.path)
        self.disk.fail("open .", errno.EACCES)
        self.assertEqual(["open ."], self.make())
        self.assertEqual([], self.make())

    def test_not_remembered_for_ever(self) -> None:
        self.patch(module, "_SETTLED_LIMIT", 1)
        self.make()
        make_directory(self.base)
        self.assertEqual([*self.SYNC], self.make())
