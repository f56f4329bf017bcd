"""
What comes of a command: replies, and what the protocol is to do once they are written.

A verb returns an :class:`Outcome` and touches nothing else.  The protocol writes the replies in one
place and obeys the directive, one of a closed set, without knowing any verb by name.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from enum import Enum
from typing import Any, Protocol, TypeAlias

import attrs

from .replies import LINE_TOO_LONG, Reply
from .session import TLS, Envelope, Recipient, Session


class Reader(Protocol):
    """
    Finds the end of content in a stream that goes on behind it.
    """

    def feed(self, data: bytes) -> tuple[bytes, bytes | None]:
        """
        :return: content, and what followed its end, or None while the end has not come.
        """


class Sink(Protocol):
    """
    Takes content as it comes.
    """

    def write(self, chunk: bytes) -> Coroutine[Any, Any, None] | None:
        """
        :return: None to get the next chunk at once, else what to wait for first.
        """

    def finish(self) -> Step:
        """
        The content is whole.
        """


class Message(Protocol):
    """
    What there is to say of a message once it has come to its verdict.
    """

    @property
    def envelope(self) -> Envelope:
        """
        The transaction.
        """

    @property
    def recipients(self) -> Sequence[Recipient]:
        """
        Those that the client was told are accepted.
        """

    @property
    def size(self) -> int:
        """
        In octets.
        """

    @property
    def verdicts(self) -> Sequence[Reply]:
        """
        What was said in the end: one reply, or under LMTP one for each recipient.
        """


# Neither frozen nor with slots, and `Outcome` as well: there is one for every message or command,
# and either makes CPython need more than twice the time for a new one.
@attrs.define(eq=False, slots=False)
class Body:
    """
    Read content until `reader` sees its end, passing it to `sink`.
    """

    reader: Reader
    sink: Sink
    #: What its end delivers, if it is the end of a message.  Such a step runs to its end even when
    #: the client has gone, because the message is whole and someone may have it already.
    message: Message | None = None
    #: Whether it is over already: no octet is to come.
    empty: bool = False


class Close(Enum):
    """
    Close the connection when the replies have left.
    """

    CLOSE = "close"


CLOSE = Close.CLOSE


@attrs.frozen(eq=False)
class Challenge:
    """
    Take the next line for an answer, not for a command.
    """

    #: The name of the command that goes on with it, whose limits the line has.
    verb: str
    #: Gets the line without its CRLF.
    respond: Callable[[bytes], Coroutine[Any, Any, Outcome]] = attrs.field(repr=False)
    #: Gets what the client is told if that line is too long.
    give_up: Callable[[Reply], Coroutine[Any, Any, Outcome]] = attrs.field(repr=False)


@attrs.frozen(eq=False)
class UpgradeTLS:
    """
    Throw away what has followed the command, and do a TLS handshake (RFC 3207).
    """

    #: Called when it is done, with what is known about it and the dict that `Session.ssl` is.
    secured: Callable[[TLS, dict[str, Any]], Step]


@attrs.frozen(eq=False)
class Restart:
    """
    Begin again with another client, for whom this connection speaks from here on.
    """

    #: Notes in the new session who that is.
    introduce: Callable[[Session], None]
    #: Notes, once that client is greeted, what it is said to have told, such as its name in EHLO:
    #: STARTTLS forgets it.
    recall: Callable[[Session], None]


Directive: TypeAlias = Body | Close | Challenge | UpgradeTLS | Restart


@attrs.define(eq=False, slots=False)
class Outcome:
    """
    What comes of one command or one content.
    """

    replies: tuple[Reply, ...] = ()
    then: Directive | None = None
    #: Records what was accepted.  Called when this outcome is really what comes of the command: a
    #: subclass may still refuse.
    commit: Callable[[], None] | None = None


#: A verb ends at once, or later.
Step: TypeAlias = Outcome | Coroutine[Any, Any, Outcome]


def _refused(context: Any, argument: str, reply: Reply) -> Outcome:
    return Outcome((reply,))


@attrs.frozen(eq=False)
class Verb:
    """
    One command of the protocol.
    """

    #: ``(context, argument) -> Outcome``, or a coroutine that returns one.
    run: Callable[[Any, str], Step]
    #: How to say it, for HELP.
    syntax: str
    #: ``(context, argument, reply) -> Outcome``: called in place of `run` when the table, a gate
    #: or a limit refuses the command with `reply`.
    refused: Callable[[Any, str, Reply], Outcome] = _refused
    #: Whether it belongs to an extension, so that it wants EHLO.
    extended: bool = False
    #: Whether, when it is refused, what the client has pipelined behind it fails too (RFC 2920).
    leads: bool = False
    #: Whether it lives off such a command: out of sequence behind a refused one it is no junk.
    follows: bool = False
    #: Whether it does more than to reply.
    acts: bool = True
    #: Whether it may make the server forget the client: then what was known before is kept for it.
    forgets: bool = False
    #: Whether HELP names it.
    listed: bool = True
    #: Octets in a line, CRLF included, and what a longer one is told.
    line_limit: int = 2048
    too_long: Reply = LINE_TOO_LONG


class Runner(Protocol):
    """
    What the core needs from the event loop around it, so that it can do without one.
    """

    def start(
        self, awaitable: Awaitable[Any], too_late: Callable[[Any], None] | None = None
    ) -> Any:
        """
        Begin to wait for what a hook returned.

        :param too_late: called with the result if it comes when nobody waits for it any more.
        :return: its result, if it is there at once; else an awaitable for the core to await.
        """

    def interrupt(self, waiting: Any) -> None:
        """
        End something that `start` has returned, for whoever awaits it too.
        """

    def cancel(self, waiting: Any) -> None:
        """
        Wait no longer for something that `start` has returned.
        """

    def say(self, reply: Reply) -> None:
        """
        Send a reply before the step that it belongs to has ended.
        """

    def has_cancelled(self, error: BaseException) -> bool:
        """
        Whether an exception says that nobody wants to wait any longer, rather than that a hook has
        cancelled something itself.
        """

    def pause(self, seconds: float) -> Awaitable[None]:
        """
        :return: for the core to await: it ends after that time.
        """

    def detach(self, awaitable: Awaitable[Any]) -> None:
        """
        Run something to its end that nobody waits for.
        """

    def report(self, error: BaseException) -> None:
        """
        Log an exception that a hook or verb should not have raised, with its traceback.
        """
