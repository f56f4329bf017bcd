"""
Delivery into an mbox file (RFC 4155), in the variety that is called mboxrd: a line of the message
that begins with ``From ``, with any number of ``>`` before that, gets one ``>`` more, so that
nothing is lost.

Lines end as Unix programs have it, but those of binary content stay as they are.

Other mail programs lock the file in one of two ways: with a file of the same name and ``.lock``, or
with fcntl.  A delivery takes both locks or, if one is not to be had, neither, and tries again a
moment later: who keeps one and waits for the other may wait for somebody who does the opposite.

The file, and the directory if the file is new, is fsynced before the client hears 250.  When
anything fails, and when the message is given up, the file is cut off where it ended before.  All
of this may block, so it happens in a thread, in one at a time for each :class:`Mbox`.

The file may be in a directory where others can make files, such as ``/var/mail``: so it must not be
a symbolic link, nor have another name, nor be anything but a regular file.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import stat
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import IO, Any, ClassVar

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core import trace
from ..core.replies import CONTROLS, LOCAL_ERROR, Reply
from ..core.session import Envelope, Session
from ..interfaces import IContentHook, Verdict
from .base import HandlerError, shielded
from .disk import Forgotten, sync_directory, write_all
from .spool import Spool

#: Seconds after which a message that waits for the locks is refused.
PATIENCE = 30
#: Seconds after which it is tried again to get them.
AGAIN = 0.1
#: Seconds after which a lock file is one that somebody has left behind.
STALE = 300
#: Octets that are copied at once.
PIECE = 2**16

LOCKED = Reply(451, "4.2.0", ("Mailbox is locked, try again later",))

_OPEN = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
_LOCK = os.O_CREAT | os.O_EXCL | os.O_WRONLY

_FROM = re.compile(rb">*From ")
_LINE_FROM = re.compile(rb"\n(?=>*From )")
_NO_WORD = re.compile(rf"\s|{CONTROLS.pattern}")


class Locked(Exception):
    """
    Somebody else has locked the mailbox for too long.
    """


class Quoter:
    """
    Makes lines that look like the beginning of a message look otherwise.
    """

    def __init__(self) -> None:
        # Whether what comes next begins a line, or follows nothing but ">" in it.
        self._begins = True
        #: What may become a "From ", until it is known what follows.
        self.rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """
        :return: as much of what has come as can be told, quoted.
        """
        text = self.rest + chunk
        quote = self._begins and _FROM.match(text) is not None
        line = text.rfind(b"\n") + 1
        begin = text[line:].lstrip(b">")
        self._begins = (line > 0 or self._begins) and b"From".startswith(begin)
        self.rest = begin if self._begins else b""
        text = text[: len(text) - len(self.rest)]
        if b"From " in text:
            text = _LINE_FROM.sub(b"\n>", text)
        return b">" + text if quote else text


def from_line(sender: str, when: datetime) -> bytes:
    """
    The line that begins a message.

    :param sender: the reverse-path, ``""`` for the null sender.
    """
    # Not strftime, which says it in the words of a locale.
    date = time.asctime(when.utctimetuple())
    name = _NO_WORD.sub("_", sender) or "MAILER-DAEMON"
    return f"From {name} {date}\n".encode("utf-8", "replace")


def _make_lock_file(path: str) -> int | None:
    """
    :return: the file, open, or None if there is one of somebody else's.
    """
    try:
        return os.open(path, _LOCK, 0o644)
    except FileExistsError:
        # If two do this at the same time, one may remove what the other has made just then: there
        # is the second lock.
        with suppress(FileNotFoundError):
            if time.time() - os.lstat(path).st_mtime > STALE:
                os.unlink(path)
        return None


def _remove_lock_file(fd: int, path: str) -> None:
    try:
        # Somebody who took ours for one that was left behind may have made another.  That has not
        # got the number of ours, which is open.
        ours = os.path.samestat(os.fstat(fd), os.lstat(path))
    finally:
        os.close(fd)
    if ours:
        os.unlink(path)


def _open(path: str) -> int:
    """
    :raise OSError: also for what is no mailbox.
    """
    try:
        fd = os.open(path, _OPEN, 0o600)
    except OSError as error:
        if error.errno == errno.ELOOP:
            error.strerror = "it is a symbolic link"
        raise
    status = os.fstat(fd)
    problem = ""
    if not stat.S_ISREG(status.st_mode):
        problem = "it is not a regular file"
    elif status.st_nlink > 1:
        problem = "it has more than one name"
    if problem:
        os.close(fd)
        raise OSError(errno.EINVAL, problem, path)
    return fd


def _lock(fd: int, path: str) -> bool:
    try:
        fcntl.lockf(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    try:
        # Some programs put a new file in the place of the old one, and may keep that.
        return os.path.samestat(os.fstat(fd), os.lstat(path))
    except FileNotFoundError:
        return False


@contextmanager
def _lock_file(path: str) -> Iterator[bool]:
    """
    Have a file of this name, unless somebody else has.
    """
    fd = _make_lock_file(path)
    try:
        yield fd is not None
    finally:
        if fd is not None:
            # The message is delivered or it is not: this changes nothing.
            with suppress(OSError):
                _remove_lock_file(fd, path)


@contextmanager
def _locked(path: str) -> Iterator[int | None]:
    """
    Open the file and have both locks, or None if somebody else has one.
    """
    with _lock_file(f"{path}.lock") as ours:
        if not ours:
            yield None
            return
        fd = _open(path)
        try:
            yield fd if _lock(fd, path) else None
        finally:
            # What was fsynced is safe, whatever this says.
            with suppress(OSError):
                os.close(fd)


@attrs.define(eq=False)
class Delivery:
    """
    One message on its way into the file.
    """

    path: str
    #: The line that begins it.
    head: bytes
    #: The rest.
    file: IO[bytes]
    #: When there is no more waiting for locks, by the monotonic clock.
    deadline: float
    #: Whether to give it up: any thread may set this at any time.
    forgotten: bool = attrs.field(default=False, init=False)

    def append(self) -> None:
        """
        Append the message, and make it safe.

        :raise Locked: if somebody else has locked the file all the time.
        :raise Forgotten: if it was given up; the file is as it was then.
        :raise OSError: if it cannot be written, likewise.
        """
        while True:
            self._look_whether_forgotten()
            with _locked(self.path) as fd:
                if fd is not None:
                    self._append(fd)
                    return
            if time.monotonic() >= self.deadline:
                raise Locked
            time.sleep(AGAIN)

    def forget(self) -> None:
        """
        Give it up, if it is not too late.
        """
        self.forgotten = True

    def _look_whether_forgotten(self) -> None:
        if self.forgotten:
            raise Forgotten

    def _append(self, fd: int) -> None:
        size = os.fstat(fd).st_size
        try:
            write_all(fd, _gap(fd, size))
            for piece in self._pieces():
                write_all(fd, piece)
            os.fsync(fd)
            if not size:
                sync_directory(os.path.dirname(self.path))
            self._look_whether_forgotten()
        except BaseException:
            # If that fails too, half a message stays.
            with suppress(OSError):
                os.ftruncate(fd, size)
            raise

    def _pieces(self) -> Iterator[bytes]:
        yield self.head
        quoter = Quoter()
        last = b""
        while chunk := self.file.read(PIECE):
            piece = quoter.feed(chunk)
            last = piece[-1:] or last
            yield piece
        yield quoter.rest
        last = quoter.rest[-1:] or last
        # An empty line ends a message.
        yield b"\n" if last == b"\n" else b"\n\n"


def _gap(fd: int, size: int) -> bytes:
    """
    What has to stand before the message: something, if the one before is torn.
    """
    end = os.pread(fd, 2, max(size - 2, 0))
    if not end or end == b"\n\n":
        return b""
    return b"\n" if end.endswith(b"\n") else b"\n\n"


class _Message(Spool):
    """
    A message for the mailbox.
    """

    unix_newlines: ClassVar[bool] = True

    def __init__(self, mbox: Mbox, server: Any, session: Session, envelope: Envelope) -> None:
        super().__init__(server, session, envelope, mbox.run)
        self._mbox = mbox

    def head(self, hostname: str) -> Iterator[bytes]:
        yield trace.return_path(self.envelope)
        yield from map(trace.delivered_to, self.envelope.rcpt_tos)
        yield trace.received(self.session, self.envelope, hostname, self.when)

    def deliver(self, file: IO[bytes]) -> Deferred[Verdict]:
        head = from_line(self.envelope.mail_from or "", self.when)
        deadline = time.monotonic() + self._mbox.patience
        delivery = Delivery(self._mbox.path, head, file, deadline)
        done: Deferred[Verdict] = self._mbox.turn.run(self.run, delivery.append)
        done.addBoth(_closed, file)
        done.addErrback(self._explain)
        return shielded(done, delivery.forget)

    def _explain(self, failure: Failure) -> Verdict:
        path, error = f"mbox {self._mbox.path}", failure.value
        if isinstance(error, OSError):
            return self.failed(path, error)
        if failure.check(Forgotten):
            # Nobody hears this.
            return LOCAL_ERROR
        failure.trap(Locked)
        self.complain(path, "somebody else has locked it")
        return LOCKED


def _closed(result: Any, file: IO[bytes]) -> Any:
    file.close()
    return result


@implementer(IContentHook)
class Mbox:
    """
    Delivers every message into one mbox file, behind the headers Return-Path, Delivered-To for each
    recipient, and Received.

    Under LMTP all recipients have the same verdict.

    :param path: the file, which is made if it is missing.
    :param run: calls a function in a thread and returns a Deferred for what comes of it.  The
        default is the thread pool of the session's reactor.
    :param patience: seconds after which a message is refused because somebody else has locked the
        file.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        run: Callable[..., Deferred[Any]] | None = None,
        patience: float = PATIENCE,
    ) -> None:
        # A daemon goes elsewhere.
        self.path = os.path.abspath(path)
        self.run = run
        self.patience = patience
        #: Whose turn it is.
        self.turn = DeferredLock()

    @classmethod
    def from_spec(cls, argument: str | None) -> Mbox:
        """
        Make it of ``mbox:FILE``.
        """
        if not argument:
            raise ValueError("mbox wants a file: mbox:FILE")
        # No shell expands a tilde behind a colon.
        return cls(os.path.expanduser(argument))

    def prepare(self) -> None:
        """
        Make the file if it is missing.

        :raise HandlerError: if a message could not be delivered.
        """
        try:
            with _locked(self.path) as fd:
                if fd is None:
                    # Somebody uses it just now.
                    os.close(_open(self.path))
                sync_directory(os.path.dirname(self.path))
        except OSError as error:
            reason = error.strerror or type(error).__name__
            sentence = f"mbox {self.path}: cannot be locked and written: {reason}"
            raise HandlerError(sentence) from error

    def open_content(self, server: Any, session: Session, envelope: Envelope) -> _Message:
        return _Message(self, server, session, envelope)
