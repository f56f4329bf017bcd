"""
A handler that has a verdict of its own on some recipients: ``tests.interop.verdicts.Some``.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import deferLater

from txsmtpd import Envelope, Recipient, Session, hooks

#: By local part.
VERDICTS = {
    "nobody": "550 5.1.1 No such user",
    "full": "452 4.2.2 Mailbox full",
    "slow": "250 2.1.5 Not before its time",
}


@hooks
class Some:
    """
    The verdicts come later, the first one last.
    """

    def handle_DATA(
        self, server: Any, session: Session, envelope: Envelope
    ) -> dict[Recipient, Any]:
        verdicts: dict[Recipient, Any] = {}
        for number, recipient in enumerate(reversed(envelope.recipients)):
            local, _, _ = recipient.address.partition("@")
            verdict = VERDICTS.get(local)
            verdicts[recipient] = deferLater(session.reactor, number / 100, lambda v=verdict: v)
        return verdicts
