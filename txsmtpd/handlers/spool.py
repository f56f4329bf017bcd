"""
A message on its way to something that wants it whole: a temporary file.

What is handed on begins with the headers Return-Path and Received (RFC 5321 section 4.4).  The file
has no name, so nothing is left of it if the process dies; and until the message is whole nobody
else gets to see any of it.
"""

from __future__ import annotations

import errno
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Awaitable
from datetime import datetime
from typing import IO, Any

from twisted.logger import Logger
from zope.interface import implementer

from ..core import trace
from ..core.replies import LOCAL_ERROR, Rejected, Reply
from ..core.session import Envelope, Session
from ..interfaces import IContentReceiver, Verdict

#: Octets of a message that are held in memory before they go to disk.
MEMORY = 2**16

STORAGE_FULL = Reply(452, "4.3.1", ("Insufficient system storage",))
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def local_time() -> datetime:
    """
    The time, with its zone.
    """
    return datetime.now().astimezone()


def storage_refusal(error: OSError) -> Reply:
    """
    What the client is told when a file cannot be written.
    """
    return STORAGE_FULL if error.errno in _FULL else LOCAL_ERROR


@implementer(IContentReceiver)
class Spool(ABC):
    """
    Takes the content of one message, and delivers it when it is whole.

    Files are written in the reactor's thread: they go to the page cache, which does not wait for a
    disk unless the machine is short of memory.
    """

    log = Logger()

    def __init__(self, server: Any, session: Session, envelope: Envelope, when: datetime) -> None:
        self.session = session
        self.envelope = envelope
        head = trace.return_path(envelope)
        head += trace.received(session, envelope, server.hostname, when)
        self._file: IO[bytes] = tempfile.SpooledTemporaryFile(MEMORY)  # noqa: SIM115
        self._file.write(head)

    def write(self, chunk: bytes) -> None:
        try:
            self._file.write(chunk)
        except OSError as error:
            raise Rejected(self._complain(error)) from error

    def finish(self) -> Verdict | Awaitable[Verdict]:
        try:
            # Some file systems say only now that the disk is full.
            self._file.flush()
            self._file.seek(0)
            return self.deliver(self._file)
        except OSError as error:
            return self._complain(error)

    def abort(self, reason: str) -> None:
        self._file.close()

    @abstractmethod
    def deliver(self, file: IO[bytes]) -> Verdict | Awaitable[Verdict]:
        """
        Hand the message on.

        :param file: at its beginning, to be read and closed.
        """

    def _complain(self, error: OSError) -> Reply:
        self.log.error(
            "message {transaction} cannot be kept: {reason}",
            event="delivery",
            transaction=self.envelope.id,
            reason=error.strerror,
        )
        return storage_refusal(error)
