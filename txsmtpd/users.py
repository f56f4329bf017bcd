"""
The checker ``users:FILE`` for twisted.cred: user names and passwords in a file.

A line is ``name:password``, and the first colon is the one that counts.  In place of the password
there may be a hash of it, as ``htpasswd -B`` and others make them, or what SCRAM needs;
:mod:`txsmtpd.hashes` knows which.

Nobody learns from an answer, nor from the time it takes, whether a user exists.  Where there is no
entry to check against, a *decoy* is checked: an entry of the same cost as another one of the file,
with a password that nobody has.  Which one is chosen by a digest of the user's name: if a tenth of
a file takes longer to check than the rest, so does a tenth of all names that it does not have, and
each of them does so every time until the file changes.
"""

from __future__ import annotations

import codecs
import hashlib
import os
from collections import Counter
from collections.abc import Callable, Iterator
from hmac import digest as hmac_digest
from threading import Event
from typing import Any, ClassVar

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.cred.strcred import ICheckerFactory
from twisted.internet.defer import Deferred, execute, fail
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from zope.interface import implementer

from .hashes import HASHED, PASSWORD, SCRAM_HASHES, Entry, Plain, Verifier, read_entry, sealed
from .sasl.base import Malformed
from .sasl.base import name as prepared
from .sasl.credentials import IScramProof
from .watched import WatchedFile


@attrs.frozen(repr=False, eq=False)
class Users:
    """
    What a file says, as it is at some time.
    """

    by_name: dict[bytes, Entry]
    #: Chooses decoys.  It is made of the file itself, so that it outlives a restart, when names
    #: that change their decoys would be known to be nobody's.
    key: bytes
    by_use: dict[str, list[Entry]] = attrs.field(init=False)

    @by_use.default
    def _find_uses(self) -> dict[str, list[Entry]]:
        uses = {use for entry in self.by_name.values() for use in entry.uses}
        return {use: [e for e in self.by_name.values() if use in e.uses] for use in uses}

    def entry(self, name: bytes, use: str) -> tuple[Entry, bool] | None:
        """
        :return: what to check against, and whether it is the user's; None if nobody has what it
            takes.
        """
        able = self.by_use.get(use)
        if able is None:
            return None
        number = int.from_bytes(hmac_digest(self.key, name, "sha256")[:8], "big")
        # Made even if it is not wanted: that takes time too.
        decoy = able[number % len(able)].decoy()
        found = self.by_name.get(name)
        if found is None or use not in found.uses:
            return decoy, False
        return found, True

    def verifiers(self, hash_name: str) -> Iterator[Verifier]:
        """
        The entries that have keys for SCRAM with one hash function.
        """
        for entry in self.by_use.get(hash_name, ()):
            if isinstance(entry, Verifier):
                yield entry


def parse(data: bytes) -> Users:
    """
    Read what a file contains.

    :raise ValueError: with a sentence's end that names the line and has nothing of what is in it.
    """
    by_name: dict[bytes, Entry] = {}
    lines = data.removeprefix(codecs.BOM_UTF8).split(b"\n")
    for number, line in enumerate(lines, 1):
        line = line.removesuffix(b"\r")
        if not line or line.startswith(b"#"):
            continue
        try:
            name, entry = _parse_line(line)
            if name in by_name:
                raise ValueError("a user name for the second time")
        except ValueError as error:
            raise ValueError(f"line {number} has {error}") from None
        by_name[name] = entry
    return Users(by_name, hashlib.sha256(data).digest())


def _parse_line(line: bytes) -> tuple[bytes, Entry]:
    name, colon, secret = line.partition(b":")
    if not colon:
        raise ValueError("no colon between user name and password")
    try:
        line.decode()
        name = prepared(name.decode())
    except UnicodeDecodeError:
        raise ValueError("invalid UTF-8") from None
    except Malformed:
        raise ValueError("no acceptable user name before the colon") from None
    return name, read_entry(secret)


def _use_of(credentials: Any) -> str | None:
    """
    What an entry must be good for to check these credentials.
    """
    # First, because such a proof may pass for IUsernameHashedPassword too.
    if IScramProof.providedBy(credentials):
        return str(credentials.hash_name)
    if IUsernamePassword.providedBy(credentials):
        return PASSWORD
    if IUsernameHashedPassword.providedBy(credentials):
        return HASHED
    return None


def _question(entry: Entry, use: str, credentials: Any) -> tuple[bool, Callable[[], bool]]:
    """
    :return: whether it takes long to find out whether the credentials are good, and what does.
    """
    if use == PASSWORD:
        return entry.slow, lambda: entry.matches(credentials.password)
    if isinstance(entry, Verifier):
        return False, lambda: bool(credentials.checkKeys(entry.stored_key, entry.server_key))
    secret: Plain = entry  # type: ignore[assignment]  # what else is good for that
    return use != HASHED, lambda: bool(credentials.checkPassword(secret.secret))


@implementer(ICredentialsChecker)
class UsersFile:
    """
    Checks credentials against a file, which is read again when it has changed.

    If what it has become cannot be read, the users stay as they were, and the log says why.

    :param path: the file.
    :param reactor: where time and threads come from; None is the reactor that is installed.
    :param pool: the threads in which slow hashes run; None is the reactor's own.
    :raise ValueError: for a file that cannot be read, with one sentence.
    """

    log: ClassVar[Logger] = Logger()

    # For the repr in a traceback of what went wrong in the making.
    _file: WatchedFile[Users] | None = None

    def __init__(self, path: str | os.PathLike[str], reactor: Any = None, pool: Any = None) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self._reactor = reactor
        self._pool = pool
        self._file = WatchedFile(path, parse, reactor, describe=_count, event="users")
        if self._file.public:
            self.log.warn(
                "{path} can be read by everybody on this machine: chmod o-r it",
                event="users",
                path=self._file.path,
            )

    def __repr__(self) -> str:
        if self._file is None:
            return "<UsersFile>"
        return f"<UsersFile {self._file.path!r}: {_count(self._file.value)}>"

    @property
    def credentialInterfaces(self) -> tuple[Any, ...]:
        """
        What can be checked, as the file is now.  A Portal asks only once.
        """
        uses = self._current().by_use.keys()
        interfaces: list[Any] = [IUsernamePassword]
        if HASHED in uses:
            interfaces.append(IUsernameHashedPassword)
        if self.scram_hashes:
            interfaces.append(IScramProof)
        return tuple(interfaces)

    @property
    def scram_hashes(self) -> frozenset[str]:
        """
        The hash functions, ``sha1`` and ``sha256``, with which some user can log in by SCRAM.
        """
        return frozenset(SCRAM_HASHES.values()) & self._current().by_use.keys()

    def scram_parameters(self, username: bytes, hash_name: str) -> tuple[bytes, int] | None:
        """
        The salt and the iterations with which a user's SCRAM keys were made (RFC 5802 section 3).

        :return: None for whoever has no such keys: users that do not exist, and those whose
            password is here itself, which goes with every salt.  To tell no one from the other,
            give them a salt that looks like those of the file: 16 octets, as PostgreSQL's have, of
            an HMAC of the name; and `scram_iterations`.
        """
        entry = self._current().by_name.get(_prepared(username))
        if isinstance(entry, Verifier) and entry.hash_name == hash_name:
            return entry.salt, entry.iterations
        return None

    def scram_iterations(self, hash_name: str) -> int | None:
        """
        The iterations of most SCRAM keys in the file; None if there are none.  Users with others
        can be told from those that do not exist.
        """
        counts = Counter(entry.iterations for entry in self._current().verifiers(hash_name))
        return max(counts, key=lambda each: (counts[each], each), default=None)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """
        :return: the user's name, or UnauthorizedLogin.
        """
        use = _use_of(credentials)
        if use is None:
            return fail(UnhandledCredentials("no credentials that a file of users can check"))
        name = _prepared(credentials.username)
        choice = self._current().entry(name, use)
        if choice is None:
            return fail(_refusal())
        entry, genuine = choice
        answer = self._ask(*_question(entry, use, credentials))
        return answer.addCallback(lambda good: name if good and genuine else Failure(_refusal()))

    def _ask(self, slow: bool, question: Callable[[], bool]) -> Deferred[bool]:
        if not slow:
            return execute(sealed, question)
        gone = Event()

        def work() -> bool:
            # Whoever has left may have come for nothing but to keep others waiting.
            return not gone.is_set() and sealed(question)

        def ended(failure: Failure) -> Failure:
            gone.set()
            return failure

        pool = self._pool or self._reactor.getThreadPool()
        return deferToThreadPool(self._reactor, pool, work).addErrback(ended)

    def _current(self) -> Users:
        assert self._file is not None
        return self._file.get()


def _count(users: Users) -> str:
    return f"{len(users.by_name)} users"


def _prepared(username: bytes) -> bytes:
    """
    A user name as the file's are; one that none can be like stays as it is.
    """
    try:
        return prepared(username.decode())
    except (UnicodeDecodeError, Malformed):
        return username


def _refusal() -> UnauthorizedLogin:
    return UnauthorizedLogin("wrong user name or password")


@implementer(ICheckerFactory, IPlugin)
class UsersFileFactory:
    """
    What finds the checker for ``--auth users:FILE``.
    """

    authType = "users"
    authHelp = """
Checks user names and passwords against a file with a line for each user:

    name:password

The first colon ends the name, and the password is all that follows it.
Lines that are empty or begin with # are skipped. In place of the password
there may be a hash: bcrypt (as htpasswd -B makes them), scrypt or Argon2 in
their usual forms, $2y$... and the like, or a SCRAM verifier as PostgreSQL
has them, SCRAM-SHA-256$... A password that looks like one of these is
written behind {PLAIN}. CRAM-MD5 and its kin want the password itself.

The file is read again when it has changed.
"""
    argStringFormat = "The path of the file."
    credentialInterfaces = (IUsernamePassword, IUsernameHashedPassword, IScramProof)

    def generateChecker(self, argstring: str) -> UsersFile:
        """
        :raise ValueError: for a file that cannot be used.
        """
        if not argstring:
            raise ValueError("users wants the path of a file: users:FILE")
        return UsersFile(argstring)
