"""
A function that checks a name and a password, as aiosmtpd wants it.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from txsmtpd import Envelope, Session
from txsmtpd.core.identity import AuthResult, LoginPassword


def ask_directory(reactor: Any, name: bytes, password: bytes) -> Deferred[bool]:
    """
    Stands for a question to another server.
    """
    return deferLater(reactor, 0.1, lambda: (name, password) == (b"ann", b"wonderland"))


async def authenticate(
    server: Any, session: Session, envelope: Envelope, mechanism: str, data: LoginPassword
) -> AuthResult:
    good = await ask_directory(session.reactor, data.login, data.password)
    return AuthResult(success=good, auth_data=data.login if good else None)
