"""
Three ways to write the same hook: with a value, with a Deferred, as a coroutine.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from txsmtpd import Envelope, Session, hooks
from txsmtpd.interfaces import Verdict

KNOWN = {"ann@example.org", "bob@example.org"}


def lookup(reactor: Any, address: str) -> Deferred[bool]:
    """
    Stands for a question to a database.
    """
    return deferLater(reactor, 0.1, KNOWN.__contains__, address)


@hooks
class AtOnce:
    def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> Verdict:
        return None if address in KNOWN else "550 5.1.1 No such user"


@hooks
class WithDeferred:
    def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> Deferred[Verdict]:
        def found(known: bool) -> Verdict:
            return None if known else "550 5.1.1 No such user"

        return lookup(session.reactor, address).addCallback(found)


@hooks
class AsCoroutine:
    async def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> Verdict:
        known = await lookup(session.reactor, address)
        return None if known else "550 5.1.1 No such user"
