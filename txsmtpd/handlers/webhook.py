"""
A handler that posts each message to a web server, as a form of the type multipart/form-data.

The form has the fields ``sender``, ``recipient`` (one for each), ``client`` (its IP address),
``helo``, ``protocol``, ``user`` (who has logged in) and ``id`` (what the log calls the message);
and the message as a file, ``message``, of the type message/rfc822, with the headers Return-Path and
Received on top.  It is sent as it is read from the disk.
"""

from __future__ import annotations

from typing import IO, Any
from urllib.parse import unquote, urlsplit

from twisted.internet.defer import CancelledError, Deferred, DeferredSemaphore
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core.replies import CONTROLS, DELIVERED, LOCAL_ERROR, Reply
from ..core.session import Envelope, Session
from ..interfaces import IContentHook, Verdict
from .base import HandlerError
from .spool import Spool, clean, client_address, user_name

#: Messages that are posted at the same time.
PARALLEL = 100
#: Characters of a reason that the log keeps.
REASON = 200

_REFUSED = Reply(550, "5.7.1", ("Refused",))
# What is 4xx, and says itself that it will pass: Request Timeout, Too Early, Too Many Requests.
_PASSING = frozenset((408, 425, 429))


def fields(session: Session, envelope: Envelope) -> list[tuple[str, str]]:
    """
    The fields of the form, without the message.
    """
    return [
        ("sender", clean(envelope.mail_from or "")),
        *(("recipient", clean(address)) for address in envelope.rcpt_tos),
        ("client", client_address(session)),
        ("helo", clean(session.host_name or "")),
        ("protocol", clean(envelope.protocol)),
        ("user", user_name(session)),
        ("id", clean(envelope.id)),
    ]


def reason_of(error: BaseException) -> str:
    """
    Why something was not answered, in one line.
    """
    # Twisted's way to say what was behind it.
    inner = getattr(error, "reasons", None)
    if inner:
        return "; ".join(reason_of(failure.value) for failure in inner)[:REASON]
    words = CONTROLS.sub(" ", str(error))
    return f"{type(error).__name__}: {words}".rstrip(": ")[:REASON]


class _Message(Spool):
    """
    A message for the web server.
    """

    def __init__(self, webhook: Webhook, server: Any, session: Session, envelope: Envelope) -> None:
        super().__init__(server, session, envelope, webhook.run)
        self._webhook = webhook
        self._poster = webhook.poster(session.reactor)

    def deliver(self, file: IO[bytes]) -> Deferred[Verdict]:
        posting: Deferred[Any] = self._webhook.turns.run(self._post, file)
        # It may never have had its turn.
        return posting.addErrback(_closed, file)

    async def _post(self, file: IO[bytes]) -> Verdict:
        form = fields(self.session, self.envelope)
        try:
            status = await self._poster.post(form, "message", file)
        except CancelledError:
            # Nobody waits for it any more.
            raise
        except Exception as error:
            self._say(reason_of(error))
            return LOCAL_ERROR
        if 200 <= status < 300:
            return DELIVERED
        self._say(f"it answered {status}")
        return _REFUSED if 400 <= status < 500 and status not in _PASSING else LOCAL_ERROR

    def _say(self, reason: str) -> None:
        self.log.warn(
            "message {transaction} was not taken by {url}: {reason}",
            event="webhook",
            transaction=self.envelope.id,
            url=self._webhook.shown,
            reason=reason,
        )


def _closed(failure: Failure, file: IO[bytes]) -> Failure:
    file.close()
    return failure


@implementer(IContentHook)
class Webhook:
    """
    Posts every message to a URL.  2xx takes it and 4xx refuses it for good, but for 408, 425 and
    429; whatever else is answered, and if nothing is, or 2xx to a part of the message, the client
    is told to try again.

    Redirections are not followed, and the certificate of an ``https`` URL is verified.  The log has
    of the URL only which host it is at, because the rest may be secret.

    Under LMTP all recipients have the same verdict.

    :param url: http or https, with a user's name and password if they are wanted (RFC 7617).
    :param agent: what makes requests, in place of one that trusts the authorities that the system
        trusts.
    :param parallel: how many messages are posted at the same time; others wait.
    :param run: calls a function in a thread and returns a Deferred for what comes of it.  The
        default is the thread pool of the session's reactor.
    :raise ValueError: for another URL, with one sentence.
    """

    def __init__(
        self, url: str, *, agent: Any = None, parallel: int = PARALLEL, run: Any = None
    ) -> None:
        wants = ValueError("webhook wants a URL: webhook:https://example.org/mail")
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError:
            # Its text has the URL in it.
            raise wants from None
        if parts.scheme not in ("http", "https") or not parts.hostname or not url.isprintable():
            raise wants
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        place = host if port is None else f"{host}:{port}"
        #: What may be told of the URL.
        self.shown = f"{parts.scheme}://{place}"
        self.run = run
        #: Whose turn it is.
        self.turns = DeferredSemaphore(parallel)
        self._url = parts._replace(netloc=place, fragment="").geturl()
        self._auth: tuple[str, str] | None = None
        if parts.username is not None:
            self._auth = unquote(parts.username), unquote(parts.password or "")
        self._agent = agent
        self._poster: Any = None

    @classmethod
    def from_spec(cls, argument: str | None) -> Webhook:
        """
        Make it of ``webhook:URL``.
        """
        return cls(argument or "")

    def __repr__(self) -> str:
        return f"<Webhook {self.shown}>"

    def prepare(self) -> None:
        """
        :raise HandlerError: if treq is not installed.
        """
        try:
            import treq  # noqa: F401
        except ImportError:
            raise HandlerError("webhook wants treq: pip install txsmtpd[webhook]") from None

    async def stop(self) -> None:
        """
        Close the connections to the web server.
        """
        poster, self._poster = self._poster, None
        if poster is not None:
            await poster.stop()

    def poster(self, reactor: Any) -> Any:
        """
        What posts for us.
        """
        if self._poster is None:
            from .posting import Poster

            self._poster = Poster(reactor, self._url, self._auth, self._agent)
        return self._poster

    def open_content(self, server: Any, session: Session, envelope: Envelope) -> _Message:
        return _Message(self, server, session, envelope)
