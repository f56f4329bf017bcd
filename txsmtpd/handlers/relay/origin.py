"""
Where a message comes from, for a next hop that believes us (Postfix's XCLIENT and XFORWARD).

XCLIENT makes the next hop treat the session as if our client had connected itself; XFORWARD tells
it what to log.  Both are offered only to those whom its administrator trusts, so what is offered is
used: XCLIENT, if there are both.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from ...core.addresses import host_address
from ...core.grammar import xtext_encode
from ...core.replies import CONTROLS, Rejected
from ...core.session import Envelope, Session
from .answers import NONSENSE, Answer, Lost, verdict_of
from .connection import Connection
from .nexthop import NextHop
from .setup import UNKNOWN, say_hello

_UNAVAILABLE = "[UNAVAILABLE]"
# Octets in one value; Postfix allows 255.
_VALUE = 255
# What xtext cannot carry: surrogates, and what stands for octets that were no UTF-8.
_NO_TEXT = re.compile("[\ud800-\udfff\ufffd]")
# Octets in one command with attributes; Postfix allows 512.
_ROOM = 500


def _address(peer: object) -> tuple[str, str]:
    """
    A client's address and port.
    """
    if not isinstance(peer, tuple) or len(peer) < 2:
        return _UNAVAILABLE, _UNAVAILABLE
    try:
        address = host_address(peer[0])
    except ValueError:
        return _UNAVAILABLE, _UNAVAILABLE
    prefix = "IPV6:" if address.version == 6 else ""
    return f"{prefix}{address}", str(peer[1])


def _facts(session: Session) -> dict[str, str]:
    address, port = _address(session.peer)
    return {
        # We ask no name server.
        "NAME": _UNAVAILABLE,
        "ADDR": address,
        "PORT": port,
        "PROTO": "ESMTP" if session.extended_smtp else "SMTP",
        "HELO": session.host_name or _UNAVAILABLE,
    }


def _login(session: Session) -> str:
    name = session.login_data
    if not session.authenticated or not name:
        return _UNAVAILABLE
    return name.decode("utf-8", "replace") if isinstance(name, bytes) else str(name)


def client_facts(session: Session) -> dict[str, str]:
    """
    What XCLIENT tells.
    """
    address, port = _address(session.local)
    return {
        **_facts(session),
        "LOGIN": _login(session),
        "DESTADDR": address,
        "DESTPORT": port,
    }


def message_facts(session: Session, envelope: Envelope) -> dict[str, str]:
    """
    What XFORWARD tells.
    """
    return {
        **_facts(session),
        "IDENT": envelope.id or _UNAVAILABLE,
        "SOURCE": "LOCAL" if _address(session.peer)[0] == _UNAVAILABLE else "REMOTE",
    }


def commands(verb: str, facts: Mapping[str, str], known: str) -> Iterator[str]:
    """
    :param known: the attributes that the next hop knows.
    :return: as many commands as they need.
    """
    line = verb
    for name in known.split():
        if name in facts:
            word = f" {name}={_encoded(facts[name])}"
            if len(line) + len(word) > _ROOM and line != verb:
                yield line
                line = verb
            line += word
    if line != verb:
        yield line


def _encoded(value: str) -> str:
    if value == _UNAVAILABLE:
        return value
    # A lenient server lets clients call themselves what they like, and an authenticator may.
    clean = _NO_TEXT.sub("?", CONTROLS.sub(" ", value))
    encoded = ""
    # Not cut within a character: half of one is no UTF-8.
    for character in map(xtext_encode, clean):
        if len(encoded) + len(character) > _VALUE:
            break
        encoded += character
    return encoded


async def introduce(connection: Connection, hop: NextHop, hostname: str, session: Session) -> None:
    """
    Say on whose behalf we speak, if the next hop wants to know.

    :raise Rejected: if it wants nothing of that client.
    """
    known = connection.features.get("XCLIENT")
    # It would forget who has logged in.
    if known is None or connection.logged_in:
        return
    facts = client_facts(session)
    if connection.client == facts:
        return
    for command in commands("XCLIENT", facts, known):
        _judge(connection, await connection.ask(command))
    connection.client = facts
    await say_hello(connection, hop, hostname)
    if "XCLIENT" not in connection.features:
        # Else the next client would pass for this one.
        connection.spent = True


def _judge(connection: Connection, answer: Answer) -> None:
    if answer.code in (220, 250):
        return
    # That it does not understand us is nothing that it says of our client.
    understood = answer.refused and answer.code not in UNKNOWN
    error = Lost(verdict_of(answer) if understood else NONSENSE, answer.text)
    connection.end(error)
    raise Rejected(error.reply)
