"""
Delivery into an mbox file (RFC 4155), in the mboxrd variety: a line of the message that begins with
``From ``, with any number of ``>`` before it, gets one more, so that nothing is lost.

The file is locked twice, as other mail programs do: with a file of the same name and ``.lock``,
and with fcntl.  It is fsynced before the client hears 250; what fails is cut off again.  All of
this may block, so it happens in a thread.
"""

from __future__ import annotations

import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, Any

from twisted.internet.defer import Deferred
from twisted.internet.threads import deferToThreadPool
from zope.interface import implementer

from ..core.replies import Reply
from ..core.session import Envelope, Session
from ..interfaces import IContentHook, Verdict
from .base import HandlerError
from .spool import Spool, local_time

#: Seconds that a delivery waits for a lock.
PATIENCE = 30
#: Seconds after which a lock file is one that somebody has left behind.
STALE = 300

_LOCKED = Reply(451, "4.2.0", ("Mailbox is locked, try again later",))
_FROM = re.compile(rb">*From ")
#: Octets of a line that are held in memory.
PIECE = 2**16


class Locked(Exception):
    """
    Somebody else has locked the mailbox for too long.
    """


@contextmanager
def _lock_file(path: str, deadline: float) -> Iterator[None]:
    """
    Hold ``path.lock``.

    :raise Locked: if somebody else has it.
    """
    lock = f"{path}.lock"
    while True:
        try:
            os.close(os.open(lock, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
            break
        except FileExistsError:
            with suppress(FileNotFoundError):
                if time.time() - os.stat(lock).st_mtime > STALE:
                    os.unlink(lock)
                    continue
        _wait(deadline)
    try:
        yield
    finally:
        with suppress(FileNotFoundError):
            os.unlink(lock)


def _lock_range(fd: int, deadline: float) -> None:
    while True:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except (BlockingIOError, PermissionError):
            _wait(deadline)


def _wait(deadline: float) -> None:
    if time.monotonic() > deadline:
        raise Locked
    time.sleep(0.05)


def append(path: str, head: bytes, file: IO[bytes], given_up: Callable[[], bool]) -> None:
    """
    Append one message, and make it safe.

    :param head: the line that begins it.
    :param given_up: says whether nobody waits for it any more.
    :raise Locked: if somebody else has locked it.
    :raise OSError: if it cannot be written; it is as it was then.
    """
    deadline = time.monotonic() + PATIENCE
    with _lock_file(path, deadline), open(path, "ab", opener=_private) as mbox:
        _lock_range(mbox.fileno(), deadline)
        if given_up():
            return
        size = os.fstat(mbox.fileno()).st_size
        try:
            _copy(head, file, mbox)
            mbox.flush()
            os.fsync(mbox.fileno())
        except BaseException:
            # What is still in the buffer must not follow when the file is closed.
            with suppress(OSError):
                mbox.flush()
            os.truncate(path, size)
            raise


def _private(path: str, flags: int) -> int:
    return os.open(path, flags, 0o600)


def _copy(head: bytes, file: IO[bytes], mbox: IO[bytes]) -> None:
    mbox.write(head)
    begins = True
    # A line may be longer than what should be held in memory.
    while piece := file.readline(PIECE):
        if begins and _FROM.match(piece):
            mbox.write(b">")
        begins = piece.endswith(b"\n")
        mbox.write(piece.removesuffix(b"\r\n") + b"\n" if piece.endswith(b"\r\n") else piece)
    # An empty line ends a message.
    mbox.write(b"\n" if begins else b"\n\n")


class _Message(Spool):
    """
    A message for the mailbox.
    """

    def __init__(self, mbox: Mbox, server: Any, session: Session, envelope: Envelope) -> None:
        self._when = local_time()
        super().__init__(server, session, envelope, self._when)
        self._mbox = mbox

    def deliver(self, file: IO[bytes]) -> Deferred[Verdict]:
        sender = re.sub(r"\s", "_", self.envelope.mail_from or "MAILER-DAEMON")
        date = self._when.astimezone().strftime("%a %b %e %H:%M:%S %Y")
        head = f"From {sender} {date}\n".encode("utf-8", "replace")
        given_up: list[bool] = []
        reactor = self.session.reactor
        done = self._mbox.run(reactor, append, self._mbox.path, head, file, lambda: bool(given_up))
        waiting: Deferred[Verdict] = Deferred(lambda _: given_up.append(True))
        done.addBoth(self._ended, file)
        done.addBoth(lambda result: None if waiting.called else waiting.callback(result))
        return waiting

    def _ended(self, result: Any, file: IO[bytes]) -> Verdict:
        file.close()
        error = getattr(result, "value", None)
        if error is None:
            return None
        if isinstance(error, Locked):
            return _LOCKED
        if isinstance(error, OSError):
            return self._complain(error)
        raise error


@implementer(IContentHook)
class Mbox:
    """
    Delivers every message into one mbox file.

    :param path: the file, which is made if it is missing.
    :param run: calls a function in a thread, given the reactor first, and returns a Deferred.
    """

    def __init__(
        self, path: str | os.PathLike[str], run: Callable[..., Deferred[Any]] | None = None
    ) -> None:
        # A daemon goes elsewhere.
        self.path = os.path.abspath(path)
        self.run = run or _in_thread

    @classmethod
    def from_spec(cls, argument: str | None) -> Mbox:
        """
        Make it of ``mbox:PATH``.
        """
        if not argument:
            raise ValueError("mbox wants a file: mbox:PATH")
        # No shell expands a tilde behind a colon.
        return cls(os.path.expanduser(argument))

    def prepare(self) -> None:
        """
        :raise HandlerError: if a message could not be delivered.
        """
        try:
            with _lock_file(self.path, time.monotonic()), open(self.path, "ab", opener=_private):
                pass
        except Locked:
            # By a program that reads it just now.
            pass
        except OSError as error:
            raise HandlerError(f"mbox {self.path}: cannot be written: {error.strerror}") from error

    def open_content(self, server: Any, session: Session, envelope: Envelope) -> _Message:
        return _Message(self, server, session, envelope)


def _in_thread(reactor: Any, job: Callable[..., Any], *arguments: Any) -> Deferred[Any]:
    return deferToThreadPool(reactor, reactor.getThreadPool(), job, *arguments)
