"""
A service extension: MAIL may say how urgent a message is (compare RFC 6710).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from txsmtpd import Envelope, Session, SMTPFactory
from txsmtpd.core.session import Parameters
from txsmtpd.extensions.base import Extension
from txsmtpd.factory import DEFAULT


class Priority(Extension):
    def keyword(self, session: Session) -> str:
        return "MT-PRIORITY"

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"MT-PRIORITY": self._parse}

    def _parse(self, session: Session, value: str | None) -> int:
        priority = int(value or "none")  # a ValueError is answered 501 5.5.4
        if not -9 <= priority <= 9:
            raise ValueError("wants -9 to 9")
        return priority

    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        # A hook finds it again with options.get("MT-PRIORITY"), or here:
        session.notes["priority"] = options.get("MT-PRIORITY", 0)


def make_factory(handler: object, **settings: Any) -> SMTPFactory:
    return SMTPFactory(handler, extensions=(*DEFAULT, Priority), **settings)
