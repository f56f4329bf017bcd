"""
The rules of one server: what its settings, its handlers and its extensions come to.

Everything that can be found out before the first client comes is found out here, once.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import attrs

from ..interfaces import IExtension
from .content import Budget
from .hooks import Hooks
from .outcomes import Verb
from .replies import Reply
from .session import Envelope, Parameters, Session
from .settings import Settings
from .states import TRANSITIONS, State, Table, merge

Check = Callable[[Session, Envelope, Parameters], None]


@attrs.frozen
class Parameter:
    """
    A MAIL or RCPT parameter: who knows it, and how it is read.
    """

    extension: IExtension
    parse: Callable[[Session, str | None], Any]

    def offered(self, session: Session) -> bool:
        return self.extension.keyword(session) is not None


def _parameters(claims: Iterable[tuple[IExtension, Mapping[str, Any]]]) -> dict[str, Parameter]:
    known: dict[str, Parameter] = {}
    for extension, parsers in claims:
        for keyword, parse in parsers.items():
            if keyword in known:
                raise ValueError(f"the parameter {keyword} is claimed twice")
            known[keyword] = Parameter(extension, parse)
    return known


class Checks:
    """
    Judges of MAIL or RCPT commands.
    """

    def __init__(self, judges: Iterable[Check]) -> None:
        #: Those of a command with parameters.
        self.all = tuple(judges)
        #: Those of one without.
        self.without = tuple(c for c in self.all if not getattr(c, "of_parameters", False))


@attrs.frozen(eq=False)
class Move:
    """
    A command in a state: what is known of it before anybody says it there.
    """

    name: str
    verb: Verb
    legal: bool
    #: The state that follows its success.
    target: State
    #: Whether nothing can be in its way but its line: it is legal, and no gate is to be asked.
    free: bool
    #: Octets that its line may have, without CRLF.
    room: int


def _moves(
    verbs: Mapping[bytes, tuple[str, Verb]], table: Table, *, gated: bool
) -> dict[State, dict[bytes, Move]]:
    """
    The moves of each state, by the names of the commands as clients send them.

    :param gated: whether there are gates.
    """
    moves: dict[State, dict[bytes, Move]] = {}
    for state, row in table.items():
        moves[state] = {}
        for word, (name, verb) in verbs.items():
            legal = name in row
            free = legal and not gated and not verb.extended
            room = verb.line_limit - len("\r\n")
            moves[state][word] = Move(name, verb, legal, row.get(name, state), free, room)
    return moves


@attrs.frozen(eq=False)
class Rules:
    """
    What every connection to one server shares.
    """

    settings: Settings
    #: Whether it speaks LMTP (RFC 2033).
    lmtp: bool
    hooks: Hooks
    extensions: tuple[IExtension, ...]
    #: The verbs by their names in capitals, in octets as a client sends them.
    verbs: Mapping[bytes, tuple[str, Verb]]
    #: Their names, for HELP.
    commands: str
    #: The verbs of the core and the extensions, also those that a subclass has replaced.
    builtin: Mapping[str, Verb]
    #: Whether one of them may make the server forget the client.
    forgets: bool
    table: Table
    #: What the table comes to for those who only have a word.
    moves: Mapping[State, Mapping[bytes, Move]]
    mail_parameters: Mapping[str, Parameter]
    rcpt_parameters: Mapping[str, Parameter]
    # The roles that some extension plays; those that it inherits do nothing and are not called.
    gates: tuple[Callable[[Session, str], Reply | None], ...]
    mail_checks: Checks
    rcpt_checks: Checks
    content_checks: tuple[Callable[[Session, Envelope, str], None], ...]
    #: Shared by all connections.
    budget: Budget

    def name_of(self, line: bytes) -> str | None:
        """
        The name of the verb that a line begins with, or None if there is no such verb.
        """
        known = self.verbs.get(line.rstrip(b" \t").partition(b" ")[0].upper())
        return None if known is None else known[0]

    def ehlo_texts(self, session: Session) -> tuple[str, ...]:
        """
        The lines of the EHLO reply, without codes (RFC 5321 section 4.1.1.1).
        """
        offered = [extension.keyword(session) for extension in self.extensions]
        if self.hooks.EXPN is not None:
            offered.append("EXPN")
        return (self.settings.hostname, *filter(None, offered), "HELP")


def _all_verbs(verbs: Mapping[str, Verb], extensions: Iterable[IExtension]) -> dict[str, Verb]:
    found = dict(verbs)
    for extension in extensions:
        for name, verb in extension.verbs().items():
            if name in found:
                raise ValueError(f"the verb {name} is claimed twice")
            if name != name.upper():
                raise ValueError(f"the verb {name} is not in capitals, so no client could say it")
            found[name] = verb
    return found


def _check_keywords(extensions: Iterable[IExtension]) -> None:
    lines = (extension.keyword(Session()) for extension in extensions)
    keywords = [line.split(" ")[0] for line in lines if line]
    for keyword in keywords:
        if keywords.count(keyword) > 1:
            raise ValueError(f"the keyword {keyword} is claimed twice")


def _none(builtin: Mapping[str, Verb]) -> Mapping[str, Verb]:
    return {}


def make_rules(
    settings: Settings,
    handlers: Iterable[object],
    extensions: Iterable[IExtension],
    verbs: Mapping[str, Verb],
    *,
    lmtp: bool = False,
    budget: Budget | None = None,
    replace: Callable[[Mapping[str, Verb]], Mapping[str, Verb]] = _none,
) -> Rules:
    """
    :param verbs: the core's own.
    :param lmtp: whether they are those of LMTP.
    :param budget: if it is shared with others.
    :param replace: of all verbs those that replace them or are new; a new one is legal in every
        state and changes none.
    :raise TypeError: for a handler that declares no hook, or one wrongly.
    :raise ValueError: if two extensions claim the same keyword, verb, parameter or row.
    """
    extensions = tuple(extensions)
    for extension in extensions:
        extension.meet([other for other in extensions if other is not extension])
    builtin = _all_verbs(verbs, extensions)
    _check_keywords(extensions)
    own = replace(builtin)
    table = merge((TRANSITIONS, *(extension.rows() for extension in extensions)))
    for name in builtin.keys() - set().union(*table.values()):
        raise ValueError(f"the verb {name} is legal in no state")
    for state, row in table.items():
        if "NOOP" in row:
            row.update(dict.fromkeys(own.keys() - builtin.keys(), state))

    def played(role: str) -> tuple[Any, ...]:
        # The base class of extensions marks its own empty roles.
        methods = (getattr(extension, role) for extension in extensions)
        return tuple(m for m in methods if not getattr(m, "does_nothing", False))

    known = {name.encode("ascii"): (name, verb) for name, verb in {**builtin, **own}.items()}
    gates = played("gate")
    return Rules(
        settings=settings,
        lmtp=lmtp,
        hooks=Hooks(tuple(handlers)),
        extensions=extensions,
        verbs=known,
        commands=" ".join(sorted(name for name, verb in known.values() if verb.listed)),
        builtin=builtin,
        forgets=any(verb.forgets for verb in builtin.values()),
        table=table,
        moves=_moves(known, table, gated=bool(gates)),
        mail_parameters=_parameters((e, e.mail_parameters()) for e in extensions),
        rcpt_parameters=_parameters((e, e.rcpt_parameters()) for e in extensions),
        gates=gates,
        mail_checks=Checks(played("check_mail")),
        rcpt_checks=Checks(played("check_rcpt")),
        content_checks=played("check_content"),
        budget=budget or Budget(settings.content_memory),
    )
