"""
What a verb has in hand: the session, the transaction, the state, and a way to ask the hooks.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Protocol, TypeVar

from .eager import awaited
from .hooks import Hook, as_reply, is_later
from .outcomes import Runner, Verb
from .replies import BAD_SEQUENCE, LOCAL_ERROR, OK, Rejected, Reply
from .rules import Rules
from .session import Envelope, Recipient, Session
from .states import END, RCPT, READY, START, State, refusal_of

T = TypeVar("T")


def copied(session: Session) -> Session:
    """
    A session like another, but of its own.
    """
    # What copy.copy() does, in a fifth of the time: there is one for every connection.
    other = object.__new__(type(session))
    vars(other).update(vars(session))
    other.notes = dict(session.notes)
    return other


class Abortable(Protocol):
    def abort(self, reason: str) -> None:
        """
        Forget a message that will not be whole.
        """


class Context:
    """
    One connection, as verbs, extensions and hooks see it.

    :param server: what hooks get for their first argument.
    """

    def __init__(self, rules: Rules, runner: Runner, server: Any, session: Session) -> None:
        self.rules = rules
        self.settings = rules.settings
        self.hooks = rules.hooks
        self.runner = runner
        self.server = server
        self.session = session
        self.state: State = START
        #: The message that is being received, if there is one.
        self.delivery: Abortable | None = None
        #: Whether a command that others were pipelined behind was refused (see `Verb.follows`).
        self.echo = False
        #: Replies to junk since the last accepted message.
        self.errors = 0
        #: How often AUTH has failed, also before STARTTLS.
        self.auth_failures = 0
        #: What every command but QUIT is answered with, where the client has to leave.
        self.shut: Reply | None = None
        #: Why the client has gone, or "" while it is there.
        self.gone = ""
        #: What an unexpected error is answered with.
        self.fallback = LOCAL_ERROR
        #: What to do when the client goes or what was learnt from it is forgotten, such as to log
        #: out who has logged in.
        self.at_end: list[Callable[[], Any]] = []
        # The session as it was when the client was greeted, where it may have to be forgotten.
        self._as_greeted = session
        # The same before the CONNECT hooks could note anything, if there are some.
        self._unmet: Session | None = None
        self._envelope: Envelope | None = None
        self._transactions = 1
        self._begin_transaction()

    @property
    def envelope(self) -> Envelope:
        """
        The transaction.
        """
        # Made when somebody looks, because most connections are idle between two of them.
        if self._envelope is None:
            self._envelope = Envelope(f"{self.session.id}.{self._transactions}")
        return self._envelope

    def _begin_transaction(self) -> None:
        self._envelope = None
        #: What the client was told is accepted, whatever becomes of the envelope's own list in the
        #: hands of hooks.
        self.recipients: list[Recipient] = []

    def reset(self, reason: str = "reset") -> None:
        """
        End the transaction, whatever there is of it (RFC 5321 section 4.1.4).
        """
        if self.delivery is not None:
            self.delivery.abort(reason)
            self.delivery = None
        if self._envelope is not None and self._envelope.mail_from is not None:
            self._transactions += 1
        self._begin_transaction()
        self.echo = False

    def remember(self) -> None:
        """
        Note what is known about the client before it has said anything.
        """
        # For most servers that would be a quarter of what an idle connection has in memory.
        if self.rules.forgets:
            self._as_greeted = copied(self.session)

    def forget(self) -> None:
        """
        Forget what was learnt from the client (RFC 3207 section 4.2): what its address, a PROXY
        header and the CONNECT hooks had told before stays.

        :raise RuntimeError: if no verb of this server says that it forgets.
        """
        self.begin_again(self._as_greeted, "forgotten")
        self.remember()

    def begin_again(self, session: Session, reason: str) -> None:
        """
        Go on with another session, as if nothing was said yet.

        :raise RuntimeError: if no verb of this server says that it forgets: then it is not known
            what there was before.
        """
        if not self.rules.forgets:
            raise RuntimeError("a verb that makes the server forget the client has to say so")
        self.reset(reason)
        self.end_login()
        self.session = session
        self._begin_transaction()
        self.state = START

    def end_login(self) -> None:
        """
        Do what is to be done `at_end`.
        """
        at_end, self.at_end = self.at_end, []
        for act in at_end:
            self.act_at_end(act)

    def act_at_end(self, act: Callable[[], Any]) -> None:
        """
        Do one of these things, at once or later; nobody waits for it.
        """
        try:
            answer = act()
            if is_later(answer):
                self.runner.detach(answer)
        except Exception as error:
            self.runner.report(error)

    def end_content(self) -> None:
        """
        End the transaction after its content, whose verdict is known.
        """
        self.happened(END)
        self.reset("its content has ended")

    def happened(self, symbol: str) -> None:
        """
        Move to the state that follows `symbol`, if the table has one.
        """
        self.state = self.rules.table[self.state].get(symbol, self.state)

    def refused(self, name: str, verb: Verb, reply: Reply) -> None:
        """
        Note that a command was answered with a negative reply.
        """
        if self.delivery is not None and self.state == RCPT:
            # This command has begun it, and came to nothing.
            self.delivery.abort(reply.text)
            self.delivery = None
        if verb.leads:
            self.echo = True
        if reply is BAD_SEQUENCE:
            # RFC 5321 section 4.1.4: everything stays as it was.
            return
        if verb.leads and self.state == READY:
            # What a refused MAIL has noted may not stay, but what XFORWARD has said before.
            forwarded = self.envelope.forwarded
            self._begin_transaction()
            self.envelope.forwarded = forwarded
        self.happened(refusal_of(name))

    def started(self, answer: Any) -> Any:
        """
        What a hook returned, or its result if it was to come later and is there already.
        """
        return self.runner.start(answer) if is_later(answer) else answer

    def judge(self, verdict: Any, default: Reply, *, utf8: bool = False) -> Reply:
        """
        The reply to send for a hook's verdict.

        :param default: what is said without a hook; a positive verdict is of the same class, or
            2xx where that is a refusal.
        :param utf8: whether it may be other than ASCII where the transaction is not SMTPUTF8.
        :raise TypeError: if it is not a verdict.
        :raise ValueError: if it is not a reply that fits here.
        """
        reply = as_reply(verdict)
        if reply is None:
            return default
        usual = default if default.positive else OK
        if reply.positive and reply.code // 100 != usual.code // 100:
            raise ValueError(f"a hook returned {reply.code} where {usual.code} is expected")
        reply = reply.with_status(usual.status)
        return reply if utf8 or self.envelope.smtp_utf8 else reply.in_ascii()

    def ask(
        self,
        hook: Hook | None,
        default: Reply,
        conclude: Callable[[Reply], T | Coroutine[Any, Any, T]],
        *arguments: Any,
        utf8: bool = False,
    ) -> T | Coroutine[Any, Any, T]:
        """
        Ask a hook and conclude from its verdict: at once if the verdict is there at once.

        :param arguments: what the hook gets after server, session and envelope.
        :param utf8: as `judge` takes it.
        """
        if hook is None:
            return conclude(default)
        try:
            verdict = hook(self.server, self.session, self.envelope, *arguments)
            if verdict is not None and is_later(verdict):
                verdict = self.runner.start(verdict)
                if is_later(verdict):
                    return self._conclude_later(verdict, default, conclude, utf8)
            reply = default if verdict is None else self.judge(verdict, default, utf8=utf8)
        except Rejected as refusal:
            reply = self.judge(refusal.reply, default, utf8=utf8)
        except Exception as error:
            return self._conclude_error(error, conclude)
        return conclude(reply)

    async def verdict(self, hook: Hook | None, default: Reply, *arguments: Any) -> Reply:
        """
        Ask a hook, from a coroutine.
        """
        return await awaited(self.ask(hook, default, itself, *arguments))

    async def _conclude_later(
        self,
        verdict: Awaitable[Any],
        default: Reply,
        conclude: Callable[[Reply], T | Coroutine[Any, Any, T]],
        utf8: bool,
    ) -> T:
        try:
            reply = self.judge(await verdict, default, utf8=utf8)
        except Rejected as refusal:
            reply = self.judge(refusal.reply, default, utf8=utf8)
        except Exception as error:
            reply = await self.explain(error)
        return await awaited(conclude(reply))

    async def _conclude_error(
        self, error: Exception, conclude: Callable[[Reply], T | Coroutine[Any, Any, T]]
    ) -> T:
        return await awaited(conclude(await self.explain(error)))

    async def explain(self, error: Exception) -> Reply:
        """
        The refusal that an unexpected exception comes to; its text never reaches the client.
        """
        self.runner.report(error)
        hook = self.hooks.exception
        if hook is None or self.gone:
            return self.fallback
        try:
            verdict = self.started(hook(self.server, self.session, self.envelope, error))
            if is_later(verdict):
                verdict = await verdict
            reply = self.judge(verdict, self.fallback)
            if reply.positive:
                raise ValueError(f"handle_exception returned {reply.code}, which is no refusal")
        except Rejected as refusal:
            return self.judge(refusal.reply, self.fallback)
        except Exception as second:
            self.runner.report(second)
            return self.fallback
        return reply


def itself(reply: Reply) -> Reply:
    """
    The conclusion of who wants to know the reply and nothing else.
    """
    return reply
