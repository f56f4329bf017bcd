"""
Tests for txsmtpd.sasl.cram_md5.
"""

from __future__ import annotations

import hashlib
import re

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.sasl.cram_md5 import CRAM_MD5
from txsmtpd.sasl.credentials import CramResponse

from .test_sasl_base import Conversation, circumstances, converse, told, yes


def keyed_md5(key: bytes, text: bytes) -> bytes:
    """
    As RFC 2195 section 2 tells it.
    """
    if len(key) > 64:
        key = hashlib.md5(key).digest()
    key = key.ljust(64, b"\0")
    inner = hashlib.md5(bytes(octet ^ 0x36 for octet in key) + text).digest()
    return hashlib.md5(bytes(octet ^ 0x5C for octet in key) + inner).hexdigest().encode()


class CramMD5Tests(SynchronousTestCase):
    """
    RFC 2195.
    """

    def answer(self, user: bytes, password: bytes) -> bytes:
        (challenge,) = converse(CRAM_MD5, None).challenges
        return user + b" " + keyed_md5(password, challenge)

    def test_challenge(self) -> None:
        """
        It has the form of a msg-id, whatever characters the nonce has.
        """
        given = circumstances(nonce=lambda: "a>@ <b", hostname="mx.example")
        said = converse(CRAM_MD5, None, given=given)
        (challenge,) = said.challenges
        self.assertEqual("waiting", said.end)
        self.assertIsNotNone(re.fullmatch(rb"<[0-9]+\.1700000000@mx\.example>", challenge))

    def test_fresh(self) -> None:
        nonces = iter(["one", "two"])
        given = circumstances(nonce=lambda: next(nonces))
        first, second = (converse(CRAM_MD5, None, given=given).challenges for _ in range(2))
        self.assertNotEqual(first, second)

    def checked(self, answer: bytes, password: bytes) -> Conversation:
        return converse(CRAM_MD5, None, answer, check=lambda each: each.checkPassword(password))

    def test_right_and_wrong(self) -> None:
        for user in (b"tim", b"tim the second", "t\u00efm".encode()):
            for password in (b"secret", b"x" * 65, b"\xff"):
                answer = self.answer(user, password)
                said = self.checked(answer, password)
                self.assertEqual(("success", user), (said.end, said.checked[0].username))
                self.assertEqual("refused", self.checked(answer, b"other").end)

    def test_credentials(self) -> None:
        said = converse(CRAM_MD5, None, self.answer(b"tim", b"secret"))
        (credentials,) = said.checked
        self.assertIsInstance(credentials, CramResponse)
        self.assertEqual(said.challenges, [credentials.challenge])

    def test_malformed(self) -> None:
        digest = b"0123456789abcdef" * 2
        for message in (
            b"", b" ", b"tim", digest, b" " + digest, b"tim" + digest, b"tim " + digest[1:],
            b"tim " + digest.upper(), b"tim " + digest + b" ", b"tim " + digest + b"\n",
            b"tim\0 " + digest, b"t\xff " + digest, b"t\nm " + digest, b"tim g" + digest[1:],
        ):  # fmt: skip
            said = converse(CRAM_MD5, None, message, check=yes)
            self.assertEqual(("malformed", []), (said.end, said.checked), message)
            assert said.error is not None
            self.assertNotIn("0123456789abcdef", told(said.error))

    def test_server_first(self) -> None:
        self.assertTrue(CRAM_MD5.server_first)
        said = converse(CRAM_MD5, b"", check=yes)
        self.assertEqual(("malformed", []), (said.end, said.challenges))
