"""
A service extension of one's own: MAIL may name the campaign that a message belongs to.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from txsmtpd import Envelope, Session, SMTPFactory
from txsmtpd.core import grammar
from txsmtpd.core.session import Parameters
from txsmtpd.extensions.base import Extension
from txsmtpd.factory import DEFAULT


class Campaign(Extension):
    def keyword(self, session: Session) -> str | None:
        # Only those who have logged in have campaigns.
        return "XCAMPAIGN" if session.authenticated else None

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"XCAMPAIGN": self._parse}

    def _parse(self, session: Session, value: str | None) -> str:
        # In xtext, so that it may have spaces; what is malformed is a ValueError.
        name = grammar.xtext_decode(value or "")
        if not 1 <= len(name) <= 40:
            raise ValueError("wants 1 to 40 characters")  # answered 501 5.5.4
        return name

    def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
        # A hook finds it again with options.get("XCAMPAIGN"), or here. If MAIL is refused after
        # all, the next one has a new envelope.
        envelope.campaign = options.get("XCAMPAIGN")  # type: ignore[attr-defined]


def make_factory(handler: object, **settings: Any) -> SMTPFactory:
    return SMTPFactory(handler, extensions=(*DEFAULT, Campaign), **settings)
