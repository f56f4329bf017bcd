"""
What XCLIENT and XFORWARD have in common: a proxy says something about its client.

Both are of Postfix, and stand in its XCLIENT_README and XFORWARD_README.  What decides who the
client is, is judged strictly: a value has to be xtext, where Postfix also takes what is not.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import ClassVar, TypeAlias

from ..core import grammar
from ..core.addresses import unmapped
from ..core.context import Context
from ..core.outcomes import Outcome, Verb
from ..core.replies import Declined, Rejected, Reply, syntax_error
from ..core.session import Session
from ..core.settings import Settings
from ..core.states import READY, START, State, Table
from ..core.trace import SPECIALS
from .base import Extension

UNAVAILABLE = "[UNAVAILABLE]"

#: Octets of a value, encoded.
VALUE_LIMIT = 255

_NOT_TRUSTED = Reply(550, "5.7.0", ("Insufficient authorization",))

# Postfix replaces what is special in message headers, and all but printable ASCII.
_HARMFUL = re.compile(rf"[^!-~]|{SPECIALS.pattern}")
_PORT = re.compile("[0-9]{1,5}")
_IPV6 = re.compile("IPV6:([0-9a-f:.]+)", re.ASCII | re.IGNORECASE)

#: Makes of a value what it means; raises ValueError.
Reader: TypeAlias = Callable[[str], str]


def may_speak(settings: Settings, session: Session) -> bool:
    """
    Whether who is at the other end may say who somebody else is.

    A proxy that has sent a PROXY header passes on what its client says: then that is to be trusted
    too, or everybody who comes through the proxy could say it.  Of a client whom the proxy does not
    know nobody can tell.
    """
    if not settings.trusts(session.via):
        return False
    proxy = session.proxy
    return proxy is None or proxy.own or settings.trusts(proxy.peer)


# xclient-command = XCLIENT 1*( SP attribute-name"="attribute-value )
# attribute-value = xtext
#
# So is that of XFORWARD.


class OnBehalf(Extension):
    """
    A command that a trusted proxy says about its client.
    """

    #: Its name.
    name: str
    #: The attributes in the order of the EHLO reply.
    readers: ClassVar[Mapping[str, Reader]]
    #: Whether the client that there was is forgotten.
    forgets: ClassVar[bool] = False
    #: When it is legal, and what state follows: before EHLO too, as Postfix has it.
    follows: ClassVar[Mapping[State, State]] = {START: START, READY: READY}

    def __init__(self, settings: Settings) -> None:
        super().__init__(settings)
        self._syntax = f"{self.name} attribute=value..."

    def keyword(self, session: Session) -> str | None:
        return " ".join((self.name, *self.readers)) if may_speak(self.settings, session) else None

    def verbs(self) -> Mapping[str, Verb]:
        forgets = self.forgets and bool(self.settings.trusted_proxies)
        return {self.name: Verb(self._run, self._syntax, forgets=forgets)}

    def rows(self) -> Table:
        return {state: {self.name: then} for state, then in self.follows.items()}

    def _run(self, context: Context, argument: str) -> Outcome:
        if not argument:
            raise Rejected(syntax_error(self._syntax))
        if not may_speak(self.settings, context.session):
            raise Declined(_NOT_TRUSTED)
        return self.said(context, self._attributes(argument))

    def _attributes(self, argument: str) -> dict[str, str]:
        found: dict[str, str] = {}
        for word in filter(None, argument.split(" ")):
            name, _, value = word.partition("=")
            name = grammar.ascii_upper(name)
            if not value:
                raise Rejected(syntax_error(self._syntax))
            if name not in self.readers:
                raise Rejected(_bad(f"Bad {self.name} attribute name"))
            if name in found:
                raise Rejected(_bad(f"{name} given twice"))
            try:
                found[name] = self._read(name, value)
            except ValueError:
                raise Rejected(_bad(f"Bad {name} syntax")) from None
        return found

    def _read(self, name: str, value: str) -> str:
        if len(value) > VALUE_LIMIT:
            raise ValueError("too long")
        return self.readers[name](grammar.xtext_decode(value))

    def said(self, context: Context, attributes: dict[str, str]) -> Outcome:
        """
        Make something of what was said.
        """
        raise NotImplementedError


def _bad(text: str) -> Reply:
    return Reply(501, "5.5.4", (text,))


def optional(read: Reader, *words: str) -> Reader:
    """
    Make a reader that takes ``[UNAVAILABLE]`` too, or others of such words, in any case.
    """

    def read_or_word(text: str) -> str:
        word = grammar.ascii_upper(text)
        return word if word in (UNAVAILABLE, *words) else read(text)

    return read_or_word


def one_of(*words: str) -> Reader:
    """
    Make a reader of a word, which may be in any case.
    """

    def read(text: str) -> str:
        word = grammar.ascii_upper(text)
        if word not in words:
            raise ValueError("none of the words")
        return word

    return read


def harmless(text: str) -> str:
    """
    Read what anybody may have said: what is special in a header becomes a question mark.
    """
    return _HARMFUL.sub("?", text)


def host_name(text: str) -> str:
    """
    Read a name of the DNS, where more is allowed than in addresses.
    """
    return grammar.domain(text, lenient=True)


def address(text: str) -> str:
    """
    Read an IPv4 address, or an IPv6 address behind ``IPV6:``.

    :return: it alone, and where it stands for an IPv4 address, that.
    """
    match = _IPV6.fullmatch(text)
    if match is None:
        return str(IPv4Address(text))
    return str(unmapped(IPv6Address(match[1])))


def port(text: str) -> str:
    """
    Read a port number.
    """
    if _PORT.fullmatch(text) is None or int(text) > 0xFFFF:
        raise ValueError("no port number")
    return str(int(text))
