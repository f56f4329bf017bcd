"""
AUTH as aiosmtpd's handlers do it: a coroutine that calls ``server.challenge_auth``.

To this package a mechanism is a generator that yields its challenges.  The two talk in turns: a
:class:`Conversation` runs the coroutine until it wants to challenge the client or ends, and waits
with it until the client has answered.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Awaitable, Callable, Generator
from functools import partial
from typing import Any

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import Logger
from twisted.python.failure import Failure

from ..core.hooks import is_later
from ..core.identity import Identity, Refusal
from ..core.replies import Reply
from ..core.session import Envelope, Session
from ..sasl import MECHANISMS, Call, Challenge, Circumstances, Exchange, Mechanism
from .credentials import is_result, missing
from .server import complete, said, server_of
from .statuses import as_verdict, is_missing
from .waiting import as_deferred, awaitable_there

#: Called with what aiosmtpd's methods get: the server, the session, the envelope and the words
#: that followed AUTH.
Method = Callable[[Any, Session, Envelope, list[str]], Any]


_CANCELLED = (CancelledError, asyncio.CancelledError)


@attrs.frozen
class Ended:
    """
    What has come of a coroutine.
    """

    result: Any = attrs.field(repr=False)
    #: What it has said.
    said: Reply | None
    session: Session


class Conversation:
    """
    One run of a coroutine.

    :param handler: whose coroutine it is.
    :param arguments: the words that followed AUTH.
    """

    _log = Logger()

    def __init__(self, handler: object, method: Method, arguments: list[str]) -> None:
        self._handler = handler
        self._method = method
        self._arguments = arguments
        self._over = False
        #: Fires when the coroutine has come to a challenge or an end.
        self._turn: Deferred[Challenge | Ended] | None = None
        #: Fires when the client has answered.
        self._response: Deferred[Any] | None = None
        #: How it has ended while the client had yet to answer.
        self._early: Any = None
        self._running: Deferred[Any] = Deferred()

    def begin(self, protocol: Any, session: Session, envelope: Envelope) -> Any:
        """
        Start it.

        :return: a `Challenge` or an `Ended`, later.
        """
        complete(session)
        server = server_of(protocol, self._handler)
        kept = server.keep(self._challenge)

        def ended(result: Any) -> Any:
            server.keep_no_more(kept)
            if isinstance(result, Failure):
                return result
            return Ended(result, said(kept), session)

        turn = self._next_turn()
        try:
            answer = self._method(server, session, envelope, self._arguments)
        except Exception:
            answer = _failed(Failure())
        self._running = as_deferred(answer if is_later(answer) else _at_once(answer))
        self._running.addBoth(ended).addBoth(self._end)
        return turn

    def respond(self, response: Any, *_: Any) -> Any:
        """
        Go on with what the client has answered.

        :return: a `Challenge` or an `Ended`, now or later.
        """
        turn, answered = self._next_turn(), self._response
        if self._early is not None:
            turn.callback(self._early)
        else:
            assert answered is not None
            answered.callback(response)
        return turn

    def give_up(self) -> None:
        """
        The client will not answer: let the coroutine come to its end, which nobody waits for.
        """
        self._over, self._turn = True, None
        if self._response is not None and not self._response.called:
            self._response.callback(missing())

    def _next_turn(self) -> Deferred[Challenge | Ended]:
        self._turn = Deferred(self._cancel)
        return self._turn

    def _cancel(self, _: object) -> None:
        self._over, self._turn = True, None
        self._running.cancel()

    async def _challenge(self, words: bytes) -> Any:
        if self._over:
            return missing()
        turn, self._turn = self._turn, None
        if turn is None:
            raise RuntimeError("the client has not answered the last challenge yet")
        self._response = Deferred()
        waiting = awaitable_there(self._response)
        turn.callback(Challenge(words))
        return await waiting

    def _end(self, result: Any) -> None:
        turn, self._turn = self._turn, None
        if turn is not None:
            turn.callback(result)
        elif not self._over:
            # It did not want to wait for the client.
            self._early = result
        elif isinstance(result, Failure) and not result.check(*_CANCELLED):
            self._log.failure("an exchange failed when it was over", result, event="failure")


async def _at_once(answer: Any) -> Any:
    return answer


async def _failed(failure: Failure) -> None:
    failure.raiseException()


def _converse(
    handler: object, method: Method, name: str, initial: bytes | None
) -> Generator[Any, Any, Ended]:
    arguments = [name]
    if initial is not None:
        arguments.append(b64encode(initial).decode("ascii") or "=")
    conversation = Conversation(handler, method, arguments)
    step: Callable[..., Any] = conversation.begin
    while True:
        try:
            turn = yield Call(step)
            if isinstance(turn, Ended):
                return turn
            step = partial(conversation.respond, (yield turn))
        except GeneratorExit:
            conversation.give_up()
            raise


def own_mechanism(handler: object, name: str, method: Callable[..., Awaitable[Any]]) -> Mechanism:
    """
    A mechanism of an ``auth_MECH(server, args)``.

    :raise ValueError: if it cannot be called so.
    """

    def call(server: Any, session: Session, envelope: Envelope, arguments: list[str]) -> Any:
        return method(server, arguments)

    def exchange(circumstances: Circumstances, initial: bytes | None) -> Exchange:
        ended = yield from _converse(handler, call, name, initial)
        return verdict(ended)

    return Mechanism(name, exchange, None)


def verdict(ended: Ended) -> Identity | Refusal:
    """
    What a mechanism's method has come to.

    A method that says it has dealt with a failure itself has said so to the client; if it has not,
    somebody has to.
    """
    result = ended.result
    if is_result(result):
        if not result.success:
            return Refusal(ended.said if result.handled and ended.said else result.message)
        data = result.auth_data
        return Identity(data, getattr(data, "login", None), result.message or ended.said)
    if result is None:
        return Refusal(ended.said)
    if result is False or is_missing(result):
        return Refusal()
    return Identity(result, result, ended.said)


def behind_hook(handler: object, hook: Method, mechanism: Mechanism) -> Mechanism:
    """
    A mechanism that is asked only if ``handle_AUTH`` does not do it all by itself.
    """

    def exchange(circumstances: Circumstances, initial: bytes | None) -> Exchange:
        ended = yield from _converse(handler, hook, mechanism.name, initial)
        if not is_missing(ended.result):
            return hook_verdict(ended)
        return (yield from mechanism.exchange(circumstances, initial))

    # aiosmtpd has these two whether there is somebody to ask or not.
    alone = mechanism.name in ("PLAIN", "LOGIN")
    credentials = None if alone else mechanism.credentials
    return attrs.evolve(mechanism, exchange=exchange, credentials=credentials)


def hook_verdict(ended: Ended) -> Identity | Refusal:
    """
    What ``handle_AUTH`` has come to: it has noted in the session who the client is.
    """
    session = ended.session
    status = as_verdict(ended.result)
    if isinstance(status, str):
        status = Reply.parse(status)
    reply = status or ended.said
    if reply.positive if reply else session.authenticated:
        return Identity(session.auth_data, session.login_data, reply)
    return Refusal(reply)


def mechanisms(handler: object, own: dict[str, Any], hook: Method | None) -> list[Mechanism]:
    """
    The mechanisms that a handler brings.

    :param own: its methods by the names of their mechanisms.
    :param hook: its ``handle_AUTH``.
    """
    found = {name: own_mechanism(handler, name, method) for name, method in own.items()}
    if hook is None:
        return list(found.values())
    known = {mechanism.name: mechanism for mechanism in MECHANISMS}
    return [behind_hook(handler, hook, each) for each in {**known, **found}.values()]
