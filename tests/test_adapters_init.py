"""
Tests for txsmtpd.adapters.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

from twisted.cred.portal import Portal
from twisted.internet.task import Clock
from twisted.logger import LogLevel
from twisted.logger import capturedLogs as captured_logs
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from docs.code import adapted
from txsmtpd import adapters, hooks
from txsmtpd.adapters import adapt, kind_of
from txsmtpd.adapters.for_aiosmtpd import AiosmtpdHandler
from txsmtpd.adapters.for_smtpd import ProcessMessage
from txsmtpd.adapters.for_twisted_mail import DeliveryHandler, PortalHandler
from txsmtpd.handlers import Sink, make_handler
from txsmtpd.testing import connect

HERE = "tests.test_adapters_init"


class Aio:
    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        return "250 OK"


class AioAuth:
    async def auth_X(self, server: Any, args: list[str]) -> None: ...


class Words:
    """
    Accepts all, as the class of that name does there.
    """

    words: tuple[str, ...] = ()

    @classmethod
    def from_cli(cls, parser: Any, *words: str) -> Any:
        if len(words) > 2:
            parser.error("Words wants two at most")
        made = cls()
        made.words = words
        return made


class OfTheirs:
    __module__ = "aiosmtpd.handlers"


class Smtpd:
    def process_message(self, peer: Any, mailfrom: Any, rcpttos: Any, data: Any) -> None: ...


class Misspelt(Aio):
    async def handle_rcpt(self, *arguments: Any) -> None: ...

    def handle_message(self) -> None: ...


class Undeclared(Aio):
    def handle_CONNECT(self, *arguments: Any) -> None: ...


class Nothing:
    pass


@implementer(IMessageDelivery)
class Delivery:
    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> Any: ...

    def validateFrom(self, helo: Any, origin: Any) -> Any: ...

    def validateTo(self, user: Any) -> Any: ...


@implementer(IMessageDeliveryFactory)
class DeliveryFactory:
    def getMessageDelivery(self) -> Any: ...


class BareDelivery:
    def validateFrom(self, helo: Any, origin: Any) -> Any: ...

    def validateTo(self, user: Any) -> Any: ...


@hooks
class Ours:
    def handle_NOOP(self, server: Any, session: Any, envelope: Any, arg: str) -> None: ...

    def process_message(self) -> None: ...


class NoPortal(Portal):
    def __init__(self) -> None:
        super().__init__(None)  # type: ignore[arg-type]


KINDS: list[tuple[Any, str | None]] = [
    (Aio, "aiosmtpd"),
    (AioAuth, "aiosmtpd"),
    (Words, "aiosmtpd"),
    (OfTheirs, "aiosmtpd"),
    (Misspelt, "aiosmtpd"),
    (Smtpd, "smtpd"),
    (Delivery, "twisted.mail"),
    (DeliveryFactory, "twisted.mail"),
    (BareDelivery, "twisted.mail"),
    (NoPortal, "twisted.mail"),
    (Ours, "txsmtpd"),
    (Sink, "txsmtpd"),
    (Undeclared, None),
    (Nothing, None),
]


class KindTests(SynchronousTestCase):
    def test_kinds(self) -> None:
        for cls, kind in KINDS:
            self.assertEqual(kind_of(cls()), kind, cls)

    def test_without_twisted_mail(self) -> None:
        self.patch(sys, "modules", dict(sys.modules))
        del sys.modules["twisted.mail.interfaces"]
        self.assertEqual(kind_of(BareDelivery()), "twisted.mail")
        self.assertEqual(kind_of(DeliveryFactory()), None)

    def test_costs_nothing(self) -> None:
        """
        Who does not need twisted.mail does not load it.
        """
        program = (
            "import sys; from txsmtpd.handlers import make_handler; make_handler('sink');"
            "print('twisted.mail.smtp' in sys.modules, 'aiosmtpd' in sys.modules)"
        )
        root = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        run = subprocess.run(
            [sys.executable, "-c", program], capture_output=True, text=True, cwd=root, check=True
        )
        self.assertEqual(run.stdout, "False False\n")


class AdaptTests(SynchronousTestCase):
    def adapted(self, handler: object) -> tuple[Any, list[str]]:
        with captured_logs() as events:
            made = adapt(handler)
        self.assertEqual({event["event"] for event in events} - {"adapter"}, set())
        return made, [event["log_format"].format(**event) for event in events]

    def test_chosen(self) -> None:
        for cls, wrapper, kind in [
            (Aio, AiosmtpdHandler, "aiosmtpd"),
            (Smtpd, ProcessMessage, "smtpd"),
            (Delivery, DeliveryHandler, "twisted.mail"),
            (NoPortal, PortalHandler, "twisted.mail"),
        ]:
            made, lines = self.adapted(cls())
            self.assertIs(type(made), wrapper)
            self.assertEqual(
                lines, [f"handler {HERE}.{cls.__name__} was written for {kind} and is adapted"]
            )

    def test_ours(self) -> None:
        handler = Ours()
        made, lines = self.adapted(handler)
        self.assertIs(made, handler)
        self.assertEqual(lines, [])

    def test_once(self) -> None:
        made, _ = self.adapted(Aio())
        self.assertEqual(self.adapted(made), (made, []))

    def test_misspelt(self) -> None:
        """
        aiosmtpd says nothing about it.
        """
        with captured_logs() as events:
            adapt(Misspelt())
        self.assertEqual([event["log_level"] for event in events], [LogLevel.warn, LogLevel.info])
        self.assertEqual((events[0]["stray"], events[0]["hook"]), ("handle_rcpt", "handle_RCPT"))

    def test_misspelt_and_explicit(self) -> None:
        with captured_logs() as events:
            adapters.aiosmtpd(Misspelt())
        self.assertEqual([event["stray"] for event in events], ["handle_rcpt"])

    def test_nobody_knows(self) -> None:
        error = self.assertRaises(TypeError, adapt, Nothing())
        self.assertEqual(
            str(error),
            f"{HERE}.Nothing is no handler for txsmtpd, aiosmtpd, smtpd or twisted.mail:"
            " decorate its class with @txsmtpd.hooks if it has hooks",
        )

    def test_explicit(self) -> None:
        with captured_logs() as events:
            self.assertIsInstance(adapters.aiosmtpd(Nothing()), AiosmtpdHandler)
            self.assertIsInstance(adapters.process_message(Smtpd()), ProcessMessage)
            self.assertIsInstance(adapters.message_delivery(Delivery()), DeliveryHandler)
        self.assertEqual(events, [])


class ExampleTests(SynchronousTestCase):
    def test_adapted(self) -> None:
        """
        That of the documentation.
        """
        factory = adapted.make_factory(reactor=Clock(), hostname="mx.example")
        client = connect(factory)
        client.send(b"EHLO a.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\n")
        said = client.take().splitlines()[-1]
        self.assertEqual(said, b"550 5.1.0 not relaying to that domain")


class MakeHandlerTests(SynchronousTestCase):
    """
    ``--handler NAME`` of a class that was written for something else.
    """

    def test_adapts(self) -> None:
        for name, wrapper in (("Aio", AiosmtpdHandler), ("Smtpd", ProcessMessage)):
            self.assertIs(type(make_handler(f"{HERE}.{name}")), wrapper)

    def test_left_alone(self) -> None:
        for cls in (Ours, Undeclared, Nothing):
            self.assertIs(type(make_handler(f"{HERE}.{cls.__name__}")), cls)

    def test_words(self) -> None:
        self.assertEqual(make_handler(f"{HERE}.Words").handler.words, ())
        made = make_handler(f"{HERE}.Words:one 'two three'")
        self.assertEqual(made.handler.words, ("one", "two three"))

    def test_wrong_words(self) -> None:
        for words, reason in (("a b c", "Words wants two at most"), ("'", "No closing quotation")):
            error = self.assertRaises(ValueError, make_handler, f"{HERE}.Words:{words}")
            self.assertEqual(str(error), f"handler {HERE}.Words cannot be made: {reason}")

    def test_no_words(self) -> None:
        error = self.assertRaises(ValueError, make_handler, f"{HERE}.Aio:word")
        self.assertEqual(str(error), f"handler {HERE}.Aio cannot be made: it takes no argument")
