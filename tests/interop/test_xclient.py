"""
swaks as a proxy: XCLIENT and the PROXY protocol.
"""

from __future__ import annotations

from .secure import CONTENT, SwaksTestCase
from .server import HOSTNAME

CLIENT = "203.0.113.9"


class XClientTests(SwaksTestCase):
    def test_xclient(self) -> None:
        server = self.serve("--trusted-proxy", "127.0.0.0/8")
        ended = self.swaks(
            server.port,
            *("--xclient-addr", CLIENT, "--xclient-port", "40000", "--xclient-destport", "25"),
            *("--xclient-name", "client.example", "--xclient-destaddr", "203.0.113.1"),
            *("--xclient-helo", "hello there", "--xclient-proto", "ESMTP"),
        )
        transcript = self.assertStatus(ended)
        self.assertIn("HELO=hello+20there", transcript)
        received = self.assertDelivered(server, CONTENT).received
        source = f"from client.example.org (client.example [{CLIENT}])"
        self.assertIn(f"{source} by {HOSTNAME} with ESMTP", received)
        server.wait_for(f"[127.0.0.1] speaks for client.example [{CLIENT}]")

    def test_ipv6_and_unavailable(self) -> None:
        server = self.serve("--trusted-proxy", "127.0.0.0/8")
        name = ("--xclient-name", "[UNAVAILABLE]")
        self.assertStatus(self.swaks(server.port, "--xclient-addr", "IPV6:2001:db8::9", *name))
        self.assertIn("([IPv6:2001:db8::9])", self.assertDelivered(server, CONTENT).received)
        self.assertStatus(self.swaks(server.port, "--xclient-addr", "[UNAVAILABLE]"))
        received = self.assertDelivered(server, CONTENT).received
        self.assertTrue(received.startswith("from client.example.org by "), received)

    def test_login_and_several(self) -> None:
        """
        Who may say XCLIENT may say who has logged in.
        """
        server = self.serve(
            "--trusted-proxy", "127.0.0.0/8", "--require-auth", "--auth-without-tls", self.users()
        )
        self.assertStatus(
            self.swaks(
                server.port,
                *("--xclient-addr", CLIENT, "--xclient-delim", "--xclient-login", "ann"),
            )
        )
        received = self.assertDelivered(server, CONTENT).received
        self.assertIn(f"([{CLIENT}]) by {HOSTNAME} with ESMTPA", received)

    def test_starttls(self) -> None:
        """
        In either order.
        """
        server = self.serve("--trusted-proxy", "127.0.0.0/8", *self.tls())
        for options in ((), ("--xclient-before-starttls",)):
            ended = self.swaks(server.port, "--tls", "--xclient-addr", CLIENT, *options)
            self.assertStatus(ended)
            received = self.assertDelivered(server, CONTENT).received
            self.assertIn(f"([{CLIENT}]) by {HOSTNAME} with ESMTPS", received)

    def test_bad(self) -> None:
        server = self.serve("--trusted-proxy", "127.0.0.0/8")
        ended = self.swaks(server.port, "--xclient", "ADDR=localhost")
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn(b"<** 501 5.5.4 Bad ADDR syntax", ended.stdout)

    def test_not_trusted(self) -> None:
        server = self.serve()
        ended = self.swaks(server.port, "--xclient", f"ADDR={CLIENT}", "--xclient-no-verify")
        self.assertNotEqual(ended.returncode, 0)
        self.assertNotIn("speaks for", server.log)


class ProxyTests(SwaksTestCase):
    def test_versions(self) -> None:
        server = self.serve("--proxy-protocol")
        ends = (
            *("--proxy-source", CLIENT, "--proxy-source-port", "40000"),
            *("--proxy-dest", "203.0.113.1", "--proxy-dest-port", "25"),
        )
        for options in (
            ("--proxy-family", "TCP4"),
            ("--proxy-version", "2", "--proxy-family", "AF_INET"),
        ):
            self.assertStatus(self.swaks(server.port, *ends, *options))
            received = self.assertDelivered(server, CONTENT).received
            self.assertIn(f"([{CLIENT}]) by {HOSTNAME} with ESMTP", received)

    def test_unknown_and_bad(self) -> None:
        server = self.serve("--proxy-protocol")
        self.assertStatus(self.swaks(server.port, "--proxy", "UNKNOWN"))
        received = self.assertDelivered(server, CONTENT).received
        self.assertIn("([127.0.0.1])", received)
        ended = self.swaks(server.port, "--proxy", f"TCP4 {CLIENT} 203.0.113.1 40000 65536")
        self.assertNotEqual(ended.returncode, 0)
        server.wait_for("port out of range")
