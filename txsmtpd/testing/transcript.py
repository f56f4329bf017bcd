r"""
Dialogs that are written down.

One line is one thing that happens::

    # A comment says the rule and its source.
    %lmtp                               the server speaks LMTP
    %set data_size_limit=100            a setting of the factory, as a Python literal
    %user ann wonderland                somebody who can log in: a name, and a password behind it
    %extension package.module.MyExtension   an extension besides the default ones, if it is not one
                                        of them; settings=that_it_takes may follow, as literals
    %hook RCPT "550 5.1.1 No such user" what a hook answers, as a Python literal; a list is used up
                                        call by call; raise stands for an unexpected exception; for
                                        DATA under LMTP a tuple or a dict is one for each recipient
    %logs RuntimeError                  what the server logs; without a name, any error
    S: 220 mx.example ESMTP txsmtpd     a line of a reply; ... in it is any text
    S: *                                any one reply, of however many lines
    S: [close]                          the server closes the connection
    C: EHLO client.example              a line of the client, to which CRLF is added
    C> MAIL FROM                        the same without CRLF
    C: [half-close]                     the client sends no more; also [disconnect], [start-tls] for
                                        a handshake, and [wait 300] for so many seconds
    M: <a@b> -> <c@d> <e@f>             a message is delivered, somewhere after the reply above
    | Subject: x                        a line of its content, to which CRLF is added; |> without

In what the client sends and in content ``\r \n \t \0 \\`` and ``\xHH`` are octets, and
``\{text*3}`` is a text three times.  A transcript says all replies and all deliveries that there
are, and where it has no ``S: [close]`` the connection stays open.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterable
from functools import partial
from itertools import pairwise
from operator import methodcaller
from typing import Any, NoReturn

import attrs
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.python.reflect import namedAny

from ..factory import ExtensionMaker, SMTPFactory
from .client import make_factory
from .handler import Content, When
from .replay import LONG, Cut, Part, Rehearsal, Replayed
from .spelling import unescape


@attrs.frozen
class Transcript:
    """
    A dialog and what is to come of it.
    """

    settings: dict[str, Any]
    #: Whether the server speaks LMTP.
    lmtp: bool
    #: Makers of the extensions that there are besides the default ones.
    extensions: tuple[ExtensionMaker, ...]
    verdicts: dict[str, Any]
    #: The names of the errors that the server logs; ``""`` is any.
    logs: frozenset[str]
    #: Line numbers and texts.
    replies: tuple[tuple[int, str], ...]
    messages: tuple[tuple[str, bytes], ...]
    #: Whether the server closes; None if the client does.
    closes: bool | None
    script: tuple[Part, ...]

    @classmethod
    def parse(cls, text: str) -> Transcript:
        """
        :raise ValueError: for a line that cannot be understood, with its number.
        """
        reader = _TranscriptReader()
        for number, line in enumerate(text.split("\n"), 1):
            try:
                reader.read(number, line)
            except (ValueError, SyntaxError, AttributeError) as error:
                raise ValueError(f"line {number}: {error}: {line}") from error
        return cls(
            reader.settings,
            reader.lmtp,
            tuple(reader.extensions),
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
        rehearsal = Rehearsal(self, make, when=when, content=content, every_hook=every_hook)
        return rehearsal.replay(cut)


def _boom(*context: Any) -> NoReturn:
    raise RuntimeError("boom, not for clients")


def _verdict(text: str) -> Any:
    return _with_booms(text if text == "raise" else ast.literal_eval(text))


def _with_booms(verdict: Any) -> Any:
    if isinstance(verdict, (list, tuple)):
        return type(verdict)(map(_with_booms, verdict))
    if isinstance(verdict, dict):
        return {key: _with_booms(each) for key, each in verdict.items()}
    return _boom if verdict == "raise" else verdict


def _setting(text: str) -> tuple[str, Any]:
    name, _, value = text.partition("=")
    return name.strip(), ast.literal_eval(value.strip())


def _extension(text: str) -> ExtensionMaker:
    name, *settings = text.split()
    maker: ExtensionMaker = namedAny(name)
    return partial(maker, **dict(map(_setting, settings))) if settings else maker


_LINE = re.compile(r"(%lmtp|%set|%user|%extension|%hook|%logs|[SCM]:|C>|\|>|\|) ?(.*)")


class _TranscriptReader:
    """
    Reads a transcript line by line.
    """

    def __init__(self) -> None:
        self.settings: dict[str, Any] = {}
        self.lmtp = False
        self.extensions: list[ExtensionMaker] = []
        self.verdicts: dict[str, Any] = {}
        self.logs: set[str] = set()
        self.replies: list[tuple[int, str]] = []
        self.messages: list[tuple[str, bytes]] = []
        self.closes: bool | None = False
        self.script: list[Part] = []

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
            self.script.append(Part(said, len(self.replies)))

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
        match = re.fullmatch(r"\[(half-close|disconnect|start-tls|wait ([0-9.]+))\]", text)
        if match is None:
            raise ValueError("not an event")
        what, seconds = match.groups()
        if seconds is not None:
            event = methodcaller("wait", float(seconds))
        else:
            event = methodcaller(what.replace("-", "_"))
        if what == "disconnect":
            self.closes = None
        self.script.append(Part(b"", len(self.replies), event))

    def _directive(self, kind: str, text: str) -> None:
        if kind == "%logs":
            self.logs.add(text)
        elif kind == "%lmtp":
            self.lmtp = True
        elif kind == "%set":
            self.settings.update([_setting(text)])
        elif kind == "%user":
            self._user(text)
        elif kind == "%extension":
            self.extensions.append(_extension(text))
        else:
            name, _, value = text.partition(" ")
            self.verdicts[name] = _verdict(value.strip())

    def _user(self, text: str) -> None:
        name, _, password = text.partition(" ")
        if not (name and password):
            raise ValueError("a user has a name and a password")
        if "checkers" not in self.settings:
            self.settings["checkers"] = (InMemoryUsernamePasswordDatabaseDontUse(),)
        self.settings["checkers"][0].addUser(unescape(name), unescape(password))
