"""
What the tests of the core share: a client, handlers and a runner, without a reactor.

Coroutines are driven by hand.  One that waits for a :class:`Later` stays pending until the test has
decided it and says `resume`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Generator, Iterable, Iterator
from typing import Any

from zope.interface import directlyProvides

from txsmtpd.core.dialog import Dialog
from txsmtpd.core.hooks import HOOKS
from txsmtpd.core.outcomes import CLOSE, Body, Challenge, Outcome, Restart, UpgradeTLS
from txsmtpd.core.replies import Reply
from txsmtpd.core.rules import Rules, make_rules
from txsmtpd.core.session import TLS, Session
from txsmtpd.core.settings import Settings
from txsmtpd.core.verbs import VERBS
from txsmtpd.factory import DEFAULT

#: What the core is tested with: what a server offers.
EXTENSIONS = DEFAULT

#: What is known about a handshake.
FACTS = TLS("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)

#: A transaction up to its content.
OPENING = ("EHLO client.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>")


class Later:
    """
    An awaitable whose end the test decides.
    """

    def __init__(self) -> None:
        self._end: Callable[[], Any] | None = None

    def __await__(self) -> Generator[Any, Any, Any]:
        while self._end is None:
            yield self
        return self._end()

    def answer(self, result: Any = None) -> None:
        self._end = lambda: result

    def fail(self, error: BaseException) -> None:
        def end() -> None:
            raise error

        self._end = end


class _Rest:
    """
    What is left of a coroutine that has been started.
    """

    def __init__(self, started: Coroutine[Any, Any, Any]) -> None:
        self._started = started

    def __await__(self) -> Generator[Any, Any, Any]:
        # What it waits for, a `Later`, looks for itself whether it may go on.
        return self._started.__await__()


async def _awaited(awaitable: Awaitable[Any]) -> Any:
    return await awaitable


async def _done() -> None:
    pass


class Cancelled(Exception):
    """
    Nobody wants to wait any longer.
    """


class Runner:
    """
    A :class:`txsmtpd.core.outcomes.Runner` that keeps what it is told.

    :param said: where replies go that are sent early.
    """

    def __init__(self, said: list[Reply] | None = None) -> None:
        self.errors: list[BaseException] = []
        self.said = [] if said is None else said
        #: What to call when something comes too late, and what was cancelled.
        self.late: list[Callable[[Any], None]] = []
        self.cancelled: list[Any] = []
        self.interrupted: list[Any] = []
        #: The pauses that were made: they take no time.
        self.paused: list[float] = []
        self._detached: list[Coroutine[Any, Any, Any]] = []

    def start(
        self, awaitable: Awaitable[Any], too_late: Callable[[Any], None] | None = None
    ) -> Any:
        started = _awaited(awaitable)
        try:
            started.send(None)
        except StopIteration as stop:
            return stop.value
        if too_late is not None:
            self.late.append(too_late)
        return _Rest(started)

    def cancel(self, waiting: Any) -> None:
        self.cancelled.append(waiting)

    def interrupt(self, waiting: Any) -> None:
        self.interrupted.append(waiting)

    def has_cancelled(self, error: BaseException) -> bool:
        return isinstance(error, Cancelled)

    def say(self, reply: Reply) -> None:
        self.said.append(reply)

    def pause(self, seconds: float) -> Any:
        self.paused.append(seconds)
        return _awaited(_done())

    def detach(self, awaitable: Awaitable[Any]) -> None:
        self._detached.append(_awaited(awaitable))
        self.resume()

    def resume(self) -> None:
        """
        Go on with what was detached.
        """
        pending, self._detached = self._detached, []
        for coroutine in pending:
            try:
                coroutine.send(None)
            except StopIteration:
                continue
            except Exception as error:
                self.errors.append(error)
            else:
                self._detached.append(coroutine)

    def report(self, error: BaseException) -> None:
        self.errors.append(error)


class Handler:
    """
    A handler with just these hooks: ``Handler(handle_MAIL=function)``.
    """

    def __init__(self, **methods: Callable[..., Any]) -> None:
        vars(self).update(methods)
        directlyProvides(self, *(HOOKS[method] for method in methods))


def saying(**answers: Any) -> Handler:
    """
    A handler whose hooks give these answers, or raise them if they are exceptions.
    """

    def hook(answer: Any) -> Callable[..., Any]:
        def give(*arguments: Any) -> Any:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return give

    return Handler(**{method: hook(answer) for method, answer in answers.items()})


class Receiver:
    """
    An :class:`txsmtpd.interfaces.IContentReceiver` that remembers.

    :param answers: what its methods return, or raise if it is an exception, by their names.
    """

    def __init__(self, name: str = "", log: list[str] | None = None, **answers: Any) -> None:
        self.name = name
        self.log = [] if log is None else log
        self.answers = answers
        self.chunks: list[bytes] = []
        self.ends: list[str] = []

    @property
    def content(self) -> bytes:
        return b"".join(self.chunks)

    def _answer(self, method: str) -> Any:
        self.log.append(f"{method} {self.name}")
        answer = self.answers.get(method)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def write(self, chunk: bytes) -> Any:
        self.chunks.append(chunk)
        return self._answer("write")

    def finish(self) -> Any:
        self.ends.append("finish")
        return self._answer("finish")

    def abort(self, reason: str) -> Any:
        self.ends.append("abort")
        return self._answer("abort")


def streaming(receiver: Receiver, **more: Callable[..., Any]) -> Handler:
    """
    A handler that gives every message to the same receiver.
    """
    return Handler(open_content=lambda *_: receiver, **more)


class Mailbox(Handler):
    """
    A handler that keeps what it was given whole.
    """

    def __init__(self, verdict: Any = None) -> None:
        super().__init__(handle_DATA=self._keep)
        self.verdict = verdict
        self.envelopes: list[Any] = []

    def _keep(self, server: Any, session: Any, envelope: Any) -> Any:
        self.envelopes.append(envelope)
        return self.verdict

    @property
    def contents(self) -> list[Any]:
        return [envelope.content for envelope in self.envelopes]


def rules(
    *handlers: object,
    extensions: Iterable[Callable[[Settings], Any]] = EXTENSIONS,
    **settings: Any,
) -> Rules:
    checked = Settings(**{"hostname": "mx.example", **settings})
    made = [make(checked) for make in extensions]
    return make_rules(checked, handlers or (Mailbox(),), made, VERBS)


def short(reply: Reply) -> str:
    """
    A reply without its text.
    """
    return f"{reply.code} {reply.status}" if reply.status else str(reply.code)


class Client:
    """
    A client and the dialog that it has with a server: what a protocol would do between them.
    """

    def __init__(
        self,
        *handlers: object,
        extensions: Iterable[Callable[[Settings], Any]] = EXTENSIONS,
        session: Session | None = None,
        **settings: Any,
    ) -> None:
        self.replies: list[Reply] = []
        self.runner = Runner(self.replies)
        self.server = object()
        self.rules = rules(*handlers, extensions=extensions, **settings)
        self.dialog = Dialog(self.rules, self.runner, self.server, session or Session(id="s"))
        self.closed = False
        self._buffer = b""
        self._body: Body | None = None
        #: What the next line answers.
        self.challenge: Challenge | None = None
        self._upgrade: UpgradeTLS | None = None
        self._pending: tuple[Coroutine[Any, Any, Any], Callable[[Any], None]] | None = None

    @property
    def pending(self) -> bool:
        """
        Whether the server waits for a hook.
        """
        return self._pending is not None

    @property
    def handshaking(self) -> bool:
        """
        Whether the server waits for a TLS handshake.
        """
        return self._upgrade is not None

    @property
    def state(self) -> str:
        return self.dialog.state

    @property
    def session(self) -> Session:
        return self.dialog.session

    @property
    def envelope(self) -> Any:
        return self.dialog.envelope

    def greet(self) -> list[Reply]:
        """
        Connect.
        """
        return self._replies_to(lambda: self._step(self.dialog.greet()))

    def send(self, data: bytes) -> list[Reply]:
        """
        Send octets: commands and content.

        :return: the replies that they got.
        """
        self._buffer += data
        return self._replies_to(lambda: None)

    def say(self, *lines: str | bytes) -> list[str]:
        """
        Send lines.

        :return: code and status of each reply.
        """
        octets = (line.encode() if isinstance(line, str) else line for line in lines)
        return [short(reply) for reply in self.send(b"".join(line + b"\r\n" for line in octets))]

    def ask(self, line: str | bytes) -> str:
        """
        Send one line that gets one reply.

        :return: the whole reply.
        """
        octets = line.encode() if isinstance(line, str) else line
        (reply,) = self.send(octets + b"\r\n")
        return str(reply)

    def resume(self) -> list[Reply]:
        """
        Go on with the step that was pending.
        """
        return self._replies_to(self._go_on)

    def secure(self, tls: TLS = FACTS) -> list[str]:
        """
        Do the TLS handshake that the server waits for.

        :return: code and status of each reply that comes then.
        """
        upgrade, self._upgrade = self._upgrade, None
        assert upgrade is not None
        facts = {"cipher": (tls.cipher, tls.version, tls.bits)}
        replies = self._replies_to(lambda: self._step(upgrade.secured(tls, facts)))
        return [short(reply) for reply in replies]

    def lose(self, reason: str = "connection lost") -> None:
        """
        Vanish.
        """
        self.closed = True
        self.dialog.gone = reason
        self.dialog.lost()

    def _replies_to(self, act: Callable[[], None]) -> list[Reply]:
        before = len(self.replies)
        act()
        while not (self.closed or self.pending or self.handshaking) and self._one():
            pass
        return self.replies[before:]

    def _one(self) -> bool:
        """
        Take one line, or all the content that there is.
        """
        if self._body is not None:
            return self._some_content(self._body)
        line, end, rest = self._buffer.partition(b"\r\n")
        if end:
            self._buffer = rest
            self._step(self._heard(line))
        return bool(end)

    def _heard(self, line: bytes) -> Any:
        challenge, self.challenge = self.challenge, None
        if challenge is not None:
            return self.dialog.response(challenge, line)
        return self.dialog.command(line)

    def _some_content(self, body: Body) -> bool:
        content, leftover = body.reader.feed(self._buffer)
        progress = bool(self._buffer) or leftover is not None
        self._buffer = leftover or b""

        def taken(_: Any) -> None:
            if leftover is not None:
                self._body = None
                self._step(self.dialog.content(body))

        waiting = body.sink.write(content) if content else None
        if waiting is None:
            taken(None)
        else:
            self._run(waiting, taken)
        return progress

    def _step(self, step: Any) -> None:
        if isinstance(step, Outcome):
            self._obey(step)
        else:
            self._run(step, self._obey)

    def _run(self, coroutine: Coroutine[Any, Any, Any], then: Callable[[Any], None]) -> None:
        self._pending = (coroutine, then)
        self._go_on()

    def _go_on(self) -> None:
        assert self._pending is not None
        coroutine, then = self._pending
        try:
            coroutine.send(None)
        except StopIteration as stop:
            self._pending = None
            then(stop.value)

    def _obey(self, outcome: Outcome) -> None:
        self.replies.extend(outcome.replies)
        then = outcome.then
        if then is CLOSE:
            self.closed = True
        elif isinstance(then, Challenge):
            self.challenge = then
        elif isinstance(then, UpgradeTLS):
            self._upgrade = then
            # What has come in the clear is thrown away.
            self._buffer = b""
        elif isinstance(then, Restart):
            self.dialog.replace_client(then)
            self._step(self.dialog.greet())
        elif then is not None:
            self._body = then


def opened(*handlers: object, **settings: Any) -> Client:
    """
    A client in the middle of a transaction, with its recipient accepted.
    """
    client = Client(*handlers, **settings)
    said = client.say(*OPENING)
    assert said == ["250", "250 2.1.0", "250 2.1.5"], said
    return client


def conclude(step: Any) -> Any:
    """
    The result of a step that ends at once.
    """
    if not hasattr(step, "send"):
        return step
    try:
        step.send(None)
    except StopIteration as stop:
        return stop.value
    raise AssertionError("it is pending")


def cuts(data: bytes) -> Iterator[list[bytes]]:
    """
    The ways to send `data`: whole, byte by byte, and in two parts cut everywhere.
    """
    yield [data]
    yield [data[at : at + 1] for at in range(len(data))]
    for at in range(1, len(data)):
        yield [data[:at], data[at:]]


def greeted(*handlers: object, **settings: Any) -> Client:
    """
    A client that has said EHLO.
    """
    client = Client(*handlers, **settings)
    assert client.say("EHLO client.example") == ["250"]
    return client
