"""
Mail from nodemailer, which Node.js finds as it finds every module: in NODE_PATH, for one.
"""

from __future__ import annotations

import json
import os
from base64 import b64encode
from collections import Counter
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from .messages import BINARY, MESSAGES, large
from .server import InteropTestCase, Server

SCRIPT = Path(__file__).parent / "nodemailer.cjs"

ANN, BOB = "ann@example.com", "bob@example.org"
#: A local part that RFC 5321 section 4.5.3.1.1 does not allow.
LONG = "b" * 65 + "@example.org"
SMALL = b"Subject: x\r\n\r\nbody\r\n"


class NodemailerTests(InteropTestCase):
    program = "node"

    def setUp(self) -> None:
        super().setUp()
        self.modules = os.environ.get("NODE_PATH", "")
        found = self.run_program("-e", "require.resolve('nodemailer')", NODE_PATH=self.modules)
        if found.returncode:
            raise SkipTest("nodemailer is not in NODE_PATH")

    def send(
        self,
        server: Server,
        *contents: bytes,
        sender: str = BOB,
        recipients: tuple[str, ...] = (ANN,),
    ) -> list[dict[str, Any]]:
        """
        :return: what became of each message.
        """
        envelope = {"from": sender, "to": recipients}
        job = {
            "options": {
                "host": "127.0.0.1",
                "port": server.port,
                "name": "client.example.org",
                "pool": True,
                "maxConnections": 1,
            },
            "messages": [
                {"envelope": envelope, "content": b64encode(content).decode()}
                for content in contents
            ],
        }
        ended = self.run_program(str(SCRIPT), data=json.dumps(job).encode(), NODE_PATH=self.modules)
        self.assertEqual((ended.returncode, ended.stderr.decode()), (0, ""))
        return [json.loads(line) for line in ended.stdout.splitlines()]

    def test_content(self) -> None:
        """
        Each on a connection of its own, then all on one.
        """
        server = self.serve()
        contents = {**MESSAGES, "binary": BINARY, "large": large(5 * 2**20)}
        for what, content in contents.items():
            (sent,) = self.send(server, content)
            self.assertEqual((sent["accepted"], sent["rejected"]), ([ANN], []), what)
            self.assertDelivered(server, content, what=what)
        all_sent = self.send(server, *contents.values())
        self.assertEqual([each["accepted"] for each in all_sent], [[ANN]] * len(contents))
        messages = server.take()
        found = Counter(message.content for message in messages)
        self.assertEqual(found, Counter(contents.values()))
        sessions = {message.received.partition(" id ")[2].partition(".")[0] for message in messages}
        self.assertEqual(len(sessions), 1)

    def test_envelope(self) -> None:
        server = self.serve()
        tos = (ANN, "carol@example.com")
        (sent,) = self.send(server, SMALL, sender="", recipients=(*tos, LONG))
        self.assertEqual((sent["accepted"], sent["rejected"]), (list(tos), [LONG]))
        message = self.assertDelivered(server, SMALL, sender="", recipients=tos)
        self.assertTrue(message.received.startswith("from client.example.org ([127.0.0.1]) by "))

    def test_international_addresses(self) -> None:
        server = self.serve()
        sender, tos = "jörg@example.org", ("用户@example.com",)
        self.send(server, SMALL, sender=sender, recipients=tos)
        message = self.assertDelivered(server, SMALL, sender=sender, recipients=tos)
        self.assertIn(" with UTF8SMTP id ", message.received)

    def test_refused(self) -> None:
        server = self.serve("--size-limit", "1000")
        for (sent,), code, said in (
            (self.send(server, b"x" * 1000 + b"\r\n"), "EMESSAGE", "552 5.3.4 "),
            (self.send(server, SMALL, sender=LONG), "EENVELOPE", "501 5.1.7 "),
            (self.send(server, SMALL, recipients=(LONG,)), "EENVELOPE", "501 5.1.3 "),
        ):
            self.assertEqual(sent["code"], code)
            self.assertTrue(sent["response"].startswith(said), sent)
        self.assertEqual(server.take(), [])
