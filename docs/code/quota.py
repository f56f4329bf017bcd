"""
LMTP on a unix socket: a mailbox that is full refuses a message, and the others get it.

Run it where it can be imported with ``--lmtp unix:/run/mail/lmtp.sock:mode=660``, ``--handler
docs.code.quota.Quota`` and ``--handler maildir:/var/mail/{local}``.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import endpoints
from twisted.internet.defer import Deferred

from txsmtpd import LMTP, Envelope, Recipient, Session, SMTPFactory, hooks
from txsmtpd.handlers import Mailboxes

FULL = {"bob@example.org"}


@hooks
class Quota:
    async def is_full(self, recipient: Recipient) -> str | None:
        # A database could be asked here.
        return "452 4.2.2 Mailbox full" if recipient.address in FULL else None

    def handle_DATA(
        self, server: Any, session: Session, envelope: Envelope
    ) -> dict[Recipient, Any]:
        return {recipient: self.is_full(recipient) for recipient in envelope.recipients}


def listen(reactor: Any, path: str, template: str) -> Deferred[Any]:
    mailboxes = Mailboxes(template)
    mailboxes.prepare()
    factory = SMTPFactory(Quota(), mailboxes, reactor=reactor).beside(protocol=LMTP)
    endpoint = endpoints.UNIXServerEndpoint(reactor, path, mode=0o660)
    listening: Deferred[Any] = endpoint.listen(factory)
    return listening
