"""
Dialogs that are written down, conversed with a server.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import TYPE_CHECKING, Literal, NoReturn, TypeAlias

import attrs

from ..factory import DEFAULT, SMTPFactory
from .client import Client, make_factory, speaking
from .handler import NAMES, Content, RecordingHandler, When
from .spelling import listed

if TYPE_CHECKING:
    from .transcript import Transcript

#: How a client's octets come: "whole" as far as they can, in "lock-step" with the replies, in
#: single "octets" or in a "burst" of them that no hook is quicker than, or cut in two behind so
#: many octets.
Cut: TypeAlias = Literal["whole", "lock-step", "octets", "burst"] | int

#: From how many octets on a client's part is long, so that the inside of its lines is not tried
#: octet by octet.
LONG = 4000


@attrs.frozen
class Part:
    """
    What the client says or does after so many replies.
    """

    said: bytes
    heard: int
    event: Callable[[Client], None] | None = None


@attrs.frozen
class Replayed:
    """
    What came of a dialog: the same, however the client's octets came.
    """

    received: bytes
    #: ``<a@b> -> <c@d>`` and the content of each.
    messages: tuple[tuple[str, bytes], ...]
    closed: bool


class Rehearsal:
    """
    A server that a transcript is replayed on, as often as you like: to make a server takes longer
    than most dialogs.

    :param make: makes the factory of a handler and settings.
    :param every_hook: whether the handler has every hook, or only those that the transcript gives a
        verdict for, and ``DATA``.
    """

    def __init__(
        self,
        transcript: Transcript,
        make: Callable[..., SMTPFactory] = make_factory,
        *,
        when: When = "now",
        content: Content = "whole",
        every_hook: bool = True,
    ) -> None:
        self.transcript = transcript
        self.when, self.content = when, content
        hooks = {"DATA", *transcript.verdicts}
        if every_hook:
            # Whether EXPN is served depends on there being a hook for it, whatever that says.
            hooks |= NAMES - {"EXPN"}
        self._handler = RecordingHandler(
            transcript.verdicts, when=when, content=content, hooks=hooks & NAMES
        )
        settings = dict(transcript.settings)
        more = [extension for extension in transcript.extensions if extension not in DEFAULT]
        if more:
            settings["extensions"] = (*DEFAULT, *more)
        self._factory = speaking(make(self._handler, **settings), transcript.lmtp)
        self._joined = tuple(_joined(transcript.script))

    def replay(self, cut: Cut = "whole") -> Replayed:
        """
        Converse with the server and compare what comes of it.

        :raise AssertionError: if it is not what the transcript says, or if the server leaves
            something behind when the connection is gone.
        """
        handler = self._handler
        handler.reset()
        factory = self._factory
        # `check_left_overs` of the last replay has drained it.
        factory.startFactory()
        client = Client(factory)
        name = f"cut behind octet {cut}" if isinstance(cut, int) else cut
        replay = _Replay(
            self.transcript, client, f"replayed {name}, hooks {self.when}, content {self.content}"
        )
        offset = 0
        for part in self.transcript.script if cut == "lock-step" else self._joined:
            replay.check_heard(part.heard)
            here = cut - offset if isinstance(cut, int) else cut
            for group in _groups(part.said, here, self.when):
                client.send(*group)
            offset += len(part.said)
            if part.event is not None:
                part.event(client)
        messages = tuple((message.addresses, message.content) for message in handler.messages)
        result = Replayed(client.received, messages, client.closed)
        replay.check_end(result)
        replay.check_left_overs(factory)
        return result


def _joined(script: tuple[Part, ...]) -> Iterator[Part]:
    """
    A script without its pauses, in which the client hears what was said so far.
    """
    said, heard = b"", None
    for part in script:
        said += part.said
        heard = part.heard if heard is None else heard
        if part.event is not None:
            yield Part(said, heard, part.event)
            said, heard = b"", None
    yield Part(said, heard or 0)


def _groups(data: bytes, cut: Cut, when: When) -> Iterator[tuple[bytes, ...]]:
    """
    Segments, in groups: those of one come at once, and then everything settles.
    """
    if cut == "octets":
        yield from ((octet,) for octet in _octets(data))
    elif cut == "burst":
        yield tuple(_octets(data))
    elif not isinstance(cut, int) or not 0 < cut < len(data):
        yield (data,)
    elif when == "later":
        # The second part comes while the last hook that the first has asked is undecided.
        end = max(data.rfind(b"\n", 0, cut), 0)
        yield (data[:end],)
        yield (data[end:cut], data[cut:])
    else:
        yield (data[:cut],)
        yield (data[cut:],)


def _octets(data: bytes) -> Iterator[bytes]:
    place = 0
    while place < len(data):
        size = 500 if len(data) > LONG and b"\n" not in data[place : place + 1000] else 1
        yield data[place : place + size]
        place += size


@attrs.frozen
class _Replay:
    """
    One replay: compares, and says what is wrong.
    """

    transcript: Transcript
    client: Client
    name: str

    def fail(self, problem: str) -> NoReturn:
        raise AssertionError(f"{problem}\n({self.name})\n\n{self.client.transcript}")

    def check_heard(self, wanted: int) -> list[str]:
        """
        :return: the lines behind as many of the replies as are there.
        """
        *lines, rest = self.client.received.decode("utf-8", "backslashreplace").split("\r\n")
        if rest:
            lines.append(f"{rest} (without CRLF)")
        start = 0
        for index, (number, text) in enumerate(self.transcript.replies):
            end = start + (_length(lines, start) if text == "*" else 1)
            if end > len(lines):
                if index < wanted:
                    self.fail(f"line {number} wants  S: {text}\nbut there is nothing")
                break
            if text != "*" and not _fits(text, lines[start]):
                self.fail(f"line {number} wants  S: {text}\nbut there is  S: {lines[start]}")
            start = end
        return lines[start:]

    def check_end(self, result: Replayed) -> None:
        more = self.check_heard(len(self.transcript.replies))
        if more:
            self.fail(f"no more replies are wanted\nbut there is  S: {more[0]}")
        if result.messages != self.transcript.messages:
            self.fail(
                f"these messages are wanted:\n{listed(self.transcript.messages)}\n"
                f"but there are:\n{listed(result.messages)}"
            )
        if self.transcript.closes not in (None, result.closed):
            state = "closed" if result.closed else "open"
            self.fail(f"the connection is {state} at the end")

    def check_left_overs(self, factory: SMTPFactory) -> None:
        self.client.disconnect()
        calls = self.client.clock.getDelayedCalls()
        if calls:
            self.fail("delayed calls are left over:\n" + "\n".join(map(str, calls)))
        if not factory.drain().called:
            self.fail("the connection still counts")
        if factory.rules.budget.used:
            self.fail(f"{factory.rules.budget.used} octets of content still count")


def _length(lines: list[str], start: int) -> int:
    """
    How many lines the reply has that begins at `start`: one too many if it is not whole.
    """
    length = 1
    for line in lines[start:]:
        if line[3:4] != "-":
            break
        length += 1
    return length


def _fits(text: str, line: str) -> bool:
    return text == line or _pattern(text).fullmatch(line) is not None


@cache
def _pattern(text: str) -> re.Pattern[str]:
    return re.compile(".*".join(map(re.escape, text.split("..."))))
