"""
Embedding, a subclass with commands of its own, and an extension.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.interfaces import IListeningPort, IReactorTCP
from twisted.internet.task import Clock
from zope.interface import implementer

from txsmtpd import SMTP, Envelope, Rejected, Session, SMTPFactory, syntax
from txsmtpd.core.outcomes import Outcome, Verb
from txsmtpd.core.replies import OK, Reply
from txsmtpd.core.session import Parameters
from txsmtpd.core.settings import Settings
from txsmtpd.core.states import READY, Table
from txsmtpd.extensions.base import Extension, flag
from txsmtpd.factory import DEFAULT, ExtensionMaker
from txsmtpd.handlers import Debug, Maildir, Sink
from txsmtpd.interfaces import IExtension
from txsmtpd.service import Listener, SMTPService
from txsmtpd.testing import Client, RecordingHandler, connect, make_factory


def embed(reactor: Any) -> Deferred[IListeningPort]:
    factory = SMTPFactory(Debug(), Maildir("Mail"), hostname="mx.example", timeout=60)
    listening: Deferred[IListeningPort] = TCP4ServerEndpoint(reactor, 2525).listen(factory)
    return listening


async def stop(port: IListeningPort, factory: SMTPFactory) -> None:
    stopped: Deferred[None] = factory.drain()
    await stopped


def service(reactor: Any) -> SMTPService:
    factory = SMTPFactory(Sink(), reactor=reactor)
    settings: Settings = factory.settings
    print(settings.max_recipients + 1)
    return SMTPService(reactor, [Listener(TCP4ServerEndpoint(reactor, 25), factory, "port 25")])


class PingSMTP(SMTP):
    def smtp_PING(self, argument: str) -> str:
        return f"250 PONG {argument}"

    @syntax("XWAIT")
    async def smtp_XWAIT(self, argument: str) -> Outcome:
        return await self.smtp_NOOP("wait")

    async def smtp_NOOP(self, argument: str) -> Outcome:
        session: Session = self.session
        session.notes["noop"] = argument
        outcome: Outcome = await super().smtp_NOOP(argument)
        return outcome


class PingFactory(SMTPFactory):
    protocol = PingSMTP


class Shout(Extension):
    """
    Every role but those that the other has.
    """

    def keyword(self, session: Session) -> str | None:
        return "XSHOUT" if self.settings.lenient else None

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"SHOUT": flag}

    def verbs(self) -> Mapping[str, Verb]:
        return {"SHOUT": Verb(lambda context, argument: Outcome((OK,)), "SHOUT text")}

    def rows(self) -> Table:
        return {READY: {"SHOUT": READY}}

    def gate(self, session: Session, verb: str) -> Reply | None:
        return None

    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        if options.get("SHOUT"):
            raise Rejected("550 5.7.1 Not so loud")


def make_shout(settings: Settings) -> IExtension:
    return Shout(settings)


makers: tuple[ExtensionMaker, ...] = (*DEFAULT, Shout, make_shout)
extended = SMTPFactory(Sink(), extensions=makers)


def client() -> Client:
    handler = RecordingHandler({"RCPT": "550 No"}, when="later", content="stream")
    return connect(make_factory(handler, reactor=Clock(), lenient=True))


# What must not pass.


class WrongSMTP(SMTP):
    def smtp_NOOP(self, argument: int) -> Outcome:  # type: ignore[override]
        return Outcome()


class WrongExtension(Extension):
    def keyword(self, session: Session) -> int:  # type: ignore[override]
        return 1


@implementer(IExtension)
class NoExtension:  # type: ignore[misc]
    def keyword(self, session: Session) -> str | None:
        return None


SMTPFactory()  # type: ignore[call-arg]
SMTPFactory(Sink(), extensions=(Sink,))  # type: ignore[arg-type]
SMTPFactory(Sink(), reactor="twisted.internet.reactor")  # type: ignore[arg-type]
Settings(tiemout=5)  # type: ignore[call-arg]
Settings("mx.example")  # type: ignore[call-arg]
RecordingHandler(when="tomorrow")  # type: ignore[arg-type]
frozen = extended.settings
frozen.timeout = 5  # type: ignore[misc]


def wrong_reactor(reactor: IReactorTCP) -> None:
    SMTPService(reactor, [])  # type: ignore[arg-type]
