"""
Handlers that are ready for use, and how the command line makes one.
"""

from .base import HandlerError, HandlerSpec
from .debug import Debug
from .maildir import Maildir
from .registry import BUILTIN, make_handler
from .sink import Sink

__all__ = [
    "BUILTIN",
    "Debug",
    "HandlerError",
    "HandlerSpec",
    "Maildir",
    "Sink",
    "make_handler",
]
