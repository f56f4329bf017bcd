"""
The relay between real clients and real servers.
"""

from __future__ import annotations

import contextlib
import os
import smtplib
import socket
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

from ..certificates import make_ca
from .secure import PASSWORD, USER, WRONG, SecureTestCase
from .server import DEADLINE, HOSTNAME, InteropTestCase, Server

SENDER, RECIPIENT = "bob@example.org", "ann@example.com"
CONTENT = b"Subject: x\r\n\r\n.body\r\n..\r\n"
NOBODY = "nobody"

#: Octets in one message, how many come at once, and by how much the process may grow.
SIZE, CLIENTS, GROWTH = 30 * 2**20, 8, 16 * 2**20


class Client(smtplib.SMTP):
    """
    A client that tells each reply.
    """

    def __init__(self, server: Server) -> None:
        super().__init__("127.0.0.1", server.port, "client.example.org", DEADLINE)
        self.ehlo()

    def attempt(self, *recipients: str, options: str = "", content: bytes = CONTENT) -> list[str]:
        """
        Send a message as far as it gets.

        :return: the replies, the positive ones by their code only.
        """
        said: list[str] = []

        def say(line: str) -> bool:
            code, text = self.docmd(line)
            said.append(str(code) if code < 400 else f"{code} {text.decode()}")
            return code < 400

        if say(f"MAIL FROM:<{SENDER}>{options}"):
            taken = [say(f"RCPT TO:<{each}>") for each in recipients or (RECIPIENT,)]
            if any(taken) and say("DATA"):
                self.send(content.replace(b"\r\n.", b"\r\n..") + b".\r\n")
                code, text = self.getreply()
                said.append(str(code) if code < 400 else f"{code} {text.decode()}")
        self.rset()
        return said


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


class RelayTestCase(InteropTestCase):
    def serve_by(self, handler: str) -> Server:
        return self.watch(Server(Path(self.mktemp()).absolute(), handler=handler))

    def client(self, server: Server) -> Client:
        client = Client(server)
        self.addCleanup(client.close)
        return client


class SinkTests(RelayTestCase):
    """
    Postfix's smtp-sink as the next hop, with its switches for failures.
    """

    program = "smtp-sink"

    def setUp(self) -> None:
        super().setUp()
        self.port = free_port()

    def sink(self, *options: str, where: str = "") -> subprocess.Popen[bytes]:
        """
        Start it, and wait until it listens.
        """
        user = ["-u", NOBODY] if os.geteuid() == 0 else []
        process = subprocess.Popen(
            [self.program, *user, *options, where or f"127.0.0.1:{self.port}", "100"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        self.addCleanup(self._stop, process)
        end = time.monotonic() + DEADLINE
        while not self._listens(where.removeprefix("unix:")):
            self.assertLess(time.monotonic(), end)
            self.assertIsNone(process.poll())
            time.sleep(0.02)
        return process

    def _listens(self, path: str) -> bool:
        with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as found:
            address: Any = path or ("127.0.0.1", self.port)
            with contextlib.suppress(OSError):
                found.connect(address)
                return True
        return False

    def _stop(self, process: subprocess.Popen[bytes]) -> None:
        process.kill()
        process.wait(DEADLINE)

    def relay(self, kind: str = "relay") -> Server:
        return self.serve_by(f"{kind}:127.0.0.1:{self.port}")

    def test_messages(self) -> None:
        self.sink()
        relay = self.relay()
        client = self.client(relay)
        for _ in range(20):
            self.assertEqual(client.attempt(), ["250", "250", "354", "250"])
        ended = subprocess.run(
            [
                "smtp-source",
                *["-s", "5", "-m", "200", "-d", "-l", "5000"],
                f"127.0.0.1:{relay.port}",
            ],
            timeout=DEADLINE,
            check=False,
        )
        self.assertEqual(ended.returncode, 0)

    def test_trouble(self) -> None:
        """
        One relay, and one next hop after the other in the same place: each time its connections are
        gone, and nobody notices.
        """
        relay = self.relay()
        client = self.client(relay)
        fine = ["250", "250", "354", "250"]
        hard, soft = "500 5.3.0 Error: command failed", "450 4.3.0 Error: command failed"
        lost = "451 4.4.2 The connection to the next hop was lost, try again later"
        unwelcome = "451 4.4.1 The next hop does not serve us now, try again later"
        for options, replies in (
            ((), fine),
            (("-f", "MAIL"), [hard]),
            (("-r", "MAIL"), [soft]),
            (("-q", "MAIL"), [lost]),
            (("-f", "RCPT"), ["250", hard]),
            (("-r", "RCPT"), ["250", soft]),
            (("-q", "RCPT"), ["250", lost]),
            (("-f", "DATA"), ["250", "250", hard]),
            (("-r", "DATA"), ["250", "250", soft]),
            (("-q", "DATA"), ["250", "250", lost]),
            (("-f", "."), [*fine[:3], hard]),
            (("-r", "."), [*fine[:3], soft]),
            (("-q", "."), [*fine[:3], lost]),
            (("-f", "CONNECT"), [unwelcome]),
            (("-r", "CONNECT"), [unwelcome]),
            (("-q", "CONNECT"), [lost]),
            (("-r", "EHLO"), [unwelcome]),
            (("-q", "EHLO"), [lost]),
            (("-q", "RSET"), fine),
            (("-w", "1"), fine),
            (("-p",), fine),
            (("-e",), fine),
        ):
            sink = self.sink(*options)
            self.assertEqual(client.attempt(), replies, options)
            if not options or options[0] == "-w":
                self.assertEqual(client.attempt(), replies, options)
            self._stop(sink)
        for command, place in (("MAIL", 0), ("RCPT", 1), ("DATA", 2), (".", 3)):
            # A 421 is never our client's.
            sink = self.sink("-Q", command)
            replies = client.attempt()
            self.assertEqual(replies[:-1], fine[:place])
            self.assertEqual(replies[-1][:6], "451 4.", replies)
            self._stop(sink)
        dead = "451 4.4.1 The next hop cannot be reached, try again later"
        self.assertEqual(client.attempt(), [dead])

    def test_early_refusal(self) -> None:
        self.sink("-A", "0")
        replies = self.client(self.relay()).attempt(content=b"x" * 2**20 + b"\r\n")
        self.assertEqual(replies[:3], ["250", "250", "354"])
        self.assertIn(replies[3][:3], ("550", "451"))

    def test_extensions(self) -> None:
        self.sink("-8", "-N")
        client = self.client(self.relay())
        refused = "554 5.6.3 The next hop does not take content of this kind"
        self.assertEqual(client.attempt(options=" BODY=8BITMIME"), [refused])
        client.ehlo()
        for keyword in ("8bitmime", "dsn", "smtputf8"):
            self.assertFalse(client.has_extn(keyword))

    def test_lmtp(self) -> None:
        self.sink("-L")
        relay = self.relay("relay-lmtp")
        client = self.client(relay)
        self.assertEqual(client.attempt(RECIPIENT, SENDER), ["250", "250", "250", "354", "250"])

    def test_unix(self) -> None:
        path = Path(self.mktemp()).absolute()
        # A path of a socket has 107 octets at most, and its directory may belong to root.
        short = os.path.relpath(path)
        path.parent.chmod(0o755)
        self.sink("-L", where=f"unix:{short}")
        relay = self.serve_by(f"relay-lmtp:unix:{path}")
        self.assertEqual(self.client(relay).attempt(), ["250", "250", "354", "250"])

    def test_memory(self) -> None:
        """
        Large messages, as many as the next hop takes its time for, pass through.
        """
        self.sink("-H", "2")
        relay = self.relay()
        self.client(relay).attempt()
        before = self.peak(relay)
        verdicts: list[str] = []
        threads = [
            threading.Thread(target=self.stream, args=(relay, verdicts)) for _ in range(CLIENTS)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(DEADLINE * 4)
        self.assertEqual(verdicts, ["250"] * CLIENTS)
        self.assertLess(self.peak(relay) - before, GROWTH)

    def stream(self, relay: Server, verdicts: list[str]) -> None:
        client = Client(relay)
        client.sock.settimeout(DEADLINE * 4)  # type: ignore[union-attr]
        for line in (f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{RECIPIENT}>", "DATA"):
            client.docmd(line)
        piece = (b"x" * 998 + b"\r\n") * 64
        for _ in range(SIZE // len(piece)):
            client.send(piece)
        client.send(b".\r\n")
        verdicts.append(str(client.getreply()[0]))
        client.quit()

    def peak(self, server: Server) -> int:
        """
        Octets of memory that a server had at most.
        """
        for line in Path(f"/proc/{server.pid}/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
        raise AssertionError("no VmHWM")


class HostileTests(RelayTestCase):
    """
    A second server of ours as the next hop, which does what a next hop should not.
    """

    def setUp(self) -> None:
        super().setUp()
        hop = self.serve_by("tests.interop.hostile.Hostile")
        self.relay = self.serve_by(f"relay:127.0.0.1:{hop.port}")

    def test_trouble(self) -> None:
        client = self.client(self.relay)
        lost = "451 4.4.2 The connection to the next hop was lost, try again later"
        nonsense = "451 4.5.0 The next hop does not keep to the protocol, try again later"
        down = "451 4.3.2 Going down"
        opened = ["250", "250", "354"]
        for trouble, replies in (
            ("none", [*opened, "250"]),
            ("lines", [*opened, "250"]),
            ("many-lines", ["250", nonsense]),
            ("slow", [*opened, "250"]),
            ("421", ["250", down]),
            ("gone", ["250", lost]),
            ("data-421", ["250", "250", down]),
            ("early", [*opened, nonsense]),
            ("dot-drop", [*opened, lost]),
            ("dot-half", [*opened, lost]),
            ("dot-half-line", [*opened, lost]),
            ("dot-lf", [*opened, lost]),
            ("dot-nonsense", [*opened, nonsense]),
            ("dot-421", [*opened, down]),
            ("dot-slow", [*opened, "250"]),
        ):
            self.assertEqual(client.attempt(f"{trouble}@example.com"), replies, trouble)
            # Our client's session goes on, and the relay serves.
            self.assertEqual(client.attempt(), [*opened, "250"], trouble)


class TLSTests(SecureTestCase, RelayTestCase):
    """
    A second server of ours, with certificates and users.
    """

    def by_tls(self, port: int, *options: str, host: str = "localhost") -> Client:
        spec = ",".join([f"relay-tls:{host}:{port}", f"ca={self.ca_file}", *options])
        return self.client(self.serve_by(spec))

    def credentials(self, password: str = PASSWORD) -> str:
        path = self.file(f"{USER}:{password}\n".encode())
        os.chmod(path, 0o600)
        return f"credentials={path}"

    def assertRelayed(self, hop: Server, client: Client, protocol: str) -> None:
        self.assertEqual(client.attempt(), ["250", "250", "354", "250"])
        (message,) = hop.take()
        self.assertIn(f" with {protocol} ", message.received)
        self.assertTrue(message.content.startswith(b"Received: from client.example.org"))
        self.assertTrue(message.content.endswith(CONTENT))

    def test_implicit(self) -> None:
        hop = self.serve_tls()
        self.assertRelayed(hop, self.by_tls(hop.ports[1]), "ESMTPS")

    def test_starttls(self) -> None:
        hop = self.serve_tls()
        self.assertRelayed(hop, self.by_tls(hop.port, "starttls"), "ESMTPS")

    def test_address(self) -> None:
        hop = self.serve_tls()
        self.assertRelayed(hop, self.by_tls(hop.ports[1], host="127.0.0.1"), "ESMTPS")

    def test_name(self) -> None:
        hop = self.serve_tls()
        self.assertRelayed(hop, self.by_tls(hop.ports[1], f"name={HOSTNAME}"), "ESMTPS")

    def test_login(self) -> None:
        for mechanism in ("PLAIN", "LOGIN", "CRAM-MD5"):
            hop = self.serve_tls(self.users(), "--require-auth", "--auth-mechanism", mechanism)
            for port, options in ((hop.ports[1], ()), (hop.port, ("starttls",))):
                client = self.by_tls(port, self.credentials(), *options)
                self.assertRelayed(hop, client, "ESMTPSA")

    def test_wrong_password(self) -> None:
        hop = self.serve_tls(self.users())
        client = self.by_tls(hop.ports[1], self.credentials(WRONG))
        refused = "451 4.7.0 The next hop does not let us in now, try again later"
        self.assertEqual(client.attempt(), [refused])

    def test_wrong_name(self) -> None:
        """
        Nobody hears a password or a message whose certificate is for somebody else, or of somebody
        whom nobody believes.
        """
        unsafe = "451 4.7.5 There is no safe way to the next hop now, try again later"
        hop = self.serve_tls(self.users())
        for option in ("name=other.example.com", f"ca={self.file(self.other_ca())}"):
            for port, how in ((hop.ports[1], ()), (hop.port, ("starttls",))):
                options = [self.credentials(), *how]
                spec = f"relay-tls:localhost:{port},{option}"
                if not option.startswith("ca="):
                    options.append(f"ca={self.ca_file}")
                relay = self.serve_by(",".join([spec, *options]))
                self.assertEqual(self.client(relay).attempt(), [unsafe])
        self.assertNotIn("logged in", hop.log)
        self.assertEqual(hop.take(), [])

    def other_ca(self) -> bytes:
        return make_ca("Other CA").pem

    def test_not_offered(self) -> None:
        hop = self.serve()
        unsafe = "451 4.7.5 There is no safe way to the next hop now, try again later"
        self.assertEqual(self.by_tls(hop.port, "starttls").attempt(), [unsafe])

    def test_opportunistic(self) -> None:
        """
        Without a name that is verified: a certificate of whomever will do.
        """
        hop = self.serve_tls()
        relay = self.serve_by(f"relay:127.0.0.1:{hop.port}")
        self.assertRelayed(hop, self.client(relay), "ESMTPS")
