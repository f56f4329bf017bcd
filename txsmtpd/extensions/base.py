"""
What every service extension is made of.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
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


@implementer(IExtension)
class Extension:
    """
    An extension that does nothing in every role; see
    :class:`~txsmtpd.interfaces.IExtension` for the roles.

    The factory makes one instance for each server.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

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


def flag(session: Session, value: str | None) -> bool:
    """
    Read a parameter that takes no value.

    :raise ValueError: if it has one.
    """
    if value is not None:
        raise ValueError("takes no value")
    return True
