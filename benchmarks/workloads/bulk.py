"""
Large messages, where only their content counts.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import ClassVar

from ..child import Mark
from ..load import Step
from .base import Goal, Measure, Sample, Workload
from .kept import commands, content

MIB = 2**20
#: Octets in a message.
LARGE = 10 * MIB


def _rate(sample: Sample) -> float:
    return sample.octets / MIB / sample.cpu


#: By the server's CPU time, which is what bounds it: the clock also counts the load generator.
RATE = Measure("MiB per second of CPU", "{:.0f}", _rate)


def stuffed(body: bytes) -> bytes:
    """
    Content as DATA sends it (RFC 5321 section 4.5.2).
    """
    return (b"\r\n" + body).replace(b"\r\n.", b"\r\n..")[2:]


class Bulk(Workload):
    """
    10 MiB of lines of 76 characters.
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
    share = 0.004
    warm_up = 1

    @classmethod
    def content(cls) -> bytes:
        return content(cls.octets)

    def script(self, client: int, messages: int) -> list[Step]:
        end = Step(stuffed(self.content()) + b".\r\n", (b"250",))
        steps = []
        for number in range(messages):
            group = b"".join(commands(client, number))
            steps += [Step(group, (b"250", b"250", b"354")), end]
        return steps


class Stuffed(Bulk):
    """
    Every line begins with a dot.
    """

    name = "W4b"
    title = "10 MiB, every line begins with a dot, 4 at once"

    @classmethod
    def content(cls) -> bytes:
        return Bulk.content().replace(b"\r\nx", b"\r\n.")


class ShortLines(Bulk):
    """
    Lines of 10 characters.
    """

    name = "W4c"
    title = "10 MiB of lines of 10 characters, 4 at once"
    goals = (Goal("aiosmtpd", 100, at_least=True), Goal("floor", 1 / 1.4, at_least=True))

    @classmethod
    def content(cls) -> bytes:
        return content(cls.octets, 10)


class Chunked(Bulk):
    """
    The same by BDAT, in chunks of 1 MiB.
    """

    name = "W9"
    title = "10 MiB by BDAT, 4 at once"
    goals = ()
    servers = ("txsmtpd",)

    def script(self, client: int, messages: int) -> list[Step]:
        body = self.content()
        chunks = [body[at : at + MIB] for at in range(0, len(body), MIB)]
        commands_of = [
            b"BDAT %d%s\r\n" % (len(chunk), b" LAST" if chunk is chunks[-1] else b"")
            for chunk in chunks
        ]
        whole = b"".join(c for pair in zip(commands_of, chunks, strict=True) for c in pair)
        end = Step(whole, (b"250",) * len(chunks))
        steps = []
        for number in range(messages):
            mail, rcpt, _ = commands(client, number)
            steps += [Step(mail + rcpt, (b"250", b"250")), end]
        return steps

    def sent(self, scripts: Iterable[Iterable[Step]]) -> int:
        return sum(step.send.startswith(b"BDAT") for script in scripts for step in script)

    def check(self, spent: Mark, scripts: Iterable[Iterable[Step]]) -> None:
        self.check_count(spent, self.sent(scripts))
