"""
HAProxy in front of the server, which says by the PROXY protocol who the client is.
"""

from __future__ import annotations

import smtplib
import ssl
from pathlib import Path
from typing import Any

from .haproxy import HAProxy
from .secure import ANN, BOB, CONTENT, PASSWORD, USER, SecureTestCase
from .server import DEADLINE, HOSTNAME, Server

#: Where the client comes from: an address of this machine that nobody else uses.
CLIENT = "127.0.0.2"
SOURCE = (CLIENT, 0)

#: How a proxy may say who the client is.
WAYS = (
    "send-proxy",
    "send-proxy-v2",
    "send-proxy-v2 proxy-v2-options crc32c",
    "send-proxy-v2 proxy-v2-options unique-id,authority,crc32c",
)


class HAProxyTestCase(SecureTestCase):
    program = "haproxy"

    def proxy(self, port: int, options: str, **more: Any) -> HAProxy:
        return HAProxy(Path(self.path()), port, options, **more)

    def connect(self, port: int, context: ssl.SSLContext | None = None) -> smtplib.SMTP:
        """
        A client from `CLIENT`.

        :param context: if it begins with TLS.
        """
        client: smtplib.SMTP
        if context is None:
            client = smtplib.SMTP("127.0.0.1", port, "c.example", DEADLINE, SOURCE)
        else:
            context.check_hostname = False
            client = smtplib.SMTP_SSL(
                "127.0.0.1",
                port,
                "c.example",
                timeout=DEADLINE,
                context=context,
                source_address=SOURCE,
            )
        self.addCleanup(client.close)
        return client

    def assertReceived(self, server: Server, protocol: str) -> None:
        """
        Check that a message has come, and that it says who has sent it.
        """
        received = self.assertDelivered(server, CONTENT).received
        self.assertIn(f"from c.example ([{CLIENT}]) by {HOSTNAME} with {protocol} id ", received)


class PlainTests(HAProxyTestCase):
    def test_versions(self) -> None:
        server = self.serve("--proxy-protocol")
        for options in WAYS:
            with self.proxy(server.port, options, lines=["unique-id-format %{+X}o%ci%cp"]) as proxy:
                with self.connect(proxy.port) as client:
                    client.sendmail(BOB, ANN, CONTENT)
                self.assertReceived(server, "ESMTP")

    def test_client_speaks_first(self) -> None:
        """
        What a client says before the greeting is passed on right behind the header.
        """
        server = self.serve("--proxy-protocol")
        for options in WAYS[:2]:
            with self.proxy(server.port, options) as proxy:
                client = smtplib.SMTP(timeout=DEADLINE)
                client.sock = client._get_socket(  # type: ignore[attr-defined]
                    "127.0.0.1", proxy.port, DEADLINE
                )
                client.sock.sendall(b"EHLO c.example\r\nQUIT\r\n")
                said = b""
                while more := client.sock.recv(65536):
                    said += more
                client.close()
                self.assertEqual(
                    [line[:3] for line in said.splitlines() if line[3:4] == b" "],
                    [b"220", b"250", b"221"],
                )

    def test_starttls(self) -> None:
        """
        The client does it with the server, and stays who it is.
        """
        server = self.serve("--proxy-protocol", "--require-starttls", *self.tls())
        context = self.context()
        context.check_hostname = False
        for options in WAYS[:2]:
            with self.proxy(server.port, options) as proxy:
                with self.connect(proxy.port) as client:
                    client.starttls(context=context)
                    client.sendmail(BOB, ANN, CONTENT)
                self.assertReceived(server, "ESMTPS")

    def test_limit(self) -> None:
        """
        Each client has its own.
        """
        server = self.serve("--proxy-protocol", "--max-connections-per-host", "1")
        with self.proxy(server.port, "send-proxy-v2") as proxy:
            first = self.connect(proxy.port)
            error = self.assertRaises(smtplib.SMTPConnectError, self.connect, proxy.port)
            assert isinstance(error, smtplib.SMTPConnectError)
            self.assertEqual(error.smtp_code, 421)
            other = smtplib.SMTP("127.0.0.1", proxy.port, "c.example", DEADLINE, ("127.0.0.3", 0))
            self.assertEqual([client.noop()[0] for client in (first, other)], [250, 250])
            for client in (first, other):
                client.quit()

    def test_without_a_proxy(self) -> None:
        """
        Who comes without a header learns nothing.
        """
        server = self.serve("--proxy-protocol")
        error = self.assertRaises(smtplib.SMTPServerDisconnected, self._hello, server.port)
        self.assertIn("Connection unexpectedly closed", str(error))

    def _hello(self, port: int) -> None:
        client = smtplib.SMTP(timeout=DEADLINE)
        self.addCleanup(client.close)
        sock = client._get_socket("127.0.0.1", port, DEADLINE)  # type: ignore[attr-defined]
        sock.sendall(b"EHLO c.example\r\n")
        client.sock = sock
        client.getreply()

    def test_not_trusted(self) -> None:
        server = self.serve("--proxy-protocol", "--trusted-proxy", "192.0.2.0/24")
        with self.proxy(server.port, "send-proxy") as proxy:
            self.assertRaises(smtplib.SMTPServerDisconnected, self.connect, proxy.port)
        server.wait_for("the client is no trusted proxy")


class TLSTests(HAProxyTestCase):
    def test_before_implicit_tls(self) -> None:
        """
        The header is in the clear, and TLS with the client begins behind it.
        """
        server = self.serve("--proxy-protocol", *self.tls(), "--smtps", "0")
        for options in WAYS[:2]:
            with self.proxy(server.ports[1], options) as proxy:
                with self.connect(proxy.port, self.context()) as client:
                    client.sendmail(BOB, ANN, CONTENT)
                self.assertReceived(server, "ESMTPS")

    def test_ended_by_the_proxy(self) -> None:
        """
        The proxy says that the client speaks TLS with it: that is good enough to log in.
        """
        certificate, key = self.pair(HOSTNAME)
        both = self.file(Path(certificate).read_bytes() + Path(key).read_bytes())
        server = self.serve("--proxy-protocol", "--require-auth", self.users())
        for options in ("send-proxy-v2-ssl", "send-proxy-v2-ssl-cn"):
            with self.proxy(server.port, options, bind=f"ssl crt {both}") as proxy:
                with self.connect(proxy.port, self.context()) as client:
                    client.login(USER, PASSWORD)
                    client.sendmail(BOB, ANN, CONTENT)
                received = self.assertDelivered(server, CONTENT).received
                self.assertIn(f"from c.example ([{CLIENT}]) by {HOSTNAME} with ESMTP", received)
        # A proxy that only passes on what the client says in the clear does not say so.
        with (
            self.proxy(server.port, "send-proxy-v2-ssl") as proxy,
            self.connect(proxy.port) as client,
        ):
            client.ehlo()
            self.assertFalse(client.has_extn("AUTH"))
            self.assertRaises(smtplib.SMTPSenderRefused, client.sendmail, BOB, ANN, CONTENT)


class HealthTests(HAProxyTestCase):
    """
    HAProxy asks now and then whether the server lives: the header says LOCAL then.
    """

    def check(self, options: str, text: str, *lines: str) -> None:
        """
        Have it look a few times, and then send a message through it.
        """
        server = self.serve("--proxy-protocol", "--verbose")
        options = f"{options} check inter 100 check-send-proxy"
        with self.proxy(server.port, options, lines=lines) as proxy:
            server.wait_for(text, 3)
            with self.connect(proxy.port) as client:
                client.sendmail(BOB, ANN, CONTENT)
            self.assertNotIn("DOWN", proxy.log)
        self.assertReceived(server, "ESMTP")
        self.assertNotIn("PROXY header", server.log)

    def test_smtpchk(self) -> None:
        for options in WAYS[:2]:
            self.check(options, "C: EHLO check.example", "option smtpchk EHLO check.example")

    def test_connection_only(self) -> None:
        """
        The simplest check connects and is gone.
        """
        for options in WAYS[:2]:
            self.check(options, "left after 0 messages")
