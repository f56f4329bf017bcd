"""
A handler that was written for aiosmtpd, and a factory that serves it as it is.
"""

from __future__ import annotations

from typing import Any

from txsmtpd import SMTPFactory, adapters


class OnlyOurs:
    """
    As it stands in many programs: nothing in it knows of txsmtpd.
    """

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, rcpt_options: list[str]
    ) -> str:
        if not address.endswith("@example.org"):
            return "550 not relaying to that domain"
        envelope.rcpt_tos.append(address)
        return "250 OK"


def make_factory(**settings: Any) -> SMTPFactory:
    return SMTPFactory(adapters.aiosmtpd(OnlyOurs()), **settings)
