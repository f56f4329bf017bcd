"""
One connection to the next hop: a client's side of SMTP and LMTP.

Twisted's own client, ``twisted.mail.smtp.ESMTPClient``, is made for one message that lies in a
file.  It cannot take content as it comes, with back-pressure; it sends one command at a time; and
it gives one verdict for the message where we need one for each recipient.  So this is a small
client of our own.  It knows replies and their order, deadlines, TLS and back-pressure, and no
command but QUIT; what is said, and what an answer means, is the business of those who ask.

Nothing is ever taken for an answer that was not asked for: a reply that comes too early ends the
connection, so one that was sent before the end of a message can never be its verdict.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import (
    IHandshakeListener,
    IOpenSSLClientConnectionCreator,
    IReactorTime,
)
from twisted.internet.protocol import connectionDone
from twisted.protocols.basic import LineReceiver
from twisted.python.failure import Failure
from zope.interface import implementer

from ...core.replies import CONTROLS, Reply
from ...deadline import Deadline, Deadlines
from .answers import (
    LINE_LIMIT,
    LOST,
    NONSENSE,
    TIMED_OUT,
    UNSAFE,
    Answer,
    AnswerReader,
    BadAnswer,
    Lost,
    verdict_of,
)
from .flow import Flow
from .timeouts import Timeouts


class TLSFailed(Lost):
    """
    There was no handshake.
    """


def _nobody(connection: Connection) -> None:
    pass


@implementer(IOpenSSLClientConnectionCreator)
class _Noted:
    """
    Remembers what does TLS for one connection.

    Twisted before 26 says that the handshake is completed also where the name in the certificate
    was the wrong one, and only then cuts the connection off.
    """

    def __init__(self, creator: Any) -> None:
        self._creator = creator
        self._tls: Any = None

    def clientConnectionForTLS(self, tlsProtocol: Any) -> Any:
        self._tls = tlsProtocol
        return self._creator.clientConnectionForTLS(tlsProtocol)

    @property
    def refused(self) -> bool:
        return bool(self._tls.disconnecting)


@implementer(IHandshakeListener)
class Connection(LineReceiver):
    """
    :param creator: makes TLS from the first octet on.
    """

    delimiter = b"\r\n"
    MAX_LENGTH = LINE_LIMIT - len(b"\r\n")

    transport: Any

    def __init__(self, clock: IReactorTime, timeouts: Timeouts, creator: Any = None) -> None:
        self.timeouts = timeouts
        self.born = clock.seconds()
        #: What EHLO told, by keyword in capitals.
        self.features: Mapping[str, str] = {}
        #: Whether TLS is on, whether the name of the next hop was verified, and whether we have
        #: logged in.
        self.tls = self.verified = self.logged_in = False
        #: Of whom XCLIENT has spoken last.
        self.client: object = None
        #: Whether it has been used before.
        self.used = False
        #: Whether it is not to be used again.
        self.spent = False
        #: Why nothing more can be said.
        self.gone: Lost | None = None
        #: Called once, when that is so.
        self.on_gone: Callable[[Connection], None] = _nobody
        #: Fires when there is no connection any more.
        self.closed: Deferred[None] = Deferred()
        self._creator = creator
        # While there is a handshake, and for STARTTLS who waits for it.
        self._securing: _Noted | None = None
        self._handshake: Deferred[None] | None = None
        self._reader = AnswerReader()
        # Answers to come, each with the seconds that it may take when it is its turn.
        self._waiting: deque[tuple[Deferred[Answer], float]] = deque()
        # Those that have come, until all is read that came with them.
        self._answered: list[tuple[Deferred[Answer], Answer]] = []
        self._flow: Flow | None = None
        self._rested: Callable[[Connection], None] = _nobody
        self._deadline = Deadline(Deadlines(clock), self._expired)

    @property
    def pipelining(self) -> bool:
        return "PIPELINING" in self.features

    # What is said.

    def ask(self, line: str, seconds: float = 0) -> Deferred[Answer]:
        """
        Say one command.

        :param seconds: for the answer; 0 is as most commands.
        """
        return self.say(encoded(line), seconds=seconds)[0]

    async def ask_all(self, lines: list[str]) -> list[Answer]:
        """
        Say several commands: at once, if the next hop can take that.
        """
        if not self.pipelining:
            return [await self.ask(line) for line in lines]
        asked = self.say(b"".join(map(encoded, lines)), answers=len(lines))
        for each in asked:
            # Only the first that fails is waited for.
            each.addErrback(itself_if_lost)
        return [unless_lost(await each) for each in asked]

    def say(self, data: bytes, *, answers: int = 1, seconds: float = 0) -> list[Deferred[Answer]]:
        """
        Send octets that so many answers come to.
        """
        if not self._waiting and self._talks():
            self.end(Lost(NONSENSE, "it speaks before it is asked"))
        asked = [self._expect(seconds or self.timeouts.command) for _ in range(answers)]
        if self.gone is None:
            self.transport.write(data)
        return asked

    def _talks(self) -> bool:
        """
        Whether some of a reply has come already; to be asked only when none is due.
        """
        return self._reader.begun or bool(self.clearLineBuffer())

    def _expect(self, seconds: float) -> Deferred[Answer]:
        answer: Deferred[Answer] = Deferred(self._given_up)
        if self.gone is not None:
            answer.errback(self.gone)
            return answer
        self._waiting.append((answer, seconds))
        if len(self._waiting) == 1:
            self._deadline.within(seconds)
        return answer

    def _given_up(self, answer: Deferred[Answer]) -> None:
        # The answer will come, and nothing can be said any more that has another one.
        self._waiting = deque(each for each in self._waiting if each[0] is not answer)
        self.end(Lost(LOST, "given up", planned=True))

    # Content.

    def begin_content(self) -> None:
        """
        From here on content is sent, with back-pressure.
        """
        if self.gone is None:
            self._flow = Flow(self._blocked)
            self.transport.registerProducer(self._flow, True)

    def write(self, data: bytes) -> Deferred[None] | None:
        """
        Send some of the content.

        :return: what to wait for, if anything.
        :raise Lost: if there is nobody to send it to.
        """
        if self.gone is not None:
            raise self.gone
        if data:
            self.transport.write(data)
        return self.ready()

    def ready(self) -> Deferred[None] | None:
        """
        :return: what to wait for before more content is sent, if anything.
        """
        return self._flow.ready() if self._flow is not None else None

    def end_content(self) -> None:
        """
        All content was written.
        """
        if self._flow is not None and self.gone is None:
            self._flow = None
            self.transport.unregisterProducer()
            # It may have been paused, and what was about that is over.
            self._deadline.within(self._waiting[0][1] if self._waiting else 0)

    def _blocked(self, paused: bool) -> None:
        if not self._waiting:
            self._deadline.within(self.timeouts.block if paused else 0)

    # TLS.

    def start_tls(self, creator: Any) -> Deferred[None]:
        """
        :return: fires when the handshake is done.
        """
        done: Deferred[None] = Deferred(self._no_handshake)
        if self._talks():
            # It was sent in the clear, by whomever, and would be taken for something safe.
            self.end(Lost(NONSENSE, "more than a reply to STARTTLS"))
        if self.gone is not None:
            done.errback(self.gone)
            return done
        self._handshake = done
        self.features = {}
        self._deadline.within(self.timeouts.command)
        self._secure(creator)
        return done

    def _secure(self, creator: Any) -> None:
        self._securing = _Noted(creator)
        self.transport.startTLS(self._securing)

    def _no_handshake(self, done: Deferred[None]) -> None:
        self._handshake = None
        self.end(Lost(LOST, "given up", planned=True))

    def handshakeCompleted(self) -> None:
        if self._securing is None or self._securing.refused:
            return
        self.tls, self._securing = True, None
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            self._deadline.stop()
            handshake.callback(None)

    # What the transport calls.

    def connectionMade(self) -> None:
        set_no_delay = getattr(self.transport, "setTcpNoDelay", None)
        if set_no_delay is not None:
            set_no_delay(True)
        #: What the next hop says first.
        self.greeting = self._expect(self.timeouts.greeting)
        if self._creator is not None:
            self._secure(self._creator)

    def dataReceived(self, data: bytes) -> None:
        super().dataReceived(data)
        # Not before: whoever gets an answer may ask something at once, and what else came with the
        # answer, unasked, would be taken for the answer to that.
        answered, self._answered = self._answered, []
        for asked, answer in answered:
            # What one of them has come to may be that nobody waits for the next.
            if not asked.called:
                asked.callback(answer)

    def lineReceived(self, line: bytes) -> None:
        if self.gone is not None:
            return
        try:
            answer = self._reader.feed(line)
        except BadAnswer:
            self.end(Lost(NONSENSE))
            return
        if answer is not None:
            self._heard(answer)

    def lineLengthExceeded(self, line: bytes) -> None:
        self.end(Lost(NONSENSE, "a line without end"))

    def _heard(self, answer: Answer) -> None:
        if not self._waiting:
            # A refusal is one also if it was not asked for: 421 when somebody shuts down, or 552
            # in the middle of a message.
            reply = verdict_of(answer) if answer.refused else NONSENSE
            self.end(Lost(reply, f"unasked: {answer.text}"))
            return
        asked, _ = self._waiting.popleft()
        self._deadline.within(self._waiting[0][1] if self._waiting else 0)
        if answer.code == 421:
            self.spent = True
        self._answered.append((asked, answer))

    def _expired(self) -> None:
        if self._waiting or self._handshake is not None or self._flow is not None:
            self.end(Lost(TIMED_OUT))
        else:
            self._rested(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        why = reason.getErrorMessage()
        if self._securing is not None:
            self._finish(TLSFailed(UNSAFE, f"no TLS: {why}"))
        else:
            self._finish(Lost(LOST, why))
        self.closed.callback(None)

    # Ends.

    def rest(self, rested: Callable[[Connection], None]) -> None:
        """
        There is nothing to do.

        :param rested: called when that has been so for too long.
        """
        self.used = True
        self._rested = rested
        self._deadline.within(self.timeouts.idle)

    def leave(self) -> None:
        """
        Take leave politely.
        """
        if self.gone is None:
            leaving = Lost(LOST, "we have left", planned=True)
            self.ask("QUIT", self.timeouts.quit).addBoth(lambda _: self.end(leaving))

    def end(self, error: Lost) -> None:
        """
        Cut the connection off: everybody who waits gets this error.
        """
        if self.gone is None:
            if self._flow is not None:
                self.transport.unregisterProducer()
            self._finish(error)
            self.transport.abortConnection()

    def _finish(self, error: Lost) -> None:
        if self.gone is not None:
            return
        self.gone = error
        self._deadline.stop()
        self.on_gone(self)
        waiting, self._waiting = self._waiting, deque()
        for answer, _ in waiting:
            answer.errback(error)
        handshake, self._handshake = self._handshake, None
        if handshake is not None:
            handshake.errback(error)
        if self._flow is not None:
            self._flow.fail(error)


def itself_if_lost(failure: Failure) -> Any:
    """
    An errback that makes a result of `Lost`.
    """
    failure.trap(Lost)
    return failure.value


def unless_lost(answer: Any) -> Answer:
    """
    :raise Lost: if the answer is that.
    """
    if isinstance(answer, Lost):
        raise answer
    result: Answer = answer
    return result


def encoded(line: str) -> bytes:
    """
    A command for the wire.

    :raise ValueError: if it would be more than one.
    """
    if CONTROLS.search(line) is not None:
        # Grammar lets nothing of the kind pass; this is the last door.
        raise ValueError("a control character in a command")
    return line.encode("utf-8") + b"\r\n"


def judged(connection: Connection, answer: Answer) -> Reply:
    """
    What a command has come to that is answered 2xx, 4xx or 5xx.

    :raise Lost: for anything else.
    """
    if answer.refused:
        reply = verdict_of(answer)
        if answer.code == 421:
            connection.end(Lost(reply))
        return reply
    if answer.accepted:
        return verdict_of(answer)
    connection.end(Lost(NONSENSE, f"unexpected: {answer.text}"))
    raise Lost(NONSENSE)
