"""
How a program that serves mail beside other things stops serving it.
"""

from __future__ import annotations

from twisted.internet.defer import maybeDeferred
from twisted.internet.interfaces import IListeningPort

from txsmtpd import SMTPFactory


async def stop(port: IListeningPort, factory: SMTPFactory) -> None:
    await maybeDeferred(port.stopListening)
    await factory.drain()
