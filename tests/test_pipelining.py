"""
Tests for :mod:`txsmtpd.extensions.pipelining`: that it works is the protocol's.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.session import Session
from txsmtpd.core.settings import Settings
from txsmtpd.extensions.pipelining import Pipelining


class PipeliningTests(SynchronousTestCase):
    """
    RFC 2920.
    """

    def test_keyword(self) -> None:
        self.assertEqual("PIPELINING", Pipelining(Settings()).keyword(Session()))
