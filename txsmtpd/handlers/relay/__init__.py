"""
Relaying to one next hop, live and before any queue: a smarthost, a filter, or an LMTP server.

MAIL, each RCPT and the content go to the next hop as they come from the client, and its verdicts
come back as they are.  So no message is ever ours: a client that has heard 250 has it from the next
hop, whose final reply had come whole.

- `answers`: what it says, read strictly, and what becomes of that for our client;
- `connection`, `flow`, `timeouts`: one connection, a client's side of SMTP and LMTP;
- `setup`: greeting, EHLO, TLS, AUTH;
- `pool`: connections are kept and used again;
- `parameters`, `origin`: what it is told;
- `stuffing`, `transaction`, `verdicts`: one message;
- `nexthop`, `handler`: what users say, and the hooks.
"""

from .handler import Relay
from .nexthop import Credentials, NextHop
from .timeouts import Timeouts

__all__ = ["Credentials", "NextHop", "Relay", "Timeouts"]
