"""
Small messages, each over a connection of its own.
"""

from __future__ import annotations

from ..load import Step
from .base import Goal, Workload
from .kept import commands, content


class NewConnections(Workload):
    """
    As most mail comes in: one message to a connection, and every command waits for its reply.
    """

    name = "W1"
    title = "1 KiB, a new connection each, 20 at once"
    goals = (Goal("floor", 1.0), Goal("aiosmtpd", 0.25))
    octets = 1024
    opening = ()
    closing = ()

    def script(self, client: int, messages: int) -> list[Step]:
        steps = []
        for number in range(messages):
            mail, rcpt, data = commands(client, number)
            steps += [
                *Workload.opening,
                Step(mail, (b"250",)),
                Step(rcpt, (b"250",)),
                Step(data, (b"354",)),
                Step(content(self.octets) + b".\r\n", (b"250",)),
                *Workload.closing,
            ]
        return steps
