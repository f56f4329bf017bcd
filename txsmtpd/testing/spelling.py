"""
How octets are written in a transcript, and read again.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator


def shown(side: str, data: bytes) -> Iterator[str]:
    """
    Octets as a transcript spells them.

    :param side: ``C``, ``S``, or ``|`` for content.
    """
    for line in re.findall(rb"(?s).*?\r\n|.+\Z", data):
        whole = line.endswith(b"\r\n")
        text = line[:-2] if whole else line
        spelled = text.decode("latin-1").encode("unicode_escape").decode("ascii")
        if len(spelled) > 300:
            spelled = f"{spelled[:100]} [... {len(text)} octets ...] {spelled[-100:]}"
        mark = ">" if not whole else ":" if side != "|" else ""
        yield f"{side}{mark} {spelled}"


def spell_addresses(mail_from: str, rcpt_tos: Iterable[str]) -> str:
    """
    Who sends to whom, as a transcript spells it.
    """
    return f"<{mail_from}> -> " + " ".join(f"<{address}>" for address in rcpt_tos)


def listed(messages: Iterable[tuple[str, bytes]]) -> str:
    """
    Messages as a transcript spells them.

    :param messages: the addresses, spelled already, and the content of each.
    """
    return "\n".join(
        line for spelled, said in messages for line in (f"M: {spelled}", *shown("|", said))
    )


_OCTETS = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_ESCAPE = re.compile(rb"(?s)\\(?:x([0-9A-Fa-f]{2})|\{(.+?)\*([0-9]+)\}|(.?))")


def unescape(text: str | bytes) -> bytes:
    r"""
    The octets that a client's line in a transcript stands for.

    :raise ValueError: for a backslash that nobody knows.
    """
    octets = text.encode("utf-8") if isinstance(text, str) else text

    def replace(match: re.Match[bytes]) -> bytes:
        octet, repeated, times, letter = match.groups()
        if octet is not None:
            return bytes.fromhex(octet.decode("ascii"))
        if repeated is not None:
            return unescape(repeated) * int(times)
        if letter not in _OCTETS:
            raise ValueError("an unknown escape")
        return _OCTETS[letter]

    return _ESCAPE.sub(replace, octets)
