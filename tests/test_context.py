"""
Tests for :mod:`txsmtpd.core.context`.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.context import Context
from txsmtpd.core.outcomes import Outcome, Verb
from txsmtpd.core.replies import (
    GO_AHEAD,
    LOCAL_ERROR,
    NOT_SERVED,
    OK,
    RECIPIENT_OK,
    Rejected,
    Reply,
)
from txsmtpd.core.session import Session
from txsmtpd.core.states import CONTENT, END, READY, START, Table
from txsmtpd.extensions.base import Extension

from .corekit import Handler, Later, Runner, conclude, rules, saying


class ContextTestCase(SynchronousTestCase):
    """
    A context whose hook the test asks.
    """

    def make(self, *handlers: object, **settings: Any) -> Context:
        self.runner = Runner()
        return Context(rules(*handlers, **settings), self.runner, "server", Session(id="s"))

    def ask(self, answer: Any, default: Reply = OK, **answers: Any) -> Any:
        """
        What comes of a hook's answer.
        """
        context = self.make(saying(handle_NOOP=answer, **answers))
        return context.ask(context.hooks.NOOP, default, lambda reply: reply, "argument")

    def assertLocalError(self, answer: Any, error: type[Exception]) -> None:
        self.assertIs(LOCAL_ERROR, conclude(self.ask(answer)))
        self.assertEqual([error], [type(each) for each in self.runner.errors])


class TransactionTests(ContextTestCase):
    """
    A transaction ends by getting a new envelope.
    """

    def test_begin(self) -> None:
        context = self.make()
        self.assertEqual(START, context.state)
        self.assertEqual("s.1", context.envelope.id)
        self.assertEqual((0, False, ""), (context.errors, context.echo, context.gone))

    def test_reset(self) -> None:
        context = self.make()
        kept = context.envelope
        kept.mail_from = "a@b"
        context.echo = True
        context.reset()
        self.assertEqual(("a@b", "s.1"), (kept.mail_from, kept.id))
        self.assertEqual((None, "s.2"), (context.envelope.mail_from, context.envelope.id))
        self.assertFalse(context.echo)

    def test_aborts(self) -> None:
        """
        A message that is under way is given up, once.
        """
        reasons: list[str] = []

        class Message:
            def abort(self, reason: str) -> None:
                reasons.append(reason)

        context = self.make()
        context.delivery = Message()
        context.reset("because")
        context.reset()
        self.assertEqual(["because"], reasons)

    def test_end_content(self) -> None:
        context = self.make()
        context.state, before = CONTENT, context.envelope
        context.end_content()
        self.assertEqual(READY, context.state)
        self.assertIsNot(before, context.envelope)

    def test_happened(self) -> None:
        context = self.make()
        context.happened("EHLO")
        self.assertEqual(READY, context.state)
        for nothing in (END, "DATA", "(NOOP refused)"):
            context.happened(nothing)
            self.assertEqual(READY, context.state)


class JudgeTests(ContextTestCase):
    """
    A verdict becomes the reply to send.
    """

    def test_none(self) -> None:
        self.assertIs(OK, self.make().judge(None, OK))

    def test_status(self) -> None:
        """
        A missing enhanced code is the verb's own.
        """
        context = self.make()
        for verdict, default, reply in [
            ("250 Yes", RECIPIENT_OK, Reply(250, "2.1.5", ("Yes",))),
            ("251 Yes", RECIPIENT_OK, Reply(251, "2.1.5", ("Yes",))),
            ("550 No", RECIPIENT_OK, Reply(550, "5.1.0", ("No",))),
            ("450 No", OK, Reply(450, "4.0.0", ("No",))),
            ("550 5.7.1 No", OK, Reply(550, "5.7.1", ("No",))),
            ("354 Go", GO_AHEAD, Reply(354, None, ("Go",))),
            ("550 No", GO_AHEAD, Reply(550, "5.0.0", ("No",))),
            ("220 Hi", Reply(220), Reply(220, None, ("Hi",))),
        ]:
            self.assertEqual(reply, context.judge(verdict, default))

    def test_other_class(self) -> None:
        """
        A 3xx is positive only where one is expected, and a 2xx not there.
        """
        context = self.make()
        for verdict, default in [("354 Go", OK), ("250 OK", GO_AHEAD), ("354 Go", NOT_SERVED)]:
            self.assertRaises(ValueError, context.judge, verdict, default)

    def test_not_served_otherwise(self) -> None:
        """
        A hook may serve what is refused without it.
        """
        reply = self.make().judge("250 Yes", NOT_SERVED)
        self.assertEqual(Reply(250, "2.0.0", ("Yes",)), reply)

    def test_no_verdict(self) -> None:
        self.assertRaises(TypeError, self.make().judge, False, OK)
        self.assertRaises(ValueError, self.make().judge, "nonsense", OK)

    def test_ascii(self) -> None:
        """
        Only a client that asked for SMTPUTF8 gets it.
        """
        context = self.make()
        self.assertEqual(("caf?",), context.judge("550 caf\u00e9", OK).lines)
        context.envelope.smtp_utf8 = True
        self.assertEqual(("caf\u00e9",), context.judge("550 caf\u00e9", OK).lines)


class AskTests(ContextTestCase):
    """
    A hook is asked at once, and its answer may come later.
    """

    def test_no_hook(self) -> None:
        self.assertIs(OK, self.make().ask(None, OK, lambda reply: reply))

    def test_arguments(self) -> None:
        seen: list[Any] = []
        context = self.make(Handler(handle_NOOP=lambda *a: seen.append(a)))
        context.ask(context.hooks.NOOP, OK, lambda reply: reply, "argument")
        self.assertEqual([("server", context.session, context.envelope, "argument")], seen)

    def test_now(self) -> None:
        for answer, reply in [
            (None, OK),
            ("250 Yes", Reply(250, "2.0.0", ("Yes",))),
            (b"550 No", Reply(550, "5.0.0", ("No",))),
            (Rejected("450 Later"), Reply(450, "4.0.0", ("Later",))),
            (Rejected(Reply(550, "5.7.1")), Reply(550, "5.7.1")),
        ]:
            self.assertEqual(reply, self.ask(answer))
        self.assertEqual([], self.runner.errors)

    def test_coroutine(self) -> None:
        """
        A coroutine that waits for nothing is as good as a value.
        """

        async def hook() -> str:
            return "250 Yes"

        self.assertEqual(Reply(250, "2.0.0", ("Yes",)), self.ask(hook()))

    def test_coroutine_raises(self) -> None:
        async def refuse() -> None:
            raise Rejected("550 No")

        async def fail() -> None:
            raise KeyError("canary")

        self.assertEqual(Reply(550, "5.0.0", ("No",)), self.ask(refuse()))
        self.assertLocalError(fail(), KeyError)

    def test_later(self) -> None:
        later = Later()
        step = self.ask(later)
        step.send(None)
        later.answer("250 Yes")
        self.assertEqual(Reply(250, "2.0.0", ("Yes",)), conclude(step))

    def test_later_refusal(self) -> None:
        later = Later()
        step = self.ask(later)
        step.send(None)
        later.fail(Rejected("550 No"))
        self.assertEqual(Reply(550, "5.0.0", ("No",)), conclude(step))

    def test_later_error(self) -> None:
        later = Later()
        step = self.ask(later)
        step.send(None)
        later.fail(KeyError("canary"))
        self.assertIs(LOCAL_ERROR, conclude(step))
        self.assertIsInstance(self.runner.errors[0], KeyError)

    def test_error(self) -> None:
        """
        An unexpected exception is reported and becomes a 451.
        """
        self.assertLocalError(KeyError("canary"), KeyError)

    def test_no_verdict(self) -> None:
        self.assertLocalError(False, TypeError)
        self.assertLocalError("nonsense", ValueError)
        self.assertLocalError("354 Go", ValueError)

    def test_verdict(self) -> None:
        """
        The same from within a coroutine.
        """
        for answer, expected in [(None, 250), ("550 5.1.1 No", 550), (KeyError(), 451)]:
            context = self.make(saying(handle_NOOP=answer))
            now = conclude(context.verdict(context.hooks.NOOP, OK, ""))
            self.assertEqual(expected, now.code)


class ExplainTests(ContextTestCase):
    """
    Somebody may have something to say about an error.
    """

    def explain(self, *answers: Any, gone: str = "") -> Any:
        context = self.make(*(saying(handle_exception=answer) for answer in answers))
        context.gone = gone
        return context.explain(KeyError("canary"))

    def test_reported(self) -> None:
        for answer in (None, "550 No", Rejected("550 No")):
            conclude(self.explain(answer))
            self.assertEqual([KeyError], [type(error) for error in self.runner.errors])

    def test_silent(self) -> None:
        self.assertIs(LOCAL_ERROR, conclude(self.explain(None)))

    def test_refusal(self) -> None:
        for answer in ("550 No", Rejected("550 No")):
            reply = conclude(self.explain(answer))
            self.assertEqual((550, ("No",)), (reply.code, reply.lines))
            self.assertEqual("5.", reply.status[:2])

    def test_chain(self) -> None:
        self.assertEqual(552, conclude(self.explain(None, "552 No")).code)

    def test_arguments(self) -> None:
        seen: list[Any] = []
        context = self.make(Handler(handle_exception=lambda *a: seen.append(a)))
        error = KeyError()
        conclude(context.explain(error))
        self.assertEqual([("server", context.session, context.envelope, error)], seen)

    def test_later(self) -> None:
        later = Later()
        step = self.explain(later)
        step.send(None)
        later.answer("550 No")
        self.assertEqual(550, conclude(step).code)

    def test_second_error(self) -> None:
        """
        A hook that fails too is reported too.
        """
        for answer in (ValueError(), "250 fine", 7):
            self.assertIs(LOCAL_ERROR, conclude(self.explain(answer)))
            first, second = self.runner.errors
            self.assertIsInstance(first, KeyError)
            self.assertIsInstance(second, (TypeError, ValueError))

    def test_gone(self) -> None:
        """
        Nobody is left to explain it to.
        """
        self.assertIs(LOCAL_ERROR, conclude(self.explain("550 No", gone="lost")))


class ForgetTests(ContextTestCase):
    """
    What was learnt from a client is forgotten, and what was known before is not.
    """

    def test_nobody_has_said_so(self) -> None:
        """
        Without a verb that forgets nobody has kept what there was to go back to.
        """
        context = self.make()
        context.session.host_name = "client.example"
        self.assertRaises(RuntimeError, context.forget)
        self.assertEqual("client.example", context.session.host_name)

    def test_forgotten(self) -> None:
        class Forgetful(Extension):
            def verbs(self) -> dict[str, Verb]:
                return {"FORGET": Verb(lambda context, argument: Outcome(), "", forgets=True)}

            def rows(self) -> Table:
                return {READY: {"FORGET": START}}

        context = Context(rules(extensions=(Forgetful,)), Runner(), None, Session(id="s"))
        context.session.notes["known"] = True
        context.remember()
        for name in ("one.example", "another.example"):
            context.session.host_name = name
            context.session.notes["learnt"] = True
            context.forget()
            self.assertIsNone(context.session.host_name)
            self.assertEqual({"known": True}, context.session.notes)
