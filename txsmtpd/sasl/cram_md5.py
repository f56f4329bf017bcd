"""
CRAM-MD5: proof of a password that the server has in the clear (RFC 2195).
"""

from __future__ import annotations

import re

from .base import Challenge, Check, Circumstances, Exchange, Malformed, Mechanism, name, utf8
from .credentials import CramResponse

# The user name may have spaces of its own.
_RESPONSE = re.compile("(.+) ([0-9a-f]{32})")


def _exchange(circumstances: Circumstances, initial: bytes | None) -> Exchange:
    if initial is not None:
        raise Malformed("an initial response where the server speaks first")
    challenge = _challenge(circumstances)
    match = _RESPONSE.fullmatch(utf8((yield Challenge(challenge))))
    if match is None:
        raise Malformed("no user name and digest")
    yield Check(CramResponse(name(match[1]), challenge, match[2].encode()))


def _challenge(circumstances: Circumstances) -> bytes:
    """
    Random digits, a timestamp and the host name in the form of a msg-id (section 2).
    """
    # Digits, because a nonce may have characters that a msg-id may not.
    digits = int.from_bytes(circumstances.nonce().encode(), "big")
    return f"<{digits}.{int(circumstances.now())}@{circumstances.hostname}>".encode()


CRAM_MD5 = Mechanism("CRAM-MD5", _exchange, CramResponse, server_first=True)
