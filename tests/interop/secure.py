"""
What the tests of TLS and AUTH have in common: certificates, users, and clients that know both.
"""

from __future__ import annotations

import json
import os
import ssl
import subprocess
from base64 import b64encode
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from twisted.trial.unittest import SkipTest

from ..certificates import CA, make_ca
from .server import DEADLINE, HOSTNAME, InteropTestCase, Server, command, environment

ANN, BOB = "ann@example.com", "bob@example.org"
CONTENT = b"Subject: x\r\n\r\nbody\r\n"
#: Who may log in, with a password that no command line and no mechanism should stumble over.
USER, PASSWORD = "ann@example.com", "se:cret pass%1+/="
WRONG = "wr0ng-pass-word"

T = TypeVar("T")
Ended = subprocess.CompletedProcess[bytes]


class SecureTestCase(InteropTestCase):
    """
    A test of a server with certificates.
    """

    def setUp(self) -> None:
        super().setUp()
        self.ca: CA = make_ca("Test CA")
        self.ca_file = self.file(self.ca.pem)

    def path(self) -> str:
        return str(Path(self.mktemp()).absolute())

    def pair(self, *names: str, **how: Any) -> tuple[str, str]:
        """
        :return: the files of a certificate that `ca` has signed, and of its key.
        """
        return self.ca.issue(*(names or (HOSTNAME,)), **how).write(self.path())

    def tls(self, *pairs: tuple[str, str]) -> list[str]:
        """
        :return: options for these certificates, or for one of the server's name.
        """
        options = []
        for certificate, key in pairs or (self.pair(HOSTNAME, "localhost", "127.0.0.1"),):
            options += ["--tls-cert", certificate, "--tls-key", key]
        return options

    def users(self, *lines: str) -> str:
        """
        :return: an option for a file of users, if of no others of `USER`.
        """
        path = self.file("".join(f"{line}\n" for line in lines or (f"{USER}:{PASSWORD}",)).encode())
        os.chmod(path, 0o600)
        return f"--auth=users:{path}"

    def serve_tls(self, *options: str) -> Server:
        """
        Start a server with a certificate of its name, and a second port with implicit TLS.
        """
        return self.serve(*self.tls(), "--smtps", "0", *options)

    def context(self, **how: Any) -> ssl.SSLContext:
        """
        :return: one of Python's, that believes our CA only.
        """
        return ssl.create_default_context(cadata=self.ca.pem.decode(), **how)

    def each(self, do: Callable[[str], T], what: Iterable[str]) -> dict[str, T]:
        """
        Do something that mostly waits, such as to fail to log in, with all of these at once.
        """
        names = list(what)
        with ThreadPoolExecutor(len(names)) as pool:
            return dict(zip(names, pool.map(do, names), strict=True))

    def assertSecret(self, server: Server, *secrets: str) -> None:
        """
        Check that a verbose log has none of these, in no spelling that SASL gives them.
        """
        self.assertIn("C: AUTH ", server.log)
        for secret in secrets:
            octets = secret.encode()
            spelled = [secret, octets.hex(), b64encode(octets).decode()]
            # As a part of more, wherever in that it begins.
            for before in range(3):
                whole = b64encode(b"\0" * before + octets + b"\0" * 3).decode()
                spelled.append(whole[4:-8])
            for text in spelled:
                self.assertNotIn(text, server.log)

    def assertRefusedAtStart(self, *options: str) -> str:
        """
        Check that a server ends at once with one sentence and status 1.

        :return: the sentence.
        """
        start, where = command()
        ended = subprocess.run(
            [*start, "--port", "0", "--handler", "sink", *options],
            cwd=where,
            env=environment(),
            capture_output=True,
            timeout=DEADLINE,
            text=True,
            check=False,
        )
        self.assertEqual((ended.returncode, ended.stdout), (1, ""), ended.stderr)
        self.assertEqual(ended.stderr.count("\n"), 1, ended.stderr)
        return ended.stderr.strip().partition(": ")[2]


class OpenSSLTestCase(SecureTestCase):
    program = "openssl"

    def s_client(self, port: int, *options: str, said: str = "") -> Ended:
        """
        :param said: the dialog, of which a first part may be that of -starttls.
        """
        # Without -quiet a line that begins with R is a command of its own.
        return self.run_program(
            *("s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", self.ca_file),
            *("-verify_return_error", "-crlf", *options),
            data=said.encode(),
        )


class SwaksTestCase(SecureTestCase):
    program = "swaks"

    def swaks(self, port: int, *options: str) -> Ended:
        return self.run_program(
            *("--server", "127.0.0.1", "--port", str(port), "--ehlo", "client.example.org"),
            *("--from", BOB, "--to", ANN, "--timeout", str(DEADLINE)),
            *("--data", f"@{self.file(CONTENT + b'.' + bytes((13, 10)))}", *options),
        )

    def assertStatus(self, ended: Ended, status: int = 0) -> str:
        """
        :return: the transcript.
        """
        transcript = ended.stdout.decode("utf-8", "replace")
        self.assertEqual(ended.returncode, status, transcript + ended.stderr.decode())
        return transcript

    def verified(self) -> tuple[str, ...]:
        """
        :return: options to believe our CA only.
        """
        return "--tls-verify", "--tls-ca-path", self.ca_file


class CurlTestCase(SecureTestCase):
    program = "curl"

    def curl(self, url: str, *options: str) -> Ended:
        """
        :param url: a scheme and a port.
        """
        scheme, _, port = url.partition(":")
        return self.run_program(
            *("-q", "-sSv", "--max-time", str(DEADLINE), "--cacert", self.ca_file),
            *("--resolve", f"{HOSTNAME}:{port}:127.0.0.1"),
            # The path is what it says in EHLO.
            f"{scheme}://{HOSTNAME}:{port}/client.example.org",
            *("--mail-from", BOB, "--mail-rcpt", ANN, "-T", self.file(CONTENT), *options),
        )


class MsmtpTestCase(SecureTestCase):
    program = "msmtp"

    def msmtp(self, port: int, *options: str) -> Ended:
        return self.run_program(
            *("--host=127.0.0.1", f"--port={port}", "--domain=client.example.org"),
            *(f"--timeout={DEADLINE}", "--tls=on", f"--tls-host-override={HOSTNAME}"),
            *(f"--tls-trust-file={self.ca_file}", f"--from={BOB}"),
            *(f"--set-{field}-header=off" for field in ("from", "date", "msgid")),
            *(*options, "--", ANN),
            data=CONTENT,
        )


class NodemailerTestCase(SecureTestCase):
    program = "node"

    def setUp(self) -> None:
        super().setUp()
        self.modules = os.environ.get("NODE_PATH", "")
        found = self.run_program("-e", "require.resolve('nodemailer')", NODE_PATH=self.modules)
        if found.returncode:
            raise SkipTest("nodemailer is not in NODE_PATH")

    def nodemailer(self, port: int, **options: Any) -> dict[str, Any]:
        """
        :return: what became of a message.
        """
        script = Path(__file__).parent / "nodemailer.cjs"
        job = {
            "options": {
                "host": "127.0.0.1",
                "port": port,
                "name": "client.example.org",
                "tls": {"ca": self.ca.pem.decode(), "servername": HOSTNAME},
                **options,
            },
            "messages": [
                {"envelope": {"from": BOB, "to": [ANN]}, "content": b64encode(CONTENT).decode()}
            ],
        }
        ended = self.run_program(str(script), data=json.dumps(job).encode(), NODE_PATH=self.modules)
        self.assertEqual((ended.returncode, ended.stderr.decode()), (0, ""))
        became: dict[str, Any] = json.loads(ended.stdout)
        return became


class GsaslTestCase(SecureTestCase):
    program = "gsasl"

    def gsasl(self, server: Server, mechanism: str, *options: str, password: str = PASSWORD) -> str:
        """
        :return: what it says, with the dialog.
        """
        ended = self.run_program(
            *("--smtp", f"--connect=127.0.0.1:{server.port}", f"--hostname={HOSTNAME}"),
            *(f"--x509-ca-file={self.ca_file}", f"--mechanism={mechanism}", "--verbose"),
            *(f"--authentication-id={USER}", f"--password={password}", *options),
        )
        return f"{ended.returncode} {ended.stdout.decode()} {ended.stderr.decode()}"
