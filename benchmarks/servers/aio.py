"""
aiosmtpd, as it comes, with a handler that counts.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable

from aiosmtpd.lmtp import LMTP
from aiosmtpd.smtp import SMTP, Envelope, Session

from . import Setup, Tally

_ACCEPTED = "250 2.0.0 Message accepted"


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
        return _ACCEPTED


class CountingMailbox(CountingSink):
    """
    The same for LMTP, where a handler has to say the replies to all recipients.
    """

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        await super().handle_DATA(server, session, envelope)
        return "\r\n".join([_ACCEPTED] * len(envelope.rcpt_tos))


def make_context(certificate: str | None) -> ssl.SSLContext | None:
    """
    :param certificate: a file in PEM, with the key.
    """
    if certificate is None:
        return None
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)
    return context


async def listen(setup: Setup, tally: Tally, ready: Callable[[int], None]) -> None:
    """
    Serve, on whichever loop is running.
    """
    loop = asyncio.get_running_loop()
    handler = CountingMailbox(tally) if setup.lmtp else CountingSink(tally)
    kind = LMTP if setup.lmtp else SMTP
    context = make_context(setup.certificate)

    def connected() -> SMTP:
        return kind(
            handler,
            hostname="aiosmtpd.example",
            enable_SMTPUTF8=True,
            tls_context=context,
            loop=loop,
        )

    server = await loop.create_server(connected, "127.0.0.1", 0)
    ready(server.sockets[0].getsockname()[1])
    await server.serve_forever()


def serve(setup: Setup, tally: Tally, ready: Callable[[int], None]) -> None:
    asyncio.run(listen(setup, tally, ready))
