"""
Mail from swaks.
"""

from __future__ import annotations

import subprocess

from .messages import BINARY, MESSAGES
from .server import DEADLINE, InteropTestCase, Server

#: What swaks itself changes: it doubles dots only behind a newline, drops an empty first line, and
#: adds one where there is no body.
CHANGED = frozenset(
    {
        "a first line that begins with a dot",
        "empty lines first and last",
        "a header and no body",
    }
)


class SwaksTests(InteropTestCase):
    program = "swaks"

    def swaks(
        self,
        server: Server,
        *options: str,
        content: bytes = b"Subject: x\r\n\r\nbody\r\n",
        sender: str = "bob@example.org",
        to: str = "ann@example.com",
    ) -> subprocess.CompletedProcess[bytes]:
        arguments = ["--server", "127.0.0.1", "--port", str(server.port), "--from", sender]
        arguments += ["--to", to, "--ehlo", "client.example.org", "--timeout", str(DEADLINE)]
        # Swaks takes the end of data off and puts it on again. Without it a last CRLF is an empty
        # line, and a last line that is a dot is lost.
        data = self.file(content + b".\r\n")
        return self.run_program(*arguments, "--data", f"@{data}", *options)

    def assertStatus(self, ended: subprocess.CompletedProcess[bytes], status: int = 0) -> str:
        """
        :return: the transcript.
        """
        # What swaks sends may be in any encoding.
        transcript = ended.stdout.decode("utf-8", "replace")
        self.assertEqual((ended.returncode, ended.stderr.decode()), (status, ""), transcript)
        return transcript

    def test_content(self) -> None:
        server = self.serve()
        for what, content in {**MESSAGES, "binary": BINARY}.items():
            if what not in CHANGED:
                self.assertStatus(self.swaks(server, content=content), 0)
                self.assertDelivered(server, content, what=what)

    def test_dialog(self) -> None:
        """
        What swaks shows of a pipelined session, several recipients, the null sender, HELO.
        """
        server = self.serve()
        tos = "ann@example.com", "carol@example.com"
        content = b"Subject: x\r\n\r\n.body\r\n"
        for option in "--pipeline", "--suppress-data":
            ended = self.swaks(server, option, content=content, sender="<>", to=",".join(tos))
            transcript = self.assertStatus(ended, 0)
            replies = [line[4:] for line in transcript.splitlines() if line.startswith("<-  ")]
            self.assertEqual(
                [reply.split()[:2] for reply in replies if reply[3:4] == " "][2:],
                [
                    ["250", "2.1.0"],
                    ["250", "2.1.5"],
                    ["250", "2.1.5"],
                    ["354", "End"],
                    ["250", "2.0.0"],
                    ["221", "2.0.0"],
                ],
            )
            self.assertIn("250-PIPELINING", replies)
            self.assertDelivered(server, content, sender="", recipients=tos)
        ended = self.swaks(server, "--protocol", "SMTP", content=content)
        self.assertStatus(ended, 0)
        self.assertIn(" with SMTP id ", self.assertDelivered(server, content).received)
        self.assertStatus(self.swaks(server, "--quit-after", "RCPT"), 0)
        self.assertStatus(self.swaks(server, "--drop-after-send", "DATA"), 0)
        self.assertEqual(server.take(), [])

    def test_refused(self) -> None:
        """
        Swaks ends with a status of its own for each command.
        """
        server = self.serve("--size-limit", "1000")
        self.assertIn(
            "<** 501 5.1.7 ", self.assertStatus(self.swaks(server, sender="bob@@example.org"), 23)
        )
        self.assertIn("<** 501 5.1.3 ", self.assertStatus(self.swaks(server, to="a@@b.org"), 24))
        big = self.swaks(server, "--suppress-data", content=b"x" * 1000 + b"\r\n")
        self.assertIn("<** 552 5.3.4 ", self.assertStatus(big, 26))
        self.assertEqual(server.take(), [])
