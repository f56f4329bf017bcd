"""
Tests for txsmtpd.core.identity.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.identity import AuthResult, Identity, LoginPassword, Refusal


class LoginPasswordTests(SynchronousTestCase):
    def test_parts(self) -> None:
        """
        It is a pair, as it is with aiosmtpd.
        """
        login, password = data = LoginPassword(b"ann", b"wonderland")
        self.assertEqual((b"ann", b"wonderland"), (login, password))
        self.assertEqual((b"ann", b"wonderland"), (data.login, data.password))

    def test_hides_password(self) -> None:
        data = LoginPassword(b"ann", b"wonderland")
        for shown in (repr(data), str(data), f"{data}", f"{data!r}", repr([data])):
            self.assertIn("ann", shown)
            self.assertNotIn("wonderland", shown)


class AuthResultTests(SynchronousTestCase):
    def test_default(self) -> None:
        result = AuthResult(success=False)
        self.assertEqual((True, None, None), (result.handled, result.message, result.auth_data))

    def test_success_is_said(self) -> None:
        self.assertRaises(TypeError, AuthResult)
        self.assertRaises(TypeError, AuthResult, True)

    def test_hides_data(self) -> None:
        self.assertNotIn("wonderland", repr(AuthResult(success=True, auth_data="wonderland")))


class IdentityTests(SynchronousTestCase):
    def test_default(self) -> None:
        """
        There is nothing to be done when it leaves.
        """
        identity = Identity("Ann")
        self.assertEqual((None, None), (identity.name, identity.message))
        self.assertIsNone(identity.logout())

    def test_hides_data(self) -> None:
        shown = repr(Identity("wonderland", b"ann"))
        self.assertIn("ann", shown)
        self.assertNotIn("wonderland", shown)


class RefusalTests(SynchronousTestCase):
    def test_default(self) -> None:
        self.assertIsNone(Refusal().message)
