"""
Messages for many recipients.
"""

from __future__ import annotations

from ..load import Step
from .base import Goal, Workload
from .kept import content

#: Recipients of one message.
RECIPIENTS = 100


class ManyRecipients(Workload):
    """
    The commands of a message leave together.
    """

    name = "W5"
    title = "100 recipients, pipelined, 20 at once"
    goals = (Goal("floor", 3.0), Goal("aiosmtpd", 0.04))
    octets = 1024
    share = 0.2

    def script(self, client: int, messages: int) -> list[Step]:
        end = Step(content(self.octets) + b".\r\n", (b"250",))
        codes = (b"250",) * (1 + RECIPIENTS) + (b"354",)
        steps = []
        for number in range(messages):
            group = [b"MAIL FROM:<sender.%d.%d@client.example>\r\n" % (client, number)]
            group += [
                b"RCPT TO:<recipient.%d.%d.%d@server.example>\r\n" % (client, number, each)
                for each in range(RECIPIENTS)
            ]
            steps += [Step(b"".join(group) + b"DATA\r\n", codes), end]
        return steps
