"""
Small messages over sessions that are kept.
"""

from __future__ import annotations

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


def commands(client: int, number: int) -> tuple[bytes, bytes, bytes]:
    """
    What comes before the content of a message: no two have the same addresses.
    """
    return (
        b"MAIL FROM:<sender.%d.%d@client.example>\r\n" % (client, number),
        b"RCPT TO:<recipient.%d.%d@server.example>\r\n" % (client, number),
        b"DATA\r\n",
    )


class LockStep(Workload):
    """
    Every command waits for the reply to the one before.
    """

    name = "W2"
    title = "1 KiB, session kept, lock-step, 20 at once"
    goals = (Goal("floor", 2.5), Goal("aiosmtpd", 0.35))
    octets = 1024

    def script(self, client: int, messages: int) -> list[Step]:
        end = Step(content(self.octets) + b".\r\n", (b"250",))
        steps = []
        for number in range(messages):
            mail, rcpt, data = commands(client, number)
            steps += [Step(mail, (b"250",)), Step(rcpt, (b"250",)), Step(data, (b"354",)), end]
        return steps


class Pipelined(Workload):
    """
    The commands of a message leave together, with the content of the one before (RFC 2920).
    """

    name = "W3"
    title = "1 KiB, session kept, pipelined groups, 20 at once"
    goals = (Goal("floor", 2.5), Goal("aiosmtpd", 0.35))
    octets = 1024

    def script(self, client: int, messages: int) -> list[Step]:
        end = content(self.octets) + b".\r\n"
        groups = [b"".join(commands(client, number)) for number in range(messages)]
        first = Step(groups[0], (b"250", b"250", b"354"))
        others = [Step(end + group, (b"250", b"250", b"250", b"354")) for group in groups[1:]]
        return [first, *others, Step(end, (b"250",))]
