"""
What the mechanisms want checked.

The attributes have the names that twisted.cred's credentials have, and the Twisted side declares
which of its interfaces they provide. Where it has none, the interface is here.
"""

from __future__ import annotations

import hashlib
import hmac
from typing import Any

import attrs
from zope.interface import Attribute, Interface, implementer

from . import saslprep


class IScramProof(Interface):
    """
    Proof that the client knows a password (RFC 5802), which twisted.cred's
    IUsernameHashedPassword can check too.

    A checker says yes only after one of the methods has said so. For a user that it does not know
    it does what it does for others: if it holds keys, it calls `checkKeys` with keys made up; if
    it holds passwords, it may fail at once, and the work is done for it.
    """

    username = Attribute("The user's name: bytes, UTF-8.")
    hash_name = Attribute("The hash as hashlib names it: ``sha1`` or ``sha256``.")
    salt = Attribute("The salt that was announced: bytes.")
    iterations = Attribute("The number of iterations that was announced.")
    checked = Attribute("Whether one of the methods was called.")

    def checkPassword(password: bytes) -> bool:
        """
        Check against a password. This takes as long as the iterations want.
        """

    def checkKeys(stored_key: bytes, server_key: bytes) -> bool:
        """
        Check against the keys that were made of the password with this hash, salt and number of
        iterations (RFC 5802 section 3).
        """


class IBearerToken(Interface):
    """
    An OAuth 2.0 bearer token (RFC 6750).

    The checker judges the token, and gives the identity that it is for as the avatar id. It
    fails if that is not the user whom the client names.
    """

    token = Attribute("The token: bytes, ASCII.")
    username = Attribute("Whom the client wants to be: bytes, UTF-8; empty if it does not say.")
    host = Attribute(
        "The host that the client connected to, by its own account, or None. A checker that knows "
        "the server's names compares (RFC 7628 section 3.2)."
    )
    port = Attribute("The port likewise: an int, or None.")


class IClientCertificate(Interface):
    """
    A client's certificate, verified in the TLS handshake (RFC 4422 appendix A).

    The checker knows whose it is. It fails if that is not, and may not act for, the `authzid`.
    """

    certificate = Attribute("The certificate as the session has it.")
    authzid = Attribute("Whom the client wants to be: bytes, UTF-8; empty for the owner.")


@attrs.frozen
class Password:
    """
    A user name and a password in the clear.
    """

    username: bytes
    password: bytes = attrs.field(repr=False)
    #: Empty, or the user's name once more.
    authzid: bytes = b""

    def checkPassword(self, password: bytes) -> bool:
        """
        Compare in constant time. Both are prepared, so that a password is the same in PLAIN and
        in SCRAM (RFC 4616 section 2).
        """
        mine, theirs = saslprep.password(self.password), saslprep.password(password)
        return hmac.compare_digest(mine, theirs)


@attrs.frozen
class CramResponse:
    """
    Proof that the client knows a password (RFC 2195).
    """

    username: bytes
    challenge: bytes = attrs.field(repr=False)
    #: The keyed digest in hexadecimal.
    response: bytes = attrs.field(repr=False)

    def checkPassword(self, password: bytes) -> bool:
        digest = hmac.digest(password, self.challenge, "md5").hex().encode()
        return hmac.compare_digest(digest, self.response)


@implementer(IScramProof)
@attrs.define(eq=False)
class ScramProof:
    """
    Proof that the client knows a password; and then what proves that the server knows it.
    """

    username: bytes
    hash_name: str
    salt: bytes = attrs.field(repr=False)
    iterations: int
    #: What both sides sign: all messages so far, but for the proof.
    auth_message: bytes = attrs.field(repr=False)
    proof: bytes = attrs.field(repr=False)
    checked: bool = attrs.field(default=False, init=False)
    #: Known as soon as the proof was found good.
    server_signature: bytes | None = attrs.field(default=None, init=False, repr=False)

    def checkPassword(self, password: bytes) -> bool:
        prepared = saslprep.password(password)
        salted = hashlib.pbkdf2_hmac(self.hash_name, prepared, self.salt, self.iterations)
        client_key = self._hmac(salted, b"Client Key")
        return self.checkKeys(self._hash(client_key), self._hmac(salted, b"Server Key"))

    def checkKeys(self, stored_key: bytes, server_key: bytes) -> bool:
        self.checked = True
        signature = self._hmac(stored_key, self.auth_message)
        # Its length was checked when it was read.
        client_key = bytes(a ^ b for a, b in zip(self.proof, signature, strict=True))
        good = hmac.compare_digest(self._hash(client_key), stored_key)
        if good:
            self.server_signature = self._hmac(server_key, self.auth_message)
        return good

    def _hash(self, data: bytes) -> bytes:
        return hashlib.new(self.hash_name, data).digest()

    def _hmac(self, key: bytes, data: bytes) -> bytes:
        return hmac.digest(key, data, self.hash_name)


@implementer(IBearerToken)
@attrs.frozen
class BearerToken:
    """
    A token, and what the client says around it.
    """

    token: bytes = attrs.field(repr=False)
    username: bytes = b""
    host: str | None = None
    port: int | None = None


@implementer(IClientCertificate)
@attrs.frozen
class ClientCertificate:
    """
    A certificate, and whom the client wants to be.
    """

    authzid: bytes
    certificate: Any = attrs.field(repr=False)
