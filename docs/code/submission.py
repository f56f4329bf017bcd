"""
A server for users' mail programs: port 587 with STARTTLS, port 465 with TLS from the start.
"""

from __future__ import annotations

from typing import Any

from twisted.internet import endpoints
from twisted.internet.defer import Deferred, gatherResults

from txsmtpd import SMTPFactory
from txsmtpd.tls import Certificates
from txsmtpd.users import UsersFile


def listen(
    reactor: Any, handler: object, pairs: list[tuple[str, str]], users: str
) -> Deferred[list[Any]]:
    factory = SMTPFactory(
        handler,
        reactor=reactor,
        context_factory=Certificates(pairs, clock=reactor),
        require_starttls=True,
        checkers=[UsersFile(users, reactor)],
        auth_required=True,
    )
    # The same server, and what limits are judged by is counted over both ports.
    implicit = factory.beside(implicit_tls=True)
    ports = ((587, factory), (465, implicit))
    return gatherResults(
        [endpoints.TCP6ServerEndpoint(reactor, port).listen(served) for port, served in ports]
    )
