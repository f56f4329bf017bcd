"""
Tests for txsmtpd.extensions.auth.
"""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Generator, Iterable
from types import SimpleNamespace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.identity import Identity, Refusal, Unavailable
from txsmtpd.core.replies import Rejected, Reply
from txsmtpd.core.session import TLS, Session
from txsmtpd.core.settings import Settings
from txsmtpd.extensions.auth import ATTEMPTS, DELAY, Auth
from txsmtpd.sasl import (
    MECHANISMS,
    Call,
    Challenge,
    Check,
    Circumstances,
    Denied,
    Malformed,
    Mechanism,
    Password,
)

from .corekit import OPENING, Client, Handler, Later, Mailbox, rules, short
from .test_sasl_base import circumstances

PLAIN = "AUTH PLAIN AGFubgB3b25kZXJsYW5k"
ANN = Password(b"ann", b"wonderland")
WELCOME = "235 2.7.0 Authentication successful"
WRONG = "535 5.7.8 Authentication credentials invalid"


class Users:
    """
    A :class:`txsmtpd.core.identity.Login`.

    :param answer: what it says of credentials, or raises; or a function of them.
    :param served: the names of the mechanisms whose credentials it can check; None is all.
    :param given: what mechanisms may know besides the name of the server.
    """

    def __init__(
        self, answer: Any = None, served: Iterable[str] | None = None, **given: Any
    ) -> None:
        self.answer = Identity("Ann", b"ann") if answer is None else answer
        self.served = served
        self.given = given
        self.calls: list[tuple[Any, ...]] = []
        self.bindings: bool | None = None

    def serves(self, mechanism: Mechanism) -> bool:
        return self.served is None or mechanism.name in self.served

    def circumstances(self, session: Session, bindings: bool) -> Circumstances:
        self.bindings = bindings
        return circumstances(**self.given)

    def check(self, *arguments: Any) -> Any:
        self.calls.append(arguments)
        answer = self.answer
        if callable(answer) and not isinstance(answer, Identity):
            answer = answer(arguments[-1])
        if isinstance(answer, Exception):
            raise answer
        return answer


def client(users: Any = None, *handlers: object, greet: bool = True, **settings: Any) -> Client:
    """
    A client that has said EHLO, where AUTH needs no TLS.
    """
    settings = {"login": users or Users(), "auth_require_tls": False, **settings}
    made = Client(*handlers, **settings)
    made.greet()
    if greet:
        made.say("EHLO client.example")
    return made


def encoded(octets: bytes) -> str:
    return b64encode(octets).decode()


def keyword(session: Session | None = None, users: Any = None, **settings: Any) -> str | None:
    auth = Auth(Settings(login=users or Users(), **settings))
    return auth.keyword(session or Session(ssl={}))


class Own:
    """
    A mechanism of one's own, called OWN, whose steps a test gives.
    """

    def __init__(self, steps: Callable[[Any], Generator[Any, Any, Any]], **options: Any) -> None:
        self.ends: list[str] = []
        self._steps = steps
        options.setdefault("credentials", None)
        self.mechanism = Mechanism("OWN", self._exchange, **options)

    def _exchange(self, given: Circumstances, initial: bytes | None) -> Any:
        try:
            return (yield from self._steps(initial))
        finally:
            self.ends.append("end")

    def client(self, users: Any = None, **settings: Any) -> Client:
        return client(users, mechanisms=[self.mechanism], **settings)


class KeywordTests(SynchronousTestCase):
    """
    What is offered, where, and to whom.
    """

    def test_all(self) -> None:
        """
        In the order of the mechanisms; those that a connection cannot have are left out.
        """
        expected = "AUTH SCRAM-SHA-256 SCRAM-SHA-1 OAUTHBEARER XOAUTH2 CRAM-MD5 PLAIN LOGIN"
        self.assertEqual(expected, keyword())

    def test_ehlo(self) -> None:
        said = client(greet=False, auth_mechanism=["LOGIN"]).send(b"EHLO client.example\r\n")
        self.assertIn("AUTH LOGIN", said[0].lines)

    def test_by_circumstances(self) -> None:
        users = Users(channel_binding={"tls-exporter": b"x"}.get, certificate=b"x")
        self.assertEqual(
            "AUTH SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1 EXTERNAL"
            " OAUTHBEARER XOAUTH2 CRAM-MD5 PLAIN LOGIN",
            keyword(users=users),
        )

    def test_bindings(self) -> None:
        """
        Where -PLUS is switched off nothing is known of channel bindings: else a client that knows
        of them too would seem to have been tricked.
        """
        settings: Any
        for settings, bindings in (
            ({}, True),
            ({"auth_mechanism": ["scram-sha-1-plus"]}, True),
            ({"auth_exclude_mechanism": ["SCRAM-SHA-256-PLUS"]}, True),
            ({"auth_exclude_mechanism": ["SCRAM-SHA-256-PLUS", "SCRAM-SHA-1-PLUS"]}, False),
            ({"auth_mechanism": ["SCRAM-SHA-256", "PLAIN"]}, False),
            ({"mechanisms": []}, False),
        ):
            users = Users()
            keyword(users=users, **settings)
            self.assertIs(bindings, users.bindings)

    def test_by_users(self) -> None:
        """
        Only what somebody can check.
        """
        self.assertEqual("AUTH PLAIN LOGIN", keyword(users=Users(served=("LOGIN", "PLAIN"))))
        self.assertIsNone(keyword(users=Users(served=())))

    def test_nobody(self) -> None:
        self.assertIsNone(Auth(Settings(auth_require_tls=False)).keyword(Session()))

    def test_chosen(self) -> None:
        for allowed, excluded, expected in (
            (["login", "PLAIN"], [], "AUTH PLAIN LOGIN"),
            (["PLAIN"], ["PLAIN"], None),
            (["XYZZY"], [], None),
            (
                [],
                ["plain", "SCRAM-SHA-1"],
                "AUTH SCRAM-SHA-256 OAUTHBEARER XOAUTH2 CRAM-MD5 LOGIN",
            ),
        ):
            said = keyword(auth_mechanism=allowed, auth_exclude_mechanism=excluded)
            self.assertEqual(expected, said)

    def test_own(self) -> None:
        """
        The mechanisms are those that are set; of two of the same name the last one.
        """
        own = Own(lambda initial: iter(())).mechanism  # type: ignore[arg-type,return-value]
        again = Mechanism("PLAIN", own.exchange, None)
        self.assertEqual("AUTH OWN", keyword(mechanisms=[own]))
        self.assertEqual("AUTH PLAIN OWN", keyword(mechanisms=[MECHANISMS[-2], own, again]))
        auth = Auth(Settings(login=Users(), mechanisms=[MECHANISMS[-2], own, again]))
        self.assertIs(again, auth._mechanisms["PLAIN"])

    def test_safety(self) -> None:
        """
        TLS of our own, that of a proxy, or none if that is all right.
        """
        proxied = Session(proxy=SimpleNamespace(secure=True))
        exposed = Session(proxy=SimpleNamespace(secure=False))
        self.assertEqual(keyword(), keyword(proxied))
        self.assertIsNone(keyword(exposed))
        self.assertIsNone(keyword(Session()))
        self.assertEqual(keyword(), keyword(Session(), auth_require_tls=False))

    def test_still(self) -> None:
        """
        Who has logged in sees it too, or else AUTH of MAIL were unknown then.
        """
        self.assertEqual(keyword(), keyword(Session(ssl={}, authenticated=True)))


class CommandTests(SynchronousTestCase):
    """
    Why an attempt does not even begin.
    """

    def assertSaid(self, expected: str, line: str, users: Any = None, **settings: Any) -> None:
        made = client(users, **settings)
        self.assertEqual(expected, made.ask(line))
        self.assertEqual((None, "ready"), (made.session.authenticated, made.state))

    def test_nobody(self) -> None:
        """
        Nobody to ask, or nobody for any mechanism.
        """
        made = Client(auth_require_tls=False)
        made.say("EHLO client.example")
        self.assertEqual("502 5.5.1 Command not implemented", made.ask(PLAIN))
        self.assertEqual(0, made.dialog.errors)
        self.assertSaid("504 5.5.4 Unrecognized authentication type", PLAIN, Users(served=()))

    def test_in_the_clear(self) -> None:
        made = client(auth_require_tls=True)
        said = made.ask(PLAIN)
        self.assertEqual(
            "538 5.7.11 Encryption required for requested authentication mechanism", said
        )
        self.assertEqual(0, made.dialog.errors)
        made.session.ssl = {}
        self.assertEqual(WELCOME, made.ask(PLAIN))

    def test_syntax(self) -> None:
        for line in ("AUTH", "AUTH PLAIN  =", "AUTH  PLAIN", "AUTH PLAIN = ="):
            self.assertSaid("501 5.5.4 Syntax: AUTH mechanism [initial-response]", line)

    def test_unknown(self) -> None:
        for word in ("XYZZY", "PLAINER", "PLA\u0131N", "EXTERNAL", "SCRAM-SHA-256-PLUS", "="):
            self.assertSaid("504 5.5.4 Unrecognized authentication type", f"AUTH {word}")

    def test_server_first(self) -> None:
        for response in ("=", encoded(b"ann")):
            self.assertSaid(
                "501 5.7.0 In this mechanism the server speaks first", f"AUTH CRAM-MD5 {response}"
            )

    def test_base64(self) -> None:
        for word in ("A", "A===", "AA=A", "AAAAA", "====", "AA==AAAA", "AAA*", "AA\u00e9A", "*"):
            self.assertSaid("501 5.5.2 Cannot decode that", f"AUTH PLAIN {word}")

    def test_initial_response(self) -> None:
        """
        It may be none, and it may be empty, which are not the same.
        """
        seen: list[Any] = []

        def steps(initial: bytes | None) -> Any:
            seen.append(initial)
            return "somebody"
            yield

        for line in ("AUTH OWN", "AUTH OWN \t", "auth own =", "AUTH OWN AP8="):
            self.assertEqual(WELCOME, Own(steps).client().ask(line))
        self.assertEqual([None, None, b"", b"\0\xff"], seen)

    def test_sequence(self) -> None:
        made = client(greet=False)
        self.assertEqual(["503 5.5.1"], made.say(PLAIN))
        self.assertEqual(["250", "503 5.5.1"], made.say("HELO client.example", PLAIN))
        self.assertEqual(["250", "250 2.1.0"], made.say(*OPENING[:2]))
        self.assertEqual(["503 5.5.1"], made.say(PLAIN))
        self.assertEqual(["250 2.1.5", "503 5.5.1"], made.say(OPENING[2], PLAIN))
        self.assertEqual(["250 2.0.0", "503 5.5.1"], made.say("BDAT 0", PLAIN))
        self.assertEqual(["250 2.0.0", "235 2.7.0"], made.say("RSET", PLAIN))
        for line in (PLAIN, "AUTH", "AUTH XYZZY"):
            self.assertEqual(["503 5.5.1"], made.say(line))

    def test_long_lines(self) -> None:
        made = client()
        self.assertEqual(["501 5.5.2"], made.say("AUTH PLAIN " + "A" * 12275))
        self.assertEqual(
            "500 5.5.6 Authentication exchange line is too long",
            made.ask("AUTH PLAIN " + "A" * 12276),
        )
        self.assertEqual(["334", "501 5.5.2"], made.say("AUTH PLAIN", "A" * 12286))
        self.assertEqual(["334", "500 5.5.6"], made.say("AUTH PLAIN", "A" * 12287))
        self.assertEqual(["250 2.0.0"], made.say("NOOP"))

    def test_help(self) -> None:
        self.assertEqual(
            "214 2.0.0 Syntax: AUTH mechanism [initial-response]", client().ask("HELP auth")
        )


class SuccessTests(SynchronousTestCase):
    """
    What comes of good credentials.
    """

    def test_asked(self) -> None:
        """
        The question has all that an authenticator may want to know.
        """
        users = Users()
        made = client(users)
        self.assertEqual(WELCOME, made.ask(PLAIN))
        dialog = made.dialog
        self.assertEqual(
            [(made.server, dialog.session, dialog.envelope, "PLAIN", ANN)], users.calls
        )

    def test_session(self) -> None:
        made = client()
        session = made.session
        self.assertIsNone(session.authenticated)
        made.say(PLAIN)
        self.assertIs(True, session.authenticated)
        self.assertEqual(("Ann", b"ann", 0), (
            session.auth_data, session.login_data, made.dialog.auth_failures
        ))  # fmt: skip
        self.assertEqual(([], []), (made.runner.paused, made.runner.errors))

    def test_protocol(self) -> None:
        """
        A handler sees it, and so does who reads the message (RFC 3848).
        """
        mailbox = Mailbox()
        made = client(None, mailbox)
        made.say(PLAIN, *OPENING, "DATA", ".")
        (envelope,) = mailbox.envelopes
        self.assertEqual("ESMTPA", envelope.protocol)

    def test_rounds(self) -> None:
        made = client()
        said = made.say("AUTH LOGIN")
        self.assertEqual(["334"], said)
        self.assertEqual(("VXNlcm5hbWU6",), made.replies[-1].lines)
        self.assertEqual("334 UGFzc3dvcmQ6", made.send(b"YW5u\r\n")[0].wire.decode().strip())
        self.assertEqual(WELCOME, made.ask("d29uZGVybGFuZA=="))
        self.assertEqual(["250 2.0.0"], made.say("NOOP"))

    def test_empty_challenge(self) -> None:
        """
        Its space is there.
        """
        (said,) = client().send(b"AUTH PLAIN\r\n")
        self.assertEqual(b"334 \r\n", said.wire)

    def test_long_challenge(self) -> None:
        """
        A challenge is one line: a client's nonce may be as long as its line.
        """
        nonce = b"x" * 9000
        (said,) = client().send(
            f"AUTH SCRAM-SHA-256 {encoded(b'n,,n=ann,r=' + nonce)}\r\n".encode()
        )
        self.assertEqual((334, 1), (said.code, said.wire.count(b"\r\n")))
        self.assertGreater(len(said.wire), 12000)

    def test_other_words(self) -> None:
        """
        An authenticator may say something else, if it is positive.
        """
        for message, expected in (
            ("235 2.7.0 Hello Ann", "235 2.7.0 Hello Ann"),
            (b"235 Hello", "235 2.7.0 Hello"),
            (Reply(235, "2.7.0", "\u00e4"), "235 2.7.0 ?"),
        ):
            made = client(Users(Identity("Ann", b"ann", message)))
            self.assertEqual(expected, made.ask(PLAIN))
            self.assertIs(True, made.session.authenticated)

    def test_wrong_words(self) -> None:
        """
        Who is let in with a refusal, or in words that are none, is not in.
        """
        for message, expected in (
            ("535 5.7.8 No", "535 5.7.8"),
            ("334 more", "451 4.3.0"),
            ("Hello", "451 4.3.0"),
            (3, "451 4.3.0"),
        ):
            left: list[str] = []
            ann = Identity("Ann", b"ann", message, lambda left=left: left.append("Ann"))  # type: ignore[misc]
            made = client(Users(ann))
            self.assertEqual([expected], made.say(PLAIN))
            self.assertIsNot(True, made.session.authenticated)
            self.assertIsNone(made.session.auth_data)
            # Only the first is a refusal: the others are trouble of the server's own.
            failures = 1 if expected == "535 5.7.8" else 0
            self.assertEqual(([DELAY] * failures, failures), (
                made.runner.paused, made.dialog.auth_failures
            ))  # fmt: skip
            self.assertEqual(["Ann"], left)
            made.lose()
            self.assertEqual(["Ann"], left)

    def test_pending(self) -> None:
        """
        What is said meanwhile waits.
        """
        verdict = Later()
        made = client(Users(verdict))
        self.assertEqual([], made.say(PLAIN, "NOOP"))
        self.assertTrue(made.pending)
        self.assertIsNone(made.session.authenticated)
        verdict.answer(Identity("Ann", b"ann"))
        self.assertEqual(["235 2.7.0", "250 2.0.0"], list(map(short, made.resume())))

    def test_later_but_there(self) -> None:
        verdict = Later()
        verdict.answer(Identity("Ann"))
        made = client(Users(verdict))
        self.assertEqual(WELCOME, made.ask(PLAIN))
        self.assertIsNone(made.session.login_data)

    def test_pipelined(self) -> None:
        made = client()
        self.assertEqual(["235 2.7.0", "250 2.1.0"], made.say(PLAIN, OPENING[1]))
        made = client()
        self.assertEqual(
            ["334", "334", "235 2.7.0", "250 2.0.0"],
            made.say("AUTH LOGIN", "YW5u", "d29uZGVybGFuZA==", "NOOP"),
        )


class FailureTests(SynchronousTestCase):
    """
    What comes of credentials that are not good.
    """

    def test_wrong(self) -> None:
        """
        It costs a while, and is known to be wrong.
        """
        made = client(Users(Refusal()))
        self.assertEqual(WRONG, made.ask(PLAIN))
        session = made.session
        self.assertEqual(([DELAY], False, 1), (
            made.runner.paused, session.authenticated, made.dialog.auth_failures
        ))  # fmt: skip
        self.assertIsNone(session.auth_data)
        self.assertEqual(("ready", 1), (made.state, made.dialog.errors))

    def test_neither(self) -> None:
        """
        What is no identity does not let in.
        """
        made = client(Users(answer=lambda credentials: True))
        self.assertEqual(WRONG, made.ask(PLAIN))

    def test_delay(self) -> None:
        """
        It is shorter where it would be taken for a hook that hangs.
        """
        for timeout, delay in ((0, DELAY), (2, DELAY), (1, 0.5), (0.5, 0.25)):
            made = client(Users(Refusal()), hook_timeout=timeout)
            made.say(PLAIN)
            self.assertEqual([delay], made.runner.paused)

    def test_then_right(self) -> None:
        users = Users(Refusal())
        made = client(users)
        self.assertEqual(["535 5.7.8"] * 2, made.say(PLAIN, PLAIN))
        users.answer = Identity("Ann")
        self.assertEqual(["235 2.7.0"], made.say(PLAIN))
        self.assertIs(True, made.session.authenticated)

    def test_third(self) -> None:
        """
        It ends the session, and what follows is not obeyed.
        """
        made = client(Users(Refusal()), max_errors=0)
        self.assertEqual(3, ATTEMPTS)
        self.assertEqual(["535 5.7.8"] * 2, made.say(PLAIN, PLAIN))
        self.assertFalse(made.closed)
        self.assertEqual(["535 5.7.8", "421 4.7.0"], made.say(PLAIN, "NOOP"))
        self.assertTrue(made.closed)
        self.assertEqual([DELAY] * 3, made.runner.paused)

    def test_max_errors(self) -> None:
        made = client(Users(Refusal()), max_errors=2)
        self.assertEqual(["500 5.5.2"], made.say("XYZZY"))
        self.assertEqual(["535 5.7.8", "421 4.7.0"], made.say(PLAIN))
        self.assertTrue(made.closed)

    def test_new_session(self) -> None:
        """
        STARTTLS begins a new one, but it is still the same connection: nobody gets more attempts
        for it.
        """
        session = Session(can_start_tls=True)
        made = client(Users(Refusal()), session=session, context_factory=object())
        self.assertEqual(["535 5.7.8"] * 2, made.say(PLAIN, PLAIN))
        made.say("STARTTLS")
        made.secure()
        self.assertEqual((None, 2), (made.session.authenticated, made.dialog.auth_failures))
        made.say("EHLO client.example")
        self.assertEqual(["535 5.7.8", "421 4.7.0"], made.say(PLAIN))

    def test_other_words(self) -> None:
        for message, expected in (
            ("535 5.7.8 Your account is closed", "535 5.7.8 Your account is closed"),
            (b"550 No", "550 5.7.0 No"),
            (Reply(454, "4.7.0", "Try later"), "454 4.7.0 Try later"),
        ):
            self.assertEqual(expected, client(Users(Refusal(message))).ask(PLAIN))

    def test_wrong_words(self) -> None:
        """
        The attempt has failed, however it is put; what is wrong with the words is reported.
        """
        for message in ("235 2.7.0 Hello", "334 more", "No", 3):
            made = client(Users(Refusal(message)))
            self.assertEqual(WRONG, made.ask(PLAIN))
            self.assertEqual(1, len(made.runner.errors))
            made.say(PLAIN)
            self.assertEqual(["535 5.7.8", "421 4.7.0"], made.say(PLAIN))

    def test_broken(self) -> None:
        """
        The server's own trouble is no failed attempt, and its words are for the log.
        """
        error = RuntimeError("no database")
        made = client(Users(error))
        for _ in range(5):
            self.assertEqual("454 4.7.0 Temporary authentication failure", made.ask(PLAIN))
        self.assertEqual([error] * 5, made.runner.errors)
        self.assertEqual(([], 0, 0), (
            made.runner.paused, made.dialog.auth_failures, made.dialog.errors
        ))  # fmt: skip
        self.assertIsNone(made.session.authenticated)

    def test_broken_later(self) -> None:
        verdict = Later()
        made = client(Users(verdict))
        made.say(PLAIN)
        verdict.fail(RuntimeError("no database"))
        self.assertEqual(["454 4.7.0"], list(map(short, made.resume())))

    def test_exception_hook(self) -> None:
        """
        It is not for that.
        """
        handler = Handler(handle_exception=lambda *_: "550 5.7.1 Mine")
        made = client(Users(RuntimeError()), handler)
        self.assertEqual(["454 4.7.0"], made.say(PLAIN))


class ExchangeTests(SynchronousTestCase):
    """
    How an exchange goes, with mechanisms of all kinds.
    """

    def test_abort(self) -> None:
        def steps(initial: bytes | None) -> Any:
            while True:
                yield Challenge(b"more")

        for rounds in range(3):
            own = Own(steps)
            made = own.client()
            made.say("AUTH OWN", *["AAAA"] * rounds)
            self.assertEqual("501 5.7.0 Authentication aborted", made.ask("*"))
            self.assertEqual((["end"], None), (own.ends, made.challenge))
            self.assertEqual(["250 2.0.0"], made.say("NOOP"))
            self.assertEqual((0, 1), (made.dialog.auth_failures, made.dialog.errors))

    def test_answers(self) -> None:
        """
        They are decoded, and may be empty; only a lone asterisk aborts.
        """
        heard: list[bytes] = []

        def steps(initial: bytes | None) -> Any:
            while len(heard) < 3:
                heard.append((yield Challenge(b"\0" * len(heard))))
            return "somebody"

        made = Own(steps).client()
        said = made.send(b"AUTH OWN\r\nAP8=\r\n\r\nKg==\r\n")
        self.assertEqual(
            [b"334 \r\n", b"334 AA==\r\n", b"334 AAA=\r\n"], [reply.wire for reply in said[:3]]
        )
        self.assertEqual(["235 2.7.0"], list(map(short, said[3:])))
        self.assertEqual([b"\0\xff", b"", b"*"], heard)

    def test_bad_answers(self) -> None:
        """
        They end it, and what it holds is let go.
        """

        def steps(initial: bytes | None) -> Any:
            yield Challenge(b"")

        for line, expected in (
            (b"=", "501 5.5.2"),
            (b"**", "501 5.5.2"),
            (b"* ", "501 5.5.2"),
            (b"AAAA ", "501 5.5.2"),
            (b"AAAA\n", "501 5.5.2"),
            (b"AAAA\nAAAA", "501 5.5.2"),
            (b"\xff\xfe\0\n", "501 5.5.2"),
            (b"NOOP=", "501 5.5.2"),
            (b"A" * 20000, "500 5.5.6"),
        ):
            own = Own(steps)
            made = own.client()
            self.assertEqual(["334"], made.say("AUTH OWN"))
            self.assertEqual([expected, "250 2.0.0"], made.say(line, "NOOP"))
            self.assertEqual((["end"], 1), (own.ends, made.dialog.errors))

    def test_ends(self) -> None:
        """
        What a mechanism may end with, where it has asked nobody.
        """
        made_it = object()
        for end, expected, data in (
            ("somebody", "235 2.7.0", "somebody"),
            (made_it, "235 2.7.0", made_it),
            (None, "535 5.7.8", None),
            (False, "535 5.7.8", None),
            (Denied("no"), "535 5.7.8", None),
            (Malformed("what"), "501 5.5.2", None),
            (RuntimeError("broken"), "454 4.7.0", None),
        ):

            def steps(initial: bytes | None, end: Any = end) -> Any:
                if isinstance(end, Exception):
                    raise end
                return end
                yield

            made = Own(steps).client()
            self.assertEqual([expected], made.say("AUTH OWN"))
            self.assertEqual((data, None), (made.session.auth_data, made.session.login_data))
            self.assertEqual([DELAY] * (expected == "535 5.7.8"), made.runner.paused)

    def test_ends_after_check(self) -> None:
        """
        What it ends with if it has asked.
        """
        ann, nobody = Identity("Ann", b"ann"), Refusal("535 5.7.8 Nobody")
        for verdict, end, expected, data in (
            (ann, None, WELCOME, "Ann"),
            (ann, "somebody", WELCOME, "somebody"),
            (ann, False, WRONG, None),
            (nobody, None, "535 5.7.8 Nobody", None),
            (nobody, False, "535 5.7.8 Nobody", None),
            (nobody, "somebody", WELCOME, "somebody"),
        ):
            told: list[Any] = []

            def steps(initial: bytes | None, told: list[Any] = told, end: Any = end) -> Any:
                told.append((yield Check("credentials")))
                return end

            made = Own(steps).client(Users(verdict))
            self.assertEqual(expected, made.ask("AUTH OWN"))
            self.assertEqual([verdict is ann], told)
            self.assertEqual(data, made.session.auth_data)

    def test_last_check_counts(self) -> None:
        verdicts = [Identity("first"), Refusal(), Identity("last"), Identity("x"), Refusal()]

        def steps(initial: bytes | None) -> Any:
            for _ in range(3 if len(verdicts) == 5 else 2):
                yield Check("credentials")

        own = Own(steps)
        made = own.client(Users(answer=lambda _: verdicts.pop(0)))
        self.assertEqual(WELCOME, made.ask("AUTH OWN"))
        self.assertEqual("last", made.session.auth_data)
        made = own.client(Users(answer=lambda _: verdicts.pop(0)))
        self.assertEqual(WRONG, made.ask("AUTH OWN"))

    def test_speaks_after_check(self) -> None:
        """
        As SCRAM does, and OAUTHBEARER when it fails.
        """

        def steps(initial: bytes | None) -> Any:
            good = yield Check("credentials")
            yield Challenge(b"yes" if good else b"no")

        for verdict, said, end in (
            (Identity("Ann"), b"yes", "235 2.7.0"),
            (Refusal(), b"no", "535 5.7.8"),
        ):
            made = Own(steps).client(Users(verdict))
            (reply,) = made.send(b"AUTH OWN\r\n")
            self.assertEqual((encoded(said),), reply.lines)
            # Not yet.
            self.assertIsNone(made.session.authenticated)
            self.assertEqual([end], made.say(""))

    def test_verdict(self) -> None:
        """
        It may end with a verdict of its own, words and all.
        """
        identity = Identity("Ann", b"ann", "235 2.7.0 Hello")
        for verdict, expected, name in (
            (identity, "235 2.7.0 Hello", b"ann"),
            (Refusal(), WRONG, None),
            (Refusal("535 5.7.8 No"), "535 5.7.8 No", None),
        ):

            def steps(initial: bytes | None, verdict: Any = verdict) -> Any:
                yield Check("credentials")
                return verdict

            made = Own(steps).client()
            self.assertEqual(expected, made.ask("AUTH OWN"))
            self.assertEqual(name, made.session.login_data)

    def test_call(self) -> None:
        """
        It may have something called as a hook is, and gets what comes of that, at once or later.
        """
        calls: list[Any] = []
        there, pending = Later(), Later()
        there.answer("a user")
        for answer in ("a user", there, pending):

            def function(*arguments: Any, answer: Any = answer) -> Any:
                calls.append(arguments)
                return answer

            def steps(initial: bytes | None, function: Any = function) -> Any:
                return (yield Call(function))

            made = Own(steps).client()
            said = made.say("AUTH OWN")
            if answer is pending:
                self.assertEqual([], said)
                pending.answer("a user")
                said = list(map(short, made.resume()))
            self.assertEqual(["235 2.7.0"], said)
            self.assertEqual("a user", made.session.auth_data)
            self.assertEqual((made.server, made.session, made.envelope), calls[-1])

    def test_broken_call(self) -> None:
        def steps(initial: bytes | None) -> Any:
            yield Call(lambda *_: 1 // 0)

        own = Own(steps)
        self.assertEqual(["454 4.7.0"], own.client().say("AUTH OWN"))
        self.assertEqual(["end"], own.ends)

    def test_not_a_mechanism(self) -> None:
        """
        What is no exchange is the server's own trouble.
        """

        def wants_bytes(initial: bytes | None) -> Any:
            yield b"a challenge"

        def wants_text(initial: bytes | None) -> Any:
            yield Challenge("a challenge")  # type: ignore[arg-type]

        for steps in (wants_bytes, wants_text):
            made = Own(steps).client()
            self.assertEqual(["454 4.7.0", "250 2.0.0"], made.say("AUTH OWN", "NOOP"))
            self.assertEqual(1, len(made.runner.errors))
        nothing = Mechanism("OWN", lambda given, initial: None, None)  # type: ignore[arg-type,return-value]
        made = client(mechanisms=[nothing])
        self.assertEqual(["454 4.7.0"], made.say("AUTH OWN"))
        broken = Mechanism("OWN", lambda given, initial: 1 // 0, None)  # type: ignore[arg-type,return-value]
        made = client(mechanisms=[broken])
        self.assertEqual(["451 4.3.0"], made.say("AUTH OWN"))

    def test_busy(self) -> None:
        """
        Who cannot check now is not broken: nothing is logged but the reply.
        """

        def steps(initial: bytes | None) -> Any:
            yield Check("credentials")

        own = Own(steps)
        made = own.client(Users(Unavailable()))
        said = "454 4.7.0 Cannot check credentials now, try again later"
        self.assertEqual(said, made.ask("AUTH OWN"))
        self.assertEqual((["end"], []), (own.ends, made.runner.errors))
        self.assertEqual(([], 0, 0), (
            made.runner.paused, made.dialog.auth_failures, made.dialog.errors
        ))  # fmt: skip

    def test_broken_check_ends_it(self) -> None:
        def steps(initial: bytes | None) -> Any:
            yield Check("credentials")

        own = Own(steps)
        self.assertEqual(["454 4.7.0"], own.client(Users(RuntimeError())).say("AUTH OWN"))
        self.assertEqual(["end"], own.ends)

    def test_needs_its_credentials(self) -> None:
        users = Users(served=("PLAIN",))
        own = Own(lambda initial: iter(()), credentials=Password)  # type: ignore[arg-type,return-value]
        self.assertEqual(["504 5.5.4"], own.client(users).say("AUTH OWN"))


class RefusedBeforeTheEndTests(SynchronousTestCase):
    """
    Some mechanisms challenge a client that they have refused already (RFC 7628 section 3.2.3).
    Whatever it answers, the attempt counts and costs as any other.
    """

    TOKEN = "AUTH XOAUTH2 " + encoded(b"user=ann\1auth=Bearer x\1\1")

    def test_polite(self) -> None:
        made = client(Users(Refusal()))
        self.assertEqual(["334", "535 5.7.8"], made.say(self.TOKEN, ""))
        self.assertEqual(([DELAY], 1), (made.runner.paused, made.dialog.auth_failures))

    def test_others(self) -> None:
        for line, expected in (
            ("*", "501 5.7.0"),
            ("?", "501 5.5.2"),
            ("A" * 13000, "500 5.5.6"),
        ):
            made = client(Users(Refusal()))
            for attempt in (1, 2):
                self.assertEqual(["334", expected], made.say(self.TOKEN, line))
                self.assertEqual(
                    ([DELAY] * attempt, attempt), (made.runner.paused, made.dialog.auth_failures)
                )
                self.assertIs(False, made.session.authenticated)
            self.assertEqual(["334", expected, "421 4.7.0"], made.say(self.TOKEN, line))
            self.assertTrue(made.closed)

    def test_malformed(self) -> None:
        def steps(initial: bytes | None) -> Any:
            yield Check("credentials")
            yield Challenge(b"no")
            raise Malformed("neither empty nor *")

        made = Own(steps).client(Users(Refusal()))
        self.assertEqual(["334", "501 5.5.2"], made.say("AUTH OWN", ""))
        self.assertEqual(([DELAY], 1), (made.runner.paused, made.dialog.auth_failures))

    def test_before_any_check(self) -> None:
        """
        Nothing was tried yet.
        """
        made = client(Users(Refusal()))
        self.assertEqual(["334", "501 5.7.0"], made.say("AUTH PLAIN", "*"))
        self.assertEqual(([], 0), (made.runner.paused, made.dialog.auth_failures))


class LogoutTests(SynchronousTestCase):
    """
    Who has logged in is logged out, once.
    """

    def setUp(self) -> None:
        self.log: list[str] = []
        self.ann = Identity("Ann", logout=lambda: self.log.append("Ann has left"))

    def test_disconnect(self) -> None:
        made = client(Users(self.ann))
        made.say(PLAIN, *OPENING, "RSET", "EHLO client.example")
        self.assertEqual([], self.log)
        made.lose()
        made.lose()
        self.assertEqual(["Ann has left"], self.log)

    def test_starttls(self) -> None:
        """
        What was learnt in the clear is forgotten, and who it was.
        """
        session = Session(can_start_tls=True)
        made = client(Users(self.ann), session=session, context_factory=object())
        made.say(PLAIN, "STARTTLS")
        self.assertEqual([], self.log)
        made.secure()
        self.assertEqual(["Ann has left"], self.log)
        self.assertIsNone(made.session.authenticated)
        self.assertIsNone(made.session.auth_data)
        made.lose()
        self.assertEqual(["Ann has left"], self.log)

    def test_exchange_that_fails(self) -> None:
        """
        Good credentials do not make an exchange good that ends otherwise.
        """

        def steps(initial: bytes | None) -> Any:
            yield Check("credentials")
            yield Challenge(b"prove it")

        made = Own(steps).client(Users(self.ann))
        for line, expected in (
            ("*", "501 5.7.0"),
            ("?", "501 5.5.2"),
            ("A" * 13000, "500 5.5.6"),
        ):
            self.log.clear()
            made = Own(steps).client(Users(self.ann))
            self.assertEqual(["334", expected], made.say("AUTH OWN", line))
            # At once, and once.
            self.assertEqual(["Ann has left"], self.log)
            self.assertIsNone(made.session.authenticated)
            # Nobody was refused.
            self.assertEqual(([], 0), (made.runner.paused, made.dialog.auth_failures))
            made.lose()
            self.assertEqual(["Ann has left"], self.log)

    def test_mechanism_that_fails(self) -> None:
        """
        The same if it is the mechanism that says no, or breaks.
        """
        for end, expected in (
            (Malformed(), "501 5.5.2"),
            (Denied(), "535 5.7.8"),
            (RuntimeError(), "454 4.7.0"),
            (Unavailable(), "454 4.7.0"),
            (None, "535 5.7.8"),
        ):

            def steps(initial: bytes | None, end: Any = end) -> Any:
                yield Check("credentials")
                if end is not None:
                    raise end
                return False

            self.log.clear()
            made = Own(steps).client(Users(self.ann))
            self.assertEqual([expected], made.say("AUTH OWN"))
            self.assertEqual(["Ann has left"], self.log)
            made.lose()
            self.assertEqual(["Ann has left"], self.log)

    def test_gone_before_it_fails(self) -> None:
        """
        Whoever has gone in the middle of it was logged out then.
        """

        def steps(initial: bytes | None) -> Any:
            yield Check("credentials")
            yield Challenge(b"prove it")

        made = Own(steps).client(Users(self.ann))
        made.say("AUTH OWN")
        challenge = made.challenge
        assert challenge is not None
        made.lose()
        self.assertEqual(["Ann has left"], self.log)
        step = challenge.give_up(Reply(501, "5.7.0", ("No",)))
        self.assertRaises(Rejected, step.send, None)
        self.assertEqual(["Ann has left"], self.log)

    def test_gone_too_early(self) -> None:
        """
        It was not known yet who the client is when it went.
        """
        verdict = Later()
        made = client(Users(verdict))
        made.say(PLAIN)
        made.lose()
        # What the runner does when the answer comes at last.
        (too_late,) = made.runner.late
        too_late(self.ann)
        self.assertEqual(["Ann has left"], self.log)
        too_late(Refusal())
        self.assertEqual(["Ann has left"], self.log)

    def test_later(self) -> None:
        """
        To log out may take its time, and may fail: nobody waits for it.
        """
        slow = Later()
        error = RuntimeError("no")

        def fail() -> None:
            raise error

        for logout in (lambda: slow, fail):
            made = client(Users(Identity("Ann", logout=logout)))
            made.say(PLAIN)
            made.lose()
        self.assertEqual([error], made.runner.errors)

    def test_nothing_to_do(self) -> None:
        made = client()
        made.say(PLAIN)
        made.lose()
        self.assertEqual([], made.runner.errors)


class GateTests(SynchronousTestCase):
    """
    Where authentication is demanded.
    """

    def test_others_wait(self) -> None:
        made = client(auth_required=True, greet=False)
        for line in ("MAIL FROM:<a@b>", "RCPT TO:<a@b>", "DATA", "VRFY a", "EXPN a", "BDAT 0"):
            self.assertEqual("530 5.7.0 Authentication required", made.ask(line), line)
        self.assertEqual(0, made.dialog.errors)
        for line in ("EHLO a", "HELO a", "NOOP", "RSET", "HELP"):
            self.assertEqual("2", made.ask(line)[0], line)
        self.assertEqual(["502 5.5.1", "250"], made.say("STARTTLS", "EHLO a"))
        self.assertEqual(["235 2.7.0", "250 2.1.0"], made.say(PLAIN, "MAIL FROM:<a@b>"))

    def test_failed(self) -> None:
        made = client(Users(Refusal()), auth_required=True)
        self.assertEqual(["535 5.7.8", "530 5.7.0"], made.say(PLAIN, "MAIL FROM:<a@b>"))
        self.assertEqual(["221 2.0.0"], made.say("QUIT"))

    def test_chunks(self) -> None:
        made = client(auth_required=True)
        said = made.send(b"BDAT 8\r\nNOOP\r\n\r\nBDAT 6 LAST\r\nNOOP\r\nRSET\r\n")
        self.assertEqual(["530 5.7.0", "530 5.7.0", "250 2.0.0"], list(map(short, said)))

    def test_exempt(self) -> None:
        """
        Not those who come by a socket of this machine.
        """
        made = client(auth_required=True, session=Session(exempt=True))
        self.assertEqual(["250 2.1.0"], made.say("MAIL FROM:<a@b>"))

    def test_on_behalf(self) -> None:
        """
        A proxy that is trusted may say who has logged in, others may not.
        """
        for proxies, expected in ((["192.0.2.0/24"], None), (["198.51.100.1"], "530 5.7.0")):
            settings = Settings(login=Users(), auth_required=True, trusted_proxies=proxies)
            session = Session(peer=("192.0.2.1", 25), via=("192.0.2.1", 25))
            said = Auth(settings).gate(session, "XCLIENT")
            self.assertEqual(expected, said and short(said))

    def test_not_asked(self) -> None:
        """
        Where it is not demanded there is no gate.
        """
        asked = [auth.gate for auth in (Auth(Settings()), Auth(Settings(auth_required=True)))]
        self.assertEqual([True, False], [hasattr(gate, "does_nothing") for gate in asked])


class SenderTests(SynchronousTestCase):
    """
    AUTH of MAIL: who has submitted the message.
    """

    def value(self, parameter: str, *before: str, **settings: Any) -> Any:
        """
        What a handler gets, or the refusal.
        """
        seen: list[Any] = []
        handler = Handler(handle_MAIL=lambda *arguments: seen.append(arguments[-1]))
        made = client(None, handler, **settings)
        made.say(*before)
        said = made.ask(f"MAIL FROM:<a@example.org> {parameter}")
        if not seen:
            return said[:9]
        (options,) = seen
        self.assertEqual([parameter], options)
        self.assertEqual(options.get("AUTH"), made.envelope.auth)
        return options.get("AUTH")

    def test_believed(self) -> None:
        for parameter, value in (
            ("AUTH=<>", ""),
            ("AUTH=+3C+3E", ""),
            ("AUTH=ann@example.org", "ann@example.org"),
            ("auth=a+2Bb@example.org", "a+b@example.org"),
            ('AUTH="a+20b"@[192.0.2.1]', '"a b"@[192.0.2.1]'),
            ("AUTH=<ann@example.org>", "ann@example.org"),
        ):
            self.assertEqual(value, self.value(parameter, PLAIN))

    def test_not_believed(self) -> None:
        """
        A client that has not logged in says it of nobody.
        """
        for parameter in ("AUTH=<>", "AUTH=ann@example.org"):
            self.assertEqual("", self.value(parameter))

    def test_not_said(self) -> None:
        made = client(None, Mailbox())
        made.say("MAIL FROM:<a@example.org> AUTH=<>", "RSET", "MAIL FROM:<a@example.org>")
        self.assertIsNone(made.envelope.auth)

    def test_nobody_to_ask(self) -> None:
        """
        Where nobody can log in, no time is spent on it.
        """
        for login, checks in ((None, 0), (Users(), 1)):
            self.assertEqual(checks, len(rules(extensions=(Auth,), login=login).mail_checks.all))

    def test_envelope(self) -> None:
        """
        It is known to who reads the message: None if nothing was said.
        """
        for parameter, auth in (("", None), ("AUTH=<>", ""), ("AUTH=a@b.example", "a@b.example")):
            made = client()
            made.say(PLAIN, f"MAIL FROM:<a@example.org> {parameter}")
            self.assertEqual(auth, made.envelope.auth)

    def test_malformed(self) -> None:
        for parameter in (
            "AUTH",
            "AUTH=ann",
            "AUTH=<a@b",
            "AUTH=<<a@b>>",
            "AUTH=<@c:a@b>",
            "AUTH=a+zz@b",
            "AUTH=a+0D+0A@b",
        ):
            self.assertEqual("501 5.5.4", self.value(parameter))
            self.assertEqual("501 5.5.4", self.value(parameter, PLAIN))

    def test_not_offered(self) -> None:
        self.assertEqual("555 5.5.4", self.value("AUTH=<>", auth_require_tls=True))
        self.assertEqual("555 5.5.4", self.value("AUTH=<>", "HELO client.example"))


class SecretsTests(SynchronousTestCase):
    """
    What is not to be seen is not seen.
    """

    def test_repr(self) -> None:
        made = client(Users(Identity("secret", b"ann")))
        made.say("AUTH LOGIN", "YW5u")
        challenged = made.challenge
        made.say("d29uZGVybGFuZA==")
        shown = repr([made.dialog, made.session, made.envelope, made.replies, challenged])
        for secret in ("secret", "wonderland", "d29uZGVybGFuZA==", "UGFzc3dvcmQ6", "VXNlcm5hbWU6"):
            self.assertNotIn(secret, shown)

    def test_errors(self) -> None:
        """
        No refusal has what it refuses, not even in what it came of.
        """
        auth = Auth(Settings(login=Users(), auth_require_tls=False))
        context: Any = client().dialog
        for line in ("PLAIN c2Vj!cmV0", "c2VjcmV0", "PLAIN c2VjcmV0 c2VjcmV0", "PLAIN c2VjcmV0"):
            try:
                step = auth.verbs()["AUTH"].run(context, line)
                step.send(None)  # type: ignore[union-attr]
            except Rejected as refusal:
                chain = [refusal, refusal.__cause__, refusal.__context__]
                told = "".join(f"{error!r} {error} {getattr(error, 'args', '')}" for error in chain)
            self.assertNotIn("c2Vj", told)
            self.assertNotIn("secret", told)

    def test_tls_facts(self) -> None:
        """
        What a mechanism may know of TLS is asked of the login, not shown.
        """
        tls = TLS("TLSv1.3", "x", 256, peer_certificate=b"secret")
        self.assertNotIn("secret", repr(Session(tls=tls)))
