"""
A file that a running server reads again when it has changed.

Nobody has to tell the server, and a file that is broken changes nothing but the log.  What is in
the file may be secret, so nothing of it is in a log or an exception.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import ClassVar, Generic, TypeVar

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

#: Seconds for which nobody looks again whether a file has changed.
LOOK_AGAIN = 1

T = TypeVar("T")


def _signature(status: os.stat_result) -> tuple[int, ...]:
    # The last of these is nobody's to set, as others are where a file is copied with its times.
    return (
        status.st_dev,
        status.st_ino,
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
    )


class WatchedFile(Generic[T]):
    """
    What a file says, as it is now.

    :param parse: makes a value of the octets.  It raises ValueError with a sentence's end that has
        nothing of the file in it, such as ``line 3 has no colon``.
    :param describe: says in a few words what a value is, for the log.
    :param event: the name of the log's events.
    :param secret: whether to warn if everybody on this machine can read it.
    :raise ValueError: for a file that cannot be read, with one sentence.
    """

    log: ClassVar[Logger] = Logger()

    def __init__(
        self,
        path: str | os.PathLike[str],
        parse: Callable[[bytes], T],
        clock: IReactorTime,
        *,
        describe: Callable[[T], str],
        event: str,
        secret: bool = False,
    ) -> None:
        #: Absolute, because a daemon goes elsewhere.
        self.path = os.path.abspath(path)
        self._parse = parse
        self._clock = clock
        self._describe = describe
        self._event = event
        self._secret = secret
        #: Whether everybody on this machine can read it.
        self.public = False
        #: What it said when it was last read.
        self.value, status = self._read()
        self._look_who_reads(status)
        self._seen: tuple[int, ...] | None = _signature(status)
        self._looked = clock.seconds()
        self._problem = ""

    def get(self) -> T:
        """
        :return: what the file says, after a look at it if the last one was a second ago.
        """
        now = self._clock.seconds()
        # Clocks are set back, too.
        if not 0 <= now - self._looked < LOOK_AGAIN:
            self._looked = now
            self._look()
        return self.value

    def _look(self) -> None:
        try:
            seen = _signature(os.stat(self.path))
        except OSError:
            seen = None
        # What went wrong may go well the next time without the file having changed.
        if seen != self._seen or self._problem:
            self._seen = seen
            self._read_again()

    def _read_again(self) -> None:
        try:
            self.value, status = self._read()
        except ValueError as error:
            self._complain(str(error))
        else:
            self._problem = ""
            self._look_who_reads(status)
            self.log.info(
                "{path} was read again: {content}",
                event=self._event,
                path=self.path,
                content=self._describe(self.value),
            )

    def _look_who_reads(self, status: os.stat_result) -> None:
        before, self.public = self.public, bool(status.st_mode & stat.S_IROTH)
        if self._secret and self.public and not before:
            self.log.warn(
                "{path} can be read by everybody on this machine: chmod o-r it",
                event=self._event,
                path=self.path,
            )

    def _complain(self, problem: str) -> None:
        """
        Say what is wrong with the file, but not again each second.
        """
        if problem != self._problem:
            self._problem = problem
            self.log.warn(
                "{problem}; until that is mended everything stays as it was",
                event=self._event,
                path=self.path,
                problem=problem,
            )

    def _read(self) -> tuple[T, os.stat_result]:
        """
        :raise ValueError: with one sentence, which has nothing of the file in it.
        """
        try:
            # Opening a pipe, or reading one, must not wait for whoever is to write into it.
            with open(self.path, "rb", opener=_open_at_once) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise ValueError("it is not a regular file")
                return self._parse(file.read()), status
        except OSError as error:
            problem = error.strerror or "it cannot be read"
        except ValueError as error:
            problem = str(error)
        # A new one, because the frames of the old one have secrets in their variables.
        raise ValueError(f"{self.path}: {problem}")


def _open_at_once(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NONBLOCK)
