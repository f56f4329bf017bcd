"""
Tests for :mod:`txsmtpd.extensions.requiretls`.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.extensions.requiretls import RequireTLS

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
