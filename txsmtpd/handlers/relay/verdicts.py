"""
One verdict where LMTP has given several (RFC 2033 section 4.2).
"""

from __future__ import annotations

from collections.abc import Sequence

from ...core.replies import Reply
from ...core.session import Recipient

# Recipients that a refusal names.
_NAMED = 10


def merged(recipients: Sequence[Recipient], replies: Sequence[Reply]) -> Reply:
    """
    The one verdict for a client that speaks SMTP, which has no way to hear of each recipient.

    If all are of one mind there is nothing to decide.  If nobody has the message, one who may have
    it later makes it worth another try.  If only some have it, whatever is said is wrong for
    someone, and what counts is that nobody loses a message without being told:

    - where all others may have it later, the client is told to try again, and those who have it
      get it twice;
    - where someone will never have it, the client is told so, and its sender gets a bounce that
      names those who have not.  To ask for another try would be worse: it would fail each time, and
      each time those who have the message would get it once more.
    """
    both = zip(recipients, replies, strict=True)
    refused = [(who, reply) for who, reply in both if not reply.positive]
    if not refused:
        return replies[0]
    soft = [reply for _, reply in refused if reply.code < 500]
    hard = [reply for _, reply in refused if reply.code >= 500]
    if len(refused) == len(replies):
        return (soft or hard)[0]
    leading = (hard or soft)[0]
    lines = [f"<{who.address}>: {reply.text}" for who, reply in refused[:_NAMED]]
    if len(refused) > _NAMED:
        lines.append(f"and {len(refused) - _NAMED} more")
    return Reply(leading.code, leading.status, ("Delivered, but not to these:", *lines))
