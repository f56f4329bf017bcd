"""
What the tests of handlers share that want a message whole.
"""

from __future__ import annotations

import io
import os
import tempfile
from collections.abc import Callable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.replies import DELIVERED, Reply
from txsmtpd.core.session import Envelope, Parameters, Recipient, Session
from txsmtpd.handlers import spool

HOSTNAME = "mx.example"
BODY = b"Subject: x\r\n\r\nHello\r\n"


class Server:
    """
    All that a handler wants to know of the protocol.
    """

    hostname = HOSTNAME


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


class Raw(io.FileIO):
    """
    A temporary file that counts how often it is closed.
    """

    closes = 0

    def close(self) -> None:
        self.closes += not self.closed
        super().close()


def recipients(*addresses: str) -> list[Recipient]:
    return [Recipient(address, Parameters(), DELIVERED) for address in addresses]


def make_session(reactor: Any = None, **facts: Any) -> Session:
    usual = {"peer": ("192.0.2.1", 1025), "host_name": "client.example", "reactor": reactor}
    return Session(**{**usual, **facts})


def make_envelope(*addresses: str, **facts: Any) -> Envelope:
    addresses = addresses or ("b@example.com",)
    usual: dict[str, Any] = {
        "id": "abc1",
        "protocol": "ESMTP",
        "mail_from": "a@example.org",
        "rcpt_tos": list(addresses),
        "recipients": recipients(*addresses),
    }
    return Envelope(**{**usual, **facts})


class SpoolCase(SynchronousTestCase):
    """
    Looks after temporary files and the log.
    """

    def setUp(self) -> None:
        self.logged: list[LogEvent] = []
        observer: Any = self.logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.threads = Threads()
        #: The temporary files that were made.
        self.files: list[Raw] = []
        self.patch(tempfile, "TemporaryFile", self._make_file)
        self.addCleanup(self._look_at_files)

    def _make_file(self, buffering: int) -> Raw:
        # This is what gives no file a name.
        self.assertEqual(buffering, 0)
        path = self.mktemp()
        self.files.append(Raw(path, "w+b"))
        os.unlink(path)
        return self.files[-1]

    def _look_at_files(self) -> None:
        """
        Each is closed, and once.
        """
        self.assertEqual([file.closes for file in self.files], [1] * len(self.files))

    def complaints(self) -> list[LogEvent]:
        """
        What was logged of messages that were not delivered: no traceback.
        """
        levels = (LogLevel.warn, LogLevel.error, LogLevel.critical)
        found = [event for event in self.logged if event["log_level"] in levels]
        self.assertEqual([], [event for event in found if "log_failure" in event])
        return found

    def finished(self, receiver: Any) -> Deferred[Any]:
        return Deferred.fromCoroutine(receiver.finish())

    def verdict_of(self, receiver: Any) -> Reply | None:
        """
        The verdict, which is there at once.
        """
        verdict: Reply | None = self.successResultOf(self.finished(receiver))
        return verdict


def fail_writing(case: SynchronousTestCase, error: BaseException) -> None:
    """
    Let no temporary file be written any more.
    """

    def fail(fd: int, data: bytes) -> None:
        raise error

    case.patch(spool, "write_all", fail)
