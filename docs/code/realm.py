"""
A realm of twisted.cred: what it gives for a user is ``session.auth_data``, and is told when the
user has gone.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs
from twisted.cred.portal import IRealm, Portal
from zope.interface import implementer

from txsmtpd import Envelope, Session, SMTPFactory, hooks
from txsmtpd.interfaces import ISMTPUser, Verdict
from txsmtpd.users import UsersFile


@implementer(ISMTPUser)
@attrs.define
class User:
    name: str
    connections: int = 0

    def gone(self) -> None:
        self.connections -= 1


@implementer(IRealm)
class Realm:
    def __init__(self, users: Iterable[User]) -> None:
        self._users: dict[Any, User] = {user.name.encode(): user for user in users}

    def requestAvatar(
        self, avatarId: bytes | tuple[()], mind: object, *interfaces: Any
    ) -> tuple[Any, User, Callable[[], None]]:
        user = self._users[avatarId]
        user.connections += 1
        return ISMTPUser, user, user.gone


@hooks
class OwnAddress:
    """
    Takes mail from users only, and only in their own name.
    """

    def handle_MAIL(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> Verdict:
        if session.auth_data.name != address:
            return "550 5.7.1 That is not your address"
        return None


def make_factory(handler: object, users: Iterable[User], path: str, **settings: Any) -> SMTPFactory:
    portal = Portal(Realm(users), [UsersFile(path)])
    return SMTPFactory(OwnAddress(), handler, portal=portal, auth_required=True, **settings)
