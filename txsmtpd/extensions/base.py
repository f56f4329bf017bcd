"""
What every service extension is made of.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timezone
from types import MappingProxyType
from typing import Any, TypeVar

from zope.interface import implementer

from ..core.outcomes import Verb
from ..core.replies import Reply
from ..core.session import Envelope, Parameters, Session
from ..core.settings import Settings
from ..core.states import Table
from ..interfaces import IExtension

F = TypeVar("F", bound=Callable[..., Any])


def _does_nothing(method: F) -> F:
    """
    Mark a role that is not played, so that no time is spent on asking.
    """
    method.does_nothing = True  # type: ignore[attr-defined]
    return method


def of_parameters(method: F) -> F:
    """
    Mark a `check_mail` or `check_rcpt` that has nothing to do where a command has no parameters, as
    most have none: it is not called for them.
    """
    method.of_parameters = True  # type: ignore[attr-defined]
    return method


@implementer(IExtension)
class Extension:
    """
    An extension that does nothing in every role; see
    :class:`~txsmtpd.interfaces.IExtension` for the roles.

    The factory makes one instance for each server.
    """

    #: The other extensions of the server.
    others: Sequence[IExtension] = ()
    # The same by each class that they are of.
    _by_kind: Mapping[type, Sequence[IExtension]] = MappingProxyType({})

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    def meet(self, others: Sequence[IExtension]) -> None:
        self.others = others
        self._by_kind = by_kind = defaultdict[type, list[IExtension]](list)
        for other in others:
            for kind in type(other).__mro__:
                by_kind[kind].append(other)

    def beside(self, kind: type[Extension], session: Session) -> bool:
        """
        Whether one of the others is of this kind and offered in a session.

        Only such are asked, so that it has an end: no two may wait for each other's keyword.
        """
        others = self._by_kind.get(kind, ())
        return any(other.keyword(session) is not None for other in others)

    def keyword(self, session: Session) -> str | None:
        return None

    def mail_parameters(self) -> Mapping[str, Any]:
        return {}

    def rcpt_parameters(self) -> Mapping[str, Any]:
        return {}

    def verbs(self) -> Mapping[str, Verb]:
        return {}

    def rows(self) -> Table:
        return {}

    @_does_nothing
    def gate(self, session: Session, verb: str) -> Reply | None:
        return None

    @_does_nothing
    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        pass

    @_does_nothing
    def check_rcpt(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        pass

    @_does_nothing
    def check_content(self, session: Session, envelope: Envelope, verb: str) -> None:
        pass


def utc_now(session: Session) -> datetime:
    """
    What time it is: no module of ours reads a clock, so the reactor of the session says it.
    """
    # Outside a connection nobody cares: the keywords are asked for to see that no two are the same.
    seconds = 0.0 if session.reactor is None else float(session.reactor.seconds())
    return datetime.fromtimestamp(seconds, timezone.utc)


def flag(session: Session, value: str | None) -> bool:
    """
    Read a parameter that takes no value.

    :raise ValueError: if it has one.
    """
    if value is not None:
        raise ValueError("takes no value")
    return True
