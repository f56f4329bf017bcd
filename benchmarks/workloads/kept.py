"""
Small messages over sessions that are kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from ..load import Step
from .base import Goal, Workload

_HEADER = (
    b"From: <sender@client.example>\r\n"
    b"To: <recipient@server.example>\r\n"
    b"Subject: a small message\r\n"
    b"Message-ID: <1@client.example>\r\n"
    b"\r\n"
)


def content(octets: int, width: int = 76) -> bytes:
    """
    A message without dots: a header, and a body of equal lines, the last cut to fit.

    :param width: characters in a line, without its CRLF.
    """
    line = b"x" * width + b"\r\n"
    room = octets - len(_HEADER) - len(b"\r\n")
    body = (line * (room // len(line) + 1))[:room].rstrip(b"\r\n")
    return _HEADER + body.ljust(room, b"x") + b"\r\n"


def end(octets: int) -> Step:
    """
    The content of a message, in one piece.
    """
    return Step(content(octets) + b".\r\n", (b"250",))


def commands(client: int, number: int) -> tuple[bytes, bytes, bytes]:
    """
    What comes before the content of a message: no two have the same addresses.
    """
    return (
        b"MAIL FROM:<sender.%d.%d@client.example>\r\n" % (client, number),
        b"RCPT TO:<recipient.%d.%d@server.example>\r\n" % (client, number),
        b"DATA\r\n",
    )


def lock_step(client: int, number: int, last: Step) -> list[Step]:
    """
    One message, whose commands each wait for the reply to the one before.

    :param last: its content.
    """
    mail, rcpt, data = commands(client, number)
    return [Step(mail, (b"250",)), Step(rcpt, (b"250",)), Step(data, (b"354",)), last]


class LockStep(Workload):
    """
    Every command waits for the reply to the one before.
    """

    name = "W2"
    title = "1 KiB, session kept, lock-step, 20 at once"
    goals = (Goal("aiosmtpd", 0.15), Goal("floor", 0.9))
    octets = 1024

    def script(self, client: int, messages: int) -> list[Step]:
        last = end(self.octets)
        return [step for number in range(messages) for step in lock_step(client, number, last)]


def pipelined(groups: Sequence[Sequence[bytes]], last: Step) -> list[Step]:
    """
    Messages whose commands leave together, with the content of the one before (RFC 2920).

    :param groups: the commands of each, which end with DATA.
    :param last: the content of each.
    """
    codes = (b"250",) * (len(groups[0]) - 1) + (b"354",)
    first, *others = [b"".join(group) for group in groups]
    between = [Step(last.send + group, last.codes + codes) for group in others]
    return [Step(first, codes), *between, last]


class Pipelined(Workload):
    """
    The commands of a message leave with the content of the one before.
    """

    name = "W3"
    title = "1 KiB, session kept, pipelined groups, 20 at once"
    goals: ClassVar[tuple[Goal, ...]] = (Goal("aiosmtpd", 0.1), Goal("floor", 1.0))
    octets = 1024

    def script(self, client: int, messages: int) -> list[Step]:
        groups = [commands(client, number) for number in range(messages)]
        return pipelined(groups, end(self.octets))
