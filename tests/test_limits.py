"""
Tests for :mod:`txsmtpd.extensions.limits`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from .corekit import Client


class LimitsTests(SynchronousTestCase):
    """
    RFC 9422.
    """

    def test_keyword(self) -> None:
        (reply,) = Client(max_recipients=7).send(b"EHLO client.example\r\n")
        self.assertIn("LIMITS RCPTMAX=7", reply.lines)

    def test_no_limit(self) -> None:
        (reply,) = Client(max_recipients=0).send(b"EHLO client.example\r\n")
        self.assertNotIn("LIMITS", " ".join(reply.lines))
