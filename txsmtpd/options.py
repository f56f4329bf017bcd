"""
How texts of the command line are read.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import attrs
from twisted.python.usage import UsageError

from .core.settings import Settings

# Python's int() also takes "+25", "2_5" and the digits of other scripts: none of them is a number
# that someone meant to type here.
_WHOLE = re.compile(r"[0-9]{1,18}")
_DECIMAL = re.compile(r"[0-9]{1,18}\.[0-9]{1,18}")


def number(text: str) -> int | float | str:
    """
    :return: a text that is no number as it came, for `Settings` to say what it wants.
    """
    if _WHOLE.fullmatch(text):
        return int(text)
    return float(text) if _DECIMAL.fullmatch(text) else text


def port_number(option: str, text: str) -> int:
    """
    :raise UsageError: if it is none.
    """
    port = number(text)
    if isinstance(port, int) and port <= 65535:
        return port
    raise UsageError(
        f"--{option} wants a number from 0 to 65535 or an endpoint such as tcp:2525, not {text!r}"
    )


def one_of(words: Sequence[str]) -> Callable[[str], str]:
    """
    Make a reader of one of these words.
    """

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"wants {', '.join(words[:-1])} or {words[-1]}, not {text!r}")
        return text

    return read


def setting(
    option: str,
    read: Callable[[str], Any],
    summary: str,
    *,
    field: str | None = None,
    default: str | None = None,
) -> Callable[[Any, str], None]:
    """
    Make the method of an option that fills one field of `Settings`, in ``settings`` of the options.

    :param field: its name, if it is not the option's.
    :param default: what --help says of the default, if it is more than a value.
    """
    name = field or option.replace("-", "_")

    def method(self: Any, text: str) -> None:
        try:
            value = read(text)
            Settings(**{name: value})
        except ValueError as error:
            # Their message may begin with the name of the field.
            raise UsageError(f"--{option} {str(error).removeprefix(name).lstrip()}") from None
        self.settings[name] = value

    shown = default or getattr(attrs.fields(Settings), name).default
    method.__doc__ = f"{summary} [default: {shown}]"
    return method
