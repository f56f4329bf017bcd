"""
A message on its way to something that wants it whole.

What is handed on begins with headers of ours, such as Return-Path and Received (RFC 5321 section
4.4).  A small message is kept in memory.  A larger one goes to a temporary file as it comes, in
threads, and the client waits for the disk.  That file has no name, so nothing is left of it if the
process dies; and until the message is whole, nobody else gets to see any of it.
"""

from __future__ import annotations

import io
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import IO, Any, ClassVar, TypeVar

from twisted.internet.defer import Deferred
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core import trace
from ..core.replies import CONTROLS, Rejected, Reply
from ..core.session import Envelope, Session
from ..interfaces import IContentReceiver, Verdict
from .base import local_time, runner, shielded
from .disk import MEMORY, refusal_of, write_all

T = TypeVar("T")


def clean(text: str) -> str:
    """
    Text of a client's or a hook's, without what would end a line or a string in C, and as UTF-8 has
    it.
    """
    return CONTROLS.sub(" ", text).encode("utf-8", "replace").decode("utf-8")


def client_address(session: Session) -> str:
    """
    The client's IP address, or nothing.
    """
    peer = session.peer
    return clean(str(peer[0])) if isinstance(peer, tuple) and peer else ""


def user_name(session: Session) -> str:
    """
    Who has logged in, or nothing.
    """
    name = session.login_data if session.authenticated else None
    text = name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name or "")
    return clean(text)


class UnixNewlines:
    """
    Makes a newline of CRLF.
    """

    def __init__(self) -> None:
        #: A CR at the end of what came, until it is known what follows.
        self.rest = b""

    def feed(self, chunk: bytes) -> bytes:
        """
        :return: as much of what has come as can be told.
        """
        text = self.rest + chunk
        self.rest = b"\r" if text.endswith(b"\r") else b""
        return text[: len(text) - len(self.rest)].replace(b"\r\n", b"\n")


class _File:
    """
    The temporary file, if there has to be one; one thread at a time uses it.
    """

    def __init__(self) -> None:
        self._raw: IO[bytes] | None = None

    @property
    def begun(self) -> bool:
        return self._raw is not None

    def append(self, content: bytes) -> None:
        if self._raw is None:
            self._raw = tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        write_all(self._raw.fileno(), content)

    def complete(self, rest: bytes) -> IO[bytes]:
        """
        :return: all of it, from the beginning.
        """
        self.append(rest)
        raw: Any = self._raw
        raw.seek(0)
        return io.BufferedReader(raw)

    def close(self) -> None:
        if self._raw is not None:
            self._raw.close()


@implementer(IContentReceiver)
class Spool(ABC):
    """
    Takes the content of one message, and delivers it when it is whole.

    :param run: calls a function in a thread and returns a Deferred for what comes of it.  The
        default is the thread pool of the session's reactor.
    """

    log = Logger()

    #: Whether lines end as Unix programs have it.  Those of binary content (RFC 3030) stay as they
    #: are: not every CRLF there ends a line.
    unix_newlines: ClassVar[bool] = False
    #: Whether who gets it wants a file descriptor, so that memory will not do.
    wants_descriptor: ClassVar[bool] = False

    def __init__(
        self,
        server: Any,
        session: Session,
        envelope: Envelope,
        run: Callable[..., Deferred[Any]] | None = None,
    ) -> None:
        self.session = session
        self.envelope = envelope
        self.when = local_time()
        self.run = run or runner(session.reactor)
        self._newlines: UnixNewlines | None = None
        if self.unix_newlines and envelope.body != "BINARYMIME":
            self._newlines = UnixNewlines()
        self._file = _File()
        # Not a list of chunks, as in MaildirMessage.
        self._held = bytearray(self._as_wanted(b"".join(self.head(server.hostname))))
        self._busy = False
        self._closing = False
        self._finished = False

    def head(self, hostname: str) -> Iterator[bytes]:
        """
        What stands before the content.
        """
        yield trace.return_path(self.envelope)
        yield trace.received(self.session, self.envelope, hostname, self.when)

    def write(self, chunk: bytes) -> Deferred[None] | None:
        self._held += self._as_wanted(chunk)
        if len(self._held) <= MEMORY:
            return None
        return self._in_thread(self._file.append, self._take())

    async def finish(self) -> Verdict:
        self._finished = True
        return await self.deliver(await self._whole())

    def abort(self, reason: str) -> None:
        # After finish it is too late: the message may be somebody's.
        if not self._finished:
            self._close()

    @abstractmethod
    def deliver(self, file: IO[bytes]) -> Deferred[Verdict]:
        """
        Hand the message on.

        :param file: at its beginning, to be read and closed.
        """

    def complain(
        self, where: str, reason: str, *, level: LogLevel = LogLevel.warn, **facts: object
    ) -> None:
        """
        Log that the message is not delivered.
        """
        self.log.emit(
            level,
            "message {transaction} cannot be delivered into {path}: {reason}",
            event="delivery",
            transaction=self.envelope.id,
            path=where,
            reason=reason,
            **facts,
        )

    def failed(self, where: str, error: OSError) -> Reply:
        """
        Log that a file cannot be written.

        :return: what to say.
        """
        # A full disk is no defect, and its log may be on it: no traceback for each message.
        reason = error.strerror or type(error).__name__
        self.complain(where, reason, level=LogLevel.error, errno=error.errno)
        return refusal_of(error)

    def _as_wanted(self, chunk: bytes) -> bytes:
        return chunk if self._newlines is None else self._newlines.feed(chunk)

    async def _whole(self) -> IO[bytes]:
        if self._newlines is not None:
            self._held += self._newlines.rest
        rest = self._take()
        if not self._file.begun and not self.wants_descriptor:
            return io.BytesIO(rest)
        try:
            file: IO[bytes] = await self._in_thread(self._file.complete, rest)
        except BaseException:
            self._close()
            raise
        return file

    def _take(self) -> bytes:
        held, self._held = bytes(self._held), bytearray()
        return held

    def _in_thread(self, job: Callable[..., T], *arguments: object) -> Deferred[T]:
        """
        Run a job.

        To cancel what this returns gives the message up.
        """
        self._busy = True
        done: Deferred[T] = self.run(job, *arguments)
        done.addBoth(self._idle)
        done.addErrback(self._refuse)
        return shielded(done, self._close)

    def _idle(self, result: T) -> T:
        self._busy = False
        if self._closing:
            self._file.close()
        return result

    def _close(self) -> None:
        """
        Forget the message, as soon as no thread has it.
        """
        self._closing = True
        self._held = bytearray()
        if not self._busy:
            self._file.close()

    def _refuse(self, failure: Failure) -> Failure:
        if isinstance(failure.value, OSError):
            raise Rejected(self.failed("a temporary file", failure.value))
        return failure
