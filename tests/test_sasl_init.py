"""
Tests for txsmtpd.sasl, and what all of its mechanisms have in common.
"""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd import sasl
from txsmtpd.sasl import MECHANISMS

from .test_sasl_base import circumstances, converse, told

GIVEN = circumstances(channel_binding={"tls-exporter": b"x"}.get, certificate=object())

#: Bytes that look enough like a message to get somewhere.
_PIECES = [
    b"n,,", b"y,,", b"p=tls-exporter,,", b"n,a=user,", b"n=user", b",r=client", b"r=client", b",",
    b"=2C", b"=", b"\0", b"\x01", b"user=tim", b"auth=Bearer x", b"host=a", b"port=1", b"\xff",
    b"c=biws,r=clientserver+nonce", b",p=" + b"A" * 43 + b"=", b"tim", b" ",
    b"0123456789abcdef" * 2, b"m=x", b"\r\n", "\u00e4\u05d0\u00ad".encode(),
]  # fmt: skip
_messages = st.one_of(st.lists(st.sampled_from(_PIECES), max_size=8).map(b"".join), st.binary())


class MechanismsTests(SynchronousTestCase):
    def test_strongest_first(self) -> None:
        self.assertEqual(
            [
                "SCRAM-SHA-256-PLUS",
                "SCRAM-SHA-256",
                "SCRAM-SHA-1-PLUS",
                "SCRAM-SHA-1",
                "EXTERNAL",
                "OAUTHBEARER",
                "XOAUTH2",
                "CRAM-MD5",
                "PLAIN",
                "LOGIN",
            ],
            [mechanism.name for mechanism in MECHANISMS],
        )

    def test_server_first(self) -> None:
        self.assertEqual(["CRAM-MD5"], [each.name for each in MECHANISMS if each.server_first])

    def test_needs_nothing(self) -> None:
        """
        Some can be used on any connection.
        """
        offered = [each.name for each in MECHANISMS if each.offered(circumstances())]
        kept = {"SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS", "EXTERNAL"}
        self.assertEqual({each.name for each in MECHANISMS} - kept, set(offered))

    def test_names(self) -> None:
        for each in sasl.__all__:
            self.assertTrue(hasattr(sasl, each), each)


class AnyBytesTests(SynchronousTestCase):
    @settings(
        deadline=None,
        derandomize=True,
        max_examples=300,
        suppress_health_check=[HealthCheck.too_slow],
    )
    @given(st.none() | _messages, st.lists(_messages, max_size=3))
    def test_nothing_unexpected(self, initial: bytes | None, answers: list[bytes]) -> None:
        """
        Whatever a client sends, an exchange ends as it may or goes on, and gives what it says to
        Check.
        """
        for mechanism in MECHANISMS:
            said = converse(mechanism, initial, *answers, given=GIVEN)
            self.assertIn(said.end, ("waiting", "refused", "malformed", "denied"))
            for credentials in said.checked:
                self.assertIs(type(credentials), mechanism.credentials)

    @settings(deadline=None, derandomize=True)
    @given(
        st.none() | _messages, st.lists(_messages, max_size=2), st.text("0123456789", min_size=9)
    )
    def test_errors_tell_nothing(
        self, initial: bytes | None, answers: list[bytes], secret: str
    ) -> None:
        def hidden(message: Any) -> Any:
            return message and message + secret.encode()

        for mechanism in MECHANISMS:
            said = converse(mechanism, hidden(initial), *map(hidden, answers), given=GIVEN)
            if said.error is not None:
                self.assertNotIn(secret, told(said.error))
