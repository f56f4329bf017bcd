from __future__ import annotations

import hashlib
import sys
from base64 import b64decode
from typing import Any
from unittest.mock import patch

import argon2.low_level
import bcrypt
from hypothesis import given
from hypothesis import strategies as st
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.hashes import (
    Entry,
    Hashed,
    HashingError,
    Plain,
    Verifier,
    read_entry,
    sealed,
)
from txsmtpd.sasl.credentials import ScramProof

# Each is of "pass:word" and was made by another program.
HTPASSWD = b"$2y$05$jNyEo6j8hksvUPZ5wS8/QOPkVQegUtiXb.hsTcmAJtDAUpIR3Kdcu"
SCRYPT = b"$scrypt$ln=4,r=8,p=1$FmIsRWgNwRjjPEfIGYPw/g$Gl86erJdtE98Mre1BzthScBmMYbInoLLZ9sLsyQukbo"
ARGON2ID = (
    b"$argon2id$v=19$m=64,t=1,p=4$yxmDsNa615qzdg6htLb2Hg"
    b"$40Tft/Nm0j+7+GYnBcY52gBj1VWxJ87HUwyXtoudqVI"
)
ARGON2I = (
    b"$argon2i$v=19$m=64,t=1,p=4$JcSYE6L0XitlDOHcm9M65w$Gr3Y4v+eTGIbCXMjtKYPiGZfkPZ16aB4O2ZPh35+nKY"
)
ARGON2D = (
    b"$argon2d$v=19$m=64,t=1,p=4$KKXUWuu9Vwrh3Pv/f+/9Pw$R6+NwUyr2EHYDKOAWaO7+hdThrd5TgGhSs2LeIkZoJc"
)
# The same without its version was usual in the first version.
ARGON2_FIRST = b"$argon2i$m=64,t=1,p=1$c29tZXNhbHQ$3LI+hOC53IogZvzd0bDWOqmPHzqt2IAn2mT3SI5rhXs"
HASHES = (HTPASSWD, SCRYPT, ARGON2ID, ARGON2I, ARGON2D, ARGON2_FIRST)

# Of "pencil", with the salts of the examples in RFC 5802 and RFC 7677.
SCRAM_SHA_1 = (
    b"SCRAM-SHA-1$4096:QSXCR+Q6sek8bf92$6dlGYMOdZcOPutkcNY8U2g7vK9Y=:D+CSWLOshSulAsxiupA+qs2/fTE="
)
SCRAM_SHA_256 = (
    b"SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=:"
    b"wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU="
)


class PlainTests(SynchronousTestCase):
    def test_password(self) -> None:
        for text, password in {
            b"secret": b"secret",
            b" a:b: ": b" a:b: ",
            b"$ecret": b"$ecret",
            b"$5 and more": b"$5 and more",
            b"$": b"$",
            b"SCRAM-me": b"SCRAM-me",
            b"{}": b"{}",
            b"{PLAIN}" + HTPASSWD: HTPASSWD,
            b"{plain}{PLAIN}": b"{PLAIN}",
            b"{PLAIN}{SHA}x": b"{SHA}x",
        }.items():
            entry = read_entry(text)
            self.assertIsInstance(entry, Plain)
            self.assertTrue(entry.matches(password), text)
            self.assertFalse(entry.matches(password[:-1]), text)
            self.assertFalse(entry.matches(password + b"\0"), text)
            self.assertFalse(entry.matches(b""), text)
            self.assertFalse(entry.slow)

    def test_prepared(self) -> None:
        """
        One password is one in every mechanism, however its letters were typed (RFC 4616).
        """
        self.assertTrue(read_entry("u\u0308ber".encode()).matches("über".encode()))

    @given(st.binary(min_size=1, max_size=300), st.binary(max_size=300))
    def test_any_octets(self, secret: bytes, password: bytes) -> None:
        """
        Whatever a client sends is an answer, and no error.
        """
        entry = Plain(secret)
        self.assertTrue(entry.matches(secret))
        entry.matches(password)

    def test_decoy(self) -> None:
        """
        It is as long, and for a password that SASLprep has nothing against.
        """
        for length in (1, 2, 20, 300):
            entry = Plain(b"x" * length)
            decoy = entry.decoy()
            self.assertEqual(len(decoy.secret), length)
            self.assertTrue(decoy.secret.isascii() and decoy.secret.decode().isprintable())
        self.assertNotEqual(decoy.secret, entry.decoy().secret)


class HashedTests(SynchronousTestCase):
    def test_password(self) -> None:
        for text in HASHES:
            entry = read_entry(text)
            self.assertIsInstance(entry, Hashed)
            self.assertTrue(entry.slow)
            self.assertTrue(entry.matches(b"pass:word"), text)
            for wrong in (b"pass", b"pass:word ", b"PASS:WORD", b"", text, b"\xff"):
                self.assertFalse(entry.matches(wrong), (text, wrong))

    def test_other_names_of_bcrypt(self) -> None:
        for name in (b"$2a$", b"$2b$"):
            self.assertTrue(read_entry(name + HTPASSWD[4:]).matches(b"pass:word"))

    def test_long_password_and_bcrypt(self) -> None:
        """
        A longer password lets no prefix of itself in, and costs what others do.
        """
        entry = read_entry(b"$2b$04$QOxPPLbCSGC58q2/u6vv/e5O2HUmuJvEXZy/l5OHLn527xtfLVRf2")
        calls = self.counted(bcrypt, "hashpw")
        self.assertTrue(entry.matches(b"x" * 72))
        self.assertFalse(entry.matches(b"x" * 73))
        self.assertFalse(entry.matches(b"x" * 10000))
        self.assertEqual(len(calls), 3)

    def test_nul_and_bcrypt(self) -> None:
        """
        A NUL is not passed over, nor the end of a password.
        """
        entry = read_entry(b"$2b$04$/bjbqEMIOFYGAOl0g4jWd.4xR20iYJZwODIPFIfCXDjPKbzIHt066")
        calls = self.counted(bcrypt, "hashpw")
        self.assertTrue(entry.matches(b"ab"))
        self.assertFalse(entry.matches(b"a\0b"))
        self.assertFalse(entry.matches(b"ab\0"))
        self.assertFalse(entry.matches(b"ab\0c"))
        self.assertEqual(len(calls), 4)

    def counted(self, module: Any, name: str) -> list[tuple[Any, ...]]:
        calls: list[tuple[Any, ...]] = []
        original = getattr(module, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            calls.append((args[1:], kwargs))
            return original(*args, **kwargs)

        self.patch(module, name, call)
        return calls

    def test_decoy(self) -> None:
        """
        It does the very same, only that its password is nobody's.
        """
        hashes = {
            HTPASSWD: (bcrypt, "hashpw"),
            ARGON2ID: (argon2.low_level, "hash_secret_raw"),
            SCRYPT: (hashlib, "scrypt"),
            SCRAM_SHA_256: (hashlib, "pbkdf2_hmac"),
        }
        for text, (module, name) in hashes.items():
            calls = self.counted(module, name)
            entry = read_entry(text)
            decoy = entry.decoy()
            entry.matches(b"pass:word")
            self.assertFalse(decoy.matches(b"pass:word"))
            one, other = (args for args, _ in calls)
            # What a hash is called with behind the password: all but bcrypt take the salt there.
            self.assertEqual(one, other)

    def test_unhappy_library(self) -> None:
        """
        What a library raises keeps the password in its frames, and is not passed on.
        """

        def broken(secret: bytes, *args: Any) -> bytes:
            raise MemoryError(f"no room for {secret!r}")

        self.patch(argon2.low_level, "hash_secret_raw", broken)
        entry = read_entry(ARGON2ID)
        try:
            # Backwards, because a traceback shows this line.
            sealed(lambda: entry.matches(b"2retnuh"[::-1]))
        except HashingError:
            failure = Failure(captureVars=True)
        text = failure.getTraceback() + failure.getTraceback(detail="verbose") + repr(failure)
        self.assertIn("MemoryError in ", text)
        self.assertIn("test_hashes.py, line ", text)
        self.assertNotIn("hunter2", text)
        self.assertIsNone(failure.value and failure.value.__context__)


class VerifierTests(SynchronousTestCase):
    def verifier(self, text: bytes) -> Verifier:
        entry = read_entry(text)
        assert isinstance(entry, Verifier)
        return entry

    def test_password(self) -> None:
        for text in (SCRAM_SHA_1, SCRAM_SHA_256):
            entry = self.verifier(text)
            self.assertTrue(entry.slow)
            self.assertTrue(entry.matches(b"pencil"))
            self.assertFalse(entry.matches(b"pencil "))
            self.assertFalse(entry.matches(b""))
            self.assertFalse(entry.matches(b"\xff\0"))

    def test_prepared(self) -> None:
        """
        Keys are made of the prepared password (RFC 5802 section 2.2): this is of "IX".
        """
        entry = self.verifier(
            b"SCRAM-SHA-256$1:W22ZaJ0SNY7soEsUEjb6gQ==$Wz3o2EA1Zo3I3nxU1RS4TPT0Q6dupqCPQJzkkSBWV6U="
            b":h30SbKhp0aw2V7hsJkaRnuSog6Bs43vrDiiRQH1mrKc="
        )
        self.assertTrue(entry.matches("I\xadX".encode()))

    def test_examples(self) -> None:
        """
        The examples of RFC 5802 section 5 and RFC 7677 section 3.
        """
        for text, first, server, final, proof, answer in (
            (
                SCRAM_SHA_1,
                "n=user,r=fyko+d2lbbFgONRv9qkxdawL",
                "r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j,s=QSXCR+Q6sek8bf92,i=4096",
                "c=biws,r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j",
                "v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                "rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ),
            (
                SCRAM_SHA_256,
                "n=user,r=rOprNGfwEbeRWgbNEkqO",
                "r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,"
                "s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0",
                "dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                "6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ),
        ):
            entry = self.verifier(text)
            message = f"{first},{server},{final}".encode()
            made = ScramProof(
                b"user",
                entry.hash_name,
                entry.salt,
                entry.iterations,
                message,
                b64decode(proof),
            )
            self.assertTrue(made.checkKeys(entry.stored_key, entry.server_key))
            self.assertEqual(made.server_signature, b64decode(answer))

    def test_decoy(self) -> None:
        entry = self.verifier(SCRAM_SHA_256)
        decoy = entry.decoy()
        self.assertEqual((decoy.salt, decoy.iterations), (entry.salt, entry.iterations))
        self.assertNotEqual(decoy.stored_key, entry.stored_key)
        self.assertNotEqual(decoy.server_key, entry.server_key)


class ErrorTests(SynchronousTestCase):
    def assertRefused(self, text: bytes, problem: str) -> None:
        error = self.assertRaises(ValueError, read_entry, text)
        self.assertIn(problem, str(error))
        self.assertNotIn(text[1:8].decode("latin-1") or "?", str(error).replace("{PLAIN}", ""))

    def test_empty(self) -> None:
        """
        It would let in whoever has no password.
        """
        for text in (b"", b"{PLAIN}"):
            self.assertEqual(
                "an empty password", str(self.assertRaises(ValueError, read_entry, text))
            )

    def test_unknown(self) -> None:
        """
        What looks like a hash is never taken for a password: whoever read the file had one.
        """
        for text in (
            b"$1$abcdefgh$0123456789abcdef",
            b"$apr1$h9nwIcwv$WVL6Ha5fg7PZ7PhUZeSAZ/",
            b"$5$rounds=5000$abc$def",
            b"$md5,rounds=904$abc$def",
            b"$y$j9T$abc$def",
            b"$2x$05$jNyEo6j8hksvUPZ5wS8/QOPkVQegUtiXb.hsTcmAJtDAUpIR3Kdcu",
            b"{SHA}W6ph5Mm5Pz8GgiULbPgzG37mj9g=",
            b"{BLF-CRYPT}$2y$05$jNyEo6j8hksvUPZ5wS8/QO",
            b"SCRAM-SHA-512$4096:QUJD$QUJD:QUJD",
        ):
            self.assertRefused(text, "not known (put {PLAIN} before")

    def test_malformed(self) -> None:
        for text in (
            HTPASSWD[:-1],
            HTPASSWD + b" ",
            HTPASSWD.replace(b"$05$", b"$03$"),
            HTPASSWD.replace(b"$05$", b"$32$"),
            HTPASSWD.replace(b"/QOPk", b"/QzPk"),
            ARGON2ID[:-30],
            ARGON2ID[:-1] + b"=",
            ARGON2ID[:-2],
            ARGON2ID.replace(b"v=19", b"v=18"),
            ARGON2ID.replace(b"t=1", b"t=0"),
            ARGON2ID.replace(b"p=4", b"p=0"),
            ARGON2ID.replace(b"m=64", b"m=31"),
            ARGON2_FIRST.replace(b"c29tZXNhbHQ", b"c29tZXNhbA"),
            SCRYPT.replace(b"ln=4", b"ln=0"),
            SCRYPT.replace(b"ln=4,r=8", b"ln=16,r=1"),
            SCRYPT.replace(b"r=8", b"r=0"),
            SCRYPT.replace(b"p=1", b"p=0"),
            SCRYPT + b"A" * 1500,
            SCRAM_SHA_256[:-4],
            SCRAM_SHA_256.replace(b"4096", b"0"),
            SCRAM_SHA_256.replace(b"SHA-256", b"SHA-1"),
        ):
            self.assertRefused(text, "incomplete or malformed")

    def test_memory(self) -> None:
        for text in (
            ARGON2ID.replace(b"m=64", b"m=1048577"),
            SCRYPT.replace(b"ln=4", b"ln=20"),
            SCRYPT.replace(b"p=1", b"p=999999999"),
        ):
            self.assertRefused(text, "more than 1024 MiB of memory")

    def test_most_memory(self) -> None:
        for text in (
            ARGON2ID.replace(b"m=64", b"m=1048576"),
            SCRYPT.replace(b"ln=4", b"ln=19"),
        ):
            self.assertTrue(read_entry(text).slow)

    def test_missing_library(self) -> None:
        for name, text in {"bcrypt": HTPASSWD, "argon2.low_level": ARGON2ID}.items():
            with patch.dict(sys.modules, {name: None}):
                self.assertRefused(text, "pip install txsmtpd[passwords]")
        self.assertTrue(read_entry(SCRYPT).matches(b"pass:word"))


class SecrecyTests(SynchronousTestCase):
    def test_repr(self) -> None:
        entries: list[Entry] = [
            read_entry(text) for text in (b"hunter2", *HASHES, SCRAM_SHA_1, SCRAM_SHA_256)
        ]
        for entry in entries:
            self.assertEqual(
                repr(entry),
                f"Verifier(hash_name={entry.hash_name!r}, iterations=4096)"
                if isinstance(entry, Verifier)
                else f"{type(entry).__name__}()",
            )
