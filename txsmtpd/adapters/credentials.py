"""
Who a client is, as aiosmtpd's handlers and authenticators say it.

Its classes are known by their looks: whoever uses them has imported them, but we need not.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from ..core.hooks import is_later
from ..core.identity import AuthResult, LoginPassword
from .statuses import MISSING, is_missing


def their(name: str, ours: Any) -> Any:
    """
    Something of ``aiosmtpd.smtp`` if anybody has imported that, because handlers compare with it.
    """
    return getattr(sys.modules.get("aiosmtpd.smtp"), name, ours)


def missing() -> Any:
    """
    What handlers take for "there is no answer".
    """
    return their("MISSING", MISSING)


def is_result(answer: Any) -> bool:
    """
    Whether something is an ``AuthResult``.
    """
    return all(hasattr(answer, name) for name in ("success", "handled", "message", "auth_data"))


def authenticator(function: Callable[..., Any]) -> Callable[..., Any]:
    """
    An authenticator that was written for aiosmtpd, for the setting of the same name.

    It is given aiosmtpd's own ``LoginPassword`` if anybody has imported that.
    """

    def judge(server: Any, session: Any, envelope: Any, mechanism: str, data: Any) -> Any:
        login_password = their("LoginPassword", LoginPassword)
        return _judged(function(server, session, envelope, mechanism, login_password(*data)))

    judge.__wrapped__ = function  # type: ignore[attr-defined]
    return judge


def _judged(answer: Any) -> Any:
    if is_later(answer):
        return _judged_later(answer)
    if is_result(answer):
        return AuthResult(
            success=bool(answer.success), message=answer.message, auth_data=answer.auth_data
        )
    return False if is_missing(answer) else answer


async def _judged_later(answer: Any) -> Any:
    return _judged(await answer)
