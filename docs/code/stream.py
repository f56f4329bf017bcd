"""
A handler that takes each message as it comes, and never holds it whole.

Run it with ``twistd -n smtpd --handler docs.code.stream.Checksum`` where it can be imported.
"""

from __future__ import annotations

import hashlib
from typing import Any

from zope.interface import implementer

from txsmtpd import Envelope, Session, hooks
from txsmtpd.interfaces import IContentReceiver


@implementer(IContentReceiver)
class Summing:
    def __init__(self) -> None:
        self.sum = hashlib.sha256()

    def write(self, chunk: bytes) -> None:
        # A Deferred returned from here makes the client wait until it fires.
        self.sum.update(chunk)

    def finish(self) -> str:
        return f"250 2.0.0 {self.sum.hexdigest()}"

    def abort(self, reason: str) -> None:
        """
        Nothing is left behind that would have to be removed.
        """


@hooks
class Checksum:
    def open_content(self, server: Any, session: Session, envelope: Envelope) -> Summing:
        return Summing()
