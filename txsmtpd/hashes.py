"""
How a password may be kept in a file, and how one that a client sends is checked against it.

Three classes share one shape, :class:`Entry`: the password itself, a slow hash of it, and what a
server needs for SCRAM.  A check does the same work whether it succeeds or not, and nothing here
shows a password or a hash: not in a repr, not in an error, and not as a variable in a traceback,
which is what :func:`sealed` is for.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import secrets
import traceback
from collections.abc import Callable
from hmac import compare_digest
from hmac import digest as hmac_digest
from typing import ClassVar, Protocol, TypeVar

import attrs

from .sasl import saslprep

T = TypeVar("T")
#: A password into its digest.
Derive = Callable[[bytes], bytes]

#: What an entry may be good for: a password that the client sends, an answer to a challenge that
#: takes the password itself to verify, or SCRAM with a hash function, which `hashlib` names.
PASSWORD, HASHED = "password", "hashed"
SCRAM_HASHES = {b"SCRAM-SHA-1": "sha1", b"SCRAM-SHA-256": "sha256"}

#: Octets of memory that one check of a password may take.
MEMORY = 2**30


class HashingError(Exception):
    """
    A password could not be checked, right or wrong.
    """


class _MalformedError(ValueError):
    """
    Something begins like a hash that we know, and does not go on like one.
    """


def sealed(work: Callable[[], T]) -> T:
    """
    Do what takes a password.

    :raise HashingError: for any exception.  It says where that came from, and has none of its
        frames: the password is a variable there.
    """
    try:
        return work()
    except Exception as error:
        *_, place = traceback.extract_tb(error.__traceback__)
        problem = f"{type(error).__name__} in {place.filename}, line {place.lineno}"
    raise HashingError(f"a password could not be checked: {problem}")


class Entry(Protocol):
    """
    What is kept of one user's password.
    """

    @property
    def uses(self) -> tuple[str, ...]:
        """
        What it is good for: `PASSWORD`, `HASHED` or a hash function of SCRAM.
        """

    @property
    def slow(self) -> bool:
        """
        Whether `matches` is too slow for the reactor's thread.
        """

    @property
    def core(self) -> bytes:
        """
        What nobody knows who has not read the file, but for this user.
        """

    def matches(self, password: bytes) -> bool:
        """
        Whether this is the password.
        """

    def decoy(self) -> Entry:
        """
        :return: an entry of the same cost, for a password that nobody has.
        """


@attrs.frozen
class Plain:
    """
    The password itself.
    """

    slow: ClassVar[bool] = False
    uses: ClassVar[tuple[str, ...]] = (PASSWORD, HASHED, *SCRAM_HASHES.values())

    secret: bytes = attrs.field(repr=False)
    _fingerprint: bytes = attrs.field(init=False, repr=False)

    @_fingerprint.default
    def _make_fingerprint(self) -> bytes:
        return _fingerprint(self.secret)

    @property
    def core(self) -> bytes:
        return self.secret

    def matches(self, password: bytes) -> bool:
        return compare_digest(_fingerprint(password), self._fingerprint)

    def decoy(self) -> Plain:
        # Printable, so that whoever prepares passwords (RFC 4013) does not stop at this one.
        length = len(self.secret)
        return Plain(secrets.token_urlsafe(length)[:length].encode())


def _fingerprint(password: bytes) -> bytes:
    # Prepared, so that a password is the same here and in SCRAM (RFC 4616 section 2); and a digest,
    # because the time of a comparison tells lengths, and these are equally long.
    return hashlib.sha256(saslprep.password(password)).digest()


@attrs.frozen
class Hashed:
    """
    A digest that takes long to make of a password.
    """

    slow: ClassVar[bool] = True
    uses: ClassVar[tuple[str, ...]] = (PASSWORD,)

    derive: Derive = attrs.field(repr=False)
    digest: bytes = attrs.field(repr=False)

    @property
    def core(self) -> bytes:
        return self.digest

    def matches(self, password: bytes) -> bool:
        return compare_digest(self.derive(password), self.digest)

    def decoy(self) -> Hashed:
        return attrs.evolve(self, digest=secrets.token_bytes(len(self.digest)))


@attrs.frozen
class Verifier:
    """
    What a server needs for SCRAM, and which a client cannot log in with (RFC 5802 section 3).
    """

    slow: ClassVar[bool] = True

    hash_name: str
    iterations: int
    salt: bytes = attrs.field(repr=False)
    stored_key: bytes = attrs.field(repr=False)
    server_key: bytes = attrs.field(repr=False)

    @property
    def uses(self) -> tuple[str, ...]:
        return (PASSWORD, self.hash_name)

    @property
    def core(self) -> bytes:
        return self.server_key

    def matches(self, password: bytes) -> bool:
        salted = hashlib.pbkdf2_hmac(
            self.hash_name, saslprep.password(password), self.salt, self.iterations
        )
        client_key = hmac_digest(salted, b"Client Key", self.hash_name)
        return compare_digest(hashlib.new(self.hash_name, client_key).digest(), self.stored_key)

    def decoy(self) -> Verifier:
        size = len(self.stored_key)
        return attrs.evolve(
            self, stored_key=secrets.token_bytes(size), server_key=secrets.token_bytes(size)
        )


# The first 72 octets of a password count, so a longer one would let a prefix of itself in; and some
# programs hash one only up to a NUL.  Such passwords never match; checking them takes as long.
_BCRYPT_LENGTH = 72
# The last character of the salt has two bits that count, the others are zero.
_BCRYPT = re.compile(
    rb"(\$2[aby]\$(?:0[4-9]|[12][0-9]|3[01])\$[./A-Za-z0-9]{21}[.Oeu])([./A-Za-z0-9]{31})"
)


def _bcrypt(text: bytes) -> Hashed:
    import bcrypt

    settings, digest = _fields(_BCRYPT, text)

    def derive(password: bytes) -> bytes:
        proper = password[:_BCRYPT_LENGTH].replace(b"\0", b"")
        derived = bcrypt.hashpw(proper, settings)[-len(digest) :]
        return derived if proper == password else b""

    return Hashed(derive, digest)


# The string format of Argon2's own program and of the PHC: base64 has no padding there.
_BASE64 = rb"([A-Za-z0-9+/]+)"
_ARGON2 = re.compile(
    rb"\$argon2(i|d|id)(?:\$v=(16|19))?\$m=([0-9]{1,9}),t=([0-9]{1,9}),p=([0-9]{1,7})"
    rb"\$" + _BASE64 + rb"\$" + _BASE64
)


def _argon2(text: bytes) -> Hashed:
    from argon2.low_level import Type, hash_secret_raw

    kind, version, *numbers, salt64, digest64 = _fields(_ARGON2, text)
    memory, time, lanes = map(int, numbers)
    salt, digest = _unbase64(salt64), _digest(digest64)
    # What RFC 9106 section 3.1 allows.
    _demand(time >= 1 and 1 <= lanes < 2**24 and memory >= 8 * lanes and len(salt) >= 8)
    _demand_memory(memory * 1024)

    def derive(password: bytes) -> bytes:
        return hash_secret_raw(
            password,
            salt,
            time,
            memory,
            lanes,
            len(digest),
            Type[kind.decode().upper()],
            # The first version did not yet say which it was.
            int(version or 16),
        )

    return Hashed(derive, digest)


_SCRYPT = re.compile(
    rb"\$scrypt\$ln=([0-9]{1,2}),r=([0-9]{1,9}),p=([0-9]{1,9})\$" + _BASE64 + rb"\$" + _BASE64
)


def _scrypt(text: bytes) -> Hashed:
    *numbers, salt64, digest64 = _fields(_SCRYPT, text)
    log_n, r, p = map(int, numbers)
    salt, digest = _unbase64(salt64), _digest(digest64)
    # What RFC 7914 section 2 allows; the memory is OpenSSL's count.
    _demand(1 <= log_n < 16 * r and p >= 1)
    memory = 128 * r * (2**log_n + p + 2)
    _demand_memory(memory)

    def derive(password: bytes) -> bytes:
        return hashlib.scrypt(
            password, salt=salt, n=2**log_n, r=r, p=p, maxmem=memory, dklen=len(digest)
        )

    return Hashed(derive, digest)


# As PostgreSQL keeps them: base64 has its padding here.
_PADDED = rb"([A-Za-z0-9+/]+={0,2})"
_VERIFIER = re.compile(
    rb"(SCRAM-SHA-[0-9]+)\$([1-9][0-9]{0,8}):" + _PADDED + rb"\$" + _PADDED + rb":" + _PADDED
)


def _verifier(text: bytes) -> Verifier:
    mechanism, iterations, *encoded = _fields(_VERIFIER, text)
    salt, stored_key, server_key = map(_unbase64, encoded)
    hash_name = SCRAM_HASHES[mechanism]
    _demand(len(stored_key) == len(server_key) == hashlib.new(hash_name).digest_size)
    return Verifier(hash_name, int(iterations), salt, stored_key, server_key)


def _demand(condition: bool) -> None:
    if not condition:
        raise _MalformedError


def _demand_memory(octets: int) -> None:
    if octets > MEMORY:
        raise ValueError(f"a hash that takes more than {MEMORY // 2**20} MiB of memory to check")


def _fields(pattern: re.Pattern[bytes], text: bytes) -> tuple[bytes, ...]:
    found = pattern.fullmatch(text)
    if found is None:
        raise _MalformedError
    return found.groups()


def _unbase64(text: bytes) -> bytes:
    padding = b"=" * (-len(text) % 4)
    try:
        return base64.b64decode(text + padding, validate=True)
    except binascii.Error:
        raise _MalformedError from None


def _digest(text: bytes) -> bytes:
    """
    A digest, which is not a short one: that would be what is left of one, and easily hit.
    """
    digest = _unbase64(text)
    _demand(16 <= len(digest) <= 1024)
    return digest


_READERS: dict[bytes, Callable[[bytes], Hashed | Verifier]] = {
    **dict.fromkeys((b"2a", b"2b", b"2y"), _bcrypt),
    **dict.fromkeys((b"argon2i", b"argon2d", b"argon2id"), _argon2),
    b"scrypt": _scrypt,
    **dict.fromkeys(SCRAM_HASHES, _verifier),
}
# What says in which way a password is kept.  Ways that we do not know look alike, and none of them
# may pass for a password: then its hash would be one.
_KIND = re.compile(rb"\$([A-Za-z0-9-]{1,32})(?=[$,])|(SCRAM-[A-Z0-9-]+)\$|\{([A-Za-z0-9._-]+)\}")


def read_entry(text: bytes) -> Entry:
    """
    Read what stands behind a user's name.

    :raise ValueError: with what is wrong, as the end of a sentence that repeats nothing of `text`.
    """
    kind = _KIND.match(text)
    if kind is None:
        return _plain(text)
    dollars, scram, braces = kind.groups()
    if braces and braces.upper() == b"PLAIN":
        return _plain(text[kind.end() :])
    reader = _READERS.get(dollars or scram or b"")
    if reader is None:
        raise ValueError(
            "a kind of hash that is not known (put {PLAIN} before a password that looks like one)"
        )
    try:
        return reader(text)
    except _MalformedError:
        raise ValueError("a hash that is incomplete or malformed") from None
    except ImportError:
        raise ValueError(
            "a hash that takes another package to check: pip install txsmtpd[passwords]"
        ) from None


def _plain(password: bytes) -> Plain:
    if not password:
        raise ValueError("an empty password")
    return Plain(password)
