"""
Tests for txsmtpd.handlers.posting, with a web server in this process.
"""

from __future__ import annotations

import gzip
import io
from base64 import b64encode
from collections.abc import Callable
from email import message_from_bytes
from email.message import Message
from typing import Any

from twisted.internet import reactor, ssl
from twisted.internet.defer import Deferred, DeferredList, maybeDeferred
from twisted.internet.error import ConnectionDone, ConnectionRefusedError
from twisted.internet.protocol import Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from twisted.trial.unittest import TestCase
from twisted.web.client import Agent, BrowserLikePolicyForHTTPS

from txsmtpd.handlers import posting
from txsmtpd.handlers.posting import NoAnswer, Poster

from .certificates import make_ca
from .spoolkit import BODY, Raw

#: The reactor.
REACTOR: Any = reactor

FIELDS = [("sender", "a@example.org"), ("recipient", "b@x"), ("recipient", "\u2603@x"), ("a", "")]
MIB = 2**20
#: Octets of a request that the server keeps.
KEPT = 4096


class Connection(Protocol):
    """
    What the server knows of one client.

    :param act: what it does when something has come.
    """

    transport: Any

    def __init__(self, server: WebServer) -> None:
        self.server = server
        #: Octets of all requests.
        self.total = 0
        #: Requests that are whole, as far as they were kept.
        self.requests: list[bytes] = []
        #: Whether what has come last makes one whole.
        self.complete = False
        self.ended: Deferred[None] = Deferred()
        self._received = b""
        self._octets = 0

    def connectionMade(self) -> None:
        self.server.connections.append(self)

    def dataReceived(self, data: bytes) -> None:
        self.total += len(data)
        self._octets += len(data)
        self._received += data[: KEPT - len(self._received)]
        head, end, _ = self._received.partition(b"\r\n\r\n")
        length = int(header(head, "Content-Length")) if end else 0
        self.complete = bool(end) and self._octets == len(head) + len(end) + length
        if self.complete:
            self.requests.append(self._received)
            self._received, self._octets = b"", 0
        self.server.act(self)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.ended.callback(None)


def header(request: bytes, name: str) -> str:
    """
    A field of a request's header, or ``None``.
    """
    return str(message_from_bytes(request.partition(b"\r\n")[2])[name])


def say(words: bytes, *, hang_up: bool = False) -> Callable[[Connection], None]:
    """
    Say something when the request is whole.
    """

    def act(connection: Connection) -> None:
        if connection.complete:
            connection.transport.write(words)
            if hang_up:
                connection.transport.loseConnection()

    return act


def answer(
    status: bytes = b"200 OK", *headers: bytes, body: bytes = b""
) -> Callable[[Connection], None]:
    """
    Answer when the request is whole.
    """
    lines = (b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *headers, b"", body)
    return say(b"\r\n".join(lines))


def early(status: bytes, *, hang_up: bool = False) -> Callable[[Connection], None]:
    """
    Answer at once, and then read on, or hang up.
    """
    answered = answer(status)

    def act(connection: Connection) -> None:
        connection.server.act = lambda connection: None
        connection.complete = True
        answered(connection)
        if hang_up:
            connection.transport.pauseProducing()
            REACTOR.callLater(0.05, connection.transport.abortConnection)

    return act


#: An answer whose body does not end.
_HALF = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nx"


class WebServer(Factory):
    """
    A web server that does what the test wants.
    """

    noisy = False

    def __init__(self) -> None:
        self.connections: list[Connection] = []
        self.act = answer()

    def buildProtocol(self, addr: Any) -> Connection:
        return Connection(self)

    def resume(self, act: Callable[[Connection], None] = lambda connection: None) -> None:
        """
        Read on, and do something else from here on.
        """
        self.act = act
        for connection in self.connections:
            connection.transport.resumeProducing()

    async def ended(self) -> None:
        """
        Every client has gone.
        """
        await DeferredList([connection.ended for connection in self.connections])


async def until(condition: Callable[[], object]) -> None:
    """
    Wait for something; trial ends it if it does not come.
    """
    while not condition():
        await deferLater(REACTOR, 0.001)


class PosterCase(TestCase):
    """
    A server, and what posts to it; what was begun has an end.
    """

    timeout = 30

    def setUp(self) -> None:
        self.web = WebServer()
        self.port = REACTOR.listenTCP(0, self.web, interface="127.0.0.1")
        self.url = f"http://127.0.0.1:{self.port.getHost().port}/mail?key=secret"
        self.poster = Poster(REACTOR, self.url, None)
        self.raw: list[Raw] = []

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.poster.stop()
        await self.web.ended()
        await maybeDeferred(self.port.stopListening)
        self.assertEqual([raw.closes for raw in self.raw], [1] * len(self.raw))

    def file(self, content: bytes = BODY) -> Any:
        path = self.mktemp()
        with open(path, "wb") as file:
            file.write(content)
        self.raw.append(Raw(path))
        return io.BufferedReader(self.raw[-1])

    def post(self, content: bytes = BODY, poster: Poster | None = None) -> Deferred[int]:
        posting = (poster or self.poster).post(FIELDS, "message", self.file(content))
        return Deferred.fromCoroutine(posting)

    async def fails(self, content: bytes = BODY) -> BaseException:
        """
        :return: what was behind the exception.
        """
        try:
            await self.post(content)
        except Exception as error:
            inner: Any = error
            while reasons := getattr(inner, "reasons", None):
                inner = reasons[0].value
            found: BaseException = inner
            return found
        self.fail("it was answered")


class AnswerTests(PosterCase):
    """
    What a server gets, and what it says.
    """

    async def test_form(self) -> None:
        self.assertEqual(await self.post(BODY), 200)
        [request] = self.web.connections[0].requests
        line, _, rest = request.partition(b"\r\n")
        self.assertEqual(line, b"POST /mail?key=secret HTTP/1.1")
        form = message_from_bytes(rest)
        self.assertEqual(form.get_content_type(), "multipart/form-data")
        parts: Any = form.get_payload()
        found = [(self.name(part), part.get_payload(decode=True)) for part in parts]
        expected = [(name, value.encode()) for name, value in sorted(FIELDS, key=lambda f: f[0])]
        self.assertEqual(found[:-1], expected)
        message: Message = parts[-1]
        self.assertEqual(self.name(message), "message")
        self.assertEqual(message.get_content_type(), "message/rfc822")
        self.assertEqual(message.get_filename(), "message.eml")
        self.assertIn(b"\r\n\r\n" + BODY + b"\r\n--", request)

    def name(self, part: Message) -> str:
        return str(part.get_param("name", header="Content-Disposition"))

    async def test_statuses(self) -> None:
        for status in (b"200 OK", b"204 No Content", b"400 Bad Request", b"503 Unavailable"):
            self.web.act = answer(status)
            self.assertEqual(await self.post(), int(status[:3]))

    async def test_redirection(self) -> None:
        """
        It is not followed: the message would go to whom the user has not named.
        """
        for status in (b"302 Found", b"307 Temporary Redirect", b"308 Permanent Redirect"):
            self.web.act = answer(status, b"Location: " + self.url.encode())
            self.assertEqual(await self.post(), int(status[:3]))
        self.assertEqual(sum(len(each.requests) for each in self.web.connections), 3)

    async def test_user(self) -> None:
        poster = Poster(REACTOR, self.url, ("ann", "s\u00e9cret:x"))
        self.assertEqual(await self.post(poster=poster), 200)
        await poster.stop()
        expected = "Basic " + b64encode("ann:s\u00e9cret:x".encode()).decode()
        self.assertEqual(header(self.web.connections[0].requests[0], "Authorization"), expected)

    async def test_kept(self) -> None:
        """
        One connection will do for messages one after the other, and cookies are not kept.
        """
        self.web.act = answer(b"200 OK", b"Set-Cookie: a=b", body=b"thanks")
        for _ in range(3):
            self.assertEqual(await self.post(), 200)
            [connection] = self.web.connections
            self.assertEqual(header(connection.requests[-1], "Cookie"), "None")
            # Until the connection may be used again.
            await until(lambda: not self.poster._rests)

    async def test_endless_body(self) -> None:
        """
        The status is enough, and the connection is closed when it is too much.
        """
        self.web.act = say(b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * posting.BODY + b"y")
        self.assertEqual(await self.post(), 200)
        await self.web.ended()

    async def test_slow_body(self) -> None:
        self.patch(posting, "BODY_TIMEOUT", 0.05)
        self.web.act = say(_HALF)
        self.assertEqual(await self.post(), 200)
        await self.web.ended()

    async def test_stop_while_reading(self) -> None:
        """
        Nobody waits for a body when the server stops.
        """
        self.web.act = say(_HALF)
        self.assertEqual(await self.post(), 200)
        await self.poster.stop()
        await self.web.ended()

    async def test_broken_body(self) -> None:
        """
        It has the message, whatever becomes of the rest.
        """
        self.web.act = say(_HALF, hang_up=True)
        self.assertEqual(await self.post(), 200)

    async def test_early(self) -> None:
        """
        A server may answer before it has read everything, and close.
        """
        self.web.act = early(b"413 Too Large", hang_up=True)
        self.assertEqual(await self.post(bytes(30 * MIB)), 413)
        await self.web.ended()
        await until(lambda: self.raw[0].closes)

    async def test_early_and_polite(self) -> None:
        """
        It reads the rest before it closes, as it should.
        """
        for status in (b"413 Too Large", b"200 OK"):
            self.web.connections.clear()
            self.web.act = early(status)
            self.assertEqual(await self.post(bytes(3 * MIB)), int(status[:3]))
            await self.web.ended()
            self.assertGreater(self.web.connections[0].total, 3 * MIB)

    async def test_compressed(self) -> None:
        """
        Nobody has asked for it, and what it would become does not matter.
        """
        body = gzip.compress(bytes(2 * posting.BODY))
        self.web.act = answer(b"200 OK", b"Content-Encoding: gzip", body=body)
        for _ in range(2):
            self.assertEqual(await self.post(), 200)
            await until(lambda: not self.poster._rests)
        [connection] = self.web.connections
        self.assertEqual(header(connection.requests[0], "Accept-Encoding"), "None")


class FailureTests(PosterCase):
    """
    No answer.  `PosterCase` looks whether the file is closed.
    """

    async def test_refused(self) -> None:
        await self.port.stopListening()
        self.assertIsInstance(await self.fails(), ConnectionRefusedError)

    async def test_no_http(self) -> None:
        self.web.act = say(b"220 mx.example ESMTP\r\n\r\n")
        self.assertEqual(type(await self.fails()).__name__, "ParseError")

    async def test_hung_up(self) -> None:
        self.web.act = say(b"", hang_up=True)
        self.assertIsInstance(await self.fails(), ConnectionDone)

    async def test_hung_up_while_sending(self) -> None:
        self.web.act = lambda connection: connection.transport.abortConnection()
        await self.fails(bytes(30 * MIB))
        self.assertLess(self.web.connections[0].total, 30 * MIB)

    async def test_early(self) -> None:
        """
        It has answered 200 to a message that it never got.
        """
        self.web.act = early(b"200 OK", hang_up=True)
        error = await self.fails(bytes(30 * MIB))
        self.assertIsInstance(error, NoAnswer)
        self.assertEqual(str(error), "none to the whole message")

    async def test_early_and_stuck(self) -> None:
        """
        It neither reads on nor hangs up.
        """
        self.patch(posting, "TIMEOUT", 0.2)
        answered = early(b"200 OK")

        def act(connection: Connection) -> None:
            answered(connection)
            connection.transport.pauseProducing()

        self.web.act = act
        error = await self.fails(bytes(30 * MIB))
        self.assertEqual(str(error), "none in 0.2 seconds")
        self.web.connections[0].transport.abortConnection()

    async def test_silent(self) -> None:
        """
        It reads, and says nothing.
        """
        self.patch(posting, "TIMEOUT", 0.1)
        self.web.act = lambda connection: None
        error = await self.fails()
        self.assertIsInstance(error, NoAnswer)
        self.assertEqual(str(error), "none in 0.1 seconds")

    async def test_stuck(self) -> None:
        """
        It does not even read.
        """
        self.patch(posting, "TIMEOUT", 0.2)
        self.web.act = lambda connection: connection.transport.pauseProducing()
        self.assertIsInstance(await self.fails(bytes(30 * MIB)), NoAnswer)
        self.web.resume()

    async def test_in_time(self) -> None:
        """
        After an answer no timer is left: trial looks.
        """
        self.assertEqual(await self.post(), 200)

    async def test_cancelled(self) -> None:
        """
        Nobody waits any more: before there is a connection, while it is sent, and after that.
        """
        self.web.act = lambda connection: connection.transport.pauseProducing()
        done = self.post()
        done.cancel()
        await self.assertFailure(done, Exception)
        done = self.post(bytes(30 * MIB))
        await until(lambda: self.web.connections and self.web.connections[-1].total)
        done.cancel()
        await self.assertFailure(done, Exception)
        self.web.resume()
        await self.web.ended()
        self.web.connections.clear()
        done = self.post()
        await until(lambda: self.web.connections and self.web.connections[0].requests)
        done.cancel()
        await self.assertFailure(done, Exception)


class StreamTests(PosterCase):
    """
    A large message.
    """

    async def test_streamed(self) -> None:
        """
        It is read as the server takes it.
        """
        answered = answer()

        def act(connection: Connection) -> None:
            if connection.total < MIB:
                connection.transport.pauseProducing()
            answered(connection)

        self.web.act = act
        done = self.post(bytes(30 * MIB))
        [file] = self.raw
        await until(lambda: self.web.connections and self.web.connections[0].total)
        before = -1
        while file.tell() != before:
            before = file.tell()
            await deferLater(REACTOR, 0.2)
        # The system holds some.
        self.assertLess(before, 20 * MIB)
        self.assertNoResult(done)
        self.web.resume(answered)
        self.assertEqual(await done, 200)
        self.assertGreater(self.web.connections[0].total, 30 * MIB)

    async def test_many(self) -> None:
        posts = [self.post(bytes(MIB)) for _ in range(10)]
        self.assertEqual([await post for post in posts], [200] * 10)


class TLSTests(PosterCase):
    """
    Who the server is.
    """

    async def setUp(self) -> None:  # type: ignore[override]
        super().setUp()
        await self.port.stopListening()
        self.ca = make_ca("Test CA")
        pair = self.ca.issue("localhost")
        certificate = ssl.PrivateCertificate.loadPEM(pair.key_pem + pair.cert_pem)
        self.port = REACTOR.listenSSL(0, self.web, certificate.options(), interface="127.0.0.1")

    def secure(self, host: str, agent: Any = None) -> Poster:
        return Poster(REACTOR, f"https://{host}:{self.port.getHost().port}/", None, agent)

    async def test_unknown_authority(self) -> None:
        self.poster = self.secure("localhost")
        self.assertIn("certificate verify failed", str(await self.fails()))

    async def test_authority(self) -> None:
        authority = ssl.trustRootFromCertificates([ssl.Certificate.loadPEM(self.ca.pem)])
        agent = Agent(REACTOR, BrowserLikePolicyForHTTPS(authority))
        self.poster = self.secure("localhost", agent)
        self.assertEqual(await self.post(), 200)
        self.web.act = early(b"200 OK", hang_up=True)
        self.assertIsInstance(await self.fails(bytes(30 * MIB)), NoAnswer)
        self.poster = self.secure("127.0.0.1", agent)
        self.assertIn("VerificationError", repr(await self.fails()))
