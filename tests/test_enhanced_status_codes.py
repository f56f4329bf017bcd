"""
Tests for :mod:`txsmtpd.extensions.enhanced_status_codes`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.session import Session
from txsmtpd.core.settings import Settings
from txsmtpd.extensions.enhanced_status_codes import EnhancedStatusCodes

from .corekit import OPENING, Client


class EnhancedStatusCodesTests(SynchronousTestCase):
    """
    RFC 2034.
    """

    def test_keyword(self) -> None:
        extension = EnhancedStatusCodes(Settings())
        self.assertEqual("ENHANCEDSTATUSCODES", extension.keyword(Session()))

    def test_every_reply(self) -> None:
        """
        Every reply has a code of its own class, but for the greeting, EHLO, HELO and 354.
        """
        client = Client()
        client.greet()
        client.say(
            "HELO a", *OPENING, "DATA", "x", ".", *OPENING, "BDAT 2\r\n", "BDAT 2 LAST\r\n", "RSET",
            "NOOP", "HELP", "VRFY a", "EXPN a", "FROB", "MAIL", "RCPT", "DATA", "EHLO", "NOOP a\tb",
            "MAIL FROM:<x>", "MAIL FROM:<a@b> X", "QUIT x", "QUIT",
        )  # fmt: skip
        plain = [reply for reply in client.replies if reply.status is None]
        self.assertEqual([220, 250, 250, 354, 250], [reply.code for reply in plain])
        for reply in client.replies:
            if reply.status is not None:
                self.assertEqual(str(reply.code)[0], reply.status[0])
