"""
A mechanism of one's own: ANONYMOUS (RFC 4505), for a server that takes mail from visitors.

Run it with ``twistd -n smtpd --handler docs.code.mechanism.Visitors --auth-without-tls`` where it
can be imported.
"""

from __future__ import annotations

from typing import Any

from txsmtpd import Envelope, Session, SMTPFactory, hooks
from txsmtpd.interfaces import Verdict
from txsmtpd.sasl import MECHANISMS, Challenge, Circumstances, Exchange, Malformed, Mechanism


def anonymous(circumstances: Circumstances, initial: bytes | None) -> Exchange:
    # If the client did not speak at once, it is told to with an empty challenge.
    trace = (yield Challenge(b"")) if initial is None else initial
    if len(trace) > 255:
        raise Malformed("a trace of more than 255 octets")
    # Whatever it returns is ``session.auth_data``.
    return "a visitor"


ANONYMOUS = Mechanism("ANONYMOUS", anonymous, credentials=None)


def make_factory(handler: object, **settings: Any) -> SMTPFactory:
    """
    One way to have it: it stands beside those that there are.
    """
    return SMTPFactory(handler, mechanisms=(*MECHANISMS, ANONYMOUS), **settings)


@hooks
class Visitors:
    """
    The other way: a handler brings it along.
    """

    def auth_ANONYMOUS(self, circumstances: Circumstances, initial: bytes | None) -> Exchange:
        return anonymous(circumstances, initial)

    def handle_MAIL(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> Verdict:
        if session.authenticated:
            return f"250 2.1.0 Welcome, {session.auth_data}"
        return "530 5.7.0 Log in as ANONYMOUS first"
