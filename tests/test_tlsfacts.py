"""
Tests for :mod:`txsmtpd.tlsfacts`.
"""

from __future__ import annotations

import contextlib
import gc
import hashlib
import json
import ssl
from datetime import datetime
from typing import Any

import attrs
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import NameOID, ObjectIdentifier
from hypothesis import given
from hypothesis import strategies as st
from OpenSSL import SSL
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.session import TLS
from txsmtpd.tls import Certificates, self_signed, ssl_dict, tls_facts

from .certificates import Pair, client_connection, make_ca, replace, shake_hands

ISSUER = make_ca("A CA")
EXPORTER, END_POINT = "tls-exporter", "tls-server-end-point"

# The beginning of sha1WithRSAEncryption and its kin: one octet more tells them apart.
_WITH_RSA = bytes.fromhex("2a864886f70d0101")


@attrs.define
class Fixed:
    """
    Serves as it is told, however badly.
    """

    context: SSL.Context

    def serverConnectionForTLS(self, protocol: Any) -> SSL.Connection:
        return SSL.Connection(self.context)


def fixed(der: bytes, key_pem: bytes) -> Fixed:
    context = SSL.Context(SSL.TLS_METHOD)
    context.set_cipher_list(b"DEFAULT@SECLEVEL=0")
    context.use_certificate(x509.load_der_x509_certificate(der))
    key: Any = load_pem_private_key(key_pem, None)
    context.use_privatekey(key)
    return Fixed(context)


class FactsTests(SynchronousTestCase):
    """
    What a handshake came to.
    """

    def facts(self, name: bytes | None = None, **options: Any) -> TLS:
        return tls_facts(shake_hands(self_signed("localhost"), client_connection(name, **options)))

    def test_version(self) -> None:
        new = self.facts(version=SSL.TLS1_3_VERSION)
        self.assertEqual(
            ("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256), (new.version, new.cipher, new.bits)
        )
        old = self.facts(version=SSL.TLS1_2_VERSION)
        self.assertEqual(
            ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384", 256), (old.version, old.cipher, old.bits)
        )

    def test_server_name(self) -> None:
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            facts = self.facts(b"MX.example.org", version=version)
            self.assertEqual("MX.example.org", facts.server_name)
            self.assertIsNone(self.facts(version=version).server_name)

    def test_clean(self) -> None:
        facts = self.facts(b"a\r\n\t b\x7f\xc3\xa9<c>")
        self.assertEqual("a????b???<c>", facts.server_name)

    def test_peer_certificate(self) -> None:
        prefix = self.mktemp()
        replace(f"{prefix}.ca", ISSUER.pem)
        pairs = [ISSUER.issue("localhost").write(prefix)]
        certificates = Certificates(pairs, clock=Clock(), client_ca=f"{prefix}.ca")
        pair = ISSUER.issue("client", client=True)
        facts = tls_facts(shake_hands(certificates, client_connection(pair=pair)))
        self.assertEqual(pair.der, facts.peer_certificate)
        self.assertEqual(((("commonName", "client"),),), ssl_dict(facts)["peercert"]["subject"])

    def test_no_peer_certificate(self) -> None:
        self.assertIsNone(self.facts().peer_certificate)


class ChannelBindingTests(SynchronousTestCase):
    """
    What binds a mechanism to one connection.
    """

    def test_exporter(self) -> None:
        """
        Both ends get the same (RFC 9266), and another one each time.
        """
        seen = set()
        for _ in range(2):
            client = client_connection(version=SSL.TLS1_3_VERSION)
            server = shake_hands(self_signed("localhost"), client)
            facts = tls_facts(server)
            exported = client.export_keying_material(b"EXPORTER-Channel-Binding", 32, b"")
            self.assertEqual(exported, facts.channel_binding(EXPORTER))
            seen.add(exported)
        self.assertEqual([2, {32}], [len(seen), set(map(len, seen))])

    def test_no_exporter(self) -> None:
        client = client_connection(version=SSL.TLS1_2_VERSION)
        server = shake_hands(self_signed("localhost"), client)
        facts = tls_facts(server)
        self.assertIsNone(facts.channel_binding(EXPORTER))
        self.assertIsNotNone(facts.channel_binding(END_POINT))

    def test_others(self) -> None:
        server = shake_hands(self_signed("localhost"), client_connection())
        facts = tls_facts(server)
        for name in ("tls-unique", "", "TLS-EXPORTER"):
            self.assertIsNone(facts.channel_binding(name))

    def test_certificate_that_was_sent(self) -> None:
        """
        Not the first one, but the one that was chosen.
        """
        pairs = [ISSUER.issue("a.example"), ISSUER.issue("b.example")]
        files = [pair.write(f"{self.mktemp()}") for pair in pairs]
        certificates = Certificates(files, clock=Clock())
        for name, pair in zip((b"a.example", b"b.example"), pairs, strict=True):
            for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
                server = shake_hands(certificates, client_connection(name, version=version))
                binding = tls_facts(server).channel_binding(END_POINT)
                self.assertEqual(hashlib.sha256(pair.der).digest(), binding)

    def test_hashes(self) -> None:
        """
        The certificate's own, but for those that are broken (RFC 5929 section 4.1).
        """
        issuer = make_ca("RSA", rsa.generate_private_key(65537, 2048))
        pair = issuer.issue("localhost")
        for octet, name in (
            (4, "sha256"),  # MD5
            (5, "sha256"),  # SHA-1
            (11, "sha256"),
            (12, "sha384"),
            (13, "sha512"),
            (99, None),
        ):
            der = pair.der.replace(_WITH_RSA + b"\x0b", _WITH_RSA + bytes([octet]))
            server = shake_hands(fixed(der, pair.key_pem), client_connection())
            facts = tls_facts(server)
            expected = None if name is None else hashlib.new(name, der).digest()
            self.assertEqual(expected, facts.channel_binding(END_POINT), str(octet))

    def test_no_hash(self) -> None:
        """
        A signature that brings its own.
        """
        pair = make_ca("Edwards", ed25519.Ed25519PrivateKey.generate()).issue("localhost")
        server = shake_hands(fixed(pair.der, pair.key_pem), client_connection())
        facts = tls_facts(server)
        self.assertIsNone(facts.channel_binding(END_POINT))

    def test_no_certificate(self) -> None:
        """
        Of a server that has none, as some have for those who do not look anyway.
        """
        context = SSL.Context(SSL.TLS_METHOD)
        context.set_max_proto_version(SSL.TLS1_2_VERSION)
        context.set_cipher_list(b"AECDH@SECLEVEL=0")
        client = SSL.Connection(context)
        client.set_connect_state()
        server = shake_hands(Fixed(context), client)
        facts = tls_facts(server)
        self.assertIsNone(facts.channel_binding(END_POINT))

    def test_while_it_ends(self) -> None:
        server = shake_hands(self_signed("localhost"), client_connection())
        facts = tls_facts(server)
        server.shutdown()
        self.assertIsNotNone(facts.channel_binding(EXPORTER))

    def test_after_the_end(self) -> None:
        """
        They do not keep the connection, which is large, in memory.
        """
        server = shake_hands(self_signed("localhost"), client_connection())
        facts = tls_facts(server)
        del server
        gc.collect()
        self.assertIsNone(facts.channel_binding(EXPORTER))
        self.assertIsNone(facts.channel_binding(END_POINT))

    def test_once(self) -> None:
        """
        What was asked for is known.
        """
        server = shake_hands(self_signed("localhost"), client_connection())
        facts = tls_facts(server)
        exported = facts.channel_binding(EXPORTER)
        self.assertIs(exported, facts.channel_binding(EXPORTER))
        del server
        gc.collect()
        self.assertIs(exported, facts.channel_binding(EXPORTER))

    def test_secret(self) -> None:
        server = shake_hands(self_signed("localhost"), client_connection())
        facts = tls_facts(server)
        self.assertNotIn("binding", repr(facts))


def python_says(pair: Pair, issuer: bytes, directory: str) -> Any:
    """
    What Python's own TLS, and so asyncio, knows about the certificate of a client.
    """
    (certificate, key), trusted = pair.write(directory), f"{directory}.ca"
    replace(trusted, issuer)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    context.load_verify_locations(trusted)
    context.verify_mode = ssl.CERT_REQUIRED
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    server = context.wrap_bio(incoming, outgoing, server_side=True)
    client = client_connection(pair=pair)
    while True:
        with contextlib.suppress(SSL.WantReadError):
            client.do_handshake()
        incoming.write(client.bio_read(2**16))
        try:
            server.do_handshake()
            return server.getpeercert()
        except ssl.SSLWantReadError:
            client.bio_write(outgoing.read())


class DictTests(SynchronousTestCase):
    """
    What aiosmtpd's users know.
    """

    def facts(self, certificate: bytes | None = None) -> TLS:
        return TLS("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256, peer_certificate=certificate)

    def test_no_certificate(self) -> None:
        self.assertEqual(
            {
                "peercert": None,
                "cipher": ("TLS_AES_256_GCM_SHA384", "TLSv1.3", 256),
                "compression": None,
            },
            ssl_dict(self.facts()),
        )

    def assertLikePython(self, pair: Pair) -> None:
        expected = python_says(pair, ISSUER.pem, self.mktemp())
        known = ssl_dict(self.facts(pair.der))["peercert"]
        self.assertEqual(expected, known)
        json.dumps(known)

    def test_like_python(self) -> None:
        names = "client.example", "someone@example.org", "192.0.2.1", "*.example.org"
        self.assertLikePython(ISSUER.issue(*names, client=True))
        self.assertLikePython(ISSUER.issue(client=True, common_name="No alternatives"))

    def test_names_like_python(self) -> None:
        """
        With all that is in names, and a name that nobody knows.
        """
        parts = [
            NameOID.COUNTRY_NAME, NameOID.STATE_OR_PROVINCE_NAME, NameOID.LOCALITY_NAME,
            NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME, NameOID.COMMON_NAME,
            NameOID.SURNAME, NameOID.GIVEN_NAME, NameOID.TITLE, NameOID.PSEUDONYM,
            NameOID.SERIAL_NUMBER, NameOID.GENERATION_QUALIFIER, NameOID.DN_QUALIFIER,
            NameOID.DOMAIN_COMPONENT, NameOID.EMAIL_ADDRESS, NameOID.USER_ID,
            NameOID.STREET_ADDRESS, ObjectIdentifier("1.3.6.1.4.1.99999.1"),
        ]  # fmt: skip
        self.assertLikePython(self.issue([[x509.NameAttribute(part, "DE")] for part in parts]))

    def test_several_in_one(self) -> None:
        """
        Parts of a name that stand side by side.
        """
        one = x509.NameAttribute(NameOID.USER_ID, "someone")
        other = x509.NameAttribute(NameOID.COMMON_NAME, "S\u00f6meone")
        self.assertLikePython(self.issue([[one, other], [other]]))

    def issue(self, parts: list[list[x509.NameAttribute[str]]]) -> Pair:
        pair = ISSUER.issue("client", client=True)
        key: Any = load_pem_private_key(pair.key_pem, None)
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name(map(x509.RelativeDistinguishedName, parts)))
            .issuer_name(ISSUER.certificate.subject)
            .public_key(key.public_key())
            .serial_number(0xABC)
            .not_valid_before(datetime(2020, 1, 5, 9, 3, 4))
            .not_valid_after(datetime(2049, 12, 31, 23, 59, 59))
        )
        certificate = builder.sign(ISSUER.key, SHA256())
        return Pair(certificate.public_bytes(Encoding.PEM), pair.key_pem)

    @given(st.binary())
    def test_malformed(self, octets: bytes) -> None:
        """
        What nobody understands has no facts.
        """
        self.assertEqual({}, ssl_dict(self.facts(octets))["peercert"])
