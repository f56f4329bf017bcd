"""
Files that are to survive a power failure, and what is said when there is no room for them.

All of this may block.
"""

from __future__ import annotations

import errno
import os
import threading
from contextlib import suppress

from ..core.replies import LOCAL_ERROR, Reply

#: Octets of a message, with its trace headers, that are held in memory before they go to disk.
MEMORY = 2**16

STORAGE_FULL = Reply(452, "4.3.1", ("Insufficient system storage",))
_FULL = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Forgotten(Exception):
    """
    A message was given up before it was where readers find it.
    """


def write_all(fd: int, data: bytes) -> None:
    """
    Write all of it: a write may take less than it is given.
    """
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def refusal_of(error: BaseException | None) -> Reply:
    """
    What the client is told when a message cannot be kept.
    """
    full = isinstance(error, OSError) and error.errno in _FULL
    return STORAGE_FULL if full else LOCAL_ERROR


def sync_directory(path: str) -> None:
    """
    Have on disk which files a directory has.
    """
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class _Turn:
    """
    One fsync of a directory, for all threads that want one before it begins.
    """

    def __init__(self) -> None:
        self.over = threading.Event()
        #: Why it has failed.  Set until it has succeeded, so that whoever waits for it hears of a
        #: failure of any kind.
        self.error: OSError | None = OSError(errno.EIO, os.strerror(errno.EIO))


# The turn of a directory that somebody is having, and the one that comes next.
_turns_lock = threading.Lock()
_current: dict[str, _Turn] = {}
_next: dict[str, _Turn] = {}


def sync_together(path: str) -> None:
    """
    Have on disk which files a directory has, as many threads may want at once.

    What they have renamed while one fsync was going on needs one more, not one each.
    """
    with _turns_lock:
        turn, current = _next.get(path), _current.get(path)
        if turn is None:
            mine = _next[path] = _Turn()
    if turn is None:
        if current is not None:
            current.over.wait()
        _have_turn(path, mine)
        return
    turn.over.wait()
    if turn.error is not None:
        raise OSError(turn.error.errno, turn.error.strerror, path)


def _have_turn(path: str, turn: _Turn) -> None:
    with _turns_lock:
        # Who comes from here on may have come too late for it.
        _current[path] = _next.pop(path)
    try:
        sync_directory(path)
        turn.error = None
    except OSError as error:
        turn.error = error
        raise
    finally:
        with _turns_lock:
            del _current[path]
        turn.over.set()


# Directories that are on disk in what is above them, or a power failure takes them away, with all
# that was delivered into them.  Of one that is there nobody knows: who has made it, another thread
# or process, may not have come to fsync what is above.
_settled: set[str] = set()
# What there is to be said of a directory that we could have made nothing in.
_NOT_OURS = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.EINVAL})
_SETTLED_LIMIT = 2**14


def make_directory(path: str) -> None:
    """
    Make a directory, and those above it, that only our user may enter, if it is missing.
    """
    exists = os.path.isdir(path)
    if exists and path in _settled:
        return
    # Before there is one again, for other threads.
    _settled.discard(path)
    above = os.path.dirname(path)
    if above != path:
        make_directory(above)
    if not exists:
        # Another process or thread may make it at the same time.
        with suppress(FileExistsError):
            os.mkdir(path, 0o700)
            os.chmod(path, 0o700)
    try:
        sync_directory(above)
    except OSError as error:
        if not exists or error.errno not in _NOT_OURS:
            raise
    _remember(path)


def _remember(path: str) -> None:
    if len(_settled) >= _SETTLED_LIMIT:
        # To learn it again costs less than to remember all.
        _settled.clear()
    _settled.add(path)
