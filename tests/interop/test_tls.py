"""
STARTTLS and implicit TLS, as clients that others wrote do them.
"""

from __future__ import annotations

import asyncio
import os
import re
import smtplib
import socket
import ssl
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

from ..certificates import Pair, make_ca, replace
from .secure import (
    ANN,
    BOB,
    CONTENT,
    CurlTestCase,
    MsmtpTestCase,
    NodemailerTestCase,
    OpenSSLTestCase,
    SecureTestCase,
    SwaksTestCase,
)
from .server import DEADLINE, HOSTNAME, Server

try:
    import aiosmtplib
except ImportError:
    aiosmtplib = None  # type: ignore[assignment]

#: Handshakes of one test of them at most.
HANDSHAKES = 400

MAIL = f"EHLO c\nMAIL FROM:<{BOB}>\nRCPT TO:<{ANN}>\nDATA\n{{}}\n.\nQUIT\n"


class OpenSSLTests(OpenSSLTestCase):
    def subject(self, ended: subprocess.CompletedProcess[bytes]) -> str:
        """
        :return: the common name of the server's certificate.
        """
        self.assertStatus(ended)
        found = re.search(rb"^subject=CN ?= ?(.*)$", ended.stdout, re.MULTILINE)
        assert found is not None, ended.stdout
        return found[1].decode()

    def test_versions(self) -> None:
        """
        TLS 1.2 and 1.3, and nothing that is older.
        """
        server = self.serve_tls()
        dialog = MAIL.format("Subject: x\n\nbody")
        for version in ("-tls1_2", "-tls1_3"):
            for port, how in zip(server.ports, (["-starttls", "smtp"], []), strict=True):
                options = ["-quiet", version, "-verify_hostname", HOSTNAME, *how]
                ended = self.s_client(port, *options, said=dialog)
                self.assertStatus(ended)
                message = self.assertDelivered(server, CONTENT, what=version)
                self.assertIn(" with ESMTPS id ", message.received)
        for version in ("-tls1_1", "-tls1"):
            for port, how in zip(server.ports, (["-starttls", "smtp"], []), strict=True):
                # What it would not do of its own accord either.
                old = [version, "-cipher", "DEFAULT@SECLEVEL=0", *how]
                self.assertIn(
                    "alert protocol version", self.assertStatus(self.s_client(port, *old), 1)
                )
        self.assertEqual(server.take(), [])

    def test_names(self) -> None:
        """
        A client sees the certificate of whom it wants to talk to, and else the first.
        """
        wild = "*.lists.example.com"
        pairs = [
            self.pair(HOSTNAME),
            self.pair("mail.example.org", "mx.example.org"),
            self.pair(wild),
        ]
        server = self.serve(*self.tls(*pairs), "--smtps", "0")
        cases = {
            HOSTNAME: HOSTNAME,
            "mail.example.org": "mail.example.org",
            "mx.example.org": "mail.example.org",
            "MX.Example.ORG": "mail.example.org",
            "twisted.lists.example.com": wild,
            "lists.example.com": HOSTNAME,
            "a.b.lists.example.com": HOSTNAME,
            "nobody.example.net": HOSTNAME,
            "": HOSTNAME,
        }
        for name, subject in cases.items():
            wanted = ["-servername", name] if name else ["-noservername"]
            implicit = self.s_client(server.ports[1], *wanted)
            starttls = self.s_client(server.port, "-starttls", "smtp", *wanted)
            self.assertEqual([self.subject(each) for each in (implicit, starttls)], [subject] * 2)

    def test_not_verified(self) -> None:
        """
        The proof that the other tests can fail.
        """
        server = self.serve_tls()
        other = self.file(make_ca("Another CA").pem)
        ended = self.s_client(server.ports[1], "-CAfile", other)
        self.assertNotEqual(ended.returncode, 0)

    def test_client_certificate(self) -> None:
        """
        One of the right CA is welcome and so is none; another's is refused.
        """
        server = self.serve_tls("--tls-client-ca", self.ca_file)
        other = make_ca("Another CA").issue(ANN, client=True).write(self.path())
        # With TLS 1.2 a client learns in the handshake what came of it.
        for version in ("-tls1_2", "-tls1_3"):
            cases = (self.pair(ANN, client=True), True), (other, False)
            for (certificate, key), welcome in cases:
                ended = self.s_client(
                    *(server.ports[1], version, "-quiet", "-cert", certificate, "-key", key),
                    said=MAIL.format("Subject: x\n\nbody"),
                )
                self.assertEqual(b"250 2.0.0 Message" in ended.stdout, welcome, ended)
        self.assertStatus(self.s_client(server.ports[1], "-quiet", said="EHLO c\nQUIT\n"))
        self.assertEqual(len(server.take()), 2)

    def test_injected(self) -> None:
        """
        What was sent in the clear behind STARTTLS is gone, and so is what was said before.
        """
        server = self.serve_tls()
        with socket.create_connection(("127.0.0.1", server.port), DEADLINE) as plain:
            plain.sendall(
                f"EHLO eve\r\nMAIL FROM:<{BOB}>\r\nSTARTTLS\r\nRCPT TO:<{ANN}>\r\nNO".encode()
            )
            heard = b""
            while b"220 2.0.0 " not in heard:
                heard += plain.recv(4096)
            with self.context().wrap_socket(plain, server_hostname=HOSTNAME) as safe:
                safe.sendall(b"OP\r\nRCPT TO:<eve@example.com>\r\nQUIT\r\n")
                said = b"".join(iter(lambda: safe.recv(4096), b""))
        # Not even the EHLO is remembered, and nothing was said between.
        self.assertTrue(heard.endswith(b"\r\n220 2.0.0 Ready to start TLS\r\n"))
        self.assertEqual(
            [line[:9] for line in said.splitlines()], [b"500 5.5.2", b"503 5.5.1", b"221 2.0.0"]
        )


class SwaksTests(SwaksTestCase):
    def test_content(self) -> None:
        server = self.serve_tls("--require-starttls")
        for port, how in zip(server.ports, ("--tls", "--tls-on-connect"), strict=True):
            for version in ("tlsv1_2", "tlsv1_3"):
                options = [how, "--tls-protocol", version, *self.verified()]
                transcript = self.assertStatus(self.swaks(port, *options, "--tls-sni", HOSTNAME))
                self.assertIn(" 250 2.0.0 Message accepted", transcript)
                message = self.assertDelivered(server, CONTENT)
                self.assertIn(" with ESMTPS id ", message.received)
            # It is offered once, and then it is done.
            offers = transcript.count("250-STARTTLS")
            self.assertEqual(offers, 1 if how == "--tls" else 0)

    def test_required(self) -> None:
        server = self.serve_tls("--require-starttls")
        self.assertIn("<** 530 5.7.0 ", self.assertStatus(self.swaks(server.port), 23))
        self.assertEqual(server.take(), [])

    def test_self_signed(self) -> None:
        server = self.serve("--tls-self-signed", "--smtps", "0")
        for port, how in zip(server.ports, ("--tls", "--tls-on-connect"), strict=True):
            self.assertStatus(self.swaks(port, how))
            self.assertIn(" with ESMTPS id ", self.assertDelivered(server, CONTENT).received)
        # Nobody trusts it.
        self.assertStatus(self.swaks(server.port, "--tls", *self.verified()), 29)

    def test_not_offered(self) -> None:
        server = self.serve()
        transcript = self.assertStatus(self.swaks(server.port, "--tls"), 29)
        self.assertNotIn("STARTTLS", transcript.partition("250 HELP")[0].partition("EHLO")[2])


class CurlTests(CurlTestCase):
    def test_content(self) -> None:
        server = self.serve_tls("--require-starttls")
        for port, scheme in zip(server.ports, ("smtp", "smtps"), strict=True):
            for version in (["--tlsv1.2", "--tls-max", "1.2"], ["--tlsv1.3"]):
                ended = self.curl(f"{scheme}:{port}", "--ssl-reqd", *version)
                self.assertStatus(ended)
                message = self.assertDelivered(server, CONTENT)
                self.assertIn(" with ESMTPS id ", message.received)

    def test_not_trusted(self) -> None:
        server = self.serve("--tls-self-signed", "--smtps", "0")
        for port, scheme in zip(server.ports, ("smtp", "smtps"), strict=True):
            # CURLE_PEER_FAILED_VERIFICATION
            self.assertStatus(self.curl(f"{scheme}:{port}", "--ssl-reqd"), 60)
        self.assertEqual(server.take(), [])


class MsmtpTests(MsmtpTestCase):
    def test_content(self) -> None:
        server = self.serve_tls("--require-starttls")
        for port, starttls in zip(server.ports, ("on", "off"), strict=True):
            self.assertStatus(self.msmtp(port, f"--tls-starttls={starttls}"))
            self.assertIn(" with ESMTPS id ", self.assertDelivered(server, CONTENT).received)

    def test_other_name(self) -> None:
        server = self.serve(*self.tls(self.pair("mx.example.net")))
        # EX_UNAVAILABLE
        said = self.assertStatus(self.msmtp(server.port), 69)
        self.assertIn("TLS certificate verification failed", said)


class NodemailerTests(NodemailerTestCase):
    def test_content(self) -> None:
        server = self.serve_tls("--require-starttls")
        for port, how in zip(server.ports, ("requireTLS", "secure"), strict=True):
            sent = self.nodemailer(port, **{how: True})
            self.assertEqual(sent.get("accepted"), [ANN], sent)
            self.assertIn(" with ESMTPS id ", self.assertDelivered(server, CONTENT).received)
        # Of its own accord, where it is offered.
        self.assertEqual(self.nodemailer(server.port).get("accepted"), [ANN])
        refused = self.nodemailer(server.port, ignoreTLS=True)
        self.assertTrue(refused["response"].startswith("530 5.7.0 "), refused)


class PythonTests(SecureTestCase):
    """
    smtplib and aiosmtplib.
    """

    def test_smtplib(self) -> None:
        server = self.serve_tls("--require-starttls")
        with smtplib.SMTP("127.0.0.1", server.port, "c.example.org", DEADLINE) as client:
            client._host = HOSTNAME  # type: ignore[attr-defined]  # whom it wants to talk to
            client.starttls(context=self.context())
            self.assertFalse(client.has_extn("starttls"), "before EHLO")
            client.ehlo()
            self.assertFalse(client.has_extn("starttls"))
            self.assertEqual(client.docmd("STARTTLS")[0], 503)
            client.sendmail(BOB, ANN, CONTENT)
        self.assertIn(" with ESMTPS id ", self.assertDelivered(server, CONTENT).received)
        with smtplib.SMTP_SSL(
            "127.0.0.1", server.ports[1], "c.example.org", timeout=DEADLINE, context=self.context()
        ) as client:
            client.sendmail(BOB, ANN, CONTENT)
        self.assertIn(" with ESMTPS id ", self.assertDelivered(server, CONTENT).received)

    def test_aiosmtplib(self) -> None:
        server = self.serve_tls("--require-starttls")

        async def send(port: int, **how: Any) -> None:
            async with aiosmtplib.SMTP(
                hostname="127.0.0.1",
                port=port,
                local_hostname="c.example.org",
                timeout=DEADLINE,
                tls_context=self.context(),
                **how,
            ) as client:
                await client.sendmail(BOB, ANN, CONTENT)

        for port, how in zip(server.ports, ("start_tls", "use_tls"), strict=True):
            asyncio.run(send(port, **{how: True}))
            self.assertIn(" with ESMTPS id ", self.assertDelivered(server, CONTENT).received)

    if aiosmtplib is None:
        test_aiosmtplib.skip = "aiosmtplib is not installed"


class ReloadTests(SecureTestCase):
    """
    Certificates that change while the server runs.
    """

    def setUp(self) -> None:
        super().setUp()
        self.files = self.pair()

    def renew(self) -> bytes:
        """
        Put a new certificate and its key where the old ones were, as certbot does.

        :return: the certificate in DER.
        """
        new: Pair = self.ca.issue(HOSTNAME)
        # Between the two they do not fit.
        replace(self.files[0], new.cert_pem)
        replace(self.files[1], new.key_pem)
        return new.der

    def implicit(self, server: Server) -> bytes:
        """
        :return: the certificate that the server shows.
        """
        with (
            socket.create_connection(("127.0.0.1", server.ports[1]), DEADLINE) as plain,
            self.trusting.wrap_socket(plain, server_hostname=HOSTNAME) as safe,
        ):
            if not safe.recv(4096).startswith(b"220 "):
                raise AssertionError("no greeting")
            return safe.getpeercert(binary_form=True) or b""

    def starttls(self, server: Server) -> bytes:
        with smtplib.SMTP("127.0.0.1", server.port, "c.example.org", DEADLINE) as client:
            client._host = HOSTNAME  # type: ignore[attr-defined]
            client.starttls(context=self.trusting)
            sock = client.sock
            assert isinstance(sock, ssl.SSLSocket)
            return sock.getpeercert(binary_form=True) or b""

    def until_seen(self, server: Server, der: bytes) -> None:
        """
        Wait until the server shows that certificate.
        """
        end = time.monotonic() + DEADLINE
        while self.implicit(server) != der:
            self.assertLess(time.monotonic(), end, server.log)
            time.sleep(0.05)

    def until_logged(self, server: Server, text: str) -> None:
        end = time.monotonic() + DEADLINE
        while text not in server.log:
            self.assertLess(time.monotonic(), end, server.log)
            time.sleep(0.05)

    def serve_files(self) -> Server:
        self.trusting = self.context()
        return self.serve(*self.tls(self.files), "--smtps", "0")

    def test_under_load(self) -> None:
        """
        Clients come all the time, and none of them notices.
        """
        server = self.serve_files()
        before = self.implicit(server)
        done = Event()

        def shake_hands(how: Callable[[Server], bytes]) -> Iterator[bytes]:
            for _ in range(HANDSHAKES // 3):
                if done.wait(0.01):
                    break
                yield how(server)

        ways = self.implicit, self.implicit, self.starttls
        renewed = []
        with ThreadPoolExecutor(len(ways)) as pool:
            loads = [pool.submit(lambda how: list(shake_hands(how)), how) for how in ways]
            try:
                # Told by a signal, and not told at all.
                for told in (True, True, True, True, False):
                    renewed.append(self.renew())
                    if told:
                        server.hang_up()
                    self.until_seen(server, renewed[-1])
            finally:
                done.set()
        seen = [der for load in loads for der in load.result(DEADLINE)]
        self.assertGreater(len(seen), 30)
        self.assertLessEqual(set(seen), {before, *renewed})
        self.assertGreater(len(set(seen) & set(renewed)), 1)

    def test_broken(self) -> None:
        """
        What cannot be used changes nothing but the log.
        """
        server = self.serve_files()
        old = self.implicit(server)
        replace(self.files[0], b"-----BEGIN CERTIFICATE-----\nno\n-----END CERTIFICATE-----\n")
        server.hang_up()
        self.until_logged(server, "what was there before stays in use")
        self.assertIn(f"{self.files[0]} holds no certificate in PEM format", server.log)
        self.assertEqual([self.implicit(server), self.starttls(server)], [old, old])
        os.remove(self.files[1])
        server.hang_up()
        self.assertEqual(self.implicit(server), old)
        new = self.renew()
        server.hang_up()
        self.until_seen(server, new)
        self.until_logged(server, f"{self.files[0]} was read again")


class StartTests(SecureTestCase):
    """
    What is wrong with a certificate is said before the server starts.
    """

    def test_refused(self) -> None:
        certificate, _ = self.pair()
        _, other_key = self.pair()
        not_ours = f"does not belong to the certificate in {certificate}"
        sentences = {
            (certificate, other_key): f"the key in {other_key} {not_ours}",
            (certificate, "/nowhere"): "cannot read /nowhere: No such file or directory",
        }
        for pair, sentence in sentences.items():
            self.assertEqual(self.assertRefusedAtStart(*self.tls(pair)), sentence)
