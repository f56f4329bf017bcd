"""
Tests for txsmtpd.sasl.oauthbearer.
"""

from __future__ import annotations

import json
from base64 import b64decode

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.sasl.credentials import BearerToken
from txsmtpd.sasl.oauthbearer import OAUTHBEARER

from .test_sasl_base import converse, told, yes

TOKEN = b"vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg=="


class OAuthBearerTests(SynchronousTestCase):
    """
    RFC 7628.
    """

    def test_rfc_7628_examples(self) -> None:
        """
        Section 4.1.
        """
        for port, encoded in [
            (143, "cG9ydD0xNDM"),
            (587, "cG9ydD01ODc"),
        ]:
            self.assertEqual(f"port={port}".encode(), b64decode(encoded + "="))
            message = (
                b"n,a=user@example.com,\x01host=server.example.com\x01port=%d\x01"
                b"auth=Bearer %b\x01\x01"
            ) % (port, TOKEN)
            said = converse(OAUTHBEARER, message, check=yes)
            token = BearerToken(TOKEN, b"user@example.com", "server.example.com", port)
            self.assertEqual(([token], "success"), (said.checked, said.end))

    def test_rfc_7628_octets(self) -> None:
        """
        Section 4.1 as it goes over the wire.
        """
        message = b64decode(
            "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9QmVh"
            "cmVyIHZGOWRmdDRxbVRjMk52YjNSbGNrQmhiSFJoZG1semRHRXVZMjl0Q2c9PQEB"
        )
        said = converse(OAUTHBEARER, message, check=yes)
        token = BearerToken(TOKEN, b"user@example.com", "server.example.com", 143)
        self.assertEqual(([token], "success"), (said.checked, said.end))

    def test_rfc_7628_query(self) -> None:
        """
        Section 4.3: no token, to learn what is wanted.
        """
        message = b64decode(
            "bixhPXVzZXJAZXhhbXBsZS5jb20sAWhvc3Q9c2VydmVyLmV4YW1wbGUuY29tAXBvcnQ9MTQzAWF1dGg9AQE="
        )
        said = converse(OAUTHBEARER, message, b"\x01", check=yes)
        self.assertEqual(("refused", []), (said.end, said.checked))
        (error,) = map(json.loads, said.challenges)
        self.assertEqual({"status": "invalid_token", "schemes": "bearer"}, error)

    def test_rfc_7628_smtp_example(self) -> None:
        """
        Section 4.4, but for its GS2 header: ``n,user=...,`` is none.
        """
        rest = b"\x01auth=Bearer " + TOKEN + b"\x01\x01"
        said = converse(OAUTHBEARER, b"n,user=someuser@example.com," + rest)
        self.assertEqual("malformed", said.end)
        said = converse(OAUTHBEARER, b"n,a=someuser@example.com," + rest, b"\x01")
        self.assertEqual("refused", said.end)
        self.assertEqual([b'{"status":"invalid_token","schemes":"bearer"}'], said.challenges)

    def test_least(self) -> None:
        for flag in (b"n", b"y"):
            said = converse(OAUTHBEARER, None, flag + b",,\x01auth=Bearer x\x01\x01", check=yes)
            self.assertEqual(([BearerToken(b"x")], [b""]), (said.checked, said.challenges))

    def test_port(self) -> None:
        for port in (1, 65535):
            said = converse(OAUTHBEARER, b"n,,\x01port=%d\x01auth=Bearer x\x01\x01" % port)
            self.assertEqual(port, said.checked[0].port)

    def test_malformed(self) -> None:
        pairs = b"auth=Bearer secret\x01"
        for message in (
            b"", b"\x01", b"n,,", b"n,,\x01", b"n,,\x01\x01", b"n,,\x01" + pairs, b"n,," + pairs,
            pairs + b"\x01", b"n,,x\x01" + pairs + b"\x01",
            b"p=tls-exporter,,\x01" + pairs + b"\x01",
            b"n,,\x01host=a\x01\x01", b"n,,\x01" + pairs + pairs + b"\x01",
            b"n,a=\n,\x01" + pairs + b"\x01", b"n,,\xff\x01" + pairs + b"\x01",
            *(
                b"n,,\x01" + each + b"\x01" + pairs + b"\x01"
                for each in (
                    b"host=", b"host=a b", b"host=a\nb", b"host=" + b"a" * 256, b"host=\xc3\xa4",
                    b"port=", b"port=0", b"port=01", b"port=+1", b"port=1_0", b"port=65536",
                    b"port=123456", b"port=\xd9\xa1", b"port=1\n", b"port=1\x01port=1",
                )
            ),
        ):  # fmt: skip
            said = converse(OAUTHBEARER, message, check=yes)
            self.assertEqual(("malformed", []), (said.end, said.checked), message)
            assert said.error is not None
            self.assertNotIn("secret", told(said.error))
