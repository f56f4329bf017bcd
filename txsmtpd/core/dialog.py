"""
The dialog: one command line makes one outcome, and so does one content.

Nothing is read, written or timed here.  A line is judged in this order: is it a verb, is it a line,
does a gate refuse it, does the table allow it, does the verb accept it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

import attrs

from . import replies
from .context import Context, copied
from .eager import eagerly
from .hooks import Hook, as_reply, is_later
from .outcomes import CLOSE, Body, Challenge, Outcome, Restart, Step
from .replies import Declined, Rejected, Reply
from .rules import Move
from .session import Session
from .states import NO_RCPT, REFUSED

# Codes of our own refusals that say "this was no SMTP" rather than "not this one".
_JUNK = frozenset((500, 501, 503, 504, 535, 553, 555))

_CONTROL = re.compile("[\x00-\x1f\x7f]")

# Somebody takes us for a web server or a proxy, or makes a browser talk to us.
_FOREIGN = frozenset(
    (b"GET", b"POST", b"PUT", b"HEAD", b"OPTIONS", b"CONNECT", b"DELETE", b"TRACE", b"PATCH")
)


class Dialog(Context):
    """
    One connection: the dispatcher of its commands, and the one place that counts its errors.
    """

    #: The DISCONNECT hooks of the handlers that know of the client.
    _farewells: Sequence[Hook | None] = ()
    #: What a client who was introduced is said to have told.
    _recall: Callable[[Session], None] | None = None

    def greet(self) -> Step:
        """
        A client has connected (RFC 5321 section 3.1).
        """
        ident = self.settings.ident
        if self.rules.lmtp:
            ident = f"LMTP {ident.removeprefix('ESMTP ')}"
        text = f"{self.settings.hostname} {ident}"
        # An error here is answered 421.
        self.fallback = replies.UNAVAILABLE
        hook = None
        if self.hooks.greeters:
            hook = self._connect
            if self.rules.forgets:
                self._unmet = copied(self.session)
        return self.ask(hook, replies.said_often(220, (text,)), self._greeted)

    async def _connect(self, *arguments: Any) -> Reply | None:
        """
        Ask the chain, and note who must hear of the end: all who have heard of the beginning.
        """
        greeters = self.hooks.greeters
        self._farewells = [leave for connect, leave in greeters if connect is None]
        last = None
        for connect, leave in greeters:
            if connect is None:
                continue
            self._farewells.append(leave)
            answer = self.started(connect(*arguments))
            reply = as_reply(await answer if is_later(answer) else answer)
            if reply is not None and not reply.positive:
                return reply
            last = reply or last
        return last

    def proxied(self, proxy: Any) -> Coroutine[Any, Any, Outcome]:
        """
        A PROXY header has said who the client is: the session has it already.

        :return: closes the connection if the client is refused.
        """

        async def judge() -> Outcome:
            reply = await self.verdict(self.hooks.PROXY, replies.OK, proxy)
            return Outcome() if reply.positive else Outcome((), CLOSE)

        return judge()

    def replace_client(self, restart: Restart) -> None:
        """
        Begin again with another client, who is to be greeted.  Only TLS stays as it is, and what
        was known before anybody was asked about the client that there was.
        """
        self._say_farewell("replaced by another client")
        session = copied(self._unmet or self._as_greeted)
        session.tls, session.ssl = self.session.tls, self.session.ssl
        self.begin_again(session, "replaced by another client")
        self.errors = self.auth_failures = 0
        self._recall = restart.recall
        restart.introduce(session)

    def _greeted(self, reply: Reply) -> Outcome:
        if reply.positive and reply.code != 220:
            self.runner.report(ValueError(f"handle_CONNECT returned {reply.code}, not 220"))
            reply = self.fallback
        self.fallback = replies.LOCAL_ERROR
        self.remember()
        if not reply.positive:
            self.state = REFUSED
        elif self._recall is not None:
            self._recall(self.session)
        return self._settled(Outcome((reply,), CLOSE if reply.code == 521 else None))

    def command(self, line: bytes) -> Step:
        """
        Obey one line.

        :param line: as it came, without its CRLF.
        """
        word, _, rest = line.rstrip(b" \t").partition(b" ")
        moves = self.rules.moves[self.state]
        move = moves.get(word) or moves.get(word.upper())
        if move is None:
            return self._unknown(word)
        try:
            argument = rest.decode("ascii")
        except UnicodeDecodeError:
            # U+FFFD stands for what is no UTF-8; the grammar refuses it.
            argument = rest.decode("utf-8", "replace")
        try:
            if (
                not move.free
                or self.shut is not None
                or len(line) > move.room
                or not argument.isprintable()
            ):
                obstacle = self._obstacle(len(line), move, argument)
                if obstacle is not None:
                    return self._turn_down(move, argument, obstacle)
            step = move.verb.run(self, argument)
        except Rejected as refusal:
            return self._turn_down(move, argument, refusal.reply, refusal)
        except Exception as error:
            return self._turn_down_for(move, argument, error)
        if isinstance(step, Outcome):
            return self._advance(move, step)
        return self._advance_later(move, argument, step)

    def _unknown(self, word: bytes) -> Outcome:
        if word.upper() in _FOREIGN:
            return Outcome((replies.NOT_SMTP,), CLOSE)
        self.errors += 1
        reply = replies.BAD_SEQUENCE if self.state == REFUSED else replies.BAD_COMMAND
        return self._settled(Outcome((reply,)))

    def _obstacle(self, length: int, move: Move, argument: str) -> Reply | None:
        """
        Why a command is refused before its verb gets to see it, or None.
        """
        verb = move.verb
        if length > move.room:
            return verb.too_long
        if not argument.isprintable() and _CONTROL.search(argument):
            return replies.BAD_LINE
        if self.shut is not None and move.name != "QUIT":
            return self.shut
        for gate in self.rules.gates:
            reply = gate(self.session, move.name)
            if reply is not None:
                return reply
        if not move.legal or (verb.extended and not self.session.extended_smtp):
            return replies.BAD_SEQUENCE
        return None

    def _turn_down(
        self, move: Move, argument: str, reply: Reply, error: Exception | None = None
    ) -> Outcome:
        """
        Refuse a command as its verb wants to be refused.

        :param error: what the refusal was raised as.
        """
        verb = move.verb
        reply = self.judge(reply, replies.OK)
        outcome = verb.refused(self, argument, reply)
        an_echo = reply.code == 503 and verb.follows and (self.echo or self.state == NO_RCPT)
        ours = error is None or (isinstance(error, Rejected) and not isinstance(error, Declined))
        if ours and reply.code in _JUNK and not an_echo:
            self.errors += 1
        self.refused(move.name, verb, reply)
        return self._settled(outcome)

    async def _turn_down_for(self, move: Move, argument: str, error: Exception) -> Outcome:
        return self._turn_down(move, argument, await self.explain(error), error)

    def _advance(self, move: Move, outcome: Outcome) -> Outcome:
        """
        Move on to the state that follows a command, if its reply is positive.
        """
        said = outcome.replies
        if said and said[-1].code >= 400:
            self.refused(move.name, move.verb, said[-1])
            return self._settled(outcome)
        self.state = move.target
        if outcome.commit is not None:
            outcome.commit()
        return outcome

    async def _advance_later(
        self, move: Move, argument: str, step: Coroutine[Any, Any, Outcome]
    ) -> Outcome:
        try:
            outcome = await step
        except Rejected as refusal:
            return self._turn_down(move, argument, refusal.reply, refusal)
        except Exception as error:
            return await self._turn_down_for(move, argument, error)
        return self._advance(move, outcome)

    def response(self, challenge: Challenge, line: bytes) -> Step:
        """
        Pass on a line that answers a challenge.
        """
        # The command has made its move when it asked for the answer.
        move = self.rules.moves[self.state][challenge.verb.encode()]
        move = attrs.evolve(move, target=self.state)
        if len(line) > move.room:
            step = challenge.give_up(move.verb.too_long)
        else:
            step = challenge.respond(line)
        return eagerly(self._advance_later(move, "", step))

    def content(self, body: Body) -> Step:
        """
        Conclude a content that is whole.
        """
        step = body.sink.finish()
        return self._settled(step) if isinstance(step, Outcome) else self._settled_later(step)

    async def _settled_later(self, step: Coroutine[Any, Any, Outcome]) -> Outcome:
        return self._settled(await step)

    def _settled(self, outcome: Outcome) -> Outcome:
        """
        What every refusal goes through: a 421 closes, and so does junk if there is too much.
        """
        said = outcome.replies
        if not said or said[-1].code < 400 or outcome.then is CLOSE:
            return outcome
        if said[-1].code == 421:
            return Outcome(said, CLOSE)
        if 0 < self.settings.max_errors <= self.errors:
            return Outcome((*said, replies.TOO_MANY_ERRORS), CLOSE)
        return outcome

    def lost(self, *, delivers: bool = False) -> None:
        """
        The client has gone, or the connection is closed: `gone` says why.

        :param delivers: whether its message is still being delivered: then who it was is logged
            out by `end_login` when that has ended.
        """
        if self.delivery is not None:
            self.delivery.abort(self.gone)
            self.delivery = None
        if not delivers:
            self.end_login()
        self._say_farewell(self.gone)

    def _say_farewell(self, reason: str) -> None:
        farewells, self._farewells = self._farewells, ()
        for hook in filter(None, farewells):
            try:
                answer = hook(self.server, self.session, self.envelope, reason)
                if is_later(answer):
                    self.runner.detach(answer)
            except Exception as error:
                self.runner.report(error)
