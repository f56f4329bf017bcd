from __future__ import annotations

import hashlib
import os
import threading
from base64 import b64decode, b64encode
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from hmac import digest as hmac_digest
from pathlib import Path
from typing import Any

import argon2.low_level
import bcrypt
from hypothesis import given
from hypothesis import strategies as st
from twisted.cred.checkers import FilePasswordDB, ICredentialsChecker
from twisted.cred.credentials import (
    CramMD5Credentials,
    IUsernameHashedPassword,
    IUsernamePassword,
    UsernamePassword,
)
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.cred.portal import IRealm, Portal
from twisted.cred.strcred import ICheckerFactory, findCheckerFactory, makeChecker
from twisted.internet.defer import CancelledError, Deferred, getDebugging, setDebugging
from twisted.internet.task import Clock
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import LogEvent, LogLevel, eventAsText, globalLogPublisher
from twisted.plugin import IPlugin
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

import txsmtpd
from tests.test_hashes import (
    ARGON2ID,
    HASHES,
    HTPASSWD,
    SCRAM_SHA_1,
    SCRAM_SHA_256,
    SCRYPT,
)
from txsmtpd.core.identity import Unavailable
from txsmtpd.hashes import HashingError
from txsmtpd.sasl.credentials import IScramProof, ScramProof
from txsmtpd.users import CHECKS, THREADS, Users, UsersFile, UsersFileFactory, parse


class Threads(Clock):
    """
    A reactor, and its threads, in which things are done when the test says so.
    """

    def __init__(self) -> None:
        super().__init__()
        self.waiting: list[Callable[[], None]] = []

    def getThreadPool(self) -> Threads:
        return self

    def callFromThread(self, f: Callable[..., Any], *args: Any) -> None:
        f(*args)

    def callInThreadWithCallback(
        self, done: Callable[[bool, Any], None], f: Callable[..., Any], *args: Any
    ) -> None:
        def work() -> None:
            try:
                result: Any = f(*args)
            except Exception:
                done(False, Failure())
            else:
                done(True, result)

        self.waiting.append(work)

    def work(self) -> int:
        """
        :return: how many things there were to do.
        """
        waiting, self.waiting = self.waiting, []
        for each in waiting:
            each()
        return len(waiting)


def proof_of(
    username: bytes,
    password: bytes,
    salt: bytes = b"salt of 16 bytes",
    iterations: int = 2,
    hash_name: str = "sha256",
) -> ScramProof:
    """
    What a client sends that knows a password (RFC 5802 section 3).
    """
    salted = hashlib.pbkdf2_hmac(hash_name, password, salt, iterations)
    client_key = hmac_digest(salted, b"Client Key", hash_name)
    stored_key = hashlib.new(hash_name, client_key).digest()
    signature = hmac_digest(stored_key, b"message", hash_name)
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    return ScramProof(username, hash_name, salt, iterations, b"message", proof)


def cram_md5(username: bytes, password: bytes) -> Any:
    response = hmac_digest(password, b"<challenge>", "md5").hex().encode()
    credentials: Any = CramMD5Credentials()
    credentials.username, credentials.challenge = username, b"<challenge>"
    credentials.response = response
    return credentials


def verifier(password: bytes, iterations: int = 2, salt: bytes = b"salt of 16 bytes") -> bytes:
    salted = hashlib.pbkdf2_hmac("sha256", password, salt, iterations)
    stored_key = hashlib.sha256(hmac_digest(salted, b"Client Key", "sha256")).digest()
    server_key = hmac_digest(salted, b"Server Key", "sha256")
    one, two, three = map(b64encode, (salt, stored_key, server_key))
    return b"SCRAM-SHA-256$%d:%b$%b:%b" % (iterations, one, two, three)


class UsersTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.threads = Threads()
        self.path = Path(self.mktemp()).absolute()
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def write(self, *lines: bytes, mode: int = 0o600) -> None:
        self.path.write_bytes(b"".join(line + b"\n" for line in lines))
        self.path.chmod(mode)

    def users(self, *lines: bytes, mode: int = 0o600) -> UsersFile:
        self.write(*lines, mode=mode)
        return UsersFile(str(self.path), self.threads, self.threads)

    def replies(self, users: UsersFile, credentials: Any) -> Deferred[Any]:
        deferred: Deferred[Any] = users.requestAvatarId(credentials)
        self.threads.work()
        return deferred

    def assertIn_(self, users: UsersFile, credentials: Any, name: bytes) -> None:
        self.assertEqual(self.successResultOf(self.replies(users, credentials)), name)

    def assertLogin(self, users: UsersFile, name: bytes, password: bytes) -> None:
        self.assertIn_(users, UsernamePassword(name, password), name)

    def assertOut(self, users: UsersFile, credentials: Any) -> None:
        failure = self.failureResultOf(self.replies(users, credentials), UnauthorizedLogin)
        self.assertEqual(str(failure.value), "wrong user name or password")

    def assertNoLogin(self, users: UsersFile, name: bytes, password: bytes) -> None:
        self.assertOut(users, UsernamePassword(name, password))

    def texts(self) -> list[str]:
        return [
            eventAsText(event, includeTimestamp=False, includeSystem=False)
            for event in self.events
            if event.get("event") == "users"
        ]


class PasswordTests(UsersTestCase):
    """
    Names and passwords in the clear.
    """

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(ICredentialsChecker, self.users(b"alice:secret")))

    def test_plain(self) -> None:
        users = self.users(b"alice:secret", b"bob:geheim")
        self.assertLogin(users, b"alice", b"secret")
        self.assertLogin(users, b"bob", b"geheim")
        for name, password in (
            (b"alice", b"geheim"),
            (b"alice", b""),
            (b"alice", b"secret "),
            (b"alice", b"secre"),
            (b"Alice", b"secret"),
            (b"alice:secret", b""),
            (b"", b""),
            (b"", b"secret"),
            (b"carol", b"secret"),
            (b"\xff", b"\xff"),
            (b"al\0ice", b"secret"),
        ):
            self.assertNoLogin(users, name, password)

    def test_plain_needs_no_thread(self) -> None:
        users = self.users(b"alice:secret")
        self.successResultOf(users.requestAvatarId(UsernamePassword(b"alice", b"secret")))

    def test_colon(self) -> None:
        """
        The first colon is the only one: what stands before the second lets nobody in, as it does
        with Twisted's own checker.
        """
        users = self.users(b"alice:pass:word", b"bob:" + b"{PLAIN}:x:")
        self.assertLogin(users, b"alice", b"pass:word")
        self.assertNoLogin(users, b"alice", b"pass")
        self.assertLogin(users, b"bob", b":x:")
        self.assertNoLogin(users, b"bob", b"")
        self.assertNoLogin(users, b"alice:pass", b"word")
        theirs: Deferred[Any] = FilePasswordDB(str(self.path)).requestAvatarId(
            UsernamePassword(b"alice", b"pass")
        )
        self.assertEqual(self.successResultOf(theirs), b"alice")

    def test_htpasswd(self) -> None:
        """
        A file as ``htpasswd -B`` makes it, empty line included.
        """
        users = self.users(b"alice:" + HTPASSWD, b"")
        self.assertLogin(users, b"alice", b"pass:word")
        self.assertNoLogin(users, b"alice", b"pass")
        self.assertNoLogin(users, b"alice", HTPASSWD)

    def test_hashes(self) -> None:
        names = [b"user%d" % number for number in range(len(HASHES))]
        users = self.users(*map(b":".join, zip(names, HASHES, strict=True)))
        for name in names:
            self.assertLogin(users, name, b"pass:word")
            self.assertNoLogin(users, name, b"password")

    def test_verifiers(self) -> None:
        """
        Whoever could log in by SCRAM may send the password too.
        """
        users = self.users(b"alice:" + SCRAM_SHA_1, b"bob:" + SCRAM_SHA_256)
        for name in (b"alice", b"bob"):
            self.assertLogin(users, name, b"pencil")
            self.assertNoLogin(users, name, b"pen")

    def test_lines(self) -> None:
        """
        What an editor of another system does to a file does no harm, and blanks are kept.
        """
        users = self.users(
            b"\xef\xbb\xbfalice:a\r", b"", b"\r", b"# alice:x", b"#carol:c", b"bob: b ", b"dora:#"
        )
        self.assertLogin(users, b"alice", b"a")
        self.assertLogin(users, b"bob", b" b ")
        self.assertLogin(users, b"dora", b"#")
        self.assertNoLogin(users, b"bob", b"b")
        self.assertNoLogin(users, b"#carol", b"c")
        self.assertEqual(repr(users), f"<UsersFile '{self.path}': 3 users>")

    def test_last_line_without_newline(self) -> None:
        self.path.write_bytes(b"alice:secret")
        self.assertLogin(UsersFile(self.path, self.threads, self.threads), b"alice", b"secret")

    def test_names(self) -> None:
        """
        They are compared as SASL prepares them, however they were typed.
        """
        users = self.users("u\u0308ser:secret".encode(), "jörg@example.org:geheim".encode())
        self.assertLogin(users, "üser".encode(), b"secret")
        self.assertIn_(users, UsernamePassword("u\u0308ser".encode(), b"secret"), "üser".encode())
        self.assertLogin(users, "jörg@example.org".encode(), b"geheim")

    def test_nobody(self) -> None:
        """
        A file without users is one that nobody can log in with, by any means.
        """
        users = self.users(b"# nobody yet")
        for each in (
            UsernamePassword(b"a", b""),
            cram_md5(b"a", b""),
            proof_of(b"a", b""),
        ):
            self.assertOut(users, each)

    def test_other_credentials(self) -> None:
        deferred: Deferred[Any] = self.users(b"alice:secret").requestAvatarId(object())
        self.failureResultOf(deferred, UnhandledCredentials)


class ThreadTests(UsersTestCase):
    """
    What takes long is done in a thread.
    """

    def test_hash(self) -> None:
        users = self.users(b"alice:" + HTPASSWD)
        for name in (b"alice", b"bob"):
            deferred: Deferred[Any] = users.requestAvatarId(UsernamePassword(name, b"pass:word"))
            self.assertNoResult(deferred)
            self.assertEqual(self.threads.work(), 1)
            self.assertTrue(deferred.called)
            deferred.addErrback(lambda failure: failure.trap(UnauthorizedLogin))

    def test_proof(self) -> None:
        """
        Of a password the keys are yet to be made; where they are at hand it is quick.
        """
        users = self.users(b"alice:secret")
        deferred: Deferred[Any] = users.requestAvatarId(proof_of(b"alice", b"secret"))
        self.assertNoResult(deferred)
        self.threads.work()
        self.assertEqual(self.successResultOf(deferred), b"alice")
        users = self.users(b"alice:" + verifier(b"secret"))
        deferred = users.requestAvatarId(proof_of(b"alice", b"secret"))
        self.assertEqual(self.successResultOf(deferred), b"alice")

    def test_pool(self) -> None:
        """
        There may be a pool for this alone.
        """
        self.write(b"alice:" + HTPASSWD)
        pool = Threads()
        users = UsersFile(self.path, self.threads, pool)
        deferred: Deferred[Any] = users.requestAvatarId(UsernamePassword(b"alice", b"pass:word"))
        self.assertEqual((self.threads.work(), pool.work()), (0, 1))
        self.assertEqual(self.successResultOf(deferred), b"alice")

    def slow(self, users: UsersFile, word: bytes = b"pass:word") -> Deferred[Any]:
        return users.requestAvatarId(UsernamePassword(b"alice", word))

    def test_limit(self) -> None:
        """
        So many checks may wait, and no more; what is quick goes on.
        """
        users = self.users(b"alice:" + HTPASSWD, b"bob:secret")
        self.patch(bcrypt, "hashpw", lambda password, salt: HTPASSWD)
        waiting = [self.slow(users) for _ in range(CHECKS)]
        for _ in range(2):
            self.failureResultOf(self.slow(users), Unavailable)
        proof = cram_md5(b"bob", b"secret")
        self.assertEqual(self.successResultOf(users.requestAvatarId(proof)), b"bob")
        self.assertEqual(len(self.threads.waiting), CHECKS)
        # Who leaves makes room.
        waiting[0].cancel()
        self.failureResultOf(waiting[0], CancelledError)
        waiting.append(self.slow(users))
        self.failureResultOf(self.slow(users), Unavailable)
        self.threads.work()
        for each in waiting[1:]:
            self.assertEqual(self.successResultOf(each), b"alice")
        again = self.slow(users)
        self.threads.work()
        self.assertEqual(self.successResultOf(again), b"alice")
        self.assertEqual(self.texts(), [])

    def test_own_threads(self) -> None:
        """
        A few threads, from when they are wanted until the reactor stops.
        """
        reactor: Any = MemoryReactorClock()
        answered = threading.Event()

        def callFromThread(function: Any, *arguments: Any) -> None:
            function(*arguments)
            answered.set()

        reactor.callFromThread = callFromThread
        self.write(b"alice:" + HTPASSWD, b"bob:secret")
        users = UsersFile(self.path, reactor)
        self.successResultOf(users.requestAvatarId(cram_md5(b"bob", b"secret")))
        self.assertEqual(reactor.triggers, {})
        for _ in range(2):
            answered.clear()
            deferred = self.slow(users)
            self.assertTrue(answered.wait(60))
            self.assertEqual(self.successResultOf(deferred), b"alice")
        ((stop, arguments, keywords),) = reactor.triggers["during"]["shutdown"]
        pool = stop.__self__
        self.assertEqual((pool.max, pool.started), (THREADS, True))
        stop(*arguments, **keywords)
        self.assertEqual([each.is_alive() for each in pool.threads], [False] * len(pool.threads))

    def test_gone(self) -> None:
        """
        A client that has left is not missed.
        """
        deferred: Deferred[Any] = self.users(b"alice:" + HTPASSWD).requestAvatarId(
            UsernamePassword(b"alice", b"pass:word")
        )
        deferred.addErrback(lambda failure: None)
        deferred.cancel()
        self.threads.work()
        self.assertIsNone(self.successResultOf(deferred))

    def test_gone_before_it_began(self) -> None:
        """
        Nobody who waits in the line waits for the hash of a client that has left it.
        """
        hashed: list[bytes] = []
        make = bcrypt.hashpw

        def hashpw(password: bytes, salt: bytes) -> bytes:
            hashed.append(password)
            return make(password, salt)

        self.patch(bcrypt, "hashpw", hashpw)
        users = self.users(b"alice:" + HTPASSWD)
        first, second = (
            users.requestAvatarId(UsernamePassword(b"alice", word)) for word in (b"x", b"pass:word")
        )
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(self.threads.work(), 2)
        self.assertEqual(hashed, [b"pass:word"])
        self.assertEqual(self.successResultOf(second), b"alice")


class ScramTests(UsersTestCase):
    def test_keys(self) -> None:
        users = self.users(b"alice:" + verifier(b"secret"))
        proof = proof_of(b"alice", b"secret")
        self.assertIn_(users, proof, b"alice")
        self.assertIsNotNone(proof.server_signature)
        self.assertOut(users, proof_of(b"alice", b"Secret"))
        self.assertOut(users, proof_of(b"alice", b"secret", iterations=1))
        self.assertOut(users, proof_of(b"bob", b"secret"))

    def test_password(self) -> None:
        users = self.users(b"alice:secret")
        for hash_name in ("sha1", "sha256"):
            proof = proof_of(b"alice", b"secret", hash_name=hash_name)
            self.assertIn_(users, proof, b"alice")
            self.assertIsNotNone(proof.server_signature)
            self.assertOut(users, proof_of(b"alice", b"Secret", hash_name=hash_name))

    def test_other_hash(self) -> None:
        """
        Keys of one hash function are of no use with another.
        """
        users = self.users(b"alice:" + verifier(b"secret"))
        self.assertOut(users, proof_of(b"alice", b"secret", hash_name="sha1"))
        self.assertOut(users, proof_of(b"alice", b"secret", hash_name="sha512"))

    def test_nobodys_proof(self) -> None:
        """
        A decoy is checked in place of what is not there, and its answer does not count.
        """
        for line in (b"alice:secret", b"alice:" + verifier(b"secret")):
            users = self.users(line, b"carol:" + HTPASSWD)
            for name in (b"bob", b"carol"):
                proof = proof_of(name, b"secret")
                self.assertOut(users, proof)
                self.assertTrue(proof.checked)
                self.assertIsNone(proof.server_signature)

    def test_decoy_does_not_count(self) -> None:
        """
        Not even if it says yes.
        """

        class Yes(ScramProof):
            def checkKeys(self, stored_key: bytes, server_key: bytes) -> bool:
                return True

        users = self.users(b"alice:" + verifier(b"secret"))
        for name, check in ((b"alice", self.successResultOf), (b"bob", self.failureResultOf)):
            check(self.replies(users, Yes(name, "sha256", b"", 1, b"", b"")))

    def test_parameters(self) -> None:
        users = self.users(
            b"alice:" + SCRAM_SHA_256,
            b"bob:secret",
            b"carol:" + HTPASSWD,
            "jörg:".encode() + verifier(b"x", 3),
        )
        salt = bytes.fromhex("5b6d99689d12358eeca04b141236fa81")
        self.assertEqual(users.scram_parameters(b"alice", "sha256"), (salt, 4096))
        typed = "jo\u0308rg".encode()
        self.assertEqual(users.scram_parameters(typed, "sha256"), (b"salt of 16 bytes", 3))
        self.assertIsNone(users.scram_parameters(b"alice", "sha1"))
        for name in (b"bob", b"carol", b"dora", b"\xff"):
            self.assertIsNone(users.scram_parameters(name, "sha256"))

    def test_iterations(self) -> None:
        """
        Most of the keys decide; of equally many, those that are harder to make.
        """
        lines = [b"%d:%b" % (n, verifier(b"x", n)) for n in (3, 5, 4)]
        users = self.users(*lines, b"plain:secret")
        self.assertEqual(users.scram_iterations("sha256"), 5)
        self.assertIsNone(users.scram_iterations("sha1"))
        users = self.users(*lines, b"one:" + verifier(b"y", 3))
        self.assertEqual(users.scram_iterations("sha256"), 3)
        self.assertIsNone(self.users().scram_iterations("sha256"))


class MadeUpTests(UsersTestCase):
    """
    What those are told who have no keys stays the same as long as keys do.
    """

    #: With server keys that are greater from one to the next.
    KEYS = tuple(
        sorted(
            (verifier(b"%d" % number) for number in range(6)),
            key=lambda line: b64decode(line.rpartition(b":")[2]),
        )
    )

    def secret(self, *keys: bytes, hash_name: str = "sha256") -> bytes | None:
        lines = (b"user%d:%b" % (number, line) for number, line in enumerate(keys))
        return self.users(*lines).scram_secret(hash_name)

    def test_restart(self) -> None:
        secret = self.secret(*self.KEYS)
        assert secret is not None
        self.assertEqual(len(secret), 32)
        self.assertEqual(secret, UsersFile(self.path, self.threads).scram_secret("sha256"))

    def test_edits(self) -> None:
        """
        Only the smallest key counts, and what it is cannot be read from the secret.
        """
        least, *others = self.KEYS
        secret = self.secret(*self.KEYS)
        for keys in ([least], [*others, least], [least, *others[1:]], [least, b"plain", HTPASSWD]):
            self.assertEqual(secret, self.secret(*keys))
        self.assertNotEqual(secret, self.secret(*others))
        self.assertNotIn(secret or b"", b64decode(least.rpartition(b":")[2]))

    def test_nobody(self) -> None:
        self.assertIsNone(self.secret(b"secret", HTPASSWD))
        self.assertIsNone(self.secret(self.KEYS[0], hash_name="sha1"))

    def test_decoys(self) -> None:
        """
        A line that comes changes the decoys of a few names.
        """
        lines = [b"plain%d:secret" % number for number in range(20)]
        lines += [b"%d:%b" % (number, HTPASSWD) for number in range(20)]
        names = [b"nobody%d" % number for number in range(400)]

        def slow(*lines: bytes) -> list[bool]:
            entries = (parse(b"\n".join(lines)).entry(name, "password") for name in names)
            return [entry[0].slow for entry in entries if entry is not None]

        before = slow(*lines)
        for after in (slow(b"zoe:zoe", *lines), slow(*lines[1:]), slow(*lines[:-1])):
            changed = sum(one != other for one, other in zip(before, after, strict=True))
            self.assertLess(changed, 60)
        self.assertEqual(before, slow(*reversed(lines)))


class HashedPasswordTests(UsersTestCase):
    """
    Answers to challenges that only the password itself verifies.
    """

    def test_cram_md5(self) -> None:
        users = self.users(b"alice:secret", b"bob:" + HTPASSWD)
        self.assertIn_(users, cram_md5(b"alice", b"secret"), b"alice")
        self.assertOut(users, cram_md5(b"alice", b"Secret"))
        self.assertOut(users, cram_md5(b"bob", b"pass:word"))
        self.assertOut(users, cram_md5(b"carol", b"secret"))

    def test_interfaces(self) -> None:
        """
        Only what some user can log in with.
        """
        every = (IUsernamePassword, IUsernameHashedPassword, IScramProof)
        for lines, interfaces, hashes in (
            ([], every[:1], set()),
            ([b"a:secret"], every, {"sha1", "sha256"}),
            ([b"a:" + HTPASSWD], every[:1], set()),
            ([b"a:" + SCRAM_SHA_1], (IUsernamePassword, IScramProof), {"sha1"}),
            ([b"a:" + SCRAM_SHA_256], (IUsernamePassword, IScramProof), {"sha256"}),
            ([b"a:" + HTPASSWD, b"b:secret"], every, {"sha1", "sha256"}),
        ):
            users = self.users(*lines)
            self.assertEqual(users.credentialInterfaces, interfaces)
            self.assertEqual(users.scram_hashes, hashes)

    def test_interfaces_change(self) -> None:
        users = self.users(b"a:" + HTPASSWD)
        self.write(b"a:secret")
        self.threads.advance(1)
        self.assertIn(IUsernameHashedPassword, users.credentialInterfaces)


class SameWorkTests(UsersTestCase):
    """
    Whether there is a user takes no time to hear.
    """

    FUNCTIONS = (
        (bcrypt, "hashpw"),
        (argon2.low_level, "hash_secret_raw"),
        (hashlib, "scrypt"),
        (hashlib, "pbkdf2_hmac"),
        (hashlib, "sha256"),
    )

    @contextmanager
    def counted(self) -> Iterator[Counter[Any]]:
        """
        Count the calls of hash functions, with what makes them expensive.
        """
        calls: Counter[Any] = Counter()
        patches = []
        for module, name in self.FUNCTIONS:
            original = getattr(module, name)

            def call(*args: Any, _original: Any = original, _name: str = name, **kw: Any) -> Any:
                # Behind the password or, for PBKDF2, the name of its hash function.
                calls[(_name, args[1:] if _name != "pbkdf2_hmac" else args[2:], str(kw))] += 1
                return _original(*args, **kw)

            patches.append(self.patch(module, name, call))
        yield calls
        for each in patches:
            each.restore()

    def assertSameWork(self, *credentials: Any, times: int = 1, line: bytes) -> None:
        """
        One user, one hash.
        """
        # The functions are looked up when the file is read.
        with self.counted() as calls:
            users = self.users(b"alice:" + line)
            seen = []
            for each in credentials:
                calls.clear()
                self.replies(users, each).addErrback(lambda failure: None)
                seen.append(dict(calls))
        self.assertEqual(seen, [seen[0]] * len(credentials))
        self.assertEqual(sum(seen[0].values()), times)

    PASSWORDS = (
        UsernamePassword(b"alice", b"pass:word"),
        UsernamePassword(b"alice", b"wrong"),
        UsernamePassword(b"bob", b"pass:word"),
        UsernamePassword(b"carol", b""),
        UsernamePassword(b"\xff", b"\xff"),
        UsernamePassword(b"alice", b"x" * 100),
        UsernamePassword(b"bob", b"x" * 100),
    )

    def test_hashes(self) -> None:
        """
        The same hash runs once, with the same parameters, for known and unknown users.
        """
        for line in (*HASHES, SCRYPT, ARGON2ID):
            self.assertSameWork(*self.PASSWORDS, line=line)

    def test_verifier(self) -> None:
        self.assertSameWork(*self.PASSWORDS, line=SCRAM_SHA_256)

    def test_plain(self) -> None:
        # One fingerprint is of what was sent, the other of the decoy that may be needed.
        with self.counted() as calls:
            users = self.users(b"alice:pass:word")
            counts = []
            for each in self.PASSWORDS:
                calls.clear()
                self.replies(users, each).addErrback(lambda failure: None)
                counts.append(Counter(name for name, _, _ in calls.elements()))
        self.assertEqual(counts, [Counter(sha256=2)] * len(counts))

    def test_proofs_of_passwords(self) -> None:
        proofs = [
            proof_of(name, password)
            for name, password in ((b"alice", b"secret"), (b"alice", b"wrong"), (b"bob", b"secret"))
        ]
        calls = []
        users = self.users(b"alice:secret")
        for proof in proofs:
            with self.counted() as counts:
                self.replies(users, proof).addErrback(lambda failure: None)
            calls.append(Counter(name for name, _, _ in counts.elements()))
        self.assertEqual(calls[0]["pbkdf2_hmac"], 1)
        self.assertEqual(calls, [calls[0]] * 3)

    def test_who_waits(self) -> None:
        """
        In a file of many ways, unknown users are as slow as its users are, on the whole; and each
        always as slow as before, also after a restart.
        """
        plain = [b"plain%d:secret" % number for number in range(30)]
        users = self.users(*plain, *(b"%d:%b" % (number, HTPASSWD) for number in range(10)))
        again = UsersFile(self.path, self.threads, self.threads)

        def waits(users: UsersFile, number: int) -> int:
            credentials = UsernamePassword(b"nobody%d" % number, b"secret")
            deferred: Deferred[Any] = users.requestAvatarId(credentials)
            deferred.addErrback(lambda failure: None)
            waiting = len(self.threads.waiting)
            self.threads.waiting.clear()
            deferred.cancel()
            return waiting

        numbers = range(400)
        first = [waits(users, number) for number in numbers]
        self.assertTrue(40 < sum(first) < 160, sum(first))
        self.assertEqual(first, [waits(users, number) for number in numbers])
        self.assertEqual(first, [waits(again, number) for number in numbers])


class ChangeTests(UsersTestCase):
    """
    The file is read again when it has changed.
    """

    def test_change(self) -> None:
        users = self.users(b"alice:secret")
        self.write(b"bob:geheim")
        self.threads.advance(1)
        self.assertLogin(users, b"bob", b"geheim")
        self.assertNoLogin(users, b"alice", b"secret")
        self.assertEqual(self.texts(), [f"{self.path} was read again: 1 users"])

    def test_same_size(self) -> None:
        users = self.users(b"alice:secret")
        self.write(b"alice:geheim")
        os.utime(self.path, ns=(0, 0))
        self.threads.advance(1)
        self.assertLogin(users, b"alice", b"geheim")

    def test_another_file_in_its_place(self) -> None:
        """
        As editors do it, and with the time and the size of the old one.
        """
        users = self.users(b"alice:secret")
        status = self.path.stat()
        other = self.path.with_suffix(".new")
        other.write_bytes(b"alice:geheim\n")
        os.utime(other, ns=(status.st_atime_ns, status.st_mtime_ns))
        other.rename(self.path)
        self.threads.advance(1)
        self.assertLogin(users, b"alice", b"geheim")

    def test_once_a_second(self) -> None:
        looks: list[Any] = []
        stat = os.stat

        def look(path: Any, **kwargs: Any) -> os.stat_result:
            looks.extend([path] if path == str(self.path) else [])
            return stat(path, **kwargs)

        users = self.users(b"alice:secret")
        self.patch(os, "stat", look)
        for _ in range(40):
            self.threads.advance(0.125)
            self.assertLogin(users, b"alice", b"secret")
        self.assertEqual(len(looks), 5)

    def test_unchanged(self) -> None:
        users = self.users(b"alice:secret")
        self.threads.advance(1)
        self.assertLogin(users, b"alice", b"secret")
        self.assertEqual(self.texts(), [])

    def test_clock_set_back(self) -> None:
        self.threads.advance(1000)
        users = self.users(b"alice:secret")
        self.write(b"bob:geheim")
        self.threads.rightNow = 10
        self.assertLogin(users, b"bob", b"geheim")

    def test_broken(self) -> None:
        """
        The users stay as they were, and the log says it once.
        """
        users = self.users(b"alice:secret")
        self.write(b"bob:geheim", b"hunter2")
        for _ in range(3):
            self.threads.advance(1)
            self.assertLogin(users, b"alice", b"secret")
            self.assertNoLogin(users, b"bob", b"geheim")
        self.assertEqual(
            self.texts(),
            [
                f"{self.path}: line 2 has no colon between user name and password; until that is"
                " mended everything stays as it was"
            ],
        )
        self.assertEqual(self.events[-1]["log_level"], LogLevel.warn)
        self.write(b"bob:geheim", b"alice:hunter2")
        self.threads.advance(1)
        self.assertLogin(users, b"bob", b"geheim")
        self.write(b"bob:geheim", b"hunter2")
        self.threads.advance(1)
        self.assertLogin(users, b"alice", b"hunter2")
        self.assertEqual(len(self.texts()), 3)
        self.assertNotIn("hunter2", repr(self.events))

    def test_gone_and_back(self) -> None:
        """
        The very same file may come back.
        """
        users = self.users(b"alice:secret")
        aside = self.path.with_suffix(".aside")
        self.path.rename(aside)
        for _ in range(2):
            self.threads.advance(1)
            self.assertLogin(users, b"alice", b"secret")
        (text,) = self.texts()
        self.assertIn(f"{self.path}: No such file or directory; ", text)
        aside.rename(self.path)
        self.threads.advance(1)
        self.assertLogin(users, b"alice", b"secret")
        self.assertEqual(len(self.texts()), 2)

    def test_working_directory(self) -> None:
        """
        A daemon changes its directory.
        """
        self.write(b"alice:secret")
        users = UsersFile(os.path.relpath(self.path), self.threads)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir("/")
        self.write(b"alice:geheim!")
        self.threads.advance(1)
        self.assertLogin(users, b"alice", b"geheim!")


class StartTests(UsersTestCase):
    def assertNoStart(self, problem: str) -> None:
        error = self.assertRaises(ValueError, UsersFile, str(self.path), self.threads)
        self.assertEqual(str(error), f"{self.path}: {problem}")

    def test_lines(self) -> None:
        """
        A line that is wrong is named by its number, and nothing of it is told.
        """
        for line, problem in {
            b"hunter2": "no colon between user name and password",
            b" ": "no colon between user name and password",
            b":hunter2": "no acceptable user name before the colon",
            b"hun\tter2:hunter2": "no acceptable user name before the colon",
            b"x" * 1025 + b":hunter2": "no acceptable user name before the colon",
            b"hunter2:\xff": "invalid UTF-8",
            b"\xff:hunter2": "invalid UTF-8",
            b"alice:hunter2": "a user name for the second time",
            "\uff41lice:hunter2".encode(): "a user name for the second time",
            b"hunter2:": "an empty password",
            b"hunter2:$apr1$h9nwIcwv$WVL6Ha5fg7PZ7PhUZeSAZ/": "a kind of hash that is not known"
            " (put {PLAIN} before a password that looks like one)",
            b"hunter2:$2y$05$jNyEo6j8hksvUPZ5": "a hash that is incomplete or malformed",
        }.items():
            self.write(b"# Users", b"alice:secret", line, b"bob:geheim")
            self.assertNoStart(f"line 3 has {problem}")

    def test_files(self) -> None:
        self.assertNoStart("No such file or directory")
        self.path.mkdir()
        self.assertNoStart("Is a directory")

    def test_pipe(self) -> None:
        """
        It is not waited for.
        """
        os.mkfifo(self.path)
        self.assertNoStart("it is not a regular file")

    def test_nameless_error(self) -> None:
        def unreadable(*args: Any) -> int:
            raise OSError

        self.patch(os, "open", unreadable)
        self.assertNoStart("it cannot be read")

    def test_readable_by_others(self) -> None:
        """
        A group may well read it.
        """
        self.users(b"alice:secret", mode=0o640)
        self.assertEqual(self.texts(), [])
        users = self.users(b"alice:secret", mode=0o604)
        (text,) = self.texts()
        self.assertEqual(
            text, f"{self.path} can be read by everybody on this machine: chmod o-r it"
        )
        self.assertEqual(self.events[-1]["log_level"], LogLevel.warn)
        self.write(b"alice:secret2", mode=0o644)
        self.threads.advance(1)
        self.assertLogin(users, b"alice", b"secret2")
        self.assertEqual(self.texts(), [text, f"{self.path} was read again: 1 users"])

    @given(st.binary(max_size=200))
    def test_any_file(self, data: bytes) -> None:
        """
        It is read, or there is one sentence.
        """
        try:
            self.assertIsInstance(parse(data), Users)
        except ValueError as error:
            self.assertRegex(
                str(error), r"\Aline [0-9]+ has an? [ -~]+\Z|\Aline [0-9]+ has [ -~]+\Z"
            )


class SecrecyTests(UsersTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.addCleanup(setDebugging, getDebugging())
        # Failures remember variables.
        setDebugging(True)

    def assertSecret(self, *shown: Any) -> None:
        for each in shown:
            text = repr(each) + str(each)
            if isinstance(each, Failure):
                text += each.getErrorMessage() + each.getTraceback() + self.variables(each)
            for secret in ("hunter2", HTPASSWD[8:].decode(), SCRAM_SHA_256[20:60].decode()):
                self.assertNotIn(secret, text)

    def variables(self, failure: Failure) -> str:
        """
        What a detailed traceback shows of our own functions: those of the tests have secrets.
        """
        failure.getTraceback(detail="verbose")
        ours = os.path.dirname(txsmtpd.__file__)
        frames = (*failure.frames, *failure.stack)
        return repr([frame for frame in frames if frame[1].startswith(ours)])

    LINES = (b"alice:hunter2", b"bob:" + HTPASSWD, b"carol:" + SCRAM_SHA_256)

    def test_refusals(self) -> None:
        users = self.users(*self.LINES, mode=0o644)
        self.assertSecret(users, users._current(), *users._current().by_name.values())
        for name in (b"alice", b"bob", b"carol", b"dora"):
            for password in (b"Xhunter2", b"hunter2X"):
                for credentials in (
                    UsernamePassword(name, password),
                    cram_md5(name, password),
                    proof_of(name, password),
                ):
                    deferred = self.replies(users, credentials)
                    failure = self.failureResultOf(deferred, UnauthorizedLogin)
                    self.assertSecret(failure, deferred)
                    self.assertNotIn("dora", self.variables(failure))
        self.assertSecret(self.events)

    def test_errors(self) -> None:
        """
        Neither does it show when something breaks that never should.
        """

        def broken(password: bytes, *args: Any) -> bytes:
            raise RuntimeError(f"no {password!r}")

        users = self.users(*self.LINES)
        self.patch(bcrypt, "hashpw", broken)
        self.patch(hashlib, "pbkdf2_hmac", broken)
        self.patch(CramMD5Credentials, "checkPassword", broken)
        proof = ScramProof(b"alice", "sha256", b"hunter2", 1, b"hunter2", b"hunter2")
        for credentials in (
            UsernamePassword(b"bob", b"hunter2"),
            UsernamePassword(b"carol", b"hunter2"),
            cram_md5(b"alice", b"hunter2"),
            proof,
        ):
            failure = self.failureResultOf(self.replies(users, credentials), HashingError)
            self.assertIn("RuntimeError in ", failure.getErrorMessage())
            self.assertSecret(failure)

    def test_start(self) -> None:
        self.write(*self.LINES, b"dora:hunter2", b"dora:hunter2")
        try:
            UsersFile(self.path, self.threads)
        except ValueError:
            failure = Failure(captureVars=True)
        self.assertIn("line 5 has", failure.getErrorMessage())
        self.assertIn("_read", self.variables(failure))
        self.assertSecret(failure)
        self.assertIsNone(failure.value and failure.value.__context__)


@implementer(IRealm)
class Realm:
    def requestAvatar(self, name: Any, mind: object, *interfaces: Any) -> Any:
        return interfaces[0], (name, threading.current_thread()), lambda: None


class PortalTests(TestCase):
    """
    With twisted.cred as it is, and threads.
    """

    def portal(self, *lines: bytes) -> Portal:
        path = Path(self.mktemp())
        path.write_bytes(b"\n".join(lines))
        path.chmod(0o600)
        return Portal(Realm(), [makeChecker(f"users:{path}")])

    async def login(self, portal: Portal, credentials: Any) -> Any:
        _, avatar, _ = await portal.login(credentials, None, IPlugin)
        return avatar

    async def test_login(self) -> None:
        portal = self.portal(b"alice:" + HTPASSWD, b"bob:secret")
        credentials: Any
        for credentials in (
            UsernamePassword(b"alice", b"pass:word"),
            UsernamePassword(b"bob", b"secret"),
            cram_md5(b"bob", b"secret"),
            proof_of(b"bob", b"secret"),
        ):
            expected = (credentials.username, threading.current_thread())
            self.assertEqual(await self.login(portal, credentials), expected)
        for credentials in (
            UsernamePassword(b"alice", b"pass"),
            UsernamePassword(b"carol", b"pass:word"),
            cram_md5(b"alice", b"pass:word"),
            proof_of(b"bob", b"Secret"),
        ):
            with self.assertRaises(UnauthorizedLogin):
                await self.login(portal, credentials)

    async def test_interfaces(self) -> None:
        portal = self.portal(b"alice:" + HTPASSWD)
        self.assertEqual(portal.listCredentialsInterfaces(), [IUsernamePassword])
        with self.assertRaises(UnhandledCredentials):
            await self.login(portal, cram_md5(b"alice", b"pass:word"))


class FactoryTests(UsersTestCase):
    def test_found(self) -> None:
        """
        ``--auth users:FILE`` finds it.
        """
        factory = findCheckerFactory("users")
        self.write(b"alice:secret")
        for each in (factory, UsersFileFactory()):
            verifyObject(ICheckerFactory, each)
            verifyObject(IPlugin, each)
            self.assertIn("first colon", each.authHelp)
            self.assertIsInstance(each.argStringFormat, str)
            self.assertIn(IScramProof, each.credentialInterfaces)
            checker = each.generateChecker(str(self.path))
            self.assertIsInstance(checker, UsersFile)
            self.assertEqual(repr(checker), f"<UsersFile '{self.path}': 1 users>")

    def test_colon_in_path(self) -> None:
        self.path = self.path.with_suffix(".a:b")
        self.write(b"alice:secret")
        self.assertIsInstance(makeChecker(f"users:{self.path}"), UsersFile)

    def test_no_path(self) -> None:
        for text in ("users", "users:"):
            error = self.assertRaises(ValueError, makeChecker, text)
            self.assertEqual(str(error), "users wants the path of a file: users:FILE")
