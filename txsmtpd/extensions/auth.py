"""
AUTH: who the client is (RFC 4954).

This carries the messages of SASL mechanisms and asks for verdicts; what the messages mean is the
business of :mod:`txsmtpd.sasl`, and who the users are is that of a `Login`.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

from ..core import grammar
from ..core.context import Context
from ..core.eager import eagerly
from ..core.hooks import is_later
from ..core.identity import Identity, Login, Refusal, Unavailable
from ..core.outcomes import CLOSE, Challenge, Outcome, Step, Verb
from ..core.replies import (
    BAD_SEQUENCE,
    NOT_SERVED,
    TOO_MANY_ERRORS,
    Declined,
    Rejected,
    Reply,
    challenge,
    syntax_error,
)
from ..core.session import Envelope, Parameters, Session
from ..core.settings import Settings
from ..core.states import READY, Table
from ..sasl import MECHANISMS, Call, Check, Circumstances, Denied, Exchange, Malformed, Mechanism
from .base import Extension, of_parameters
from .behalf import may_speak

#: Seconds that a failed attempt costs.
DELAY = 1.0
#: The failed attempt that ends the connection.
ATTEMPTS = 3
#: Octets in the line of a command or a response (RFC 4954 section 4).
LINE_LIMIT = 12288

_SYNTAX = "AUTH mechanism [initial-response]"
_BAD_SYNTAX = syntax_error(_SYNTAX)
_BAD_BASE64 = Reply(501, "5.5.2", ("Cannot decode that",))
_MALFORMED = Reply(501, "5.5.2", ("Not what this mechanism wants",))
_ABORTED = Reply(501, "5.7.0", ("Authentication aborted",))
_SERVER_FIRST = Reply(501, "5.7.0", ("In this mechanism the server speaks first",))
_TOO_LONG = Reply(500, "5.5.6", ("Authentication exchange line is too long",))
_UNKNOWN = Reply(504, "5.5.4", ("Unrecognized authentication type",))
_NEEDS_TLS = Reply(538, "5.7.11", ("Encryption required for requested authentication mechanism",))
_REQUIRED = Reply(530, "5.7.0", ("Authentication required",))
_BAD_CREDENTIALS = Reply(535, "5.7.8", ("Authentication credentials invalid",))
_BROKEN = Reply(454, "4.7.0", ("Temporary authentication failure",))
_BUSY = Reply(454, "4.7.0", ("Cannot check credentials now, try again later",))
_WELCOME = Reply(235, "2.7.0", ("Authentication successful",))

#: What may be said by anybody where authentication is demanded.
_BY_ANYBODY = frozenset(("EHLO", "HELO", "NOOP", "QUIT", "RSET", "HELP", "STARTTLS", "AUTH"))

# RFC 4954 section 8
#   base64 = base64-terminal / ( 1*(4base64-CHAR) [base64-terminal] )
#
# b64decode() alone also takes padding that is followed by more.
_BASE64 = re.compile(rb"(?:[A-Za-z0-9+/]{4})*(?:[A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?")


class Auth(Extension):
    """
    Adds AUTH where there is somebody to ask, and demands it where that is set.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._login: Login | None = settings.login
        allowed, excluded = settings.auth_mechanism, settings.auth_exclude_mechanism
        #: Those that are not switched off, by name: of two the last one.
        self._mechanisms: dict[str, Mechanism] = {
            mechanism.name: mechanism
            for mechanism in (MECHANISMS if settings.mechanisms is None else settings.mechanisms)
            if (not allowed or mechanism.name in allowed) and mechanism.name not in excluded
        }
        self._bindings = any(name.endswith("-PLUS") for name in self._mechanisms)
        if not settings.auth_required:
            # It would be asked for every command.
            self.gate = super().gate  # type: ignore[method-assign]
        if self._login is None:
            self.check_mail = super().check_mail  # type: ignore[method-assign]

    def keyword(self, session: Session) -> str | None:
        # Also to who has logged in, as Postfix does: MAIL has its parameter then too.
        if not self._safe(session):
            return None
        names = " ".join(mechanism.name for mechanism, _ in self._offered(session))
        return f"AUTH {names}" if names else None

    def _safe(self, session: Session) -> bool:
        return session.secure or not self.settings.auth_require_tls

    def _offered(self, session: Session) -> Iterator[tuple[Mechanism, Circumstances]]:
        """
        The mechanisms that somebody can serve now, with what each may know.
        """
        if self._login is None:
            return
        circumstances = self._login.circumstances(session, self._bindings)
        for mechanism in self._mechanisms.values():
            if self._login.serves(mechanism) and mechanism.offered(circumstances):
                yield mechanism, circumstances

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"AUTH": _sender}

    @of_parameters
    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        envelope.auth = options.values.get("AUTH")

    def verbs(self) -> Mapping[str, Verb]:
        verb = Verb(self._auth, _SYNTAX, extended=True, line_limit=LINE_LIMIT, too_long=_TOO_LONG)
        return {"AUTH": verb}

    def rows(self) -> Table:
        return {READY: {"AUTH": READY}}

    def gate(self, session: Session, verb: str) -> Reply | None:
        if session.authenticated or session.exempt or verb in _BY_ANYBODY:
            return None
        if verb == "XCLIENT" and may_speak(self.settings, session):
            # It may say who has logged in.
            return None
        return _REQUIRED

    def _auth(self, context: Context, argument: str) -> Step:
        session = context.session
        if self._login is None:
            raise Declined(NOT_SERVED)
        if session.authenticated:
            raise Rejected(BAD_SEQUENCE)
        if not self._safe(session):
            raise Declined(_NEEDS_TLS)
        words = argument.split(" ")
        if not words[0] or len(words) > 2:
            raise Rejected(_BAD_SYNTAX)
        mechanism, circumstances = self._chosen(session, words[0])
        initial = _initial(words[1]) if len(words) == 2 else None
        if mechanism.server_first and initial is not None:
            raise Rejected(_SERVER_FIRST)
        exchange = mechanism.exchange(circumstances, initial)
        return eagerly(_Run(context, mechanism, exchange).go_on(None))

    def _chosen(self, session: Session, word: str) -> tuple[Mechanism, Circumstances]:
        name = grammar.ascii_upper(word)
        for mechanism, circumstances in self._offered(session):
            if mechanism.name == name:
                return mechanism, circumstances
        raise Rejected(_UNKNOWN)


def _initial(word: str) -> bytes:
    return b"" if word == "=" else _decoded(word.encode("utf-8"))


def _decoded(line: bytes) -> bytes:
    # Not by the exception that b64decode() raises: it would keep the line.
    if _BASE64.fullmatch(line) is None:
        raise Rejected(_BAD_BASE64)
    return b64decode(line)


def _refusal_in(verdict: Any) -> Refusal:
    return verdict if isinstance(verdict, Refusal) else Refusal()


def _sender(session: Session, value: str | None) -> str:
    """
    Read AUTH of MAIL: who has submitted the message first, ``""`` if nobody can tell
    (RFC 4954 section 5).
    """
    address = grammar.xtext_decode(value or "")
    if address == "<>":
        return ""
    if address.startswith("<") and address.endswith(">"):
        # As curl has it, though only "<>" is to have brackets; to Postfix any text will do.
        address = address[1:-1]
    address = grammar.mailbox(address, utf8=False)
    # Anybody can say anything.
    return address if session.authenticated else ""


class _Run:
    """
    One run of a mechanism.
    """

    def __init__(self, context: Context, mechanism: Mechanism, exchange: Exchange) -> None:
        self._context = context
        self._mechanism = mechanism
        self._exchange = exchange
        #: What the last check came to.
        self._verdict: Identity | Refusal | None = None
        self._logouts: list[Callable[[], Any]] = []

    async def respond(self, line: bytes) -> Outcome:
        """
        Go on with what the client has answered.
        """
        if line == b"*":
            return await self.give_up(_ABORTED)
        try:
            response = _decoded(line)
        except Rejected as refusal:
            return await self.give_up(refusal.reply)
        return await self.go_on(response)

    async def give_up(self, reply: Reply) -> Outcome:
        """
        End it before its end: the client does not go on as it should.

        Some mechanisms tell a client first that it is refused, and the refusal follows its answer
        (RFC 7628 section 3.2.3).  Who gives another one does not get away with it.
        """
        self._exchange.close()
        if isinstance(self._verdict, Refusal):
            return await self._failed(reply)
        self._log_out()
        raise Rejected(reply)

    async def go_on(self, value: Any) -> Outcome:
        """
        Go on with what the mechanism has wanted, up to the next challenge or the end.
        """
        try:
            wanted = self._exchange.send(value)
            while isinstance(wanted, (Check, Call)):
                wanted = self._exchange.send(await self._outside(wanted))
            said = challenge(b64encode(wanted.data))
        except StopIteration as stop:
            return await self._ended(stop.value)
        except Malformed:
            return await self.give_up(_MALFORMED)
        except Denied:
            return await self._failed(_BAD_CREDENTIALS)
        except Unavailable:
            self._log_out()
            raise Declined(_BUSY) from None
        except Exception as error:
            # The checker's, or the mechanism's.
            self._log_out()
            self._context.runner.report(error)
            raise Declined(_BROKEN) from None
        return Outcome((said,), Challenge("AUTH", self.respond, self.give_up))

    async def _outside(self, wanted: Check | Call) -> Any:
        try:
            if isinstance(wanted, Call):
                return await self._call(wanted)
            return await self._check(wanted.credentials)
        except Exception:
            self._exchange.close()
            raise

    async def _call(self, wanted: Call) -> Any:
        context = self._context
        answer = wanted.function(context.server, context.session, context.envelope)
        if is_later(answer):
            answer = context.runner.start(answer)
        return await answer if is_later(answer) else answer

    async def _check(self, credentials: Any) -> bool:
        self._verdict = await self._ask(credentials)
        if isinstance(self._verdict, Identity):
            self._log_in(self._verdict)
            return True
        # What is neither does not let in.
        self._verdict = _refusal_in(self._verdict)
        return False

    async def _ask(self, credentials: Any) -> Identity | Refusal:
        context = self._context
        verdict: Any = context.settings.login.check(
            context.server, context.session, context.envelope, self._mechanism.name, credentials
        )
        if is_later(verdict):
            verdict = context.runner.start(verdict, self._too_late)
        answer: Identity | Refusal = await verdict if is_later(verdict) else verdict
        return answer

    def _too_late(self, verdict: Any) -> None:
        """
        Nobody waits any more to know who the client is.
        """
        if isinstance(verdict, Identity):
            self._context.act_at_end(verdict.logout)

    def _log_in(self, identity: Identity) -> None:
        """
        See to it that somebody is logged out in the end.
        """
        self._logouts.append(identity.logout)
        self._context.at_end.append(identity.logout)

    def _log_out(self) -> None:
        """
        Log out who was logged in, because the exchange has failed.
        """
        logouts, self._logouts = self._logouts, []
        context = self._context
        for logout in logouts:
            # Where the client has gone meanwhile, it has happened.
            if logout in context.at_end:
                context.at_end.remove(logout)
                context.act_at_end(logout)

    async def _ended(self, result: Any) -> Outcome:
        verdict: Any = self._verdict
        if isinstance(result, (Identity, Refusal)):
            verdict = result
            if isinstance(result, Identity):
                self._log_in(result)
        elif result is not None and result is not False:
            verdict = Identity(result)
        if result is False or not isinstance(verdict, Identity):
            return await self._failed(self._refusal(_refusal_in(verdict).message))
        try:
            reply = self._context.judge(verdict.message, _WELCOME)
        except Exception:
            self._log_out()
            raise
        if not reply.positive:
            # Let in, with words that say no.
            return await self._failed(reply)
        return Outcome((reply,), commit=partial(self._welcome, verdict))

    def _welcome(self, identity: Identity) -> None:
        session = self._context.session
        session.authenticated = True
        session.auth_data, session.login_data = identity.data, identity.name

    async def _failed(self, reply: Reply) -> Outcome:
        """
        Refuse, after a while in which others are served.
        """
        self._log_out()
        context = self._context
        context.session.authenticated = False
        context.auth_failures += 1
        await context.runner.pause(self._delay())
        if context.auth_failures >= ATTEMPTS:
            return Outcome((reply, TOO_MANY_ERRORS), CLOSE)
        raise Rejected(reply)

    def _delay(self) -> float:
        # Shorter than what is cut off as a hook that takes too long.
        limit: float = self._context.settings.hook_timeout
        return min(DELAY, limit / 2) if limit else DELAY

    def _refusal(self, message: Any) -> Reply:
        """
        What the authenticator wants said, if it is a refusal.
        """
        if message is None:
            return _BAD_CREDENTIALS
        try:
            # What comes without an enhanced code gets one about security, as success has it.
            reply = self._context.judge(message, _WELCOME)
            if not reply.positive:
                return reply
            raise ValueError(f"an authenticator refused with {reply.code}, which is no refusal")
        except Exception as error:
            # The attempt has failed all the same.
            self._context.runner.report(error)
        return _BAD_CREDENTIALS
