"""
The GS2 header, with which SCRAM and OAUTHBEARER begin (RFC 5801 section 4).
"""

from __future__ import annotations

import re

import attrs

from .base import Malformed, name

# RFC 5802 section 7
#   value-safe-char = UTF8-char except NUL, "=", and ","
#   saslname        = 1*(value-safe-char / "=2C" / "=3D")
SASLNAME = "(?:[^\0=,]|=2C|=3D)+"

#   gs2-header     = gs2-cbind-flag "," [ authzid ] ","
#   gs2-cbind-flag = ("p=" cb-name) / "n" / "y"
#   cb-name        = 1*(ALPHA / DIGIT / "." / "-")
#   authzid        = "a=" saslname
_HEADER = re.compile(f"(?:([ny])|p=([A-Za-z0-9.-]+)),(?:a=({SASLNAME}))?,")


@attrs.frozen
class Header:
    """
    What the client says about channel binding, and whom it wants to act for.
    """

    #: As it was sent, up to its last comma.
    text: str = attrs.field(repr=False)
    #: ``n``, ``y`` or ``p``.
    flag: str
    #: The channel binding's name; empty but for ``p``.
    binding: str
    authzid: bytes


def read(message: str) -> tuple[Header, str]:
    """
    :return: the header, and what follows it.
    :raise Malformed: there is none.
    """
    match = _HEADER.match(message)
    if match is None:
        raise Malformed("no GS2 header")
    flag, binding, authzid = match.groups(default="")
    identity = saslname(authzid) if authzid else b""
    return Header(match[0], flag or "p", binding, identity), message[match.end() :]


def saslname(text: str) -> bytes:
    """
    Decode and prepare a user name that has the form of SASLNAME.

    :raise Malformed: it is not acceptable.
    """
    # In this order: what "=3D" becomes must not begin another escape.
    return name(text.replace("=2C", ",").replace("=3D", "="))
