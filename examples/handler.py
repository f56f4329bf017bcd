"""
A handler: takes mail for one domain and prints who sent what.

Run it with ``twistd -n smtpd --handler examples.handler.Printer`` where it can be imported.
"""

from __future__ import annotations

from typing import Any

from txsmtpd import Envelope, Rejected, Session, hooks


@hooks
class Printer:
    def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> None:
        if not address.endswith("@example.org"):
            raise Rejected("550 5.7.1 We do not take mail for that domain")

    async def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> str:
        # A Deferred could be awaited here; the client waits, and nobody else does.
        print(f"{envelope.mail_from} -> {envelope.rcpt_tos}: {len(envelope.content or '')} octets")
        return "250 Thank you"
