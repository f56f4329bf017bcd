"""
Tests for txsmtpd.handlers.sink.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsmtpd.core.session import Envelope, Session
from txsmtpd.handlers import Sink
from txsmtpd.interfaces import IContentHook, IContentReceiver


class SinkTests(SynchronousTestCase):
    """
    The handler that forgets.
    """

    def test_interfaces(self) -> None:
        sink = Sink()
        verifyObject(IContentHook, sink)
        verifyObject(IContentReceiver, sink.open_content(None, Session(), Envelope()))

    def test_accepts(self) -> None:
        """
        Nothing is waited for, and nothing is refused.
        """
        receiver: Any = Sink().open_content(None, Session(), Envelope())
        self.assertIsNone(receiver.write(b"Subject: x\r\n\r\n"))
        self.assertIsNone(receiver.finish())
        self.assertIsNone(receiver.abort("connection lost"))

    def test_costs_nothing(self) -> None:
        """
        All messages share one receiver.
        """
        first = Sink().open_content(None, Session(), Envelope())
        self.assertIs(first, Sink().open_content(None, Session(), Envelope()))

    def test_no_argument(self) -> None:
        self.assertIsInstance(Sink.from_spec(None), Sink)
        error = self.assertRaises(ValueError, Sink.from_spec, "")
        self.assertEqual("sink takes no argument", str(error))
