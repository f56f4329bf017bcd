"""
Tests for :mod:`txsmtpd.core.outcomes`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.outcomes import CLOSE, Body, Close, Outcome, Verb
from txsmtpd.core.replies import BAD_SEQUENCE, OK


def frob(context: object, argument: str) -> Outcome:
    return Outcome((OK,))


class OutcomeTests(SynchronousTestCase):
    """
    What comes of a command.
    """

    def test_nothing(self) -> None:
        outcome = Outcome()
        self.assertEqual(((), None), (outcome.replies, outcome.then))

    def test_closed_set(self) -> None:
        self.assertEqual([CLOSE], list(Close))


class VerbTests(SynchronousTestCase):
    """
    One command of the protocol.
    """

    def test_defaults(self) -> None:
        """
        A verb is refused with just the reply, wants no EHLO, and has RFC 5321's line or more.
        """
        verb = Verb(frob, "FROB")
        outcome = verb.refused(None, "", BAD_SEQUENCE)
        self.assertEqual(((BAD_SEQUENCE,), None), (outcome.replies, outcome.then))
        self.assertEqual((False, False, False), (verb.extended, verb.leads, verb.follows))
        self.assertEqual((2048, 500), (verb.line_limit, verb.too_long.code))


class BodyTests(SynchronousTestCase):
    """
    Content that is to be read.
    """

    def test_defaults(self) -> None:
        """
        There is some, unless we hear otherwise.
        """
        reader: object = object()
        body = Body(reader, reader, None)  # type: ignore[arg-type]
        self.assertFalse(body.empty)
