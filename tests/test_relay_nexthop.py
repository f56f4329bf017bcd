"""
Tests for txsmtpd.handlers.relay.nexthop.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

from OpenSSL import SSL
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsmtpd.handlers.relay import Credentials, NextHop
from txsmtpd.handlers.relay.nexthop import Unverified, from_relay, from_relay_lmtp, from_relay_tls

from .certificates import make_ca


class SpecTestCase(SynchronousTestCase):
    def file(self, content: bytes, mode: int = 0o600) -> str:
        path: str = os.path.abspath(self.mktemp())
        with open(path, "wb") as file:
            file.write(content)
        os.chmod(path, mode)
        return path

    def fails(self, read: Callable[..., Any], argument: Any, sentence: str) -> None:
        error = self.assertRaises(ValueError, read, argument)
        self.assertEqual(str(error), sentence)


class RelaySpecTests(SpecTestCase):
    def test_addresses(self) -> None:
        for argument, host, port in (
            ("mail.example:2525", "mail.example", 2525),
            ("mail.example", "mail.example", 25),
            ("192.0.2.1:26", "192.0.2.1", 26),
            ("[2001:db8::1]:26", "2001:db8::1", 26),
            ("[2001:db8::1]", "2001:db8::1", 25),
        ):
            hop = from_relay(argument)
            self.assertEqual((hop.host, hop.port, hop.lmtp), (host, port, False))
            self.assertIsInstance(hop.tls, Unverified)
            self.assertFalse(hop.verified or hop.implicit)

    def test_lmtp(self) -> None:
        hop = from_relay_lmtp("mail.example")
        self.assertEqual((hop.host, hop.port, hop.lmtp), ("mail.example", 24, True))

    def test_unix(self) -> None:
        for read, lmtp in ((from_relay, False), (from_relay_lmtp, True)):
            hop = read("unix:/run/lmtp:a,b")
            self.assertEqual((hop.host, hop.port, hop.lmtp), ("/run/lmtp:a,b", None, lmtp))
            self.assertIsNone(hop.tls)

    def test_wrong(self) -> None:
        wants = "wants a host and a port"
        for argument in (
            *(None, "", ":25", "a:b", "a:0", "a:65536", "a:25:26", "::1", "[::1", "[a]:25"),
            *("unix:", "unix:run", "a b:25", "a:25,starttls"),
        ):
            self.fails(from_relay, argument, f"relay {wants}: relay:HOST:PORT or relay:unix:/PATH")
        self.fails(
            from_relay_lmtp,
            "",
            f"relay-lmtp {wants}: relay-lmtp:HOST:PORT or relay-lmtp:unix:/PATH",
        )
        for argument in ("", None, "unix:/run/smtp"):
            self.fails(from_relay_tls, argument, f"relay-tls {wants}: relay-tls:HOST:PORT")

    def test_shown(self) -> None:
        for argument, shown in (
            ("mail.example:26", "mail.example:26"),
            ("[::1]:26", "[::1]:26"),
            ("unix:/run/smtp", "unix:/run/smtp"),
        ):
            self.assertEqual(str(from_relay(argument)), shown)

    def test_endpoints(self) -> None:
        reactor = MemoryReactorClock()
        self.assertIsInstance(from_relay("a").endpoint(reactor), HostnameEndpoint)
        self.assertIsInstance(from_relay("unix:/a").endpoint(reactor), UNIXClientEndpoint)


class RelayTLSSpecTests(SpecTestCase):
    def test_plain(self) -> None:
        hop = from_relay_tls("mail.example")
        self.assertEqual((hop.host, hop.port), ("mail.example", 465))
        self.assertTrue(hop.verified and hop.implicit)
        self.assertIsNone(hop.credentials)
        self.assertTrue(verifyObject(IOpenSSLClientConnectionCreator, hop.tls))

    def test_options(self) -> None:
        ca = self.file(b"# ours\n" + make_ca("one").pem + make_ca("two").pem)
        credentials = self.file(b"ann:secret\n")
        hop = from_relay_tls(
            f"192.0.2.1:26,starttls,name=mail.example,ca={ca},credentials={credentials}"
        )
        self.assertEqual((hop.host, hop.port), ("192.0.2.1", 26))
        self.assertTrue(hop.verified)
        self.assertFalse(hop.implicit)
        self.assertEqual(hop.credentials, Credentials("ann", "secret"))
        self.assertNotIn("secret", repr(hop))
        self.assertEqual(from_relay_tls("a,starttls").port, 587)

    def test_relative_to_home(self) -> None:
        path = self.file(b"ann:secret")
        self.patch(os, "environ", {**os.environ, "HOME": os.path.dirname(path)})
        hop = from_relay_tls(f"a,credentials=~/{os.path.basename(path)}")
        self.assertEqual(hop.credentials, Credentials("ann", "secret"))

    def test_wrong_options(self) -> None:
        takes = (
            "relay-tls takes the options starttls, credentials=FILE, ca=FILE and name=NAME,"
            " each once, not"
        )
        self.fails(from_relay_tls, "a,tls", f"{takes} 'tls'")
        self.fails(from_relay_tls, "a,", f"{takes} ''")
        self.fails(from_relay_tls, "a,name=b,name=c", f"{takes} 'name'")
        self.fails(from_relay_tls, "a,name", "the option name of relay-tls wants a value")
        self.fails(from_relay_tls, "a,ca=", "the option ca of relay-tls wants a value")
        self.fails(
            from_relay_tls, "a,starttls=yes", "the option starttls of relay-tls takes no value"
        )

    def test_wrong_ca(self) -> None:
        broken = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
        for content in (b"", b"hello", broken):
            path = self.file(content)
            error = self.assertRaises(ValueError, from_relay_tls, f"a,ca={path}")
            self.assertIn(f"{path} holds no certificate in PEM format", str(error))
        error = self.assertRaises(ValueError, from_relay_tls, "a,ca=/nosuch")
        self.assertIn("/nosuch", str(error))
        self.fails(
            from_relay_tls,
            "a,credentials=/nosuch",
            "/nosuch cannot be read: No such file or directory",
        )


class CredentialsTests(SpecTestCase):
    def test_file(self) -> None:
        for content, name, password in (
            (b"ann:secret", "ann", "secret"),
            (b"# ours\r\n\r\nann:a:b c\r\n", "ann", "a:b c"),
            ("j\xf6rg:\u2028\n".encode(), "j\xf6rg", "\u2028"),
            (b"ann:\xff\n", "ann", "\udcff"),
        ):
            found = Credentials.from_file(self.file(content))
            self.assertEqual((found.name, found.password), (name, password))

    def test_wrong(self) -> None:
        wants = "wants one line: a user's name, a colon and the password"
        for content in (b"", b"#ann:secret", b"ann", b"ann:", b":secret", b"ann:a\nbob:b\n"):
            path = self.file(content)
            self.fails(Credentials.from_file, path, f"{path} {wants}")

    def test_public(self) -> None:
        for mode, said in ((0o644, 1), (0o640, 0)):
            with capturedLogs() as events:
                Credentials.from_file(self.file(b"ann:secret", mode))
            self.assertEqual(len(events), said)

    def test_only_where_they_are_safe(self) -> None:
        credentials = Credentials("ann", "secret")
        error = self.assertRaises(ValueError, NextHop, "a", 25, credentials=credentials)
        self.assertEqual(
            str(error), "credentials are only for a next hop whose certificate is verified"
        )
        self.assertNotIn("secret", repr(NextHop.secure("a", 25, credentials=credentials)))

    def test_no_name(self) -> None:
        for make in (NextHop.plain, NextHop.secure):
            error = self.assertRaises(ValueError, make, "a..b", 25)
            self.assertEqual(str(error), "a..b cannot be the name of a host")

    def test_tls_that_cannot_be(self) -> None:
        for how, sentence in (
            ({"verified": True}, "whose certificate is verified needs something to do TLS"),
            ({"implicit": True}, "TLS from the first octet is only for a next hop"),
        ):
            error = self.assertRaises(ValueError, NextHop, "a", 25, **how)
            self.assertIn(sentence, str(error))


class UnverifiedTests(SynchronousTestCase):
    def test_name(self) -> None:
        """
        Only a domain is sent (RFC 6066 section 3).
        """
        for name, sent in {
            "mail.example": b"mail.example",
            "m\xe4il.example": b"xn--mil-qla.example",
            "192.0.2.1": None,
            "2001:db8::1": None,
        }.items():
            creator = Unverified(name)
            self.assertTrue(verifyObject(IOpenSSLClientConnectionCreator, creator))
            connection = creator.clientConnectionForTLS(None)
            self.assertIsInstance(connection, SSL.Connection)
            self.assertEqual(connection.get_servername(), sent)
