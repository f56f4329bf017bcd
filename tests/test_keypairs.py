"""
Tests for :mod:`txsmtpd.keypairs`.
"""

from __future__ import annotations

import os
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa, x25519
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from OpenSSL import SSL
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.keypairs import (
    TLSError,
    make_context,
    make_self_signed,
    names_of,
    read_certificates,
    read_pair,
    state_of,
)

from .certificates import Pair, client_connection, make_ca, pass_on

CA = make_ca("A CA")
LEAF = CA.issue("mail.example.org", "*.example.net")


def certificate_of(pair: Pair) -> x509.Certificate:
    return x509.load_pem_x509_certificate(pair.cert_pem)


class FileCase(SynchronousTestCase):
    def file(self, content: bytes) -> str:
        path: str = self.mktemp()
        with open(path, "wb") as file:
            file.write(content)
        return path

    def assertSays(self, sentence: str, function: Any, *args: str) -> None:
        error = self.assertRaises(TLSError, function, *args)
        self.assertEqual(sentence, str(error))


class NamesTests(SynchronousTestCase):
    def test_alternatives(self) -> None:
        """
        Only domains, and not what else the certificate has.
        """
        pair = CA.issue("a.example", "B.Example", "192.0.2.1", "a@b.example", common_name="c")
        self.assertEqual(["a.example", "b.example"], names_of(certificate_of(pair)))

    def test_common_name(self) -> None:
        pair = CA.issue(common_name="Mail.Example.ORG")
        self.assertEqual(["mail.example.org"], names_of(certificate_of(pair)))


class ReadCertificatesTests(FileCase):
    def assertDamaged(self, content: bytes) -> None:
        path = self.file(content)
        sentence = f"{path} holds no certificate in PEM format, or a damaged one"
        self.assertSays(sentence, read_certificates, path)

    def test_order(self) -> None:
        other = make_ca("Another")
        path = self.file(b"a comment\n" + CA.pem + other.pem)
        self.assertEqual([CA.certificate, other.certificate], read_certificates(path))

    def test_none(self) -> None:
        self.assertDamaged(b"")
        self.assertDamaged(b"nonsense")
        self.assertDamaged(bytes(range(256)))
        self.assertDamaged(LEAF.key_pem)
        self.assertDamaged(LEAF.der)

    def test_cut_off(self) -> None:
        """
        At no place: somebody may be writing it right now.
        """
        begin, end = b"-----BEGIN CERTIFICATE-----", b"-----END CERTIFICATE-----"
        both = LEAF.cert_pem + CA.pem
        for length in range(0, len(both), 7):
            part = both[:length]
            if part.count(begin) > part.count(end):
                self.assertDamaged(part)

    def test_bad_content(self) -> None:
        lines = LEAF.cert_pem.splitlines(keepends=True)
        self.assertDamaged(b"".join(lines[:3] + lines[4:]))

    def test_missing(self) -> None:
        sentence = "cannot read /no/such/file: No such file or directory"
        self.assertSays(sentence, read_certificates, "/no/such/file")

    def test_directory(self) -> None:
        self.assertSays("cannot read /: Is a directory", read_certificates, "/")


class ReadPairTests(FileCase):
    def read(self, pair: Pair) -> Any:
        return read_pair(self.file(pair.cert_pem), self.file(pair.key_pem))

    def test_pair(self) -> None:
        pair = self.read(LEAF)
        self.assertEqual(certificate_of(LEAF), pair.certificate)
        self.assertEqual([], pair.chain)
        self.assertEqual(["mail.example.org", "*.example.net"], pair.names)
        self.assertEqual(certificate_of(LEAF).public_key(), pair.key.public_key())

    def test_one_file(self) -> None:
        """
        In any order.
        """
        for content in (LEAF.cert_pem + LEAF.key_pem, LEAF.key_pem + LEAF.cert_pem):
            path = self.file(content)
            self.assertEqual(certificate_of(LEAF), read_pair(path, path).certificate)

    def test_chain(self) -> None:
        between = CA.intermediate("Between")
        leaf = between.issue("a.example")
        pair = self.read(Pair(leaf.cert_pem + between.pem + CA.pem, leaf.key_pem))
        self.assertEqual(certificate_of(leaf), pair.certificate)
        self.assertEqual([between.certificate, CA.certificate], pair.chain)

    def test_kinds_of_keys(self) -> None:
        keys: list[Any] = [
            rsa.generate_private_key(65537, 2048),
            ec.generate_private_key(ec.SECP384R1()),
            ed25519.Ed25519PrivateKey.generate(),
        ]
        for key in keys:
            pair = self.read(CA.issue("a.example", key=key))
            self.assertEqual(key.public_key(), pair.key.public_key())

    def test_traditional(self) -> None:
        """
        As ``openssl ecparam -genkey`` writes it, with the name of the curve in a block of its own.
        """
        key: Any = load_pem_private_key(LEAF.key_pem, None)
        old = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        curve = b"-----BEGIN EC PARAMETERS-----\nBggqhkjOPQMBBw==\n-----END EC PARAMETERS-----\n"
        pair = self.read(Pair(LEAF.cert_pem, curve + old))
        self.assertEqual(key.public_key(), pair.key.public_key())

    def test_secret(self) -> None:
        self.assertNotIn("key", repr(self.read(LEAF)))

    def test_other_key(self) -> None:
        certificate = self.file(LEAF.cert_pem)
        for key in (ec.generate_private_key(ec.SECP256R1()), ed25519.Ed25519PrivateKey.generate()):
            path = self.file(CA.issue("a.example", key=key).key_pem)
            sentence = f"the key in {path} does not belong to the certificate in {certificate}"
            self.assertSays(sentence, read_pair, certificate, path)

    def test_passphrase(self) -> None:
        key: Any = load_pem_private_key(LEAF.key_pem, None)
        certificate, secret = self.file(LEAF.cert_pem), BestAvailableEncryption(b"secret")
        for form in (PrivateFormat.PKCS8, PrivateFormat.TraditionalOpenSSL):
            path = self.file(key.private_bytes(Encoding.PEM, form, secret))
            sentence = f"the key in {path} needs a passphrase"
            self.assertSays(sentence, read_pair, certificate, path)

    def test_no_key(self) -> None:
        certificate = self.file(LEAF.cert_pem)
        for content in (b"", b"nonsense", bytes(range(256)), LEAF.cert_pem, LEAF.key_pem[:100]):
            path = self.file(content)
            sentence = f"{path} holds no private key in PEM format, or a damaged one"
            self.assertSays(sentence, read_pair, certificate, path)

    def test_missing(self) -> None:
        sentence = "cannot read /no/such/file: No such file or directory"
        self.assertSays(sentence, read_pair, self.file(LEAF.cert_pem), "/no/such/file")

    def assertUnusable(self, pair: Pair, reason: str = "") -> None:
        certificate, key = self.file(pair.cert_pem), self.file(pair.key_pem)
        sentence = f"the certificate in {certificate} cannot be used{reason}"
        self.assertSays(sentence, read_pair, certificate, key)

    def test_short_key(self) -> None:
        weak = CA.issue("a.example", key=rsa.generate_private_key(65537, 1024))
        self.assertUnusable(weak, ": ee key too small")

    def test_not_for_signing(self) -> None:
        """
        A kind of key that is good for an exchange of keys only.
        """
        key = x25519.X25519PrivateKey.generate()
        self.assertUnusable(CA.issue("a.example", key=key), ": unknown certificate type")

    def test_strange_names(self) -> None:
        """
        A certificate whose names cannot be made sense of.
        """
        key: Any = load_pem_private_key(LEAF.key_pem, None)
        strange = x509.UnrecognizedExtension(x509.SubjectAlternativeName.oid, b"nonsense")
        name = CA.certificate.subject
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(name)
        builder = builder.public_key(key.public_key()).serial_number(1)
        builder = builder.not_valid_before(CA.certificate.not_valid_before_utc)
        builder = builder.not_valid_after(CA.certificate.not_valid_after_utc)
        builder = builder.add_extension(strange, critical=False)
        certificate = CA._sign(builder).public_bytes(Encoding.PEM)
        self.assertUnusable(Pair(certificate, LEAF.key_pem))


class ContextTests(FileCase):
    def connection(self) -> SSL.Connection:
        pair = read_pair(self.file(LEAF.cert_pem), self.file(LEAF.key_pem))
        server = SSL.Connection(make_context(pair))
        server.set_accept_state()
        return server

    def test_too_old(self) -> None:
        """
        TLS 1.1 is refused, and by the server.
        """
        client, server = client_connection(version=SSL.TLS1_1_VERSION), self.connection()
        self.assertTrue(pass_on(client, server))
        error = self.assertRaises(SSL.Error, pass_on, server, client)
        self.assertEqual("unsupported protocol", error.args[0][-1][-1])

    def test_renegotiation(self) -> None:
        """
        TLS 1.2 has it, and it is refused.
        """
        client, server = client_connection(version=SSL.TLS1_2_VERSION), self.connection()
        while pass_on(client, server) | pass_on(server, client):
            pass
        client.renegotiate()
        self.assertTrue(pass_on(client, server))
        self.assertRaises(SSL.WantReadError, server.recv, 1)
        client.bio_write(server.bio_read(2**16))
        error = self.assertRaises(SSL.Error, pass_on, client, server)
        self.assertEqual("no renegotiation", error.args[0][-1][-1])
        self.assertEqual(0, server.total_renegotiations())


class SelfSignedTests(SynchronousTestCase):
    def alternatives(self, hostname: str) -> x509.SubjectAlternativeName:
        certificate = make_self_signed(hostname).certificate
        extensions = certificate.extensions
        return extensions.get_extension_for_class(x509.SubjectAlternativeName).value

    def test_names(self) -> None:
        self.assertEqual(["mx.example.org", "localhost"], make_self_signed("mx.example.org").names)
        names = self.alternatives("mx.example.org")
        addresses = names.get_values_for_type(x509.IPAddress)
        self.assertEqual(["127.0.0.1", "::1"], [str(address) for address in addresses])

    def test_localhost(self) -> None:
        self.assertEqual(["localhost"], make_self_signed("localhost").names)

    def test_literals(self) -> None:
        for hostname in ("[192.0.2.1]", "192.0.2.1", "[IPv6:2001:db8::1]"):
            first, *_ = self.alternatives(hostname).get_values_for_type(x509.IPAddress)
            self.assertIn(str(first), hostname)

    def test_long_name(self) -> None:
        """
        One for which there is no room in a common name.
        """
        hostname = ".".join(["a" * 60] * 4)
        self.assertIn(hostname, make_self_signed(hostname).names)

    def test_key(self) -> None:
        one, other = make_self_signed("localhost"), make_self_signed("localhost")
        self.assertIsInstance(one.key.curve, ec.SECP256R1)
        self.assertEqual(one.certificate.public_key(), one.key.public_key())
        self.assertNotEqual(one.key.public_key(), other.key.public_key())
        one.certificate.verify_directly_issued_by(one.certificate)


class StateTests(FileCase):
    def test_missing(self) -> None:
        self.assertIsNone(state_of("/no/such/file"))

    def test_unchanged(self) -> None:
        path = self.file(b"content")
        self.assertEqual(state_of(path), state_of(path))

    def test_replaced(self) -> None:
        """
        Even by one that pretends to be as old.
        """
        path, other = self.file(b"content"), self.file(b"another")
        before = os.stat(path)
        state = state_of(path)
        os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
        os.replace(other, path)
        self.assertNotEqual(state, state_of(path))

    def test_permissions(self) -> None:
        """
        Who could not read it may be able to now.
        """
        path = self.file(b"content")
        os.utime(path, ns=(0, 0))
        state = state_of(path)
        assert state is not None
        while state[1] == os.stat(path).st_ctime_ns:
            # The clock of a file system is a coarse one.
            os.chmod(path, 0o640)
        self.assertNotEqual(state, state_of(path))
