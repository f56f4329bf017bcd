"""
XOAUTH2: OAuth 2.0 bearer tokens as Google and Microsoft do it, before there was RFC 7628.

::

    "user=" {User} "^Aauth=Bearer " {Access Token} "^A^A"
"""

from __future__ import annotations

from functools import partial

from . import bearer
from .base import Circumstances, Exchange, Malformed, Mechanism, client_first, name, utf8
from .credentials import BearerToken

# Unlike OAUTHBEARER's, the status is one of HTTP.
_ERROR = b'{"status":"401","schemes":"bearer"}'


def _exchange(circumstances: Circumstances, initial: bytes | None) -> Exchange:
    values = bearer.pairs(utf8((yield from client_first(initial))), "user", "auth")
    if "user" not in values:
        raise Malformed("no user key")
    credentials = partial(BearerToken, username=name(values["user"]))
    return (yield from bearer.check(values["auth"], credentials, _ERROR))


XOAUTH2 = Mechanism("XOAUTH2", _exchange, BearerToken)
