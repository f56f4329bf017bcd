"""
Tests for the names that the package has.
"""

from __future__ import annotations

import subprocess
import sys

from twisted.trial.unittest import SynchronousTestCase

import txsmtpd
from txsmtpd import factory, overrides, protocol


class NamesTests(SynchronousTestCase):
    def test_all(self) -> None:
        for name in txsmtpd.__all__:
            self.assertIsNotNone(getattr(txsmtpd, name), name)

    def test_names_that_want_twisted(self) -> None:
        self.assertIs(txsmtpd.SMTPFactory, factory.SMTPFactory)
        self.assertIs(txsmtpd.SMTP, protocol.SMTP)
        self.assertIs(txsmtpd.syntax, overrides.syntax)

    def test_unknown_name(self) -> None:
        error = self.assertRaises(AttributeError, getattr, txsmtpd, "LMTPFactory")
        self.assertEqual(str(error), "module 'txsmtpd' has no attribute 'LMTPFactory'")

    def test_import_without_twisted(self) -> None:
        """
        What only wants the core, such as a handler, does not import Twisted.
        """
        program = "import sys, txsmtpd.core.dialog; sys.exit('twisted' in sys.modules)"
        done = subprocess.run(
            [sys.executable, "-c", program], env={"PYTHONPATH": ":".join(sys.path)}
        )
        self.assertEqual(done.returncode, 0)
