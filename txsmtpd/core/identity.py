"""
Who a client is: what AUTH asks, and what it is told.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple, Protocol

import attrs

from ..sasl import Circumstances, Mechanism
from .replies import Reply
from .session import Envelope, Session


class LoginPassword(NamedTuple):
    """
    What PLAIN and LOGIN bring, for an authenticator.
    """

    login: bytes
    password: bytes

    def __repr__(self) -> str:
        return f"LoginPassword(login={self.login!r}, password=...)"


@attrs.frozen(kw_only=True)
class AuthResult:
    """
    What an authenticator decides.
    """

    success: bool
    #: For handlers that were written for aiosmtpd: every result is handled here.
    handled: bool = True
    #: What the client is told, in place of the usual reply.
    message: str | bytes | Reply | None = None
    #: What `Session.auth_data` is to be.
    auth_data: Any = attrs.field(default=None, repr=False)


def _nothing() -> None:
    pass


@attrs.frozen
class Identity:
    """
    A client whose credentials are good.
    """

    #: What `Session.auth_data` is to be.
    data: Any = attrs.field(repr=False)
    #: The name it has logged in with.
    name: bytes | None = None
    #: What the client is told, in place of the usual reply.
    message: Any = None
    #: Called when it has gone.
    logout: Callable[[], Any] = attrs.field(default=_nothing, repr=False)


@attrs.frozen
class Refusal:
    """
    A client whose credentials are not good.
    """

    #: What the client is told, in place of the usual reply.
    message: Any = None


class Unavailable(Exception):
    """
    Raised by a checker or an authenticator that cannot check credentials now, which is no defect:
    454 4.7.0, and no traceback.
    """


class Login(Protocol):
    """
    What AUTH asks: somebody who knows users.
    """

    def serves(self, mechanism: Mechanism) -> bool:
        """
        Whether there is anybody who can check the credentials of this mechanism.
        """

    def circumstances(self, session: Session, bindings: bool) -> Circumstances:
        """
        What a mechanism may know.

        :param bindings: whether a mechanism with channel binding may be offered.
        """

    def check(
        self, server: Any, session: Session, envelope: Envelope, mechanism: str, credentials: Any
    ) -> Identity | Refusal | Awaitable[Identity | Refusal]:
        """
        Check credentials.

        :raise Exception: if that cannot be done now.
        """
