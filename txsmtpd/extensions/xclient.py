"""
XCLIENT: from here on this connection speaks for another client (Postfix's XCLIENT_README).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, ClassVar

from ..core.context import Context
from ..core.outcomes import Outcome, Restart
from ..core.session import Session
from ..core.states import READY, START, State
from .behalf import (
    UNAVAILABLE,
    OnBehalf,
    Reader,
    address,
    harmless,
    host_name,
    one_of,
    optional,
    port,
)

_TEMPORARY = "[TEMPUNAVAIL]"
#: What stays when the next XCLIENT does not say it again.
_LASTING = frozenset(("NAME", "ADDR", "PORT", "DESTADDR", "DESTPORT"))


class XClient(OnBehalf):
    """
    Takes XCLIENT of trusted proxies.

    Who the client is stays until another XCLIENT says otherwise.  What it is said to have told,
    which are its name in EHLO and who has logged in, is only for the session that now begins, as
    if it had told that itself: STARTTLS or a later XCLIENT forgets it.
    """

    name = "XCLIENT"
    readers: ClassVar[Mapping[str, Reader]] = {
        "NAME": optional(host_name, _TEMPORARY),
        "ADDR": optional(address),
        "PROTO": one_of("SMTP", "ESMTP"),
        "HELO": optional(harmless),
        "PORT": optional(port),
        "LOGIN": optional(str),
        "DESTADDR": optional(address),
        "DESTPORT": optional(port),
    }
    follows: ClassVar[Mapping[State, State]] = {START: START, READY: START}
    forgets = True

    def said(self, context: Context, attributes: dict[str, str]) -> Outcome:
        # The greeting answers it.
        restart = Restart(partial(_introduce, attributes), partial(_recall, attributes))
        return Outcome((), restart)


def _introduce(attributes: dict[str, str], session: Session) -> None:
    """
    Note who the client is.
    """
    lasting = {name: each for name, each in session.xclient.items() if name in _LASTING}
    said = session.xclient = {**lasting, **attributes}
    name = said.get("NAME")
    session.client_name = None if name in (None, UNAVAILABLE, _TEMPORARY) else name
    session.peer = _end(session.peer, said.get("ADDR"), said.get("PORT"))
    session.local = _end(session.local, said.get("DESTADDR"), said.get("DESTPORT"))


def _end(known: Any, host: str | None, number: str | None) -> Any:
    """
    One end of the connection, as sockets have it.

    :param known: what it was so far.
    """
    if host == UNAVAILABLE:
        return None
    if host is None:
        if number is None or not isinstance(known, tuple):
            return known
        host = known[0]
    # The port that is known is one of the proxy's.
    end = host, 0 if number in (None, UNAVAILABLE) else int(number or 0)
    return (*end, 0, 0) if ":" in host else end


def _recall(attributes: dict[str, str], session: Session) -> None:
    """
    Note what the client has told.
    """
    helo, login = attributes.get("HELO"), attributes.get("LOGIN")
    session.host_name = None if helo == UNAVAILABLE else helo
    session.extended_smtp = attributes.get("PROTO") == "ESMTP"
    if login is not None and login != UNAVAILABLE:
        session.authenticated = True
        session.auth_data = session.login_data = login.encode()
