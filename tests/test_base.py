"""
Tests for :mod:`txsmtpd.extensions.base`.
"""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.session import Envelope, Parameters, Session
from txsmtpd.core.settings import Settings
from txsmtpd.extensions.base import Extension, flag, of_parameters, utc_now

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
        self.assertEqual((), extension.others)
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
            (made.gates, made.mail_checks.all, made.rcpt_checks.all, made.content_checks),
        )

    def test_asked(self) -> None:
        """
        A role that is played is played, though its model is marked.
        """

        class Gate(Extension):
            def gate(self, session: Session, verb: str) -> None:
                return super().gate(session, verb)  # type: ignore[return-value]

        self.assertEqual(1, len(rules(extensions=(Gate,)).gates))

    def test_asked_about_parameters(self) -> None:
        """
        Who judges parameters is not asked about a command that has none.
        """
        asked: list[tuple[str, list[str]]] = []

        class Judge(Extension):
            def mail_parameters(self) -> dict[str, Any]:
                return {"FROB": lambda session, value: value}

            rcpt_parameters = mail_parameters

            @of_parameters
            def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
                asked.append(("MAIL", options))

            @of_parameters
            def check_rcpt(self, session: Session, envelope: Envelope, options: Parameters) -> None:
                asked.append(("RCPT", options))

            def keyword(self, session: Session) -> str:
                return "FROB"

        client = Client(extensions=(Judge,))
        client.say("EHLO client.example")
        client.say("MAIL FROM:<a@b>", "RCPT TO:<c@d>", "RSET")
        self.assertEqual([], asked)
        client.say("MAIL FROM:<a@b> FROB=1", "RCPT TO:<c@d> FROB=2", "RCPT TO:<e@f>")
        self.assertEqual([("MAIL", ["FROB=1"]), ("RCPT", ["FROB=2"])], asked)

    def test_init_of_its_own(self) -> None:
        """
        Nothing but `meet` is wanted to know the others.
        """

        class Own(Once):
            def __init__(self, settings: Settings) -> None:
                pass

        own = Own(Settings())
        self.assertFalse(own.beside(Twice, Session(ssl={})))
        own.meet([Twice(Settings())])
        self.assertTrue(own.beside(Twice, Session(ssl={"version": "TLSv1.3"})))

    def test_dialog(self) -> None:
        client = Client(extensions=(Extension,))
        (reply,) = client.send(b"EHLO client.example\r\n")
        self.assertEqual(("mx.example", "HELP"), reply.lines)


class Once(Extension):
    """
    Is offered where the other is not.
    """

    def keyword(self, session: Session) -> str | None:
        return None if self.beside(Twice, session) else "ONCE"


class Twice(Extension):
    """
    Is offered over TLS.
    """

    def keyword(self, session: Session) -> str | None:
        return "TWICE 2" if session.ssl else None


class OthersTests(SynchronousTestCase):
    """
    An extension may depend on others.
    """

    def test_meet(self) -> None:
        once, *others = (Once(Settings()) for _ in range(3))
        once.meet(others)
        self.assertEqual(others, once.others)

    def test_beside(self) -> None:
        """
        What counts is whether it is offered in that session, also where somebody has derived from
        it.
        """

        class Thrice(Twice):
            pass

        clear, secret = Session(), Session(ssl={"version": "TLSv1.3"})
        for other in (Twice, Thrice):
            once = Once(Settings())
            once.meet([Extension(Settings()), other(Settings())])
            self.assertFalse(once.beside(Twice, clear))
            self.assertTrue(once.beside(Twice, secret))
        self.assertFalse(Once(Settings()).beside(Twice, secret))
        once.meet([Twice(Settings())])
        self.assertFalse(once.beside(Thrice, secret))

    def test_dialog(self) -> None:
        for extensions in ((Once, Twice), (Twice, Once)):
            client = Client(extensions=extensions)
            (clear,) = client.send(b"EHLO client.example\r\n")
            self.assertEqual(("mx.example", "ONCE", "HELP"), clear.lines)
            client.session.ssl = {"version": "TLSv1.3"}
            (secret,) = client.send(b"EHLO client.example\r\n")
            self.assertEqual(("mx.example", "TWICE 2", "HELP"), secret.lines)


class NowTests(SynchronousTestCase):
    """
    What time it is.
    """

    def test_reactor(self) -> None:
        clock = Clock()
        clock.advance(1_893_499_200.5)
        now = utc_now(Session(reactor=clock))
        self.assertEqual(datetime(2030, 1, 1, 12, 0, 0, 500_000, timezone.utc), now)
        self.assertEqual(timedelta(0), now.utcoffset())

    def test_no_connection(self) -> None:
        self.assertEqual(datetime(1970, 1, 1, tzinfo=timezone.utc), utc_now(Session()))


class FlagTests(SynchronousTestCase):
    """
    A parameter that takes no value.
    """

    def test_flag(self) -> None:
        self.assertIs(True, flag(Session(), None))

    def test_value(self) -> None:
        self.assertRaises(ValueError, flag, Session(), "1")
        self.assertRaises(ValueError, flag, Session(), "")
