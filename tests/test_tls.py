"""
Tests for :mod:`txsmtpd.tls`.
"""

from __future__ import annotations

import errno
import gc
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from weakref import ref

from OpenSSL import SSL, crypto
from twisted.internet.address import IPv4Address
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.ssl import Certificate as TwistedCertificate
from twisted.internet.ssl import optionsForClientTLS, trustRootFromCertificates
from twisted.internet.task import Clock
from twisted.logger import LogEvent, LogLevel, eventAsText, globalLogPublisher
from twisted.protocols.tls import TLSMemoryBIOFactory
from twisted.python.failure import Failure
from twisted.test.iosim import connect, makeFakeClient, makeFakeServer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsmtpd import keypairs
from txsmtpd.tls import Certificates, TLSError, self_signed

from .certificates import Pair, client_connection, make_ca, pass_on, replace, shake_hands

CA = make_ca("A CA")
CLIENTS = make_ca("A CA of clients")
#: What belongs to a client of ours, and to somebody else's.
CLIENT, STRANGER = CLIENTS.issue("client", client=True), CA.issue("client", client=True)

FIRST = CA.issue("mx.example.org")
SECOND = CA.issue("mail.example.net", "Smtp.Example.NET")
WILD = CA.issue("*.example.net", "*.example.org")
RENEWED = CA.issue("mx.example.org")


class Listening(SynchronousTestCase):
    """
    Three certificates, a clock and a log.
    """

    def setUp(self) -> None:
        self.clock = Clock()
        self.prefix = os.path.abspath(self.mktemp())
        pairs = (FIRST, SECOND, WILD)
        self.files: list[Any] = [pair.write(f"{self.prefix}{n}") for n, pair in enumerate(pairs)]
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def load(self, **options: Any) -> Certificates:
        return Certificates(self.files, clock=self.clock, **options)

    def renew(self, pair: Pair = RENEWED) -> None:
        """
        Put new files in the place of the first two, and wait for a second.
        """
        pair.write(f"{self.prefix}0")
        self.clock.advance(1)

    def assertShown(
        self,
        pair: Pair,
        creator: IOpenSSLServerConnectionCreator,
        name: bytes | None = None,
        **options: Any,
    ) -> None:
        """
        That this is the certificate which a client gets to see, and that it can talk then.
        """
        client = client_connection(name, **options)
        server = shake_hands(creator, client)
        client.send(b"EHLO")
        server.bio_write(client.bio_read(2**16))
        self.assertEqual(b"EHLO", server.recv(2**16))
        self.assertEqual(pair.der, certificate_shown_to(client))

    def assertLogged(self, level: LogLevel, *sentences: str) -> None:
        """
        That these sentences are the log, which is forgotten.
        """
        texts = [eventAsText(e, includeTimestamp=False, includeSystem=False) for e in self.events]
        self.assertEqual(list(sentences), texts)
        for event in self.events:
            self.assertEqual(("certificate", level), (event["event"], event["log_level"]))
        self.events.clear()


def certificate_shown_to(client: SSL.Connection) -> bytes:
    certificate = client.get_peer_certificate()
    assert certificate is not None
    return crypto.dump_certificate(crypto.FILETYPE_ASN1, certificate)


class ServerNameTests(Listening):
    """
    Which of three certificates a client gets to see.
    """

    def assertChosen(self, pair: Pair, *names: bytes | None) -> None:
        certificates = self.load()
        for name in names:
            for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
                self.assertShown(pair, certificates, name, version=version)

    def test_interface(self) -> None:
        verifyObject(IOpenSSLServerConnectionCreator, self.load())

    def test_exact(self) -> None:
        self.assertChosen(FIRST, b"mx.example.org")
        self.assertChosen(SECOND, b"mail.example.net", b"smtp.example.net")

    def test_case(self) -> None:
        self.assertChosen(SECOND, b"MAIL.example.NET", b"SMTP.EXAMPLE.NET")

    def test_dot_at_the_end(self) -> None:
        """
        It does not belong there (RFC 6066 section 3), but what is meant is plain.
        """
        self.assertChosen(SECOND, b"mail.example.net.")

    def test_wildcard(self) -> None:
        """
        It stands for one label, and for what has no certificate of its own.
        """
        self.assertChosen(WILD, b"other.example.net", b"other.example.org", b"Other.Example.Net")
        self.assertChosen(WILD, b"m\xc3\xbcll.example.net")

    def test_wildcard_is_one_label(self) -> None:
        self.assertChosen(FIRST, b"example.net", b"a.b.example.net", b".net", b"net")

    def test_unknown(self) -> None:
        self.assertChosen(FIRST, b"example.com", b"mail.example.net.example.com", b"localhost")

    def test_none(self) -> None:
        self.assertChosen(FIRST, None)

    def test_odd_octets(self) -> None:
        self.assertChosen(
            FIRST, b"\xff\xfe", b"\r\n", b" ", b".", b"..", b"*", b"%s",
            b"m\xc3\xa4il.example.com", b"a" * 255, b"." * 255,
        )  # fmt: skip

    def test_first_counts(self) -> None:
        """
        A name that several certificates have.
        """
        self.files.append(CA.issue("mail.example.net").write(f"{self.prefix}3"))
        self.assertChosen(SECOND, b"mail.example.net")

    def test_common_name(self) -> None:
        old = CA.issue(common_name="old.example")
        self.files.append(old.write(f"{self.prefix}3"))
        self.assertChosen(old, b"old.example")

    def test_protocols(self) -> None:
        """
        That a client offers protocols (ALPN), of which we know none, keeps it from nothing.
        """
        certificates = self.load()
        self.assertShown(FIRST, certificates, protocols=[b"smtp"])
        self.assertShown(SECOND, certificates, b"mail.example.net", protocols=[b"smtp", b"h2"])

    def test_chain(self) -> None:
        """
        What stands behind a certificate in its file is sent with it, to the right client.
        """
        between = CA.intermediate("Between")
        leaf = between.issue("deep.example")
        self.files.append(Pair(leaf.cert_pem + between.pem, leaf.key_pem).write(f"{self.prefix}3"))
        certificates = self.load()
        for name, length in (b"deep.example", 2), (b"mail.example.net", 1):
            client = client_connection(name)
            shake_hands(certificates, client)
            self.assertEqual(length, len(client.get_peer_cert_chain() or ()))

    def test_too_old(self) -> None:
        """
        No certificate is for those who speak TLS 1.1.
        """
        for name in (None, b"mail.example.net"):
            client = client_connection(name, version=SSL.TLS1_1_VERSION)
            self.assertRaises(SSL.Error, shake_hands, self.load(), client)


class StartTests(Listening):
    """
    Who starts the server is told what is wrong.
    """

    def assertSays(self, sentence: str, **options: Any) -> None:
        self.assertEqual(sentence, str(self.assertRaises(TLSError, self.load, **options)))
        self.assertLogged(LogLevel.info)

    def test_nothing(self) -> None:
        self.files.clear()
        self.assertSays("TLS needs a certificate and its key")

    def test_mismatch(self) -> None:
        certificate, key = self.files[0][0], self.files[1][1]
        self.files.append((certificate, key))
        self.assertSays(f"the key in {key} does not belong to the certificate in {certificate}")

    def test_no_issuer(self) -> None:
        path = f"{self.prefix}ca"
        replace(path, b"")
        sentence = f"{path} holds no certificate in PEM format, or a damaged one"
        self.assertSays(sentence, client_ca=path)

    def test_paths(self) -> None:
        """
        A path may be an object.
        """
        self.files = [(Path(self.files[0][0]), Path(self.files[0][1]))]
        certificates = self.load()
        self.assertShown(FIRST, certificates)
        self.renew()
        self.assertShown(RENEWED, certificates)
        self.assertLogged(LogLevel.info, f"{self.files[0][0]} was read again")

    def test_working_directory(self) -> None:
        """
        Relative paths are those of the start, wherever a daemon goes.
        """
        self.files = [tuple(map(os.path.relpath, self.files[0]))]
        certificates = self.load()
        elsewhere = self.mktemp()
        os.mkdir(elsewhere)
        self.addCleanup(os.chdir, os.getcwd())
        os.chdir(elsewhere)
        self.renew()
        self.assertShown(RENEWED, certificates)
        self.assertLogged(LogLevel.info, f"{self.prefix}0.cert was read again")


class ReloadTests(Listening):
    """
    New files take the place of old ones.
    """

    def setUp(self) -> None:
        super().setUp()
        self.certificates = self.load()
        self.certificate, self.key = self.files[0]
        self.read_again = f"{self.certificate} was read again"

    def assertFirst(self, pair: Pair) -> None:
        self.assertShown(pair, self.certificates)
        self.assertShown(SECOND, self.certificates, b"mail.example.net")

    def test_changed(self) -> None:
        self.renew()
        self.assertFirst(RENEWED)
        self.assertLogged(LogLevel.info, self.read_again)

    def test_unchanged(self) -> None:
        first = self.certificates._contexts
        self.clock.advance(100)
        self.assertFirst(FIRST)
        self.assertIs(first, self.certificates._contexts)
        self.assertLogged(LogLevel.info)

    def test_once_a_second(self) -> None:
        self.clock.advance(5)
        self.assertFirst(FIRST)
        RENEWED.write(f"{self.prefix}0")
        self.clock.advance(0.99)
        self.assertFirst(FIRST)
        self.clock.advance(0.01)
        self.assertFirst(RENEWED)

    def test_clock_set_back(self) -> None:
        self.clock.rightNow = 1000
        self.assertFirst(FIRST)
        RENEWED.write(f"{self.prefix}0")
        self.clock.rightNow = 10
        self.assertFirst(RENEWED)

    def test_other_names(self) -> None:
        """
        What a certificate is for may change too.
        """
        moved = CA.issue("new.example")
        moved.write(f"{self.prefix}1")
        self.clock.advance(1)
        self.assertShown(moved, self.certificates, b"new.example")
        self.assertShown(WILD, self.certificates, b"mail.example.net")

    def test_broken(self) -> None:
        """
        What cannot be used changes nothing, and is logged once.
        """
        replace(self.certificate, b"nonsense")
        for _ in range(3):
            self.clock.advance(1)
            self.assertFirst(FIRST)
        self.assertLogged(
            LogLevel.warn,
            f"{self.certificate} holds no certificate in PEM format, or a damaged one; what was "
            "there before stays in use",
        )
        self.renew()
        self.assertFirst(RENEWED)
        self.assertLogged(LogLevel.info, self.read_again)

    def test_missing(self) -> None:
        os.remove(self.key)
        for _ in range(3):
            self.clock.advance(1)
            self.assertFirst(FIRST)
        self.assertLogged(
            LogLevel.warn,
            f"cannot read {self.key}: No such file or directory; what was there before stays in "
            "use",
        )

    def test_cannot_be_opened_for_a_while(self) -> None:
        """
        What goes wrong with files that have not changed since may go well the next time.
        """
        unable = OSError(errno.EMFILE, os.strerror(errno.EMFILE))

        def refuse(path: str) -> bytes:
            raise keypairs.TLSError(f"cannot read {path}: {unable.strerror}") from unable

        reading = self.patch(keypairs, "_read", refuse)
        self.renew()
        for _ in range(2):
            self.clock.advance(1)
            self.assertShown(FIRST, self.certificates)
        sentence = f"cannot read {self.certificate}: {unable.strerror}; what was there before"
        self.assertLogged(LogLevel.warn, f"{sentence} stays in use")
        reading.restore()
        self.clock.advance(1)
        self.assertShown(RENEWED, self.certificates)
        self.assertLogged(LogLevel.info, self.read_again)

    def test_others_go_on(self) -> None:
        """
        One broken file does not keep another pair from being renewed.
        """
        os.remove(self.certificate)
        new = CA.issue("mail.example.net")
        new.write(f"{self.prefix}1")
        self.clock.advance(1)
        self.assertShown(new, self.certificates, b"mail.example.net")
        self.assertShown(FIRST, self.certificates)
        levels = [event["log_level"] for event in self.events]
        self.assertEqual([LogLevel.warn, LogLevel.info], levels)

    def test_in_two_steps(self) -> None:
        """
        The certificate comes first and its key a while later.
        """
        replace(self.certificate, RENEWED.cert_pem)
        for _ in range(3):
            self.clock.advance(1)
            self.assertFirst(FIRST)
        self.assertLogged(
            LogLevel.warn,
            f"the key in {self.key} does not belong to the certificate in {self.certificate}; "
            "what was there before stays in use",
        )
        replace(self.key, RENEWED.key_pem)
        self.clock.advance(1)
        self.assertFirst(RENEWED)
        self.assertLogged(LogLevel.info, self.read_again)

    def test_changed_while_it_is_read(self) -> None:
        """
        Whoever is faster, the next look finds the new one.
        """
        files = self.certificates._pairs[0]
        read = files._read

        def slowly(*paths: str) -> Any:
            value = read(*paths)
            RENEWED.write(f"{self.prefix}0")
            return value

        files._read = slowly
        self.certificates.reload()
        files._read = read
        self.assertFirst(FIRST)
        self.clock.advance(1)
        self.assertFirst(RENEWED)

    def test_on_demand(self) -> None:
        """
        Whatever the files look like, and without waiting.
        """
        RENEWED.write(f"{self.prefix}0")
        self.certificates.reload()
        again = [f"{certificate} was read again" for certificate, _ in self.files]
        self.assertLogged(LogLevel.info, *again)
        self.assertFirst(RENEWED)
        self.certificates.reload()
        self.assertLogged(LogLevel.info, *again)
        self.assertFirst(RENEWED)

    def test_on_demand_broken(self) -> None:
        for certificate, _ in self.files:
            os.remove(certificate)
        sentences = [
            f"cannot read {certificate}: No such file or directory; what was there before stays in "
            "use"
            for certificate, _ in self.files
        ]
        for _ in range(2):
            self.certificates.reload()
            self.assertLogged(LogLevel.warn, *sentences)
        self.clock.advance(1)
        self.assertFirst(FIRST)
        self.assertLogged(LogLevel.warn)

    def test_handshake_goes_on(self) -> None:
        """
        One that has begun ends with the certificate of its beginning.
        """
        client = client_connection(b"mail.example.net")
        server = self.certificates.serverConnectionForTLS(None)
        server.set_accept_state()
        pass_on(client, server)
        new = CA.issue("mail.example.net")
        new.write(f"{self.prefix}1")
        self.certificates.reload()
        gc.collect()
        while pass_on(server, client) | pass_on(client, server):
            pass
        self.assertEqual(SECOND.der, certificate_shown_to(client))
        self.assertShown(new, self.certificates, b"mail.example.net")

    def test_nothing_left(self) -> None:
        """
        Contexts that nobody uses any more are forgotten.
        """
        old = ref(self.certificates._contexts._first)
        self.certificates.reload()
        gc.collect()
        self.assertIsNone(old())

    def test_under_load(self) -> None:
        """
        No connection fails while files are swapped, one by one, and ten handshakes are under way.
        """
        under_way: list[tuple[SSL.Connection, SSL.Connection]] = []
        seen = set()
        steps = [
            (self.certificate, RENEWED.cert_pem),
            (self.key, RENEWED.key_pem),
            (self.certificate, FIRST.cert_pem[:300]),
            (self.certificate, FIRST.cert_pem),
            (self.key, FIRST.key_pem),
        ]
        for number in range(200):
            client = client_connection(b"mx.example.org")
            server = self.certificates.serverConnectionForTLS(None)
            server.set_accept_state()
            pass_on(client, server)
            under_way.append((client, server))
            replace(*steps[number % len(steps)])
            self.clock.advance(0.7)
            if number >= 10:
                client, server = under_way.pop(0)
                while pass_on(server, client) | pass_on(client, server):
                    pass
                client.send(b"EHLO")
                pass_on(client, server)
                self.assertEqual(b"EHLO", server.recv(2**16))
                seen.add(certificate_shown_to(client))
        self.assertEqual({FIRST.der, RENEWED.der}, seen)


class ClientCertificateTests(Listening):
    """
    Certificates of clients.
    """

    def setUp(self) -> None:
        super().setUp()
        self.issuers = f"{self.prefix}ca"
        replace(self.issuers, CLIENTS.pem)
        self.certificates = self.load(client_ca=self.issuers)

    def peer(self, name: bytes | None, **options: Any) -> crypto.X509 | None:
        client = client_connection(name, **options)
        return shake_hands(self.certificates, client).get_peer_certificate()

    def assertKnown(self, pair: Pair, name: bytes | None, version: int) -> None:
        peer = self.peer(name, pair=pair, version=version)
        assert peer is not None
        self.assertEqual(pair.der, crypto.dump_certificate(crypto.FILETYPE_ASN1, peer))

    def assertRefused(self, pair: Pair, name: bytes | None, version: int) -> None:
        self.assertRaises(SSL.Error, self.peer, name, pair=pair, version=version)

    def each(self) -> Iterator[tuple[bytes | None, int]]:
        """
        Whatever certificate the client gets to see.
        """
        for name in (None, b"mx.example.org", b"mail.example.net", b"other.example.net"):
            for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
                yield name, version

    def test_ours(self) -> None:
        for name, version in self.each():
            self.assertKnown(CLIENT, name, version)

    def test_none(self) -> None:
        """
        A client need not have one.
        """
        for name, version in self.each():
            self.assertIsNone(self.peer(name, version=version))

    def test_strangers(self) -> None:
        """
        One that somebody else signed is worse than none, even if that is who signed ours.
        """
        for name, version in self.each():
            self.assertRefused(STRANGER, name, version)

    def test_of_a_server(self) -> None:
        """
        Nor is one any good that is for servers.
        """
        for name, version in self.each():
            self.assertRefused(CLIENTS.issue("client"), name, version)

    def test_tells_who(self) -> None:
        """
        A client with several learns which one to show.
        """
        for name, version in self.each():
            client = client_connection(name, version=version)
            shake_hands(self.certificates, client)
            issuers = [issuer.CN for issuer in client.get_client_ca_list()]
            self.assertEqual(["A CA of clients"], issuers)

    def test_not_asked(self) -> None:
        self.certificates = self.load()
        self.assertIsNone(self.peer(None, pair=CLIENT))
        self.assertIsNone(self.peer(b"mail.example.net", pair=STRANGER))

    def test_changed(self) -> None:
        """
        Who signs may change like the rest, and is kept like the rest if it is broken.
        """
        replace(self.issuers, CA.pem)
        self.clock.advance(1)
        self.assertKnown(STRANGER, b"mail.example.net", SSL.TLS1_3_VERSION)
        self.assertRefused(CLIENT, b"mail.example.net", SSL.TLS1_3_VERSION)
        self.assertLogged(LogLevel.info, f"{self.issuers} was read again")
        replace(self.issuers, b"")
        self.clock.advance(1)
        self.assertKnown(STRANGER, b"mail.example.net", SSL.TLS1_3_VERSION)
        self.assertLogged(
            LogLevel.warn,
            f"{self.issuers} holds no certificate in PEM format, or a damaged one; what was there "
            "before stays in use",
        )

    def test_several(self) -> None:
        replace(self.issuers, CLIENTS.pem + CA.pem)
        self.certificates.reload()
        for name, version in self.each():
            self.assertKnown(CLIENT, name, version)
            self.assertKnown(STRANGER, name, version)


class SelfSignedTests(Listening):
    """
    A certificate for development.
    """

    def test_handshake(self) -> None:
        creator = self_signed("mx.example.org")
        verifyObject(IOpenSSLServerConnectionCreator, creator)
        seen = set()
        for name in (None, b"mx.example.org", b"localhost", b"example.com"):
            client = client_connection(name)
            shake_hands(creator, client)
            seen.add(certificate_shown_to(client))
        self.assertEqual(1, len(seen))

    def test_another_each_time(self) -> None:
        one, other = client_connection(), client_connection()
        shake_hands(self_signed("localhost"), one)
        shake_hands(self_signed("localhost"), other)
        self.assertNotEqual(certificate_shown_to(one), certificate_shown_to(other))


class Greeting(Protocol):
    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(b"220 mx.example.org\r\n")


class Listener(Protocol):
    received = b""
    lost: Failure | None = None

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.lost = reason


class TwistedTests(Listening):
    """
    With Twisted's TLS, and a client that believes nothing.
    """

    def connect(self, name: str) -> Listener:
        issuer = TwistedCertificate.loadPEM(CA.pem)
        trust = trustRootFromCertificates([issuer])
        servers = Factory.forProtocol(Greeting)
        listener = Listener()
        clients = Factory.forProtocol(lambda: listener)
        address = IPv4Address("TCP", "192.0.2.1", 25)
        server, client = (
            TLSMemoryBIOFactory(creator, is_client, factory, self.clock).buildProtocol(address)
            for creator, is_client, factory in (
                (self.load(), False, servers),
                (optionsForClientTLS(name, trustRoot=trust), True, clients),
            )
        )
        ends = server, makeFakeServer(server), client, makeFakeClient(client)
        connect(*ends, clock=self.clock).flush()
        return listener

    def test_right_name(self) -> None:
        for name in ("mx.example.org", "mail.example.net", "other.example.net"):
            listener = self.connect(name)
            self.assertEqual((b"220 mx.example.org\r\n", None), (listener.received, listener.lost))

    def test_wrong_name(self) -> None:
        """
        Such a client would know if it got the wrong certificate.
        """
        listener = self.connect("example.com")
        self.assertEqual(b"", listener.received)
        assert listener.lost is not None
