"""
The tests of the tutorial's handler.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from examples.handler import Printer
from txsmtpd.testing import connect, make_factory


class PrinterTests(SynchronousTestCase):
    def test_other_domain(self) -> None:
        client = connect(make_factory(Printer()))
        client.send(b"EHLO client.example\r\nMAIL FROM:<ann@example.com>\r\n")
        client.take()
        client.send(b"RCPT TO:<bob@example.net>\r\n")
        self.assertEqual(client.take(), b"550 5.7.1 We do not take mail for that domain\r\n")
