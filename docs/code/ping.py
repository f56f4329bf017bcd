"""
A command of one's own, and a builtin one that does more.

Run it with ``python -m docs.code.ping``.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import endpoints, task
from twisted.internet.defer import Deferred

from txsmtpd import SMTP, SMTPFactory, syntax
from txsmtpd.core.outcomes import Outcome
from txsmtpd.handlers import Sink


class PingSMTP(SMTP):
    @syntax("PING [text]")
    def smtp_PING(self, argument: str) -> str:
        return f"250 2.0.0 PONG {argument}"

    async def smtp_NOOP(self, argument: str) -> Outcome:
        self.session.notes["noops"] = self.session.notes.get("noops", 0) + 1
        outcome: Outcome = await super().smtp_NOOP(argument)
        return outcome


class PingFactory(SMTPFactory):
    protocol = PingSMTP


async def main(reactor: Any) -> None:
    endpoint = endpoints.serverFromString(reactor, "tcp:2525:interface=127.0.0.1")
    await endpoint.listen(PingFactory(Sink()))
    await Deferred()  # until the reactor stops


if __name__ == "__main__":
    task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
