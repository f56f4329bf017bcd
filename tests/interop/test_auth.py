"""
AUTH, as clients that others wrote do it.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
import smtplib
import time
from base64 import b64encode
from functools import partial
from pathlib import Path
from typing import Any

import argon2
import bcrypt

from docs.code import mechanism, plugin, verifier

from .logins import GREETER
from .secure import (
    ANN,
    BOB,
    CONTENT,
    PASSWORD,
    USER,
    WRONG,
    CurlTestCase,
    Ended,
    GsaslTestCase,
    MsmtpTestCase,
    NodemailerTestCase,
    OpenSSLTestCase,
    SecureTestCase,
    SwaksTestCase,
)
from .server import DEADLINE, Server

try:
    import aiosmtplib
except ImportError:
    aiosmtplib = None  # type: ignore[assignment]

#: What a server offers whose users' passwords it knows.
OFFER = "SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN"
#: For those that want to see who they are.
GREET = ("--handler", GREETER)


class SwaksTests(SwaksTestCase):
    def auth(self, mechanism: str, password: str = PASSWORD) -> tuple[str, ...]:
        return "--auth", mechanism, "--auth-user", USER, "--auth-password", password

    def test_mechanisms(self) -> None:
        server = self.serve_tls(self.users(), "--require-auth", "--verbose", *GREET)
        for port, how in zip(server.ports, ("--tls", "--tls-on-connect"), strict=True):
            for name in ("PLAIN", "LOGIN", "CRAM-MD5"):
                said = self.assertStatus(self.swaks(port, how, *self.auth(name)))
                self.assertIn(f"250-AUTH {OFFER}\n", said)
                # It is offered once, and not in the clear.
                self.assertEqual(said.count("250-AUTH"), 1)
                self.assertIn(f" 250 2.1.0 Hello {USER}", said)
                message = self.assertDelivered(server, CONTENT, what=name)
                self.assertIn(" with ESMTPSA id ", message.received)

        def fail(name: str) -> Ended:
            return self.swaks(server.port, "--tls", *self.auth(name, WRONG))

        for refused in self.each(fail, ("PLAIN", "LOGIN", "CRAM-MD5")).values():
            self.assertIn("<~* 535 5.7.8 ", self.assertStatus(refused, 28))
        # What it knows and we do not.
        for name in ("CRAM-SHA1", "DIGEST-MD5"):
            self.assertStatus(self.swaks(server.port, "--tls", *self.auth(name)), 28)
        self.assertIn("<~* 530 5.7.0 ", self.assertStatus(self.swaks(server.port, "--tls"), 23))
        self.assertEqual(server.take(), [])
        self.assertSecret(server, PASSWORD, WRONG)

    def test_in_the_clear(self) -> None:
        """
        Not offered, unless somebody wants it so.
        """
        server = self.serve(*self.tls(), self.users())
        self.assertStatus(self.swaks(server.port, *self.auth("PLAIN")), 28)
        self.assertNotIn("AUTH", self.assertStatus(self.swaks(server.port)))
        server = self.serve(self.users(), "--auth-without-tls", "--auth-mechanism", "login")
        said = self.assertStatus(self.swaks(server.port, *self.auth("LOGIN")))
        self.assertIn("250-AUTH LOGIN\n", said)
        self.assertIn(" with ESMTPA id ", self.assertDelivered(server, CONTENT).received)
        self.assertStatus(self.swaks(server.port, *self.auth("PLAIN")), 28)

    def test_anybody(self) -> None:
        server = self.serve("--auth-any", "--auth-without-tls", "--require-auth", *GREET)
        said = self.assertStatus(self.swaks(server.port, *self.auth("PLAIN", "anything")))
        self.assertIn(f" 250 2.1.0 Hello {USER}", said)
        self.assertDelivered(server, CONTENT)


class CurlTests(CurlTestCase):
    def test_mechanisms(self) -> None:
        server = self.serve_tls(self.users(), "--require-auth", "--verbose")
        names = ["PLAIN", "LOGIN", "CRAM-MD5"]
        features = self.run_program("--version").stdout
        # Where it was made with that library.
        names += ["SCRAM-SHA-1", "SCRAM-SHA-256"] if b"gsasl" in features else []
        for port, scheme in zip(server.ports, ("smtp", "smtps"), strict=True):
            for name in names:
                url, how = f"{scheme}:{port}", ["--ssl-reqd", "--login-options", f"AUTH={name}"]
                sent = self.curl(url, *how, "--user", f"{USER}:{PASSWORD}")
                self.assertIn(f"> AUTH {name}", self.assertStatus(sent))
                message = self.assertDelivered(server, CONTENT, what=name)
                self.assertIn(" with ESMTPSA id ", message.received)
            # The initial response in the line of the command.
            sent = self.curl(f"{scheme}:{port}", "--ssl-reqd", "--sasl-ir", *self.login())
            self.assertStatus(sent)
            self.assertDelivered(server, CONTENT)

        def fail(name: str) -> Ended:
            options = ["--login-options", f"AUTH={name}", "--user", f"{USER}:{WRONG}"]
            return self.curl(f"smtps:{server.ports[1]}", *options)

        for refused in self.each(fail, names).values():
            # CURLE_LOGIN_DENIED
            self.assertIn("< 535 5.7.8 ", self.assertStatus(refused, 67))
        self.assertSecret(server, PASSWORD, WRONG)

    def login(self) -> tuple[str, ...]:
        return "--login-options", "AUTH=PLAIN", "--user", f"{USER}:{PASSWORD}"

    def test_other_identity(self) -> None:
        """
        Nobody may act for another.
        """
        server = self.serve_tls(self.users())
        url = f"smtps:{server.ports[1]}"
        self.assertStatus(self.curl(url, *self.login(), "--sasl-authzid", USER))
        self.assertDelivered(server, CONTENT)
        refused = self.curl(url, *self.login(), "--sasl-authzid", "eve")
        self.assertIn("< 535 5.7.8 ", self.assertStatus(refused, 67))


class MsmtpTests(MsmtpTestCase):
    def auth(self, mechanism: str, password: str = PASSWORD) -> tuple[str, ...]:
        return f"--auth={mechanism}", f"--user={USER}", f"--passwordeval=printf '%s' '{password}'"

    def test_mechanisms(self) -> None:
        server = self.serve_tls(self.users(), "--require-auth", "--verbose")
        names = ("plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256", "on")
        for port, how in zip(server.ports, ("on", "off"), strict=True):
            starttls = f"--tls-starttls={how}"
            for name in names:
                self.assertStatus(self.msmtp(port, starttls, *self.auth(name)))
                message = self.assertDelivered(server, CONTENT, what=name)
                self.assertIn(" with ESMTPSA id ", message.received)

        def fail(name: str) -> Ended:
            return self.msmtp(server.port, *self.auth(name, WRONG))

        for refused in self.each(fail, names).values():
            # EX_NOPERM
            self.assertIn(": 535 5.7.8 ", self.assertStatus(refused, 77))
        self.assertSecret(server, PASSWORD, WRONG)


class GsaslTests(GsaslTestCase):
    """
    GNU SASL's own client, which proves the server's knowledge too, and knows channel bindings.
    """

    def assertServed(self, server: Server, *mechanisms: str) -> None:
        def login(mechanism: str, password: str = PASSWORD) -> str:
            # It refuses to do without a channel binding where there is one.
            how = [] if mechanism.endswith("-PLUS") else ["--no-cb"]
            return self.gsasl(server, mechanism, *how, password=password)

        for name, said in self.each(login, mechanisms).items():
            self.assertTrue(said.startswith("0 "), said)
            self.assertIn("server trusted", said, name)
        for said in self.each(partial(login, password=WRONG), mechanisms).values():
            self.assertFalse(said.startswith("0 "), said)
            self.assertIn("\n535 5.7.8 ", said)

    def test_mechanisms(self) -> None:
        """
        With the password itself in the file, and with what SCRAM needs.
        """
        keys = f"{USER}:{verifier.verifier(PASSWORD)}"
        for users in (self.users(), self.users(keys, f"plain:{WRONG}")):
            server = self.serve(*self.tls(), users, "--verbose")
            self.assertServed(server, "SCRAM-SHA-256-PLUS", "SCRAM-SHA-256", "PLAIN", "LOGIN")
            self.assertSecret(server, PASSWORD, WRONG)

    def test_passwords_only(self) -> None:
        """
        What takes the password itself, which may be kept for some users only.
        """
        server = self.serve(*self.tls(), self.users())
        self.assertServed(server, "SCRAM-SHA-1-PLUS", "SCRAM-SHA-1", "CRAM-MD5")

    def test_own_mechanism(self) -> None:
        """
        One that a handler brings along.
        """
        handler = f"{mechanism.__name__}.{mechanism.Visitors.__name__}"
        server = self.serve("--handler", handler, *self.tls(), "--require-auth")
        said = self.gsasl(server, "ANONYMOUS", "--anonymous-token=eve")
        self.assertTrue(said.startswith("0 "), said)
        self.assertIn("\n235 2.7.0 ", said)


class NodemailerTests(NodemailerTestCase):
    def test_mechanisms(self) -> None:
        server = self.serve_tls(self.users(), "--require-auth", "--verbose")
        for port, how in zip(server.ports, ("requireTLS", "secure"), strict=True):
            for name in ("PLAIN", "LOGIN", "CRAM-MD5", None):
                options = {how: True, "authMethod": name}
                sent = self.nodemailer(port, auth={"user": USER, "pass": PASSWORD}, **options)
                self.assertEqual(sent.get("accepted"), [ANN], sent)
                message = self.assertDelivered(server, CONTENT, what=name or "any")
                self.assertIn(" with ESMTPSA id ", message.received)

        def fail(name: str) -> dict[str, Any]:
            wrong = {"user": USER, "pass": WRONG}
            return self.nodemailer(server.port, auth=wrong, authMethod=name)

        for refused in self.each(fail, ("PLAIN", "LOGIN", "CRAM-MD5")).values():
            self.assertEqual(refused["code"], "EAUTH")
            self.assertTrue(refused["response"].startswith("535 5.7.8 "), refused)
        refused = self.nodemailer(server.port, requireTLS=True)
        self.assertTrue(refused["response"].startswith("530 5.7.0 "), refused)
        self.assertSecret(server, PASSWORD, WRONG)


class PythonTests(SecureTestCase):
    """
    smtplib and aiosmtplib.
    """

    def connect(self, server: Server) -> smtplib.SMTP:
        client = smtplib.SMTP_SSL(
            "127.0.0.1", server.ports[1], "c.example.org", timeout=DEADLINE, context=self.context()
        )
        self.addCleanup(client.close)
        client.ehlo()
        return client

    def test_smtplib(self) -> None:
        server = self.serve_tls(self.users(), "--require-auth", "--verbose", *GREET)
        for name in ("PLAIN", "LOGIN", "CRAM-MD5"):
            for initial in (True, False):
                client = self.connect(server)
                client.user, client.password = USER, PASSWORD
                method = getattr(client, f"auth_{name.lower().replace('-', '_')}")
                self.assertEqual(client.auth(name, method, initial_response_ok=initial)[0], 235)
                self.assertEqual(client.mail(BOB), (250, f"2.1.0 Hello {USER}".encode()))
                client.rset()
                # Once is enough.
                self.assertEqual(client.docmd("AUTH", "PLAIN")[0], 503)
                client.sendmail(BOB, ANN, CONTENT, [f"AUTH={USER}"])
                self.assertDelivered(server, CONTENT)
        self.assertSecret(server, PASSWORD)

    def test_attempts(self) -> None:
        """
        Each that failed takes a second, in which others do not wait, and the third is the last.
        """
        server = self.serve_tls(self.users())
        client, other = self.connect(server), self.connect(server)
        wrong = b64encode(f"\0{USER}\0{WRONG}".encode()).decode()
        begun = time.monotonic()
        client.putcmd("AUTH", f"PLAIN {wrong}")
        other.login(USER, PASSWORD)
        self.assertLess(time.monotonic() - begun, 1)
        self.assertEqual(client.getreply()[0], 535)
        self.assertGreater(time.monotonic() - begun, 1)
        self.assertEqual(client.docmd("AUTH", f"PLAIN {wrong}")[0], 535)
        self.assertEqual(client.docmd("AUTH", f"PLAIN {wrong}")[0], 535)
        self.assertEqual(client.getreply()[0], 421)
        self.assertRaises(smtplib.SMTPServerDisconnected, client.noop)

    def test_aiosmtplib(self) -> None:
        server = self.serve_tls(self.users(), "--require-auth")

        async def send(port: int, password: str, **how: Any) -> None:
            async with aiosmtplib.SMTP(
                hostname="127.0.0.1",
                port=port,
                local_hostname="c.example.org",
                timeout=DEADLINE,
                tls_context=self.context(),
                username=USER,
                password=password,
                **how,
            ) as client:
                await client.sendmail(BOB, ANN, CONTENT)

        for port, how in zip(server.ports, ("start_tls", "use_tls"), strict=True):
            asyncio.run(send(port, PASSWORD, **{how: True}))
            self.assertIn(" with ESMTPSA id ", self.assertDelivered(server, CONTENT).received)
        with self.assertRaises(aiosmtplib.SMTPAuthenticationError) as refused:
            asyncio.run(send(server.port, WRONG, start_tls=True))
        self.assertEqual(refused.exception.code, 535)

    if aiosmtplib is None:
        test_aiosmtplib.skip = "aiosmtplib is not installed"

    def test_hashes(self) -> None:
        """
        Each that a file of users may have, as others make it.
        """
        octets, salt = PASSWORD.encode(), b"0123456789abcdef"
        digest = hashlib.scrypt(octets, salt=salt, n=2**14, r=8, p=1)
        encoded = [b64encode(each).decode().rstrip("=") for each in (salt, digest)]
        hashes = {
            "plain": PASSWORD,
            "braces": f"{{PLAIN}}{PASSWORD}",
            "bcrypt": bcrypt.hashpw(octets, bcrypt.gensalt(4)).decode(),
            "argon2": argon2.PasswordHasher(time_cost=1, memory_cost=1024).hash(PASSWORD),
            "scrypt": f"$scrypt$ln=14,r=8,p=1${encoded[0]}${encoded[1]}",
            "scram": verifier.verifier(PASSWORD),
        }
        users = self.users(*(f"{name}:{value}" for name, value in hashes.items()))
        server = self.serve_tls(users, "--verbose", *GREET)
        for name in hashes:
            for mechanism_name in ("plain", "login"):
                client = self.connect(server)
                client.user, client.password = name, PASSWORD
                method = getattr(client, f"auth_{mechanism_name}")
                self.assertEqual(client.auth(mechanism_name, method)[0], 235, name)
                self.assertEqual(client.mail(BOB)[1], f"2.1.0 Hello {name}".encode())

        def fail(name: str) -> int:
            wrong = b64encode(f"\0{name}\0{WRONG}".encode()).decode()
            return self.connect(server).docmd("AUTH", f"PLAIN {wrong}")[0]

        refused = self.each(fail, (*hashes, "nobody"))
        self.assertEqual(refused, dict.fromkeys((*hashes, "nobody"), 535))
        self.assertSecret(server, PASSWORD, WRONG, *hashes.values())

    def test_file_changes(self) -> None:
        """
        Who is new may log in a second later, and who is gone may not.
        """
        option = self.users()
        path = Path(option.partition("users:")[2])
        server = self.serve_tls(option)
        right = b64encode(f"\0{USER}\0{PASSWORD}".encode()).decode()
        self.assertEqual(self.connect(server).docmd("AUTH", f"PLAIN {right}")[0], 235)
        path.write_text("somebody:else\n")
        end = time.monotonic() + DEADLINE
        while self.connect(server).docmd("AUTH", f"PLAIN {right}")[0] != 535:
            self.assertLess(time.monotonic(), end)
            time.sleep(0.1)
        self.assertIn(f"{path} was read again: 1 users", server.log)


class PluginTestCase(SecureTestCase):
    """
    A test of checkers that a plugin of twisted.cred brings.
    """

    #: The bearer token.
    TOKEN = "t0ken.of-ann~"

    def setUp(self) -> None:
        super().setUp()
        folder = Path(self.path())
        (folder / "twisted" / "plugins").mkdir(parents=True)
        shutil.copy(plugin.__file__, folder / "twisted" / "plugins" / "interop_checkers.py")
        paths = filter(None, [str(folder), os.environ.get("PYTHONPATH")])
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
        self.patch(os, "environ", environment)

    def serve_tokens(self) -> Server:
        path = self.file(f"{USER}:{self.TOKEN}\n".encode())
        return self.serve_tls("--auth", f"token:{path}", "--require-auth", "--verbose", *GREET)


class CertificateTests(PluginTestCase, OpenSSLTestCase):
    def auth(self, port: int, authzid: str, *names: str) -> str:
        """
        :return: what the server says to a client with a certificate of these names.
        """
        certificate, key = self.pair(*names, client=True)
        said = f"EHLO c\nAUTH EXTERNAL {authzid}\nMAIL FROM:<{BOB}>\nQUIT\n"
        ended = self.s_client(port, "-quiet", "-cert", certificate, "-key", key, said=said)
        return ended.stdout.decode()

    def test_external(self) -> None:
        checker = f"certificate:{USER.partition('@')[2]}"
        authority = ("--tls-client-ca", self.ca_file)
        server = self.serve_tls("--auth", checker, *authority, "--require-auth", *GREET)
        port = server.ports[1]
        own = b64encode(USER.encode()).decode()
        for authzid in ("=", own):
            said = self.auth(port, authzid, USER)
            self.assertIn("250-AUTH EXTERNAL\r\n", said)
            self.assertIn(f"\r\n250 2.1.0 Hello {USER}\r\n", said)
        for authzid, name in (("=", BOB), (b64encode(BOB.encode()).decode(), USER)):
            said = self.auth(port, authzid, name)
            self.assertIn("\r\n535 5.7.8 ", said)
            self.assertIn("\r\n530 5.7.0 ", said)
        # Without a certificate it is not even offered.
        ended = self.s_client(port, "-quiet", said="EHLO c\nAUTH EXTERNAL =\nQUIT\n")
        self.assertNotIn(b"250-AUTH", ended.stdout)
        self.assertIn(b"\r\n504 5.5.4 ", ended.stdout)


class MsmtpPluginTests(PluginTestCase, MsmtpTestCase):
    def test_tokens(self) -> None:
        server = self.serve_tokens()
        for name in ("oauthbearer", "xoauth2"):
            for token, status in ((self.TOKEN, 0), (WRONG, 77)):
                options = f"--auth={name}", f"--user={USER}", f"--passwordeval=echo '{token}'"
                self.assertStatus(self.msmtp(server.port, *options), status)
            self.assertDelivered(server, CONTENT, what=name)
        self.assertSecret(server, self.TOKEN, WRONG)

    def test_external(self) -> None:
        checker = f"certificate:{USER.partition('@')[2]}"
        server = self.serve_tls("--auth", checker, "--tls-client-ca", self.ca_file)
        for name, status in ((USER, 0), (BOB, 77)):
            certificate, key = self.pair(name, client=True)
            files = f"--tls-cert-file={certificate}", f"--tls-key-file={key}"
            # Without a user it takes the challenge for success.
            sent = self.msmtp(server.port, "--auth=external", f"--user={USER}", *files)
            self.assertStatus(sent, status)
        self.assertDelivered(server, CONTENT)


class CurlPluginTests(PluginTestCase, CurlTestCase):
    def bearer(self, server: Server, mechanism: str, token: str) -> list[str]:
        options = ["--login-options", f"AUTH={mechanism}", "--user", f"{USER}:"]
        return [f"smtps:{server.ports[1]}", "--oauth2-bearer", token, *options]

    def test_tokens(self) -> None:
        server = self.serve_tokens()
        for name in ("OAUTHBEARER", "XOAUTH2"):
            for initial in ([], ["--sasl-ir"]):
                sent = self.curl(*self.bearer(server, name, self.TOKEN), *initial)
                self.assertIn("< 235 2.7.0 ", self.assertStatus(sent))
                self.assertDelivered(server, CONTENT, what=name)
            refused = self.curl(*self.bearer(server, name, WRONG))
            self.assertIn("< 535 5.7.8 ", self.assertStatus(refused, 67))
        self.assertSecret(server, self.TOKEN, WRONG)


class NodemailerPluginTests(PluginTestCase, NodemailerTestCase):
    def test_tokens(self) -> None:
        server = self.serve_tokens()
        auth = {"type": "OAuth2", "user": USER}
        sent = self.nodemailer(server.port, auth={**auth, "accessToken": self.TOKEN})
        self.assertEqual(sent.get("accepted"), [ANN], sent)
        self.assertDelivered(server, CONTENT)
        refused = self.nodemailer(server.port, auth={**auth, "accessToken": WRONG})
        self.assertEqual(refused["code"], "EAUTH")
        self.assertSecret(server, self.TOKEN, WRONG)


class StartTests(SecureTestCase):
    def test_refused(self) -> None:
        path = self.file(b"ann\n")
        sentences = {
            f"users:{path}": f"--auth: {path}: line 1 has no colon between user name and password",
            "nobody:x": "--auth: there is no checker 'nobody': say users:FILE",
        }
        for spec, sentence in sentences.items():
            said = self.assertRefusedAtStart("--auth", spec, "--auth-without-tls")
            self.assertEqual(said, sentence)

    def test_checkers_of_twisted(self) -> None:
        """
        Those that come with it serve too.
        """
        path = self.file(b"ann:secret\n")
        for spec in ("memory:ann:secret", f"file:{path}"):
            server = self.serve("--auth", spec, "--auth-without-tls")
            for password, code in (("secret", 235), ("other", 535)):
                with smtplib.SMTP("127.0.0.1", server.port, timeout=DEADLINE) as client:
                    client.ehlo()
                    response = b64encode(f"\0ann\0{password}".encode()).decode()
                    self.assertEqual(client.docmd("AUTH", f"PLAIN {response}")[0], code, spec)
