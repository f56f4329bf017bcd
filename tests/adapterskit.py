"""
What the tests of the adapters share.
"""

from __future__ import annotations

import asyncio
from base64 import b64encode
from collections.abc import Coroutine
from typing import Any

from txsmtpd.testing import Client, connect, make_factory


def b64(octets: bytes) -> str:
    return b64encode(octets).decode()


class Talk:
    """
    A client of a handler in memory, which has been greeted.
    """

    def __init__(
        self, handler: object, *more: object, protocol: Any = None, **settings: Any
    ) -> None:
        settings = {"auth_require_tls": False, **settings}
        factory = make_factory(handler, *more, **settings)
        self.client: Client = connect(factory.beside(protocol=protocol))
        self.client.take()

    @property
    def protocol(self) -> Any:
        return self.client.protocol

    def say(self, *lines: str) -> list[str]:
        """
        :return: the lines that were answered.
        """
        self.client.send(*(f"{line}\r\n".encode() for line in lines))
        return self.heard()

    def heard(self) -> list[str]:
        self.client.pump()
        return self.client.take().decode().split("\r\n")[:-1]

    def greet(self) -> list[str]:
        return self.say("EHLO client.example")

    def mail(self, *recipients: str, content: str = "Hello\r\n") -> list[str]:
        """
        Send a message; all but the last reply are passed over if they are positive.
        """
        lines = ["MAIL FROM:<ann@example.com>"]
        lines += [f"RCPT TO:<{each}>" for each in recipients or ("bob@example.org",)]
        heard = self.say(*lines, "DATA")
        heard += self.say(f"{content}.")
        return heard


def in_loop(coroutine: Coroutine[Any, Any, None]) -> None:
    """
    Run a test in an event loop of asyncio's, which stands for the reactor of that name.
    """
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(asyncio.wait_for(coroutine, 30))
    finally:
        loop.close()


async def settle(talk: Talk) -> list[str]:
    """
    Let every task go as far as it goes.

    :return: the lines that were heard.
    """
    for _ in range(10):
        await asyncio.sleep(0)
        talk.client.pump()
    return talk.heard()
