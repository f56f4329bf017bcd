"""
Certificates for tests, and handshakes without a network.
"""

from __future__ import annotations

import os
from contextlib import suppress
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL


@attrs.frozen
class Pair:
    """
    A certificate and its key.
    """

    cert_pem: bytes
    key_pem: bytes

    @property
    def der(self) -> bytes:
        return x509.load_pem_x509_certificate(self.cert_pem).public_bytes(Encoding.DER)

    def write(self, prefix: str) -> tuple[str, str]:
        """
        :return: the two files.
        """
        files = f"{prefix}.cert", f"{prefix}.key"
        replace(files[0], self.cert_pem)
        replace(files[1], self.key_pem)
        return files

    def use(self, context: SSL.Context) -> None:
        context.use_certificate(x509.load_pem_x509_certificate(self.cert_pem))
        key: Any = load_pem_private_key(self.key_pem, None)
        context.use_privatekey(key)


def replace(path: str, content: bytes) -> None:
    """
    Put a new file in the place of an old one, at once.
    """
    with open(f"{path}.new", "wb") as file:
        file.write(content)
    os.replace(f"{path}.new", path)


def _key_pem(key: Any) -> bytes:
    pem: bytes = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pem


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(name))
    except ValueError:
        return x509.RFC822Name(name) if "@" in name else x509.DNSName(name)


@attrs.frozen(eq=False)
class CA:
    """
    Who signs certificates.
    """

    certificate: x509.Certificate
    key: Any = attrs.field(repr=False)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self, *names: str, client: bool = False, common_name: str | None = None, key: Any = None
    ) -> Pair:
        """
        A certificate for domains, addresses of machines and addresses of people.
        """
        key = key or ec.generate_private_key(ec.SECP256R1())
        common = names[0] if common_name is None else common_name
        usage = ExtendedKeyUsageOID.CLIENT_AUTH if client else ExtendedKeyUsageOID.SERVER_AUTH
        builder = _builder(common, key, self.certificate.subject, self.key, ca=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        if names:
            alternatives = x509.SubjectAlternativeName(map(_general_name, names))
            builder = builder.add_extension(alternatives, critical=False)
        return Pair(self._sign(builder).public_bytes(Encoding.PEM), _key_pem(key))

    def intermediate(self, name: str) -> CA:
        """
        A CA whose certificate this one signs.
        """
        key = ec.generate_private_key(ec.SECP256R1())
        return CA(self._sign(_builder(name, key, self.certificate.subject, self.key, ca=True)), key)

    def _sign(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        # That kind of key brings its own hash.
        edwards = isinstance(self.key, ed25519.Ed25519PrivateKey)
        return builder.sign(self.key, None if edwards else SHA256())


def make_ca(name: str, key: Any = None) -> CA:
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    unsigned = CA(None, key)  # type: ignore[arg-type]
    return CA(unsigned._sign(_builder(name, key, subject, key, ca=True)), key)


def _builder(
    name: str, key: Any, issuer: x509.Name, issuer_key: Any, *, ca: bool
) -> x509.CertificateBuilder:
    """
    All that a strict verifier wants to see (RFC 5280), but for what a certificate is used for.
    """
    usage = x509.KeyUsage(
        digital_signature=not ca,
        key_cert_sign=ca,
        crl_sign=ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )
    issued_by = x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key())
    now = datetime.now(timezone.utc)
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(issued_by, critical=False)
    )


def client_connection(
    server_name: bytes | None = None,
    *,
    pair: Pair | None = None,
    version: int | None = None,
    protocols: list[bytes] | None = None,
) -> SSL.Connection:
    """
    A client that believes everything.

    :param server_name: what it asks for (SNI).
    :param pair: the certificate that it shows if it is asked for one.
    :param version: the one version of TLS that it speaks.
    :param protocols: those it offers (ALPN).
    """
    context = SSL.Context(SSL.TLS_METHOD)
    # Even what OpenSSL thinks unsafe.
    context.set_cipher_list(b"DEFAULT@SECLEVEL=0")
    if version is not None:
        context.set_min_proto_version(version)
        context.set_max_proto_version(version)
    if protocols is not None:
        context.set_alpn_protos(protocols)
    if pair is not None:
        pair.use(context)
    client = SSL.Connection(context)
    client.set_connect_state()
    if server_name is not None:
        client.set_tlsext_host_name(server_name)
    return client


def pass_on(source: SSL.Connection, target: SSL.Connection) -> bool:
    """
    Let one end go on with its handshake and tell the other what it says.

    :return: whether it said anything.
    """
    with suppress(SSL.WantReadError):
        source.do_handshake()
    try:
        said = source.bio_read(2**16)
    except SSL.WantReadError:
        return False
    target.bio_write(said)
    return True


def shake_hands(creator: Any, client: SSL.Connection) -> SSL.Connection:
    """
    :param creator: makes the server's end, an `IOpenSSLServerConnectionCreator`.
    :return: the server's end.
    :raise SSL.Error: if either end refuses.
    """
    server: SSL.Connection = creator.serverConnectionForTLS(None)
    server.set_accept_state()
    while pass_on(client, server) | pass_on(server, client):
        pass
    return server
