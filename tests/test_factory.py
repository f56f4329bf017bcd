"""
Tests for txsmtpd.factory; what it does when connections come and go is in test_ends.
"""

from __future__ import annotations

import socket
from collections.abc import Mapping
from typing import Any

from twisted.internet import reactor
from twisted.internet.interfaces import IProtocolFactory
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsmtpd import SMTP, SMTPFactory
from txsmtpd.core.outcomes import Outcome, Verb
from txsmtpd.core.replies import OK
from txsmtpd.core.session import Session
from txsmtpd.extensions.base import Extension
from txsmtpd.factory import DEFAULT
from txsmtpd.testing import RecordingHandler, connect, make_factory


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
