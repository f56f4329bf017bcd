"""
Tests for txsmtpd.sasl.gs2.
"""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.sasl.base import Malformed, name
from txsmtpd.sasl.gs2 import Header, read, saslname


def encoded(text: str) -> str:
    return "".join({",": "=2C", "=": "=3D"}.get(character, character) for character in text)


class ReadTests(SynchronousTestCase):
    def test_headers(self) -> None:
        for text, header in [
            ("n,,", ("n", "", b"")),
            ("y,,", ("y", "", b"")),
            ("p=tls-exporter,,", ("p", "tls-exporter", b"")),
            ("n,a=user,", ("n", "", b"user")),
            ("n,a=a=2Cb=3Dc,", ("n", "", b"a,b=c")),
            ("p=a.B-1,a=\u00e4,", ("p", "a.B-1", "\u00e4".encode())),
        ]:
            for rest in ("", "n=user", ",", "\x01"):
                self.assertEqual((Header(text, *header), rest), read(text + rest))

    def test_malformed(self) -> None:
        for text in (
            "", "n", "n,", "N,,", "x,,", ",,", "p,,", "p=,,", "p=a b,,", "p=a_b,,", "n=,,", " n,,",
            "F,n,,", "n,user,", "n,a=,", "n,a=a=b,", "n,a==2c,", "n,a==3d,", "n,a==,", "n,a=a\0,",
            "n,n=user,", "n,a=a\n,",
        ):  # fmt: skip
            with self.assertRaises(Malformed):
                read(text)

    def test_repr(self) -> None:
        self.assertNotIn("n,,", repr(read("n,,")[0]))


class SaslnameTests(SynchronousTestCase):
    def test_once(self) -> None:
        """
        What comes of an escape is no part of another.
        """
        self.assertEqual(b"=2C", saslname("=3D2C"))
        self.assertEqual(b"=3D,", saslname("=3D3D=2C"))

    @settings(derandomize=True, deadline=None)
    @given(
        st.text(st.sampled_from("=,23CD") | st.characters(exclude_categories=["Cs"]), min_size=1)
    )
    def test_round_trip(self, text: str) -> None:
        try:
            prepared = name(text)
        except Malformed:
            assume(False)
        self.assertEqual(prepared, saslname(encoded(text)))
        header, rest = read(f"n,a={encoded(text)},")
        self.assertEqual((prepared, ""), (header.authzid, rest))
