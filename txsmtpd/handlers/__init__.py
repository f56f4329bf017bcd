"""
Handlers that are ready for use, and how the command line makes one.
"""

from .base import HandlerError, HandlerSpec
from .debug import Debug
from .mailboxes import Mailboxes
from .maildir import Maildir
from .mbox import Mbox
from .message import Message
from .pipe import Pipe
from .registry import BUILTIN, known_handlers, make_handler
from .reject_unknown import RejectUnknown
from .relay import Relay
from .sink import Sink
from .webhook import Webhook

__all__ = [
    "BUILTIN",
    "Debug",
    "HandlerError",
    "HandlerSpec",
    "Mailboxes",
    "Maildir",
    "Mbox",
    "Message",
    "Pipe",
    "RejectUnknown",
    "Relay",
    "Sink",
    "Webhook",
    "known_handlers",
    "make_handler",
]
