"""
Tests for txsmtpd.handlers.relay.flow.
"""

from __future__ import annotations

from twisted.internet.interfaces import IPushProducer
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsmtpd.handlers.relay.flow import Flow


class FlowTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.changes: list[bool] = []
        self.flow = Flow(self.changes.append)

    def test_producer(self) -> None:
        self.assertTrue(verifyObject(IPushProducer, self.flow))

    def test_free(self) -> None:
        self.assertIsNone(self.flow.ready())

    def test_paused(self) -> None:
        self.flow.pauseProducing()
        ready = self.flow.ready()
        assert ready is not None
        self.assertNoResult(ready)
        self.flow.resumeProducing()
        self.assertIsNone(self.successResultOf(ready))
        self.assertIsNone(self.flow.ready())
        self.assertEqual(self.changes, [True, False])

    def test_nobody_waits(self) -> None:
        self.flow.pauseProducing()
        self.flow.resumeProducing()
        self.flow.fail(ValueError())
        self.flow.stopProducing()
        self.assertIsNone(self.flow.ready())

    def test_in_vain(self) -> None:
        self.flow.pauseProducing()
        ready = self.flow.ready()
        assert ready is not None
        self.flow.fail(ValueError("gone"))
        self.failureResultOf(ready, ValueError)
        self.flow.resumeProducing()

    def test_who_waited_has_gone(self) -> None:
        self.flow.pauseProducing()
        ready = self.flow.ready()
        assert ready is not None
        ready.addErrback(lambda _: None).cancel()
        self.flow.fail(ValueError("gone"))
