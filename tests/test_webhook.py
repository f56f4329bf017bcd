"""
Tests for txsmtpd.handlers.webhook.

A web server is in tests.test_posting.
"""

from __future__ import annotations

import sys
from typing import IO, Any
from unittest import mock

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.testing import MemoryReactorClock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsmtpd.core.session import Envelope, Session
from txsmtpd.handlers import Webhook, make_handler
from txsmtpd.handlers.base import HandlerError
from txsmtpd.handlers.disk import MEMORY
from txsmtpd.handlers.posting import Poster
from txsmtpd.handlers.webhook import PARALLEL, REASON, fields, reason_of
from txsmtpd.interfaces import IContentHook, IContentReceiver

from .spoolkit import BODY, Server, SpoolCase, make_envelope, make_session, recipients

FAILED = "451 4.3.0 Local error, try again later"
#: Too large for memory.
BIG = b"x" * (MEMORY + 1)
URL = "https://ann:secret@hooks.example:8443/T0/secret?key=secret#secret"


class Posts:
    """
    Takes what is to be posted, and answers when it is told to.
    """

    def __init__(self) -> None:
        self.answer: Deferred[int] = Deferred()
        self.posted: list[tuple[Any, str, bytes]] = []
        self.stopped = 0

    async def post(self, form: Any, name: str, file: IO[bytes]) -> int:
        with file:
            self.posted.append((form, name, file.read()))
        return await self.answer

    async def stop(self) -> None:
        self.stopped += 1


class WebhookTests(SpoolCase):
    """
    What becomes of an answer.
    """

    def setUp(self) -> None:
        super().setUp()
        self.webhook = Webhook(URL, run=maybeDeferred)
        self.posts = Posts()
        self.patch(self.webhook, "poster", lambda reactor: self.posts)

    def start(self, content: bytes = BODY) -> Deferred[Any]:
        self.posts.answer = Deferred()
        receiver = self.webhook.open_content(Server(), make_session(), make_envelope())
        receiver.write(content)
        return self.finished(receiver)

    def verdict(self, answer: Any) -> str:
        done = self.start()
        self.assertNoResult(done)
        self.posts.answer.callback(answer)
        return str(self.successResultOf(done))

    def said(self) -> list[str]:
        """
        What was logged, without what all of it has.
        """
        for event in self.complaints():
            told = [event[name] for name in ("event", "transaction", "url")]
            self.assertEqual(told, ["webhook", "abc1", "https://hooks.example:8443"])
        return [event["reason"] for event in self.complaints()]

    def test_interfaces(self) -> None:
        verifyObject(IContentHook, self.webhook)
        receiver = self.webhook.open_content(Server(), make_session(), make_envelope())
        verifyObject(IContentReceiver, receiver)

    def test_message(self) -> None:
        """
        As it came, behind our headers.
        """
        self.assertEqual(self.verdict(200), "250 2.0.0 Message accepted")
        [(form, name, content)] = self.posts.posted
        self.assertEqual(form, fields(make_session(), make_envelope()))
        self.assertEqual(name, "message")
        self.assertTrue(content.startswith(b"Return-Path: <a@example.org>\r\nReceived: "))
        self.assertTrue(content.endswith(b"\r\n" + BODY))
        self.assertEqual(self.said(), [])

    def test_statuses(self) -> None:
        """
        Those that mean a moment are no refusal.
        """
        for status in range(100, 600):
            expected = FAILED
            if 200 <= status < 300:
                expected = "250 2.0.0 Message accepted"
            elif 400 <= status < 500 and status not in (408, 425, 429):
                expected = "550 5.7.1 Refused"
            self.assertEqual(self.verdict(status), expected, status)
        self.assertEqual(len(self.said()), 400)
        self.assertEqual(self.said()[0], "it answered 100")

    def test_no_answer(self) -> None:
        """
        The log says why, and not to which URL.
        """
        self.assertEqual(self.verdict(Failure(ConnectionRefusedError("no server"))), FAILED)
        self.assertEqual(self.said(), ["ConnectionRefusedError: no server"])
        self.assertNotIn("secret", repr(self.logged))

    def test_cancelled(self) -> None:
        """
        The hook took too long, as the core logs.
        """
        done = self.start()
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertEqual(self.said(), [])

    def test_parallel(self) -> None:
        """
        Not too many at a time.
        """
        done = [self.start() for _ in range(PARALLEL + 1)]
        self.assertEqual(len(self.posts.posted), PARALLEL)
        done[0].cancel()
        self.failureResultOf(done[0], CancelledError)
        self.assertEqual(len(self.posts.posted), PARALLEL + 1)

    def test_turn_too_late(self) -> None:
        """
        Its file is closed, and it is never posted.
        """
        self.webhook = Webhook(URL, parallel=1, run=maybeDeferred)
        self.patch(self.webhook, "poster", lambda reactor: self.posts)
        first, second = self.start(BIG), self.start(BIG)
        self.assertEqual([file.closes for file in self.files], [1, 0])
        second.cancel()
        self.failureResultOf(second, CancelledError)
        self.assertEqual([file.closes for file in self.files], [1, 1])
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertEqual(len(self.posts.posted), 1)
        self.assertEqual(self.said(), [])

    def test_stop(self) -> None:
        """
        It can be stopped before it was used, and more than once.
        """
        webhook = Webhook(URL)
        self.successResultOf(Deferred.fromCoroutine(webhook.stop()))
        reactor = MemoryReactorClock()
        poster: Any = webhook.poster(reactor)
        self.assertIsInstance(poster, Poster)
        self.assertIs(webhook.poster(reactor), poster)
        stopped: list[Poster] = []

        async def stop(poster: Poster) -> None:
            stopped.append(poster)

        self.patch(Poster, "stop", stop)
        for _ in range(2):
            self.successResultOf(Deferred.fromCoroutine(webhook.stop()))
        self.assertEqual(stopped, [poster])


class FieldTests(SynchronousTestCase):
    """
    The form.
    """

    def test_all(self) -> None:
        session = make_session(authenticated=True, login_data=b"ann", peer=("::1", 1, 0, 0))
        envelope = make_envelope(
            rcpt_tos=["z@example.com", "c@example.com"], recipients=recipients("b@c"), id="x1"
        )
        self.assertEqual(
            fields(session, envelope),
            [
                ("sender", "a@example.org"),
                ("recipient", "z@example.com"),
                ("recipient", "c@example.com"),
                ("client", "::1"),
                ("helo", "client.example"),
                ("protocol", "ESMTP"),
                ("user", "ann"),
                ("id", "x1"),
            ],
        )

    def test_nothing(self) -> None:
        found = dict(fields(Session(), Envelope()))
        self.assertEqual(found.pop("protocol"), "SMTP")
        self.assertEqual(set(found.values()), {""})

    def test_clean(self) -> None:
        evil = "a\r\nb\ud800"
        session = make_session(host_name=evil, authenticated=True, login_data=evil, peer=(evil,))
        envelope = make_envelope(evil, mail_from=evil, protocol=evil, id=evil)
        self.assertEqual({value for _, value in fields(session, envelope)}, {"a  b?"})


class Reasons(Exception):
    def __init__(self, *errors: Exception) -> None:
        self.reasons = [Failure(error) for error in errors]


class ReasonTests(SynchronousTestCase):
    """
    What is logged of an exception.
    """

    def test_reason(self) -> None:
        for error, reason in (
            (ValueError("a\r\nb"), "ValueError: a  b"),
            (ValueError(), "ValueError"),
            (Reasons(), "Reasons"),
            (Reasons(KeyError("x"), Reasons(OSError("y"))), "KeyError: 'x'; OSError: y"),
        ):
            self.assertEqual(reason_of(error), reason)

    def test_long(self) -> None:
        for error in (ValueError("x" * 1000), Reasons(ValueError("x" * 1000), ValueError())):
            self.assertEqual(reason_of(error), f"ValueError: {'x' * 1000}"[:REASON])


class URLTests(SynchronousTestCase):
    """
    What follows ``webhook:``.
    """

    def poster(self, url: str) -> Any:
        return Webhook(url).poster(MemoryReactorClock())

    def test_spec(self) -> None:
        made = make_handler("webhook:http://hooks.example/mail")
        self.assertIsInstance(made, Webhook)
        self.assertEqual(made.shown, "http://hooks.example")

    def test_secrets(self) -> None:
        """
        They go to the server and nowhere else.
        """
        webhook = Webhook(URL)
        self.assertEqual(repr(webhook), "<Webhook https://hooks.example:8443>")
        poster = self.poster(URL)
        self.assertEqual(poster._url, "https://hooks.example:8443/T0/secret?key=secret")
        self.assertEqual(poster._auth, ("ann", "secret"))

    def test_urls(self) -> None:
        for url, shown, asked, auth in (
            ("http://a.example", "http://a.example", "http://a.example", None),
            ("HTTPS://A.Example/X", "https://a.example", "https://a.example/X", None),
            ("http://[::1]:80/x", "http://[::1]:80", "http://[::1]:80/x", None),
            ("http://[::1]/x", "http://[::1]", "http://[::1]/x", None),
            ("http://u%3Av:p%40q@h/", "http://h", "http://h/", ("u:v", "p@q")),
            ("http://u@h/", "http://h", "http://h/", ("u", "")),
            ("http://:p@h/", "http://h", "http://h/", ("", "p")),
        ):
            self.assertEqual(Webhook(url).shown, shown)
            poster = self.poster(url)
            self.assertEqual((poster._url, poster._auth), (asked, auth))

    def test_no_url(self) -> None:
        """
        What is wrong with it is not said, because that might be secret.
        """
        for url in (
            None,
            "",
            "hooks.example",
            "ftp://hooks.example/",
            "https:///mail",
            "https://",
            "https://h:secret/",
            "https://h:99999/",
            "https://[::1/",
            "https://h/a b\n",
            "https://h/\0",
        ):
            error = self.assertRaises(ValueError, Webhook.from_spec, url)
            sentence = "webhook wants a URL: webhook:https://example.org/mail"
            self.assertEqual(str(error), sentence, url)
            self.assertIsNone(error.__cause__)
            self.assertTrue(error.__suppress_context__ or error.__context__ is None)

    def test_prepare(self) -> None:
        Webhook(URL).prepare()

    def test_without_treq(self) -> None:
        """
        One sentence says what to do.
        """
        modules = mock.patch.dict(sys.modules, {"treq": None})
        modules.start()
        self.addCleanup(modules.stop)
        error = self.assertRaises(HandlerError, Webhook(URL).prepare)
        self.assertEqual(str(error), "webhook wants treq: pip install txsmtpd[webhook]")
