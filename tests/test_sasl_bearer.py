"""
Tests for txsmtpd.sasl.bearer.
"""

from __future__ import annotations

from functools import partial

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.sasl import bearer
from txsmtpd.sasl.base import Circumstances, Exchange, Malformed, Mechanism
from txsmtpd.sasl.credentials import BearerToken

from .test_sasl_base import Conversation, converse, no, yes


class PairsTests(SynchronousTestCase):
    def test_pairs(self) -> None:
        text = "auth=Bearer x=\x01port=1\x01note=\t\r\n \u00e4\x01\x01"
        self.assertEqual({"auth": "Bearer x=", "port": "1"}, bearer.pairs(text, "auth", "port"))
        self.assertEqual({"auth": ""}, bearer.pairs("auth=\x01\x01", "auth"))

    def test_unknown_keys(self) -> None:
        """
        They are ignored, even twice, and those that differ in case are others.
        """
        text = "x=1\x01x=2\x01AUTH=3\x01auth=4\x01\x01"
        self.assertEqual({"auth": "4"}, bearer.pairs(text, "auth"))

    def test_malformed(self) -> None:
        for text in (
            "", "\x01", "auth=a", "auth=a\x01", "auth=a\x01\x01\x01", "\x01auth=a\x01\x01",
            "auth\x01\x01", "=a\x01\x01", "a1=a\x01auth=a\x01\x01", "auth=\x02\x01\x01",
            "auth=\x7f\x01\x01", "auth=\0\x01\x01", "auth=a\x01\x01 ", "host=a\x01\x01",
            "auth=a\x01auth=a\x01\x01",
        ):  # fmt: skip
            with self.assertRaises(Malformed):
                bearer.pairs(text, "auth", "host")

    def test_linear(self) -> None:
        """
        A line full of almost nothing is read in no time.
        """
        for text in ("a" * 12000, "a=\x01" * 4000, "a=" * 6000 + "\x01"):
            with self.assertRaises(Malformed):
                bearer.pairs(text, "auth")


class CheckTests(SynchronousTestCase):
    def said(self, authorization: str, *answers: bytes, good: bool) -> Conversation:
        def exchange(given: Circumstances, initial: bytes | None) -> Exchange:
            make = partial(BearerToken, username=b"user")
            return (yield from bearer.check(authorization, make, b"{}"))

        check = yes if good else no
        return converse(Mechanism("X", exchange, None), None, *answers, check=check)

    def test_good(self) -> None:
        for authorization in ("Bearer aZ09-._~+/==", "bEARER   aZ09-._~+/=="):
            said = self.said(authorization, good=True)
            self.assertEqual([BearerToken(b"aZ09-._~+/==", b"user")], said.checked)
            self.assertEqual(("success", []), (said.end, said.challenges))

    def test_bad(self) -> None:
        """
        The client learns why, and what it answers changes nothing.
        """
        for answer in (b"\x01", b"", b"sorry"):
            said = self.said("Bearer x", answer, good=False)
            self.assertEqual(("refused", [b"{}"]), (said.end, said.challenges))
            self.assertEqual(1, len(said.checked))

    def test_no_token(self) -> None:
        for authorization in (
            "", "Bearer", "Bearer ", "x", "Basic x", "Bearerx", "Bearer\tx", "Bearer x y",
            "Bearer x=y", "Bearer \u00e4", "Bearer x,", "Bearer x\n", " Bearer x",
        ):  # fmt: skip
            said = self.said(authorization, b"", good=True)
            self.assertEqual(("refused", [b"{}"], []), (said.end, said.challenges, said.checked))
