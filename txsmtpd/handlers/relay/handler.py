"""
The handler.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime
from typing import Any

from twisted.internet.defer import Deferred
from zope.interface import implementer

from ...core import trace
from ...core.replies import Rejected, Reply
from ...core.session import Envelope, Parameters, Session
from ...interfaces import (
    IContentHook,
    IDISCONNECTHook,
    IEHLOHook,
    IMAILHook,
    IRCPTHook,
    IRSETHook,
)
from ..base import local_time
from .answers import LOST, Lost
from .nexthop import NextHop, from_relay, from_relay_lmtp, from_relay_tls
from .origin import introduce
from .parameters import LIKELY, PROMISED
from .pool import Pool
from .timeouts import Timeouts
from .transaction import BinaryContent, Content, Transaction

#: Connections to the next hop at a time, and how many of them may be without work.
CONNECTIONS, SPARE = 100, 10


@implementer(IEHLOHook, IMAILHook, IRCPTHook, IContentHook, IRSETHook, IDISCONNECTHook)
class Relay:
    """
    Passes each message on to the next hop while it comes: our client hears what the next hop says
    of the sender, of each recipient and of the message, and nothing is accepted that the next hop
    has not.

    There is no queue.  If the next hop cannot be reached or is lost, the client is told to try
    again later.

    :param hop: where all mail goes.
    :param timeouts: how long everything may take there.
    :param connections: how many there may be at a time.
    :param spare: how many of them may wait for work.
    :param endpoint: makes what to connect to, of a reactor; None is the next hop's own.
    :param now: the time, with its zone.
    """

    #: What it passes on or refuses, as the standards want it.
    honours = ("DELIVERBY", "FUTURERELEASE", "MT-PRIORITY", "REQUIRETLS")

    def __init__(
        self,
        hop: NextHop,
        *,
        timeouts: Timeouts | None = None,
        connections: int = CONNECTIONS,
        spare: int = SPARE,
        endpoint: Callable[[Any], Any] | None = None,
        now: Callable[[], datetime] = local_time,
    ) -> None:
        self.hop = hop
        self._now = now
        self._pool = Pool(hop, timeouts or Timeouts(), connections, spare, endpoint or hop.endpoint)
        # What is open, by the connection of the client.  That of an envelope which the core has
        # given up without a word, after EHLO or because another handler has refused MAIL, is found
        # when the next MAIL comes.
        self._transactions: dict[Any, Transaction] = {}

    @classmethod
    def from_spec(cls, argument: str | None) -> Relay:
        """
        Make it of ``relay:HOST:PORT`` or ``relay:unix:/PATH``.
        """
        return cls(from_relay(argument))

    @classmethod
    def from_tls_spec(cls, argument: str | None) -> Relay:
        """
        Make it of ``relay-tls:HOST:PORT``, with options behind commas.
        """
        return cls(from_relay_tls(argument))

    @classmethod
    def from_lmtp_spec(cls, argument: str | None) -> Relay:
        """
        Make it of ``relay-lmtp:HOST:PORT`` or ``relay-lmtp:unix:/PATH``.
        """
        return cls(from_relay_lmtp(argument))

    def stop(self) -> Deferred[Any]:
        """
        Take leave of the next hop.
        """
        return self._pool.stop()

    def handle_EHLO(
        self, server: Any, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> list[str]:
        """
        Offer nothing of which we know that the next hop would have to refuse it.
        """
        features = self._pool.features
        return [*_offered(responses, LIKELY if features is None else features)]

    async def handle_MAIL(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: Parameters
    ) -> Reply:
        await self._leave(server)
        transaction, reply = await self._begin(server, session, envelope, address, options)
        if reply.positive:
            self._transactions[server] = transaction
        else:
            self._free(transaction)
        return reply

    async def _begin(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: Parameters
    ) -> tuple[Transaction, Reply]:
        fresh = False
        while True:
            connection = await self._pool.get(session.reactor, server.hostname, fresh=fresh)
            # The next hop may be about to close it, and nothing was accepted yet: then that is no
            # news for our client.
            fresh = connection.used
            transaction = Transaction(connection, session, envelope, self.hop.lmtp)
            try:
                await introduce(connection, self.hop, server.hostname, session)
                reply = await transaction.begin(address, options)
            except Lost:
                if not fresh:
                    raise
                continue
            except BaseException:
                self._free(transaction)
                raise
            if connection.gone is None or not fresh:
                return transaction, reply

    async def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: Parameters
    ) -> Reply:
        return await self._open(server, envelope).add(address, options)

    async def open_content(self, server: Any, session: Session, envelope: Envelope) -> Content:
        transaction = self._open(server, envelope)
        await transaction.open_content()
        head = trace.received(session, envelope, server.hostname, self._now())
        kind = BinaryContent if transaction.binary else Content
        return kind(transaction, head, lambda: self._forget(server), self._free)

    def _open(self, server: Any, envelope: Envelope) -> Transaction:
        """
        :raise Rejected: if there is none.
        """
        transaction = self._transactions.get(server)
        if transaction is None or transaction.envelope is not envelope:
            raise Rejected(LOST)
        return transaction

    def handle_RSET(self, server: Any, session: Session, envelope: Envelope) -> Any:
        return self._leave(server)

    def handle_DISCONNECT(
        self, server: Any, session: Session, envelope: Envelope, reason: str
    ) -> Any:
        return self._leave(server)

    async def _leave(self, server: Any) -> None:
        transaction = self._transactions.pop(server, None)
        if transaction is not None:
            await transaction.reset()
            self._free(transaction)

    def _forget(self, server: Any) -> None:
        self._transactions.pop(server, None)

    def _free(self, transaction: Transaction) -> None:
        self._pool.put_back(transaction.connection, transaction.session.reactor.seconds())


def _offered(responses: list[str], features: Mapping[str, str]) -> Iterator[str]:
    for line in responses:
        keyword, _, value = line[4:].partition(" ")
        if features.keys() >= set(PROMISED.get(keyword.upper(), ())):
            limit = _limit(features.get("SIZE", "")) if keyword.upper() == "SIZE" else 0
            yield f"250 SIZE {limit}" if limit and not 0 < _limit(value) <= limit else line


def _limit(size: str) -> int:
    """
    A limit as SIZE tells it; 0 and nothing are none (RFC 1870 section 4).
    """
    return int(size) if size.isdecimal() else 0
