"""
The trial suite of an application that sends mail.

Run it with ``python -m twisted.trial examples.test_signup``.
"""

from __future__ import annotations

import re
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactor
from twisted.mail.smtp import SMTPDeliveryError
from twisted.trial.unittest import SynchronousTestCase, TestCase

from examples.signup import NoSuchAddress, SignUp
from txsmtpd.testing import Client, RecordingHandler, assert_message, connect, make_factory, serve


class RealServerTests(TestCase):
    """
    With a mail server on a real port.
    """

    async def setUp(self) -> None:  # type: ignore[override]  # trial waits for it
        self.mail = RecordingHandler({"RCPT": self.judge})
        self.server = await serve(self, self.mail)
        self.signup = SignUp(reactor, self.server.host, self.server.port)

    def judge(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> Any:
        return "550 5.1.1 No such user" if address.startswith("nobody@") else None

    async def test_invitation(self) -> None:
        await self.signup.invite("Zoë", "zoe@example.org", "t0ken")
        assert_message(
            await self.mail.wait_for(1),
            sender="welcome@app.example",
            recipients=["zoe@example.org"],
            to="Zoë <zoe@example.org>",
            subject="Welcome, Zoë",
            body="Hello Zoë,\n\nhttps://app.example/confirm?t0ken",
        )

    async def test_several(self) -> None:
        """
        Who does not care about the order waits for the message that matters.
        """
        invitations = [
            Deferred.fromCoroutine(self.signup.invite(name, f"{name}@example.org", name))
            for name in ("ann", "bob")
        ]
        to_bob = await self.mail.wait_for(lambda message: "bob@example.org" in message.rcpt_tos)
        assert_message(to_bob, subject="Welcome, bob", body=re.compile(r"/confirm\?bob$"))
        for invitation in invitations:
            await invitation

    async def test_no_such_address(self) -> None:
        with self.assertRaises(NoSuchAddress):
            await self.signup.invite("Nobody", "nobody@example.org", "t0ken")
        self.assertEqual([], self.mail.messages, self.mail.account)


class InMemoryTests(SynchronousTestCase):
    """
    The same without a network, and with time in the hands of the test.
    """

    def invite(self, client: Client) -> Deferred[None]:
        """
        Invite someone, over this connection to a mail server.
        """
        memory = MemoryReactor()
        signup = SignUp(memory, "mail.example", 25)
        invitation = Deferred.fromCoroutine(signup.invite("Ann", "ann@example.org", "t0ken"))
        ((host, port, factory, _, _),) = memory.tcpClients
        self.assertEqual(("mail.example", 25), (host, port))
        protocol = factory.buildProtocol(client.transport.getHost())
        assert protocol is not None
        client.attach(protocol)
        return invitation

    def test_invitation(self) -> None:
        mail = RecordingHandler()
        client = connect(make_factory(mail))
        self.successResultOf(self.invite(client))
        assert_message(self.successResultOf(mail.wait_for(1)), subject="Welcome, Ann")
        self.assertTrue(client.closed)

    def test_slow_server(self) -> None:
        """
        It waits as long as the mail server takes.
        """
        verdict: Deferred[str] = Deferred()
        mail = RecordingHandler({"DATA": lambda *context: verdict})
        client = connect(make_factory(mail))
        invitation = self.invite(client)
        client.wait(100)
        self.assertNoResult(invitation)
        verdict.callback("250 2.0.0 At last")
        client.pump()
        self.successResultOf(invitation)

    def test_busy_server(self) -> None:
        """
        A refusal that may not last is no judgement of the address.
        """
        mail = RecordingHandler({"RCPT": "450 4.2.1 Come back later"})
        self.failureResultOf(self.invite(connect(make_factory(mail))), SMTPDeliveryError)
        self.assertEqual([], mail.messages, mail.account)
