"""
What a handler learns of proxies: whose clients it takes, and what they say about them.
"""

from __future__ import annotations

from typing import Any

from txsmtpd import Envelope, Reply, Session, hooks
from txsmtpd.proxy import ProxyData

NO_NAME = Reply(450, "4.7.25", ("Your address has no name, try again later",))


@hooks
class Behind:
    """
    Takes clients of one proxy only, and mail of clients that have a name.
    """

    def __init__(self, proxy: str) -> None:
        self.proxy = proxy

    def handle_PROXY(
        self, server: Any, session: Session, envelope: Envelope, proxy_data: ProxyData
    ) -> bool:
        # For whom it speaks is session.peer, and who it is session.via.
        return proxy_data.own or session.via[0] == self.proxy

    def handle_MAIL(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> Reply | None:
        # The proxy that says XCLIENT has looked for the name.
        return NO_NAME if session.xclient.get("NAME") == "[TEMPUNAVAIL]" else None

    def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> None:
        # With a content filter in between, who has sent the message first.
        print(envelope.forwarded.get("ADDR", session.peer[0]))
