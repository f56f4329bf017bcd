"""
aiosmtpd, as it comes, with a handler that counts.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from aiosmtpd.smtp import SMTP, Envelope, Session

from . import Tally


class CountingSink:
    """
    Like ``aiosmtpd.handlers.Sink``.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        assert isinstance(envelope.content, bytes)
        self._tally.octets += len(envelope.content)
        self._tally.messages += 1
        return "250 2.0.0 Message accepted"


def serve(tally: Tally, ready: Callable[[int], None]) -> None:
    asyncio.run(_serve(tally, ready))


async def _serve(tally: Tally, ready: Callable[[int], None]) -> None:
    loop = asyncio.get_running_loop()
    handler = CountingSink(tally)

    def connected() -> SMTP:
        return SMTP(handler, hostname="aiosmtpd.example", enable_SMTPUTF8=True, loop=loop)

    server = await loop.create_server(connected, "127.0.0.1", 0)
    ready(server.sockets[0].getsockname()[1])
    await server.serve_forever()
