"""
All mail goes to a smarthost.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.endpoints import TCP4ServerEndpoint

from txsmtpd import SMTPFactory
from txsmtpd.handlers.relay import Credentials, NextHop, Relay, Timeouts


def make_relay(password: str) -> Relay:
    hop = NextHop.secure(
        "mail.example.org", 587, starttls=True, credentials=Credentials("ann", password)
    )
    return Relay(hop, timeouts=Timeouts(connect=10), connections=20)


async def serve(reactor: Any, password: str) -> None:
    relay = make_relay(password)
    factory = SMTPFactory(relay, reactor=reactor)
    # SMTPService does this by itself.
    reactor.addSystemEventTrigger("before", "shutdown", relay.stop)
    await TCP4ServerEndpoint(reactor, 2525, interface="127.0.0.1").listen(factory)
