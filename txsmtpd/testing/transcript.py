r"""
Dialogs that are written down.

One line is one thing that happens::

    # A comment says the rule and its source.
    %set data_size_limit=100            a setting of the factory, as a Python literal
    %hook RCPT "550 5.1.1 No such user" what a hook answers, as a Python literal; a list is used up
                                        call by call; raise stands for an unexpected exception
    %logs RuntimeError                  what the server logs; without a name, any error
    S: 220 mx.example ESMTP txsmtpd     a line of a reply; ... in it is any text
    S: *                                any one reply, of however many lines
    S: [close]                          the server closes the connection
    C: EHLO client.example              a line of the client, to which CRLF is added
    C> MAIL FROM                        the same without CRLF
    C: [half-close]                     the client sends no more; also [disconnect], and [wait 300]
                                        for so many seconds
    M: <a@b> -> <c@d> <e@f>             a message is delivered, somewhere after the reply above
    | Subject: x                        a line of its content, to which CRLF is added; |> without

In what the client sends and in content ``\r \n \t \0 \\`` and ``\xHH`` are octets, and
``\{text*3}`` is a text three times.  A transcript says all replies and all deliveries that there
are, and where it has no ``S: [close]`` the connection stays open.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable, Iterator
from itertools import pairwise
from operator import methodcaller
from typing import Any, Literal, NoReturn, TypeAlias

import attrs

from ..factory import SMTPFactory
from .client import Client, make_factory
from .handler import NAMES, Content, RecordingHandler, When
from .spelling import shown, unescape

#: How a client's octets come: "whole" as far as they can, in "lock-step" with the replies, in
#: single "octets" or in a "burst" of them that no hook is quicker than, or cut in two behind so
#: many octets.
Cut: TypeAlias = Literal["whole", "lock-step", "octets", "burst"] | int

#: From how many octets on a client's part is long, so that the inside of its lines is not tried
#: octet by octet.
LONG = 4000


@attrs.frozen
class _Part:
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


@attrs.frozen
class Transcript:
    """
    A dialog and what is to come of it.
    """

    settings: dict[str, Any]
    verdicts: dict[str, Any]
    #: The names of the errors that the server logs; ``""`` is any.
    logs: frozenset[str]
    #: Line numbers and texts.
    replies: tuple[tuple[int, str], ...]
    messages: tuple[tuple[str, bytes], ...]
    #: Whether the server closes; None if the client does.
    closes: bool | None
    script: tuple[_Part, ...]

    @classmethod
    def parse(cls, text: str) -> Transcript:
        """
        :raise ValueError: for a line that cannot be understood, with its number.
        """
        reader = _TranscriptReader()
        for number, line in enumerate(text.split("\n"), 1):
            try:
                reader.read(number, line)
            except (ValueError, SyntaxError) as error:
                raise ValueError(f"line {number}: {error}: {line}") from error
        return cls(
            reader.settings,
            reader.verdicts,
            frozenset(reader.logs),
            tuple(reader.replies),
            tuple(reader.messages),
            reader.closes,
            tuple(reader.script),
        )

    def cuts(self) -> list[int]:
        """
        Where the client's octets can be cut in two: everywhere, or if there are more than `LONG`
        of them within a few octets of a line's ends and in its middle, and at most 300 places.
        """
        said = b"".join(part.said for part in self.script)
        if len(said) <= LONG:
            return list(range(1, len(said)))
        ends = [0, *(match.end() for match in re.finditer(b"\n", said)), len(said)]
        near = {end + by for end in ends for by in range(-4, 5)}
        near.update((start + end) // 2 for start, end in pairwise(ends))
        places = sorted(place for place in near if 0 < place < len(said))
        return places[:: len(places) // 300 + 1]

    def explains(self, logged: Iterable[str]) -> bool:
        """
        Whether `logged` are the names of the errors that the server is to log: for the caller of
        `replay`, who knows how to collect them.
        """
        names = set(logged)
        return names == self.logs or ("" in self.logs and bool(names))

    def replay(
        self,
        make: Callable[..., SMTPFactory] = make_factory,
        cut: Cut = "whole",
        *,
        when: When = "now",
        content: Content = "whole",
        every_hook: bool = True,
    ) -> Replayed:
        """
        Converse with a server and compare what comes of it.

        :param make: makes the factory of a handler and settings.
        :param every_hook: whether the handler has every hook, or only those that the transcript
            gives a verdict for, and ``DATA``.
        :raise AssertionError: if it is not what the transcript says, or if the server leaves
            something behind when the connection is gone.
        """
        hooks = {"DATA", *self.verdicts}
        if every_hook:
            # Whether EXPN is served depends on there being a hook for it, whatever that says.
            hooks |= NAMES - {"EXPN"}
        handler = RecordingHandler(self.verdicts, when=when, content=content, hooks=hooks & NAMES)
        factory = make(handler, **self.settings)
        client = Client(factory)
        name = f"cut behind octet {cut}" if isinstance(cut, int) else cut
        replay = _Replay(self, client, f"replayed {name}, hooks {when}, content {content}")
        offset = 0
        for part in self.script if cut == "lock-step" else self._joined():
            replay.check_heard(part.heard)
            here = cut - offset if isinstance(cut, int) else cut
            for group in _groups(part.said, here, when):
                client.send(*group)
            offset += len(part.said)
            if part.event is not None:
                part.event(client)
        messages = tuple(
            (_addresses(message.mail_from, message.rcpt_tos), message.content)
            for message in handler.messages
        )
        result = Replayed(client.received, messages, client.closed)
        replay.check_end(result)
        replay.check_left_overs(factory)
        return result

    def _joined(self) -> Iterator[_Part]:
        said, heard = b"", None
        for part in self.script:
            said += part.said
            heard = part.heard if heard is None else heard
            if part.event is not None:
                yield _Part(said, heard, part.event)
                said, heard = b"", None
        yield _Part(said, heard or 0)


def _addresses(mail_from: str, rcpt_tos: Iterable[str]) -> str:
    return f"<{mail_from}> -> " + " ".join(f"<{address}>" for address in rcpt_tos)


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
                f"these messages are wanted:\n{_listed(self.transcript.messages)}\n"
                f"but there are:\n{_listed(result.messages)}"
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
    pattern = ".*".join(map(re.escape, text.split("...")))
    return text == line or re.fullmatch(pattern, line) is not None


def _listed(messages: Iterable[tuple[str, bytes]]) -> str:
    return "\n".join(
        line for addresses, said in messages for line in (f"M: {addresses}", *shown("|", said))
    )


def _boom(*context: Any) -> NoReturn:
    raise RuntimeError("boom, not for clients")


def _verdict(text: str) -> Any:
    verdict = text if text == "raise" else ast.literal_eval(text)
    if isinstance(verdict, list):
        return [_boom if one == "raise" else one for one in verdict]
    return _boom if verdict == "raise" else verdict


_LINE = re.compile(r"(%set|%hook|%logs|[SCM]:|C>|\|>|\|) ?(.*)")


class _TranscriptReader:
    """
    Reads a transcript line by line.
    """

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.verdicts: dict[str, Any] = {}
        self.logs: set[str] = set()
        self.replies: list[tuple[int, str]] = []
        self.messages: list[tuple[str, bytes]] = []
        self.closes: bool | None = False
        self.script: list[_Part] = []

    def read(self, number: int, line: str) -> None:
        if not line.strip() or line.startswith("#"):
            return
        match = _LINE.fullmatch(line)
        if match is None:
            raise ValueError("not a line of a transcript")
        kind, text = match.groups()
        if kind in ("S:", "M:"):
            self._server(number, kind, text)
        elif kind.startswith("%"):
            self._directive(kind, text)
        elif kind.startswith("|"):
            self._content(unescape(text) + b"\r\n" * (kind == "|"))
        elif kind == "C:" and text.startswith("["):
            self._event(text)
        else:
            said = unescape(text) + b"\r\n" * (kind == "C:")
            self.script.append(_Part(said, len(self.replies)))

    def _server(self, number: int, kind: str, text: str) -> None:
        if kind == "M:":
            self.messages.append((text, b""))
        elif self.closes:
            raise ValueError("the connection is closed already")
        elif text == "[close]":
            self.closes = True
        else:
            self.replies.append((number, text))

    def _content(self, content: bytes) -> None:
        if not self.messages:
            raise ValueError("content without a message")
        addresses, so_far = self.messages[-1]
        self.messages[-1] = addresses, so_far + content

    def _event(self, text: str) -> None:
        match = re.fullmatch(r"\[(half-close|disconnect|wait ([0-9.]+))\]", text)
        if match is None:
            raise ValueError("not an event")
        what, seconds = match.groups()
        if seconds is not None:
            event = methodcaller("wait", float(seconds))
        else:
            event = methodcaller(what.replace("-", "_"))
        if what == "disconnect":
            self.closes = None
        self.script.append(_Part(b"", len(self.replies), event))

    def _directive(self, kind: str, text: str) -> None:
        if kind == "%logs":
            self.logs.add(text)
        elif kind == "%set":
            name, _, value = text.partition("=")
            self.settings[name.strip()] = ast.literal_eval(value.strip())
        else:
            name, _, value = text.partition(" ")
            self.verdicts[name] = _verdict(value.strip())
