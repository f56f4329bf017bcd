"""
The checker ``users:FILE`` for twisted.cred: user names and passwords in a file.

A line is ``name:password``, and the first colon is the one that counts.  In place of the password
there may be a hash of it, as ``htpasswd -B`` and others make them, or what SCRAM needs;
:mod:`txsmtpd.hashes` knows which.

Nobody learns from an answer, nor from the time it takes, whether a user exists.  Where there is no
entry to check against, a *decoy* is checked: an entry of the same cost as another one of the file,
with a password that nobody has.  Which one is chosen by a digest of the user's name: if a tenth of
a file takes longer to check than the rest, so does about a tenth of all names that it does not
have.  Each of them does so every time, also after a restart and after most changes of the file: a
line that comes or goes has decoys of its own, and only the line whose secret is the smallest
decides about all.  So do the salts that are made up for those who have none (see
`UsersFile.scram_secret`).
"""

from __future__ import annotations

import codecs
import os
from bisect import bisect
from collections import Counter
from collections.abc import Callable, Iterable
from hmac import digest as hmac_digest
from operator import itemgetter
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
from twisted.python.threadpool import ThreadPool
from zope.interface import implementer

from .core.identity import Unavailable
from .hashes import HASHED, PASSWORD, SCRAM_HASHES, Entry, Plain, Verifier, read_entry, sealed
from .sasl.base import Malformed
from .sasl.base import name as prepared
from .sasl.credentials import IScramProof
from .watched import WatchedFile

#: The threads that check slow hashes: the reactor's own are for name look-ups too.
THREADS = 4
#: The slow checks that may be under way or waiting for a thread.
CHECKS = 64


def _secret_of(entries: Iterable[Entry], label: bytes) -> bytes | None:
    """
    A secret that stays the same while the file changes, unless the smallest of what its entries
    have goes, or a smaller one comes.
    """
    least = min((entry.core for entry in entries), default=None)
    return None if least is None else hmac_digest(least, label, "sha256")


@attrs.frozen(repr=False, eq=False)
class MadeUp:
    """
    What those are told who have no keys of SCRAM with a hash function that others have.
    """

    #: Those of most keys.
    iterations: int
    #: What salts are made of.
    secret: bytes


@attrs.frozen(repr=False, eq=False)
class Users:
    """
    What a file says, as it is at some time.
    """

    by_name: dict[bytes, Entry]
    #: Chooses decoys.  It is made of the file itself, so that it outlives a restart, and not of all
    #: of it, so that it outlives changes: names that change their decoys would be known to be
    #: nobody's.
    key: bytes = attrs.field(init=False)
    #: The entries that are good for something, each with its place among the names that decoys are
    #: chosen for.
    by_use: dict[str, list[tuple[bytes, Entry]]] = attrs.field(init=False)
    made_up: dict[str, MadeUp] = attrs.field(init=False)

    @key.default
    def _make_key(self) -> bytes:
        return _secret_of(self.by_name.values(), b"txsmtpd decoys") or b""

    @by_use.default
    def _find_uses(self) -> dict[str, list[tuple[bytes, Entry]]]:
        by_use: dict[str, list[tuple[bytes, Entry]]] = {}
        for name, entry in self.by_name.items():
            placed = hmac_digest(self.key, b"place of " + name, "sha256"), entry
            for use in entry.uses:
                by_use.setdefault(use, []).append(placed)
        for entries in by_use.values():
            entries.sort(key=itemgetter(0))
        return by_use

    @made_up.default
    def _make_up(self) -> dict[str, MadeUp]:
        made_up = {}
        for hash_name in SCRAM_HASHES.values():
            able = [entry for _, entry in self.by_use.get(hash_name, ())]
            verifiers = [entry for entry in able if isinstance(entry, Verifier)]
            counts = Counter(entry.iterations for entry in verifiers)
            secret = _secret_of(verifiers, b"txsmtpd salts")
            if secret is not None:
                most = max(counts, key=lambda each: (counts[each], each))
                made_up[hash_name] = MadeUp(most, secret)
        return made_up

    def entry(self, name: bytes, use: str) -> tuple[Entry, bool] | None:
        """
        :return: what to check against, and whether it is the user's; None if nobody has what it
            takes.
        """
        able = self.by_use.get(use)
        if able is None:
            return None
        # The next one in a circle, so that a line that comes or goes changes few.
        place = bisect(able, hmac_digest(self.key, name, "sha256"), key=itemgetter(0))
        # Made even if it is not wanted: that takes time too.
        decoy = able[place % len(able)][1].decoy()
        found = self.by_name.get(name)
        if found is None or use not in found.uses:
            return decoy, False
        return found, True


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
    return Users(by_name)


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
    :param pool: the threads in which slow hashes run; None is `THREADS` of its own, from when they
        are wanted until the reactor stops.
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
        self._checks = 0
        self._file = WatchedFile(path, parse, reactor, describe=_count, event="users", secret=True)

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
            an HMAC of the name with `scram_secret`; and `scram_iterations`.
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
        made_up = self._current().made_up.get(hash_name)
        return None if made_up is None else made_up.iterations

    def scram_secret(self, hash_name: str) -> bytes | None:
        """
        What to make salts of for those who have no SCRAM keys; None if nobody has.

        Salts that changed at a restart would be known to be made up, because those of the file do
        not.  So this is made of the smallest server key in the file, and changes if that user goes
        or gets another password, or if a key comes that is smaller.  The user whose key it is could
        find out what it is.
        """
        made_up = self._current().made_up.get(hash_name)
        return None if made_up is None else made_up.secret

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        """
        :return: the user's name, or UnauthorizedLogin; `Unavailable` if too many are being asked
            about.
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
        if self._checks >= CHECKS:
            return fail(Unavailable(f"{CHECKS} passwords are being checked already"))
        gone = Event()

        def work() -> bool:
            # Whoever has left may have come for nothing but to keep others waiting.
            return not gone.is_set() and sealed(question)

        def ended(result: Any) -> Any:
            gone.set()
            self._checks -= 1
            return result

        self._checks += 1
        return deferToThreadPool(self._reactor, self._threads(), work).addBoth(ended)

    def _threads(self) -> Any:
        if self._pool is None:
            self._pool = ThreadPool(0, THREADS, "users")
            self._pool.start()
            self._reactor.addSystemEventTrigger("during", "shutdown", self._pool.stop)
        return self._pool

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
