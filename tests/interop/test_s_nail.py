"""
Mail from s-nail, the mailx of many systems.
"""

from __future__ import annotations

import subprocess

from .messages import MESSAGES, large
from .server import InteropTestCase, Server

#: What s-nail itself changes: it wants a header, and adds an empty line where there is no body.
CHANGED = frozenset({"empty lines first and last", "a header and no body"})

#: Stands before a message in a mailbox.
SEPARATOR = b"From eve@example.net Thu Jan  1 00:00:00 1970\n"


class SNailTests(InteropTestCase):
    program = "s-nail"

    def nail(
        self, server: Server, *options: str, sender: str = "bob@example.org", data: bytes = b""
    ) -> subprocess.CompletedProcess[bytes]:
        # It reads no settings, and keeps no copy of what it cannot send.
        arguments = ["-:/", "-S", "nosave", "-S", "v15-compat", "-S", "smtp-auth=none"]
        arguments += ["-S", f"mta=smtp://127.0.0.1:{server.port}", "-S", f"from={sender}"]
        arguments += ["-S", "hostname=client.example.org", "-S", "mime-encoding=8bit"]
        return self.run_program(*arguments, *options, data=data)

    def assertSent(self, ended: subprocess.CompletedProcess[bytes]) -> None:
        self.assertEqual((ended.returncode, ended.stdout, ended.stderr), (0, b"", b""))

    def test_content(self) -> None:
        """
        Messages out of a mailbox, sent as they are.
        """
        server = self.serve()
        for what, content in {**MESSAGES, "large": large(5 * 2**20)}.items():
            if what not in CHANGED:
                mailbox = self.file(SEPARATOR + content.replace(b"\r\n", b"\n") + b"\n")
                resend = b"Resend 1 ann@example.com\nexit\n"
                self.assertSent(self.nail(server, "-R", "-#", "-f", mailbox, data=resend))
                self.assertDelivered(server, content, what=what)

    def test_composed(self) -> None:
        """
        A message of its own making.
        """
        server = self.serve()
        body = "Grüße ☃\n.\n..\n.dot\nFrom me\n \nend \n".encode()
        options = ("-s", "hello", "-c", "carol@example.com", "-b", "dave@example.com")
        self.assertSent(self.nail(server, *options, "ann@example.com", data=body))
        (message,) = server.take()
        self.assertEqual(message.sender, "bob@example.org")
        tos = ["ann@example.com", "carol@example.com", "dave@example.com"]
        self.assertEqual(message.recipients, tos)
        self.assertTrue(message.received.startswith("from client.example.org ([127.0.0.1]) by "))
        header, _, content = message.content.partition(b"\r\n\r\n")
        self.assertIn(b"\r\nSubject: hello\r\n", header)
        self.assertSame(content, body.replace(b"\n", b"\r\n"))

    def test_refused(self) -> None:
        server = self.serve("--size-limit", "1000")
        long = "b" * 65 + "@example.org"
        for ended, said in (
            (self.nail(server, "ann@example.com", data=b"x" * 1000 + b"\n"), "552 5.3.4 "),
            (self.nail(server, "ann@example.com", sender=long, data=b"x\n"), "501 5.1.7 "),
            (self.nail(server, long, data=b"x\n"), "501 5.1.3 "),
        ):
            self.assertNotEqual(ended.returncode, 0)
            self.assertIn(f"SMTP server: {said}", ended.stderr.decode())
        self.assertEqual(server.take(), [])
