"""
A handler that knows who gets mail here, and refuses the rest: the first in a chain.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import attrs
from zope.interface import implementer

from ..core import grammar
from ..core.replies import Reply
from ..core.session import Envelope, Parameters, Session
from ..interfaces import IRCPTHook
from ..watched import WatchedFile

_NO_SUCH_USER = Reply(550, "5.1.1", ("No such user here",))
_NOT_OURS = Reply(550, "5.7.1", ("No mail for that domain here",))


@attrs.frozen
class Recipients:
    """
    Who gets mail.
    """

    #: Addresses without detail, in small letters.
    addresses: frozenset[str]
    #: Domains in which everybody gets mail, in small letters.
    domains: frozenset[str]
    #: Every domain that there is.
    known: frozenset[str] = attrs.field(init=False)

    @known.default
    def _find_domains(self) -> frozenset[str]:
        return self.domains | {address.rpartition("@")[2] for address in self.addresses}

    def refusal(self, address: str) -> Reply | None:
        """
        Why there is no mail for an address, or None.

        Local parts are compared without their case and without a detail (RFC 5233): who has
        ``joe@example.org`` gets the mail to ``Joe+list@example.org`` too.
        """
        local, domain = grammar.split_mailbox(address.lower())
        if domain in self.domains or (not domain and local == "postmaster"):
            # RFC 5321 section 4.5.1 wants a postmaster without a domain to be accepted.
            return None
        if domain not in self.known:
            return _NOT_OURS
        names = (local, local.partition("+")[0])
        known = any(f"{name}@{domain}" in self.addresses for name in names)
        return None if known else _NO_SUCH_USER


def parse(data: bytes) -> Recipients:
    """
    Read what a file contains: on each line an address, or ``@`` and a domain.

    :raise ValueError: with a sentence's end that names the line.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    addresses, domains = set(), set()
    for number, line in _lines(text):
        try:
            if line.startswith("@"):
                domains.add(grammar.domain(line[1:], utf8=True))
            else:
                # An address without a domain would be nobody's.
                local, host = grammar.split_mailbox(grammar.mailbox(line, utf8=True))
                addresses.add(f"{local}@{host}")
        except grammar.GrammarError:
            raise ValueError(f"line {number} has no address and no @domain") from None
    return Recipients(frozenset(addresses), frozenset(domains))


def _lines(text: str) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(text.split("\n"), 1):
        line = line.strip(" \t\r")
        if line and not line.startswith("#"):
            yield number, line.lower()


def _describe(recipients: Recipients) -> str:
    return f"{len(recipients.addresses)} addresses, {len(recipients.domains)} domains"


@implementer(IRCPTHook)
class RejectUnknown:
    """
    Refuses every recipient who is not in a file, which is read again when it has changed.

    :param path: the file: on each line an address, or ``@`` and a domain in which everybody gets
        mail; empty lines and those that begin with ``#`` are skipped.
    :raise ValueError: for a file that cannot be read, with one sentence.
    """

    def __init__(self, path: str | os.PathLike[str], reactor: Any = None) -> None:
        if reactor is None:
            from twisted.internet import reactor
        self._file = WatchedFile(path, parse, reactor, describe=_describe, event="recipients")

    @classmethod
    def from_spec(cls, argument: str | None) -> RejectUnknown:
        """
        Make it of ``reject-unknown:FILE``.
        """
        if not argument:
            raise ValueError("reject-unknown wants a file: reject-unknown:FILE")
        # No shell expands a tilde behind a colon.
        return cls(os.path.expanduser(argument))

    def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: Parameters
    ) -> Reply | None:
        return self._file.get().refusal(address)
