"""
A handler that notes each message in a file, and what makes it of ``--handler journal:FILE``.
"""

from __future__ import annotations

import json
import os
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from txsmtpd import Envelope, Session, hooks
from txsmtpd.interfaces import ISMTPHandlerFactory


@hooks
class Journal:
    def __init__(self, path: str) -> None:
        # A daemon goes elsewhere.
        self.path = os.path.abspath(path)

    def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> None:
        note = {"id": envelope.id, "from": envelope.mail_from, "to": envelope.rcpt_tos}
        with open(self.path, "a", encoding="utf-8") as file:
            print(json.dumps(note), file=file)


@implementer(IPlugin, ISMTPHandlerFactory)
class JournalFactory:
    name = "journal"
    syntax = "journal:FILE"
    help = "note the envelope of each message in a file"

    def from_spec(self, argument: str | None) -> Journal:
        if not argument:
            raise ValueError("it wants a file")
        return Journal(argument)
