"""
Mail from Postfix's smtp-source.
"""

from __future__ import annotations

from collections import Counter

from .messages import BINARY, MESSAGES, large
from .server import InteropTestCase, Server


class SmtpSourceTests(InteropTestCase):
    program = "smtp-source"

    def source(self, server: Server, *options: str, status: int = 0) -> str:
        """
        :return: what it said on stderr.
        """
        arguments = ["-M", "client.example.org", "-f", "bob@example.org", "-t", "ann@example.com"]
        ended = self.run_program(*arguments, *options, f"127.0.0.1:{server.port}")
        errors = ended.stderr.decode()
        self.assertEqual(ended.returncode, status, errors)
        return errors

    def test_content(self) -> None:
        server = self.serve()
        contents = {**MESSAGES, "binary": BINARY, "large": large(5 * 2**20)}
        for what, content in contents.items():
            self.source(server, "-F", self.file(content.replace(b"\r\n", b"\n")))
            # It puts an empty line behind the file.
            self.assertDelivered(server, content + b"\r\n", what=what)

    def test_envelope(self) -> None:
        server = self.serve()
        content = b"Subject: x\r\n\r\n.body\r\n"
        file = self.file(content.replace(b"\r\n", b"\n"))
        self.source(server, "-F", file, "-f", "", "-r", "3")
        tos = ("3ann@example.com", "2ann@example.com", "ann@example.com")
        message = self.assertDelivered(server, content + b"\r\n", sender="", recipients=tos)
        self.assertTrue(message.received.startswith("from client.example.org ([127.0.0.1]) by "))

    def test_refused(self) -> None:
        server = self.serve("--size-limit", "1000")
        for options, said in (
            (("-f", "bob@@example.org"), "501 5.1.7 "),
            (("-t", "ann@@example.com"), "501 5.1.3 "),
            (("-l", "1001"), "552 5.3.4 "),
        ):
            self.assertIn(said, self.source(server, *options, status=1))
        self.assertEqual(server.take(), [])

    def test_parallel(self) -> None:
        """
        What it is made for: many sessions, each with one message and with many.
        """
        server = self.serve()
        for options in ((), ("-d",)):
            self.source(server, *options, "-s", "20", "-m", "400", "-l", "4000", "-N")
            messages = server.take()
            self.assertEqual(len(messages), 400)
            recipients = Counter(to for message in messages for to in message.recipients)
            self.assertEqual(len(recipients), 400)
            bodies = {message.content.partition(b"\r\n\r\n")[2] for message in messages}
            self.assertEqual([len(body) for body in bodies], [4002])
