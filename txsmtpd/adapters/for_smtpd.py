"""
``process_message``, as it was written for the ``smtpd`` module and, older than its hooks, for
aiosmtpd.

The two differ in what they pass.  smtpd ends lines with LF, leaves out the last line end and has
keyword arguments; aiosmtpd passes the content as it came, and nothing else.  A method that takes
keyword arguments is one for smtpd.
"""

from __future__ import annotations

import inspect
from typing import Any

from zope.interface import implementer

from ..core.session import Envelope, Session
from ..interfaces import IDATAHook
from .statuses import as_delivery_verdict
from .waiting import then

_OPTIONS = ("mail_options", "rcpt_options")


@implementer(IDATAHook)
class ProcessMessage:
    """
    Calls ``process_message`` for each message.
    """

    def __init__(self, handler: Any) -> None:
        self.handler = handler
        self._keywords = _keywords(handler.process_message)

    def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> Any:
        keywords = {name: _upper(getattr(envelope, name)) for name in self._keywords}
        answer = self.handler.process_message(
            session.peer, envelope.mail_from, envelope.rcpt_tos, self._content(envelope), **keywords
        )
        # There, an empty string is as good as None.
        return then(
            answer,
            lambda status: as_delivery_verdict(status, session, envelope) if status else None,
        )

    def _content(self, envelope: Envelope) -> Any:
        content = envelope.content
        if not self._keywords:
            return content
        if isinstance(content, str):
            return content.replace("\r\n", "\n").removesuffix("\n")
        return (content or b"").replace(b"\r\n", b"\n").removesuffix(b"\n")


def _keywords(method: Any) -> tuple[str, ...]:
    """
    Those of the keyword arguments that a method takes.
    """
    parameters = inspect.signature(method).parameters
    if any(each.kind is each.VAR_KEYWORD for each in parameters.values()):
        return _OPTIONS
    return tuple(name for name in _OPTIONS if name in parameters)


def _upper(options: list[str]) -> list[str]:
    return [word.upper() for word in options]
