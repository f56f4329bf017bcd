"""
SCRAM-SHA-1 and SCRAM-SHA-256, and -PLUS of each (RFC 5802, RFC 7677).

Neither side sends the password, both prove that they know it, and -PLUS ties that to the TLS
connection, so that it is of no use to whoever sits between two of them.

Every text is judged under its ABNF, all of which has commas between attributes and none within.
"""

from __future__ import annotations

import hashlib
import re
from base64 import b64decode, b64encode
from contextlib import suppress
from functools import partial

import attrs

from . import gs2
from .base import (
    Challenge,
    Check,
    Circumstances,
    Denied,
    Exchange,
    Malformed,
    Mechanism,
    authorize,
    client_first,
    utf8,
)
from .credentials import ScramProof

#: What -PLUS can be bound to: RFC 9266, RFC 5929 section 4. Not tls-unique, which TLS 1.3 does not
#: have and which is broken in TLS 1.2 without the extended master secret (RFC 7627).
CHANNEL_BINDINGS = ("tls-exporter", "tls-server-end-point")

# RFC 5802 section 7
#   printable  = %x21-2B / %x2D-7E
#   nonce      = "r=" c-nonce [s-nonce]
#   attr-val   = ALPHA "=" value
#   value      = 1*value-char               ; all but NUL and ","
#   extensions = attr-val *("," attr-val)
#
# An attribute that has a place of its own is no extension.
_NONCE = r"[!-+\--~]+"
_EXTENSIONS = "(?:,(?![aceimnprsv]=)[A-Za-z]=[^\0,]+)*"

#   client-first-message-bare = [reserved-mext ","] username "," nonce ["," extensions]
_CLIENT_FIRST = re.compile(f"n=({gs2.SASLNAME}),r=({_NONCE}){_EXTENSIONS}")

#   client-final-message-without-proof = channel-binding "," nonce ["," extensions]
#   client-final-message               = client-final-message-without-proof "," proof
#   channel-binding = "c=" base64
#   proof           = "p=" base64
_CLIENT_FINAL = re.compile(f"(c=([^\0,]+),r=({_NONCE}){_EXTENSIONS}),p=([^\0,]+)")


@attrs.frozen
class _Final:
    """
    The client's last message.
    """

    without_proof: str = attrs.field(repr=False)
    binding: bytes = attrs.field(repr=False)
    nonce: str = attrs.field(repr=False)
    proof: bytes = attrs.field(repr=False)


def _exchange(
    hash_name: str, plus: bool, circumstances: Circumstances, initial: bytes | None
) -> Exchange:
    header, bare = gs2.read(utf8((yield from client_first(initial))))
    binding = _bind_plus(header, circumstances) if plus else _bind_nothing(header, circumstances)
    username, nonce = _read_first(bare)
    authorize(username, header.authzid)
    nonce += circumstances.nonce()
    salt, iterations = circumstances.scram(username, hash_name)
    server_first = f"r={nonce},s={b64encode(salt).decode()},i={iterations}"

    final = _read_final(utf8((yield Challenge(server_first.encode()))))
    if len(final.proof) != hashlib.new(hash_name).digest_size:
        raise Malformed("a proof of the wrong size")
    # Exactly what the first message said: this is what keeps an attacker from changing it.
    if final.binding != header.text.encode() + binding:
        raise Denied("wrong channel binding")
    if final.nonce != nonce:
        raise Denied("wrong nonce")

    auth_message = f"{bare},{server_first},{final.without_proof}".encode()
    proof = ScramProof(username, hash_name, salt, iterations, auth_message, final.proof)
    good = yield Check(proof)
    if not good:
        if not proof.checked:
            # Nobody of that name. It shall not show in the time it takes.
            proof.checkPassword(b"")
        return False
    if proof.server_signature is None:
        raise RuntimeError("the checker said yes to a SCRAM proof without having checked it")
    if (yield Challenge(b"v=" + b64encode(proof.server_signature))):
        raise Malformed("more than an empty response")
    return None


def _bind_plus(header: gs2.Header, circumstances: Circumstances) -> bytes:
    """
    :return: the octets of the channel binding that the client has chosen.
    """
    if header.flag != "p":
        raise Malformed("-PLUS without channel binding")
    binding = _channel_binding(header.binding, circumstances)
    if not binding:
        raise Denied("no such channel binding")
    return binding


def _bind_nothing(header: gs2.Header, circumstances: Circumstances) -> bytes:
    """
    :return: no octets.
    """
    if header.flag == "p":
        raise Malformed("channel binding without -PLUS")
    if header.flag == "y" and _can_bind(circumstances):
        # The client saw no -PLUS, though we offered it: someone took it off (section 6).
        raise Denied("channel binding downgraded")
    return b""


def _channel_binding(name: str, circumstances: Circumstances) -> bytes | None:
    return circumstances.channel_binding(name) if name in CHANNEL_BINDINGS else None


def _can_bind(circumstances: Circumstances) -> bool:
    # Where there is no exporter, which is in TLS 1.2, many clients bind by tls-unique, which is not
    # safe there, and would be refused: for them it is better not to see -PLUS at all.
    return _channel_binding("tls-exporter", circumstances) is not None


def _read_first(bare: str) -> tuple[bytes, str]:
    """
    :return: the user's name, and the client's nonce.
    """
    _refuse_mandatory(bare)
    match = _CLIENT_FIRST.fullmatch(bare)
    if match is None:
        raise Malformed("malformed client-first-message")
    return gs2.saslname(match[1]), match[2]


def _read_final(message: str) -> _Final:
    _refuse_mandatory(message)
    match = _CLIENT_FINAL.fullmatch(message)
    if match is None:
        raise Malformed("malformed client-final-message")
    without_proof, binding, nonce, proof = match.groups()
    return _Final(without_proof, _unbase64(binding), nonce, _unbase64(proof))


def _refuse_mandatory(message: str) -> None:
    """
    There are no mandatory extensions that we know.
    """
    if any(attribute.startswith("m=") for attribute in message.split(",")):
        raise Denied("a mandatory extension")


def _unbase64(text: str) -> bytes:
    """
    Decode base64 in its one canonical form (section 2.1).
    """
    with suppress(ValueError):
        octets = b64decode(text, validate=True)
        if b64encode(octets).decode() == text:
            return octets
    raise Malformed("malformed base64")


def _scram(hash_name: str, name: str) -> tuple[Mechanism, Mechanism]:
    """
    :return: the mechanism that binds to the TLS connection, and the one that does not.
    """
    plus = partial(_exchange, hash_name, True)
    plain = partial(_exchange, hash_name, False)
    return (
        Mechanism(f"{name}-PLUS", plus, ScramProof, offered=_can_bind),
        Mechanism(name, plain, ScramProof),
    )


SCRAM_SHA_256_PLUS, SCRAM_SHA_256 = _scram("sha256", "SCRAM-SHA-256")
SCRAM_SHA_1_PLUS, SCRAM_SHA_1 = _scram("sha1", "SCRAM-SHA-1")
