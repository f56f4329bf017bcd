"""
Tests for txsmtpd.sasl.xoauth2.
"""

from __future__ import annotations

import json
from base64 import b64decode

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.sasl.credentials import BearerToken
from txsmtpd.sasl.xoauth2 import XOAUTH2

from .test_sasl_base import converse, told, yes

TOKEN = b"ya29.vF9dft4qmTc2Nvb3RlckBhdHRhdmlzdGEuY29tCg"
MESSAGE = b"user=someuser@example.com\x01auth=Bearer " + TOKEN + b"\x01\x01"


class XOAuth2Tests(SynchronousTestCase):
    def test_published_example(self) -> None:
        """
        The one in Google's description.
        """
        encoded = (
            "dXNlcj1zb21ldXNlckBleGFtcGxlLmNvbQFhdXRoPUJlYXJlciB5YTI5LnZGOWRmdDRxbVRjMk52YjNSbGNrQmhk"
            "SFJoZG1semRHRXVZMjl0Q2cBAQ=="
        )
        self.assertEqual(MESSAGE, b64decode(encoded))
        said = converse(XOAUTH2, MESSAGE, check=yes)
        token = BearerToken(TOKEN, b"someuser@example.com")
        self.assertEqual(([token], "success"), (said.checked, said.end))

    def test_without_initial_response(self) -> None:
        said = converse(XOAUTH2, None, MESSAGE, check=yes)
        self.assertEqual(("success", [b""]), (said.end, said.challenges))

    def test_bad_token(self) -> None:
        for answer in (b"", b"\x01"):
            said = converse(XOAUTH2, MESSAGE, answer)
            self.assertEqual("refused", said.end)
            (error,) = map(json.loads, said.challenges)
            self.assertEqual({"status": "401", "schemes": "bearer"}, error)

    def test_name(self) -> None:
        said = converse(XOAUTH2, "user=\u00e4@example.com\x01auth=Bearer x\x01\x01".encode())
        self.assertEqual("\u00e4@example.com".encode(), said.checked[0].username)

    def test_malformed(self) -> None:
        for message in (
            b"", b"\x01", b"user=a\x01\x01", b"auth=Bearer secret\x01\x01",
            b"user=\x01auth=Bearer secret\x01\x01", b"user=a\nb\x01auth=Bearer secret\x01\x01",
            b"user=a\x01user=b\x01auth=Bearer secret\x01\x01", b"user=a\x01auth=Bearer secret\x01",
            b"user=a\x01auth=Bearer secret", b"user=\xff\x01auth=Bearer secret\x01\x01",
            b"n,,\x01user=a\x01auth=Bearer secret\x01\x01",
        ):  # fmt: skip
            said = converse(XOAUTH2, message, check=yes)
            self.assertEqual(("malformed", []), (said.end, said.checked), message)
            assert said.error is not None
            self.assertNotIn("secret", told(said.error))
