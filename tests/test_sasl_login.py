"""
Tests for txsmtpd.sasl.login.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.sasl.credentials import Password
from txsmtpd.sasl.login import LOGIN

from .test_sasl_base import converse, told, yes


class LoginTests(SynchronousTestCase):
    def test_dialog(self) -> None:
        said = converse(LOGIN, None, b"tim", b"secret", check=yes)
        self.assertEqual([b"Username:", b"Password:"], said.challenges)
        self.assertEqual(([Password(b"tim", b"secret")], "success"), (said.checked, said.end))

    def test_initial_response(self) -> None:
        """
        It is the user's name.
        """
        said = converse(LOGIN, b"tim", b"secret", check=yes)
        self.assertEqual([b"Password:"], said.challenges)
        self.assertEqual(([Password(b"tim", b"secret")], "success"), (said.checked, said.end))

    def test_wrong(self) -> None:
        self.assertEqual("refused", converse(LOGIN, None, b"tim", b"secret").end)

    def test_malformed_name(self) -> None:
        for user in (b"", b"t\0m", b"t\xffm", b"t\nm"):
            for messages in ([user], [None, user]):
                said = converse(LOGIN, *messages, check=yes)
                self.assertEqual(("malformed", []), (said.end, said.checked))
                self.assertNotIn(b"Password:", said.challenges)

    def test_malformed_password(self) -> None:
        for password in (b"", b"secret\0", b"secret\xff"):
            said = converse(LOGIN, b"tim", password, check=yes)
            self.assertEqual(("malformed", []), (said.end, said.checked))
            assert said.error is not None
            self.assertNotIn("secret", told(said.error))
