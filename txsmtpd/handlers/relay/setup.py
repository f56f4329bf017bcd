"""
From a connection that was made to one that takes mail: greeting, EHLO, TLS, AUTH.

Whatever the next hop refuses here it refuses to *us*, not to a message: it is a matter of how the
two servers are configured, which somebody mends, so our client is told to try again later, and the
log says why.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Awaitable, Callable
from typing import NoReturn

from ...core.replies import Reply
from .answers import NO_LOGIN, NONSENSE, UNSAFE, UNWELCOME, Answer, Lost
from .connection import Connection
from .nexthop import Credentials, NextHop

#: What a command is answered with by who does not know it, as EHLO (RFC 5321 section 3.2).
UNKNOWN = (500, 501, 502, 503, 504)


async def set_up(connection: Connection, hop: NextHop, hostname: str, *, tls: bool = True) -> None:
    """
    :param hostname: how we introduce ourselves.
    :param tls: whether to use STARTTLS that nobody demands.
    :raise Lost: if it comes to nothing.
    """
    want(connection, await connection.greeting, 220, UNWELCOME)
    await say_hello(connection, hop, hostname)
    if not connection.tls and (hop.verified or (tls and hop.tls is not None)):
        await _start_tls(connection, hop, hostname)
    connection.verified = hop.verified
    if hop.credentials is not None:
        await _log_in(connection, hop.credentials)


def want(connection: Connection, answer: Answer, code: int, otherwise: Reply) -> Answer:
    """
    :raise Lost: if the answer has another code.
    """
    if answer.code != code:
        _fail(connection, otherwise, answer.text)
    return answer


def _fail(connection: Connection, reply: Reply, reason: str) -> NoReturn:
    error = Lost(reply, reason)
    connection.end(error)
    raise error


async def say_hello(connection: Connection, hop: NextHop, hostname: str) -> None:
    """
    Say LHLO or EHLO, and HELO to who does not know that.
    """
    answer = await connection.ask(f"{'LHLO' if hop.lmtp else 'EHLO'} {hostname}")
    if answer.code in UNKNOWN and not (hop.lmtp or hop.verified):
        want(connection, await connection.ask(f"HELO {hostname}"), 250, UNWELCOME)
        connection.features = {}
        return
    want(connection, answer, 250, UNWELCOME)
    features = {}
    for line in answer.lines[1:]:
        keyword, _, value = line.strip().partition(" ")
        features[keyword.upper()] = value.upper()
    connection.features = features


async def _start_tls(connection: Connection, hop: NextHop, hostname: str) -> None:
    if "STARTTLS" in connection.features:
        answer = await connection.ask("STARTTLS")
        if answer.code == 220:
            await connection.start_tls(hop.tls)
            await say_hello(connection, hop, hostname)
            return
    if hop.verified:
        _fail(connection, UNSAFE, "it does not do STARTTLS")


async def _log_in(connection: Connection, credentials: Credentials) -> None:
    """
    Log in (RFC 4954), which is done under TLS with a verified certificate only: so the plainest
    mechanism that there is will do.
    """
    offered = connection.features.get("AUTH", "").split()
    for mechanism, exchange in _MECHANISMS.items():
        if mechanism in offered:
            _want_login(connection, await exchange(connection, credentials), 235)
            connection.logged_in = True
            return
    _fail(connection, NO_LOGIN, f"it offers no mechanism of {', '.join(_MECHANISMS)}")


def _want_login(connection: Connection, answer: Answer, code: int) -> None:
    if answer.code != code:
        # Without the text, which may say our own words again.
        _fail(connection, NO_LOGIN, f"AUTH was answered {answer.code}")


def _base64(text: str) -> str:
    # What was no UTF-8 in the file stays as it was.
    return b64encode(text.encode("utf-8", "surrogateescape")).decode()


async def _plain(connection: Connection, credentials: Credentials) -> Answer:
    """
    RFC 4616.
    """
    message = f"\0{credentials.name}\0{credentials.password}"
    return await connection.ask(f"AUTH PLAIN {_base64(message)}")


async def _login(connection: Connection, credentials: Credentials) -> Answer:
    """
    What servers have that know no PLAIN.
    """
    _want_login(connection, await connection.ask("AUTH LOGIN"), 334)
    _want_login(connection, await connection.ask(_base64(credentials.name)), 334)
    return await connection.ask(_base64(credentials.password))


async def _cram_md5(connection: Connection, credentials: Credentials) -> Answer:
    """
    RFC 2195.
    """
    answer = await connection.ask("AUTH CRAM-MD5")
    _want_login(connection, answer, 334)
    try:
        challenge = b64decode(answer.lines[0], validate=True)
    except ValueError:
        _fail(connection, NONSENSE, "a challenge that is not base64")
    key = credentials.password.encode("utf-8", "surrogateescape")
    response = hmac.new(key, challenge, "md5").hexdigest()
    return await connection.ask(_base64(f"{credentials.name} {response}"))


_MECHANISMS: dict[str, Callable[[Connection, Credentials], Awaitable[Answer]]] = {
    "PLAIN": _plain,
    "LOGIN": _login,
    "CRAM-MD5": _cram_md5,
}
