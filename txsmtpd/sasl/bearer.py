"""
What OAUTHBEARER and XOAUTH2 have in common.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from .base import Challenge, Check, Exchange, Malformed
from .credentials import BearerToken

# RFC 7628 section 3.1
#   kvsep  = %x01
#   key    = 1*(ALPHA)
#   value  = *(VCHAR / SP / HTAB / CR / LF )
#   kvpair = key "=" value kvsep
#
# Values have non-ASCII characters too: XOAUTH2 has the user's name in one.
_KVPAIR = re.compile("([A-Za-z]+)=([^\0-\x08\x0b\x0c\x0e-\x1f\x7f]*)\x01")
_KVPAIRS = re.compile(f"(?:{_KVPAIR.pattern})*\x01")

# RFC 6750 section 2.1; a scheme is spelled in any case (RFC 7628 section 4)
#   b64token    = 1*( ALPHA / DIGIT / "-" / "." / "_" / "~" / "+" / "/" ) *"="
#   credentials = "Bearer" 1*SP b64token
_CREDENTIALS = re.compile("(?ai:Bearer) +([A-Za-z0-9._~+/-]+=*)")


def pairs(text: str, *known: str) -> dict[str, str]:
    """
    Read ``*kvpair kvsep``.

    :return: those with a known key, among which ``auth`` must be.
    :raise Malformed: it is something else, or has the same key twice.
    """
    if _KVPAIRS.fullmatch(text) is None:
        raise Malformed("malformed key/value pairs")
    found = [(key, value) for key, value in _KVPAIR.findall(text) if key in known]
    values = dict(found)
    if len(values) < len(found):
        raise Malformed("a key twice")
    if "auth" not in values:
        raise Malformed("no auth key")
    return values


def check(authorization: str, make: Callable[[bytes], BearerToken], error: bytes) -> Exchange:
    """
    Check what an Authorization header would have.

    A client asks with none what it should send. It gets the error too, and after an answer to
    that, whatever it is, the exchange has failed (RFC 7628 section 3.2.3).

    :param make: makes the credentials of the token.
    :param error: what to say if it is not good.
    """
    match = _CREDENTIALS.fullmatch(authorization)
    if match is not None:
        good = yield Check(make(match[1].encode()))
        if good:
            return None
    yield Challenge(error)
    return False
