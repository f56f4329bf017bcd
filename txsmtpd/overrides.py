"""
What makes ``def smtp_PING(self, arg)`` on a subclass of ``SMTP`` a command.

The dialog itself never calls these methods: it calls the functions in its table.  For each method
that a subclass defines, the factory puts a function into that table which calls the method.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeVar

import attrs

from .core import replies
from .core.context import Context
from .core.hooks import is_later
from .core.outcomes import Outcome, Step, Verb
from .interfaces import Answer

M = TypeVar("M", bound=Callable[..., Any])

_METHOD = re.compile("smtp_([A-Z0-9_]+)")


def syntax(text: str) -> Callable[[M], M]:
    """
    Say how a command is written, for HELP: a decorator for ``smtp_`` methods.

    :param text: such as ``"PING [text]"``.
    """

    def decorate(method: M) -> M:
        method.syntax = text  # type: ignore[attr-defined]
        return method

    return decorate


class VerbMethods:
    """
    The commands as methods, for subclasses to extend with ``await super().smtp_NOOP(argument)``.

    Each returns the outcome of the command as it is without the subclass.  It raises
    :class:`~txsmtpd.core.replies.Rejected` where the command is wrong in itself.
    """

    dialog: Any
    factory: Any

    async def builtin(self, name: str, argument: str) -> Outcome:
        """
        Run a command of the core or an extension as if no subclass had replaced it.
        """
        step = self.factory.rules.builtin[name].run(self.dialog, argument)
        return step if isinstance(step, Outcome) else await step

    def smtp_EHLO(self, argument: str) -> Awaitable[Outcome]:
        return self.builtin("EHLO", argument)

    def smtp_HELO(self, argument: str) -> Awaitable[Outcome]:
        return self.builtin("HELO", argument)

    def smtp_MAIL(self, argument: str) -> Awaitable[Outcome]:
        return self.builtin("MAIL", argument)

    def smtp_RCPT(self, argument: str) -> Awaitable[Outcome]:
        return self.builtin("RCPT", argument)

    def smtp_DATA(self, argument: str) -> Awaitable[Outcome]:
        return self.builtin("DATA", argument)

    def smtp_BDAT(self, argument: str) -> Awaitable[Outcome]:
        return self.builtin("BDAT", argument)

    def smtp_RSET(self, argument: str) -> Awaitable[Outcome]:
        return self.builtin("RSET", argument)

    def smtp_NOOP(self, argument: str) -> Awaitable[Outcome]:
        return self.builtin("NOOP", argument)

    def smtp_QUIT(self, argument: str) -> Awaitable[Outcome]:
        return self.builtin("QUIT", argument)

    def smtp_VRFY(self, argument: str) -> Awaitable[Outcome]:
        return self.builtin("VRFY", argument)

    def smtp_EXPN(self, argument: str) -> Awaitable[Outcome]:
        return self.builtin("EXPN", argument)

    def smtp_HELP(self, argument: str) -> Awaitable[Outcome]:
        return self.builtin("HELP", argument)


def verbs_of(protocol: type, builtin: Mapping[str, Verb]) -> dict[str, Verb]:
    """
    The commands that a subclass of ``SMTP`` defines, by name; ``__`` in a method is ``-``.

    :param builtin: those of the core and the extensions: one that is replaced keeps its place in
        the table of states, its limits, and what happens when it is refused.
    """
    found = {}
    for match in filter(None, map(_METHOD.fullmatch, dir(protocol))):
        attribute = match[0]
        method = getattr(protocol, attribute)
        if method is getattr(VerbMethods, attribute, None):
            continue
        name = match[1].replace("__", "-")
        known = builtin.get(name)
        said = getattr(method, "syntax", known.syntax if known else name)
        base = known or Verb(_caller(attribute), said)
        found[name] = attrs.evolve(base, run=_caller(attribute), syntax=said)
    return found


def _caller(attribute: str) -> Callable[[Context, str], Step]:
    def run(context: Context, argument: str) -> Step:
        answer = getattr(context.server, attribute)(argument)
        if is_later(answer):
            answer = context.runner.start(answer)
            if is_later(answer):
                return _outcome_later(context, answer)
        return _outcome(context, answer)

    return run


async def _outcome_later(context: Context, answer: Awaitable[Answer | Outcome]) -> Outcome:
    return _outcome(context, await answer)


def _outcome(context: Context, answer: Any) -> Outcome:
    """
    What the method returned: an outcome of `builtin`, or a verdict like a hook's.
    """
    if isinstance(answer, Outcome):
        return answer
    return Outcome((context.judge(answer, replies.OK),))
