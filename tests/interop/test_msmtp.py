"""
Mail from msmtp.
"""

from __future__ import annotations

import subprocess

from .messages import BINARY, MESSAGES, large
from .server import DEADLINE, InteropTestCase, Server

#: Its statuses, from sysexits.h.
EX_DATAERR, EX_UNAVAILABLE = 65, 69

SMALL = b"Subject: x\r\n\r\nbody\r\n"


class MsmtpTests(InteropTestCase):
    program = "msmtp"

    def msmtp(
        self, server: Server, *options: str, data: bytes = SMALL
    ) -> subprocess.CompletedProcess[bytes]:
        # With --host it reads no settings.
        arguments = ["--host=127.0.0.1", f"--port={server.port}", "--domain=client.example.org"]
        arguments += [f"--timeout={DEADLINE}", "--set-from-header=off", "--set-date-header=off"]
        return self.run_program(*arguments, "--set-msgid-header=off", *options, data=data)

    def send(
        self, server: Server, content: bytes, *recipients: str, sender: str = "bob@example.org"
    ) -> subprocess.CompletedProcess[bytes]:
        tos = recipients or ("ann@example.com",)
        return self.msmtp(server, f"--from={sender}", "--", *tos, data=content)

    def test_content(self) -> None:
        server = self.serve()
        contents = {**MESSAGES, "binary": BINARY, "empty": b"", "large": large(5 * 2**20)}
        for what, content in contents.items():
            self.assertStatus(self.send(server, content))
            self.assertDelivered(server, content, what=what)
        # It makes CRLF of the line ends of Unix, and ends the last line if it has to.
        self.assertStatus(self.send(server, b"Subject: x\n\n.\n..\nend"))
        self.assertDelivered(server, b"Subject: x\r\n\r\n.\r\n..\r\nend\r\n")

    def test_envelope(self) -> None:
        server = self.serve()
        tos = ("ann@example.com", "carol@example.com", "ann@example.com")
        self.assertStatus(self.send(server, SMALL, *tos, sender=""))
        message = self.assertDelivered(server, SMALL, sender="", recipients=tos)
        self.assertTrue(message.received.startswith("from client.example.org ([127.0.0.1]) by "))
        # As a mail reader calls it, which leaves the recipients to it.
        header = b'To: "A, B" <ann@example.com>\r\n'
        blind = b"Bcc: carol@example.com\r\n"
        options = ("--from=bob@example.org", "--read-recipients")
        self.assertStatus(self.msmtp(server, *options, data=header + blind + SMALL))
        self.assertDelivered(server, header + SMALL, recipients=tos[:2])
        ended = self.msmtp(server, "--serverinfo")
        self.assertStatus(ended)
        information = ended.stdout.decode()
        for line in ("mx.example.com ESMTP txsmtpd", "SIZE 33554432", "PIPELINING"):
            self.assertIn(line, information)

    def test_refused(self) -> None:
        server = self.serve("--size-limit", "1000", "--max-recipients", "1")
        for sent, status, said in (
            (self.send(server, b"x" * 1000), EX_UNAVAILABLE, "552 5.3.4 "),
            (self.send(server, SMALL, sender="bob@@example.org"), EX_DATAERR, "501 5.1.7 "),
            (self.send(server, SMALL, sender="jörg@example.org"), EX_DATAERR, "553 5.6.7 "),
            (self.send(server, SMALL, "ann@@example.com"), EX_DATAERR, "501 5.1.3 "),
            # It pipelines DATA, is told 354, and goes away without a word of content.
            (self.send(server, SMALL, "a@example.com", "b@example.com"), 69, "452 4.5.3 "),
        ):
            self.assertIn(f"server message: {said}", self.assertStatus(sent, status))
        self.assertEqual(server.take(), [])
        self.assertStatus(self.send(server, SMALL))
        self.assertDelivered(server, SMALL)
