"""
A handler that wants messages as Python's ``email`` package has them.

Run it with ``twistd -n smtpd --handler docs.code.subjects.Subjects`` where it can be imported.
"""

from __future__ import annotations

from email.message import EmailMessage

from txsmtpd.handlers import Message
from txsmtpd.interfaces import Verdict


class Subjects(Message):
    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[str, str]] = []

    def handle_message(self, message: EmailMessage) -> Verdict:
        if message["subject"] is None:
            return "550 5.6.0 What is it about?"
        self.seen.append((message["X-RcptTo"], message["subject"]))
        return None
