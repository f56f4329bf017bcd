"""
Handlers as people have written them, through the adapters: the examples of aiosmtpd's
documentation, and those of public projects, each written anew from what that is known to do.

They use aiosmtpd's own classes where that is installed, because handlers do.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import io
import json
import re
import sqlite3
from base64 import b64decode
from contextlib import closing, redirect_stdout
from email import message_from_bytes
from importlib import import_module
from mailbox import Maildir
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from txsmtpd import adapters
from txsmtpd.adapters import kind_of
from txsmtpd.handlers import Sink, make_handler
from txsmtpd.protocol import LMTP

from .adapterskit import Talk, b64, in_loop, settle

try:
    smtp: Any = import_module("aiosmtpd.smtp")
    handlers: Any = import_module("aiosmtpd.handlers")
except ImportError:
    smtp = handlers = None

PLAIN = f"AUTH PLAIN {b64(bytes(1) + b'ann' + bytes(1) + b'wonderland')}"


class AiosmtpdTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        if smtp is None:
            raise SkipTest("aiosmtpd is not installed")

    def opened(self, handler: object, **settings: Any) -> Talk:
        self.assertEqual(kind_of(handler), "aiosmtpd")
        talk = Talk(adapters.adapt(handler), **settings)
        talk.greet()
        return talk


class DocumentedTests(AiosmtpdTestCase):
    """
    What aiosmtpd ships, and shows in its documentation.
    """

    def test_first_example(self) -> None:
        class ExampleHandler:
            async def handle_RCPT(
                self, server: Any, session: Any, envelope: Any, address: str, rcpt_options: Any
            ) -> str:
                if not address.endswith("@example.com"):
                    return "550 not relaying to that domain"
                envelope.rcpt_tos.append(address)
                return "250 OK"

            async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
                print(f"Message from {envelope.mail_from}")
                print(f"Message for {envelope.rcpt_tos}")
                for line in envelope.content.decode("utf8", errors="replace").splitlines():
                    print(f"> {line}".strip())
                return "250 Message accepted for delivery"

        talk = self.opened(ExampleHandler())
        with redirect_stdout(io.StringIO()) as printed:
            heard = talk.mail("a@example.com", "b@example.net", content="Hello\r\n")
        self.assertEqual(heard[2], "550 5.1.0 not relaying to that domain")
        self.assertEqual(heard[-1], "250 2.0.0 Message accepted for delivery")
        self.assertEqual(
            printed.getvalue(),
            "Message from ann@example.com\nMessage for ['a@example.com']\n> Hello\n",
        )

    def test_authenticator_example(self) -> None:
        """
        It insists on aiosmtpd's own class for credentials.
        """

        class Authenticator:
            def __call__(
                self, server: Any, session: Any, envelope: Any, mechanism: str, auth_data: Any
            ) -> Any:
                fail_nothandled = smtp.AuthResult(success=False, handled=False)
                if mechanism not in ("LOGIN", "PLAIN"):
                    return fail_nothandled
                if not isinstance(auth_data, smtp.LoginPassword):
                    return fail_nothandled
                if (auth_data.login, auth_data.password) != (b"ann", b"wonderland"):
                    return fail_nothandled
                return smtp.AuthResult(success=True, auth_data=auth_data)

        judge = adapters.authenticator(Authenticator())
        talk = Talk(Sink(), authenticator=judge)
        talk.greet()
        self.assertEqual(talk.say(PLAIN), ["235 2.7.0 Authentication successful"])
        self.assertEqual(talk.protocol.session.auth_data, (b"ann", b"wonderland"))
        talk = Talk(Sink(), authenticator=judge)
        talk.greet()
        talk.say(f"AUTH PLAIN {b64(bytes(1) + b'ann' + bytes(1) + b'alice')}")
        talk.client.wait(1)
        self.assertEqual(talk.heard(), ["535 5.7.8 Authentication credentials invalid"])

    def test_relayer_example(self) -> None:
        """
        Its authenticator, which keeps salted hashes in a database.
        """
        path = self.mktemp()
        with closing(sqlite3.connect(path)) as users, users:
            users.execute("CREATE TABLE users (name TEXT, salt BLOB, hash BLOB)")
            users.execute("INSERT INTO users VALUES ('ann', x'0102', ?)", (_hashed(b"wonderland"),))

        class Authenticator:
            def __call__(
                self, server: Any, session: Any, envelope: Any, mechanism: str, auth_data: Any
            ) -> Any:
                failed = smtp.AuthResult(success=False, handled=False)
                if not isinstance(auth_data, smtp.LoginPassword):
                    return failed
                with closing(sqlite3.connect(path)) as users:
                    name = auth_data.login.decode()
                    found = users.execute("SELECT hash FROM users WHERE name = ?", (name,))
                    row = found.fetchone()
                if row is None or not hmac.compare_digest(row[0], _hashed(auth_data.password)):
                    return failed
                return smtp.AuthResult(success=True)

        for user, password, code in (
            (b"ann", b"wonderland", "235"),
            (b"ann", b"alice", "535"),
            (b"eve", b"wonderland", "535"),
            (b"\xff", b"wonderland", "501"),
        ):
            judge = adapters.authenticator(Authenticator())
            talk = Talk(Sink(), authenticator=judge, auth_required=True)
            talk.greet()
            self.assertEqual(talk.say("MAIL FROM:<ann@x>"), ["530 5.7.0 Authentication required"])
            heard = talk.say(f"AUTH PLAIN {b64(bytes(1) + user + bytes(1) + password)}")
            talk.client.wait(1)
            self.assertEqual([line[:3] for line in heard + talk.heard()], [code])
            self.assertEqual(
                talk.say("MAIL FROM:<ann@x>")[0][:3], "250" if code == "235" else "530"
            )

    def test_relayer_example_misspelt(self) -> None:
        """
        Its handler has no hook, for a mistake.  There it accepts all mail and loses it.
        """
        spec = f"{__name__}.MisspeltRelay"
        error = self.assertRaises(TypeError, Talk, make_handler(spec))
        self.assertIn("declares no hook", str(error))

    def test_migrating_example(self) -> None:
        """
        From ``process_message`` to ``handle_DATA``, and what either refuses.
        """
        seen: list[Any] = []

        class Before:
            def process_message(
                self, peer: Any, mail_from: str, rcpt_tos: list[str], data: bytes
            ) -> str | None:
                seen.append((peer, mail_from, rcpt_tos, data))
                return "500 Could not process your message" if b"bad" in data else None

        class After:
            async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
                data = envelope.content
                seen.append((session.peer, envelope.mail_from, envelope.rcpt_tos, data))
                return "500 Could not process your message" if b"bad" in data else "250 OK"

        for handler, kind in ((Before(), "smtpd"), (After(), "aiosmtpd")):
            self.assertEqual(kind_of(handler), kind)
            talk = Talk(adapters.adapt(handler))
            talk.greet()
            self.assertEqual(talk.mail(content="good\r\n")[-1][:3], "250")
            self.assertEqual(
                talk.mail(content="bad\r\n")[-1], "500 5.0.0 Could not process your message"
            )
        facts = (("192.0.2.1", 54321), "ann@example.com", ["bob@example.org"])
        self.assertEqual(seen, [(*facts, b"good\r\n"), (*facts, b"bad\r\n")] * 2)

    def test_lmtp_example(self) -> None:
        """
        A list with a status for each recipient.
        """

        class Handler:
            async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> list[str]:
                return [
                    "552 Full" if address.startswith("full") else "250 OK"
                    for address in envelope.rcpt_tos
                ]

        talk = Talk(adapters.adapt(Handler()), protocol=LMTP)
        talk.say("LHLO mta.example")
        heard = talk.mail("a@example.org", "full@example.org", "c@example.org")
        self.assertEqual(heard[-3:], ["250 2.0.0 OK", "552 5.0.0 Full", "250 2.0.0 OK"])

    def test_proxy_protocol_example(self) -> None:
        """
        A hook that compares, and finds the checksum in the header to calculate it.
        """
        sums = []

        class Handler:
            async def handle_PROXY(
                self, server: Any, session: Any, envelope: Any, proxy_data: Any
            ) -> bool:
                if not proxy_data.same_attribs(version=2, src_port=1025):
                    return False
                offset = proxy_data.tlv_start + proxy_data.tlv.tlv_loc["CRC32C"] + 3
                sums.append(bytes(proxy_data.whole_raw[offset : offset + 4]))
                proxy_data.whole_raw[offset : offset + 4] = bytes(4)
                return bool(sums[-1] == proxy_data.tlv.CRC32C)

        addresses = bytes([198, 51, 100, 1, 198, 51, 100, 2, 4, 1, 0, 25])
        head = b"\r\n\r\n\x00\r\nQUIT\n\x21\x11\x00\x13" + addresses + b"\x03\x00\x04"
        header = head + _crc32c(head + bytes(4)).to_bytes(4, "big")
        talk = Talk(
            adapters.adapt(Handler()), proxy_protocol=True, trusted_proxies=["192.0.2.0/24"]
        )
        talk.client.send(header)
        self.assertEqual(talk.heard()[0][:3], "220")
        self.assertEqual(sums, [header[-4:]])

    def test_proxy(self) -> None:
        """
        The handler that passes mail on.
        """
        sent: list[Any] = []

        class Client:
            def connect(self, host: str, port: int) -> None:
                sent.append((host, port))

            def sendmail(self, sender: str, recipients: list[str], data: bytes) -> dict[str, Any]:
                sent.append((sender, recipients, data))
                return {}

            def quit(self) -> None: ...

        self.patch(handlers.smtplib, "SMTP", Client)
        talk = self.opened(handlers.Proxy("mx.example", 25))
        self.assertEqual(talk.mail(content="A: b\r\n\r\nHello\r\n")[-1], "250 2.0.0 OK")
        data = b"A: b\r\nX-Peer: 192.0.2.1\r\n\r\nHello\r\n"
        self.assertEqual(sent, [("mx.example", 25), ("ann@example.com", ["bob@example.org"], data)])

    def test_mechanism_example(self) -> None:
        class MyHandler:
            async def auth_DENYALL(self, server: Any, args: list[str]) -> Any:
                return smtp.AuthResult(success=False, handled=False)

            @smtp.auth_mechanism("x-two-step")  # type: ignore[untyped-decorator]
            async def auth_twostep(self, server: Any, args: list[str]) -> Any:
                login = await server.challenge_auth("Who?")
                if login is smtp.MISSING:
                    return smtp.AuthResult(success=False)
                password = await server.challenge_auth(b"Password?")
                if password == b"wonderland":
                    return smtp.AuthResult(
                        success=True, auth_data=smtp.LoginPassword(login, password)
                    )
                return smtp.AuthResult(success=False, handled=False, message="535 5.7.8 Go away")

        talk = self.opened(MyHandler())
        self.assertEqual(talk.say("AUTH X-TWO-STEP"), [f"334 {b64(b'Who?')}"])
        self.assertEqual(talk.say("*"), ["501 5.7.0 Authentication aborted"])
        talk.say("AUTH X-TWO-STEP", b64(b"ann"), b64(b"no"))
        talk.client.wait(1)
        self.assertEqual(talk.heard(), ["535 5.7.8 Go away"])
        talk.say("AUTH X-TWO-STEP", b64(b"ann"))
        self.assertEqual(talk.say(b64(b"wonderland"))[0][:3], "235")
        self.assertEqual(talk.protocol.session.login_data, b"ann")

    def test_handle_auth_example(self) -> None:
        class Handler:
            async def handle_AUTH(self, server: Any, session: Any, envelope: Any, args: Any) -> Any:
                return smtp.MISSING if args[0] == "PLAIN" else "504 5.5.4 Not that one"

        talk = self.opened(Handler(), authenticator=lambda *arguments: True)
        self.assertEqual(talk.say(PLAIN)[0][:3], "235")
        talk = self.opened(Handler(), authenticator=lambda *arguments: True)
        talk.say("AUTH LOGIN")
        talk.client.wait(1)
        self.assertEqual(talk.heard(), ["504 5.5.4 Not that one"])

    def test_debugging(self) -> None:
        with redirect_stdout(io.StringIO()) as printed:
            handler = make_handler("aiosmtpd.handlers.Debugging:stdout")
            talk = Talk(handler)
            talk.greet()
            talk.mail(content="A: b\r\n\r\nHello\r\n")
        self.assertIn("A: b\nX-Peer: ('192.0.2.1', 54321)\n\nHello\n", printed.getvalue())
        error = self.assertRaises(ValueError, make_handler, "aiosmtpd.handlers.Debugging:file")
        self.assertIn("Debugging usage: [stdout|stderr]", str(error))

    def test_sink(self) -> None:
        talk = Talk(make_handler("aiosmtpd.handlers.Sink"))
        talk.greet()
        self.assertEqual(talk.mail()[-1][:3], "250")

    def test_mailbox(self) -> None:
        directory = self.mktemp()
        talk = Talk(make_handler(f"aiosmtpd.handlers.Mailbox:{directory}"))
        talk.greet()
        talk.mail(content="Subject: x\r\n\r\nHello\r\n")
        (message,) = Maildir(directory)
        self.assertEqual(message["X-RcptTo"], "bob@example.org")

    def test_messages(self) -> None:
        taken = []

        class Mine(handlers.Message):  # type: ignore[misc]
            def handle_message(self, message: Any) -> None:
                taken.append(message["X-MailFrom"])

        class Later(handlers.AsyncMessage):  # type: ignore[misc]
            async def handle_message(self, message: Any) -> None:
                await asyncio.sleep(0)
                taken.append(message["X-MailFrom"])

        talk = self.opened(Mine())
        talk.mail()
        loop = asyncio.new_event_loop()
        self.addCleanup(loop.close)
        talk = self.opened(Later(loop=loop))
        talk.mail()
        self.assertEqual(taken, ["ann@example.com"] * 2)

    def test_status_and_errors(self) -> None:
        class Handler:
            async def handle_exception(self, error: Exception) -> str:
                return "542 Internal server error"

            async def handle_NOOP(self, *arguments: Any) -> str:
                raise ValueError("test")

        self.assertEqual(self.opened(Handler()).say("NOOP"), ["542 5.0.0 Internal server error"])
        self.flushLoggedErrors(ValueError)


class MisspeltRelay:
    """
    The handler of aiosmtpd's example of a relay.
    """

    def handle_data(self, server: Any, session: Any, envelope: Any, data: bytes) -> None:
        raise AssertionError("nobody calls this")


def _hashed(password: bytes) -> bytes:
    return hashlib.pbkdf2_hmac("sha256", password, b"\x01\x02", 10)


def _crc32c(data: bytes) -> int:
    value = 0xFFFFFFFF
    for octet in data:
        value ^= octet
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
    return value ^ 0xFFFFFFFF


class LMTPRunner:
    """
    After the LMTP runner of GNU Mailman: every recipient is accepted at RCPT and judged at the end.
    A sub-address decides which queue a message goes to, lists that there are not are refused, and
    the replies for all recipients are returned as one text.
    """

    QUEUES = {  # noqa: RUF012
        "bounces": "bounces",
        "confirm": "command",
        "join": "command",
        "owner": "in",
        "request": "command",
        "subscribe": "command",
    }
    lists = ("ant@example.org", "bee@example.org")

    def __init__(self) -> None:
        self.queued: list[tuple[str, str, Any]] = []

    def _split(self, address: str) -> tuple[str, str]:
        local, _, domain = address.lower().partition("@")
        name, dash, detail = local.rpartition("-")
        if dash and detail in self.QUEUES:
            return f"{name}@{domain}", self.QUEUES[detail]
        return f"{local}@{domain}", "in"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = message_from_bytes(envelope.content)
        if message.defects:
            return "501 Message has defects"
        message["X-MailFrom"] = envelope.mail_from
        statuses = []
        for address in envelope.rcpt_tos:
            name, queue = self._split(address)
            if name not in self.lists:
                statuses.append("550 Requested action not taken: mailbox unavailable")
                continue
            self.queued.append((queue, name, message))
            statuses.append("250 Ok")
        return "\r\n".join(statuses)


class Bridge:
    """
    After smtp-to-matrix and its like, which post to a web service: it makes a JSON object of the
    message, posts it in a thread, because its HTTP client blocks, and tells the sender what came of
    it.
    """

    def __init__(self, post: Any) -> None:
        self.post = post

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = message_from_bytes(envelope.original_content)
        loop = asyncio.get_running_loop()
        body = json.dumps(
            {
                "from": envelope.mail_from,
                "to": envelope.rcpt_tos,
                "subject": message["subject"],
                "peer": session.peer[0],
            }
        )
        try:
            if message["subject"] == "thread":
                status = await asyncio.to_thread(self.post, body)
            else:
                status = await asyncio.wait_for(loop.run_in_executor(None, self.post, body), 30)
        except OSError:
            return "451 Service unreachable, try again later"
        if status >= 500:
            return "451 Service failed, try again later"
        return "250 OK" if status < 300 else "554 Service refused the message"


class Submission:
    """
    Of the kind of a relay for submission: its own check of AUTH with a way of its own to say no,
    senders that must be the user's, and notes on the session that later hooks read.
    """

    USERS = {b"ann": b"wonderland"}  # noqa: RUF012

    def __init__(self) -> None:
        self.sent: list[Any] = []

    async def handle_EHLO(
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        session.tries = 0
        return [line for line in responses if not line[4:].startswith("DSN")]

    async def auth_LOGIN(self, server: Any, args: list[str]) -> Any:
        login = await server.challenge_auth("Username:")
        password = await server.challenge_auth("Password:")
        server.session.tries += 1
        if self.USERS.get(login) != password:
            await server.push("535 5.7.8 Wrong user or password")
            return None
        return login

    async def handle_MAIL(
        self, server: Any, session: Any, envelope: Any, address: str, mail_options: list[str]
    ) -> str:
        if session.login_data is None:
            return "530 5.7.0 Authentication required"
        if address.split("@")[0].encode() != session.login_data:
            return "553 5.7.1 Sender address rejected: not owned by user"
        envelope.mail_from = address
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.sent.append((session.host_name, session.tries, envelope.mail_from))
        return f"250 2.0.0 Ok: queued as {len(self.sent)}"


class Store:
    """
    After smtp2s3, which keeps messages with all of their envelope: clients on a list of bad ones
    are refused at MAIL, recipients by a pattern at RCPT, where they have been recorded already, and
    whatever goes wrong is temporary.
    """

    def __init__(self) -> None:
        self.bad: set[str] = set()
        self.stored: list[Any] = []

    async def handle_MAIL(
        self, server: Any, session: Any, envelope: Any, address: str, mail_options: list[str]
    ) -> str:
        envelope.mail_from = address
        if session.peer[0] in self.bad:
            return "554 5.7.1 Service unavailable; client host blocked"
        return "250 OK"

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, rcpt_options: list[str]
    ) -> str:
        envelope.rcpt_tos.append(address)
        if not re.fullmatch(r"[a-z]+@example\.org", address):
            return "550 5.1.1 No such user"
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        try:
            payload = {
                "from": envelope.mail_from,
                "options": [envelope.mail_options, envelope.rcpt_options],
                "content": envelope.original_content.decode(),
                "to": envelope.rcpt_tos,
                "ip": session.peer[0],
                "utf8": envelope.smtp_utf8,
            }
            self.stored.append(json.dumps(payload))
        except Exception:
            return "451 4.3.0 Temporary failure storing message."
        return "250 OK"


class Users:
    """
    The authenticator of smtpdfix: it has methods for mechanisms, and is never called itself.
    """

    passwords = {"ann": "wonderland"}  # noqa: RUF012

    def __call__(self, *arguments: Any) -> Any:
        raise NotImplementedError

    def validate(self, name: str, password: str) -> bool:
        return self.passwords.get(name) == password

    def get_password(self, name: str) -> str:
        return self.passwords[name]


def fixture_handler(messages: list[Any]) -> Any:
    """
    After smtpdfix, a server for tests: it collects messages, and has mechanisms of its own that
    ask the server's authenticator.
    """

    class AuthMessage(handlers.Message):  # type: ignore[misc]
        def handle_message(self, message: Any) -> None:
            messages.append(message)

        @smtp.auth_mechanism("CRAM-MD5")  # type: ignore[untyped-decorator]
        async def auth_CRAM_MD5(self, server: Any, args: list[str]) -> Any:
            challenge = f"<1@{server.hostname}>"
            response = await server.challenge_auth(challenge)
            user, digest = response.split()
            secret = server._authenticator.get_password(user.decode()).encode()
            wanted = hmac.new(secret, challenge.encode(), "md5").hexdigest().encode()
            if hmac.compare_digest(wanted, digest):
                return smtp.AuthResult(success=True, handled=True, auth_data=user)
            return smtp.AuthResult(success=False, handled=False)

        async def auth_LOGIN(self, server: Any, args: list[str]) -> Any:
            said = [b64decode(word).decode() for word in args[1:]]
            while len(said) < 2:
                response = await server.challenge_auth("Password" if said else "")
                if response is smtp.MISSING:
                    return smtp.AuthResult(success=False, handled=True)
                said.append(response.decode())
            if server._authenticator.validate(*said):
                return smtp.AuthResult(success=True, handled=True, auth_data=said[0])
            return smtp.AuthResult(success=False, handled=False)

    return AuthMessage()


class Gateway:
    """
    Of the kind of a gateway that asks its next hop at once: all of it hangs on the session, a
    greeting that is refused is a list of one line, and RSET has nothing to say.
    """

    def __init__(self) -> None:
        self.open = True

    async def handle_EHLO(
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        if not self.open:
            return ["450 upstream is away"]
        session.upstream = []
        session.host_name = hostname
        return responses

    async def handle_RSET(self, server: Any, session: Any, envelope: Any) -> None:
        session.upstream.clear()

    async def handle_MAIL(
        self, server: Any, session: Any, envelope: Any, address: str, mail_options: list[str]
    ) -> str:
        session.upstream.append(address)
        envelope.mail_from = address
        return "250 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return f"250 {session.upstream}"


class Inbox:
    """
    After the server in the tests of the IETF's Datatracker, which replies for each recipient,
    though it is no LMTP.
    """

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, rcpt_options: list[str]
    ) -> str:
        if "poison" in address:
            return "550 Error: Not touching that"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.messages.append(envelope.content)
        return "\n".join("250 OK" for _ in envelope.rcpt_tos)


class FixtureTests(AiosmtpdTestCase):
    def opened(self, handler: object, **settings: Any) -> Talk:
        return super().opened(handler, authenticator=adapters.authenticator(Users()), **settings)

    def test_mail(self) -> None:
        messages: list[Any] = []
        self.opened(fixture_handler(messages)).mail(content="Subject: x\r\n\r\n")
        self.assertEqual(messages[0]["X-RcptTo"], "bob@example.org")

    def test_cram(self) -> None:
        digest = hmac.new(b"wonderland", b"<1@mx.example>", "md5").hexdigest().encode()
        for answer, code in ((digest, "235"), (digest[::-1], "535")):
            talk = self.opened(fixture_handler([]))
            self.assertEqual(talk.say("AUTH CRAM-MD5"), [f"334 {b64(b'<1@mx.example>')}"])
            heard = talk.say(b64(b"ann " + answer))
            talk.client.wait(1)
            self.assertEqual([line[:3] for line in heard + talk.heard()], [code])
            self.assertEqual(bool(talk.protocol.session.authenticated), code == "235")

    def test_cram_unknown(self) -> None:
        """
        It has an error there, which nobody outside gets to read.
        """
        talk = self.opened(fixture_handler([]))
        talk.say("AUTH CRAM-MD5")
        self.assertEqual(talk.say(b64(b"eve 0")), ["454 4.7.0 Temporary authentication failure"])
        self.assertFalse(talk.protocol.session.authenticated)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_login(self) -> None:
        talk = self.opened(fixture_handler([]))
        self.assertEqual(talk.say(f"AUTH LOGIN {b64(b'ann')}"), [f"334 {b64(b'Password')}"])
        self.assertEqual(talk.say("*"), ["501 5.7.0 Authentication aborted"])
        self.assertEqual(talk.say("AUTH LOGIN", b64(b"ann"))[0], "334 ")
        self.assertEqual(talk.say(b64(b"wonderland"))[0][:3], "235")
        self.assertEqual(talk.protocol.session.auth_data, "ann")


class RealTests(SynchronousTestCase):
    def test_lmtp_runner(self) -> None:
        runner = make_handler(f"{__name__}.LMTPRunner")
        talk = Talk(runner, protocol=LMTP)
        talk.say("LHLO mta.example")
        heard = talk.mail(
            "ant@example.org",
            "cat@example.org",
            "Bee-Request@example.org",
            content="Message-ID: <1@x>\r\n\r\nHi\r\n",
        )
        refused = "550 5.0.0 Requested action not taken: mailbox unavailable"
        self.assertEqual(heard[-3:], ["250 2.0.0 Ok", refused, "250 2.0.0 Ok"])
        queued = [(queue, name) for queue, name, _ in runner.handler.queued]
        self.assertEqual(queued, [("in", "ant@example.org"), ("command", "bee@example.org")])
        self.assertEqual(runner.handler.queued[0][2]["X-MailFrom"], "ann@example.com")
        self.assertEqual(talk.mail("cat@example.org", content="A: b\r\n\r\n")[-1], refused)
        defective = "Content-Type: multipart/mixed\r\n\r\n"
        heard = talk.mail("ant@example.org", "bee@example.org", content=defective)
        self.assertEqual(heard[-2:], ["501 5.0.0 Message has defects"] * 2)

    def test_store(self) -> None:
        adapted = make_handler(f"{__name__}.Store")
        store = adapted.handler
        talk = Talk(adapted)
        talk.greet()
        heard = talk.mail("bob@example.org", "eve@example.net", content="Hello\r\n")
        self.assertEqual(heard[2], "550 5.1.1 No such user")
        self.assertEqual(heard[-1], "250 2.0.0 OK")
        expected = {
            "from": "ann@example.com",
            "options": [[], []],
            "content": "Hello\r\n",
            "to": ["bob@example.org"],
            "ip": "192.0.2.1",
            "utf8": False,
        }
        self.assertEqual(json.loads(store.stored[0]), expected)
        store.bad.add("192.0.2.1")
        refused = "554 5.7.1 Service unavailable; client host blocked"
        self.assertEqual(talk.say("MAIL FROM:<ann@example.com>"), [refused])

    def test_store_fails(self) -> None:
        talk = Talk(make_handler(f"{__name__}.Store"))
        talk.greet()
        talk.say("MAIL FROM:<a@b>", "RCPT TO:<bob@example.org>", "DATA")
        talk.client.send(b"\xff\r\n.\r\n")
        self.assertEqual(talk.heard(), ["451 4.3.0 Temporary failure storing message."])

    def test_gateway(self) -> None:
        adapted = make_handler(f"{__name__}.Gateway")
        adapted.handler.open = False
        talk = Talk(adapted)
        self.assertEqual(talk.greet(), ["450 4.0.0 upstream is away"])
        self.assertEqual(talk.say("MAIL FROM:<a@b>")[0][:3], "503")
        adapted.handler.open = True
        talk.greet()
        self.assertEqual(talk.say("MAIL FROM:<a@b>", "RSET"), ["250 2.1.0 ok", "250 2.0.0 OK"])
        self.assertEqual(talk.mail()[-1], "250 2.0.0 ['ann@example.com']")

    def test_inbox(self) -> None:
        """
        There, the second reply is taken for that to the next command.
        """
        adapted = make_handler(f"{__name__}.Inbox")
        talk = Talk(adapted)
        talk.greet()
        heard = talk.mail("a@example.org", "poison@example.org", "b@example.org")
        self.assertEqual(heard[2], "550 5.1.0 Error: Not touching that")
        self.assertEqual(heard[-2:], ["250-2.0.0 OK", "250 2.0.0 OK"])
        self.assertEqual(talk.say("NOOP"), ["250 2.0.0 OK"])
        self.assertEqual(adapted.handler.messages, [b"Hello\r\n"])

    def test_bridge(self) -> None:
        posted = []

        def post(body: str) -> int:
            posted.append(json.loads(body))
            if posted[-1]["subject"] == "down":
                raise OSError
            return {"bad": 422, "broken": 500}.get(posted[-1]["subject"], 204)

        async def test() -> None:
            talk = Talk(adapters.adapt(Bridge(post)))
            talk.greet()
            codes = []
            for subject in ("fine", "thread", "bad", "broken", "down"):
                talk.mail(content=f"Subject: {subject}\r\n\r\n")
                heard: list[str] = []
                while not heard:
                    await asyncio.sleep(0.001)
                    heard = await settle(talk)
                codes.append(heard[0][:3])
            self.assertEqual(codes, ["250", "250", "554", "451", "451"])
            self.assertEqual(
                posted[0],
                {
                    "from": "ann@example.com",
                    "to": ["bob@example.org"],
                    "subject": "fine",
                    "peer": "192.0.2.1",
                },
            )

        in_loop(test())

    def test_submission(self) -> None:
        relay = Submission()
        talk = Talk(adapters.adapt(relay))
        self.assertNotIn("250-DSN", talk.greet())
        self.assertEqual(talk.say("MAIL FROM:<ann@x>"), ["530 5.7.0 Authentication required"])
        talk.say("AUTH LOGIN", b64(b"ann"), b64(b"alice"))
        talk.client.wait(1)
        self.assertEqual(talk.heard(), ["535 5.7.8 Wrong user or password"])
        talk.say("AUTH LOGIN", b64(b"ann"))
        self.assertEqual(talk.say(b64(b"wonderland"))[0][:3], "235")
        self.assertEqual(
            talk.say("MAIL FROM:<eve@x>"), ["553 5.7.1 Sender address rejected: not owned by user"]
        )
        self.assertEqual(talk.mail()[-1], "250 2.0.0 Ok: queued as 1")
        self.assertEqual(relay.sent, [("client.example", 2, "ann@example.com")])

    def test_without_aiosmtpd(self) -> None:
        """
        What is like its classes will do.
        """

        class Handler:
            async def auth_OWN(self, server: Any, args: list[str]) -> Any:
                return SimpleNamespace(
                    success=True, handled=True, message=None, auth_data={"name": "Ann"}
                )

        talk = Talk(adapters.adapt(Handler()))
        talk.greet()
        self.assertEqual(talk.say("AUTH OWN")[0][:3], "235")
        self.assertEqual(talk.protocol.session.auth_data, {"name": "Ann"})
