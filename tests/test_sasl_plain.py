"""
Tests for txsmtpd.sasl.plain.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.sasl.credentials import Password
from txsmtpd.sasl.plain import PLAIN

from .test_sasl_base import converse, told, yes


class PlainTests(SynchronousTestCase):
    """
    RFC 4616.
    """

    def test_rfc_4616_example(self) -> None:
        said = converse(PLAIN, b"\0tim\0tanstaaftanstaaf", check=yes)
        self.assertEqual([Password(b"tim", b"tanstaaftanstaaf")], said.checked)
        self.assertEqual(("success", []), (said.end, said.challenges))

    def test_rfc_4616_example_of_another(self) -> None:
        """
        Nobody may act for another, even with the right password.
        """
        said = converse(PLAIN, b"Ursel\0Kurt\0xipj3plmq", check=yes)
        self.assertEqual(("denied", []), (said.end, said.checked))

    def test_without_initial_response(self) -> None:
        said = converse(PLAIN, None, b"\0tim\0secret", check=yes)
        self.assertEqual(("success", [b""]), (said.end, said.challenges))

    def test_wrong(self) -> None:
        self.assertEqual("refused", converse(PLAIN, b"\0tim\0secret").end)

    def test_oneself(self) -> None:
        """
        The same name, however it is spelled.
        """
        said = converse(PLAIN, "ti\u00adm\0tim\0secret".encode(), check=yes)
        self.assertEqual([Password(b"tim", b"secret", b"tim")], said.checked)

    def test_long(self) -> None:
        parts = [b"a" * 255, b"a" * 255, b"p" * 255]
        self.assertEqual("success", converse(PLAIN, b"\0".join(parts), check=yes).end)

    def test_any_password(self) -> None:
        """
        Its octets are kept as they were sent.
        """
        for password in (" ", "a\tb", "I\u00adX", "\U0001f600", "\r\n"):
            said = converse(PLAIN, f"\0tim\0{password}".encode())
            self.assertEqual([Password(b"tim", password.encode())], said.checked)

    def test_malformed(self) -> None:
        for message in (
            b"", b"\0", b"\0\0", b"tim", b"tim\0secret", b"\0tim\0", b"\0\0secret",
            b"tim\0\0secret", b"\0tim\0secret\0", b"\0tim\0\0secret", b"\0t\xff\0secret",
            b"\0tim\0secret\xff",
            b"\xff\0tim\0secret", b"\0t\rm\0secret", b"\n\0tim\0secret",
        ):  # fmt: skip
            said = converse(PLAIN, message, check=yes)
            self.assertEqual(("malformed", []), (said.end, said.checked), message)
            assert said.error is not None
            self.assertNotIn("secret", told(said.error))
