"""
A server to talk to in a test: no socket, no real time, no thread.

- :class:`Client` is connected in memory to a server that your factory has built;
- :class:`RecordingHandler` notes what the server asks it and answers what you tell it to;
- :class:`Transcript` is a dialog written down, to be replayed with the client's octets cut up in
  every possible way.

Time is a :class:`twisted.internet.task.Clock`, given to the factory as its reactor.  What fails is
an AssertionError whose text shows the dialog as it went.
"""

from __future__ import annotations

from .client import Client, connect, make_factory
from .handler import Call, Content, Message, RecordingHandler, When
from .transcript import Cut, Replayed, Transcript

__all__ = [
    "Call",
    "Client",
    "Content",
    "Cut",
    "Message",
    "RecordingHandler",
    "Replayed",
    "Transcript",
    "When",
    "connect",
    "make_factory",
]
