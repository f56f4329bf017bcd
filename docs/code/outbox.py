"""
A handler that honours two extensions: it keeps messages until they may go, and the most important
go first.
"""

from __future__ import annotations

import heapq
from typing import Any

from txsmtpd import Envelope, Session, hooks


@hooks
class Outbox:
    #: Offered because we say so (RFC 4865, RFC 6710).
    honours = ("FUTURERELEASE", "MT-PRIORITY")

    def __init__(self) -> None:
        self._waiting: list[tuple[float, int, int, Envelope]] = []
        self._count = 0

    def handle_MAIL(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str | None:
        if (envelope.priority or 0) > 0 and not session.authenticated:
            # Anybody could say that (RFC 6710 section 4.1).
            envelope.priority = 0
            return "250 2.3.6 0 is the new priority: log in to be important"
        return None

    def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        when = envelope.hold.until.timestamp() if envelope.hold else session.reactor.seconds()
        # A real one keeps them on a disk.
        self._count += 1
        waiting = (when, -(envelope.priority or 0), self._count, envelope)
        heapq.heappush(self._waiting, waiting)
        return f"250 2.0.0 {len(self._waiting)} waiting"

    def due(self, now: float) -> list[Envelope]:
        """
        Take those that may go, the most important first.
        """
        found = []
        while self._waiting and self._waiting[0][0] <= now:
            found.append(heapq.heappop(self._waiting))
        return [envelope for _, _, _, envelope in sorted(found, key=lambda each: each[1])]
