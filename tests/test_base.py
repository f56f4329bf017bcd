"""
Tests for :mod:`txsmtpd.extensions.base`.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.session import Envelope, Parameters, Session
from txsmtpd.core.settings import Settings
from txsmtpd.extensions.base import Extension, flag

from .corekit import Client, rules


class ExtensionTests(SynchronousTestCase):
    """
    An extension does nothing unless it says so.
    """

    def test_nothing(self) -> None:
        settings, session, envelope = Settings(), Session(), Envelope()
        extension: Any = Extension(settings)
        self.assertIs(settings, extension.settings)
        self.assertIsNone(extension.keyword(session))
        for empty in ("mail_parameters", "rcpt_parameters", "verbs", "rows"):
            self.assertEqual({}, getattr(extension, empty)())
        self.assertIsNone(extension.gate(session, "MAIL"))
        self.assertIsNone(extension.check_mail(session, envelope, Parameters()))
        self.assertIsNone(extension.check_rcpt(session, envelope, Parameters()))
        self.assertIsNone(extension.check_content(session, envelope, "DATA"))
        self.assertEqual(Envelope().rcpt_tos, envelope.rcpt_tos)

    def test_not_asked(self) -> None:
        """
        No time is spent on asking.
        """
        made = rules(extensions=(Extension,))
        self.assertEqual(
            ((), (), (), ()),
            (made.gates, made.mail_checks, made.rcpt_checks, made.content_checks),
        )

    def test_asked(self) -> None:
        """
        A role that is played is played, though its model is marked.
        """

        class Gate(Extension):
            def gate(self, session: Session, verb: str) -> None:
                return super().gate(session, verb)  # type: ignore[return-value]

        self.assertEqual(1, len(rules(extensions=(Gate,)).gates))

    def test_dialog(self) -> None:
        client = Client(extensions=(Extension,))
        (reply,) = client.send(b"EHLO client.example\r\n")
        self.assertEqual(("mx.example", "HELP"), reply.lines)


class FlagTests(SynchronousTestCase):
    """
    A parameter that takes no value.
    """

    def test_flag(self) -> None:
        self.assertIs(True, flag(Session(), None))

    def test_value(self) -> None:
        self.assertRaises(ValueError, flag, Session(), "1")
        self.assertRaises(ValueError, flag, Session(), "")
