"""
Tests for :mod:`txsmtpd.core.hooks`.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable
from typing import Any, ClassVar

from twisted.internet.defer import Deferred, succeed
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.interface import InterfaceClass

import txsmtpd
from txsmtpd import interfaces
from txsmtpd.core.hooks import HOOKS, Hooks, as_reply, ehlo_lines, hooks, is_later
from txsmtpd.core.replies import OK, Rejected, Reply

from .corekit import Handler, Later, conclude, saying

#: A refusal, a success and a better success.
NO = Reply(550, "5.1.1", ("No",))
YES = Reply(250, "2.1.5", ("Yes",))
BETTER = Reply(251, "2.1.5", ("Will forward",))

SIMPLE = [
    "HELO", "EHLO", "MAIL", "RCPT", "DATA_start", "RSET", "NOOP", "VRFY", "EXPN", "HELP",
    "QUIT", "exception",
]  # fmt: skip


class TableTests(SynchronousTestCase):
    """
    Every hook interface is known by the name of its one method.
    """

    def test_complete(self) -> None:
        declared = {
            interface
            for name, interface in vars(interfaces).items()
            if isinstance(interface, InterfaceClass) and name.endswith("Hook")
        }
        self.assertEqual(declared, set(HOOKS.values()))
        self.assertEqual(len(declared), len(HOOKS))

    def test_names(self) -> None:
        for method, interface in HOOKS.items():
            self.assertEqual([method], list(interface.names()))
            if method != "open_content":
                part = method.removeprefix("handle_").replace("DATA_start", "DATAStart")
                part = part.replace("exception", "Exception")
                self.assertEqual(f"I{part}Hook", interface.__name__)


class HooksTests(SynchronousTestCase):
    """
    What a chain of handlers wants to hear of.
    """

    def test_none(self) -> None:
        """
        What nobody has is not called.
        """
        found = Hooks([saying(open_content=None)])
        for name in SIMPLE:
            self.assertFalse(getattr(found, name), name)
        self.assertFalse(found.wants_whole)

    def test_each(self) -> None:
        """
        What one handler has is found, each by itself.
        """
        for name in SIMPLE:
            found = Hooks([saying(**{f"handle_{name}": None})])
            self.assertEqual([name], [other for other in SIMPLE if getattr(found, other)])
            self.assertEqual((), found.consumers)

    def test_bound(self) -> None:
        """
        One handler's hook is the method itself: no time is spent between.
        """

        @hooks
        class Judge:
            def handle_MAIL(self, server, session, envelope, address, options):
                return self

        judge = Judge()
        self.assertEqual(judge.handle_MAIL, Hooks([judge]).MAIL)

    def test_consumers(self) -> None:
        """
        Who wants content, in order, and how.
        """
        one, other = saying(open_content=1), saying(handle_DATA=2)
        both = saying(open_content=3, handle_DATA=4)
        found = Hooks([one, saying(handle_MAIL=None), other, both])
        self.assertEqual(3, len(found.consumers))
        self.assertEqual(
            [(1, None), (None, 2), (3, 4)],
            [
                (each.open_content and each.open_content(), each.handle_DATA and each.handle_DATA())
                for each in found.consumers
            ],
        )
        self.assertTrue(found.wants_whole)


class DeclarationTests(SynchronousTestCase):
    """
    A hook that would silently never be called is an error at once.
    """

    def assertTypeError(self, handler: object, *parts: str) -> None:
        with self.assertRaises(TypeError) as caught:
            Hooks([handler])
        for part in parts:
            self.assertIn(part, str(caught.exception))

    def test_nothing_declared(self) -> None:
        """
        The message names both cures.
        """

        class Plain:
            def handle_DATA(self, server, session, envelope):
                pass

        self.assertTypeError(Plain(), "Plain", "@txsmtpd.hooks", "adapter")
        self.assertTypeError(object(), "object")
        self.assertTypeError(None)

    def test_stray(self) -> None:
        """
        A method that no interface of the handler names is not called, so it may not be there.
        """

        @implementer(interfaces.IMAILHook)
        class Judge:
            def handle_MAIL(self, server, session, envelope, address, options):
                pass

            def handle_DATA(self, server, session, envelope):
                pass

        self.assertTypeError(Judge(), "Judge", "handle_DATA", "IDATAHook")

    def test_near_miss(self) -> None:
        for method, nearest in [
            ("handle_RCTP", "handle_RCPT"),
            ("handle_rcpt", "handle_RCPT"),
            ("handle_DATA_END", "handle_DATA"),
            ("handle_", "handle_"),
        ]:
            handler = saying(handle_MAIL=None)
            setattr(handler, method, lambda *arguments: None)
            self.assertTypeError(handler, "Handler", method, nearest)

    def test_missing_method(self) -> None:
        @implementer(interfaces.IMAILHook)
        class Empty:  # type: ignore[misc]
            pass

        self.assertTypeError(Empty(), "handle_MAIL")

    def test_wrong_signature(self) -> None:
        @hooks
        class Old:
            def handle_RCPT(self, server, session, envelope, address):
                pass

        self.assertTypeError(Old(), "handle_RCPT")

    def test_no_method(self) -> None:
        handler = Handler()
        handler.handle_MAIL = "250 OK"  # type: ignore[attr-defined]
        self.assertTypeError(handler, "Handler")
        self.assertTypeError(saying(handle_MAIL=None).__class__(handle_MAIL="250 OK"))  # type: ignore[arg-type]

    def test_later_handlers_too(self) -> None:
        self.assertRaises(TypeError, Hooks, [saying(handle_MAIL=None), object()])


class DecoratorTests(SynchronousTestCase):
    """
    `hooks` declares what a class has.
    """

    def test_public(self) -> None:
        self.assertIs(hooks, txsmtpd.hooks)

    def test_declares(self) -> None:
        @hooks
        class Judge:
            def handle_MAIL(self, server, session, envelope, address, options):
                pass

            async def handle_DATA(self, server, session, envelope):
                pass

            def open_content(self, server, session, envelope):
                pass

        for interface in HOOKS.values():
            wanted = interface in (
                interfaces.IMAILHook,
                interfaces.IDATAHook,
                interfaces.IContentHook,
            )
            self.assertIs(wanted, interface.implementedBy(Judge), interface)
        self.assertTrue(Hooks([Judge()]).wants_whole)

    def test_inherited(self) -> None:
        class Base:
            def handle_NOOP(self, server, session, envelope, arg):
                pass

        @hooks
        class Derived(Base):
            pass

        self.assertTrue(interfaces.INOOPHook.implementedBy(Derived))
        self.assertFalse(interfaces.INOOPHook.implementedBy(Base))

    def test_no_hook(self) -> None:
        class Empty:
            def handle(self):
                pass

        with self.assertRaisesRegex(TypeError, "Empty"):
            hooks(Empty)

    def test_near_miss(self) -> None:
        class Misspelt:
            def handle_DATA(self, server, session, envelope):
                pass

            def handle_RCTP(self, server, session, envelope, address, options):
                pass

        with self.assertRaisesRegex(TypeError, "Misspelt has handle_RCTP.* handle_RCPT"):
            hooks(Misspelt)


class VerdictTests(SynchronousTestCase):
    """
    A verdict is a reply, text, or nothing.
    """

    def test_forms(self) -> None:
        self.assertIsNone(as_reply(None))
        self.assertIs(NO, as_reply(NO))
        self.assertEqual(NO, as_reply("550 5.1.1 No"))
        self.assertEqual(NO, as_reply(b"550 5.1.1 No\r\n"))
        self.assertEqual(Reply(550, None, ("\u00e9\ufffd",)), as_reply(b"550 \xc3\xa9\xff"))

    def test_other(self) -> None:
        """
        Nothing else is one: not even what looks like yes and no.
        """
        for verdict in (True, False, 250, 0, [], ["250 OK"], object(), Rejected(NO)):
            self.assertRaises(TypeError, as_reply, verdict)

    def test_no_reply(self) -> None:
        for verdict in ("", "OK", b"", b"\xff", "999 what"):
            self.assertRaises(ValueError, as_reply, verdict)


class IsLaterTests(SynchronousTestCase):
    """
    What has to be waited for.
    """

    def test_later(self) -> None:
        async def hook() -> None:
            pass

        coroutine = hook()
        pending: Deferred[None] = Deferred()
        answers: list[Any] = [coroutine, Later(), pending, succeed(None)]
        for answer in answers:
            self.assertTrue(is_later(answer))
            self.assertIsInstance(answer, Awaitable)
        coroutine.close()

    def test_now(self) -> None:
        answers: list[Any] = [None, "250 OK", OK, 0, [], iter(())]
        for answer in answers:
            self.assertFalse(is_later(answer))


class ChainTests(SynchronousTestCase):
    """
    Several handlers make one chain.
    """

    def setUp(self) -> None:
        self.asked: list[int] = []

    def chain(self, *answers: Any, name: str = "RCPT") -> Any:
        """
        The verdict of handlers that give these answers.
        """
        handlers = []
        for number, answer in enumerate(answers):

            def hook(*arguments: Any, number: int = number, answer: Any = answer) -> Any:
                self.asked.append(number)
                if isinstance(answer, Exception):
                    raise answer
                return answer

            handlers.append(Handler(**{f"handle_{name}": hook}))
        found = getattr(Hooks(handlers), name)
        return conclude(found("server", "session", "envelope", "a", []))

    def test_silent(self) -> None:
        self.assertIsNone(self.chain(None, None, None))
        self.assertEqual([0, 1, 2], self.asked)

    def test_last_positive(self) -> None:
        self.assertIs(BETTER, self.chain(YES, BETTER))
        self.assertIs(YES, self.chain(BETTER, None, YES, None))
        self.assertEqual(YES, self.chain("250 2.1.5 Yes", None))

    def test_first_refusal(self) -> None:
        """
        It ends the chain.
        """
        self.assertIs(NO, self.chain(YES, NO, BETTER))
        self.assertEqual([0, 1], self.asked)

    def test_raised_refusal(self) -> None:
        self.assertRaises(Rejected, self.chain, None, Rejected(NO), YES)
        self.assertEqual([0, 1], self.asked)

    def test_error(self) -> None:
        self.assertRaises(KeyError, self.chain, None, KeyError("x"), YES)
        self.assertRaises(TypeError, self.chain, None, False, YES)

    def test_one_after_another(self) -> None:
        """
        The next handler is asked when the one before has decided.
        """
        for kind in (Later, Deferred):
            self.asked.clear()
            first: Any = kind()
            handlers = [
                saying(handle_RCPT=first),
                Handler(handle_RCPT=lambda *_: self.asked.append(1)),
            ]
            found: Any = Hooks(handlers).RCPT
            waiting = found("server", "session", "envelope", "a", [])
            waiting.send(None)
            self.assertEqual([], self.asked)
            if kind is Deferred:
                first.callback("250 2.1.5 Yes")
            else:
                first.answer("250 2.1.5 Yes")
            self.assertEqual(YES, conclude(waiting))
            self.assertEqual([1], self.asked)

    def test_coroutines(self) -> None:
        async def refuse() -> Reply:
            return NO

        self.assertIs(NO, self.chain(None, refuse(), YES))

    def test_arguments(self) -> None:
        seen: list[Any] = []
        handlers = [Handler(handle_RCPT=lambda *a: seen.append(a)) for _ in "ab"]
        found: Any = Hooks(handlers).RCPT
        conclude(found(1, 2, 3, 4, 5))
        self.assertEqual([(1, 2, 3, 4, 5)] * 2, seen)

    def test_only_those_that_have_it(self) -> None:
        other = saying(handle_MAIL=YES)
        found: Any = Hooks([other, saying(handle_RCPT=NO), other]).RCPT
        self.assertFalse(inspect.iscoroutinefunction(found))
        self.assertIs(NO, found())


class EHLOTests(SynchronousTestCase):
    """
    An EHLO hook may edit the lines of the reply.
    """

    LINES: ClassVar = ["250-mx.example", "250-SIZE 10", "250 HELP"]

    def ehlo(self, *handlers: object) -> Any:
        found: Any = Hooks(handlers).EHLO
        return conclude(found("server", "session", "envelope", "client", list(self.LINES)))

    def test_lines(self) -> None:
        """
        What stands between code and text is set anew.
        """
        for lines, texts in [
            (["250-a", "250 b"], ("a", "b")),
            (["250 a", "250-b"], ("a", "b")),
            (["250 a", "b", "250"], ("a", "b", "")),
            ([], ()),
        ]:
            self.assertEqual(Reply(250, None, texts), ehlo_lines(lines))
        self.assertEqual(b"250-a\r\n250 b\r\n", ehlo_lines(["250 a", "250-b"]).wire)

    def test_none(self) -> None:
        self.assertIsNone(self.ehlo(saying(handle_EHLO=None)))

    def test_reply(self) -> None:
        self.assertIs(NO, self.ehlo(saying(handle_EHLO=NO)))
        self.assertIs(YES, self.ehlo(saying(handle_EHLO=YES), saying(handle_EHLO=None)))
        self.assertRaises(TypeError, self.ehlo, saying(handle_EHLO=7))

    def test_edited(self) -> None:
        """
        Each handler sees what the one before it left.
        """

        def drop(server, session, envelope, hostname, responses):
            return [line for line in responses if "SIZE" not in line]

        async def add(server, session, envelope, hostname, responses):
            return [*responses, "250 FROB"]

        reply = self.ehlo(Handler(handle_EHLO=drop), Handler(handle_EHLO=add))
        self.assertEqual(Reply(250, None, ("mx.example", "HELP", "FROB")), reply)
        silent = saying(handle_EHLO=None)
        reply = self.ehlo(silent, Handler(handle_EHLO=add), silent)
        self.assertEqual(("mx.example", "SIZE 10", "HELP", "FROB"), reply.lines)

    def test_refusal_after_editing(self) -> None:
        reply = self.ehlo(saying(handle_EHLO=["250 x"]), saying(handle_EHLO=NO))
        self.assertIs(NO, reply)

    def test_no_text(self) -> None:
        self.assertRaises(TypeError, self.ehlo, saying(handle_EHLO=[1]))


class DisconnectTests(SynchronousTestCase):
    """
    Everyone is told, and nobody is asked.
    """

    def test_all(self) -> None:
        """
        So they make no chain.
        """
        handlers = [saying(handle_DISCONNECT=number) for number in range(3)]
        handlers.insert(1, saying(handle_MAIL=None))
        found = [leave for _, leave in Hooks(handlers).greeters]
        self.assertEqual(
            [0, 1, 2], [leave and leave("server", "session", "envelope", "") for leave in found]
        )
