"""
Tests for txsmtpd.factory; what it does when connections come and go is in test_ends.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from functools import partial
from typing import Any

from twisted.internet import reactor
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from txsmtpd import SMTP, SMTPFactory, hooks
from txsmtpd.core.outcomes import Outcome, Verb
from txsmtpd.core.replies import OK
from txsmtpd.core.session import Session
from txsmtpd.extensions.base import Extension
from txsmtpd.extensions.deliverby import DeliverBy
from txsmtpd.factory import DEFAULT, OPTIONAL
from txsmtpd.interfaces import IHonours
from txsmtpd.testing import Client, RecordingHandler, connect, make_factory
from txsmtpd.tls import self_signed

CREATOR = self_signed("mx.example")

DOWN = b"Shutting down, try again later\r\n"


class FactoryTests(SynchronousTestCase):
    """
    What a factory is made of.
    """

    def test_interface(self) -> None:
        verifyObject(IProtocolFactory, make_factory(RecordingHandler()))

    def test_default_hostname(self) -> None:
        """
        It is the machine's own name, and is found when the factory is made, once.
        """
        self.patch(socket, "getfqdn", lambda: "this.example")
        factory = SMTPFactory(RecordingHandler(), reactor=Clock())
        self.assertEqual(factory.settings.hostname, "this.example")
        self.assertEqual(connect(factory).received, b"220 this.example ESMTP txsmtpd\r\n")

    def test_hostname(self) -> None:
        self.patch(socket, "getfqdn", lambda: self.fail("not asked for"))
        factory = SMTPFactory(RecordingHandler(), reactor=Clock(), hostname="mx.example")
        self.assertEqual(factory.settings.hostname, "mx.example")

    def test_default_reactor(self) -> None:
        self.assertIs(SMTPFactory(RecordingHandler(), hostname="x").reactor, reactor)

    def test_unknown_setting(self) -> None:
        self.assertRaises(TypeError, make_factory, RecordingHandler(), data_size_limits=5)

    def test_setting_out_of_range(self) -> None:
        error = self.assertRaises(ValueError, make_factory, RecordingHandler(), timeout=-1)
        self.assertIn("timeout", str(error))

    def test_no_handler(self) -> None:
        error = self.assertRaises(TypeError, make_factory, object())
        self.assertIn("@txsmtpd.hooks", str(error))

    def test_several_handlers(self) -> None:
        handlers = [RecordingHandler(), RecordingHandler()]
        connect(make_factory(*handlers))
        self.assertEqual([len(handler.calls) for handler in handlers], [1, 1])

    def test_not_noisy(self) -> None:
        self.assertFalse(SMTPFactory.noisy)

    def test_log_prefix(self) -> None:
        class MyFactory(SMTPFactory):
            pass

        self.assertEqual(make_factory(RecordingHandler()).logPrefix(), "SMTPFactory")
        own = MyFactory(RecordingHandler(), reactor=Clock(), hostname="x")
        self.assertEqual(own.logPrefix(), "MyFactory")

    def test_build_protocol(self) -> None:
        factory = make_factory(RecordingHandler())
        first, second = factory.buildProtocol(None), factory.buildProtocol(None)
        self.assertIsInstance(first, SMTP)
        self.assertIsNot(first, second)
        self.assertIs(first.factory, factory)

    def test_rules_are_made_once(self) -> None:
        factory = make_factory(RecordingHandler())
        rules = factory.rules
        connect(factory)
        connect(factory)
        self.assertIs(factory.rules, rules)

    def test_protocol_of_a_subclass(self) -> None:
        class PingSMTP(SMTP):
            def smtp_PING(self, argument: str) -> str:
                return "250 2.0.0 PONG"

        class PingFactory(SMTPFactory):
            protocol = PingSMTP

        factory = PingFactory(RecordingHandler(), reactor=Clock(), hostname="mx.example")
        client = connect(factory)
        client.take()
        client.send(b"PING\r\n")
        self.assertEqual(client.take(), b"250 2.0.0 PONG\r\n")

    def test_protocol_of_an_instance(self) -> None:
        """
        Also when it is set after the first connection, as Twisted's factories allow.
        """

        class PingSMTP(SMTP):
            def smtp_PING(self, argument: str) -> str:
                return "250 2.0.0 PONG"

        factory = make_factory(RecordingHandler())
        connect(factory)
        factory.protocol = PingSMTP
        client = connect(factory)
        client.take()
        client.send(b"PING\r\n")
        self.assertEqual(client.take(), b"250 2.0.0 PONG\r\n")


class CombinationTests(SynchronousTestCase):
    """
    Settings that cannot work alone.
    """

    def assertRefused(self, wanted: str, **settings: Any) -> None:
        error = self.assertRaises(ValueError, make_factory, RecordingHandler(), **settings)
        self.assertIn(wanted, str(error))
        factory = make_factory(RecordingHandler())
        error = self.assertRaises(ValueError, factory.beside, **settings)
        self.assertIn(wanted, str(error))

    def test_tls(self) -> None:
        self.assertRefused("context_factory", require_starttls=True)
        self.assertRefused("context_factory", implicit_tls=True)
        for setting in ("require_starttls", "implicit_tls"):
            make_factory(RecordingHandler(), context_factory=CREATOR, **{setting: True})

    def test_auth(self) -> None:
        self.assertRefused("authenticator", auth_required=True)
        make_factory(RecordingHandler(), auth_required=True, authenticator=lambda *context: True)


class LoginTests(SynchronousTestCase):
    """
    Who is asked about credentials.
    """

    def test_made(self) -> None:
        self.assertIsNone(make_factory(RecordingHandler()).settings.login)
        made = make_factory(RecordingHandler(), authenticator=lambda *arguments: True)
        self.assertIsNotNone(made.settings.login)

    def test_given(self) -> None:
        login = object()
        self.assertIs(login, make_factory(RecordingHandler(), login=login).settings.login)


class BesideTests(SynchronousTestCase):
    """
    Another port of the same server, such as one where TLS comes first.
    """

    def factories(self, handler: object = None, **settings: Any) -> tuple[SMTPFactory, SMTPFactory]:
        handler = handler or RecordingHandler()
        factory = make_factory(handler, **{"context_factory": CREATOR, **settings})
        return factory, factory.beside(implicit_tls=True)

    def connect_to_both(self, *factories: SMTPFactory) -> list[Client]:
        plain, secure = (connect(factory) for factory in factories)
        self.assertEqual((secure.received, plain.received[:4]), (b"", b"220 "))
        secure.start_tls()
        self.assertEqual(secure.received, plain.received)
        return [plain, secure]

    def test_each_in_its_way(self) -> None:
        plain, secure = self.connect_to_both(*self.factories())
        for client in (plain, secure):
            client.take()
            client.send(b"EHLO c.example\r\n")
        self.assertIn(b"STARTTLS", plain.take())
        self.assertNotIn(b"STARTTLS", secure.take())

    def test_settings(self) -> None:
        factory, other = self.factories(timeout=7)
        self.assertEqual(
            (False, True), (factory.settings.implicit_tls, other.settings.implicit_tls)
        )
        self.assertEqual((7, "mx.example"), (other.settings.timeout, other.settings.hostname))
        self.assertEqual(other.settings, other.rules.settings)
        self.assertRaises(TypeError, factory.beside, implicit_tsl=True)

    def test_handlers(self) -> None:
        handler = RecordingHandler()
        clients = self.connect_to_both(*self.factories(handler))
        self.assertEqual(["CONNECT", "CONNECT"], [call.hook for call in handler.calls])
        sessions = [call.session for call in handler.calls]
        self.assertEqual(sessions, [client.protocol.session for client in clients])
        self.assertNotEqual(sessions[0].id, sessions[1].id)
        self.assertEqual(clients, handler.recordings)

    def test_limits(self) -> None:
        for limit in ("max_connections", "max_connections_per_host"):
            factories = self.factories(**{limit: 2})
            clients = self.connect_to_both(*factories)
            for factory in factories:
                self.assertTrue(connect(factory).closed)
            clients[0].disconnect()
            self.assertFalse(connect(factories[1]).closed)

    def test_memory(self) -> None:
        factories = self.factories(content_memory=20)
        plain, secure = self.connect_to_both(*factories)
        opening = b"EHLO c.example\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\n"
        plain.send(opening + b"BDAT 15\r\n" + b"x" * 15)
        self.assertEqual(15, factories[1].rules.budget.used)
        secure.send(opening + b"BDAT 15 LAST\r\n" + b"x" * 15)
        self.assertIn(b"\r\n452 4.3.1 ", secure.take())
        plain.send(b"RSET\r\n")
        secure.send(opening + b"BDAT 15 LAST\r\n" + b"x" * 15)
        self.assertNotIn(b"\r\n452 4.3.1 ", secure.take())

    def test_drain(self) -> None:
        for which in (0, 1):
            factories = self.factories()
            clients = self.connect_to_both(*factories)
            drained = factories[which].drain()
            for client in clients:
                client.pump()
                self.assertTrue(client.received.endswith(b"421 4.3.2 " + DOWN))
            self.successResultOf(drained)
            self.assertTrue(connect(factories[not which]).closed)

    def test_start(self) -> None:
        """
        A server that listens again, on whichever of its ports, takes connections on all.
        """
        factories = self.factories()
        factories[0].drain()
        factories[1].startFactory()
        self.connect_to_both(*factories)

    def test_ports(self) -> None:
        """
        Twisted counts the ports of each.
        """
        factory = make_factory(RecordingHandler())
        factory.doStart()
        other = factory.beside()
        self.assertEqual((1, 0), (factory.numPorts, other.numPorts))
        factory.doStop()

    def test_protocol(self) -> None:
        class PingSMTP(SMTP):
            def smtp_PING(self, argument: str) -> str:
                return "250 2.0.0 PONG"

        factory = make_factory(RecordingHandler())
        other = factory.beside(PingSMTP)
        same = other.beside(max_recipients=7)
        for each, code in ((factory, b"500"), (other, b"250"), (same, b"250")):
            client = connect(each)
            client.take()
            client.send(b"PING\r\n")
            self.assertEqual(code, client.take()[:3])


class SessionIdTests(SynchronousTestCase):
    def test_unique(self) -> None:
        handler = RecordingHandler()
        factory = make_factory(handler)
        for _ in range(3):
            connect(factory)
        self.assertEqual(len({call.session.id for call in handler.calls}), 3)

    def test_unique_over_restarts(self) -> None:
        """
        Another start of the server uses other names, as the same log may have both.
        """
        clock = Clock()
        first = make_factory(RecordingHandler(), reactor=clock).census.next_session_id()
        clock.advance(1)
        second = make_factory(RecordingHandler(), reactor=clock).census.next_session_id()
        self.assertNotEqual(first, second)


class Hello(Extension):
    """
    An extension of one's own.
    """

    def keyword(self, session: Session) -> str:
        return "XHELLO"

    def verbs(self) -> Mapping[str, Verb]:
        return {"XHELLO": Verb(lambda context, argument: Outcome((OK,)), "XHELLO")}

    def rows(self) -> Any:
        from txsmtpd.core.states import START

        return {START: {"XHELLO": START}}


class ExtensionTests(SynchronousTestCase):
    """
    The extensions that a factory is given.
    """

    def test_one_more(self) -> None:
        factory = make_factory(RecordingHandler(), extensions=(*DEFAULT, Hello))
        client = connect(factory)
        client.take()
        client.send(b"XHELLO\r\nEHLO c.example\r\n")
        said = client.take()
        self.assertTrue(said.startswith(b"250 2.0.0 OK\r\n"))
        self.assertIn(b"250-XHELLO\r\n", said)

    def test_none(self) -> None:
        client = connect(make_factory(RecordingHandler(), extensions=()))
        client.take()
        client.send(b"EHLO c.example\r\nBDAT 0 LAST\r\n")
        self.assertNotIn(b"SIZE", client.received)
        self.assertTrue(client.take().endswith(b"500 5.5.2 Command not recognized\r\n"))

    def test_made_once_with_the_settings(self) -> None:
        made: list[int] = []

        def make(settings: Any) -> Hello:
            made.append(settings.data_size_limit)
            return Hello(settings)

        factory = make_factory(RecordingHandler(), extensions=(make,), data_size_limit=7)
        connect(factory)
        connect(factory)
        self.assertEqual(made, [7])

    def test_same_twice(self) -> None:
        self.assertRaises(
            ValueError, make_factory, RecordingHandler(), extensions=(*DEFAULT, DEFAULT[-2])
        )


class HonoursTests(SynchronousTestCase):
    """
    A handler may say that it keeps what an optional extension promises.
    """

    def handler(self, honours: Any = None, **attributes: Any) -> Any:
        handler: Any = RecordingHandler()
        if honours is not None:
            handler.honours = honours
        vars(handler).update(attributes)
        return handler

    def offered(self, *handlers: Any, **arguments: Any) -> list[str]:
        """
        The optional keywords that a client is told of in the clear, with what follows them.
        """
        client = connect(make_factory(*handlers, **arguments))
        client.take()
        client.send(b"EHLO c.example\r\n")
        lines = (line[4:] for line in client.take().decode().splitlines())
        return [line for line in lines if line.split(" ")[0] in OPTIONAL]

    def test_nobody(self) -> None:
        self.assertEqual([], self.offered(self.handler(), self.handler(())))

    def test_somebody(self) -> None:
        for honours in (("DELIVERBY",), ["DELIVERBY"], {"DELIVERBY"}):
            self.assertEqual(["DELIVERBY"], self.offered(self.handler(honours)))

    def test_interface(self) -> None:
        @hooks
        @implementer(IHonours)
        class Urgent:
            honours = ("MT-PRIORITY",)

            def handle_DATA(self, server: Any, session: Any, envelope: Any) -> None:
                pass

        verifyObject(IHonours, Urgent())
        self.assertEqual(["MT-PRIORITY"], self.offered(Urgent()))

    def test_all(self) -> None:
        """
        In an order of their own, and where each may be offered: REQUIRETLS only over TLS.
        """
        handler = self.handler(tuple(OPTIONAL)[::-1])
        deliver_by, future_release, mt_priority = self.offered(handler)
        self.assertEqual(("DELIVERBY", "MT-PRIORITY"), (deliver_by, mt_priority))
        self.assertTrue(future_release.startswith("FUTURERELEASE 2592000 "))
        made = [type(each) for each in make_factory(handler).rules.extensions]
        self.assertEqual([*OPTIONAL.values()], made[-len(OPTIONAL) :])

    def test_chain(self) -> None:
        """
        It is enough if one of them does.
        """
        handlers = (self.handler(), self.handler(["DELIVERBY"]), self.handler(["MT-PRIORITY"]))
        self.assertEqual(["DELIVERBY", "MT-PRIORITY"], self.offered(*handlers))
        twice = (self.handler(["DELIVERBY"]), self.handler(["DELIVERBY"]))
        self.assertEqual(["DELIVERBY"], self.offered(*twice))

    def test_also_given(self) -> None:
        """
        What the factory is given counts, as it may have been made with settings of its own.
        """

        class Later(DeliverBy):
            pass

        for maker in (DeliverBy, Later, partial(DeliverBy, minimum=60)):
            (line,) = self.offered(self.handler(["DELIVERBY"]), extensions=(*DEFAULT, maker))
            self.assertEqual("DELIVERBY 60" if isinstance(maker, partial) else "DELIVERBY", line)

    def test_no_defaults(self) -> None:
        self.assertEqual(["DELIVERBY"], self.offered(self.handler(["DELIVERBY"]), extensions=()))

    def test_every_port(self) -> None:
        factory = make_factory(self.handler(["DELIVERBY"]))
        other = factory.beside(max_recipients=5)
        self.assertEqual(DeliverBy, type(other.rules.extensions[-1]))

    def test_unknown(self) -> None:
        """
        Nobody is left in the belief that something is offered which is not.
        """
        for honours, name in [
            (("DELIVERYBY",), "'DELIVERYBY'"),
            (("DELIVERBY", "DSN"), "'DSN'"),
            (("deliverby",), "'deliverby'"),
            ("DELIVERBY", "'DELIVERBY'"),
            ("", "''"),
            ((b"DELIVERBY",), "b'DELIVERBY'"),
        ]:
            error = self.assertRaises(TypeError, make_factory, self.handler(honours))
            self.assertEqual(
                f"RecordingHandler honours {name}, but wants a tuple of any of"
                " DELIVERBY, FUTURERELEASE, MT-PRIORITY, REQUIRETLS",
                str(error),
            )

    def test_misspelt(self) -> None:
        for name in ("honors", "honour", "Honours"):
            handler = self.handler(**{name: ("DELIVERBY",)})
            error = self.assertRaises(TypeError, make_factory, handler)
            self.assertEqual(f"RecordingHandler has {name}: call it honours", str(error))
        self.assertEqual([], self.offered(self.handler(hours=5, honorary=True)))
