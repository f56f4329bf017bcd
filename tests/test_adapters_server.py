"""
Tests for txsmtpd.adapters.server.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd import adapters
from txsmtpd.adapters.server import Server, complete, server_of
from txsmtpd.adapters.waiting import NoLoop
from txsmtpd.core.session import Session
from txsmtpd.proxy import HeaderReader
from txsmtpd.tls import self_signed

from .adapterskit import Talk, in_loop

CERTIFICATE = self_signed("mx.example")


class Doing:
    """
    Does on NOOP what a test wants.
    """

    def __init__(self, act: Any) -> None:
        self.act = act
        self.server: Any = None

    async def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: Any) -> Any:
        self.server = server
        answer = self.act(server)
        return await answer if hasattr(answer, "__await__") else answer


class PushTests(SynchronousTestCase):
    def pushed(self, *statuses: str | bytes) -> list[str]:
        async def push(server: Any) -> str:
            for status in statuses:
                await server.push(status)
            return "250 done"

        return Talk(adapters.aiosmtpd(Doing(push))).say("NOOP")

    def test_lines(self) -> None:
        self.assertEqual(
            self.pushed("250-one", b"250-two", "250-three\r\n250-four"),
            ["250-one", "250-two", "250-three", "250-four", "250 2.0.0 done"],
        )

    def test_ascii(self) -> None:
        self.assertEqual(self.pushed("250-ж")[0], "250-?")

    def test_utf8(self) -> None:
        class Handler:
            async def handle_RCPT(self, server: Any, *arguments: Any) -> str:
                await server.push("250-ж")
                return "250 OK"

        talk = Talk(adapters.aiosmtpd(Handler()))
        talk.greet()
        heard = talk.say("MAIL FROM:<> SMTPUTF8", "RCPT TO:<b@example.org>")
        self.assertEqual(heard[1], "250-ж")

    def test_no_reply(self) -> None:
        self.assertEqual(self.pushed("hello"), ["451 4.3.0 Local error, try again later"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_refused_is_logged(self) -> None:
        """
        What is pushed goes the way of all replies.
        """
        self.assertEqual(self.pushed("550-no"), ["550-no", "250 2.0.0 done"])


class ServerTests(SynchronousTestCase):
    def server(self, **settings: Any) -> Any:
        handler = Doing(lambda server: None)
        self.talk = Talk(adapters.aiosmtpd(handler), **settings)
        self.talk.say("NOOP")
        self.assertIs(handler.server.event_handler, handler)
        return handler.server

    def test_attributes(self) -> None:
        server = self.server(data_size_limit=1000, context_factory=CERTIFICATE)
        protocol = self.talk.protocol
        self.assertEqual(server.hostname, "mx.example")
        self.assertIs(server.session, protocol.session)
        self.assertIs(server.envelope, protocol.envelope)
        self.assertEqual(server.__ident__, "ESMTP txsmtpd")
        self.assertEqual(server.data_size_limit, 1000)
        self.assertIs(server.enable_SMTPUTF8, True)
        self.assertIs(server.require_starttls, False)
        self.assertIs(server.tls_context, CERTIFICATE)
        self.assertIsNone(self.server(data_size_limit=0).data_size_limit)

    def test_authenticator(self) -> None:
        """
        The one that was written for aiosmtpd, which may have methods of its own.
        """

        def authenticator(*arguments: Any) -> bool:
            return False

        self.assertIs(self.server(authenticator=authenticator)._authenticator, authenticator)
        judge = adapters.authenticator(authenticator)
        self.assertIs(self.server(authenticator=judge)._authenticator, authenticator)
        self.assertIsNone(self.server()._authenticator)

    def test_no_attribute(self) -> None:
        server = self.server()
        self.assertRaises(AttributeError, lambda: server.nosuch)

    def test_same_one(self) -> None:
        """
        What a handler keeps on it stays, and another handler has one of its own.
        """
        server = self.server()
        server.colour = "red"
        self.talk.say("NOOP")
        self.assertIs(server_of(self.talk.protocol, server.event_handler), server)
        self.assertIsNot(server_of(self.talk.protocol, self), server)

    def test_loop(self) -> None:
        server = self.server()
        self.assertRaises(NoLoop, lambda: server.loop.create_task)

        async def test() -> None:
            self.assertFalse(server.loop.is_closed())

        in_loop(test())


class CheckTests(SynchronousTestCase):
    def test_helo(self) -> None:
        async def check(server: Any) -> str:
            return "250 refused" if await server.check_helo_needed() else "250 fine"

        talk = Talk(adapters.aiosmtpd(Doing(check)))
        self.assertEqual(
            talk.say("NOOP"), ["503 5.5.1 Error: send HELO first", "250 2.0.0 refused"]
        )
        talk.greet()
        self.assertEqual(talk.say("NOOP"), ["250 2.0.0 fine"])

    def test_auth(self) -> None:
        async def check(server: Any) -> str:
            return "250 refused" if await server.check_auth_needed("NOOP") else "250 fine"

        handler = adapters.aiosmtpd(Doing(check))
        talk = Talk(handler, auth_required=True, authenticator=lambda *arguments: True)
        self.assertEqual(
            talk.say("NOOP"), ["530 5.7.0 Authentication required", "250 2.0.0 refused"]
        )
        talk.protocol.session.authenticated = True
        self.assertEqual(talk.say("NOOP"), ["250 2.0.0 fine"])
        talk = Talk(handler)
        self.assertEqual(talk.say("NOOP"), ["250 2.0.0 fine"])


class TransportTests(SynchronousTestCase):
    def test_facts(self) -> None:
        protocol: Any = Talk(adapters.aiosmtpd(object())).protocol
        protocol.session.ssl = {"cipher": ("X", "TLSv1.3", 256)}
        transport = Server(protocol, None).transport
        self.assertEqual(transport.get_extra_info("peername"), ("192.0.2.1", 54321))
        self.assertEqual(transport.get_extra_info("sockname"), ("192.0.2.25", 25))
        self.assertEqual(transport.get_extra_info("cipher"), ("X", "TLSv1.3", 256))
        self.assertIsNone(transport.get_extra_info("socket"))
        self.assertEqual(transport.get_extra_info("nosuch", 1), 1)
        self.assertEqual(transport.getPeer().host, "192.0.2.1")

    def test_close(self) -> None:
        """
        What a hook that closes then returns nobody hears.
        """

        def close(server: Any) -> str:
            self.assertFalse(server.transport.is_closing())
            server.transport.close()
            self.assertTrue(server.transport.is_closing())
            return "250 bye"

        talk = Talk(adapters.aiosmtpd(Doing(close)))
        self.assertEqual(talk.say("NOOP", "NOOP"), [])
        self.assertTrue(talk.client.closed)

    def test_push_and_close(self) -> None:
        async def leave(server: Any) -> None:
            await server.push("421 4.7.0 Go away")
            server.transport.close()

        talk = Talk(adapters.aiosmtpd(Doing(leave)))
        self.assertEqual(talk.say("NOOP", "NOOP"), ["421 4.7.0 Go away"])
        self.assertTrue(talk.client.closed)

    def test_abort(self) -> None:
        talk = Talk(adapters.aiosmtpd(Doing(lambda server: server.transport.abort())))
        talk.say("NOOP")
        self.assertTrue(talk.client.closed)


class SessionTests(SynchronousTestCase):
    def test_completed(self) -> None:
        session: Any = Session()
        complete(session)
        self.assertIsNone(session.proxy_data)
        self.assertRaises(NoLoop, lambda: session.loop.time)

    def test_once(self) -> None:
        """
        What a handler has put there stays.
        """
        session: Any = Session()
        session.loop = "mine"
        complete(session)
        self.assertEqual(session.loop, "mine")

    def test_proxy(self) -> None:
        raw = b"PROXY TCP4 198.51.100.1 198.51.100.2 1025 25\r\n"
        proxy, _ = HeaderReader().feed(raw)
        session: Any = Session(proxy=proxy)
        complete(session)
        data = session.proxy_data
        complete(session)
        self.assertIs(session.proxy_data, data)
        self.assertTrue(data)
        self.assertEqual((data.valid, data.error, data.rest, data.whole_raw), (True, "", b"", raw))
        self.assertEqual(str(data.src_addr), "198.51.100.1")
