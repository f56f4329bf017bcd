"""
Who checks credentials: a portal or checkers of twisted.cred, or a function.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from base64 import b64encode
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import LoginFailed
from twisted.internet.defer import Deferred
from zope.interface import Attribute, Interface, classImplements

from .core.hooks import is_later
from .core.identity import AuthResult, Identity, LoginPassword, Refusal
from .core.replies import Reply
from .core.session import Envelope, Session
from .core.settings import Settings
from .interfaces import ISMTPUser
from .sasl import Circumstances, CramResponse, Mechanism, Password, ScramProof

classImplements(Password, IUsernamePassword)
classImplements(CramResponse, IUsernameHashedPassword)
classImplements(ScramProof, IUsernameHashedPassword)

Verdict = Identity | Refusal


class IPortalOwner(Interface):
    """
    A handler that brings its users along.
    """

    portal = Attribute("What the setting of this name is, unless that is given.")


def portal_of(handlers: Iterable[object]) -> Any:
    """
    The portal that one of the handlers brings, or None.
    """
    return next((each.portal for each in handlers if IPortalOwner.providedBy(each)), None)


#: What RFC 7677 section 4 wants at least.
ITERATIONS = 4096

#: The hash of each mechanism, as hashlib names it.
_SCRAM = {"SCRAM-SHA-1": "sha1", "SCRAM-SHA-256": "sha256"}


class Login:
    """
    A :class:`~txsmtpd.core.identity.Login`.

    It asks the portal, then the checkers in order, then the function: the first who says yes
    decides.

    :param secret: what the salts of SCRAM are made of where no checker has a secret for that.
    """

    def __init__(
        self,
        hostname: str,
        portal: Any = None,
        checkers: Sequence[Any] = (),
        authenticator: Callable[..., Any] | None = None,
        secret: bytes | None = None,
    ) -> None:
        self._hostname = hostname
        self._portal = portal
        self._checkers = checkers
        self._authenticator = authenticator
        self._secret = secret or secrets.token_bytes(32)

    # What can be checked.

    def serves(self, mechanism: Mechanism) -> bool:
        """
        Whether there is anybody who can check the credentials of this mechanism.
        """
        wanted = mechanism.credentials
        if wanted is None or (self._authenticator is not None and wanted is Password):
            return True
        return any(
            _takes(interfaces, wanted) and _has_keys(checker, mechanism)
            for checker, interfaces in self._all_checkers()
        )

    def _all_checkers(self) -> Iterator[tuple[Any, Iterable[Any]]]:
        """
        The checkers, those of the portal too, with the credentials that each is asked about.
        """
        if self._portal is not None:
            by_interface = getattr(self._portal, "checkers", {})
            for interface in self._portal.listCredentialsInterfaces():
                yield by_interface.get(interface), (interface,)
        for checker in self._checkers:
            yield checker, checker.credentialInterfaces

    def circumstances(self, session: Session, bindings: bool) -> Circumstances:
        """
        What a mechanism may know.

        :param bindings: whether a mechanism with channel binding may be offered.
        """
        tls = session.tls
        return Circumstances(
            hostname=self._hostname,
            nonce=_nonce,
            now=time.time,
            channel_binding=tls.channel_binding if bindings and tls else _no_binding,
            certificate=tls.peer_certificate if tls else None,
            scram=self._scram,
        )

    def _scram(self, username: bytes, hash_name: str) -> tuple[bytes, int]:
        """
        The salt and the iterations of a user.

        Those who hold no verifiers get a salt from here, and so does who is no user at all: it is
        always the same, so nobody can tell one from the other.  A checker that holds verifiers may
        have a method ``scram_secret(hash_name)``, whose result outlives a restart as its salts do.
        """
        iterations, secret = ITERATIONS, None
        for checker, _ in self._all_checkers():
            of_user = getattr(checker, "scram_parameters", None)
            if of_user is None:
                continue
            found: tuple[bytes, int] | None = of_user(username, hash_name)
            if found is not None:
                return found
            iterations = checker.scram_iterations(hash_name) or iterations
            own = getattr(checker, "scram_secret", None)
            secret = secret or (own and own(hash_name))
        mark = hash_name.encode() + b"\0" + username
        return hmac.digest(secret or self._secret, mark, hashlib.sha256)[:16], iterations

    # Checking.

    async def check(
        self, server: Any, session: Session, envelope: Envelope, mechanism: str, credentials: Any
    ) -> Verdict:
        """
        Check credentials.

        :raise Exception: if that cannot be done now.
        """
        name = getattr(credentials, "username", None)
        identity = await self._ask_cred(credentials, name)
        if identity is not None:
            return identity
        if self._authenticator is None or not isinstance(credentials, Password):
            return Refusal()
        data = LoginPassword(credentials.username, credentials.password)
        answer = self._authenticator(server, session, envelope, mechanism, data)
        return _judged(await answer if is_later(answer) else answer, name)

    async def _ask_cred(self, credentials: Any, name: bytes | None) -> Identity | None:
        if self._portal is not None and _knows(
            self._portal.listCredentialsInterfaces(), credentials
        ):
            identity = await _unless_refused(self._enter(credentials, name))
            if identity is not None:
                return identity
        for checker in self._checkers:
            if _knows(checker.credentialInterfaces, credentials):
                identity = await _unless_refused(_asked(checker, credentials, name))
                if identity is not None:
                    return identity
        return None

    async def _enter(self, credentials: Any, name: bytes | None) -> Identity:
        entering = _Uncancelled()
        self._portal.login(credentials, None, ISMTPUser).chainDeferred(entering)
        _, avatar, logout = await entering
        return Identity(avatar, name, logout=logout)


class _Uncancelled(Deferred[Any]):
    """
    Comes to its end though nobody waits: a realm that has begun to make an avatar may have to be
    told that it is not wanted.
    """

    def cancel(self) -> None:
        pass


async def _asked(checker: Any, credentials: Any, name: bytes | None) -> Identity:
    avatar_id = checker.requestAvatarId(credentials)
    if is_later(avatar_id):
        avatar_id = await avatar_id
    if avatar_id is None or avatar_id is False:
        raise LoginFailed("a checker raises this, but some forget to")
    # What knows a user by a token or a certificate says who it is.
    return Identity(avatar_id, name or avatar_id)


async def _unless_refused(attempt: Awaitable[Identity]) -> Identity | None:
    try:
        return await attempt
    except LoginFailed:
        return None


def _takes(interfaces: Iterable[Any], credentials: type) -> bool:
    return any(interface.implementedBy(credentials) for interface in interfaces)


def _has_keys(checker: Any, mechanism: Mechanism) -> bool:
    """
    Whether a checker that holds keys of SCRAM has some for this one's hash.
    """
    hashes = getattr(checker, "scram_hashes", None)
    hash_name = _SCRAM.get(mechanism.name.removesuffix("-PLUS"))
    return hashes is None or hash_name is None or hash_name in hashes


def _knows(interfaces: Any, credentials: Any) -> bool:
    return any(interface.providedBy(credentials) for interface in interfaces)


def _judged(answer: Any, name: bytes | None) -> Verdict:
    """
    What an authenticator's answer comes to: an `AuthResult`, a bool, who it is, or a reply.
    """
    if isinstance(answer, Reply):
        # So do hooks: "no" must not be who it is.
        answer = AuthResult(success=answer.positive, message=answer, auth_data=name)
    if hasattr(answer, "success") and hasattr(answer, "auth_data"):
        # Ours, or aiosmtpd's, which must not be taken for an identity: it may say no.
        if answer.success:
            return Identity(answer.auth_data, name, answer.message)
        return Refusal(answer.message)
    if not answer:
        return Refusal()
    return Identity(name if answer is True else answer, name)


def _nonce() -> str:
    return b64encode(secrets.token_bytes(18)).decode("ascii")


def _no_binding(kind: str) -> None:
    return None


_METHOD = re.compile("auth_([A-Z0-9_]+)")


def mechanisms_of(handler: object) -> Iterator[Mechanism]:
    """
    The mechanisms that a handler brings as methods ``auth_MECH``, each an exchange as
    :mod:`txsmtpd.sasl.base` has it; ``__`` in a name is ``-``.  Instead of a method it may be a
    whole `Mechanism`.
    """
    for match in filter(None, map(_METHOD.fullmatch, dir(handler))):
        method = getattr(handler, match[0])
        if isinstance(method, Mechanism):
            yield method
        elif callable(method):
            yield Mechanism(match[1].replace("__", "-"), method, None)


def make_login(settings: Settings) -> Login | None:
    """
    :return: None if there is nobody to ask.
    """
    by_themselves = any(mechanism.credentials is None for mechanism in settings.mechanisms or ())
    users = settings.portal is not None or settings.checkers or settings.authenticator is not None
    if not users and not by_themselves:
        return None
    return Login(
        settings.hostname,
        settings.portal,
        settings.checkers,
        settings.authenticator,
        settings.scram_secret,
    )
