"""
Handlers that are ready for use, and how the command line makes one.
"""

from .base import HandlerError, HandlerSpec
from .debug import Debug
from .maildir import Maildir
from .registry import BUILTIN, known_handlers, make_handler
from .reject_unknown import RejectUnknown
from .sink import Sink

__all__ = [
    "BUILTIN",
    "Debug",
    "HandlerError",
    "HandlerSpec",
    "Maildir",
    "RejectUnknown",
    "Sink",
    "known_handlers",
    "make_handler",
]
