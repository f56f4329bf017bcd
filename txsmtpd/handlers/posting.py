"""
Posts forms, by treq.

It is imported only where something is to be posted, because treq is not needed otherwise and takes
its time.
"""

from __future__ import annotations

from contextlib import suppress
from typing import IO, Any

from treq.auth import add_auth
from treq.multipart import MultiPartProducer
from twisted.internet.defer import Deferred, DeferredList
from twisted.internet.interfaces import IConsumer
from twisted.internet.protocol import Protocol, connectionDone
from twisted.internet.task import TaskFinished
from twisted.python.failure import Failure
from twisted.python.url import URL
from twisted.web.client import Agent, FileBodyProducer, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgent

#: Seconds in which a connection must be made.
CONNECT_TIMEOUT = 30
#: Seconds in which there must be an answer, and all of the message be sent, counted from the
#: beginning.
TIMEOUT = 120
#: Octets of an answer's body that are read so that the connection can be used again, and seconds
#: that they may take.
BODY, BODY_TIMEOUT = 2**16, 10


class NoAnswer(Exception):
    """
    There was none in time, or none to the whole message.
    """


def _no_answer(result: Any, timeout: float) -> Failure:
    return Failure(NoAnswer(f"none in {timeout:g} seconds"))


class _Form(MultiPartProducer):
    """
    A form with a file, which is closed in the end.
    """

    def __init__(self, fields: list[tuple[str, str]], name: str, file: IO[bytes]) -> None:
        self._message = file
        body = FileBodyProducer(file)
        super().__init__([*fields, (name, ("message.eml", "message/rfc822", body))])
        self._begun = False
        #: Whether all of it has gone out, when that is known.
        self.sent: Deferred[bool] = Deferred()

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        self._begun = True
        return super().startProducing(consumer).addCallback(self._all_sent)

    def _all_sent(self, _: object) -> None:
        self.sent.callback(True)

    def stopProducing(self) -> None:
        """
        Send no more of it.
        """
        # Both the transport and who uses it say so when the connection is lost, and we do.
        with suppress(TaskFinished):
            if self._begun:
                super().stopProducing()
        self._message.close()
        if not self.sent.called:
            self.sent.callback(False)


class _Rest(Protocol):
    """
    Reads the body of an answer to its end, unless that is too far.
    """

    def __init__(self, reactor: Any) -> None:
        self.ended: Deferred[None] = Deferred()
        self._octets = 0
        self._deadline = reactor.callLater(BODY_TIMEOUT, self.stop)

    def stop(self) -> None:
        transport: Any = self.transport
        transport.loseConnection()

    def dataReceived(self, data: bytes) -> None:
        self._octets += len(data)
        if self._octets > BODY:
            self.stop()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self._deadline.active():
            self._deadline.cancel()
        self.ended.callback(None)


class Poster:
    """
    Posts forms to one URL.

    Redirections are not followed.  TLS is verified as browsers do it, unless the agent does it in
    another way.

    :param url: without a user.
    :param auth: the user's name and password, if there is one.
    """

    def __init__(
        self, reactor: Any, url: str, auth: tuple[str, str] | None, agent: IAgent | None = None
    ) -> None:
        self._reactor = reactor
        self._url = url
        self._auth = auth
        self._pool = HTTPConnectionPool(reactor)
        self._agent = agent or Agent(reactor, connectTimeout=CONNECT_TIMEOUT, pool=self._pool)
        #: Bodies that are being read.
        self._rests: set[_Rest] = set()

    async def post(self, fields: list[tuple[str, str]], name: str, file: IO[bytes]) -> int:
        """
        Post a form with a message.

        :param name: the field of the message.
        :param file: the message, which goes out as it is read; closed in the end.
        :return: the status of the answer; if that is 2xx, all of the message was sent.
        :raise Exception: if there is none.
        """
        form = _Form(fields, name, file)
        answered = Deferred.fromCoroutine(self._answer(form))
        answered.addTimeout(TIMEOUT, self._reactor, _no_answer)
        try:
            return await answered
        except BaseException:
            form.stopProducing()
            raise

    async def _answer(self, form: _Form) -> int:
        content_type = f"multipart/form-data; boundary={form.boundary.decode()}"
        # Not treq's client: it would follow redirections, keep cookies, and ask for compressed
        # bodies and unpack them, however large they become.
        agent = add_auth(self._agent, self._auth) if self._auth else self._agent
        response = await agent.request(
            b"POST",
            URL.fromText(self._url).asURI().asText().encode("ascii"),
            Headers({"Content-Type": [content_type]}),
            form,
        )
        # If it came before all was sent, the rest of the message is sent nonetheless.
        self._read_on(response)
        status: int = response.code
        # Who has taken a message has read it to the end.  A refusal needs no more than its
        # beginning.
        if 200 <= status < 300 and not await form.sent:
            raise NoAnswer("none to the whole message")
        return status

    def _read_on(self, response: Any) -> None:
        rest = _Rest(self._reactor)
        self._rests.add(rest)
        rest.ended.addCallback(lambda _: self._rests.discard(rest))
        response.deliverBody(rest)

    async def stop(self) -> None:
        """
        Close all connections.
        """
        rests = list(self._rests)
        for rest in rests:
            rest.stop()
        ended = DeferredList([rest.ended for rest in rests], consumeErrors=True)
        # The other end of TLS has to take part in it.
        await ended.addTimeout(BODY_TIMEOUT, self._reactor, lambda result, timeout: None)
        await self._pool.closeCachedConnections()
