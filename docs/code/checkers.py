"""
Checkers for what no file of users can check: a client's certificate, and a bearer token.

A factory beside each lets the command line name it: see ``plugin.py``.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

import attrs
from cryptography import x509
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import ICheckerFactory
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.plugin import IPlugin
from zope.interface import implementer

from txsmtpd.sasl import IBearerToken, IClientCertificate


@implementer(ICredentialsChecker)
class ByCertificate:
    """
    Takes the mail address in a client's certificate for its name, if it ends in the right domain.

    That the certificate was signed by --tls-client-ca is known by then.
    """

    credentialInterfaces = (IClientCertificate,)

    def __init__(self, domain: str) -> None:
        self._end = f"@{domain}"

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        return maybeDeferred(self._owner, credentials)

    def _owner(self, credentials: Any) -> bytes:
        for address in _addresses(credentials.certificate):
            # The client may say whom it wants to be.
            if address.endswith(self._end) and credentials.authzid in (b"", address.encode()):
                return address.encode()
        raise UnauthorizedLogin


def _addresses(certificate: bytes) -> list[str]:
    extensions = x509.load_der_x509_certificate(certificate).extensions
    try:
        names = extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return []
    return names.get_values_for_type(x509.RFC822Name)


@implementer(ICredentialsChecker)
@attrs.frozen
class ByToken:
    """
    Knows a token for each user. Another would ask who has issued it, which takes time.
    """

    credentialInterfaces = (IBearerToken,)

    tokens: Mapping[bytes, bytes] = attrs.field(repr=False)

    def requestAvatarId(self, credentials: Any) -> Deferred[bytes | tuple[()]]:
        return maybeDeferred(self._owner, credentials)

    def _owner(self, credentials: Any) -> bytes:
        for name, token in self.tokens.items():
            good = hmac.compare_digest(token, credentials.token)
            # XOAUTH2 always names a user, OAUTHBEARER may.
            if good and credentials.username in (b"", name):
                return name
        raise UnauthorizedLogin


@implementer(ICheckerFactory, IPlugin)
class ByCertificateFactory:
    """
    Makes a checker of ``--auth certificate:example.com``.
    """

    authType = "certificate"
    authHelp = "Knows clients by the mail address in their certificate."
    argStringFormat = "The domain of the address."
    credentialInterfaces = (IClientCertificate,)

    def generateChecker(self, argstring: str) -> ByCertificate:
        return ByCertificate(argstring)


@implementer(ICheckerFactory, IPlugin)
class ByTokenFactory:
    """
    Makes a checker of ``--auth token:FILE``, each line a name, a colon and a token.
    """

    authType = "token"
    authHelp = "Knows clients by the bearer token that they send."
    argStringFormat = "The file with names and tokens."
    credentialInterfaces = (IBearerToken,)

    def generateChecker(self, argstring: str) -> ByToken:
        with open(argstring, "rb") as file:
            fields = [line.rstrip(b"\n").partition(b":") for line in file]
        return ByToken({name: token for name, _, token in fields})
