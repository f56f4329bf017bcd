"""
Patches from git send-email.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

from twisted.trial.unittest import SkipTest

from .messages import BINARY
from .server import InteropTestCase, Server

#: What a commit changes: lines that mail is known to damage.
BEFORE = b".\n..\n.dot\nFrom here\n\nlast\n"
AFTER = "..\n.\n.\nFrom there\n \t\n\nGrüße ☃\nlast".encode()

MESSAGE = "Grüße: a subject so long that git folds it and has to encode it, too\n\n.\n..\nend\n"


class GitTests(InteropTestCase):
    program = "git"

    def setUp(self) -> None:
        super().setUp()
        programs = self.run_program("--exec-path").stdout.decode().strip()
        if not Path(programs, "git-send-email").exists():
            raise SkipTest("git send-email is not installed")
        self.repository = Path(self.mktemp()).absolute()
        self.repository.mkdir()
        self.git("init", "-q")
        self.commit(BEFORE, "One")
        self.commit(AFTER, MESSAGE)

    def run_git(self, *arguments: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """
        Run it in the repository, without the settings of the machine.
        """
        return self.run_program(
            *("-C", str(self.repository), *arguments),
            data=data,
            GIT_CONFIG_NOSYSTEM="1",
            GIT_AUTHOR_NAME="Bob",
            GIT_AUTHOR_EMAIL="bob@example.org",
            GIT_COMMITTER_NAME="Bob",
            GIT_COMMITTER_EMAIL="bob@example.org",
        )

    def git(self, *arguments: str, data: bytes = b"") -> bytes:
        """
        :return: what it prints.
        """
        ended = self.run_git(*arguments, data=data)
        self.assertEqual(ended.returncode, 0, ended.stderr.decode())
        return ended.stdout

    def commit(self, content: bytes, message: str) -> None:
        (self.repository / "file").write_bytes(content)
        self.git("add", "file")
        self.git("commit", "-q", "-F", "-", data=message.encode())

    def options(self, server: Server) -> tuple[str, ...]:
        return (
            "send-email",
            "--smtp-server=127.0.0.1",
            f"--smtp-server-port={server.port}",
            "--smtp-domain=client.example.org",
            "--from=Bob <bob@example.org>",
            "--to=ann@example.com",
            "--suppress-cc=all",
            "--confirm=never",
        )

    def test_patch(self) -> None:
        """
        The header is what git says that it has sent, the body that of ``git format-patch``.
        """
        server = self.serve()
        log = self.git(*self.options(server), "--cc=carol@example.com", "-1")
        _, _, header = log.partition(b"RCPT TO:<carol@example.com>\n")
        header, _, _ = header.partition(b"\nResult: ")
        _, _, body = self.git("format-patch", "--stdout", "-1").partition(b"\n\n")
        content = (header + b"\n" + body).replace(b"\n", b"\r\n")
        tos = ("ann@example.com", "carol@example.com")
        message = self.assertDelivered(server, content, recipients=tos)
        self.assertTrue(message.received.startswith("from client.example.org ([127.0.0.1]) by "))

    def test_apply(self) -> None:
        """
        What arrives makes of the old version the new one.
        """
        server = self.serve()
        self.commit(BINARY, "Binary")
        wanted = self.git("rev-parse", "HEAD^{tree}")
        self.git(*self.options(server), "-2")
        self.git("checkout", "-q", "HEAD~2")
        for patch in sorted(message.content for message in server.take()):
            self.git("am", "-q", data=patch)
        self.assertEqual(self.git("rev-parse", "HEAD^{tree}"), wanted)

    def test_refused(self) -> None:
        server = self.serve("--size-limit", "100")
        ended = self.run_git(*self.options(server), "-1")
        self.assertNotEqual(ended.returncode, 0)
        self.assertIn("5.3.4 ", ended.stderr.decode())
        self.assertEqual(server.take(), [])
