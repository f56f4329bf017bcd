"""
STARTTLS: encryption from here on (RFC 3207).

Whatever a client has sent behind the command came in the clear, perhaps from somebody else, so it
is thrown away; and so is all that was learnt before the handshake.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..core.context import Context
from ..core.outcomes import CLOSE, Outcome, Step, UpgradeTLS, Verb
from ..core.replies import BAD_SEQUENCE, NO_ARGUMENT, NOT_SERVED, Declined, Rejected, Reply
from ..core.session import TLS, Session
from ..core.settings import Settings
from ..core.states import MAIL, NO_RCPT, RCPT, READY, START, Table
from .base import Extension

_GO_AHEAD = Reply(220, "2.0.0", ("Ready to start TLS",))
#: RFC 3207 section 4: 530 where encryption is demanded, 554 where it was not good enough.
_REQUIRED = Reply(530, "5.7.0", ("Must issue a STARTTLS command first",))
_NOT_GOOD_ENOUGH = Reply(554, "5.7.0", ("Command refused due to lack of security",))

#: What may be said in the clear where encryption is demanded.
_IN_THE_CLEAR = frozenset(("EHLO", "HELO", "NOOP", "QUIT", "RSET", "HELP", "STARTTLS"))


class StartTLS(Extension):
    """
    Adds STARTTLS where there is a certificate, and demands it where that is set.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        if not settings.require_starttls:
            # It would be asked for every command.
            self.gate = super().gate  # type: ignore[method-assign]

    def keyword(self, session: Session) -> str | None:
        return "STARTTLS" if self._offered(session) else None

    def _offered(self, session: Session) -> bool:
        possible = self.settings.context_factory is not None and session.can_start_tls
        # The way from a proxy that has ended TLS to us is the proxy's own affair.
        return possible and not session.secure

    def verbs(self) -> Mapping[str, Verb]:
        forgets = self.settings.context_factory is not None
        return {"STARTTLS": Verb(self._starttls, "STARTTLS", forgets=forgets)}

    def rows(self) -> Table:
        # After HELO too, as Postfix has it: only the reply to EHLO cannot tell of it then.
        return {state: {"STARTTLS": START} for state in (START, READY, MAIL, NO_RCPT, RCPT)}

    def gate(self, session: Session, verb: str) -> Reply | None:
        if session.secure or session.exempt or verb in _IN_THE_CLEAR:
            return None
        return _REQUIRED

    def _starttls(self, context: Context, argument: str) -> Outcome:
        if argument:
            raise Rejected(NO_ARGUMENT)
        if context.session.secure:
            raise Rejected(BAD_SEQUENCE)
        if not self._offered(context.session):
            raise Declined(NOT_SERVED)

        def secured(tls: TLS, facts: dict[str, Any]) -> Step:
            return _secured(context, tls, facts)

        return Outcome((_GO_AHEAD,), UpgradeTLS(secured))


def _secured(context: Context, tls: TLS, facts: dict[str, Any]) -> Step:
    """
    Begin again, with encryption (RFC 3207 section 4.2).
    """
    context.forget()
    context.session.tls, context.session.ssl = tls, facts
    context.remember()

    def judged(reply: Reply) -> Outcome:
        if reply.code == 421:
            return Outcome((reply,), CLOSE)
        if not reply.positive:
            context.shut = _NOT_GOOD_ENOUGH
        # The handshake is no command, so nothing answers it.
        return Outcome()

    return context.ask(context.hooks.STARTTLS, _GO_AHEAD, judged)
