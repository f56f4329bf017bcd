"""
Tests for txsmtpd.core.verdicts: one verdict for each recipient (RFC 2033 section 4.2).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, fail, succeed
from twisted.logger import LogEvent, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txsmtpd import hooks
from txsmtpd.core.replies import Rejected, Reply
from txsmtpd.interfaces import IContentReceiver
from txsmtpd.testing import Client, connect, make_factory

ACCEPTED = "250 2.0.0 Message accepted"
FAILED = "451 4.3.0 Local error, try again later"


@hooks
class Judge:
    """
    A handler that answers what the test says, and remembers whom it was asked about.

    :param answer: given server, session and envelope.
    """

    def __init__(self, answer: Callable[..., Any] = lambda *context: None) -> None:
        self.answer = answer
        self.shown: list[tuple[list[str], list[str]]] = []
        self.envelopes: list[Any] = []

    def handle_DATA(self, server: Any, session: Any, envelope: Any) -> Any:
        addresses = [recipient.address for recipient in envelope.recipients]
        self.shown.append((addresses, list(envelope.rcpt_tos)))
        self.envelopes.append(envelope)
        return self.answer(server, session, envelope)


def giving(answer: Any) -> Judge:
    """
    A handler whose answer is always the same.
    """
    return Judge(lambda *context: answer)


def taker(name: str, take: Callable[[Any], None]) -> Any:
    """
    A handler that does something to the envelope in this hook.
    """

    def hook(self: Any, server: Any, session: Any, envelope: Any, *more: Any) -> None:
        take(envelope)

    method = name if name == "open_content" else f"handle_{name}"
    return hooks(type("Taker", (), {method: hook}))()


@hooks
@implementer(IContentReceiver)
class Stream:
    """
    The same for content as it comes.
    """

    def __init__(self, answer: Any = None, *, slow: bool = False) -> None:
        self.answer = answer
        self.slow = slow
        self.taken: Deferred[None] = Deferred()
        self.ends: list[str] = []

    def open_content(self, server: Any, session: Any, envelope: Any) -> Any:
        return self

    def write(self, chunk: bytes) -> Deferred[None] | None:
        return self.taken if self.slow else None

    def finish(self) -> Any:
        self.ends.append("finish")
        return self.answer

    def abort(self, reason: str) -> None:
        self.ends.append(f"abort: {reason}")


class VerdictsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def events_of(self, kind: str) -> list[LogEvent]:
        return [event for event in self.events if event.get("event") == kind]

    def sent(self, names: str, *handlers: object, **settings: Any) -> Client:
        """
        A client that has sent a message.

        :param names: of its recipients, a letter each.
        """
        client = connect(make_factory(*handlers, lmtp=True, **settings))
        rcpts = "".join(f"RCPT TO:<{name}@example.org>\r\n" for name in names)
        client.send(f"LHLO c.example\r\nMAIL FROM:<s@example.org>\r\n{rcpts}DATA\r\n".encode())
        client.take()
        client.send(b"Hello\r\n.\r\n")
        return client

    def heard(self, client: Client) -> list[str]:
        """
        The replies since the last time.
        """
        client.pump()
        return client.take().decode().splitlines()

    def said(self, names: str, *handlers: object, **settings: Any) -> list[str]:
        """
        The replies to a message.
        """
        return self.heard(self.sent(names, *handlers, **settings))

    def assert_gone(self, client: Client) -> None:
        """
        The connection has left nothing behind.
        """
        self.assertTrue(client.closed)
        self.assertEqual([], client.clock.getDelayedCalls())
        self.successResultOf(client.protocol.factory.drain())
        self.assertEqual(0, client.protocol.factory.rules.budget.used)


class AnswersTests(VerdictsTestCase):
    """
    What a handler may answer.
    """

    def test_one_for_all(self) -> None:
        self.assertEqual([ACCEPTED] * 3, self.said("abb", giving(None)))
        for answer in ("550 5.1.1 No", b"550 5.1.1 No", Reply(550, "5.1.1", "No")):
            self.assertEqual(["550 5.1.1 No"] * 3, self.said("abb", giving(answer)))

    def test_list(self) -> None:
        answer = ["250 For A", None, Reply(452, "4.2.2", "Full"), b"550 No"]
        wanted = ["250 2.0.0 For A", ACCEPTED, "452 4.2.2 Full", "550 5.0.0 No"]
        self.assertEqual(wanted, self.said("abcd", giving(answer)))
        self.assertEqual(wanted, self.said("abcd", giving(tuple(answer))))

    def test_mapping_by_address(self) -> None:
        """
        Duplicates share a verdict, and whom nobody has asked about does not matter.
        """
        answer = {"b@example.org": "550 No", "a@example.org": None, "z@example.org": "550 Z"}
        wanted = [ACCEPTED, "550 5.0.0 No", ACCEPTED, "550 5.0.0 No"]
        self.assertEqual(wanted, self.said("abab", giving(answer)))
        self.assertEqual(wanted, self.said("abab", giving(MappingProxyType(answer))))

    def test_mapping_by_recipient(self) -> None:
        """
        Then duplicates may have verdicts of their own; the recipient counts for more than its
        address.
        """

        def answer(server: Any, session: Any, envelope: Any) -> Mapping[Any, str]:
            first, second, _ = envelope.recipients
            return {first: "250 First", second: "452 Second", "a@example.org": "550 Address"}

        self.assertEqual(
            ["250 2.0.0 First", "452 4.0.0 Second", "550 5.0.0 Address"],
            self.said("aaa", Judge(answer)),
        )

    def test_later(self) -> None:
        """
        Whole answers and single verdicts may come later, in any of the ways.
        """

        async def soon(answer: Any) -> Any:
            return answer

        def answer(later: Callable[[Any], Any], *context: Any) -> Any:
            return later([later("250 A"), None, later(None), later("550 D")])

        for later in (succeed, soon):
            self.assertEqual(
                ["250 2.0.0 A", ACCEPTED, ACCEPTED, "550 5.0.0 D"],
                self.said("abcd", Judge(partial(answer, later))),
            )

    def test_streamed(self) -> None:
        stream = Stream(["250 A", "550 B"])
        self.assertEqual(["250 2.0.0 A", "550 5.0.0 B"], self.said("ab", stream))
        self.assertEqual(["finish"], stream.ends)

    def test_nobody_to_ask(self) -> None:
        """
        A server without a handler that wants content takes it.
        """

        @hooks
        class Deaf:
            def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str) -> None:
                pass

        self.assertEqual([ACCEPTED] * 2, self.said("ab", Deaf()))

    def test_not_ascii(self) -> None:
        self.assertEqual(["550 5.0.0 N?", ACCEPTED], self.said("ab", giving(["550 N\xf6", None])))

    def test_positive(self) -> None:
        """
        3xx is no verdict on a message, in any place.
        """
        self.assertEqual([FAILED, "221 2.0.0 Odd"], self.said("ab", giving(["354 Go", "221 Odd"])))
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))


class MistakesTests(VerdictsTestCase):
    """
    Answers that are none, and hooks that fail.
    """

    def test_missing(self) -> None:
        """
        It is logged once, however many are missing.
        """
        good = {"a@example.org": "250 A"}
        # An address is that of the RCPT command, to the letter.
        for answer in (good, {**good, "B@EXAMPLE.ORG": None}):
            self.assertEqual(["250 2.0.0 A", FAILED, FAILED], self.said("abc", giving(answer)))
            (error,) = self.flushLoggedErrors(LookupError)
            self.assertEqual("no verdict for 2 of 3 recipients", error.getErrorMessage())
        self.assertEqual([FAILED], self.said("a", giving({})))
        self.assertEqual(1, len(self.flushLoggedErrors(LookupError)))

    def test_wrong_length(self) -> None:
        for answer in ([], ["250 A"], ["250 A", "250 B", "250 C"]):
            self.assertEqual([FAILED] * 2, self.said("ab", giving(answer)))
            (error,) = self.flushLoggedErrors(ValueError)
            self.assertIn("verdicts for 2 recipients", error.getErrorMessage())

    def test_no_verdict(self) -> None:
        """
        What is no verdict is logged once, if it is for all.
        """
        for answer in (42, {"250 A", "250 B"}, iter(["250 A"])):
            self.assertEqual([FAILED] * 2, self.said("ab", giving(answer)))
            self.assertEqual(1, len(self.flushLoggedErrors(TypeError)))
        self.assertEqual([FAILED, ACCEPTED], self.said("ab", giving([["250 A"], None])))
        self.assertEqual(1, len(self.flushLoggedErrors(TypeError)))

    def test_hook_fails(self) -> None:
        def boom(*context: Any) -> Any:
            raise RuntimeError("not for clients")

        async def late(*context: Any) -> Any:
            boom()

        for hook in (boom, late, lambda *_: fail(RuntimeError("not for clients"))):
            self.assertEqual([FAILED] * 2, self.said("ab", Judge(hook)))
            self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_hook_refuses(self) -> None:
        def refuse(*context: Any) -> Any:
            raise Rejected("550 5.7.1 N\xf6")

        async def late(*context: Any) -> Any:
            refuse()

        for hook in (refuse, late):
            self.assertEqual(["550 5.7.1 N?"] * 2, self.said("ab", Judge(hook)))

    def test_one_fails(self) -> None:
        """
        The others do not suffer, neither at once nor later.
        """

        async def boom() -> Any:
            raise RuntimeError("not for clients")

        def answer(*context: Any) -> list[Any]:
            return [None, boom(), fail(Rejected("550 Mine")), "452 Full"]

        wanted = [ACCEPTED, FAILED, "550 5.0.0 Mine", "452 4.0.0 Full"]
        self.assertEqual(wanted, self.said("abcd", Judge(answer)))
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        waiting: list[Deferred[Any]] = [Deferred(), Deferred(), Deferred()]
        client = self.sent("abc", giving(waiting))
        waiting[1].errback(RuntimeError("boom"))
        waiting[2].errback(Rejected("550 Mine"))
        waiting[0].callback(None)
        self.assertEqual([ACCEPTED, FAILED, "550 5.0.0 Mine"], self.heard(client))
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_collected(self) -> None:
        """
        What asyncio.gather and its like have collected of those that failed.
        """
        answer = [None, RuntimeError("boom"), Rejected("550 Mine")]
        self.assertEqual([ACCEPTED, FAILED, "550 5.0.0 Mine"], self.said("abc", giving(answer)))
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_shared(self) -> None:
        """
        A verdict that comes later and is shared fails once.
        """
        for shared in (succeed("550 Both"), fail(RuntimeError("boom"))):
            answer = {"a@example.org": shared}
            replies = self.said("aa", giving(answer))
            self.assertEqual(replies[0], replies[1])
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_exception_hook(self) -> None:
        """
        It is asked for each that fails.
        """

        @hooks
        class Explaining(Judge):
            def handle_exception(self, server: Any, session: Any, envelope: Any, error: Any) -> str:
                return f"554 5.3.0 {error}"

        handler = Explaining(lambda *_: [fail(RuntimeError("A")), None, fail(RuntimeError("C"))])
        self.assertEqual(["554 5.3.0 A", ACCEPTED, "554 5.3.0 C"], self.said("abc", handler))
        self.assertEqual(2, len(self.flushLoggedErrors(RuntimeError)))

    def test_cancelled_by_the_handler(self) -> None:
        """
        A handler may give up one of them itself: the others are still waited for.
        """
        waiting: list[Deferred[Any]] = [Deferred(), Deferred()]
        client = self.sent("ab", giving(waiting))
        waiting[0].cancel()
        self.assertEqual([FAILED], self.heard(client))
        waiting[1].callback("250 B")
        self.assertEqual(["250 2.0.0 B"], self.heard(client))

    def test_cancelled_in_asyncio(self) -> None:
        async def cancelled() -> Any:
            raise asyncio.CancelledError

        self.assertEqual([FAILED, ACCEPTED], self.said("ab", Judge(lambda *_: [cancelled(), None])))


class OrderTests(VerdictsTestCase):
    """
    Replies leave in order, as early as order allows.
    """

    def test_early(self) -> None:
        waiting: list[Deferred[Any]] = [Deferred(), Deferred()]
        client = self.sent("abcde", giving(["250 A", waiting[0], "550 C", waiting[1], "250 E"]))
        self.assertEqual(["250 2.0.0 A"], self.heard(client))
        waiting[0].callback("250 B")
        self.assertEqual(["250 2.0.0 B", "550 5.0.0 C"], self.heard(client))
        waiting[1].callback("250 D")
        self.assertEqual(["250 2.0.0 D", "250 2.0.0 E"], self.heard(client))

    def test_out_of_order(self) -> None:
        waiting: list[Deferred[Any]] = [Deferred() for _ in "abc"]
        client = self.sent("abc", giving(waiting))
        waiting[2].callback("250 C")
        waiting[1].callback("250 B")
        self.assertEqual([], self.heard(client))
        waiting[0].callback("250 A")
        self.assertEqual(["250 2.0.0 A", "250 2.0.0 B", "250 2.0.0 C"], self.heard(client))

    def test_one_write(self) -> None:
        """
        What is there at once leaves in one write.
        """
        client = self.sent("abc", giving(None))
        self.assertEqual(3, client.writes[-1].count(b"250 "))

    def test_what_follows_waits(self) -> None:
        waiting: Deferred[Any] = Deferred()
        client = self.sent("ab", giving([None, waiting]))
        client.send(b"NOOP\r\n")
        self.assertEqual([ACCEPTED], self.heard(client))
        waiting.callback(None)
        self.assertEqual([ACCEPTED, "250 2.0.0 OK"], self.heard(client))

    @settings(derandomize=True, deadline=None, max_examples=50)
    @given(st.permutations(range(5)), st.sets(st.integers(0, 4)))
    def test_any_order(self, order: list[int], at_once: set[int]) -> None:
        """
        However they come, each reply is there as soon as all before it are.
        """
        waiting: dict[int, Deferred[Any]] = {n: Deferred() for n in order if n not in at_once}
        replies = [f"250 2.0.0 {n}" for n in range(5)]
        client = self.sent("abcde", giving([waiting.get(n, replies[n]) for n in range(5)]))
        decided = set(at_once)

        def ready() -> Iterator[str]:
            for n in range(5):
                if n not in decided:
                    return
                yield replies[n]

        heard = self.heard(client)
        self.assertEqual(list(ready()), heard)
        for n in order:
            if n in waiting:
                waiting[n].callback(replies[n])
                decided.add(n)
                heard += self.heard(client)
                self.assertEqual(list(ready()), heard)
        client.send(b"QUIT\r\n")
        self.assert_gone(client)


class ChainTests(VerdictsTestCase):
    """
    Several handlers: who was refused by one keeps that verdict, and those that follow see only the
    others.
    """

    def test_refused_by_the_first(self) -> None:
        first, second = (
            giving(["550 First", "250 First", None, "452 First"]),
            giving(["554 B", None]),
        )
        self.assertEqual(
            ["550 5.0.0 First", "554 5.0.0 B", ACCEPTED, "452 4.0.0 First"],
            self.said("abcd", first, second),
        )
        everybody, others = ([f"{n}@example.org" for n in names] for names in ("abcd", "bc"))
        self.assertEqual([(everybody, everybody)], first.shown)
        self.assertEqual([(others, others)], second.shown)

    def test_last_positive(self) -> None:
        """
        As in SMTP the last positive reply is sent.
        """
        handlers = giving("250 First"), giving(["250 Second", None]), giving(None)
        self.assertEqual(["250 2.0.0 Second", "250 2.0.0 First"], self.said("ab", *handlers))

    def test_all_refused(self) -> None:
        """
        Then nobody else is asked: who has the content already is told to forget it.
        """
        first, second, third = giving(["550 A", "452 B"]), Stream(), Judge()
        said = self.said("ab", first, second, third)
        self.assertEqual(["550 5.0.0 A", "452 4.0.0 B"], said)
        self.assertEqual(["abort: all recipients were refused"], second.ends)
        self.assertEqual([], third.shown)

    def test_filter_before_stream(self) -> None:
        stream = Stream(["250 B"])
        self.assertEqual(
            ["550 5.0.0 A", "250 2.0.0 B"], self.said("ab", giving(["550 A", None]), stream)
        )
        self.assertEqual(["finish"], stream.ends)

    def test_same_handler_twice(self) -> None:
        """
        It is asked twice.
        """
        answers = iter([["550 A", None], ["250 B"]])
        judge = Judge(lambda *context: next(answers))
        # As a function of the instance it is the very same both times.
        vars(judge)["handle_DATA"] = judge.handle_DATA
        self.assertEqual(["550 5.0.0 A", "250 2.0.0 B"], self.said("ab", judge, judge))

    def test_refusals_are_early(self) -> None:
        """
        A refusal is final, a positive verdict is not before the last handler has spoken.
        """
        waiting: Deferred[Any] = Deferred()
        first, second = giving(["550 A", None, "550 C"]), giving(waiting)
        client = self.sent("abc", first, second)
        self.assertEqual(["550 5.0.0 A"], self.heard(client))
        waiting.callback("250 B")
        self.assertEqual(["250 2.0.0 B", "550 5.0.0 C"], self.heard(client))

    def test_addresses_rewritten(self) -> None:
        """
        Hooks have made something else of the addresses: each goes with its recipient.
        """

        @hooks
        class Rewriting(Judge):
            def handle_RCPT(
                self, server: Any, session: Any, envelope: Any, address: str, options: Any
            ) -> None:
                envelope.rcpt_tos.append(f"new-{address}")

        rewriting = Rewriting(lambda *_: [None, "550 B", None])
        second = Judge(lambda *_: ["550 A", None])
        third = Judge()
        self.said("abc", rewriting, second, third)
        wanted = ["a@example.org", "c@example.org"], ["new-a@example.org", "new-c@example.org"]
        self.assertEqual([wanted], second.shown)
        self.assertEqual([(["c@example.org"], ["new-c@example.org"])], third.shown)

    def test_addresses_replaced(self) -> None:
        """
        Where nobody can tell whose is which, addresses stay as the hooks have left them.
        """

        def answer(server: Any, session: Any, envelope: Any) -> list[Any]:
            envelope.rcpt_tos = ["list@example.org"]
            return [None, "550 B"]

        second = Judge()
        self.said("ab", Judge(answer), second)
        self.assertEqual([(["a@example.org"], ["list@example.org"])], second.shown)

    def test_recipients_taken_out(self) -> None:
        """
        The list is not the handlers' to change, but if one does, the client is told no less.
        """

        def answer(server: Any, session: Any, envelope: Any) -> list[Any]:
            envelope.recipients.clear()
            return [None, "550 B"]

        said = self.said("ab", Judge(answer), giving("250 A"))
        self.assertEqual(["250 2.0.0 A", "550 5.0.0 B"], said)

    def test_recipients_taken_out_before(self) -> None:
        """
        Likewise where it was done before there was a message: who judges that sees all of them.
        """
        for before in ("RCPT", "DATA_start", "open_content"):
            for take in (lambda e: e.recipients.clear(), lambda e: setattr(e, "recipients", [])):
                judge = Judge(lambda *context: [None, "550 B"])
                self.assertEqual(
                    [ACCEPTED, "550 5.0.0 B"], self.said("ab", taker(before, take), judge), before
                )
                self.assertEqual([["a@example.org", "b@example.org"]], [s[0] for s in judge.shown])

    def test_recipients_taken_out_of_what_is_refused(self) -> None:
        """
        Likewise where there is no message to judge.
        """
        thief = taker("DATA_start", lambda envelope: envelope.recipients.clear())
        said = self.said("ab", thief, Judge(), data_size_limit=1)
        self.assertEqual(["552"] * 2, [line[:3] for line in said])
        (event,) = self.events_of("transaction")
        self.assertEqual(["a@example.org", "b@example.org"], event["recipients"])

    def test_recipients_put_in(self) -> None:
        def answer(server: Any, session: Any, envelope: Any) -> None:
            envelope.recipients.append(envelope.recipients[0])

        self.assertEqual([ACCEPTED] * 2, self.said("ab", Judge(answer), Judge()))

    def test_kept_envelope(self) -> None:
        """
        Who keeps the envelope never finds anybody there who was refused before it was asked.
        """
        second = Judge()
        self.said("ab", giving(["550 A", None]), second)
        (envelope,) = second.envelopes
        self.assertEqual(["b@example.org"], envelope.rcpt_tos)
        self.assertEqual(["b@example.org"], [each.address for each in envelope.recipients])


class EndsTests(VerdictsTestCase):
    """
    Time, farewells and clients that vanish, while some verdicts are there and others not.
    """

    def test_timeout(self) -> None:
        """
        Those that came keep theirs, all that are pending are told to try again, and what comes
        later changes nothing.
        """
        waiting: list[Deferred[Any]] = [Deferred(), Deferred(), Deferred()]
        answer = [waiting[0], "250 B", waiting[1], waiting[2], "550 E"]
        client = self.sent("abcde", giving(answer), hook_timeout=10)
        waiting[0].callback("250 A")
        self.assertEqual(["250 2.0.0 A", "250 2.0.0 B"], self.heard(client))
        client.wait(19)
        self.assertEqual([], self.heard(client))
        client.wait(1)
        self.assertEqual([FAILED, FAILED, "550 5.0.0 E"], self.heard(client))
        waiting[1].callback("250 C")
        client.send(b"NOOP\r\n")
        self.assertEqual(["250 2.0.0 OK"], self.heard(client))
        self.assertEqual(1, len(self.events_of("timeout")))
        (event,) = self.events_of("transaction")
        self.assertEqual(
            ["250 2.0.0 A", "250 2.0.0 B", FAILED, FAILED, "550 5.0.0 E"], event["verdicts"]
        )

    def test_timeout_keeps_what_waits_its_turn(self) -> None:
        """
        A verdict that has come, but may not be said yet, is kept.
        """
        waiting: list[Deferred[Any]] = [Deferred(), Deferred()]
        client = self.sent("ab", giving(waiting), hook_timeout=10)
        waiting[1].callback("250 B")
        client.wait(20)
        self.assertEqual([FAILED, "250 2.0.0 B"], self.heard(client))

    def test_timeout_of_all(self) -> None:
        client = self.sent("ab", giving(Deferred()), hook_timeout=10)
        client.wait(20)
        self.assertEqual([FAILED] * 2, self.heard(client))

    def test_timeout_of_each_handler(self) -> None:
        """
        The next handler has its own time, and what it does not decide is given up too.
        """
        first: list[Deferred[Any]] = [Deferred(), Deferred(), Deferred()]
        second: list[Deferred[Any]] = [Deferred(), Deferred()]
        client = self.sent("abc", giving(first), giving(second), hook_timeout=10)
        first[1].callback("250 B")
        first[2].callback("250 C")
        client.wait(20)
        self.assertEqual([FAILED], self.heard(client))
        client.wait(20)
        self.assertEqual([FAILED] * 2, self.heard(client))
        self.assertEqual(2, len(self.events_of("timeout")))

    def test_exception_hook_is_asked_once(self) -> None:
        """
        About the time that was up, not about each who waited.
        """
        asked: list[Any] = []

        @hooks
        class Explaining(Judge):
            def handle_exception(self, server: Any, session: Any, envelope: Any, error: Any) -> str:
                asked.append(error)
                return "450 4.2.0 Too slow"

        handler = Explaining(lambda *_: [Deferred(), Deferred(), Deferred()])
        client = self.sent("abc", handler, hook_timeout=10)
        client.wait(20)
        self.assertEqual(["450 4.2.0 Too slow"] * 3, self.heard(client))
        (error,) = asked
        self.assertIsInstance(error, CancelledError)

    def test_slow_exception_hook(self) -> None:
        """
        It is given up as any other, and then all hear the same.
        """

        @hooks
        class Explaining(Judge):
            def handle_exception(
                self, server: Any, session: Any, envelope: Any, error: Any
            ) -> Deferred[Any]:
                return Deferred()

        client = self.sent("ab", Explaining(lambda *_: [Deferred(), Deferred()]), hook_timeout=10)
        client.wait(20)
        self.assertEqual([], self.heard(client))
        client.wait(20)
        self.assertEqual([FAILED] * 2, self.heard(client))

    def test_421(self) -> None:
        """
        The connection closes when everybody has had a reply.
        """
        waiting: Deferred[Any] = Deferred()
        client = self.sent("abc", giving(["421 Going", waiting, "250 C"]))
        self.assertEqual(["421 4.0.0 Going"], self.heard(client))
        self.assertFalse(client.closed)
        waiting.callback("250 B")
        self.assertEqual(["250 2.0.0 B", "250 2.0.0 C"], self.heard(client))
        self.assert_gone(client)

    def test_client_vanishes(self) -> None:
        """
        The delivery runs on, its verdicts are logged, and nobody writes to the client.
        """
        waiting: list[Deferred[Any]] = [Deferred(), Deferred()]
        client = self.sent("abc", giving([waiting[0], waiting[1], "250 C"]))
        waiting[0].callback("250 A")
        client.disconnect()
        heard = client.received
        self.assertEqual([], self.events_of("transaction"))
        waiting[1].callback("550 B")
        (event,) = self.events_of("transaction")
        self.assertEqual(["250 2.0.0 A", "550 5.0.0 B", "250 2.0.0 C"], event["verdicts"])
        self.assertEqual("550 5.0.0 B", event["reply"])
        self.assertIn("but the client had gone", formatEvent(event))
        self.assertEqual(heard, client.received)
        self.assert_gone(client)

    def test_client_vanishes_before_the_first(self) -> None:
        waiting: list[Deferred[Any]] = [Deferred(), Deferred()]
        client = self.sent("ab", giving(waiting), hook_timeout=10)
        client.disconnect()
        waiting[0].callback("250 A")
        client.wait(20)
        (event,) = self.events_of("transaction")
        self.assertEqual(["250 2.0.0 A", FAILED], event["verdicts"])
        self.assert_gone(client)

    def test_client_has_sent_its_last(self) -> None:
        """
        It still hears every reply.
        """
        waiting: list[Deferred[Any]] = [Deferred(), Deferred()]
        client = self.sent("ab", giving(waiting))
        client.half_close()
        waiting[0].callback("250 A")
        client.pump()
        self.assertFalse(client.closed)
        waiting[1].callback("250 B")
        self.assertEqual(["250 2.0.0 A", "250 2.0.0 B"], self.heard(client))
        self.assert_gone(client)

    def test_early_reply_is_no_end(self) -> None:
        """
        A reply that is said early, when the content has just been taken, is not taken for the end
        of all there is to do: neither for a client that has sent its last nor for a server that
        shuts down.
        """
        for last in (Client.half_close, lambda client: client.protocol.factory.drain()):
            waiting: Deferred[Any] = Deferred()
            stream = Stream(["250 A", waiting], slow=True)
            client = self.sent("ab", stream)
            last(client)
            stream.taken.callback(None)
            self.assertEqual(["250 2.0.0 A"], self.heard(client))
            self.assertFalse(client.closed)
            waiting.callback("250 B")
            self.assertEqual("250 2.0.0 B", self.heard(client)[0])
            self.assert_gone(client)

    def test_server_shuts_down(self) -> None:
        waiting: Deferred[Any] = Deferred()
        client = self.sent("ab", giving([None, waiting]))
        drained = client.protocol.factory.drain()
        self.assertNoResult(drained)
        waiting.callback(None)
        self.assertEqual([ACCEPTED] * 2, self.heard(client)[:2])
        self.assert_gone(client)


class LogTests(VerdictsTestCase):
    def test_mixed(self) -> None:
        """
        All verdicts are in the line where they differ, and the first refusal is the reply.
        """
        client = self.sent("aba", giving(["250 A", "550 B", "452 C"]))
        (event,) = self.events_of("transaction")
        verdicts = ["250 2.0.0 A", "550 5.0.0 B", "452 4.0.0 C"]
        self.assertEqual(verdicts, event["verdicts"])
        self.assertEqual(("550 5.0.0 B", 550), (event["reply"], event["code"]))
        addresses = ["a@example.org", "b@example.org", "a@example.org"]
        self.assertEqual(addresses, event["recipients"])
        self.assertIn(f"to {addresses}, 7 octets: {verdicts}", formatEvent(event))
        client.disconnect()
        (event,) = self.events_of("connection")
        self.assertEqual(1, event["messages"])

    def test_same(self) -> None:
        client = self.sent("ab", giving("550 No"))
        (event,) = self.events_of("transaction")
        self.assertEqual(["550 5.0.0 No"] * 2, event["verdicts"])
        self.assertTrue(formatEvent(event).endswith(", 7 octets: 550 5.0.0 No"))
        client.disconnect()
        (event,) = self.events_of("connection")
        self.assertEqual(0, event["messages"])

    def test_recipients_who_were_refused_first(self) -> None:
        """
        Also those that the last handler was not asked about.
        """
        self.sent("ab", giving(["550 A", None]), giving("250 B"))
        (event,) = self.events_of("transaction")
        self.assertEqual(["a@example.org", "b@example.org"], event["recipients"])
        self.assertEqual(["550 5.0.0 A", "250 2.0.0 B"], event["verdicts"])

    def test_errors_are_forgiven(self) -> None:
        """
        If one of them was accepted.
        """
        for answer, errors in ((["550 A", None], 0), ("550 No", 1)):
            client = connect(make_factory(giving(answer), lmtp=True))
            client.send(b"LHLO c.example\r\nEHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<a@b>\r\n")
            client.send(b"RCPT TO:<c@d>\r\nDATA\r\n.\r\n")
            self.assertEqual(errors, client.protocol.dialog.errors)
