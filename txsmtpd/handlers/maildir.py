"""
Delivery into a Maildir, so that a message which was acknowledged survives a power failure.

A file is written in ``tmp/`` and fsynced, renamed into ``new/``, and then ``new/`` is fsynced; only
after that does the client hear 250.  A reader, which looks in ``new/`` and ``cur/`` only, never
sees half a file.  When anything fails, and when the message is given up, the file is removed.

All of this may block, so it happens in threads.  A small message is kept in memory and costs one
visit to a thread; a larger one goes to its file as it comes, and the client waits for the disk.  A
message is used by one thread at a time.

What was begun in a thread cannot be stopped.  If nobody waits for a delivery any more, because the
hook took too long, the thread looks once more before the rename and then removes the message
instead.  If it was past that point the message is delivered, although the client was told to try
again: a duplicate is the lesser evil (RFC 5321 section 6.1, RFC 1047).  For the same reason a
message whose rename succeeded and whose directory could not be fsynced is removed again, but may
have been read by then.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterable
from contextlib import suppress
from datetime import datetime
from itertools import count
from typing import Any, NoReturn

import attrs
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core import trace
from ..core.replies import Rejected
from ..core.session import Envelope, Session
from ..interfaces import IContentHook, IContentReceiver
from .base import HandlerError, local_time, runner, shielded
from .disk import MEMORY, Forgotten, make_directory, refusal_of, sync_together, write_all

# Python adds O_CLOEXEC.
_CREATE = os.O_CREAT | os.O_EXCL | os.O_WRONLY

# One for the process: two handlers may share a directory.
_deliveries = count(1)


def unique_name(when: datetime) -> str:
    """
    A file name that no other delivery has, on any machine that shares the directory
    (https://cr.yp.to/proto/maildir.html).
    """
    # The last two are what that page says; a name that begins with a dot is hidden from readers.
    host = socket.gethostname().replace("/", "\\057").replace(":", "\\072")
    unique = f"M{when.microsecond}P{os.getpid()}Q{next(_deliveries)}"
    return f"{int(when.timestamp())}.{unique}.{host}"


def make_maildir(path: str) -> None:
    """
    Make what is missing of a Maildir, for this user only.
    """
    for name in ("tmp", "new", "cur"):
        make_directory(os.path.join(path, name))


@attrs.define(eq=False)
class Storage:
    """
    Where a message is put.
    """

    directory: str
    name: str
    #: Whether to give it up: any thread may set this at any time.
    forgotten: bool = attrs.field(default=False, init=False)

    def forget(self) -> None:
        self.forgotten = True


@attrs.define(eq=False)
class MessageFile(Storage):
    """
    One message on its way through ``tmp/`` into ``new/``.

    Every method blocks, and after one that failed nothing is left on disk.
    """

    _fd: int | None = attrs.field(default=None, init=False)
    #: Where the file is, once it is ours.
    _path: str | None = attrs.field(default=None, init=False)

    def append(self, chunks: Iterable[bytes]) -> None:
        """
        Write some more of the message.
        """
        try:
            self._append(b"".join(chunks))
        except BaseException:
            self.discard()
            raise

    def deliver(self, chunks: Iterable[bytes]) -> None:
        """
        Write the rest of the message and make it safe in ``new/``.
        """
        try:
            self.secure(chunks)
            self.publish()
            self.settle()
        except BaseException:
            self.discard()
            raise

    # The three steps of a delivery.  Who takes them one by one calls `discard` if one fails.

    def secure(self, chunks: Iterable[bytes]) -> None:
        """
        Write the rest of the message, and have it on disk.
        """
        fd = self._open()
        for chunk in chunks:
            self._append(chunk)
        os.fsync(fd)
        # Some file systems say only now that the disk is full.
        self._close()

    def publish(self) -> None:
        """
        Let readers see it.
        """
        if self.forgotten:
            raise Forgotten
        target = os.path.join(self.directory, "new", self.name)
        os.rename(os.path.join(self.directory, "tmp", self.name), target)
        self._path = target

    def settle(self) -> None:
        """
        Have on disk that they do.
        """
        sync_together(os.path.join(self.directory, "new"))

    def discard(self) -> None:
        """
        Give the message up and leave nothing behind.
        """
        self.forget()
        # Nothing can be done if these fail, and readers remove what stays in tmp/ for 36 hours.
        with suppress(OSError):
            self._close()
        if self._path is not None:
            with suppress(OSError):
                os.unlink(self._path)

    def _append(self, data: bytes) -> None:
        write_all(self._open(), data)

    def _open(self) -> int:
        if self.forgotten:
            raise Forgotten
        if self._fd is None:
            path = os.path.join(self.directory, "tmp", self.name)
            self._fd = os.open(path, _CREATE, 0o600)
            self._path = path
        return self._fd

    def _close(self) -> None:
        fd, self._fd = self._fd, None
        if fd is not None:
            os.close(fd)


@implementer(IContentReceiver)
class MaildirMessage:
    """
    Takes the content of one message.

    :param file: a :class:`Storage` that can `append`, `deliver` and `discard`.
    :param head: what stands before the content.
    :param run: calls a function in a thread.
    :param transaction: what the log calls it.
    """

    log = Logger()

    def __init__(
        self,
        file: Any,
        head: bytes,
        run: Callable[..., Deferred[Any]],
        transaction: str = "",
    ) -> None:
        self._file = file
        self._transaction = transaction
        self._run = run
        self._turn = DeferredLock()
        # Not a list of chunks: a client may send some of two octets, which take up twenty-eight
        # times as much.
        self._held = bytearray(head)
        self._on_disk = False
        self._finished = False

    def write(self, chunk: bytes) -> Deferred[None] | None:
        self._held += chunk
        if len(self._held) <= MEMORY:
            return None
        self._on_disk = True
        return self._in_thread(self._file, self._file.append, [self._take()])

    def finish(self) -> Any:
        self._finished = True
        return self._in_thread(self._file, self._file.deliver, [self._take()])

    def abort(self, reason: str) -> Deferred[None] | None:
        # After finish it is too late: the message may be somebody's.
        if self._finished:
            return None
        self._file.forget()
        self._take()
        return self._in_thread(self._file, self._file.discard) if self._on_disk else None

    def _take(self) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        return held

    def _in_thread(
        self, file: Storage, job: Callable[..., None], *arguments: object
    ) -> Deferred[None]:
        """
        Run a job when those before it have ended.

        :param file: what it is about: to cancel what this returns gives that up.
        """
        done: Deferred[None] = self._turn.run(self._run, job, *arguments)
        done.addErrback(self._refuse, file)
        return shielded(done, file.forget)

    def _refuse(self, failure: Failure, file: Storage) -> NoReturn:
        error = failure.value
        said = "message {transaction} cannot be delivered into maildir {path}"
        facts: dict[str, Any] = {
            "event": "delivery",
            "transaction": self._transaction,
            "name": file.name,
            "path": file.directory,
        }
        if isinstance(error, OSError):
            # A full disk is no defect, and its log may be on it: no traceback for each message.
            facts.update(reason=error.strerror, errno=error.errno)
            self.log.error(said + ": {reason}", **facts)
        elif not isinstance(error, Forgotten):
            self.log.failure(said, failure, **facts)
        raise Rejected(refusal_of(error))


def unwritable(path: str, error: OSError) -> HandlerError:
    """
    What is said to whoever starts the server.
    """
    reason = error.strerror or type(error).__name__
    return HandlerError(f"maildir {path}: cannot be written: {reason}")


@implementer(IContentHook)
class Maildir:
    """
    Delivers every message into one Maildir, its content byte for byte behind the headers
    Return-Path, Delivered-To for each recipient, and Received.

    :param path: the directory; :meth:`prepare` makes it.
    :param run: calls a function in a thread and returns a Deferred for what comes of it.  The
        default is the thread pool of the session's reactor.
    :param now: the time, with its zone.
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        run: Callable[..., Deferred[Any]] | None = None,
        now: Callable[[], datetime] = local_time,
    ) -> None:
        # twistd changes its directory between reading its options and starting its services.
        self.path = os.path.abspath(path)
        self._run = run
        self._now = now

    @classmethod
    def from_spec(cls, argument: str | None) -> Maildir:
        """
        Make it of ``maildir:DIR``.
        """
        if not argument:
            raise ValueError("maildir wants a directory: maildir:DIR")
        # No shell expands a tilde behind a colon.
        return cls(os.path.expanduser(argument))

    def prepare(self) -> None:
        """
        Make what is missing of the Maildir, for this user only, and try a delivery.

        :raise HandlerError: if a message could not be delivered.
        """
        try:
            make_maildir(self.path)
            self._try_delivery()
        except OSError as error:
            raise unwritable(self.path, error) from error

    def _try_delivery(self) -> None:
        # Readers pass over a name that begins with a dot.
        probe = MessageFile(self.path, f".{unique_name(self._now())}")
        probe.deliver([b""])
        probe.discard()

    def open_content(self, server: Any, session: Session, envelope: Envelope) -> MaildirMessage:
        when = self._now()
        head = [
            trace.return_path(envelope),
            *map(trace.delivered_to, envelope.rcpt_tos),
            trace.received(session, envelope, server.hostname, when),
        ]
        file = MessageFile(self.path, unique_name(when))
        run = self._run or runner(session.reactor)
        return MaildirMessage(file, b"".join(head), run, envelope.id)
