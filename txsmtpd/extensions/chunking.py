"""
CHUNKING: content in chunks of announced length (RFC 3030 section 2).

A client sends each chunk right behind its BDAT command and does not wait to be asked.  So whatever
becomes of the command, its octets are content and never commands: a refused BDAT swallows its
chunk first and is answered then.
"""

from __future__ import annotations

import re
from collections.abc import Coroutine, Mapping
from functools import partial
from typing import Any

import attrs

from ..core import delivery, replies
from ..core.content import ChunkReader
from ..core.context import Context
from ..core.delivery import Delivery
from ..core.outcomes import CLOSE, Body, Outcome, Sink, Step, Verb
from ..core.replies import Reply
from ..core.session import Session
from ..core.states import END, RCPT, READY, State, Table, anytime, refusal_of
from ..core.verbs import no_recipients
from .base import Extension

#: A chunk was accepted, and more are to come.
CHUNKS = State("chunks")
#: A chunk was refused: what is left of the message is swallowed.
FAILED = State("chunk failed")

# bdat-cmd   ::= "BDAT" SP chunk-size [ SP end-marker ] CR LF
# chunk-size ::= 1*DIGIT
# end-marker ::= "LAST"
#
# Twenty digits are enough for any chunk, as for SIZE.
_ARGUMENT = re.compile("([0-9]{1,20})(?: +([Ll][Aa][Ss][Tt]))?")

# Nobody can tell where such a chunk ends, so no further octet can be understood.
_MALFORMED = Reply(521, "5.5.4", ("Syntax: BDAT size [LAST]",))


def _chunk(argument: str) -> tuple[int, bool] | None:
    """
    The octets of a chunk and whether it is the last, or None if nobody can tell.
    """
    match = _ARGUMENT.fullmatch(argument)
    return None if match is None else (int(match[1]), match[2] is not None)


def bdat(context: Context, argument: str) -> Step:
    """
    BDAT (RFC 3030 section 2).
    """
    chunk = _chunk(argument)
    if chunk is None:
        return Outcome((_MALFORMED,), CLOSE)
    if isinstance(context.delivery, Delivery):
        return _receive(context, *chunk, context.delivery)
    return delivery.begin(context, "BDAT", partial(_receive, context, *chunk))


def _receive(context: Context, octets: int, last: bool, message: Delivery) -> Outcome:
    limit = context.settings.data_size_limit
    if 0 < limit < message.size + octets:
        message.refuse(replies.TOO_BIG)
    return _body(octets, _Chunk(context, message, octets, last), message if last else None)


def _body(octets: int, sink: Sink, message: Delivery | None = None) -> Outcome:
    return Outcome((), Body(ChunkReader(octets), sink, message, empty=octets == 0))


@attrs.frozen(eq=False)
class _Chunk:
    """
    Takes one chunk of a message.
    """

    context: Context
    message: Delivery
    octets: int
    last: bool

    def write(self, chunk: bytes) -> Coroutine[Any, Any, None] | None:
        return self.message.write(chunk)

    def finish(self) -> Step:
        if self.last:
            return self.message.finish()
        refusal = self.message.refusal
        if refusal is None:
            return Outcome((Reply(250, "2.0.0", (f"{self.octets} octets received",)),))
        self.context.refused("BDAT", _BDAT, refusal)
        return Outcome((refusal,))


@attrs.frozen(eq=False)
class _Swallow:
    """
    Takes a chunk that nobody wants, and says so when it is over.
    """

    context: Context
    reply: Reply
    last: bool

    def write(self, chunk: bytes) -> None:
        pass

    def finish(self) -> Outcome:
        if self.last and self.context.state == FAILED:
            self.context.end_content()
        return Outcome((self.reply,))


def _refused(context: Context, argument: str, reply: Reply) -> Outcome:
    chunk = _chunk(argument)
    if chunk is None:
        return Outcome((_MALFORMED,), CLOSE)
    octets, last = chunk
    (reply,) = no_recipients(context, argument, reply).replies
    return _body(octets, _Swallow(context, reply, last))


_BDAT = Verb(bdat, "BDAT size [LAST]", refused=_refused, extended=True, leads=True, follows=True)


class Chunking(Extension):
    """
    Adds BDAT.
    """

    def keyword(self, session: Session) -> str:
        return "CHUNKING"

    def verbs(self) -> Mapping[str, Verb]:
        return {"BDAT": _BDAT}

    def rows(self) -> Table:
        failed = refusal_of("BDAT")
        return {
            RCPT: {"BDAT": CHUNKS, failed: FAILED},
            CHUNKS: {**anytime(CHUNKS), "BDAT": CHUNKS, failed: FAILED, END: READY},
            FAILED: {**anytime(FAILED), END: READY},
        }
