"""
Messages for several recipients.
"""

from __future__ import annotations

from ..load import Step
from .base import Goal, Workload
from .kept import end, pipelined


def group(client: int, number: int, recipients: int) -> list[bytes]:
    """
    What comes before the content of a message: no two recipients are the same.
    """
    return [
        b"MAIL FROM:<sender.%d.%d@client.example>\r\n" % (client, number),
        *(
            b"RCPT TO:<recipient.%d.%d.%d@server.example>\r\n" % (client, number, each)
            for each in range(recipients)
        ),
        b"DATA\r\n",
    ]


class ManyRecipients(Workload):
    """
    The commands of a message leave together, and its content when they were answered.
    """

    name = "W5"
    title = "1 KiB to 100 recipients, pipelined, 20 at once"
    goals = (Goal("aiosmtpd", 0.04), Goal("floor", 3.0))
    octets = 1024
    share = 0.2
    slow_share = 0.04
    warm_up = 1
    recipients = 100

    def script(self, client: int, messages: int) -> list[Step]:
        codes = (b"250",) * (1 + self.recipients) + (b"354",)
        last = end(self.octets)
        steps = []
        for number in range(messages):
            commands = b"".join(group(client, number, self.recipients))
            steps += [Step(commands, codes), last]
        return steps


class LocalDelivery(Workload):
    """
    LMTP (RFC 2033): as many replies to a message as it has recipients.
    """

    name = "W8"
    title = "1 KiB by LMTP to 5 recipients, pipelined groups, 20 at once"
    goals = (Goal("floor", 2.2),)
    octets = 1024
    slow_share = 0.2
    lmtp = True
    recipients = 5
    opening = (
        Step(b"", (b"220",), connect=True),
        Step(b"LHLO client.example\r\n", (b"250",)),
    )

    def script(self, client: int, messages: int) -> list[Step]:
        groups = [group(client, number, self.recipients) for number in range(messages)]
        last = Step(end(self.octets).send, (b"250",) * self.recipients)
        return pipelined(groups, last)
