"""
A server to talk to in a test.

- :class:`Client` is connected in memory to a server that your factory has built: no socket, no real
  time, no thread.  It sends what you say, or what a client protocol says that your application
  has made, encrypted if there is TLS;
- :func:`serve` serves on a real port until a test is over, and leaves the reactor clean;
- :class:`RecordingHandler` notes what the server asks it and answers what you tell it to, and you
  can wait for a message;
- :func:`assert_message` compares a message with what is expected of it;
- :class:`Transcript` is a dialog written down, to be replayed with the client's octets cut up in
  every possible way.

In memory, time is a :class:`twisted.internet.task.Clock`, given to the factory as its reactor.
What fails is an AssertionError whose text shows the dialog as it went.

A whole trial suite of an application that sends mail is in ``examples/test_signup.py``.
"""

from __future__ import annotations

from .client import Client, connect, make_factory
from .handler import Call, Content, RecordingHandler, Wanted, When
from .message import Message, assert_message
from .recording import Recording
from .replay import Cut, Rehearsal, Replayed
from .server import CleansUp, RealServer, serve
from .transcript import Transcript

__all__ = [
    "Call",
    "CleansUp",
    "Client",
    "Content",
    "Cut",
    "Message",
    "RealServer",
    "Recording",
    "RecordingHandler",
    "Rehearsal",
    "Replayed",
    "Transcript",
    "Wanted",
    "When",
    "assert_message",
    "connect",
    "make_factory",
    "serve",
]
