"""
Tests for txsmtpd.adapters.credentials.
"""

from __future__ import annotations

import enum
import sys
from types import SimpleNamespace
from typing import Any, NamedTuple

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.adapters import authenticator
from txsmtpd.adapters.credentials import is_result, missing
from txsmtpd.adapters.statuses import MISSING
from txsmtpd.core.identity import AuthResult, LoginPassword
from txsmtpd.handlers import Sink

from .adapterskit import Talk, b64


class Theirs(enum.Enum):
    MISSING = object()


class TheirLoginPassword(NamedTuple):
    login: bytes
    password: bytes


class TheirResult:
    """
    As aiosmtpd's class of results looks.
    """

    def __init__(
        self, *, success: bool, handled: bool = True, message: Any = None, auth_data: Any = None
    ) -> None:
        self.success, self.handled = success, handled
        self.message, self.auth_data = message, auth_data


SMTP_MODULE = SimpleNamespace(MISSING=Theirs.MISSING, LoginPassword=TheirLoginPassword)
RIGHT = LoginPassword(b"ann", b"wonderland")


class TheirsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.patch(sys, "modules", dict(sys.modules))
        sys.modules.pop("aiosmtpd.smtp", None)

    def import_theirs(self) -> None:
        sys.modules["aiosmtpd.smtp"] = SMTP_MODULE  # type: ignore[assignment]

    def test_missing(self) -> None:
        """
        Who compares with theirs has imported it.
        """
        self.assertIs(missing(), MISSING)
        self.import_theirs()
        self.assertIs(missing(), Theirs.MISSING)

    def test_result(self) -> None:
        for result in (TheirResult(success=False), AuthResult(success=True)):
            self.assertTrue(is_result(result))
        for other in (None, True, b"ann", RIGHT, object()):
            self.assertFalse(is_result(other))

    def test_login_password(self) -> None:
        asked: list[Any] = []
        judge = authenticator(lambda *arguments: asked.append(arguments[-1]))
        judge(None, None, None, "PLAIN", RIGHT)
        self.import_theirs()
        judge(None, None, None, "PLAIN", RIGHT)
        self.assertEqual([type(each) for each in asked], [LoginPassword, TheirLoginPassword])
        self.assertEqual(asked, [RIGHT, RIGHT])


class AuthenticatorTests(SynchronousTestCase):
    def judged(self, answer: Any) -> Any:
        return authenticator(lambda *arguments: answer)(None, None, None, "PLAIN", RIGHT)

    def test_result(self) -> None:
        self.assertEqual(
            self.judged(TheirResult(success=True, auth_data="Ann", message="235 Hello")),
            AuthResult(success=True, auth_data="Ann", message="235 Hello"),
        )
        self.assertEqual(
            self.judged(TheirResult(success=False, handled=False)), AuthResult(success=False)
        )

    def test_other_answers(self) -> None:
        self.assertIs(self.judged(Theirs.MISSING), False)
        self.assertIs(self.judged(True), True)

    def test_later(self) -> None:
        judged = self.judged(succeed(TheirResult(success=False)))
        result = self.successResultOf(Deferred.fromCoroutine(judged))
        self.assertEqual(result, AuthResult(success=False))

    def says(self, answer: Any, judge: Any = authenticator) -> str:
        talk = Talk(Sink(), authenticator=judge(lambda *arguments: answer))
        talk.greet()
        talk.say(f"AUTH PLAIN {b64(bytes(1) + b'ann' + bytes(1) + b'wonderland')}")
        talk.client.wait(1)
        heard: str = talk.client.received.decode().split("\r\n")[-2]
        return heard[:3]

    def test_dialog(self) -> None:
        self.assertEqual(self.says(TheirResult(success=True)), "235")
        self.assertEqual(self.says(TheirResult(success=False)), "535")
        self.assertEqual(self.says(Theirs.MISSING), "535")

    def test_unwrapped(self) -> None:
        """
        Also who forgets to wrap it lets nobody in whom it refuses.
        """
        self.assertEqual(self.says(TheirResult(success=False), lambda judge: judge), "535")
        self.assertEqual(self.says(TheirResult(success=True), lambda judge: judge), "235")
