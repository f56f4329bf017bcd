"""
Handlers as people have written them, through the adapters: the examples of aiosmtpd's
documentation, and three of the kinds that public projects have, each written anew from what its
documentation says it does.

They use aiosmtpd's own classes where that is installed, because handlers do.
"""

from __future__ import annotations

import asyncio
import io
import json
from contextlib import redirect_stdout
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


class LMTPRunner:
    """
    Of the kind of a mailing list manager's LMTP runner: a sub-address decides which queue a
    message goes to, unknown lists are refused at RCPT, and what the message says of itself is
    checked at the end.
    """

    QUEUES = ("bounces", "confirm", "join", "leave", "owner", "request")

    def __init__(self, lists: set[str]) -> None:
        self.lists = lists
        self.queued: list[tuple[str, str, Any]] = []

    def _split(self, address: str) -> tuple[str, str]:
        local, _, domain = address.lower().partition("@")
        name, dash, queue = local.rpartition("-")
        if dash and queue in self.QUEUES:
            return f"{name}@{domain}", queue
        return f"{local}@{domain}", "in"

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, to: str, rcpt_options: list[str]
    ) -> str:
        if self._split(to)[0] not in self.lists:
            return "550 Requested action not taken: mailbox unavailable"
        envelope.rcpt_tos.append(to)
        return "250 Ok"

    async def handle_MAIL(
        self, server: Any, session: Any, envelope: Any, address: str, mail_options: list[str]
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(mail_options)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        message = message_from_bytes(envelope.content)
        if message["message-id"] is None:
            return "550 No Message-ID header provided"
        del message["x-mailfrom"]
        message["X-MailFrom"] = envelope.mail_from
        for address in envelope.rcpt_tos:
            name, queue = self._split(address)
            self.queued.append((queue, name, message))
        return "250 Ok"


class Bridge:
    """
    Of the kind of a bridge from SMTP to a web service: it collects the message into a JSON object,
    posts it in a thread, because its HTTP client blocks, and tells the sender what came of it.
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


class RealTests(SynchronousTestCase):
    def test_lmtp_runner(self) -> None:
        runner = LMTPRunner({"ant@example.org"})
        talk = Talk(adapters.adapt(runner), protocol=LMTP)
        talk.say("LHLO mta.example")
        heard = talk.mail(
            "ant@example.org",
            "bee@example.org",
            "Ant-Request@example.org",
            content="Message-ID: <1@x>\r\nX-MailFrom: forged\r\n\r\nHi\r\n",
        )
        self.assertEqual(heard[2], "550 5.1.0 Requested action not taken: mailbox unavailable")
        self.assertEqual(heard[-2:], ["250 2.0.0 Ok"] * 2)
        queued = [(queue, name) for queue, name, _ in runner.queued]
        self.assertEqual(queued, [("in", "ant@example.org"), ("request", "ant@example.org")])
        self.assertEqual(runner.queued[0][2]["X-MailFrom"], "ann@example.com")
        heard = talk.mail("ant@example.org", content="Subject: x\r\n\r\n")
        self.assertEqual(heard[-1], "550 5.0.0 No Message-ID header provided")

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
            for subject in ("fine", "bad", "broken", "down"):
                talk.mail(content=f"Subject: {subject}\r\n\r\n")
                heard: list[str] = []
                while not heard:
                    await asyncio.sleep(0.001)
                    heard = await settle(talk)
                codes.append(heard[0][:3])
            self.assertEqual(codes, ["250", "554", "451", "451"])
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
