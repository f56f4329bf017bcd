"""
Tests for txsmtpd.handlers.relay.timeouts.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.handlers.relay import Timeouts


class TimeoutsTests(SynchronousTestCase):
    def test_values(self) -> None:
        self.assertEqual(Timeouts(connect=5).connect, 5.0)
        self.assertRaises(ValueError, Timeouts, command=0)
