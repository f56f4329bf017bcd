"""
A server inside a reactor that runs already, beside whatever else runs there.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import endpoints, task
from twisted.internet.defer import Deferred

from examples.handler import Printer
from txsmtpd import SMTPFactory


async def main(reactor: Any, description: str = "tcp:2525:interface=127.0.0.1") -> None:
    factory = SMTPFactory(Printer(), hostname="mx.example.org", max_recipients=50)
    endpoint = endpoints.serverFromString(reactor, description)
    port = await endpoint.listen(factory)
    print(f"listening on {port.getHost()}")
    await Deferred()  # until the reactor stops


if __name__ == "__main__":
    task.react(lambda reactor: Deferred.fromCoroutine(main(reactor)))
