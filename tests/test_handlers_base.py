"""
Tests for :mod:`txsmtpd.handlers.base`.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.handlers.base import local_time, shielded


class SharedTests(SynchronousTestCase):
    """
    What handlers share.
    """

    def test_time_has_a_zone(self) -> None:
        self.assertIsNotNone(local_time().tzinfo)

    def test_shield(self) -> None:
        """
        What is behind it is not cancelled, and its result is nobody's then.
        """
        for result in (1, Failure(ZeroDivisionError())):
            told: list[str] = []
            inner: Deferred[Any] = Deferred(lambda _: self.fail("cancelled"))
            outer = shielded(inner, partial(told.append, "given up"))
            outer.cancel()
            self.failureResultOf(outer, CancelledError)
            self.assertEqual(told, ["given up"])
            inner.callback(result)
            self.assertIsNone(self.successResultOf(inner))

    def test_shield_passes_on(self) -> None:
        inner: Deferred[int] = Deferred()
        outer = shielded(inner, self.fail)
        inner.callback(1)
        self.assertEqual(self.successResultOf(outer), 1)
        inner = Deferred()
        outer = shielded(inner, self.fail)
        inner.errback(ZeroDivisionError())
        self.failureResultOf(outer, ZeroDivisionError)
