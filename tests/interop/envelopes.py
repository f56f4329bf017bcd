"""
What a server of ours says of the envelopes that it gets.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attrs

from txsmtpd import Envelope, Session, hooks


@hooks
class Envelopes:
    """
    Writes down the envelope of each message, one line of JSON for each.

    :param path: the file, which begins empty.
    """

    honours = ("DELIVERBY", "FUTURERELEASE", "MT-PRIORITY", "REQUIRETLS")

    def __init__(self, path: str) -> None:
        self.path = Path(path)
        self.path.touch()

    @classmethod
    def from_spec(cls, argument: str | None) -> Envelopes:
        if argument is None:
            raise ValueError("wants the path of a file")
        return cls(argument)

    def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> None:
        line = json.dumps(_facts(envelope), default=str)
        with self.path.open("a") as lines:
            lines.write(f"{line}\n")


def _facts(envelope: Envelope) -> dict[str, Any]:
    """
    What there is to know, but for what is None.
    """
    facts = {
        "from": envelope.mail_from,
        "to": [_recipient(each) for each in envelope.recipients],
        "smtp_utf8": envelope.smtp_utf8,
        "body": envelope.body,
        "auth": envelope.auth,
        "dsn": _plain(envelope.dsn),
        "deliver_by": _plain(envelope.deliver_by),
        "hold": _plain(envelope.hold),
        "priority": envelope.priority,
    }
    return {name: fact for name, fact in facts.items() if fact is not None}


def _recipient(recipient: Any) -> dict[str, Any]:
    notify, orcpt = recipient.options.get("NOTIFY"), recipient.options.get("ORCPT")
    facts = {"address": recipient.address, "notify": notify and str(notify), "orcpt": _plain(orcpt)}
    return {name: fact for name, fact in facts.items() if fact is not None}


def _plain(value: Any) -> Any:
    return None if value is None else attrs.asdict(value)


#: As the command line names it: a path follows.
ENVELOPES = f"{__name__}.Envelopes"
