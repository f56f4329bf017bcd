"""
Reading certificates and keys, and what a stranger can tell from a certificate.

What is wrong with a file becomes one sentence here.  Only ``cryptography`` reads them: OpenSSL
would ask for a missing passphrase on the terminal, and a server has nobody there.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from ipaddress import ip_address
from typing import Any

import attrs
from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import SSL, crypto
from twisted.internet.ssl import CertificateOptions, TLSVersion

#: What ``cryptography`` raises for a certificate that it cannot make sense of.
MALFORMED = (
    ValueError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


class TLSError(ValueError):
    """
    A certificate or its key cannot be used: one sentence for whoever starts the server.
    """


@attrs.frozen(eq=False)
class Pair:
    """
    A certificate and its key.

    :ivar chain: the certificates that lead from it towards a root.
    :ivar names: the names that it is for, in lower case.
    """

    certificate: x509.Certificate
    chain: Sequence[x509.Certificate]
    key: Any = attrs.field(repr=False)
    names: Sequence[str | bytes]


def names_of(certificate: x509.Certificate) -> list[str | bytes]:
    """
    The domain names that a certificate is for (RFC 9525 section 6.3), in lower case.

    The common name counts where there are no others, as it did before there were others.
    """
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        names: list[Any] = extension.value.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = []
    common = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return [name.lower() for name in names or [attribute.value for attribute in common]]


def make_context(pair: Pair, client_ca: Sequence[x509.Certificate] = ()) -> SSL.Context:
    """
    What OpenSSL needs to serve with a certificate.

    :param client_ca: who may have signed the certificates of clients.  A client is asked for one,
        need not have one, and cannot connect with one of somebody else's.
    """
    # Twisted's annotations know the classes of pyOpenSSL only, which pyOpenSSL deprecates.
    certificate: Any = pair.certificate
    chain: Any = pair.chain
    options = CertificateOptions(
        privateKey=pair.key,
        certificate=certificate,
        extraCertChain=chain,
        raiseMinimumTo=TLSVersion.TLSv1_2,
        verify=bool(client_ca),
        requireCertificate=False,
        caCerts=[crypto.X509.from_cryptography(ca) for ca in client_ca],
    )
    context = options.getContext()
    context.set_options(SSL.OP_NO_RENEGOTIATION)
    # What Twisted 26.10 sets there breaks the handshake with every client that offers a protocol.
    context.set_alpn_select_callback(_no_protocol)
    for ca in client_ca:
        # Tells clients that have several certificates which one is wanted.
        context.add_client_ca(ca)
    return context


def _no_protocol(connection: SSL.Connection, offered: list[bytes]) -> Any:
    return SSL.NO_OVERLAPPING_PROTOCOLS


def read_certificates(path: str) -> list[x509.Certificate]:
    """
    The certificates in a file, of which there is at least one.

    :raise TLSError: if there is none, or if one of them is damaged.
    """
    pem = _read(path)
    with _explained(f"{path} holds no certificate in PEM format, or a damaged one"):
        certificates = x509.load_pem_x509_certificates(pem)
        if len(certificates) < pem.count(b"-----BEGIN CERTIFICATE-----"):
            # One that is not all there is passed over in silence.
            raise ValueError("The last one is not whole")
    return certificates


def read_pair(certificate_file: str, key_file: str) -> Pair:
    """
    A certificate, what else is in its file as the chain, and its key, maybe from the same file.

    :raise TLSError: if they cannot be used, or do not belong together.
    """
    certificate, *chain = read_certificates(certificate_file)
    key = _read_key(key_file)
    unusable = f"the certificate in {certificate_file} cannot be used"
    with _explained(unusable):
        names, public_key = names_of(certificate), certificate.public_key()
    if public_key != key.public_key():
        raise TLSError(
            f"the key in {key_file} does not belong to the certificate in {certificate_file}"
        )
    pair = Pair(certificate, chain, key, names)
    with _explained(unusable):
        # OpenSSL has an opinion too, on short keys for example.
        make_context(pair)
    return pair


def _read_key(path: str) -> Any:
    pem = _read(path)
    try:
        with _explained(f"{path} holds no private key in PEM format, or a damaged one"):
            return load_pem_private_key(pem, None)
    except TypeError as error:
        raise TLSError(f"the key in {path} needs a passphrase") from error


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise TLSError(f"cannot read {path}: {error.strerror}") from error


@contextmanager
def _explained(sentence: str) -> Iterator[None]:
    """
    Say what is wrong so that whoever starts the server can mend it.
    """
    try:
        yield
    except SSL.Error as error:
        reasons = "".join(f": {reason}" for *_, reason in error.args[0])
        raise TLSError(sentence + reasons) from error
    except MALFORMED as error:
        raise TLSError(sentence) from error


def make_self_signed(hostname: str) -> Pair:
    """
    A certificate that nobody trusts, for a year, with a key that is written nowhere.
    """
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "txsmtpd, for development only")])
    now = datetime.now(timezone.utc)
    hosts = dict.fromkeys(map(_general_name, (hostname, "localhost", "127.0.0.1", "::1")))
    builder = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=365))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .add_extension(x509.SubjectAlternativeName(hosts), critical=False)
    )
    certificate = builder.sign(key, SHA256())
    return Pair(certificate, (), key, names_of(certificate))


def _general_name(host: str) -> x509.GeneralName:
    """
    A domain or an address, which may be a literal as in a greeting (RFC 5321 section 4.1.3).
    """
    try:
        return x509.IPAddress(ip_address(host.strip("[]").removeprefix("IPv6:")))
    except ValueError:
        return x509.DNSName(host)


def state_of(path: str) -> tuple[int, ...] | None:
    """
    What differs when a file has changed, or None if it cannot be looked at.
    """
    try:
        status = os.stat(path)
    except OSError:
        return None
    # The time of the last change stands for the permissions too.
    return status.st_mtime_ns, status.st_ctime_ns, status.st_size, status.st_ino
