"""
Tests for :mod:`txsmtpd.core.rules`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.outcomes import Outcome, Verb
from txsmtpd.core.replies import OK, Reply
from txsmtpd.core.rules import Rules, make_rules
from txsmtpd.core.session import Envelope, Parameters, Session
from txsmtpd.core.settings import Settings
from txsmtpd.core.states import CONTENT, READY, REFUSED, START, TRANSITIONS, Table
from txsmtpd.core.verbs import VERBS
from txsmtpd.extensions.base import Extension
from txsmtpd.extensions.chunking import Chunking
from txsmtpd.extensions.pipelining import Pipelining
from txsmtpd.extensions.size import Size
from txsmtpd.interfaces import IExtension

from .corekit import Mailbox, rules, saying


def frob(context: object, argument: str) -> Outcome:
    return Outcome((OK,))


class Frob(Extension):
    """
    Plays every role.
    """

    def keyword(self, session: Session) -> str | None:
        return "FROB" if session.ssl else None

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"FROBFROM": lambda session, value: value}

    def rcpt_parameters(self) -> Mapping[str, Any]:
        return {"FROBTO": lambda session, value: value}

    def verbs(self) -> Mapping[str, Verb]:
        return {"FROB": Verb(frob, "FROB")}

    def rows(self) -> Table:
        return {START: {"FROB": READY}}

    def gate(self, session: Session, verb: str) -> Reply | None:
        return None

    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        pass

    def check_rcpt(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        pass

    def check_content(self, session: Session, envelope: Envelope, verb: str) -> None:
        pass


class MakeRulesTests(SynchronousTestCase):
    """
    Everything is found out when the server is built.
    """

    def test_core_alone(self) -> None:
        made = rules(extensions=())
        self.assertEqual({name.encode(): (name, verb) for name, verb in VERBS.items()}, made.verbs)
        self.assertEqual(TRANSITIONS, made.table)
        for nothing in (
            made.extensions, made.mail_parameters, made.rcpt_parameters, made.gates,
            made.mail_checks.all, made.rcpt_checks.all, made.content_checks,
        ):  # fmt: skip
            self.assertFalse(nothing)

    def test_budget(self) -> None:
        self.assertEqual(77, rules(content_memory=77).budget.limit)

    def test_roles(self) -> None:
        made = rules(extensions=(Frob,))
        (extension,) = made.extensions
        self.assertEqual("FROB", made.verbs[b"FROB"][0])
        self.assertEqual(READY, made.table[START]["FROB"])
        self.assertIs(extension, made.mail_parameters["FROBFROM"].extension)
        self.assertEqual("x", made.rcpt_parameters["FROBTO"].parse(Session(), "x"))
        self.assertEqual(
            [1, 1, 1, 1],
            [
                len(role)
                for role in (
                    made.gates,
                    made.mail_checks.all,
                    made.rcpt_checks.all,
                    made.content_checks,
                )
            ],
        )

    def test_empty_roles(self) -> None:
        """
        A role that an extension does not play is not called.
        """
        made = rules(extensions=(Pipelining, Chunking))
        self.assertEqual(
            ((), (), (), ()),
            (made.gates, made.mail_checks.all, made.rcpt_checks.all, made.content_checks),
        )

    def test_handlers(self) -> None:
        self.assertRaises(TypeError, rules, object())

    def test_meet(self) -> None:
        """
        Each extension meets the others, in their order, before it is asked for anything.
        """
        asked: list[str] = []

        class Curious(Extension):
            def meet(self, others: Sequence[IExtension]) -> None:
                asked.append("meet")
                super().meet(others)

            def keyword(self, session: Session) -> None:
                asked.append("keyword")

            def verbs(self) -> Mapping[str, Verb]:
                asked.append("verbs")
                return {}

        made = rules(extensions=(Pipelining, Curious, Size, Curious))
        for extension in made.extensions:
            others = [other for other in made.extensions if other is not extension]
            if isinstance(extension, Extension):
                self.assertEqual(others, [*extension.others])
        self.assertEqual(["meet", "meet", "verbs", "verbs"], asked[:4])

    def assertConflict(self, what: str, *extensions: Any) -> None:
        with self.assertRaisesRegex(ValueError, f"{what}.* is claimed twice"):
            rules(extensions=extensions)

    def test_verb_that_no_client_could_say(self) -> None:
        class Small(Extension):
            def verbs(self) -> Mapping[str, Verb]:
                return {"frob": Verb(frob, "frob")}

        with self.assertRaisesRegex(ValueError, "frob is not in capitals"):
            rules(extensions=[Small])

    def test_verb_without_a_row(self) -> None:
        class Rowless(Extension):
            def verbs(self) -> Mapping[str, Verb]:
                return {"FROB": Verb(frob, "FROB")}

        with self.assertRaisesRegex(ValueError, "FROB is legal in no state"):
            rules(extensions=[Rowless])

    def test_verb_claimed_twice(self) -> None:
        class Other(Extension):
            def verbs(self) -> Mapping[str, Verb]:
                return {"FROB": Verb(frob, "FROB")}

        class Core(Extension):
            def verbs(self) -> Mapping[str, Verb]:
                return {"MAIL": Verb(frob, "MAIL")}

        self.assertConflict("verb FROB", Frob, Other)
        self.assertConflict("verb MAIL", Core)

    def test_parameter_claimed_twice(self) -> None:
        class Other(Extension):
            def rcpt_parameters(self) -> Mapping[str, Any]:
                return {"FROBTO": str}

        self.assertConflict("parameter FROBTO", Frob, Other)
        self.assertConflict("SIZE", Size, Size)

    def test_row_claimed_twice(self) -> None:
        class Other(Extension):
            def rows(self) -> Table:
                return {START: {"FROB": START}}

        self.assertConflict("FROB", Frob, Other)

    def test_keyword_claimed_twice(self) -> None:
        """
        A line of the EHLO reply too has one owner.
        """
        self.assertConflict("PIPELINING", Pipelining, Pipelining)

    def test_mail_and_rcpt_differ(self) -> None:
        """
        MAIL and RCPT may have parameters of the same name.
        """

        class Other(Extension):
            def rcpt_parameters(self) -> Mapping[str, Any]:
                return {"FROBFROM": str}

        made = rules(extensions=(Frob, Other))
        self.assertIn("FROBFROM", made.mail_parameters)
        self.assertIn("FROBFROM", made.rcpt_parameters)


class ReplaceTests(SynchronousTestCase):
    """
    A subclass of the protocol brings verbs of its own.
    """

    def make(self, **own: Verb) -> Rules:
        settings = Settings(hostname="mx.example")
        return make_rules(
            settings, [Mailbox()], [Chunking(settings)], VERBS, replace=lambda builtin: own
        )

    def test_none(self) -> None:
        made = self.make()
        self.assertEqual({*VERBS, "BDAT"}, set(made.builtin))
        self.assertEqual(made.verbs, {name.encode(): (name, v) for name, v in made.builtin.items()})

    def test_replaced(self) -> None:
        """
        One that is replaced stays within reach, and keeps its place in the table.
        """
        verb = Verb(frob, "DATA")
        made, before = self.make(DATA=verb), self.make()
        self.assertEqual(("DATA", verb), made.verbs[b"DATA"])
        self.assertIs(VERBS["DATA"], made.builtin["DATA"])
        self.assertEqual(before.table, made.table)

    def test_new(self) -> None:
        """
        A new one is legal wherever NOOP is and changes nothing.
        """
        verb = Verb(frob, "PING")
        made = self.make(PING=verb)
        self.assertEqual(("PING", verb), made.verbs[b"PING"])
        self.assertNotIn("PING", made.builtin)
        for state, row in made.table.items():
            self.assertEqual(row.get("NOOP"), row.get("PING"))
            self.assertEqual(state in (CONTENT, REFUSED), "PING" not in row)

    def test_shared_tables(self) -> None:
        """
        Another server knows nothing of it.
        """
        self.make(PING=Verb(frob, "PING"))
        self.assertNotIn("PING", TRANSITIONS[START])
        self.assertNotIn("PING", self.make().table[START])

    def test_all_verbs(self) -> None:
        """
        What replaces is told what there is.
        """
        seen: list[Any] = []

        def replace(builtin: Mapping[str, Verb]) -> Mapping[str, Verb]:
            seen.append(set(builtin))
            return {}

        settings = Settings()
        make_rules(settings, [Mailbox()], [Chunking(settings)], VERBS, replace=replace)
        self.assertEqual([{*VERBS, "BDAT"}], seen)


class EHLOTextsTests(SynchronousTestCase):
    """
    What the EHLO reply says.
    """

    def test_order(self) -> None:
        made = rules(extensions=(Pipelining, Frob, Size), data_size_limit=10)
        self.assertEqual(
            ("mx.example", "PIPELINING", "SIZE 10", "HELP"), made.ehlo_texts(Session())
        )

    def test_by_session(self) -> None:
        made = rules(extensions=(Frob,))
        self.assertEqual(("mx.example", "FROB", "HELP"), made.ehlo_texts(Session(ssl={"x": 1})))

    def test_expn(self) -> None:
        """
        EXPN is listed where a hook serves it (RFC 5321 section 4.1.1.7).
        """
        made = rules(saying(handle_EXPN=None), extensions=())
        self.assertEqual(("mx.example", "EXPN", "HELP"), made.ehlo_texts(Session()))
