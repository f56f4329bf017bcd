"""
PLAIN: user name and password in one message (RFC 4616).
"""

from __future__ import annotations

from .base import (
    Check,
    Circumstances,
    Exchange,
    Malformed,
    Mechanism,
    authorize,
    client_first,
    name,
    utf8,
)
from .credentials import Password


def _exchange(circumstances: Circumstances, initial: bytes | None) -> Exchange:
    # message = [authzid] UTF8NUL authcid UTF8NUL passwd
    parts = (yield from client_first(initial)).split(b"\0")
    if len(parts) != 3:
        raise Malformed("not three parts")
    authzid, authcid, passwd = map(utf8, parts)
    if not passwd:
        raise Malformed("no password")
    username = name(authcid)
    identity = name(authzid) if authzid else b""
    authorize(username, identity)
    yield Check(Password(username, passwd.encode(), identity))


PLAIN = Mechanism("PLAIN", _exchange, Password)
