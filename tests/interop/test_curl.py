"""
Mail from curl.
"""

from __future__ import annotations

import subprocess

from twisted.trial.unittest import SkipTest

from .messages import BINARY, MESSAGES, large
from .server import DEADLINE, InteropTestCase, Server

#: Curl's words for its statuses: CURLE_WEIRD_SERVER_REPLY, CURLE_SEND_ERROR.
WEIRD_SERVER_REPLY, SEND_ERROR = 8, 55

SMALL = b"Subject: x\r\n\r\nbody\r\n"


class CurlTests(InteropTestCase):
    program = "curl"

    def url(self, server: Server) -> str:
        # The path is what curl says in EHLO.
        return f"smtp://127.0.0.1:{server.port}/client.example.org"

    def curl(
        self, server: Server, *options: str, data: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        url = self.url(server)
        limit = str(DEADLINE)
        return self.run_program("-q", "-sSv", "--max-time", limit, url, *options, data=data)

    def send(
        self,
        server: Server,
        content: bytes,
        *options: str,
        sender: str = "bob@example.org",
        recipients: tuple[str, ...] = ("ann@example.com",),
    ) -> subprocess.CompletedProcess[bytes]:
        arguments = ["--mail-from", sender]
        for recipient in recipients:
            arguments += ["--mail-rcpt", recipient]
        return self.curl(server, *arguments, "-T", self.file(content), *options)

    def test_content(self) -> None:
        server = self.serve()
        contents = {**MESSAGES, "binary": BINARY, "empty": b"", "large": large(5 * 2**20)}
        for what, content in contents.items():
            self.assertStatus(self.send(server, content))
            self.assertDelivered(server, content, what=what)
        # Curl ends the last line if it has to.
        for content in (b"Subject: x\r\n\r\nend", b"end\r\n..", b"end\r\n."):
            self.assertStatus(self.send(server, content))
            self.assertDelivered(server, content + b"\r\n")
        # The line ends of Unix as they are, of which the server makes CRLF; and curl does.
        for option in ("--no-crlf", "--crlf"):
            self.assertStatus(self.send(server, b"Subject: x\n\nend\n.\n", option))
            (message,) = server.take()
            self.assertEqual(message.content.rstrip(b"\r\n"), b"Subject: x\r\n\r\nend\r\n.", option)

    def test_envelope(self) -> None:
        server = self.serve()
        tos = ("ann@example.com", "carol@example.com")
        self.assertStatus(self.send(server, SMALL, sender="", recipients=tos))
        message = self.assertDelivered(server, SMALL, sender="", recipients=tos)
        self.assertTrue(message.received.startswith("from client.example.org ([127.0.0.1]) by "))
        # One of them refused.
        sent = self.send(server, SMALL, "--mail-rcpt-allowfails", recipients=("a@@b.org", *tos))
        self.assertIn("< 501 5.1.3 ", self.assertStatus(sent))
        self.assertDelivered(server, SMALL, recipients=tos)
        # Two messages on one connection.
        second = self.file(b"second\r\n")
        sent = self.send(
            server,
            b"first\r\n",
            *("--next", "-sSv", self.url(server), "--mail-from", "bob@example.org"),
            *("--mail-rcpt", "ann@example.com", "-T", second),
        )
        self.assertEqual(self.assertStatus(sent).count("> EHLO "), 1)
        contents = {message.content for message in server.take()}
        self.assertEqual(contents, {b"first\r\n", b"second\r\n"})

    def test_international_addresses(self) -> None:
        if b" IDN" not in self.run_program("-q", "--version").stdout:
            raise SkipTest("this curl cannot do internationalized domain names")
        server = self.serve()
        sent = self.send(
            server, SMALL, sender="jürgen@bücher.example", recipients=("ñandú@example.com",)
        )
        self.assertIn(" SMTPUTF8", self.assertStatus(sent))
        message = self.assertDelivered(
            server,
            SMALL,
            # Curl spells the domain in ASCII.
            sender="jürgen@xn--bcher-kva.example",
            recipients=("ñandú@example.com",),
        )
        self.assertIn(" with UTF8SMTP id ", message.received)

    def test_refused(self) -> None:
        server = self.serve("--size-limit", "1000")
        big = b"x" * 1000 + b"\r\n"
        for sent, said in (
            (self.send(server, big), "< 552 5.3.4 "),
            (self.send(server, SMALL, sender="bob@@example.org"), "< 501 5.1.7 "),
            (self.send(server, SMALL, recipients=("ann@@example.com",)), "< 501 5.1.3 "),
        ):
            self.assertIn(said, self.assertStatus(sent, SEND_ERROR))
        # From a pipe: curl does not know the size beforehand.
        envelope = ("--mail-from", "bob@example.org", "--mail-rcpt", "ann@example.com")
        sent = self.curl(server, *envelope, "-T", "-", data=big)
        transcript = self.assertStatus(sent, WEIRD_SERVER_REPLY)
        self.assertIn("< 354 ", transcript)
        self.assertIn("< 552 5.3.4 ", transcript)
        self.assertEqual(server.take(), [])

    def test_commands(self) -> None:
        server = self.serve()
        for options, reply in (
            ((), b"214 2.0.0 "),
            (("-X", "NOOP"), b"250 2.0.0 "),
            (("--mail-rcpt", "ann@example.com"), b"252 2.0.0 "),
        ):
            ended = self.curl(server, *options)
            self.assertStatus(ended)
            self.assertTrue(ended.stdout.startswith(reply), ended.stdout)
