"""
Large messages, where only their content counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from ..load import Step
from ..servers import OURS
from .base import SECURE_OPENING, Goal, Measure, Sample, Workload
from .kept import LockStep, commands, content, lock_step

MIB = 2**20
#: Octets in a message.
LARGE = 10 * MIB


def _rate(sample: Sample) -> float:
    return sample.octets / MIB / sample.cpu


#: By the server's CPU time, which is what bounds it: the clock also counts the load generator.
RATE = Measure("MiB per second of CPU", "{:.0f} MiB/s", _rate)


def stuffed(body: bytes) -> bytes:
    """
    Content as DATA sends it (RFC 5321 section 4.5.2).
    """
    return (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:]


class Bulk(Workload):
    """
    Lines of 76 characters, as base64 has them.
    """

    name = "W4"
    title = "10 MiB of lines of 76 characters, 4 at once"
    clients = 4
    measure = RATE
    goals: ClassVar[tuple[Goal, ...]] = (
        Goal("aiosmtpd", 20, at_least=True),
        Goal("floor", 1 / 1.4, at_least=True),
    )
    octets = LARGE
    share = 0.016
    slow_share = 0.001

    def content(self) -> bytes:
        return content(self.octets)

    def script(self, client: int, messages: int) -> list[Step]:
        last = Step(stuffed(self.content()) + b".\r\n", (b"250",))
        return [step for number in range(messages) for step in lock_step(client, number, last)]

    def warming(self) -> list[list[Step]]:
        """
        Small messages: where it takes long, large ones take too long.
        """
        return [LockStep().script(client, self.warm_up) for client in range(self.clients)]


class Stuffed(Bulk):
    """
    Every line begins with a dot.
    """

    name = "W4b"
    title = "10 MiB of lines that begin with a dot, 4 at once"

    def content(self) -> bytes:
        return super().content().replace(b"\r\nx", b"\r\n.")

    def counted(self, server: str) -> int:
        # The floor does not look.
        return len(stuffed(self.content())) if server == "floor" else self.octets


class ShortLines(Bulk):
    """
    Lines of 10 characters.
    """

    name = "W4c"
    title = "10 MiB of lines of 10 characters, 4 at once"
    goals = (Goal("aiosmtpd", 100, at_least=True), Goal("floor", 1 / 1.4, at_least=True))

    def content(self) -> bytes:
        return content(self.octets, 10)


class Encrypted(Bulk):
    """
    The same through TLS.
    """

    name = "W6b"
    title = "10 MiB over TLS, 4 at once"
    goals = (Goal("aiosmtpd", 12, at_least=True),)
    tls = True
    opening = SECURE_OPENING


class Chunked(Bulk):
    """
    By BDAT, in chunks of 1 MiB that leave together.
    """

    name = "W9"
    title = "10 MiB by BDAT, 4 at once"
    goals = (Goal(OURS, 1.3, at_least=True, workload=Bulk.name),)
    servers = (OURS,)

    def script(self, client: int, messages: int) -> list[Step]:
        body = self.content()
        chunks = [body[at : at + MIB] for at in range(0, len(body), MIB)]
        lines = [b"BDAT %d\r\n" % len(chunk) for chunk in chunks]
        lines[-1] = b"BDAT %d LAST\r\n" % len(chunks[-1])
        together = b"".join(part for pair in zip(lines, chunks, strict=True) for part in pair)
        last = Step(together, (b"250",) * len(chunks))
        steps = []
        for number in range(messages):
            mail, rcpt, _ = commands(client, number)
            steps += [Step(mail + rcpt, (b"250", b"250")), last]
        return steps

    def sent(self, scripts: Iterable[Iterable[Step]]) -> int:
        return sum(step.send.startswith(b"BDAT") for script in scripts for step in script)
