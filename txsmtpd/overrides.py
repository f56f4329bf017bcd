"""
What makes ``def smtp_PING(self, arg)`` on a subclass of ``SMTP`` a command.

The dialog itself never calls these methods: it calls the functions in its table.  For each method
that a subclass defines, the factory puts a function into that table which calls the method.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import attrs

from .core import replies
from .core.context import Context
from .core.eager import eagerly
from .core.hooks import is_later
from .core.outcomes import Outcome, Step, Verb
from .core.replies import Declined

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

    Each returns an awaitable of the outcome that the command has without the subclass, which
    raises :class:`~txsmtpd.core.replies.Rejected` where the command is wrong in itself.  A method
    that replaces one returns that outcome, at once or later, or a verdict like a hook's; but a
    positive verdict only where the command does nothing but to reply, as NOOP does.
    """

    dialog: Any
    factory: Any

    async def builtin(self, name: str, argument: str) -> Outcome:
        """
        Run a command of the core or an extension as if no subclass had replaced it.
        """
        step = self.factory.rules.builtin[name].run(self.dialog, argument)
        return step if isinstance(step, Outcome) else await step

    def smtp_EHLO(self, argument: str) -> Any:
        return self.builtin("EHLO", argument)

    def smtp_HELO(self, argument: str) -> Any:
        return self.builtin("HELO", argument)

    def smtp_LHLO(self, argument: str) -> Any:
        return self.builtin("LHLO", argument)

    def smtp_STARTTLS(self, argument: str) -> Any:
        return self.builtin("STARTTLS", argument)

    def smtp_AUTH(self, argument: str) -> Any:
        return self.builtin("AUTH", argument)

    def smtp_XCLIENT(self, argument: str) -> Any:
        return self.builtin("XCLIENT", argument)

    def smtp_XFORWARD(self, argument: str) -> Any:
        return self.builtin("XFORWARD", argument)

    def smtp_MAIL(self, argument: str) -> Any:
        return self.builtin("MAIL", argument)

    def smtp_RCPT(self, argument: str) -> Any:
        return self.builtin("RCPT", argument)

    def smtp_DATA(self, argument: str) -> Any:
        return self.builtin("DATA", argument)

    def smtp_BDAT(self, argument: str) -> Any:
        return self.builtin("BDAT", argument)

    def smtp_RSET(self, argument: str) -> Any:
        return self.builtin("RSET", argument)

    def smtp_NOOP(self, argument: str) -> Any:
        return self.builtin("NOOP", argument)

    def smtp_QUIT(self, argument: str) -> Any:
        return self.builtin("QUIT", argument)

    def smtp_VRFY(self, argument: str) -> Any:
        return self.builtin("VRFY", argument)

    def smtp_EXPN(self, argument: str) -> Any:
        return self.builtin("EXPN", argument)

    def smtp_HELP(self, argument: str) -> Any:
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
        if method is getattr(VerbMethods, attribute, None) or not callable(method):
            continue
        name = match[1].replace("__", "-")
        known = builtin.get(name)
        said = getattr(method, "syntax", known.syntax if known else name)
        run = _caller(attribute, acts=known is not None and known.acts)
        base = known or Verb(run, said, acts=False)
        found[name] = attrs.evolve(base, run=run, syntax=said)
    return found


def _caller(attribute: str, *, acts: bool) -> Callable[[Context, str], Step]:
    """
    A verb that calls a method.

    :param acts: whether the command does more than to reply, so that words alone will not do.
    """

    async def run(context: Context, argument: str) -> Outcome:
        answer = context.started(getattr(context.server, attribute)(argument))
        if is_later(answer):
            answer = await answer
        if isinstance(answer, Outcome):
            return answer
        reply = context.judge(answer, replies.OK)
        if not reply.positive:
            # So that it is refused as the verb wants to be: BDAT has a chunk to swallow.
            raise Declined(reply)
        if acts:
            raise ValueError(f"{attribute} returned {reply.code} and not what super() returned")
        return Outcome((reply,))

    return lambda context, argument: eagerly(run(context, argument))
