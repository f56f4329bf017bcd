"""
Mail from aiosmtplib.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from email.message import EmailMessage
from email.policy import SMTPUTF8

from .messages import BINARY, MESSAGES, large
from .server import DEADLINE, InteropTestCase, Server

try:
    import aiosmtplib
except ImportError:
    skip = "aiosmtplib is not installed"

ANN, BOB = "ann@example.com", "bob@example.org"
SMALL = b"Subject: x\r\n\r\nbody\r\n"


class AiosmtplibTests(InteropTestCase):
    def client(self, server: Server) -> aiosmtplib.SMTP:
        return aiosmtplib.SMTP(
            hostname="127.0.0.1",
            port=server.port,
            local_hostname="client.example.org",
            timeout=DEADLINE,
        )

    def test_content(self) -> None:
        """
        All on one connection.
        """
        server = self.serve()

        async def send() -> None:
            async with self.client(server) as client:
                contents = {**MESSAGES, "binary": BINARY, "large": large(5 * 2**20)}
                for what, content in contents.items():
                    options = [] if content.isascii() else ["BODY=8BITMIME"]
                    errors, text = await client.sendmail(BOB, ANN, content, mail_options=options)
                    self.assertEqual((errors, text.split()[0]), ({}, "2.0.0"), what)
                    self.assertDelivered(server, content, what=what)

        asyncio.run(send())

    def test_envelope(self) -> None:
        server = self.serve()
        tos = (ANN, "carol@example.com")

        async def send() -> None:
            async with self.client(server) as client:
                refused, _ = await client.sendmail("", ["a@@b.org", *tos], SMALL)
                self.assertEqual(
                    [(to, error.code) for to, error in refused.items()], [("a@@b.org", 501)]
                )

        asyncio.run(send())
        message = self.assertDelivered(server, SMALL, sender="", recipients=tos)
        self.assertTrue(message.received.startswith("from client.example.org ([127.0.0.1]) by "))

    def test_international_addresses(self) -> None:
        server = self.serve()
        message = EmailMessage()
        message["From"] = "Jörg <jörg@exämple.org>"
        message["To"] = "用户@例え.example, ann@example.com"
        message["Subject"] = "Grüße ☃"
        message.set_content("Schöne Grüße\n.\n", cte="8bit")

        async def send() -> None:
            async with self.client(server) as client:
                await client.send_message(message)

        asyncio.run(send())
        delivered = self.assertDelivered(
            server,
            message.as_bytes(policy=SMTPUTF8),
            sender="jörg@exämple.org",
            recipients=("用户@例え.example", ANN),
        )
        self.assertIn(" with UTF8SMTP id ", delivered.received)

    def test_refused(self) -> None:
        """
        In the same session as a message that is taken.
        """
        server = self.serve("--size-limit", "1000")

        async def send() -> None:
            async with self.client(server) as client:
                with self.assertRaises(aiosmtplib.SMTPSenderRefused) as sender:
                    await client.sendmail("bob@@example.org", ANN, SMALL)
                self.assertEqual(sender.exception.code, 501)
                with self.assertRaises(aiosmtplib.SMTPRecipientsRefused) as recipients:
                    await client.sendmail(BOB, "ann@@example.com", SMALL)
                self.assertEqual([error.code for error in recipients.exception.recipients], [501])
                with self.assertRaises(aiosmtplib.SMTPSenderRefused) as size:
                    await client.sendmail(BOB, ANN, b"x" * 999 + b"\r\n")
                self.assertEqual(size.exception.code, 552)
                self.assertEqual(server.take(), [])
                await client.sendmail(BOB, ANN, SMALL)

        asyncio.run(send())
        self.assertDelivered(server, SMALL)

    def test_parallel(self) -> None:
        server = self.serve()
        contents = [f"Subject: {number}\r\n\r\n.body\r\n".encode() for number in range(100)]

        async def send(contents: list[bytes]) -> None:
            async with self.client(server) as client:
                # The client sends one after the other.
                await asyncio.gather(*(client.sendmail(BOB, ANN, each) for each in contents))

        async def send_all() -> None:
            await asyncio.gather(*(send(contents[first::10]) for first in range(10)))

        asyncio.run(send_all())
        found = [message.content for message in server.take()]
        self.assertEqual(Counter(found), Counter(contents))
