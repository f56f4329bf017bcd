"""
Tests for txsmtpd.sasl.saslprep.
"""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.sasl.saslprep import PASSWORD_LIMIT, Prohibited, password, saslprep


class SASLprepTests(SynchronousTestCase):
    def test_rfc_4013_examples(self) -> None:
        """
        Section 3.
        """
        for text, prepared in [
            ("I\u00adX", "IX"),
            ("user", "user"),
            ("USER", "USER"),
            ("\u00aa", "a"),
            ("\u2168", "IX"),
        ]:
            self.assertEqual(prepared, saslprep(text))
        for text in ("\u0007", "\u06271"):
            with self.assertRaises(Prohibited):
                saslprep(text)

    def test_mapped(self) -> None:
        self.assertEqual("a b c", saslprep("a\u00a0b\u3000c"))
        self.assertEqual("abc", saslprep("a\u200bb\ufe0fc"))
        self.assertEqual("", saslprep(""))
        self.assertEqual("", saslprep("\u00ad"))

    def test_normalized(self) -> None:
        """
        Where forms C and KC differ (RFC 5802 section 3).
        """
        self.assertEqual("1\u20442", saslprep("\u00bd"))
        self.assertEqual(" \u0301", saslprep("\u00b4"))

    def test_prohibited(self) -> None:
        for text in (
            "\0", "\x1f", "\x7f", "\x85", "\u2028", "\ufeff\x01", "\ue000", "\U0010fffd", "\ufdd0",
            "\uffff", "\ud800", "\ufffd", "\u2ff0", "\u200e", "\u202e", "\U000e0041",
        ):  # fmt: skip
            error = self.assertRaises(Prohibited, saslprep, f"hunter2{text}")
            self.assertNotIn("hunter2", str(error))

    def test_unassigned(self) -> None:
        """
        They are prohibited in what is stored only.
        """
        self.assertEqual("\U0001f600", saslprep("\U0001f600"))
        with self.assertRaises(Prohibited):
            saslprep("\U0001f600", stored=True)
        self.assertEqual("\u00e4", saslprep("\u00e4", stored=True))

    def test_bidi(self) -> None:
        for good in ("\u05d0", "\u05d01\u05d1", "\u05d0 \u05d1"):
            self.assertEqual(good, saslprep(good))
        for bad in ("\u05d0a\u05d1", "1\u05d0", "\u05d01"):
            with self.assertRaises(Prohibited):
                saslprep(bad)
            self.assertEqual(bad, saslprep(bad, bidi=False))

    @settings(derandomize=True, deadline=None)
    @given(st.text(max_size=20))
    def test_stable(self, text: str) -> None:
        """
        What was prepared stays as it is.
        """
        try:
            prepared = saslprep(text)
        except Prohibited:
            return
        self.assertEqual(prepared, saslprep(prepared))


class PasswordTests(SynchronousTestCase):
    def test_prepared(self) -> None:
        self.assertEqual(b"IX", password("I\u00ad\u2168".encode()[:3] + b"X"))
        self.assertEqual("\u00e4".encode(), password("a\u0308".encode()))

    def test_as_it_is(self) -> None:
        """
        There are passwords that nobody can prepare.
        """
        for octets in (b"\xe4", b"a\tb", "\U0001f600\u00aa".encode(), "\u00ad".encode(), b""):
            self.assertEqual(octets, password(octets))

    def test_limit(self) -> None:
        """
        Nobody makes us prepare a whole line.
        """
        longest = "\u00aa".encode() * (PASSWORD_LIMIT // 2)
        self.assertEqual(b"a" * (PASSWORD_LIMIT // 2), password(longest))
        self.assertEqual(longest + b"x", password(longest + b"x"))
