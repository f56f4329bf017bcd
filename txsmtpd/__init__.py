"""
An SMTP and ESMTP receiver for Twisted.

The names here are what a handler and a program that serves one need; the rest is in
:mod:`txsmtpd.interfaces` and the modules that it speaks of.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from .core.hooks import hooks
from .core.replies import Rejected, Reply
from .core.session import Envelope, Recipient, Session

if TYPE_CHECKING:
    from .factory import SMTPFactory
    from .overrides import syntax
    from .protocol import LMTP, SMTP

__version__ = "0.1.0"

__all__ = [
    "LMTP",
    "SMTP",
    "Envelope",
    "Recipient",
    "Rejected",
    "Reply",
    "SMTPFactory",
    "Session",
    "hooks",
    "syntax",
]


_ELSEWHERE = {
    "LMTP": ".protocol",
    "SMTP": ".protocol",
    "SMTPFactory": ".factory",
    "syntax": ".overrides",
}


def __getattr__(name: str) -> Any:
    """
    Import what needs Twisted when it is first wanted: the core does without.
    """
    home = _ELSEWHERE.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(home, __name__), name)
