"""
Mail from Python's smtplib.
"""

from __future__ import annotations

import smtplib
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from email.message import EmailMessage
from email.policy import SMTPUTF8

from .messages import BINARY, MESSAGES, large
from .server import DEADLINE, HOSTNAME, InteropTestCase, Server

ANN, BOB = "ann@example.com", "bob@example.org"


class SmtplibTestCase(InteropTestCase):
    def connect(self, server: Server) -> smtplib.SMTP:
        client = smtplib.SMTP("127.0.0.1", server.port, "client.example.org", DEADLINE)
        self.addCleanup(client.close)
        return client

    def assertCode(self, answer: tuple[int, bytes], code: int, status: str) -> None:
        self.assertEqual((answer[0], answer[1].decode().split()[0]), (code, status))

    def assertRefused(
        self,
        kind: type[smtplib.SMTPResponseException],
        code: int,
        status: str,
        client: smtplib.SMTP,
        content: bytes,
        sender: str = BOB,
        options: tuple[str, ...] = (),
    ) -> None:
        error = self.assertRaises(kind, client.sendmail, sender, ANN, content, options)
        assert isinstance(error.smtp_error, bytes)
        self.assertCode((error.smtp_code, error.smtp_error), code, status)


class SendTests(SmtplibTestCase):
    def test_content(self) -> None:
        """
        All on one connection.
        """
        server = self.serve()
        client = self.connect(server)
        contents = {**MESSAGES, "binary": BINARY, "large": large(5 * 2**20)}
        for what, content in contents.items():
            options = [] if content.isascii() else ["BODY=8BITMIME"]
            self.assertEqual(client.sendmail(BOB, ANN, content, options), {}, what)
            self.assertDelivered(server, content, what=what)
        # smtplib ends the last line if it has to, and else sends octets as they are. The server
        # makes lines of them, as Postfix does.
        for content in (b"", b"Subject: x\r\n\r\nend", b"end\r\n..", b"end\r\n."):
            client.sendmail(BOB, ANN, content)
            self.assertDelivered(server, content + b"\r\n")
        client.sendmail(BOB, ANN, b"Subject: x\n\na\rb\n\n")
        self.assertDelivered(server, b"Subject: x\r\n\r\na b\r\n\r\n\r\n")

    def test_recipients(self) -> None:
        server = self.serve()
        client = self.connect(server)
        tos = [ANN, "Carol@Example.com", '"a b"@example.com', "d@[192.0.2.1]", "postmaster"]
        self.assertEqual(client.sendmail(BOB, tos, b"x\r\n"), {})
        message = self.assertDelivered(server, b"x\r\n", recipients=tuple(tos))
        # Nobody learns of a blind copy.
        self.assertNotIn(" for ", message.received)
        # Some of them refused, and all.
        refused = client.sendmail(BOB, ["@", ANN], b"x\r\n")
        self.assertEqual(list(refused), ["@"])
        self.assertCode(refused["@"], 501, "5.1.3")
        self.assertDelivered(server, b"x\r\n")
        error = self.assertRaises(
            smtplib.SMTPRecipientsRefused, client.sendmail, BOB, ["@", "@@"], b"x\r\n"
        )
        self.assertEqual(list(error.recipients), ["@", "@@"])
        self.assertEqual(server.take(), [])

    def test_trace(self) -> None:
        server = self.serve()
        for greet, name in (("ehlo", "ESMTP"), ("helo", "SMTP")):
            client = self.connect(server)
            getattr(client, greet)()
            client.sendmail("", ANN, b"x\r\n")
            received = self.assertDelivered(server, b"x\r\n", sender="").received
            who, date = received.split(";")
            self.assertRegex(
                who,
                r"\Afrom client\.example\.org \(\[127\.0\.0\.1\]\)"
                rf" by mx\.example\.com with {name} id [0-9A-Za-z.-]+ for <ann@example\.com>\Z",
            )
            self.assertRegex(date, r"\A \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d [+-]\d{4}\Z", greet)

    def test_international_addresses(self) -> None:
        server = self.serve()
        message = EmailMessage()
        message["From"] = "Jörg <jörg@exämple.org>"
        message["To"] = "用户@例え.example, ann@example.com"
        message["Subject"] = "Grüße ☃"
        message.set_content("Schöne Grüße\n.\n", cte="8bit")
        self.assertEqual(self.connect(server).send_message(message), {})
        delivered = self.assertDelivered(
            server,
            message.as_bytes(policy=SMTPUTF8),
            sender="jörg@exämple.org",
            recipients=("用户@例え.example", "ann@example.com"),
        )
        self.assertIn(" with UTF8SMTP id ", delivered.received)
        self.assertIn("用户@例え.example".encode(), delivered.content)

    def test_parallel(self) -> None:
        server = self.serve()

        def send(number: int) -> list[bytes]:
            contents = [f"Subject: {number}.{i}\r\n\r\nbody\r\n".encode() for i in range(10)]
            with smtplib.SMTP("127.0.0.1", server.port, "x.example", DEADLINE) as client:
                for content in contents:
                    client.sendmail(BOB, ANN, content)
            return contents

        with ThreadPoolExecutor(10) as threads:
            sent = [content for contents in threads.map(send, range(10)) for content in contents]
        messages = server.take()
        self.assertEqual(len(sent), 100)
        self.assertEqual(Counter(message.content for message in messages), Counter(sent))
        ids = {message.received.partition(" id ")[2].split()[0] for message in messages}
        self.assertEqual(len(ids), 100)


class RefusedTests(SmtplibTestCase):
    def test_mail(self) -> None:
        server = self.serve()
        client = self.connect(server)
        sender = smtplib.SMTPSenderRefused
        self.assertRefused(sender, 501, "5.1.7", client, b"x\r\n", "bob@@example.org")
        self.assertRefused(sender, 501, "5.1.7", client, b"x\r\n", "b" * 65 + "@example.org")
        self.assertRefused(sender, 555, "5.5.4", client, b"x\r\n", options=("FOO=bar",))
        self.assertRefused(sender, 501, "5.5.4", client, b"x\r\n", options=("BODY=9BIT",))
        self.assertEqual(server.take(), [])
        client.sendmail(BOB, ANN, b"x\r\n")
        self.assertDelivered(server, b"x\r\n")

    def test_size(self) -> None:
        """
        At MAIL, where smtplib says the size, and after the content, where it does not.
        """
        server = self.serve("--size-limit", "1000")
        client = self.connect(server)
        client.ehlo()
        self.assertEqual(client.esmtp_features["size"], "1000")
        big = b"x" * 999 + b"\r\n"
        self.assertRefused(smtplib.SMTPSenderRefused, 552, "5.3.4", client, big)
        for content in (big, large(2**20)):
            self.assertCode(client.mail(BOB), 250, "2.1.0")
            self.assertCode(client.rcpt(ANN), 250, "2.1.5")
            self.assertCode(client.data(content), 552, "5.3.4")
        self.assertEqual(server.take(), [])
        client.sendmail(BOB, ANN, big[1:])
        self.assertDelivered(server, big[1:])

    def test_options(self) -> None:
        server = self.serve("--max-recipients", "2", "--no-smtputf8")
        client = self.connect(server)
        tos = (ANN, "b@example.com", "c@example.com")
        refused = client.sendmail(BOB, tos, b"x\r\n")
        self.assertEqual(list(refused), ["c@example.com"])
        self.assertCode(refused["c@example.com"], 452, "4.5.3")
        self.assertDelivered(server, b"x\r\n", recipients=tos[:2])
        self.assertFalse(client.has_extn("smtputf8"))
        self.assertEqual(client.esmtp_features["limits"], "RCPTMAX=2")
        client.command_encoding = "utf-8"
        self.assertCode(client.mail("jörg@example.org"), 553, "5.6.7")


class CommandTests(SmtplibTestCase):
    def test_commands(self) -> None:
        """
        What smtplib has a method for, and what it has none for.
        """
        server = self.serve()
        client = self.connect(server)
        self.assertCode(client.noop(), 250, "2.0.0")
        self.assertCode(client.verify(ANN), 252, "2.0.0")
        self.assertCode(client.expn("staff"), 502, "5.5.1")
        self.assertTrue(client.help().startswith(b"2.0.0 "))
        self.assertCode(client.docmd("rcpt", f"TO:<{ANN}>"), 503, "5.5.1")
        self.assertCode(client.docmd("nonsense"), 500, "5.5.2")
        self.assertCode(client.docmd("rset", "now"), 501, "5.5.4")
        code, text = client.ehlo()
        self.assertEqual((code, text.decode().splitlines()[0]), (250, HOSTNAME))
        features = dict(client.esmtp_features)
        self.assertEqual(
            features,
            {
                "pipelining": "",
                "size": "33554432",
                "8bitmime": "",
                "binarymime": "",
                "smtputf8": "",
                "enhancedstatuscodes": "",
                "dsn": "",
                "chunking": "",
                "limits": "RCPTMAX=1000",
                "help": "",
            },
        )
        # What is reset is forgotten.
        client.mail("eve@example.net")
        client.rcpt("eve@example.net")
        self.assertCode(client.rset(), 250, "2.0.0")
        client.sendmail(BOB, ANN, b"x\r\n")
        self.assertDelivered(server, b"x\r\n")
        self.assertCode(client.quit(), 221, "2.0.0")
