"""
SASLprep: one spelling for what people type in many (RFC 4013, a profile of RFC 3454).

The tables are those of Unicode 3.2, on which stringprep stands, so both ends of a connection come
to the same result whatever Unicode they know.
"""

from __future__ import annotations

import stringprep
from contextlib import suppress
from unicodedata import ucd_3_2_0

#: Octets of a password that is prepared. RFC 4616 wants at least 255, and the time that it takes
#: grows with the square: a whole line of accents would take 40 ms of everybody's.
PASSWORD_LIMIT = 1024

# RFC 4013 section 2.3
_PROHIBITED = (
    stringprep.in_table_c12,  # non-ASCII spaces
    stringprep.in_table_c21_c22,  # controls
    stringprep.in_table_c3,  # private use
    stringprep.in_table_c4,  # no characters
    stringprep.in_table_c5,  # surrogates
    stringprep.in_table_c6,  # no plain text, such as U+FFFD
    stringprep.in_table_c7,  # ideographic descriptions
    stringprep.in_table_c8,  # what changes how text is displayed
    stringprep.in_table_c9,  # tags
)


class Prohibited(ValueError):
    """
    SASLprep does not take the text, of which the message has nothing.
    """


def saslprep(text: str, *, stored: bool = False, bidi: bool = True) -> str:
    """
    Map, normalize and check.

    :param stored: for what is stored: characters that Unicode 3.2 has not assigned are prohibited.
    :param bidi: whether to hold text with right-to-left characters to RFC 3454 section 6.
    :raise Prohibited: the text is refused.
    """
    if text.isascii() and text.isprintable():
        return text
    prepared = ucd_3_2_0.normalize("NFKC", _mapped(text))
    # Each once, because NFKC makes up to 18 of one, and whoever sends them is a stranger yet.
    characters = set(prepared)
    if any(prohibits(character) for prohibits in _PROHIBITED for character in characters):
        raise Prohibited("a prohibited character")
    if stored and any(map(stringprep.in_table_a1, characters)):
        raise Prohibited("an unassigned character")
    if bidi and any(map(stringprep.in_table_d1, characters)):
        _check_bidi(prepared)
    return prepared


def _mapped(text: str) -> str:
    # RFC 4013 section 2.1. U+200B is in both tables; here as elsewhere it becomes nothing.
    kept = (character for character in text if not stringprep.in_table_b1(character))
    return "".join(" " if stringprep.in_table_c12(character) else character for character in kept)


def _check_bidi(text: str) -> None:
    if any(map(stringprep.in_table_d2, text)):
        raise Prohibited("both left-to-right and right-to-left characters")
    if not (stringprep.in_table_d1(text[0]) and stringprep.in_table_d1(text[-1])):
        raise Prohibited("right-to-left text that does not begin and end so")


def password(octets: bytes) -> bytes:
    """
    Prepare a password. One that is not UTF-8, or that SASLprep refuses, stays as it is: somebody
    chose it before we were asked, and clients that cannot prepare it send it so. So does one over
    `PASSWORD_LIMIT`.
    """
    if len(octets) <= PASSWORD_LIMIT:
        with suppress(ValueError):
            return saslprep(octets.decode(), stored=True).encode() or octets
    return octets
