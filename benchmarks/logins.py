"""
How long a wrong password takes for users that there are and for others: ``python -m
benchmarks.logins``, from a checkout.

Whoever can tell the two distributions apart learns who has a mailbox.  So for each way to keep a
password there is a file of users of that kind, and known and unknown names take turns, in a random
order, at the checker itself: what a network adds would only hide a difference.

The last column says how well a single attempt tells them apart: it is the probability that one of
a known user takes less time than one of an unknown user, which is 0.5 if nothing can be told.
"""

from __future__ import annotations

import argparse
import gc
import hashlib
import os
import random
import tempfile
from base64 import b64encode
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator, Sequence
from statistics import median, quantiles
from time import perf_counter
from typing import Any

import argon2
import attrs
import bcrypt
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.python.failure import Failure

from txsmtpd.sasl import saslprep
from txsmtpd.users import UsersFile

from . import CheckFailed
from .report import table

#: Users in each file.
USERS = 100
PASSWORD = b"correct horse battery staple"
SALT = b"0123456789abcdef"


@attrs.frozen
class Distribution:
    """
    How long attempts took, in seconds.
    """

    low: float
    middle: float
    high: float

    @classmethod
    def of(cls, seconds: Sequence[float]) -> Distribution:
        """
        The median, and what one attempt in twenty stays below or goes above.
        """
        twentieths = quantiles(seconds, n=20, method="inclusive")
        return cls(twentieths[0], median(seconds), twentieths[-1])

    def __str__(self) -> str:
        return " ".join(f"{each * 1e6:.1f}" for each in (self.low, self.middle, self.high))


def sooner(some: Sequence[float], others: Sequence[float]) -> float:
    """
    :return: the probability that one of `some` is less than one of `others`; those that are equal
        count half.
    """
    ordered = sorted(others)
    size = len(ordered)
    wins = sum(2 * size - bisect_left(ordered, x) - bisect_right(ordered, x) for x in some)
    return wins / (2 * len(some) * size)


class _Threads(Clock):
    """
    Time, and threads that are none: an attempt is over when its function returns.
    """

    def callFromThread(self, function: Callable[..., Any], *arguments: Any) -> None:
        function(*arguments)

    def callInThreadWithCallback(
        self, done: Callable[[bool, Any], None], function: Callable[..., Any], *arguments: Any
    ) -> None:
        done(True, function(*arguments))


def _base64(octets: bytes) -> str:
    return b64encode(octets).decode().rstrip("=")


def _bcrypt() -> str:
    return bcrypt.hashpw(PASSWORD, bcrypt.gensalt(10)).decode()


def _scrypt() -> str:
    digest = hashlib.scrypt(PASSWORD, salt=SALT, n=2**14, r=8, p=1)
    return f"$scrypt$ln=14,r=8,p=1${_base64(SALT)}${_base64(digest)}"


def _argon2() -> str:
    return argon2.PasswordHasher(memory_cost=19456, time_cost=2, parallelism=1).hash(PASSWORD)


def _scram() -> str:
    digest = hashlib.pbkdf2_hmac("sha256", saslprep.password(PASSWORD), SALT, 4096)
    key = b64encode(digest).decode()
    return f"SCRAM-SHA-256$4096:{b64encode(SALT).decode()}${key}:{key}"


#: What stands behind a name in the file, by the kind of it.
KINDS: dict[str, Callable[[], str]] = {
    "plain": PASSWORD.decode,
    "SCRAM": _scram,
    "bcrypt": _bcrypt,
    "scrypt": _scrypt,
    "argon2": _argon2,
}


def measure(kind: str, attempts: int) -> tuple[list[float], list[float]]:
    """
    :param attempts: for known users, and as many for others.
    :return: how many seconds each took, for known users and for others.
    """
    entry = KINDS[kind]()
    with tempfile.NamedTemporaryFile("w", suffix=".users") as file:
        file.writelines(f"user{number:03}:{entry}\n" for number in range(USERS))
        file.flush()
        os.chmod(file.name, 0o600)
        threads = _Threads()
        checker = UsersFile(file.name, threads, threads)
        known: list[float] = []
        unknown: list[float] = []
        turns = [("user", known), ("none", unknown)] * attempts
        random.shuffle(turns)
        # A collection in the middle of one attempt is no property of it.
        gc.disable()
        try:
            for number, (name, times) in enumerate(turns):
                times.append(_attempt(checker, f"{name}{number % USERS:03}".encode()))
        finally:
            gc.enable()
    return known, unknown


def _attempt(checker: UsersFile, name: bytes) -> float:
    credentials = UsernamePassword(name, b"a wrong one")
    begun = perf_counter()
    answer: Deferred[Any] = checker.requestAvatarId(credentials)
    taken = perf_counter() - begun
    outcome: list[Any] = []
    answer.addBoth(outcome.append)
    if not (outcome and isinstance(outcome[0], Failure) and outcome[0].check(UnauthorizedLogin)):
        raise CheckFailed(f"{name.decode()} was not refused at once, but: {outcome}")
    return taken


def rows(kinds: Sequence[str], attempts: int) -> Iterator[list[str]]:
    for kind in kinds:
        known, unknown = measure(kind, attempts)
        beside = f"{sooner(known, unknown):.3f}"
        yield [kind, str(Distribution.of(known)), str(Distribution.of(unknown)), beside]


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.logins",
        description="Time wrong passwords of known and unknown users, and print a Markdown table.",
    )
    parser.add_argument(
        "--attempts", type=int, default=200, metavar="N", help="for each column (200)"
    )
    parser.add_argument("--kind", action="append", choices=KINDS, help="repeatable (all of them)")
    chosen = parser.parse_args()
    heads = ["password", "known: 5 %, median, 95 % in µs", "unknown", "known sooner"]
    print(table(heads, rows(chosen.kind or list(KINDS), chosen.attempts)))


if __name__ == "__main__":
    main()
