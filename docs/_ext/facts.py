"""
What the reference pages say, taken from the code that they describe.

Nothing here needs Sphinx: each function gives lines of reST, so the tests can look at them.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import product
from typing import Any

import attrs
from twisted.internet.testing import MemoryReactorClock

from txsmtpd.core import replies, states
from txsmtpd.core.hooks import HOOKS
from txsmtpd.core.replies import Reply
from txsmtpd.core.settings import Settings
from txsmtpd.core.states import Symbol, Table
from txsmtpd.extensions import auth, starttls
from txsmtpd.factory import SMTPFactory
from txsmtpd.handlers import BUILTIN, Sink
from txsmtpd.tap import Options

# A setting with its comment, as core/settings.py writes it.
_FIELD = re.compile(r"((?:^    #: .*\n)+)^    ([A-Za-z_0-9]+): ", re.MULTILINE)
# What an option of any kind may take, to find out which setting it fills; and the company in which
# it may stand.
_TRIALS = (("7",), ("reject",), ("plain",), ())
_COMPANY = ((), ("--tls-self-signed", "--auth-any", "--hostname", "mx.example"))


def _indented(text: str) -> Iterator[str]:
    yield ""
    yield from (f"   {line}".rstrip() for line in text.splitlines())
    yield ""


# Options.


@attrs.frozen
class Option:
    """
    An option of ``twistd smtpd``.
    """

    #: With their dashes, the long name first.
    names: tuple[str, ...]
    takes_value: bool
    help: str
    #: The setting that it fills, if it does nothing else.
    setting: str | None


def options() -> list[Option]:
    """
    All of them, in the order of the help.
    """
    parser = Options()
    takes_value = {name.rstrip("="): name.endswith("=") for name in parser.longOpt}
    short: dict[str, list[str]] = {}
    for one, long in parser.synonyms.items():
        if len(one) == 1:
            short.setdefault(long, []).append(f"-{one}")
    # A long name may be a synonym, as "size_limit" is; takes_value has only those that are shown.
    return [
        Option(
            (f"--{name}", *sorted(short.get(name, ()))),
            takes_value[name],
            _sentence(parser.docs[parser.synonyms.get(name, name)]),
            None if name in ("help", "version", "help-handlers") else _setting_of(name),
        )
        for name in sorted(takes_value)
    ]


def _sentence(text: str | None) -> str:
    return " ".join((text or "").split())


def _setting_of(name: str) -> str | None:
    for company, values in product(_COMPANY, _TRIALS):
        try:
            filled = _filled(*company, f"--{name}", *values) - _filled(*company)
        except SystemExit:
            continue
        if filled:
            return filled.pop()
    return None


def _filled(*arguments: str) -> set[str]:
    parser = Options(MemoryReactorClock())
    parser.parseOptions([*arguments, "--handler", "sink"])
    # They are always filled, by more than one option.
    return set(parser.settings) - {"context_factory", "checkers"}


def option_lines() -> Iterator[str]:
    for option in options():
        value = " <value>" if option.takes_value else ""
        yield f".. option:: {', '.join(name + value for name in option.names)}"
        text = option.help.replace("*", r"\*")
        if option.setting is not None:
            text += f"\n\nSetting: :py:attr:`~txsmtpd.core.settings.Settings.{option.setting}`"
        yield from _indented(text)


def handler_lines() -> Iterator[str]:
    for _, handler in sorted(BUILTIN.items()):
        yield f"``{handler.syntax}``"
        yield f"    {handler.help}"


# Settings.


def settings() -> dict[str, str]:
    """
    What each setting is, by its name.
    """
    found = _FIELD.findall(inspect.getsource(Settings))
    return {name: " ".join(re.sub("(?m)^ *#: ", "", text).split()) for text, name in found}


def _default(field: attrs.Attribute[Any]) -> str:
    if isinstance(field.default, attrs.Factory):  # type: ignore[arg-type]
        return "that of timeout"
    return repr(field.default)


def setting_lines() -> Iterator[str]:
    said = settings()
    filled_by = {option.setting: option.names[0] for option in options() if option.setting}
    for field in attrs.fields(Settings):
        yield f".. py:attribute:: Settings.{field.name}"
        yield f"   :type: {field.type}"
        yield f"   :value: {_default(field)}"
        text = said[field.name]
        if field.name in filled_by:
            text += f"\n\nOption: :option:`twistd smtpd {filled_by[field.name]}`"
        yield from _indented(text)


# Hooks.


def hook_lines() -> Iterator[str]:
    """
    A table: each hook, and the interface that declares it.
    """
    yield from (".. list-table::", "   :header-rows: 1", "", "   * - method", "     - interface")
    for method, interface in HOOKS.items():
        signature = interface[method].getSignatureString()
        yield f"   * - ``{method}{signature}``"
        yield f"     - :py:class:`~txsmtpd.interfaces.{interface.__name__}`"


# Replies.


def known_replies() -> dict[str, Reply]:
    """
    Those of the core by their names, and those of two extensions with the extension's before it.
    """
    modules = {"": replies, "AUTH": auth, "STARTTLS": starttls}
    return {
        f"{prefix}{name}": value
        for prefix, module in modules.items()
        for name, value in vars(module).items()
        # What is imported there is the core's.
        if isinstance(value, Reply) and (not prefix or name.startswith("_"))
    }


def reply_lines(said: Iterable[str]) -> Iterator[str]:
    """
    A table of some of the replies.

    :param said: for each a line: its name, a colon, and when it is said.
    """
    known = known_replies()
    yield from (".. list-table::", "   :header-rows: 1", "   :widths: 45 55", "")
    yield from ("   * - reply", "     - when")
    for line in said:
        name, _, when = line.partition(": ")
        yield f"   * - ``{known[name]}``"
        yield f"     - {when}"


# States.


def table() -> Table:
    """
    The table of a server with the extensions that are on by default.
    """
    return SMTPFactory(Sink(), reactor=MemoryReactorClock(), hostname="mx.example").rules.table


def is_remark(state: str, symbol: Symbol, follows: str) -> bool:
    """
    Whether a sentence says it for all states at once, so that no arrow has to.
    """
    if state == states.START and follows != state:
        return False
    if state == states.REFUSED:
        return symbol == "QUIT"
    return states.anytime(states.State(state)).get(symbol) == follows


def arrows(merged: Mapping[Any, Mapping[Symbol, Any]]) -> dict[tuple[str, str], list[Symbol]]:
    """
    What leads from one state to another, without what is a remark.
    """
    found: dict[tuple[str, str], list[Symbol]] = {}
    for state, row in merged.items():
        for symbol, follows in row.items():
            if not is_remark(state, symbol, follows):
                found.setdefault((state, follows), []).append(symbol)
    return found


def state_lines() -> Iterator[str]:
    """
    The whole table.
    """
    yield from (".. list-table::", "   :header-rows: 1", "   :widths: 15 55 30", "")
    yield from ("   * - in the state", "     - after success of", "     - follows")
    for state, row in table().items():
        targets: dict[str, list[Symbol]] = {}
        for symbol, target in row.items():
            targets.setdefault(target, []).append(symbol)
        cells = [f"**{state}**"]
        for follows, symbols in targets.items():
            yield f"   * - {cells.pop() if cells else ''}".rstrip()
            yield f"     - {', '.join(symbols)}"
            yield f"     - {follows}"
