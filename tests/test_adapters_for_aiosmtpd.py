"""
Tests for txsmtpd.adapters.for_aiosmtpd.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import providedBy

from txsmtpd import Rejected, adapters, hooks
from txsmtpd.adapters.credentials import missing
from txsmtpd.adapters.for_aiosmtpd import ONLY_OURS, from_cli, upper
from txsmtpd.adapters.waiting import NoLoop
from txsmtpd.core.session import Envelope, Session
from txsmtpd.factory import SMTPFactory
from txsmtpd.interfaces import IContentHook, IDATAHook, IRCPTHook
from txsmtpd.protocol import LMTP
from txsmtpd.tls import self_signed

from .adapterskit import Talk, in_loop, settle

PEER = ("192.0.2.1", 54321)
CERTIFICATE = self_signed("mx.example")


class Recorder:
    """
    Has the hooks that a test gives it answers for.
    """

    def __init__(self, **answers: Any) -> None:
        self.calls: list[tuple[Any, ...]] = []
        for name, answer in answers.items():
            setattr(self, f"handle_{name}", self._hook(name, answer))

    def _hook(self, name: str, answer: Any) -> Any:
        async def hook(server: Any, session: Any, envelope: Any, *arguments: Any) -> Any:
            self.calls.append((name, *arguments))
            if isinstance(answer, Exception):
                raise answer
            return answer

        return hook


class Filling:
    """
    Fills the envelope itself, as aiosmtpd demands of these hooks.
    """

    def __init__(self) -> None:
        self.envelopes: list[Envelope] = []

    async def handle_EHLO(
        self, server: Any, session: Any, envelope: Any, hostname: str, responses: list[str]
    ) -> list[str]:
        session.host_name = hostname
        responses.insert(1, "250-XTRA")
        return responses

    async def handle_HELO(self, server: Any, session: Any, envelope: Any, hostname: str) -> str:
        session.host_name = hostname.upper()
        return f"250 {server.hostname}"

    async def handle_MAIL(
        self, server: Any, session: Any, envelope: Any, address: str, mail_options: list[str]
    ) -> str:
        envelope.mail_from = address
        envelope.mail_options.extend(mail_options)
        return "250 OK"

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, rcpt_options: list[str]
    ) -> str:
        if not address.endswith("@example.org"):
            return "550 not relaying to that domain"
        envelope.rcpt_tos.append(address)
        envelope.rcpt_options.extend(rcpt_options)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.envelopes.append(envelope)
        return "250 Message accepted for delivery"


class HookTests(SynchronousTestCase):
    """
    What is passed to hooks, and what comes of what they return.
    """

    def test_declares_what_there_is(self) -> None:
        adapted = adapters.aiosmtpd(Recorder(RCPT="250 OK", DATA="250 OK"))
        self.assertEqual(set(providedBy(adapted)), {IRCPTHook, IDATAHook})

    def test_filled_by_hooks(self) -> None:
        """
        What hooks record is not recorded twice.
        """
        handler = Filling()
        talk = Talk(adapters.aiosmtpd(handler))
        self.assertEqual(talk.greet()[:2], ["250-mx.example", "250-XTRA"])
        heard = talk.say(
            "MAIL FROM:<ann@example.com> body=8bitmime",
            "RCPT TO:<bob@example.org> notify=Never",
            "RCPT TO:<eve@example.net>",
            "DATA",
        )
        self.assertEqual(heard[1:3], ["250 2.1.5 OK", "550 5.1.0 not relaying to that domain"])
        self.assertEqual(talk.say("Hello", "."), ["250 2.0.0 Message accepted for delivery"])
        (envelope,) = handler.envelopes
        self.assertEqual(envelope.mail_from, "ann@example.com")
        self.assertEqual(envelope.mail_options, ["BODY=8BITMIME"])
        self.assertEqual(envelope.rcpt_tos, ["bob@example.org"])
        self.assertEqual(envelope.rcpt_options, ["NOTIFY=NEVER"])
        self.assertEqual(envelope.content, b"Hello\r\n")
        self.assertEqual(envelope.original_content, b"Hello\r\n")

    def test_decoded(self) -> None:
        handler = Filling()
        talk = Talk(adapters.aiosmtpd(handler), decode_data=True)
        talk.greet()
        talk.mail(content="ж\r\n")
        self.assertEqual(handler.envelopes[0].content, "ж\r\n")
        self.assertEqual(handler.envelopes[0].original_content, "ж\r\n".encode())

    def test_helo(self) -> None:
        talk = Talk(adapters.aiosmtpd(Filling()))
        self.assertEqual(talk.say("HELO client.example"), ["250 mx.example"])
        self.assertEqual(talk.protocol.session.host_name, "CLIENT.EXAMPLE")

    def test_core_records_what_hooks_leave(self) -> None:
        handler = Recorder(MAIL="250 OK", RCPT="250 OK", DATA="250 OK")
        talk = Talk(adapters.aiosmtpd(handler))
        talk.greet()
        talk.say("MAIL FROM:<> size=10", "RCPT TO:<b@example.org>", "DATA")
        envelope = talk.protocol.envelope
        talk.say(".")
        self.assertEqual(envelope.mail_from, "")
        self.assertEqual(envelope.mail_options, ["SIZE=10"])
        self.assertEqual(envelope.rcpt_tos, ["b@example.org"])
        self.assertEqual(
            handler.calls, [("MAIL", "", ["SIZE=10"]), ("RCPT", "b@example.org", []), ("DATA",)]
        )

    def test_none_goes_on(self) -> None:
        """
        There, it would end in an error.
        """
        names = ("HELO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "VRFY", "QUIT")
        talk = Talk(adapters.aiosmtpd(Recorder(**dict.fromkeys(names))))
        talk.say("HELO a.example")
        codes = [line[:3] for line in talk.mail()]
        self.assertEqual(codes, ["250", "250", "354", "250"])
        codes = [line[:3] for line in talk.say("RSET", "NOOP", "VRFY bob", "QUIT")]
        self.assertEqual(codes, ["250", "250", "252", "221"])

    def test_plain_methods(self) -> None:
        """
        A hook need not be a coroutine.
        """

        class Handler:
            def handle_RCPT(self, *arguments: Any) -> bytes:
                return b"550 5.1.1 No"

        talk = Talk(adapters.aiosmtpd(Handler()))
        talk.greet()
        self.assertEqual(talk.mail()[1], "550 5.1.1 No")

    def test_several_lines(self) -> None:
        talk = Talk(adapters.aiosmtpd(Recorder(NOOP="250-one\r\n250 two")))
        self.assertEqual(talk.say("NOOP"), ["250-2.0.0 one", "250 2.0.0 two"])

    def test_noop(self) -> None:
        handler = Recorder(NOOP="250 OK")
        Talk(adapters.aiosmtpd(handler)).say("NOOP", "NOOP x y")
        self.assertEqual(handler.calls, [("NOOP", None), ("NOOP", "x y")])

    def test_vrfy(self) -> None:
        handler = Recorder(VRFY="250 That is Bob")
        talk = Talk(adapters.aiosmtpd(handler))
        self.assertEqual(talk.say("VRFY <bob@example.org>"), ["250 2.0.0 That is Bob"])
        talk.say("VRFY bob", "VRFY <bob", "VRFY bob>")
        addresses = [address for _, address in handler.calls]
        self.assertEqual(addresses, ["bob@example.org", "bob", "<bob", "bob>"])

    def test_rset_and_quit(self) -> None:
        talk = Talk(adapters.aiosmtpd(Recorder(RSET="250 Reset", QUIT="221 So long")))
        self.assertEqual(talk.say("RSET", "QUIT"), ["250 2.0.0 Reset", "221 2.0.0 So long"])
        self.assertTrue(talk.client.closed)

    def test_missing(self) -> None:
        """
        It stands for a hook that is not there.
        """
        talk = Talk(adapters.aiosmtpd(Recorder(NOOP=missing())))
        self.assertEqual(talk.say("NOOP"), ["250 2.0.0 OK"])

    def test_refusal_closes(self) -> None:
        talk = Talk(adapters.aiosmtpd(Recorder(RCPT="421 4.7.0 Go away")))
        talk.greet()
        talk.say("MAIL FROM:<>", "RCPT TO:<b@example.org>")
        self.assertTrue(talk.client.closed)

    def test_chain(self) -> None:
        talk = Talk(adapters.aiosmtpd(Recorder(RCPT="550 no")), adapters.aiosmtpd(Filling()))
        talk.greet()
        self.assertEqual(talk.mail()[1], "550 5.1.0 no")

    def test_lmtp(self) -> None:
        """
        One status is everyone's.
        """
        talk = Talk(adapters.aiosmtpd(Recorder(DATA="250 Stored")), protocol=LMTP)
        talk.say("LHLO client.example")
        heard = talk.mail("a@example.org", "b@example.org")
        self.assertEqual(heard[-2:], ["250 2.0.0 Stored"] * 2)

    def test_accepts_all(self) -> None:
        """
        So does any object there.
        """
        adapted = adapters.aiosmtpd(object())
        self.assertTrue(IContentHook.providedBy(adapted))
        talk = Talk(adapted)
        talk.greet()
        self.assertEqual(talk.mail()[-1], "250 2.0.0 Message accepted")

    def test_process_message(self) -> None:
        """
        It is called where there is no handle_DATA.
        """

        class Old:
            called: Any = None

            def process_message(self, peer: Any, sender: str, to: list[str], data: Any) -> str:
                self.called = (peer, sender, to, data)
                return "250 Thanks"

        handler: Any = Old()
        talk = Talk(adapters.aiosmtpd(handler))
        talk.greet()
        self.assertEqual(talk.mail()[-1], "250 2.0.0 Thanks")
        self.assertEqual(
            handler.called, (PEER, "ann@example.com", ["bob@example.org"], b"Hello\r\n")
        )
        handler = Old()
        handler.handle_DATA = Recorder(DATA="250 New").handle_DATA  # type: ignore[attr-defined]
        talk = Talk(adapters.aiosmtpd(handler))
        talk.greet()
        self.assertEqual(talk.mail()[-1], "250 2.0.0 New")
        self.assertIsNone(handler.called)


class EHLOTests(SynchronousTestCase):
    def ehlo(self, handler: object) -> list[str]:
        return Talk(adapters.aiosmtpd(handler), extensions=()).greet()

    def with_five(self, answer: Any) -> list[str]:
        class Handler:
            async def handle_EHLO(self, a: Any, b: Any, c: Any, name: str, lines: Any) -> Any:
                return answer

        return self.ehlo(Handler())

    def with_four(self, answer: Any, *pushed: str) -> list[str]:
        class Handler:
            async def handle_EHLO(self, server: Any, b: Any, c: Any, name: str) -> Any:
                for line in pushed:
                    await server.push(line)
                if isinstance(answer, Exception):
                    raise answer
                return answer

        return self.ehlo(Handler())

    def test_lines(self) -> None:
        self.assertEqual(self.with_five(["250-a", "250 HELP"]), ["250-a", "250 HELP"])

    def test_nothing(self) -> None:
        self.assertEqual(self.with_five(None), ["250-mx.example", "250 HELP"])

    def test_refusals(self) -> None:
        for answer in ("550 5.7.1 No", ["550 5.7.1 No"], ["550-5.7.1 No"]):
            self.assertEqual(self.with_five(answer), ["550 5.7.1 No"])

    def test_four_arguments(self) -> None:
        """
        What is planned, what the hook pushes, and what it returns.
        """
        self.assertEqual(
            self.with_four("250 last", "250-XTRA"),
            ["250-mx.example", "250-HELP", "250-XTRA", "250 last"],
        )
        self.assertEqual(self.with_four("250-one\n250 two")[1:], ["250-HELP", "250-one", "250 two"])

    def test_four_arguments_without_a_word(self) -> None:
        self.assertEqual(self.with_four(None), ["250-mx.example", "250 HELP"])
        self.assertEqual(self.with_four(None, "250 A"), ["250-mx.example", "250-HELP", "250 A"])

    def test_four_arguments_refuse(self) -> None:
        self.assertEqual(self.with_four("550 5.7.1 No", "250-XTRA"), ["550 5.7.1 No"])
        self.assertEqual(self.with_four("550-No\n550 no")[-1], "550 5.0.0 no")

    def test_four_arguments_fail(self) -> None:
        """
        What is pushed later is sent again.
        """

        class Handler:
            def handle_EHLO(self, server: Any, b: Any, c: Any, name: str) -> Any:
                raise Rejected("550 5.7.1 No")

            async def handle_NOOP(self, server: Any, b: Any, c: Any, arg: Any) -> None:
                await server.push("250-wait")

        talk = Talk(adapters.aiosmtpd(Handler()))
        self.assertEqual(talk.greet(), ["550 5.7.1 No"])
        self.assertEqual(talk.say("NOOP"), ["250-wait", "250 2.0.0 OK"])
        self.assertEqual(self.with_four(Rejected("550 5.7.1 No")), ["550 5.7.1 No"])

    def test_four_arguments_at_once(self) -> None:
        class Handler:
            def handle_EHLO(self, server: Any, b: Any, c: Any, name: str) -> str:
                return "250 last"

        self.assertEqual(self.ehlo(Handler())[-1], "250 last")

    def test_other_arguments(self) -> None:
        class Handler:
            def handle_EHLO(self, server: Any) -> None: ...

        error = self.assertRaises(TypeError, adapters.aiosmtpd, Handler())
        self.assertEqual(
            str(error),
            "handle_EHLO takes 1 arguments, not server, session, envelope, hostname and responses",
        )


class WhetherTests(SynchronousTestCase):
    """
    STARTTLS and PROXY: what is not true says no.
    """

    def after_tls(self, answer: Any) -> str:
        class Handler:
            def handle_STARTTLS(self, server: Any, session: Any, envelope: Any) -> Any:
                assert session.ssl["cipher"]
                return answer

        talk = Talk(adapters.aiosmtpd(Handler()), context_factory=CERTIFICATE)
        talk.greet()
        talk.say("STARTTLS")
        talk.client.start_tls()
        return talk.greet()[-1][:3]

    def test_starttls(self) -> None:
        self.assertEqual(self.after_tls(True), "250")
        for answer in (False, None):
            self.assertEqual(self.after_tls(answer), "554")

    def proxied(self, answer: Any) -> tuple[list[str], Recorder]:
        handler = Recorder(PROXY=answer, NOOP=None)
        talk = Talk(
            adapters.aiosmtpd(handler), proxy_protocol=True, trusted_proxies=["192.0.2.0/24"]
        )
        talk.client.send(b"PROXY TCP4 198.51.100.1 198.51.100.2 1025 25\r\n")
        talk.client.send(b"NOOP\r\n")
        self.session = talk.protocol.session
        return talk.heard(), handler

    def test_proxy(self) -> None:
        heard, handler = self.proxied(True)
        self.assertEqual(heard[0][:3], "220")
        facts = handler.calls[0][1]
        self.assertIs(facts, self.session.proxy_data)
        self.assertTrue(facts)
        self.assertTrue(facts.valid)
        self.assertEqual(facts.src_port, 1025)
        self.assertEqual(facts.version, 1)

    def test_proxy_refused(self) -> None:
        for answer in (False, None):
            self.assertEqual(self.proxied(answer)[0], [])


class ErrorTests(SynchronousTestCase):
    def test_without_hook(self) -> None:
        talk = Talk(adapters.aiosmtpd(Recorder(NOOP=KeyError("secret"))))
        self.assertEqual(talk.say("NOOP"), ["451 4.3.0 Local error, try again later"])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_hook(self) -> None:
        for later in (True, False):
            asked = []

            class Handler(Recorder):
                def handle_exception(self, error: Exception) -> Any:
                    asked.append(error)  # noqa: B023
                    return self.later() if later else "542 Internal server error"  # noqa: B023

                async def later(self) -> str:
                    return "542 Internal server error"

            talk = Talk(adapters.aiosmtpd(Handler(NOOP=KeyError())))
            self.assertEqual(talk.say("NOOP"), ["542 5.0.0 Internal server error"])
            self.assertEqual([type(error) for error in asked], [KeyError])
            self.flushLoggedErrors(KeyError)

    def test_no_verdict(self) -> None:
        talk = Talk(adapters.aiosmtpd(Recorder(NOOP=True)))
        self.assertEqual(talk.say("NOOP"), ["451 4.3.0 Local error, try again later"])
        self.flushLoggedErrors(TypeError)


class LoopTests(SynchronousTestCase):
    """
    Handlers that wait for asyncio.
    """

    class Handler:
        def __init__(self) -> None:
            self.event = asyncio.Event()
            self.tasks: list[Any] = []
            self.cancelled = False

        async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
            found = await session.loop.run_in_executor(None, len, envelope.content)
            self.tasks.append(asyncio.current_task())
            return f"250 {found} octets"

        async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: Any) -> str:
            await server.push("250-waiting")
            try:
                await self.event.wait()
            except asyncio.CancelledError:
                self.cancelled = True
                raise
            return "250 done"

        async def handle_VRFY(self, server: Any, session: Any, envelope: Any, address: str) -> str:
            await asyncio.sleep(30)
            return "250 never"

    def test_without_loop(self) -> None:
        talk = Talk(adapters.aiosmtpd(self.Handler()))
        talk.greet()
        self.assertEqual(talk.say("VRFY bob"), ["451 4.3.0 Local error, try again later"])
        self.assertEqual(talk.mail()[-1][:3], "451")
        for failure in self.flushLoggedErrors(NoLoop):
            self.assertIn("twistd --reactor asyncio", failure.getErrorMessage())

    def test_with_loop(self) -> None:
        async def test() -> None:
            handler = self.Handler()
            talk = Talk(adapters.aiosmtpd(handler))
            talk.greet()
            talk.mail()
            heard: list[str] = []
            while not heard:
                await asyncio.sleep(0.001)
                heard = talk.heard()
            self.assertEqual(heard, ["250 2.0.0 7 octets"])
            self.assertIsInstance(handler.tasks[0], asyncio.Task)
            self.assertIs(talk.protocol.session.loop, asyncio.get_running_loop())

        in_loop(test())

    def test_waits(self) -> None:
        """
        What is pushed is sent at once, and what follows waits.
        """

        async def test() -> None:
            handler = self.Handler()
            talk = Talk(adapters.aiosmtpd(handler))
            self.assertEqual(talk.say("NOOP", "RSET"), [])
            self.assertEqual(await settle(talk), ["250-waiting"])
            handler.event.set()
            self.assertEqual(await settle(talk), ["250 2.0.0 done", "250 2.0.0 OK"])

        in_loop(test())

    def test_client_leaves(self) -> None:
        async def test() -> None:
            handler = self.Handler()
            talk = Talk(adapters.aiosmtpd(handler))
            talk.say("NOOP")
            await settle(talk)
            talk.client.disconnect()
            await settle(talk)
            self.assertTrue(handler.cancelled)

        in_loop(test())

    def test_hook_timeout(self) -> None:
        async def test() -> None:
            handler = self.Handler()
            talk = Talk(adapters.aiosmtpd(handler), hook_timeout=10)
            talk.say("NOOP")
            await settle(talk)
            talk.client.wait(10)
            heard = await settle(talk)
            self.assertEqual(heard, ["451 4.3.0 Local error, try again later"])
            self.assertTrue(handler.cancelled)

        in_loop(test())

    def test_deferred_without_loop(self) -> None:
        """
        Who has begun to port a handler may return what is Twisted's.
        """
        waiting: Deferred[str] = Deferred()

        class Handler:
            def handle_NOOP(self, *arguments: Any) -> Any:
                return waiting

        talk = Talk(adapters.aiosmtpd(Handler()))
        self.assertEqual(talk.say("NOOP"), [])
        waiting.callback("250 done")
        self.assertEqual(talk.heard(), ["250 2.0.0 done"])


class OptionsTests(SynchronousTestCase):
    def test_upper(self) -> None:
        self.assertEqual(
            upper(["body=8bitmime", "Smtputf8", "envid=QQ314", "orcpt=rfc822;Bob@x", "auth=Ann"]),
            ["BODY=8BITMIME", "SMTPUTF8", "ENVID=QQ314", "ORCPT=rfc822;Bob@x", "AUTH=Ann"],
        )


class CLITests(SynchronousTestCase):
    class Handler:
        words: tuple[str, ...] = ()

        @classmethod
        def from_cli(cls, parser: Any, *words: str) -> Any:
            if "wrong" in words:
                parser.error("wants other words")
            made = cls()
            made.words = words
            return made

    def words(self, argument: str | None) -> Iterable[str]:
        words: Iterable[str] = from_cli(self.Handler, argument).words
        return words

    def test_words(self) -> None:
        self.assertEqual(self.words(None), ())
        self.assertEqual(self.words(""), ())
        self.assertEqual(self.words("one 'two three'  a:b"), ("one", "two three", "a:b"))

    def test_error(self) -> None:
        error = self.assertRaises(ValueError, self.words, "wrong")
        self.assertEqual(str(error), "wants other words")
        self.assertRaises(ValueError, self.words, "'open")


class OursTests(SynchronousTestCase):
    def test_only_ours(self) -> None:
        self.assertEqual(
            set(ONLY_OURS),
            {
                "handle_CONNECT",
                "handle_DATA_start",
                "handle_DISCONNECT",
                "handle_EXPN",
                "handle_HELP",
                "open_content",
            },
        )

    def test_forgotten_wrapper(self) -> None:
        """
        Who passes such a handler to the factory is told both cures.
        """
        error = self.assertRaises(TypeError, SMTPFactory, Filling())
        self.assertIn("@txsmtpd.hooks", str(error))
        self.assertIn("txsmtpd.adapters.aiosmtpd(...)", str(error))

    def test_beside_ours(self) -> None:
        """
        The session is the same one, so handlers of both kinds see what the others note.
        """

        @hooks
        class Ours:
            noted: Any = None

            def handle_NOOP(self, server: Any, session: Session, envelope: Any, arg: str) -> None:
                Ours.noted = session.colour  # type: ignore[attr-defined]

        class Theirs:
            async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: Any) -> None:
                session.colour = "red"

        Talk(adapters.aiosmtpd(Theirs()), Ours()).say("NOOP")
        self.assertEqual(Ours.noted, "red")
