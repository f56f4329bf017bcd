"""
A service extension: MAIL may say how urgent a message is (compare RFC 6710).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from txsmtpd import Envelope, Session, SMTPFactory
from txsmtpd.core.session import Parameters
from txsmtpd.extensions.base import Extension
from txsmtpd.factory import DEFAULT

_PRIORITY = re.compile("-?[0-9]")


class Priority(Extension):
    def keyword(self, session: Session) -> str:
        return "MT-PRIORITY"

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"MT-PRIORITY": self._parse}

    def _parse(self, session: Session, value: str | None) -> int:
        # Not int() alone, which also takes "+3", "0_3" and the digits of other scripts.
        if value is None or _PRIORITY.fullmatch(value) is None:
            raise ValueError("wants -9 to 9")  # answered 501 5.5.4
        return int(value)

    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        # A hook finds it again with options.get("MT-PRIORITY"), or here. If MAIL is refused after
        # all, the next one has a new envelope.
        envelope.priority = options.get("MT-PRIORITY", 0)  # type: ignore[attr-defined]


def make_factory(handler: object, **settings: Any) -> SMTPFactory:
    return SMTPFactory(handler, extensions=(*DEFAULT, Priority), **settings)
