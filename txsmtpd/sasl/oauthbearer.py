"""
OAUTHBEARER: OAuth 2.0 bearer tokens (RFC 7628).
"""

from __future__ import annotations

import re
from functools import partial

from . import bearer, gs2
from .base import Circumstances, Exchange, Malformed, Mechanism, client_first, utf8
from .credentials import BearerToken

# Section 3.2.2, and the example in section 4.4.
_ERROR = b'{"status":"invalid_token","schemes":"bearer"}'


def _exchange(circumstances: Circumstances, initial: bytes | None) -> Exchange:
    # client-resp = (gs2-header kvsep *kvpair kvsep) / kvsep
    header, rest = gs2.read(utf8((yield from client_first(initial))))
    if header.flag == "p":
        raise Malformed("channel binding, which this mechanism does not have")
    if not rest.startswith("\x01"):
        raise Malformed("no separator behind the GS2 header")
    values = bearer.pairs(rest[1:], "auth", "host", "port")
    credentials = partial(
        BearerToken,
        username=header.authzid,
        host=_host(values.get("host")),
        port=_port(values.get("port")),
    )
    return (yield from bearer.check(values["auth"], credentials, _ERROR))


def _host(value: str | None) -> str | None:
    if value is not None and re.fullmatch("[!-~]{1,255}", value) is None:
        raise Malformed("malformed host")
    return value


def _port(value: str | None) -> int | None:
    """
    Read a positive number without leading zeros.
    """
    if value is None:
        return None
    if re.fullmatch("[1-9][0-9]{0,4}", value) is None or int(value) > 65535:
        raise Malformed("malformed port")
    return int(value)


OAUTHBEARER = Mechanism("OAUTHBEARER", _exchange, BearerToken)
