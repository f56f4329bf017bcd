"""
What is known about a TLS connection after its handshake.
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import Any
from weakref import ref

from cryptography import x509
from cryptography.hazmat.primitives.hashes import MD5, SHA1, SHA256, Hash
from cryptography.x509.oid import NameOID
from OpenSSL import SSL, crypto

from .core.session import TLS
from .keypairs import MALFORMED

_NOT_IN_A_NAME = re.compile(rb"[^!-~]")

# OpenSSL's long names, which Python's getpeercert() gives.
_LONG_NAMES = {
    NameOID.COMMON_NAME: "commonName",
    NameOID.COUNTRY_NAME: "countryName",
    NameOID.DN_QUALIFIER: "dnQualifier",
    NameOID.DOMAIN_COMPONENT: "domainComponent",
    NameOID.EMAIL_ADDRESS: "emailAddress",
    NameOID.GENERATION_QUALIFIER: "generationQualifier",
    NameOID.GIVEN_NAME: "givenName",
    NameOID.LOCALITY_NAME: "localityName",
    NameOID.ORGANIZATIONAL_UNIT_NAME: "organizationalUnitName",
    NameOID.ORGANIZATION_NAME: "organizationName",
    NameOID.PSEUDONYM: "pseudonym",
    NameOID.SERIAL_NUMBER: "serialNumber",
    NameOID.STATE_OR_PROVINCE_NAME: "stateOrProvinceName",
    NameOID.STREET_ADDRESS: "streetAddress",
    NameOID.SURNAME: "surname",
    NameOID.TITLE: "title",
    NameOID.USER_ID: "userId",
}

_KINDS_OF_NAMES = {
    x509.DNSName: "DNS",
    x509.IPAddress: "IP Address",
    x509.RFC822Name: "email",
    x509.UniformResourceIdentifier: "URI",
}


def tls_facts(connection: SSL.Connection) -> TLS:
    """
    What a handshake, which has ended, came to.
    """
    version = connection.get_protocol_version_name()
    name = connection.get_servername()
    peer = connection.get_peer_certificate()
    return TLS(
        version=version,
        cipher=connection.get_cipher_name() or "",
        bits=connection.get_cipher_bits() or 0,
        server_name=None if name is None else _NOT_IN_A_NAME.sub(b"?", name).decode("ascii"),
        peer_certificate=None if peer is None else _der(peer),
        channel_binding=_ChannelBindings(connection, version),
    )


def _der(certificate: crypto.X509) -> bytes:
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


class _ChannelBindings:
    """
    What binds a SASL mechanism to a connection, by type: worked out when somebody asks, because
    where nobody logs in nobody does.

    A session that somebody keeps does not keep the connection: once that is gone, only what was
    asked for before is known.
    """

    __slots__ = ("_connection", "_known", "_version")

    def __init__(self, connection: SSL.Connection, version: str) -> None:
        self._connection = ref(connection)
        self._version = version
        self._known: dict[str, bytes | None] = {}

    def __call__(self, name: str) -> bytes | None:
        connection = self._connection()
        if connection is not None and name not in self._known:
            self._known[name] = self._work_out(name, connection)
        return self._known.get(name)

    def _work_out(self, name: str, connection: SSL.Connection) -> bytes | None:
        # In older versions this is only good with an extended master secret (RFC 7627), and
        # pyOpenSSL does not tell whether there is one.
        if name == "tls-exporter" and self._version == "TLSv1.3":
            return connection.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
        own = connection.get_certificate() if name == "tls-server-end-point" else None
        return None if own is None else _end_point(_der(own))


@lru_cache(maxsize=64)
def _end_point(certificate: bytes) -> bytes | None:
    """
    The hash of a server's certificate by its own algorithm, if that has one (RFC 5929 section 4.1).
    """
    try:
        algorithm = x509.load_der_x509_certificate(certificate).signature_hash_algorithm
    except MALFORMED:
        # Certificates of other people's making serve too.
        return None
    if algorithm is None:
        return None
    digest = Hash(SHA256() if isinstance(algorithm, MD5 | SHA1) else algorithm)
    digest.update(certificate)
    return digest.finalize()


def ssl_dict(tls: TLS) -> dict[str, Any]:
    """
    What asyncio, and so aiosmtpd, says about a TLS connection, as far as it can be written as JSON.

    ``peercert``
        None, or what ``getpeercert()`` of Python's own sockets would give: a dict with ``subject``,
        ``issuer``, ``version``, ``serialNumber``, ``notBefore``, ``notAfter`` and, if there is one,
        ``subjectAltName``.  It is empty if the certificate has something that nobody understands.
    ``cipher``
        the name, the version of TLS and the number of secret bits.
    ``compression``
        None.

    There is no ``sslcontext`` and no ``ssl_object``: they belong to Python's ``ssl`` module, which
    Twisted does not use.
    """
    der = tls.peer_certificate
    return {
        "peercert": None if der is None else _peercert(der),
        "cipher": (tls.cipher, tls.version, tls.bits),
        "compression": None,
    }


def _peercert(der: bytes) -> dict[str, Any]:
    try:
        certificate = x509.load_der_x509_certificate(der)
        facts = {
            "subject": _distinguished_name(certificate.subject),
            "issuer": _distinguished_name(certificate.issuer),
            "version": certificate.version.value + 1,
            "serialNumber": _hexadecimal(certificate.serial_number),
            # Its names of months are English everywhere.
            "notBefore": f"{certificate.not_valid_before_utc.ctime()[4:]} GMT",
            "notAfter": f"{certificate.not_valid_after_utc.ctime()[4:]} GMT",
        }
        names = _alternative_names(certificate)
    except MALFORMED:
        return {}
    return {**facts, "subjectAltName": names} if names else facts


def _hexadecimal(number: int) -> str:
    digits = f"{number:X}"
    return digits if len(digits) % 2 == 0 else f"0{digits}"


def _distinguished_name(name: x509.Name) -> tuple[Any, ...]:
    return tuple(
        tuple((_LONG_NAMES.get(part.oid, part.oid.dotted_string), part.value) for part in rdn)
        for rdn in name.rdns
    )


def _alternative_names(certificate: x509.Certificate) -> tuple[tuple[str, str], ...]:
    try:
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    kinds: dict[Any, str] = _KINDS_OF_NAMES
    return tuple((kinds[type(name)], str(name.value)) for name in names if type(name) in kinds)
