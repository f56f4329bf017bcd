"""
Small messages, each over a connection of its own.
"""

from __future__ import annotations

from typing import ClassVar

from ..load import Step
from .base import CLOSING, OPENING, SECURE_OPENING, Goal, Workload
from .kept import end, lock_step


class NewConnections(Workload):
    """
    As most mail comes in: one message to a connection, and every command waits for its reply.
    """

    name = "W1"
    title = "1 KiB, a new connection each, 20 at once"
    goals: ClassVar[tuple[Goal, ...]] = (Goal("aiosmtpd", 0.25), Goal("floor", 1.0))
    octets = 1024
    opening = ()
    closing = ()
    #: What each connection begins with.
    greetings: ClassVar[tuple[Step, ...]] = OPENING

    def script(self, client: int, messages: int) -> list[Step]:
        last = end(self.octets)
        steps: list[Step] = []
        for number in range(messages):
            steps += [*self.greetings, *lock_step(client, number, last), *CLOSING]
        return steps


class SecureConnections(NewConnections):
    """
    The same behind STARTTLS, with a full handshake each time.
    """

    name = "W6"
    title = "1 KiB, a new connection with STARTTLS each, 20 at once"
    goals = (Goal("floor", 1.2),)
    tls = True
    share = 0.4
    greetings = SECURE_OPENING
