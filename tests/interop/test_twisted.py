"""
Mail from the client that comes with Twisted.
"""

from __future__ import annotations

from collections import Counter
from io import BytesIO
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.mail.smtp import ESMTPSenderFactory, SMTPDeliveryError, sendmail
from twisted.trial.unittest import TestCase

from .messages import BINARY, MESSAGES, large
from .server import DEADLINE, InteropTestCase, Server

ANN, BOB = b"ann@example.com", b"bob@example.org"
SMALL = b"Subject: x\r\n\r\nbody\r\n"

#: What it changes: it doubles dots only behind a newline.
CHANGED = frozenset({"a first line that begins with a dot"})


class TwistedTests(InteropTestCase, TestCase):
    #: Of each test, for trial.
    timeout = 4 * DEADLINE

    def sendmail(
        self,
        server: Server,
        content: bytes,
        sender: bytes = BOB,
        recipients: tuple[bytes, ...] = (ANN,),
    ) -> Deferred[Any]:
        sending: Deferred[Any] = sendmail(
            "127.0.0.1",
            sender,
            list(recipients),
            # It makes CRLF of every LF.
            content.replace(b"\r\n", b"\n"),
            senderDomainName="client.example.org",
            port=server.port,
            reactor=reactor,
        )
        return sending

    async def test_content(self) -> None:
        server = self.serve()
        for what, content in {**MESSAGES, "binary": BINARY}.items():
            if what not in CHANGED:
                count, _ = await self.sendmail(server, content)
                self.assertEqual(count, 1, what)
                self.assertDelivered(server, content, what=what)

    async def test_large(self) -> None:
        """
        It doubles no dot right behind where it has cut its file, so here are none.
        """
        server = self.serve()
        content = large(5 * 2**20).replace(b".", b"-")
        await self.sendmail(server, content)
        self.assertDelivered(server, content)

    async def test_envelope(self) -> None:
        server = self.serve()
        tos = (ANN, b"carol@example.com")
        count, answers = await self.sendmail(server, SMALL, b"", (*tos, b"a@@b.org"))
        self.assertEqual(count, 2)
        self.assertEqual(
            [(to, code) for to, code, _ in answers], [(ANN, 250), (tos[1], 250), (b"a@@b.org", 501)]
        )
        message = self.assertDelivered(
            server, SMALL, sender="", recipients=tuple(to.decode() for to in tos)
        )
        self.assertTrue(message.received.startswith("from client.example.org ([127.0.0.1]) by "))

    async def test_factory(self) -> None:
        """
        As a program uses it that wants more than ``sendmail`` can do.
        """
        server = self.serve()
        done: Deferred[Any] = Deferred()
        factory = ESMTPSenderFactory(
            None,
            None,
            BOB,
            ANN,
            BytesIO(SMALL.replace(b"\r\n", b"\n")),
            done,
            heloFallback=True,
            requireAuthentication=False,
            requireTransportSecurity=False,
        )
        reactor.connectTCP("127.0.0.1", server.port, factory, DEADLINE)
        self.assertEqual((await done)[0], 1)
        self.assertIn(" with ESMTP id ", self.assertDelivered(server, SMALL).received)

    async def test_refused(self) -> None:
        server = self.serve("--size-limit", "1000")
        for sending, code in (
            (self.sendmail(server, b"x" * 999 + b"\r\n"), 552),
            (self.sendmail(server, SMALL, sender=b"b" * 65 + b"@example.org"), 501),
            (self.sendmail(server, SMALL, recipients=(b"ann@@example.com",)), 501),
        ):
            error = await self.assertFailure(sending, SMTPDeliveryError)
            self.assertEqual(error.code, code)
        self.assertEqual(server.take(), [])

    async def test_parallel(self) -> None:
        server = self.serve()
        contents = [b"Subject: %d\r\n\r\n.body\r\n" % number for number in range(50)]
        await gatherResults([self.sendmail(server, content) for content in contents])
        found = [message.content for message in server.take()]
        self.assertEqual(Counter(found), Counter(contents))
