"""
LMTP: Python's smtplib, and Postfix, which hands mail over as it does to any mailbox server.
"""

from __future__ import annotations

import os
import re
import shutil
import smtplib
import stat
from pathlib import Path
from typing import Any

from .messages import MESSAGES, large
from .postfix import USER, Postfix, public_directory, require_postfix
from .server import DEADLINE, HOSTNAME, InteropTestCase, Server
from .verdicts import VERDICTS

ANN, BOB, SENDER = "ann@example.com", "bob@example.com", "carol@example.org"
SOME = "tests.interop.verdicts.Some"


class LMTPTestCase(InteropTestCase):
    def serve_lmtp(self, where: str, *options: str, first: tuple[str, ...] = ()) -> Server:
        directory = Path(self.mktemp()).absolute()
        options = ("--lmtp", where, *options)
        return self.watch(Server(directory, *options, template="/{local}", first=first))

    def socket(self, mode: str = "660") -> tuple[Path, str]:
        """
        A path for a unix socket, and the endpoint that listens there.
        """
        path = public_directory(self) / "lmtp"
        return path, f"unix:{path}:mode={mode}"


class SmtplibTests(LMTPTestCase):
    """
    smtplib knows LMTP, but takes the first reply after the content for all: each is read here.
    """

    def connect(self, host: str, port: int = 0) -> smtplib.LMTP:
        # A timeout is not for unix sockets in the oldest of Pythons.
        client = smtplib.LMTP(host, port, local_hostname="client.example.org")
        self.addCleanup(client.close)
        assert client.sock is not None
        client.sock.settimeout(DEADLINE)
        return client

    def send(self, client: smtplib.LMTP, content: bytes, *recipients: str) -> list[str]:
        """
        :return: code and enhanced code for each recipient: of RCPT, if that is a refusal.
        """
        self.assertEqual(250, client.mail(SENDER)[0])
        told = [client.rcpt(recipient) for recipient in recipients]
        accepted = [n for n, (code, _) in enumerate(told) if code == 250]
        if accepted:
            told[accepted[0]] = client.data(content)
            for n in accepted[1:]:
                told[n] = client.getreply()
        else:
            client.rset()
        return [f"{code} {text.decode().split()[0]}" for code, text in told]

    def test_tcp(self) -> None:
        server = self.serve_lmtp("0")
        client = self.connect("127.0.0.1", server.ports[1])
        self.assertEqual(250, client.ehlo()[0])
        assert isinstance(client.ehlo_resp, bytes)
        self.assertEqual(HOSTNAME, client.ehlo_resp.decode().split()[0])
        self.assertTrue(client.has_extn("pipelining") and client.has_extn("enhancedstatuscodes"))
        for what, content in {**MESSAGES, "large": large(2**20)}.items():
            told = self.send(client, content, ANN, '"a/../b"@example.com', ANN, "")
            self.assertEqual(["250 2.0.0", "250 2.0.0", "250 2.0.0", "501 5.1.3"], told)
            (message,) = server.take("ann")
            self.assertEqual((SENDER, [ANN, ANN]), (message.sender, message.recipients))
            self.assertSame(message.content, content, what)
            (message,) = server.take("a%2F..%2Fb")
            self.assertEqual(['"a/../b"@example.com'], message.recipients)
            self.assertSame(message.content, content, what)
            self.assertIn(f"by {HOSTNAME} with LMTP id", message.received)
        self.assertEqual(500, client.docmd("EHLO", "x")[0])
        self.assertEqual(221, client.quit()[0])

    def test_unix_socket(self) -> None:
        for mode in ("660", "600", "666"):
            path, endpoint = self.socket(mode)
            server = self.serve_lmtp(endpoint)
            self.assertEqual(int(mode, 8), stat.S_IMODE(path.stat().st_mode))
            client = self.connect(str(path))
            client.ehlo()
            self.assertEqual(["250 2.0.0"], self.send(client, b"x\r\n", ANN))
            (message,) = server.take("ann")
            self.assertIn("from client.example.org by mx", message.received)

    def test_mixed(self) -> None:
        server = self.serve_lmtp("0", first=(SOME,))
        client = self.connect("127.0.0.1", server.ports[1])
        client.ehlo()
        names = ("slow", "nobody", "ann", "full", "bob")
        told = self.send(client, b"x\r\n", *(f"{name}@example.com" for name in names))
        self.assertEqual(["250 2.1.5", "550 5.1.1", "250 2.0.0", "452 4.2.2", "250 2.0.0"], told)
        for name in ("slow", "ann", "bob"):
            (message,) = server.take(name)
            self.assertEqual([f"{name}@example.com"], message.recipients)
        self.assertEqual(["ann", "bob", "slow"], sorted(os.listdir(server.maildir)))

    def test_one_mailbox_fails(self) -> None:
        server = self.serve_lmtp("0")
        client = self.connect("127.0.0.1", server.ports[1])
        client.ehlo()
        # Whoever is greeted by it finds it prepared.
        (server.maildir / "bob").write_bytes(b"")
        told = self.send(client, b"x\r\n", BOB, ANN)
        self.assertEqual(["451 4.3.0", "250 2.0.0"], told)
        self.assertEqual(1, len(server.take("ann")))
        # Under SMTP it is all or nothing.
        with smtplib.SMTP("127.0.0.1", server.port, "client.example.org", DEADLINE) as smtp:
            error = self.assertRaises(
                smtplib.SMTPDataError, smtp.sendmail, SENDER, [ANN, BOB], b"x\r\n"
            )
            self.assertEqual(451, error.smtp_code)
        self.assertEqual([], server.take("ann"))
        # That is logged as an error, which a test takes for a defect.
        server.wait_for("Not a directory", 2)
        server.log = server.log.replace("#error]", "#info]")


class PostfixTests(LMTPTestCase):
    program = "postfix"

    def setUp(self) -> None:
        super().setUp()
        require_postfix()

    def relay(self, transport: str, **main_cf: Any) -> Postfix:
        """
        A Postfix that hands all mail over.
        """
        relay = Postfix(
            public_directory(self), default_transport=transport, notify_classes="", **main_cf
        )
        self.addCleanup(relay.stop)
        relay.start()
        return relay

    def results(self, relay: Postfix, count: int) -> dict[str, tuple[str, str, str]]:
        """
        What Postfix has logged for each recipient: dsn, status, and what it was told.
        """
        pattern = r"to=<([^>]*)>,.* dsn=([0-9.]+), status=(\w+) \((.*)\)$"
        found = [
            re.search(pattern, line) for line in relay.wait_for("postfix/lmtp.* status=", count)
        ]
        return {each[1]: (each[2], each[3], each[4]) for each in found if each is not None}

    def test_mixed(self) -> None:
        """
        One message for five: Postfix learns what became of each, bounces one and keeps another.
        """
        path, endpoint = self.socket("666")
        server = self.serve_lmtp(endpoint, first=(SOME,))
        relay = self.relay(f"lmtp:unix:{path}")
        names = ("slow", "nobody", "ann", "full", "bob")
        recipients = [f"{name}@example.com" for name in names]
        relay.sendmail("", *recipients, content=b"Subject: x\n\nHello\n.\n")
        results = self.results(relay, 5)
        self.assertEqual(
            {
                "slow@example.com": ("2.1.5", "sent"),
                "nobody@example.com": ("5.1.1", "bounced"),
                ANN: ("2.0.0", "sent"),
                "full@example.com": ("4.2.2", "deferred"),
                BOB: ("2.0.0", "sent"),
            },
            {address: result[:2] for address, result in results.items()},
        )
        for name, verdict in VERDICTS.items():
            self.assertIn(verdict, results[f"{name}@example.com"][2])
        for name in ("slow", "ann", "bob"):
            (message,) = server.take(name)
            self.assertEqual(("", [f"{name}@example.com"]), (message.sender, message.recipients))
            self.assertTrue(message.content.endswith(b"\r\n\r\nHello\r\n.\r\n"))
        (queued,) = relay.queued()
        self.assertIn("full@example.com", queued)
        self.assertNotIn("ann@example.com", queued)
        # All in one go.
        self.assertEqual(1, server.log.count(" left after 1 messages"))
        self.assertIn("'550 5.1.1 No such user'", server.log)

    def test_content(self) -> None:
        """
        By TCP; several messages one after the other, and one that is large.
        """
        server = self.serve_lmtp("0")
        relay = self.relay(f"lmtp:inet:127.0.0.1:{server.ports[1]}")
        contents = [b"Subject: x\n\n" + content for content in (b"", b".\n..\n", large(2**20))]
        for count, content in enumerate(contents, 1):
            relay.sendmail(SENDER, ANN, content=content.replace(b"\r\n", b"\n"))
            relay.wait_for("status=sent", count)
            (message,) = server.take("ann")
            self.assertEqual((SENDER, [ANN]), (message.sender, message.recipients))
            head, _, body = message.content.partition(b"\r\n\r\n")
            self.assertIn(b"Subject: x", head)
            lines = content.replace(b"\r\n", b"\n").partition(b"\n\n")[2]
            self.assertSame(body, lines.replace(b"\n", b"\r\n"))
        self.assertEqual([], relay.queued())

    def test_too_big(self) -> None:
        """
        552 to each, where the size is not told beforehand.
        """
        server = self.serve_lmtp("0", "--size-limit", "1000")
        relay = self.relay(
            f"lmtp:inet:127.0.0.1:{server.ports[1]}", lmtp_discard_lhlo_keywords="size"
        )
        relay.sendmail("", ANN, BOB, content=b"Subject: x\n\n" + b"x\n" * 1000)
        results = self.results(relay, 2)
        self.assertEqual({("5.3.4", "bounced")}, {each[:2] for each in results.values()})
        self.assertEqual({ANN, BOB}, set(results))
        self.assertEqual([], os.listdir(server.maildir))

    def test_socket_for_its_group(self) -> None:
        """
        As it is deployed: the socket belongs to Postfix's group, and nobody else can use it.
        """
        path, endpoint = self.socket("660")
        server = self.serve_lmtp(endpoint)
        relay = self.relay(f"lmtp:unix:{path}")
        relay.sendmail("", ANN, content=b"Subject: x\n\nHello\n")
        # The socket is root's still.
        relay.wait_for("status=deferred .*Permission denied")
        shutil.chown(path, group=USER)
        relay.sendmail("", BOB, content=b"Subject: x\n\nHello\n")
        relay.wait_for(f"to=<{BOB}>.* status=sent")
        self.assertEqual(1, len(server.take("bob")))
