"""
One mail transaction with the next hop, in step with that of our client.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure
from zope.interface import implementer

from ...core.replies import LOCAL_ERROR, Rejected, Reply
from ...core.session import Envelope, Parameters, Recipient, Session
from ...interfaces import IContentReceiver
from . import parameters
from .answers import LOST, NONSENSE, Answer, Lost, verdict_of
from .connection import Connection, judged
from .origin import commands, message_facts
from .stuffing import Stuffer
from .verdicts import merged

#: In LMTP, where a handler in front of us has refused some recipients after the content has come:
#: the next hop knows all, and they cannot be taken from it any more.  Who tries again will do so
#: without those that were refused.
NOT_THESE = Reply(451, "4.3.0", ("Another recipient was refused, try again",))


class Transaction:
    """
    :param lmtp: whether the next hop speaks LMTP.
    """

    def __init__(
        self, connection: Connection, session: Session, envelope: Envelope, lmtp: bool
    ) -> None:
        self.connection = connection
        self.session = session
        self.envelope = envelope
        self.lmtp = lmtp
        #: Whether content is under way, which only its end or the end of the connection stops.
        self.receiving = False
        # How it has begun, and each recipient that the next hop takes: the command, and the
        # parameters by which the core's own record of it is found.
        self._opening: list[str] = []
        self._taken: list[tuple[str, Parameters]] = []

    async def begin(self, address: str, options: Parameters) -> Reply:
        """
        MAIL.
        """
        connection = self.connection
        mail = parameters.mail(connection, address, options)
        features = connection.features
        if "XFORWARD" in features and "XCLIENT" not in features:
            facts = message_facts(self.session, self.envelope)
            # What it makes of that does not matter.
            self._opening = [*commands("XFORWARD", facts, features["XFORWARD"])]
        self._opening.append(mail)
        answers = await connection.ask_all(self._opening)
        return judged(connection, answers[-1])

    async def add(self, address: str, options: Parameters) -> Reply:
        """
        RCPT.
        """
        rcpt = parameters.rcpt(self.connection, address, options)
        reply = judged(self.connection, await self.connection.ask(rcpt))
        if reply.positive:
            self._taken.append((rcpt, options))
        return reply

    async def open_content(self) -> None:
        """
        DATA, up to the go-ahead.

        :raise Rejected: if there is none.
        """
        await self._agree()
        connection = self.connection
        if not self.binary:
            answer = await connection.ask("DATA", connection.timeouts.data_start)
            if answer.code != 354:
                raise Rejected(_refusal(connection, answer))
        self.receiving = True
        connection.begin_content()

    @property
    def binary(self) -> bool:
        """
        Whether the content cannot go by DATA.
        """
        return self.envelope.body == "BINARYMIME"

    async def _agree(self) -> None:
        """
        See to it that the next hop has those recipients that our client has: a handler behind us
        may have refused some that it has accepted.
        """
        wanted = {id(recipient.options) for recipient in self.envelope.recipients}
        kept = [(rcpt, options) for rcpt, options in self._taken if id(options) in wanted]
        if len(kept) != len(wanted):
            # Somebody has accepted what the next hop has not.
            raise Rejected(LOCAL_ERROR)
        if len(kept) == len(self._taken):
            return
        lines = ["RSET", *self._opening, *(rcpt for rcpt, _ in kept)]
        answers = await self.connection.ask_all(lines)
        # Again, XFORWARD does not matter.
        needed = [answers[0], *answers[len(self._opening) :]]
        if not all(answer.accepted for answer in needed):
            self.connection.end(Lost(NONSENSE, "it has changed its mind"))
            raise Rejected(NONSENSE)
        self._taken = kept

    async def verdict(self, end: bytes) -> Reply | Mapping[Recipient, Reply]:
        """
        End the content.

        :param end: what says so.
        """
        connection, recipients = self.connection, list(self.envelope.recipients)
        if len(recipients) != len(self._taken):
            self.cut("recipients were refused")
            return NOT_THESE
        connection.end_content()
        asked: Sequence[Deferred[Any]] = connection.say(
            end,
            answers=len(recipients) if self.lmtp else 1,
            seconds=connection.timeouts.data_end,
        )
        for each in asked:
            each.addCallback(self._judged).addErrback(_reply_of)
        replies: list[Reply] = [await each for each in asked]
        self.receiving = False
        if self.lmtp and self.session.lmtp:
            return dict(zip(recipients, replies, strict=True))
        return merged(recipients, replies) if self.lmtp else replies[0]

    def _judged(self, answer: Answer) -> Reply:
        return judged(self.connection, answer)

    def cut(self, reason: str) -> None:
        """
        End it with the connection.
        """
        self.connection.end(Lost(LOST, reason, planned=True))

    async def reset(self) -> None:
        """
        End it, whatever there is of it; the connection is ready for another one or gone.
        """
        if self.receiving:
            self.cut("the message will not be whole")
        if self.connection.gone is not None:
            return
        try:
            answer = await self.connection.ask("RSET")
        except Lost:
            return
        if answer.code != 250:
            self.connection.spent = True


def _refusal(connection: Connection, answer: Answer) -> Reply:
    if answer.refused:
        return judged(connection, answer)
    connection.end(Lost(NONSENSE, f"unexpected: {answer.text}"))
    return NONSENSE


def _reply_of(failure: Failure) -> Reply:
    failure.trap(Lost)
    error: Any = failure.value
    reply: Reply = error.reply
    return reply


@implementer(IContentReceiver)
class Content:
    """
    Content by DATA.

    :param head: what stands before it.
    :param ended: called when no more is to come of it, before the verdict is asked for.
    :param done: called when the connection is free.
    """

    def __init__(
        self,
        transaction: Transaction,
        head: bytes,
        ended: Callable[[], None],
        done: Callable[[Transaction], None],
    ) -> None:
        self._transaction = transaction
        self._head = head
        self._ended = ended
        self._done = done
        self._stuffer = Stuffer()

    def write(self, chunk: bytes) -> Deferred[None] | None:
        if self._head:
            chunk, self._head = self._head + chunk, b""
        return self._send(chunk)

    def finish(self) -> Any:
        # Now: what the client does from here on has nothing to do with this message.
        self._ended()
        return self._verdict()

    def abort(self, reason: str) -> None:
        self._ended()
        self._transaction.cut(reason)

    async def _verdict(self) -> Any:
        if self._head:
            # There was no content at all.
            self.write(b"")
        verdict = await self._transaction.verdict(self._end())
        self._done(self._transaction)
        return verdict

    def _send(self, chunk: bytes) -> Deferred[Any] | None:
        return self._transaction.connection.write(self._stuffer.feed(chunk))

    def _end(self) -> bytes:
        return self._stuffer.end()


class BinaryContent(Content):
    """
    Content by BDAT (RFC 3030), because it has no lines.
    """

    def _send(self, chunk: bytes) -> Deferred[Any] | None:
        connection = self._transaction.connection
        timeouts = connection.timeouts
        (taken,) = connection.say(b"BDAT %d\r\n%b" % (len(chunk), chunk), seconds=timeouts.block)
        taken.addCallback(self._chunk_taken).addErrback(_reply_of)
        if connection.gone is not None:
            raise connection.gone
        return connection.ready() if connection.pipelining else taken

    def _chunk_taken(self, answer: Answer) -> None:
        if not answer.accepted:
            reply = verdict_of(answer) if answer.refused else NONSENSE
            self._transaction.connection.end(Lost(reply, answer.text))

    def _end(self) -> bytes:
        return b"BDAT 0 LAST\r\n"
