"""
The protocol: bytes in, replies out.

How it goes on.  A line goes to the dialog, which returns an outcome or a coroutine that will.  The
replies of the outcome are collected and leave in one write when everything that had arrived was
obeyed, so that a pipelined group gets its replies together.

How it waits.  A step that is pending, replies that are not read and a consumer that is not ready
each put on a brake; see :mod:`txsmtpd.brakes`.

How it begins and ends: see :mod:`txsmtpd.arrival` and :mod:`txsmtpd.departure`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from inspect import iscoroutine
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.python.failure import Failure
from zope.interface import implementer

from .brakes import CONTENT, STEP
from .core import replies
from .core.dialog import Dialog
from .core.eager import eagerly
from .core.outcomes import CLOSE, Body, Challenge, Directive, Message, Outcome, Restart, Step
from .core.replies import Reply
from .core.session import Envelope, Session
from .core.settings import Settings
from .departure import Departure
from .home import Home
from .overrides import VerbMethods
from .steps import Pending, Steps
from .wire import make_wire

#: Replies that are collected before they are written.
BATCH = 256


@implementer(IHalfCloseableProtocol)
class SMTP(VerbMethods, Departure):
    """
    One SMTP connection (RFC 5321).
    """

    #: Octets in a line; a longer one, even unfinished, ends the connection.
    MAX_LENGTH = 65536

    #: Whether a plain TCP connection does without some of the reactor (see :mod:`txsmtpd.wire`).
    uses_wire = True

    factory: Home
    dialog: Dialog

    _half_closed = False
    _body: Body | None
    #: What the next line answers.
    _challenge: Challenge | None

    # What hooks find on `server`.

    @property
    def settings(self) -> Settings:
        return self.factory.settings

    @property
    def hostname(self) -> str:
        """
        Our own name, as the greeting says it.
        """
        return self.factory.settings.hostname

    @property
    def session(self) -> Session:
        return self.dialog.session

    @property
    def envelope(self) -> Envelope:
        return self.dialog.envelope

    # What the transport calls.

    def connectionMade(self) -> None:
        if self.uses_wire:
            make_wire(self.transport, self.factory.readers)
        self._verbose = self.factory.settings.verbose
        self._body = self._challenge = None
        super().connectionMade()
        self._arrive()

    def _start_dialog(self, session: Session) -> None:
        self.dialog = Dialog(self.factory.rules, _Steps(self), self, session)
        self._limit_session(self._settings.session_timeout)
        self._allow(self._settings.timeout)

    def lineReceived(self, line: bytes) -> None:
        self._line = line
        if self._verbose:
            self._log.heard(line, secret=self._challenge is not None)
        if self._challenge is None:
            self._obey(self.dialog.command(line))
        else:
            self._obey(self._answer(self._challenge, line))

    def _answer(self, challenge: Challenge, line: bytes) -> Step:
        self._challenge = None
        # The log may have this, not the answer.
        self._line = challenge.verb.encode()
        return self.dialog.response(challenge, line)

    def lineLengthExceeded(self, line: bytes) -> None:
        self._say_goodbye(replies.ENDLESS_LINE)

    def rawDataReceived(self, data: bytes) -> None:
        body = self._body
        assert body is not None
        content, leftover = body.reader.feed(data)
        waiting = body.sink.write(content) if content else None
        if waiting is None:
            self._content_taken(body, leftover)
        else:
            self._drive(waiting, CONTENT, lambda _: self._content_taken(body, leftover))

    def readConnectionLost(self) -> None:
        """
        The client has sent its last; what was received is still obeyed and answered.
        """
        self._half_closed = True
        self.afterInput()

    def writeConnectionLost(self) -> None:
        """
        Never called, because we never close one half.
        """

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self._lost = True
        self.end()
        # Nobody hears what was not sent yet.
        self._out.clear()
        # An exchange ends with the client.
        self._challenge = None
        if self._session_end is not None:
            self._session_end.stop()
        if self._delivering is None:
            self._deadline.stop()
        if not self._admitted:
            return
        why = self.dialog.gone = reason.getErrorMessage()
        try:
            delivering = self._delivering
            if delivering is not None:
                # First, because a server that stops waits for what begins before this has ended.
                delivering.addCallback(lambda _: self.dialog.end_login())
                self.factory.census.outlive(delivering)
            elif self._pending is not None:
                self._pending.cancel()
            self.dialog.lost(delivers=delivering is not None)
            self._log_end(why)
        finally:
            # Last, because a server that stops waits for nothing that it hears of later.
            self.factory.census.release(self)

    def outlive(self, work: Deferred[Any]) -> None:
        """
        Let something go on that nobody waits for, but no longer than any hook.
        """
        if seconds := self.settings.hook_timeout:
            work.addTimeout(seconds, self.factory.reactor, lambda result, timeout: result)
        self.factory.census.outlive(work)

    def hook_failed(self, error: BaseException) -> None:
        """
        Log what a hook should not have raised.
        """
        self._log.failed(error, self._lost)

    # What comes of it.

    def _drive(
        self, waiting: Any, brake: int, then: Callable[[Any], None], *, delivers: bool = False
    ) -> None:
        """
        Run a coroutine of the core; if it does not end at once, brake until it does.
        """
        result = eagerly(waiting)
        if not iscoroutine(result):
            then(result)
            return

        def ended(result: Any) -> None:
            delivered, self._delivering = self._delivering, None
            self._pending = None
            self.progress = True
            # Before `then`, which may put it on again.
            self.brakes &= ~brake
            try:
                then(result)
            finally:
                if delivered is not None:
                    delivered.callback(None)
            if self._lost:
                self._deadline.stop()
            self._part_if_due()
            self.proceed()

        def broken(failure: Failure) -> None:
            delivered, self._delivering = self._delivering, None
            self._broken(failure)
            if delivered is not None:
                delivered.callback(None)

        self.brake(brake)
        if delivers:
            self._delivering = Deferred()
        self._pending = Pending(result, ended, broken)
        self._give_hook_time()

    def _broken(self, failure: Failure) -> None:
        # The dialog cannot be trusted any more.
        self._log.broken(failure)
        if not self.closing:
            self._say_goodbye(replies.UNAVAILABLE)

    def _obey(self, step: Step) -> None:
        """
        Say the replies of a step of the dialog and carry out its directive, at once or later.
        """
        if not isinstance(step, Outcome):
            self._drive(step, STEP, self._obey)
            return
        if self._lost:
            return
        out = self._out
        for reply in step.replies:
            out.append(reply.wire)
            if reply.code >= 400 or self._verbose:
                self._note(reply)
        if len(out) > BATCH:
            self._flush()
        if step.then is not None:
            self._carry_out(step.then)

    def _carry_out(self, then: Directive) -> None:
        if isinstance(then, Body):
            self._body = then
            self.setRawMode()
            if then.empty:
                self.rawDataReceived(b"")
        elif then is CLOSE:
            self.close()
        elif isinstance(then, Challenge):
            self._challenge = then
        elif isinstance(then, Restart):
            self.dialog.replace_client(then)
            self._log.introduced(self.session)
            if self._has_room():
                self._obey(self.dialog.greet())
        else:
            # What has come in the clear may come from somebody else.
            self.clearLineBuffer()
            # From here on nothing may be said in the clear.
            self._flush()
            self._start_tls(then.secured)

    def _content_taken(self, body: Body, leftover: bytes | None) -> None:
        if leftover is None or self._lost:
            return
        self._body = None
        self.take_back(leftover)
        step, message = self.dialog.content(body), body.message
        if message is None:
            self._obey(step)
        elif isinstance(step, Outcome):
            self._delivered(message, step)
        else:
            self._drive(step, STEP, partial(self._delivered, message), delivers=True)

    def _delivered(self, message: Message, outcome: Outcome) -> None:
        self._log.transaction(message, self._lost)
        self._obey(outcome)

    def say_early(self, reply: Reply) -> None:
        """
        Say one of several replies while the others are waited for.
        """
        self._obey(Outcome((reply,)))
        # No more than that: the step that it belongs to is not over.
        if self._out and not self.feeding:
            self._flush()

    def _note(self, reply: Reply) -> None:
        """
        Log a reply that deserves it.
        """
        if reply.code >= 400:
            # A connection that is turned away has no dialog.
            transaction = self.dialog.envelope.id if self._admitted else ""
            self._log.refused(self._line, transaction, reply)
        if self._verbose:
            self._log.said(reply)

    def _flush(self) -> None:
        data = b"".join(self._out)
        self._out.clear()
        self.transport.write(data)

    def afterInput(self) -> None:
        if self.closing:
            return
        if self._out:
            self._flush()
        if self.progress:
            self.progress = False
            # A hook that is pending has its own time.
            if self._pending is None:
                settings = self._settings
                self._deadline.within(settings.data_timeout if self._raw else settings.timeout)
        if self._farewell is not None:
            self._part_if_due()
        if self._half_closed and not self.brakes and not self.closing:
            self.close()


class _Steps(Steps):
    """
    Those of one connection.
    """

    # Not its methods, each of which would be an object of its own.
    __slots__ = ("_protocol",)

    def __init__(self, protocol: SMTP) -> None:
        super().__init__(protocol.factory.reactor)
        self._protocol = protocol

    def report(self, error: BaseException) -> None:
        self._protocol.hook_failed(error)

    def outlive(self, work: Deferred[Any]) -> None:
        self._protocol.outlive(work)

    def say(self, reply: Reply) -> None:
        self._protocol.say_early(reply)


class LMTP(SMTP):
    """
    One LMTP connection (RFC 2033): each recipient gets a verdict of its own.
    """

    lmtp = True
