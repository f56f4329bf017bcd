"""
The same hooks with values, with Deferreds and as coroutines.
"""

from __future__ import annotations

from twisted.internet.defer import Deferred, succeed
from zope.interface import implementer

from txsmtpd import SMTP, Envelope, Recipient, Rejected, Reply, Session, hooks
from txsmtpd.core.session import Parameters
from txsmtpd.interfaces import (
    Answer,
    ICONNECTHook,
    IContentHook,
    IContentReceiver,
    IDATAHook,
    IDISCONNECTHook,
    IEHLOHook,
    IExceptionHook,
    IMAILHook,
    IRCPTHook,
    Verdict,
)


@implementer(ICONNECTHook, IMAILHook, IRCPTHook, IDATAHook, IEHLOHook)
class AtOnce:
    """
    A hook may say more exactly than its interface what it returns.
    """

    def handle_CONNECT(self, server: SMTP, session: Session, envelope: Envelope) -> Verdict:
        return "220 hello" if session.peer else None

    def handle_EHLO(
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> list[str]:
        return [line for line in responses if "CHUNKING" not in line]

    def handle_MAIL(
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: Parameters,
    ) -> bytes:
        return b"250 OK"

    def handle_RCPT(
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: list[str],
    ) -> Reply | None:
        if address.startswith("nobody@"):
            raise Rejected(Reply(550, "5.1.1", ("No such user",)))
        return Reply(250, "2.1.5")

    def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> None:
        recipients: list[Recipient] = envelope.recipients
        sender: str | None = envelope.mail_from
        content: bytes | str | None = envelope.content
        print(recipients, sender, content)


@implementer(IRCPTHook, IDATAHook, IExceptionHook)
class WithDeferreds:
    def handle_RCPT(
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: Parameters,
    ) -> Deferred[Verdict]:
        return succeed(None)

    def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> Answer:
        return succeed("250 Thank you") if envelope.rcpt_tos else "451 Later"

    def handle_exception(
        self, server: SMTP, session: Session, envelope: Envelope, error: Exception
    ) -> Deferred[Reply | None]:
        return succeed(None)


@implementer(IRCPTHook, IDATAHook, IDISCONNECTHook)
class Coroutines:
    async def handle_RCPT(
        self,
        server: SMTP,
        session: Session,
        envelope: Envelope,
        address: str,
        options: Parameters,
    ) -> Verdict:
        known: bool = await succeed(address != "")
        return None if known else "550 5.1.1 No such user"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return "250 Thank you"

    async def handle_DISCONNECT(
        self, server: SMTP, session: Session, envelope: Envelope, reason: str
    ) -> None:
        await succeed(None)


@implementer(IDATAHook)
class InOrder:
    def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> list[str | None]:
        return [None, "550 5.1.1 No"]


@implementer(IDATAHook)
class ByAddress:
    async def handle_DATA(
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> dict[str, Deferred[str]]:
        return {"a@b.example": succeed("250 OK")}


@implementer(IContentReceiver)
class ByRecipient:
    def write(self, chunk: bytes) -> None:
        pass

    def finish(self) -> dict[Recipient, Deferred[None] | Reply]:
        return {}

    def abort(self, reason: str) -> None:
        pass


@implementer(IContentReceiver)
class Receiver:
    def write(self, chunk: bytes) -> Deferred[None] | None:
        return succeed(None) if chunk else None

    async def finish(self) -> Verdict:
        return None

    def abort(self, reason: str) -> None:
        pass


@implementer(IContentHook)
class Streaming:
    async def open_content(
        self, server: SMTP, session: Session, envelope: Envelope
    ) -> IContentReceiver:
        return Receiver()


@hooks
class Decorated:
    """
    The decorator leaves the class the type that it has.
    """

    greeting = "220 hello"

    def handle_CONNECT(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        return self.greeting


decorated: Decorated = Decorated()
greeting: str = decorated.greeting
verdicts: tuple[Verdict, ...] = (None, "250 OK", b"250 OK", Reply(250))
answers: tuple[Answer, ...] = (*verdicts, succeed("250 OK"), succeed(None))


# What must not pass.


@implementer(IRCPTHook)
class Missing:  # type: ignore[misc]
    pass


@implementer(IDATAHook)
class WrongVerdict:
    def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> bool:  # type: ignore[override]
        return True


@implementer(IDATAHook)
class WrongLater:
    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> int:  # type: ignore[override]
        return 250


@implementer(IMAILHook)
class WrongArguments:
    def handle_MAIL(self, server: SMTP, session: Session, envelope: Envelope) -> None:  # type: ignore[override]
        pass


@implementer(IContentReceiver)
class WrongChunk:
    def write(self, chunk: str) -> None:  # type: ignore[override]
        pass

    def finish(self) -> None:
        pass

    def abort(self, reason: str) -> None:
        pass


Rejected(550)  # type: ignore[arg-type]
Reply("250")  # type: ignore[arg-type]
no_verdict: Verdict = 250  # type: ignore[assignment]
no_answer: Answer = succeed(250)  # type: ignore[arg-type]
print(decorated.farewell)  # type: ignore[attr-defined]
