"""
A handler that knows who gets mail here, and refuses the rest: the first in a chain.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from ipaddress import IPv6Address
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


def _one_spelling(domain: str) -> str:
    """
    :param domain: one or an address literal, in small letters.
    :return: the spelling of it that others are compared by: A-labels (RFC 5890 section 2.3.2.1),
        and of an IPv6 address the shortest.
    """
    try:
        if domain.startswith("[ipv6:"):
            return f"[ipv6:{IPv6Address(domain[len('[ipv6:') : -1])}]"
        return domain if domain.isascii() else _a_labels(domain)
    except ValueError:
        # It has only the one that it came in.
        return domain


def _a_labels(domain: str) -> str:
    # It takes its time, and few need it.  Not Python's own codec, whose older rules make other
    # domains of some.
    import idna

    return idna.encode(domain, uts46=True).decode()


@attrs.frozen
class Recipients:
    """
    Who gets mail.
    """

    #: Addresses without detail, in small letters and with one spelling of the domain.
    addresses: frozenset[str]
    #: Domains in which everybody gets mail, likewise.
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
        domain = _one_spelling(domain)
        if domain in self.domains:
            return None
        # RFC 5321 section 4.5.1 wants a postmaster without a domain and in every domain.
        ours = domain in self.known
        if local == "postmaster" and (ours or not domain):
            return None
        if not ours:
            return _NOT_OURS
        names = (local, local.partition("+")[0])
        known = any(f"{name}@{domain}" in self.addresses for name in names)
        return None if known else _NO_SUCH_USER


def parse(data: bytes) -> Recipients:
    """
    Read what a file contains: on each line an address, or ``@`` and a domain.

    :raise ValueError: with a sentence's end that names the line.  A file without any is one that
        somebody is about to write, or has lost.
    """
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError("is not UTF-8") from None
    addresses, domains = set(), set()
    for number, line in _lines(text):
        try:
            if line.startswith("@"):
                domains.add(_one_spelling(grammar.domain(line[1:], utf8=True)))
            else:
                addresses.add(_address(line))
        except grammar.GrammarError:
            raise ValueError(f"line {number} has no address and no @domain") from None
    if not addresses and not domains:
        raise ValueError("has no address and no @domain")
    return Recipients(frozenset(addresses), frozenset(domains))


def _address(line: str) -> str:
    # One without a domain would be nobody's.
    local, domain = grammar.split_mailbox(grammar.mailbox(line, utf8=True))
    if not local:
        # It is what stays of +x without its detail.
        raise grammar.GrammarError("empty local part")
    return f"{local}@{_one_spelling(domain)}"


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
