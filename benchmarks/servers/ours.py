"""
txsmtpd, as it comes, with a sink that counts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet import endpoints, reactor
from twisted.logger import LogEvent, globalLogBeginner
from zope.interface import implementer

from txsmtpd import LMTP, SMTP
from txsmtpd.core.session import Envelope, Session
from txsmtpd.factory import SMTPFactory
from txsmtpd.handlers.maildir import Maildir
from txsmtpd.interfaces import IContentHook, IContentReceiver
from txsmtpd.tls import Certificates

from . import Setup, Tally

#: Idle clients are more than the thousand connections that are allowed by default.
MANY = 100_000


@implementer(IContentHook, IContentReceiver)
class CountingSink:
    """
    Like :class:`~txsmtpd.handlers.sink.Sink`: one receiver serves all messages.
    """

    def __init__(self, tally: Tally) -> None:
        self._tally = tally

    def open_content(self, server: Any, session: Session, envelope: Envelope) -> CountingSink:
        return self

    def write(self, chunk: bytes) -> None:
        self._tally.octets += len(chunk)

    def finish(self) -> None:
        self._tally.messages += 1

    def abort(self, reason: str) -> None:
        pass


def _forget(event: LogEvent) -> None:
    """
    An observer that costs nothing.
    """


def make_factory(setup: Setup, tally: Tally, reactor: Any) -> SMTPFactory:
    """
    What a workload wants, all else by default.
    """
    settings: dict[str, Any] = {"hostname": "txsmtpd.example", "max_connections": MANY}
    if setup.certificate is not None:
        pairs = [(setup.certificate, setup.certificate)]
        settings["context_factory"] = Certificates(pairs, clock=reactor)
    handler: object = CountingSink(tally)
    if setup.maildir is not None:
        handler = maildir = Maildir(setup.maildir)
        maildir.prepare()
    factory = SMTPFactory(handler, reactor=reactor, **settings)
    factory.protocol = LMTP if setup.lmtp else SMTP
    return factory


def serve(setup: Setup, tally: Tally, ready: Callable[[int], None]) -> None:
    loop: Any = reactor
    # Twisted keeps all events until somebody says where they go.
    nowhere: Any = _forget
    globalLogBeginner.beginLoggingTo([nowhere], redirectStandardIO=False)
    factory = make_factory(setup, tally, loop)
    listening: Any = endpoints.TCP4ServerEndpoint(loop, 0, interface="127.0.0.1").listen(factory)
    listening.addCallback(lambda port: ready(port.getHost().port))
    loop.run()
