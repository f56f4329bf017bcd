"""
Tests for :mod:`txsmtpd.extensions.requiretls`.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.extensions.requiretls import RequireTLS
from txsmtpd.testing import RecordingHandler, connect, make_factory
from txsmtpd.tls import self_signed

from .corekit import EXTENSIONS, Client


class RequireTLSTests(SynchronousTestCase):
    """
    RFC 8689.
    """

    def client(self, ssl: dict[str, Any] | None) -> Client:
        client = Client(extensions=(*EXTENSIONS, RequireTLS))
        client.dialog.session.ssl = ssl
        return client

    def mail(self, parameters: str, ssl: dict[str, Any] | None) -> tuple[str, bool]:
        """
        What MAIL says, and whether the envelope has it.
        """
        client = self.client(ssl)
        client.say("EHLO client.example")
        (said,) = client.say(f"MAIL FROM:<a@b> {parameters}")
        return said, client.envelope.require_tls

    def test_keyword(self) -> None:
        """
        It is offered over TLS, whatever is known about that.
        """
        for ssl in (None, {}, {"version": "TLSv1.3"}):
            (reply,) = self.client(ssl).send(b"EHLO client.example\r\n")
            self.assertIs(ssl is not None, "REQUIRETLS" in reply.lines)

    def test_asked_for(self) -> None:
        for parameters in ("REQUIRETLS", "RequireTLS", "SIZE=1 REQUIRETLS"):
            self.assertEqual(("250 2.1.0", True), self.mail(parameters, {}))

    def test_not_asked_for(self) -> None:
        self.assertEqual(("250 2.1.0", False), self.mail("", None))
        self.assertEqual(("250 2.1.0", False), self.mail("", {}))

    def test_in_the_clear(self) -> None:
        self.assertEqual(("555 5.5.4", False), self.mail("REQUIRETLS", None))

    def test_for_one_transaction(self) -> None:
        client = self.client({})
        client.say("EHLO client.example", "MAIL FROM:<a@b> REQUIRETLS", "RSET", "MAIL FROM:<a@b>")
        self.assertFalse(client.envelope.require_tls)

    def test_malformed(self) -> None:
        for parameters in ("REQUIRETLS=1", "REQUIRETLS=", "REQUIRETLS REQUIRETLS"):
            self.assertEqual(("501 5.5.4", False), self.mail(parameters, {}))

    def test_not_for_rcpt(self) -> None:
        client = self.client({})
        client.say("EHLO client.example", "MAIL FROM:<a@b> REQUIRETLS")
        self.assertEqual(["555 5.5.4"], client.say("RCPT TO:<a@b> REQUIRETLS"))


class OverTLSTests(SynchronousTestCase):
    """
    The same with a handshake.
    """

    def test_offered(self) -> None:
        """
        It is there when TLS is, and the one who delivers the message learns of it.
        """
        handler: Any = RecordingHandler()
        handler.honours = ("REQUIRETLS",)
        client = connect(make_factory(handler, context_factory=self_signed("mx.example")))
        client.take()
        mail = b"MAIL FROM:<ann@example.org> REQUIRETLS\r\n"
        client.send(b"EHLO client.example\r\n" + mail)
        said = client.take()
        self.assertNotIn(b"REQUIRETLS", said)
        self.assertIn(b"\r\n555 5.5.4 ", said)
        client.send(b"STARTTLS\r\n")
        self.assertTrue(client.take().startswith(b"220 2.0.0 "))
        client.start_tls()
        client.send(b"EHLO client.example\r\n" + mail)
        said = client.take()
        self.assertIn(b"\r\n250-REQUIRETLS\r\n", said)
        self.assertTrue(said.endswith(b"\r\n250 2.1.0 Sender OK\r\n"), said)
        client.send(b"RCPT TO:<bob@example.net>\r\nBDAT 4 LAST\r\n\r\nx\n")
        (message,) = handler.messages
        self.assertTrue(message.envelope.require_tls)
        self.assertEqual("ESMTPS", message.envelope.protocol)
