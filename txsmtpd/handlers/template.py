"""
The path of a recipient's mailbox, of a template such as ``/var/mail/{domain}/{local}``.

``{address}``
    the whole address;
``{local}``
    its local part up to the first ``+``, or all of it if nothing stands before that;
``{domain}``
    its domain, or our own name where there is none, as in ``<Postmaster>``;
``{detail}``
    what follows the ``+`` (RFC 5233), or nothing.

Whoever sends mail chooses these, so each is made part of one file name, whatever it is: ``/``,
``%``, controls and a dot at the beginning become ``%2F`` and so on.  What differs stays different,
but for what people take for the same: capitals and small letters (RFC 5321 section 2.4 lets the
host that delivers decide that), ways to quote a local part, and ways to compose a character (NFC).
Other than ASCII is UTF-8, whatever the locale.  A part of the path that comes to nothing without a
detail is left out, so that ``DIR/{local}/.{detail}`` without one is the mailbox ``DIR/{local}``.

So that nobody gets into the mailbox of another, two fields may not touch each other, and where
``{detail}`` stands alone the path ends: it may be left out, and what follows would take its place.
"""

from __future__ import annotations

import os
import re
import unicodedata
from itertools import pairwise
from string import Formatter

import attrs

from ..core import grammar
from ..core.replies import CONTROLS

#: Octets in a file name.
NAME_LIMIT = 255

_FIELDS = ("address", "local", "domain", "detail")

_UNSAFE = re.compile(rf"\A\.|[%/]|{CONTROLS.pattern}|[\ud800-\udfff]")
# A mailbox of such a name would be in the middle of the one that it is below.
_TAKEN = frozenset(("cur", "new", "tmp"))


def _escape(text: str) -> str:
    return "".join(f"%{octet:02X}" for octet in text.encode("utf-8", "surrogatepass"))


def _safe(value: str) -> str:
    """
    A value as a part of a file name.
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", value).lower())
    return _UNSAFE.sub(lambda unsafe: _escape(unsafe[0]), folded)


def _values(address: str, hostname: str) -> dict[str, str]:
    """
    :raise ValueError: for an address without a local part.
    """
    whole, domain = grammar.split_mailbox(address)
    if not whole:
        raise ValueError("there is no local part")
    local, _, detail = whole.partition("+")
    if not local:
        local, detail = whole, ""
    values = {
        "address": f"{whole}@{domain}" if domain else whole,
        "local": local,
        "domain": domain or hostname,
        "detail": detail,
    }
    return {name: _safe(value) for name, value in values.items()}


@attrs.frozen
class _Name:
    """
    One part of the path.
    """

    #: Texts, each with the field that follows it, if one does.
    pieces: tuple[tuple[str, str | None], ...]

    @classmethod
    def parse(cls, text: str) -> _Name:
        """
        :raise ValueError: for a brace that is out of place, or a field that there is not.
        """
        pieces: list[tuple[str, str | None]] = []
        for literal, field, spec, conversion in Formatter().parse(text):
            if field is not None and (field not in _FIELDS or spec or conversion):
                raise ValueError(f"there is no field {field!r}")
            pieces.append((literal, field))
        return cls(tuple(pieces))

    @property
    def blurs(self) -> bool:
        """
        Whether nobody can tell where one field ends and the next begins.
        """
        return any(
            before is not None and after is not None and not between
            for (_, before), (between, after) in pairwise(self.pieces)
        )

    @property
    def fields(self) -> set[str]:
        return {field for _, field in self.pieces if field is not None}

    def fill(self, values: dict[str, str]) -> str:
        """
        :raise ValueError: if the name is too long.
        """
        filled = ((text, values.get(field or "", "")) for text, field in self.pieces)
        name = os.fsdecode(b"".join(os.fsencode(text) + value.encode() for text, value in filled))
        if name in _TAKEN and self.fields:
            name = _escape(name[0]) + name[1:]
        if len(os.fsencode(name)) > NAME_LIMIT:
            raise ValueError("maildir cannot have a name of more than 255 octets")
        return name


# It may be left out, and then what follows takes its place.
_ONLY_DETAIL = _Name((("", "detail"),))


def _check_that_they_differ(names: list[_Name]) -> None:
    """
    :raise ValueError: if a mailbox could be that of another, or within it.
    """
    if any(name.blurs for name in names):
        raise ValueError("maildir wants something between two fields, such as {local}@{domain}")
    # A slash or a dot at the end is nothing.
    said = [name for name in names if name.fields or name.fill({}) not in ("", ".")]
    if _ONLY_DETAIL in said[:-1]:
        raise ValueError("maildir wants nothing behind /{detail}/, but may have /.{detail}/ there")


@attrs.frozen
class Template:
    """
    Where mailboxes are.
    """

    #: The directory that is above all of them.
    base: str
    _names: tuple[_Name, ...]

    @classmethod
    def parse(cls, text: str) -> Template:
        """
        Read a template; ``{{`` and ``}}`` stand for braces.

        :raise ValueError: if it cannot be, with one sentence.
        """
        try:
            names = [_Name.parse(part) for part in text.split("/")]
        except ValueError:
            raise ValueError(
                "maildir knows {address}, {local}, {domain} and {detail}; braces are {{ and }}"
            ) from None
        if not set().union(*(name.fields for name in names)) - {"detail"}:
            # Without a detail it would be the base.
            raise ValueError("maildir wants {address}, {local} or {domain} in a path with braces")
        first = next(index for index, name in enumerate(names) if name.fields)
        if any(name.fill({}) == ".." and not name.fields for name in names[first:]):
            raise ValueError("maildir wants no .. behind what stands in braces")
        _check_that_they_differ(names)
        base = "/".join(name.fill({}) for name in names[:first])
        # A daemon goes elsewhere, and the base of "/{local}" is the root.
        return cls(os.path.abspath(f"{base}/" if first else "."), tuple(names[first:]))

    def path(self, address: str, hostname: str) -> str:
        """
        The directory of a mailbox, which is below `base`.

        :param hostname: our own name.
        :raise ValueError: if the address can have no mailbox.
        """
        values = _values(address, hostname)
        names = (name.fill(values) for name in self._names)
        return os.path.join(self.base, *(name for name in names if name not in ("", ".", "..")))
