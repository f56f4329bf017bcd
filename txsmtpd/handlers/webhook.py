"""
A handler that posts each message to a web server.

The form has the fields ``sender``, ``recipient`` (one for each), ``client``, ``helo``,
``protocol``, ``user`` and ``id``, and the message as a file, ``message``, of type message/rfc822.
"""

from __future__ import annotations

from typing import IO, Any
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from zope.interface import implementer

from ..core.replies import DELIVERED, LOCAL_ERROR, Reply
from ..core.session import Envelope, Session
from ..interfaces import IContentHook
from .base import HandlerError
from .spool import Spool, local_time

#: Seconds that the web server may take.
TIMEOUT = 120

_REFUSED = Reply(550, "5.7.1", ("Refused",))


def fields(session: Session, envelope: Envelope) -> list[tuple[str, str]]:
    """
    The fields of the form, without the message.
    """
    peer, user = session.peer, session.login_data if session.authenticated else b""
    pairs = [("sender", envelope.mail_from or "")]
    pairs += [("recipient", recipient.address) for recipient in envelope.recipients]
    return [
        *pairs,
        ("client", str(peer[0]) if isinstance(peer, tuple) else ""),
        ("helo", session.host_name or ""),
        ("protocol", envelope.protocol),
        ("user", user.decode("utf-8", "replace") if isinstance(user, bytes) else str(user)),
        ("id", envelope.id),
    ]


class _Message(Spool):
    """
    A message for the web server.
    """

    def __init__(self, webhook: Webhook, server: Any, session: Session, envelope: Envelope) -> None:
        super().__init__(server, session, envelope, local_time())
        self._webhook = webhook

    def deliver(self, file: IO[bytes]) -> Deferred[Reply]:
        form = fields(self.session, self.envelope)
        return self._webhook.post(self.session.reactor, form, file, self.envelope.id)


@implementer(IContentHook)
class Webhook:
    """
    Posts every message to a URL: 2xx takes it, 4xx refuses it, anything else, also no answer within
    :data:`TIMEOUT` seconds, has the client try again.

    :param url: http or https.
    :raise ValueError: for another URL, with one sentence; also if treq is not there.
    """

    log = Logger()

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("webhook wants a URL: webhook:https://example.org/mail")
        self.url = url
        # A password in a URL is none of the log's business.
        self._shown = parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()

    @classmethod
    def from_spec(cls, argument: str | None) -> Webhook:
        """
        Make it of ``webhook:URL``.
        """
        return cls(argument or "")

    def __repr__(self) -> str:
        return f"<Webhook {self._shown}>"

    def prepare(self) -> None:
        """
        :raise HandlerError: if treq is not installed.
        """
        try:
            import treq  # noqa: F401
        except ImportError:
            raise HandlerError("webhook wants treq: pip install txsmtpd[webhook]") from None

    def open_content(self, server: Any, session: Session, envelope: Envelope) -> _Message:
        return _Message(self, server, session, envelope)

    def post(
        self, reactor: Any, form: list[tuple[str, str]], file: IO[bytes], transaction: str
    ) -> Deferred[Reply]:
        """
        Post one message.

        :param file: closed in the end.
        :return: the verdict.
        """
        return Deferred.fromCoroutine(self._post(reactor, form, file, transaction))

    async def _post(
        self, reactor: Any, form: list[tuple[str, str]], file: IO[bytes], transaction: str
    ) -> Reply:
        import treq
        from twisted.web.client import FileBodyProducer

        try:
            response = await treq.post(
                self.url,
                data=form,
                files=[("message", ("message.eml", "message/rfc822", FileBodyProducer(file)))],
                allow_redirects=False,
                timeout=TIMEOUT,
                reactor=reactor,
            )
            code: int = response.code
            # What it says is not wanted, but the connection is.
            await response.collect(_forget)
        except Exception as error:
            self._complain(transaction, type(error).__name__)
            return LOCAL_ERROR
        finally:
            file.close()
        if 200 <= code < 300:
            return DELIVERED
        self._complain(transaction, f"it answered {code}")
        return _REFUSED if 400 <= code < 500 else LOCAL_ERROR

    def _complain(self, transaction: str, reason: str) -> None:
        self.log.warn(
            "message {transaction} was not taken by {url}: {reason}",
            event="webhook",
            transaction=transaction,
            url=self._shown,
            reason=reason,
        )


def _forget(data: bytes) -> None:
    pass
