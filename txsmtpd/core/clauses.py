"""
The arguments of MAIL and RCPT: a path, and parameters behind it (RFC 5321 section 4.1.2).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import attrs

from . import grammar, replies
from .context import Context
from .replies import Rejected, Reply, syntax_error
from .rules import Parameter
from .session import Parameters

MAIL_SYNTAX = "MAIL FROM:<address> [parameters]"
RCPT_SYNTAX = "RCPT TO:<address> [parameters]"


@attrs.frozen
class Clause:
    """
    What MAIL or RCPT says of its path.
    """

    keyword: str
    #: As nearly every client says it.
    plain: re.Pattern[str]
    #: What who says it otherwise is told: if the keyword is wrong, or what follows.
    syntax: Reply
    malformed: Reply


FROM = Clause("FROM", grammar.plain_clause("FROM"), syntax_error(MAIL_SYNTAX), replies.BAD_SENDER)
TO = Clause("TO", grammar.plain_clause("TO"), syntax_error(RCPT_SYNTAX), replies.BAD_RECIPIENT)


def path(context: Context, clause: Clause, argument: str, utf8: bool) -> tuple[str, str]:
    """
    Take an argument apart.

    :return: the address, and the parameters, not judged yet.
    :raise Rejected: if it is no path.
    """
    match = clause.plain.match(argument)
    if match is not None:
        address, rest = match.groups("")
        return address, rest
    keyword, _, text = argument.partition(":")
    # Many clients send a space, which is not allowed.
    text = text.removeprefix(" ")
    if keyword.upper() != clause.keyword or not text:
        raise Rejected(clause.syntax)
    try:
        return grammar.path(text, utf8=utf8, lenient=context.settings.lenient)
    except grammar.NotASCII:
        raise Rejected(replies.NEEDS_SMTPUTF8) from None
    except grammar.GrammarError:
        raise Rejected(clause.malformed) from None


def options(context: Context, text: str, utf8: bool, known: Mapping[str, Parameter]) -> Parameters:
    """
    Read the parameters.

    :param known: those that somebody knows, by keyword.
    :raise Rejected: if one is wrong, or comes twice, or is not known and that is not allowed.
    """
    try:
        words = grammar.words(text, utf8=utf8)
    except grammar.GrammarError:
        raise Rejected(replies.BAD_PARAMETER) from None
    if not context.session.extended_smtp:
        raise Rejected(replies.UNKNOWN_PARAMETER)
    policy = context.settings.unknown_parameters
    found = Parameters()
    found.values = values = {}
    seen = set()
    for word in words:
        keyword, value = grammar.keyword_value(word)
        if keyword in seen:
            raise Rejected(replies.TWICE_PARAMETER)
        seen.add(keyword)
        parameter = known.get(keyword)
        if parameter is not None:
            values[keyword] = _value(context, parameter, value)
        elif policy == "reject":
            raise Rejected(replies.UNKNOWN_PARAMETER)
        elif policy == "ignore":
            continue
        found.append(word)
    return found


def _value(context: Context, parameter: Parameter, text: str | None) -> Any:
    if not parameter.offered(context.session):
        # Whatever the policy for what nobody knows: who says REQUIRETLS in the clear is not to
        # believe that it is heeded (RFC 8689 section 2).
        raise Rejected(replies.UNKNOWN_PARAMETER)
    try:
        return parameter.parse(context.session, text)
    except ValueError:
        raise Rejected(replies.BAD_PARAMETER) from None


def asks_for_utf8(argument: str) -> bool:
    """
    Whether the path of MAIL may be non-ASCII, which is said behind it, by SMTPUTF8 (RFC 6531).
    """
    text = argument.partition(":")[2].removeprefix(" ")
    try:
        return ("SMTPUTF8", None) in grammar.parameters(grammar.split_path(text)[1], utf8=True)
    except grammar.GrammarError:
        return False
