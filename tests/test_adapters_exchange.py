"""
Tests for txsmtpd.adapters.exchange.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64decode
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd import adapters
from txsmtpd.adapters.credentials import missing
from txsmtpd.adapters.for_aiosmtpd import methods_in
from txsmtpd.core.identity import AuthResult, Identity, Refusal
from txsmtpd.handlers import Sink
from txsmtpd.sasl import MECHANISMS, Call, Challenge, Mechanism

from .adapterskit import Talk, b64, in_loop, settle

PLAIN = f"AUTH PLAIN {b64(bytes(1) + b'ann' + bytes(1) + b'wonderland')}"
WELCOME = ["235 2.7.0 Authentication successful"]
WRONG = ["535 5.7.8 Authentication credentials invalid"]
ABORTED = ["501 5.7.0 Authentication aborted"]


def auth_mechanism(name: str) -> Callable[[Any], Any]:
    """
    As aiosmtpd's decorator does it.
    """

    def decorate(method: Any) -> Any:
        method.__auth_mechanism_name__ = name.upper()
        return method

    return decorate


class Asking:
    """
    Asks two things and returns what a test wants.
    """

    def __init__(self, result: Any = None, *pushed: str) -> None:
        self.result = result
        self.pushed = pushed
        self.heard: list[Any] = []

    async def auth_ASK(self, server: Any, args: list[str]) -> Any:
        self.heard.append(args)
        for challenge in ("one", b"two"):
            self.heard.append(await server.challenge_auth(challenge))
        for line in self.pushed:
            await server.push(line)
        if isinstance(self.result, Exception):
            raise self.result
        return self.result


class Given:
    """
    Answers at once.
    """

    def __init__(self, result: Any, *pushed: str) -> None:
        self.result = result
        self.pushed = pushed

    async def auth_GIVEN(self, server: Any, args: list[str]) -> Any:
        for line in self.pushed:
            await server.push(line)
        return self.result


def result(**facts: Any) -> Any:
    """
    As aiosmtpd's class of results looks.
    """
    return SimpleNamespace(**{"handled": True, "message": None, "auth_data": None, **facts})


class ExchangeTests(SynchronousTestCase):
    """
    A coroutine that asks the client.
    """

    def talk(self, handler: object, **settings: Any) -> Talk:
        talk = Talk(adapters.aiosmtpd(handler), **settings)
        talk.greet()
        return talk

    def test_challenges(self) -> None:
        handler = Asking(result(success=True, auth_data=SimpleNamespace(login=b"ann")))
        talk = self.talk(handler)
        self.assertEqual(talk.say("AUTH ASK"), [f"334 {b64(b'one')}"])
        self.assertEqual(talk.say(b64(b"first")), [f"334 {b64(b'two')}"])
        self.assertEqual(talk.say(b64(b"")), WELCOME)
        self.assertEqual(handler.heard, [["ASK"], b"first", b""])
        session = talk.protocol.session
        self.assertIs(session.authenticated, True)
        self.assertIs(session.auth_data, handler.result.auth_data)
        self.assertEqual(session.login_data, b"ann")

    def test_initial_response(self) -> None:
        """
        It is passed as it came.
        """
        for word, argument in (("eA==", "eA=="), ("=", "=")):
            handler = Asking()
            self.talk(handler).say(f"AUTH ask {word}")
            self.assertEqual(handler.heard, [["ASK", argument]])

    def test_pipelined(self) -> None:
        talk = self.talk(Asking(result(success=True)))
        self.assertEqual(talk.say("AUTH ASK", b64(b"x"), b64(b"y"), "NOOP")[-1], "250 2.0.0 OK")

    def test_abort(self) -> None:
        """
        The coroutine is told, comes to its end, and what it says then is not sent.
        """
        handler = Asking(result(success=False), "501 5.7.0 Auth aborted")
        talk = self.talk(handler)
        talk.say("AUTH ASK")
        self.assertEqual(talk.say("*"), ABORTED)
        # Asked again, it does not answer either.
        self.assertEqual(handler.heard, [["ASK"], missing(), missing()])
        self.assertEqual(talk.say("NOOP"), ["250 2.0.0 OK"])

    def test_abort_and_fail(self) -> None:
        talk = self.talk(Asking(KeyError("secret")))
        talk.say("AUTH ASK")
        self.assertEqual(talk.say("*"), ABORTED)
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_abort_and_linger(self) -> None:
        """
        What an aborted exchange comes to later does not disturb the next one.
        """
        first: Deferred[None] = Deferred()
        second: Deferred[None] = Deferred()

        class Handler:
            async def auth_FIRST(self, server: Any, args: list[str]) -> Any:
                await server.challenge_auth("one")
                await first

            async def auth_SECOND(self, server: Any, args: list[str]) -> Any:
                await second
                if await server.challenge_auth("two") == b"x":
                    await server.push("535 5.7.8 Pushed")

        talk = self.talk(Handler())
        talk.say("AUTH FIRST", "*")
        talk.say("AUTH SECOND")
        first.callback(None)
        second.callback(None)
        self.assertEqual(talk.heard(), [f"334 {b64(b'two')}"])
        self.assertEqual(talk.say("eA=="), [])
        talk.client.wait(1)
        self.assertEqual(talk.heard(), ["535 5.7.8 Pushed"])

    def test_no_base64(self) -> None:
        handler = Asking()
        talk = self.talk(handler)
        talk.say("AUTH ASK")
        self.assertEqual(talk.say("%"), ["501 5.5.2 Cannot decode that"])
        self.assertEqual(handler.heard[1], missing())

    def test_client_leaves(self) -> None:
        handler = Asking()
        talk = self.talk(handler)
        talk.say("AUTH ASK")
        talk.client.disconnect()
        self.assertEqual(handler.heard[1:], [missing(), missing()])

    def test_waits(self) -> None:
        """
        The coroutine may wait for something else.
        """
        waiting: Deferred[Any] = Deferred()

        class Handler:
            async def auth_SLOW(self, server: Any, args: list[str]) -> Any:
                await server.challenge_auth("one")
                return await waiting

        talk = self.talk(Handler())
        talk.say("AUTH SLOW")
        self.assertEqual(talk.say("eA==", "NOOP"), [])
        waiting.callback(result(success=True))
        self.assertEqual(talk.heard(), [*WELCOME, "250 2.0.0 OK"])

    def test_hook_timeout(self) -> None:
        cleaned = []

        class Handler:
            async def auth_SLOW(self, server: Any, args: list[str]) -> Any:
                try:
                    await Deferred()
                finally:
                    cleaned.append(True)

        talk = self.talk(Handler(), hook_timeout=10)
        talk.say("AUTH SLOW")
        talk.client.wait(10)
        self.assertEqual(talk.heard(), ["454 4.7.0 Temporary authentication failure"])
        self.assertEqual(cleaned, [True])

    def test_does_not_wait(self) -> None:
        """
        It has come to its end, but it is the client's turn.
        """
        for final, code in ((AuthResult(success=True), "235"), (KeyError(), "454")):

            class Handler:
                async def auth_HASTY(self, server: Any, args: list[str]) -> Any:
                    asked = server.challenge_auth("one")
                    asked.send(None)
                    if isinstance(final, Exception):  # noqa: B023
                        raise final  # noqa: B023
                    return final  # noqa: B023

            talk = self.talk(Handler())
            self.assertEqual(talk.say("AUTH HASTY"), [f"334 {b64(b'one')}"])
            self.assertEqual(talk.say("eA==")[0][:3], code)
            self.flushLoggedErrors(KeyError)

    def test_two_challenges_at_once(self) -> None:
        class Handler:
            async def auth_TWO(self, server: Any, args: list[str]) -> Any:
                server.challenge_auth("one").send(None)
                await server.challenge_auth("two")

        talk = self.talk(Handler())
        talk.say("AUTH TWO")
        self.assertEqual(talk.say("eA=="), ["454 4.7.0 Temporary authentication failure"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_encoded_already(self) -> None:
        class Handler:
            async def auth_ENCODED(self, server: Any, args: list[str]) -> Any:
                await server.challenge_auth(args[1] if args[1:] else "b25l", encode_to_b64=False)

        talk = self.talk(Handler())
        self.assertEqual(talk.say("AUTH ENCODED"), ["334 b25l"])

    def test_not_in_auth(self) -> None:
        class Handler:
            async def handle_NOOP(self, server: Any, *arguments: Any) -> None:
                await server.challenge_auth("one")

        self.assertEqual(self.talk(Handler()).say("NOOP")[0][:3], "451")
        (failure,) = self.flushLoggedErrors(RuntimeError)
        self.assertEqual(failure.getErrorMessage(), "challenge_auth is for AUTH only")

    def test_errors(self) -> None:
        class Handler(Asking):
            def auth_ATONCE(self, server: Any, args: list[str]) -> Any:
                raise KeyError("secret")

        talk = self.talk(Handler(KeyError("secret")))
        talk.say("AUTH ASK", "eA==")
        for line in ("eA==", "AUTH ATONCE"):
            self.assertEqual(talk.say(line), ["454 4.7.0 Temporary authentication failure"])
            self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_plain_method(self) -> None:
        class Handler:
            def auth_PLAIN(self, server: Any, args: list[str]) -> Any:
                return AuthResult(success=b"wonderland" in b64decode(args[1]), auth_data="Ann")

        talk = self.talk(Handler())
        self.assertEqual(talk.say(PLAIN), WELCOME)
        self.assertEqual(talk.protocol.session.auth_data, "Ann")

    def test_under_asyncio(self) -> None:
        class Handler:
            async def auth_ASK(self, server: Any, args: list[str]) -> Any:
                asked = server.challenge_auth("one")
                response = await asyncio.wait_for(asyncio.ensure_future(asked), 30)
                await asyncio.sleep(0)
                return AuthResult(success=response == b"x")

        async def test() -> None:
            talk = self.talk(Handler())
            talk.say("AUTH ASK")
            self.assertEqual(await settle(talk), [f"334 {b64(b'one')}"])
            talk.say("eA==")
            self.assertEqual(await settle(talk), WELCOME)

        in_loop(test())

    def test_abort_under_asyncio(self) -> None:
        async def test() -> None:
            handler = Asking()
            talk = self.talk(handler)
            talk.say("AUTH ASK")
            await settle(talk)
            self.assertEqual(talk.say("*"), ABORTED)
            await settle(talk)
            self.assertEqual(handler.heard[1:], [missing(), missing()])

        in_loop(test())

    def test_cancelled_when_over(self) -> None:
        """
        That is no failure.
        """

        class Handler:
            async def auth_ASK(self, server: Any, args: list[str]) -> Any:
                await server.challenge_auth("one")
                raise asyncio.CancelledError

        async def test() -> None:
            talk = self.talk(Handler())
            talk.say("AUTH ASK")
            await settle(talk)
            talk.say("*")
            await settle(talk)

        in_loop(test())


class ResultTests(SynchronousTestCase):
    """
    What a method's result comes to.
    """

    def says(self, answer: Any, *pushed: str) -> list[str]:
        self.talk = Talk(adapters.aiosmtpd(Given(answer, *pushed)))
        self.talk.greet()
        self.talk.say("AUTH GIVEN")
        self.talk.client.wait(1)
        heard = self.talk.client.received.decode().split("\r\n")[:-1]
        return heard[next(n for n, line in enumerate(heard) if line == "250 HELP") + 1 :]

    def test_success(self) -> None:
        self.assertEqual(self.says(result(success=True)), WELCOME)
        self.assertEqual(self.says(result(success=True, message="235 Hi")), ["235 2.7.0 Hi"])
        self.assertIsNone(self.talk.protocol.session.login_data)

    def test_success_pushed(self) -> None:
        self.assertEqual(self.says(result(success=True), "235-Hi", "235 Ann"), [
            "235-2.7.0 Hi", "235 2.7.0 Ann",
        ])  # fmt: skip

    def test_success_refused(self) -> None:
        """
        Who is told no has not logged in.
        """
        refused = result(success=True, message="535 5.7.8 No")
        self.assertEqual(self.says(refused), ["535 5.7.8 No"])
        self.assertFalse(self.talk.protocol.session.authenticated)

    def test_failure(self) -> None:
        self.assertEqual(self.says(result(success=False, handled=False)), WRONG)
        self.assertIs(self.talk.protocol.session.authenticated, False)
        self.assertEqual(
            self.says(result(success=False, handled=False, message="535 5.7.8 No")),
            ["535 5.7.8 No"],
        )

    def test_failure_handled(self) -> None:
        """
        What was pushed is the reply; if nothing was, the client would wait for ever there.
        """
        failed = result(success=False)
        self.assertEqual(self.says(failed, "535 5.7.8 Pushed"), ["535 5.7.8 Pushed"])
        self.assertEqual(self.says(failed), WRONG)
        self.assertEqual(self.says(failed, "535 5.7.8 No", "235 Yes"), ["535 5.7.8 No"])
        failed.message = "554 5.7.8 Said"
        self.assertEqual(self.says(failed), ["554 5.7.8 Said"])

    def test_old_results(self) -> None:
        for answer in (None, False, missing()):
            self.assertEqual(self.says(answer), WRONG)
        self.assertEqual(self.says(None, "501 5.5.2 Pushed"), ["501 5.5.2 Pushed"])
        self.assertEqual(self.says(b"ann"), WELCOME)
        session = self.talk.protocol.session
        self.assertEqual((session.auth_data, session.login_data), (b"ann", b"ann"))
        self.assertIs(session.authenticated, True)


class HookTests(SynchronousTestCase):
    """
    ``handle_AUTH``.
    """

    class Handler(Given):
        arguments: Any = None

        async def handle_AUTH(self, server: Any, session: Any, envelope: Any, args: Any) -> Any:
            self.arguments = args
            for line in self.pushed:
                await server.push(line)
            session.auth_data = "Ann"
            session.login_data = b"ann"
            if self.result is None:
                session.authenticated = True
            return False if self.result is False else self.result

    def opened(self, answer: Any, *pushed: str, **settings: Any) -> Talk:
        self.handler = self.Handler(answer, *pushed)
        talk = Talk(adapters.aiosmtpd(self.handler), **settings)
        self.greeting = talk.greet()
        return talk

    def test_offers(self) -> None:
        """
        The two that aiosmtpd always has, and the handler's own.
        """
        self.opened("235 OK")
        (offer,) = (line for line in self.greeting if "AUTH" in line)
        self.assertEqual(set(offer.split()[1:]), {"PLAIN", "LOGIN", "GIVEN"})

    def test_success(self) -> None:
        for answer, pushed in (("235 Hi", ()), (None, ("235 Hi",))):
            talk = self.opened(answer, *pushed)
            self.assertEqual(talk.say(PLAIN), ["235 2.7.0 Hi"])
            self.assertEqual(self.handler.arguments, PLAIN.split()[1:])
            session = talk.protocol.session
            self.assertIs(session.authenticated, True)
            self.assertEqual((session.auth_data, session.login_data), ("Ann", b"ann"))

    def test_success_without_a_word(self) -> None:
        self.assertEqual(self.opened(None).say(PLAIN), WELCOME)

    def test_failure(self) -> None:
        talk = self.opened("535-5.7.8 No\r\n535 5.7.8 no")
        talk.say(PLAIN)
        talk.client.wait(1)
        self.assertEqual(talk.heard(), ["535-5.7.8 No", "535 5.7.8 no"])
        self.assertIs(talk.protocol.session.authenticated, False)

    def test_failure_pushed(self) -> None:
        talk = self.opened(None, "501 5.5.2 No")
        talk.say(PLAIN)
        talk.client.wait(1)
        self.assertEqual(talk.heard(), ["501 5.5.2 No"])

    def test_falls_through(self) -> None:
        talk = self.opened(missing(), authenticator=lambda *arguments: True)
        self.assertEqual(talk.say(PLAIN), WELCOME)
        talk = self.opened(missing())
        talk.say(PLAIN)
        talk.client.wait(1)
        self.assertEqual(talk.heard(), WRONG)

    def test_own_mechanism(self) -> None:
        talk = self.opened(missing())
        talk.say("AUTH GIVEN")
        talk.client.wait(1)
        self.assertEqual(talk.heard(), WRONG)


class NameTests(SynchronousTestCase):
    def test_names(self) -> None:
        class Handler:
            auth_database = "/etc/users"
            auth_FILE = "/etc/users"

            async def auth_X__Y(self, server: Any, args: Any) -> None: ...

            @auth_mechanism("scram-sha-x")
            async def auth_scram(self, server: Any, args: Any) -> None: ...

            def auth_helper(self) -> None: ...

        self.assertEqual(set(methods_in(Handler())), {"X-Y", "SCRAM-SHA-X"})
        talk = Talk(adapters.aiosmtpd(Handler()))
        self.assertIn("250-AUTH X-Y SCRAM-SHA-X", [
            re.sub("AUTH SCRAM-SHA-X X-Y", "AUTH X-Y SCRAM-SHA-X", line) for line in talk.greet()
        ])  # fmt: skip

    def test_bad_name(self) -> None:
        class Handler:
            async def auth_FAR_TOO_LONG_FOR_A_NAME(self, server: Any, args: Any) -> None: ...

        self.assertRaises(ValueError, adapters.aiosmtpd, Handler())


class CallTests(SynchronousTestCase):
    """
    What a mechanism of one's own can do with the same means.
    """

    def opened(self, exchange: Any) -> Talk:
        mechanism = Mechanism("OWN", exchange, None)
        talk = Talk(Sink(), mechanisms=(*MECHANISMS, mechanism))
        talk.greet()
        return talk

    def test_call(self) -> None:
        calls: list[Any] = []

        def look_up(*arguments: Any) -> str:
            calls.append(arguments)
            return "Ann"

        def exchange(circumstances: Any, initial: Any) -> Any:
            found = yield Call(look_up)
            yield Challenge(found.encode())
            return Identity(found, b"ann", "235 Hello", lambda: calls.append("gone"))

        talk = self.opened(exchange)
        self.assertEqual(talk.say("AUTH OWN"), [f"334 {b64(b'Ann')}"])
        self.assertEqual(talk.say("="), ["501 5.5.2 Cannot decode that"])
        talk.say("AUTH OWN")
        self.assertEqual(talk.say("eA=="), ["235 2.7.0 Hello"])
        protocol = talk.protocol
        self.assertEqual(calls, [(protocol, protocol.session, protocol.envelope)] * 2)
        self.assertEqual(protocol.session.login_data, b"ann")
        talk.client.disconnect()
        self.assertEqual(calls[-1], "gone")

    def test_later(self) -> None:
        waiting: Deferred[str] = Deferred()

        def exchange(circumstances: Any, initial: Any) -> Any:
            return Refusal((yield Call(lambda *arguments: waiting)))

        talk = self.opened(exchange)
        self.assertEqual(talk.say("AUTH OWN"), [])
        waiting.callback("535 5.7.8 No")
        talk.client.wait(1)
        self.assertEqual(talk.heard(), ["535 5.7.8 No"])

    def test_fails(self) -> None:
        closed = []

        def fail(*arguments: Any) -> None:
            raise KeyError

        def exchange(circumstances: Any, initial: Any) -> Any:
            try:
                yield Call(fail)
            finally:
                closed.append(True)

        talk = self.opened(exchange)
        self.assertEqual(talk.say("AUTH OWN"), ["454 4.7.0 Temporary authentication failure"])
        self.assertEqual(closed, [True])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
