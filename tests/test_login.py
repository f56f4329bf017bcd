"""
Tests for txsmtpd.login, and for AUTH with real users on a real protocol.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
from base64 import b64encode
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

from twisted.cred.checkers import ICredentialsChecker, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer, verify

from txsmtpd import SMTP, SMTPFactory
from txsmtpd.core.identity import AuthResult, Identity, LoginPassword, Refusal
from txsmtpd.core.replies import Rejected, Reply
from txsmtpd.core.session import TLS, Envelope, Session
from txsmtpd.core.settings import Settings
from txsmtpd.interfaces import ISMTPUser
from txsmtpd.login import ITERATIONS, Login, make_login, mechanisms_of
from txsmtpd.sasl import (
    MECHANISMS,
    BearerToken,
    Challenge,
    Check,
    ClientCertificate,
    CramResponse,
    IBearerToken,
    IClientCertificate,
    Mechanism,
    Password,
    ScramProof,
)
from txsmtpd.testing import Client, RecordingHandler, make_factory
from txsmtpd.users import UsersFile

from .test_hashes import HTPASSWD

ANN = Password(b"ann", b"wonderland")
WRONG = Password(b"ann", b"looking-glass")
NOBODY = Password(b"bob", b"wonderland")

SALT = b"0123456789abcdef"

PLAIN = "AUTH PLAIN AGFubgB3b25kZXJsYW5k"
WRONG_PLAIN = "AUTH PLAIN AGFubgBsb29raW5nLWdsYXNz"

#: What a session over TLS knows.
CERTIFICATE = b"a certificate"
BINDINGS = {"tls-exporter": b"E" * 32}
OVER_TLS = TLS(
    "TLSv1.3", "x", 256, peer_certificate=CERTIFICATE, channel_binding=BINDINGS.get
)  # fmt: skip


def verifier(hash_name: str, password: bytes = b"wonderland", iterations: int = 4096) -> bytes:
    """
    What a file has of a user who logs in by SCRAM only.
    """
    salted = hashlib.pbkdf2_hmac(hash_name, password, SALT, iterations)
    client_key = hmac.digest(salted, b"Client Key", hash_name)
    stored = hashlib.new(hash_name, client_key).digest()
    server = hmac.digest(salted, b"Server Key", hash_name)
    name = {"sha1": b"SCRAM-SHA-1", "sha256": b"SCRAM-SHA-256"}[hash_name]
    one, two, three = (b64encode(each) for each in (SALT, stored, server))
    return b"%b$%d:%b$%b:%b" % (name, iterations, one, two, three)


def memory(**users: bytes) -> InMemoryUsernamePasswordDatabaseDontUse:
    return InMemoryUsernamePasswordDatabaseDontUse(**users or {"ann": b"wonderland"})


@implementer(ICredentialsChecker)
class Checker:
    """
    A checker that answers with what it is given, raises it, or calls it.
    """

    def __init__(self, answer: Any, *interfaces: Any) -> None:
        self.credentialInterfaces = interfaces or (IUsernamePassword,)
        self.answer = answer
        self.asked: list[Any] = []

    def requestAvatarId(self, credentials: Any) -> Any:
        self.asked.append(credentials)
        if isinstance(self.answer, Exception):
            raise self.answer
        return self.answer() if callable(self.answer) else self.answer


@implementer(IRealm)
class Realm:
    """
    A realm that notes who comes and goes.
    """

    def __init__(self) -> None:
        self.log: list[Any] = []
        #: What it waits for before it makes an avatar.
        self.wait: Deferred[None] | None = None

    def requestAvatar(self, avatarId: bytes | tuple[()], mind: object, *interfaces: Any) -> Any:
        self.log.append(interfaces)
        name = avatarId.decode() if isinstance(avatarId, bytes) else "nobody"
        result = ISMTPUser, f"the avatar of {name}", lambda: self.log.append(f"{name} left")
        if self.wait is None:
            return result
        return self.wait.addCallback(lambda _: result)


class AtOnce(Clock):
    """
    A reactor whose threads have no time to lose.
    """

    def getThreadPool(self) -> AtOnce:
        return self

    def callFromThread(self, f: Callable[..., Any], *args: Any) -> None:
        f(*args)

    def callInThreadWithCallback(
        self, done: Callable[[bool, Any], None], f: Callable[..., Any], *args: Any
    ) -> None:
        done(True, f(*args))


class UsersTestCase(SynchronousTestCase):
    """
    Has files of users.
    """

    threads = AtOnce()

    def users(self, *lines: bytes) -> UsersFile:
        self.path = path = self.mktemp()
        with open(path, "wb") as file:
            file.write(b"\n".join(lines))
        os.chmod(path, 0o600)
        return UsersFile(path, self.threads, self.threads)


class ServesTests(UsersTestCase):
    """
    Which mechanisms there is somebody for.
    """

    def assertServes(self, names: str, **settings: Any) -> None:
        login = Login("mx.example", **settings)
        self.assertEqual(names.split(), [m.name for m in MECHANISMS if login.serves(m)])

    SCRAM = "SCRAM-SHA-256-PLUS SCRAM-SHA-256 SCRAM-SHA-1-PLUS SCRAM-SHA-1"

    def assertServesBehindAny(self, names: str, checker: Any) -> None:
        """
        It makes no difference whether there is a portal.
        """
        self.assertServes(names, checkers=[checker])
        self.assertServes(names, portal=Portal(Realm(), [checker]))
        self.assertServes(names, portal=Portal(Realm()), checkers=[checker])

    def test_nobody(self) -> None:
        self.assertServes("")
        self.assertServes("", portal=Portal(Realm()))

    def test_passwords_in_memory(self) -> None:
        self.assertServesBehindAny(f"{self.SCRAM} CRAM-MD5 PLAIN LOGIN", memory())

    def test_file_with_passwords(self) -> None:
        users = self.users(b"ann:wonderland")
        self.assertServesBehindAny(f"{self.SCRAM} CRAM-MD5 PLAIN LOGIN", users)

    def test_file_with_bcrypt(self) -> None:
        """
        Nothing else can be done with these than to compare a password.
        """
        self.assertServesBehindAny("PLAIN LOGIN", self.users(b"ann:" + HTPASSWD))

    def test_file_with_verifiers(self) -> None:
        """
        They are for one hash.
        """
        names = "SCRAM-SHA-256-PLUS SCRAM-SHA-256 PLAIN LOGIN"
        self.assertServesBehindAny(names, self.users(b"ann:" + verifier("sha256")))
        names = "SCRAM-SHA-1-PLUS SCRAM-SHA-1 PLAIN LOGIN"
        self.assertServesBehindAny(names, self.users(b"ann:" + verifier("sha1")))

    def test_mixed_file(self) -> None:
        users = self.users(
            b"ann:" + verifier("sha1"), b"bob:" + HTPASSWD, b"eve:" + verifier("sha256")
        )
        self.assertServesBehindAny(f"{self.SCRAM} PLAIN LOGIN", users)

    def test_empty_file(self) -> None:
        """
        Nobody can log in, but passwords are asked for: users may come.
        """
        self.assertServesBehindAny("PLAIN LOGIN", self.users())

    def test_file_that_changes(self) -> None:
        users = self.users(b"ann:" + HTPASSWD)
        login = Login("mx.example", checkers=[users])
        scram = MECHANISMS[1]
        self.assertFalse(login.serves(scram))
        with open(self.path, "wb") as file:
            file.write(b"ann:wonderland")
        self.threads.advance(1)
        self.assertTrue(login.serves(scram))

    def test_others(self) -> None:
        self.assertServesBehindAny("PLAIN LOGIN", Checker(b"", IUsernamePassword))
        self.assertServesBehindAny("OAUTHBEARER XOAUTH2", Checker(b"", IBearerToken))
        self.assertServesBehindAny("EXTERNAL", Checker(b"", IClientCertificate))
        self.assertServesBehindAny(f"{self.SCRAM} CRAM-MD5", Checker(b"", IUsernameHashedPassword))

    def test_several(self) -> None:
        names = "SCRAM-SHA-256-PLUS SCRAM-SHA-256 EXTERNAL PLAIN LOGIN"
        checkers = [self.users(b"ann:" + verifier("sha256")), Checker(b"", IClientCertificate)]
        self.assertServes(names, checkers=checkers)
        self.assertServes(names, portal=Portal(Realm(), checkers[:1]), checkers=checkers[1:])

    def test_function(self) -> None:
        """
        It is for what brings a name and a password.
        """
        self.assertServes("PLAIN LOGIN", authenticator=lambda *_: True)

    def test_portal_of_others(self) -> None:
        """
        One that does not tell its checkers is believed.
        """

        class Others:
            def listCredentialsInterfaces(self) -> list[Any]:
                return [IUsernameHashedPassword]

        self.assertServes(f"{self.SCRAM} CRAM-MD5", portal=Others())

    def test_by_itself(self) -> None:
        """
        A mechanism that asks nobody is always served.
        """
        own = Mechanism("OWN", lambda given, initial: iter(()), None)  # type: ignore[arg-type,return-value]
        self.assertTrue(Login("mx.example").serves(own))

    def test_scram_with_another_hash(self) -> None:
        """
        Whoever brings a mechanism knows what its keys are.
        """
        other = Mechanism("SCRAM-SHA-512", MECHANISMS[0].exchange, ScramProof)
        login = Login("mx.example", checkers=[self.users(b"ann:" + verifier("sha256"))])
        self.assertTrue(login.serves(other))


class CircumstancesTests(SynchronousTestCase):
    """
    What a mechanism may know.
    """

    def given(self, bindings: bool = True, **session: Any) -> Any:
        return Login("mx.example").circumstances(Session(**session), bindings)

    def test_server(self) -> None:
        given = self.given()
        self.assertEqual("mx.example", given.hostname)
        self.assertGreater(given.now(), 1.7e9)

    def test_nonce(self) -> None:
        given = self.given()
        nonces = {given.nonce() for _ in range(100)}
        self.assertEqual(100, len(nonces))
        for nonce in nonces:
            self.assertIsNotNone(re.fullmatch(r"[!-+\--~]{24}", nonce))

    def test_tls(self) -> None:
        given = self.given(tls=OVER_TLS)
        self.assertEqual(CERTIFICATE, given.certificate)
        self.assertEqual(b"E" * 32, given.channel_binding("tls-exporter"))
        self.assertIsNone(given.channel_binding("tls-unique"))

    def test_no_bindings(self) -> None:
        given = self.given(bindings=False, tls=OVER_TLS)
        self.assertEqual(CERTIFICATE, given.certificate)
        self.assertIsNone(given.channel_binding("tls-exporter"))

    def test_no_tls(self) -> None:
        given = self.given()
        self.assertIsNone(given.certificate)
        self.assertIsNone(given.channel_binding("tls-exporter"))


class ScramParametersTests(UsersTestCase):
    """
    Salt and iterations tell nobody who is a user.
    """

    def parameters(self, login: Login, name: bytes = b"ann", hash_name: str = "sha256") -> Any:
        return login.circumstances(Session(), True).scram(name, hash_name)

    def test_made_up(self) -> None:
        """
        They are the same each time, for users and others, in all sessions.
        """
        login = Login("mx.example", checkers=[memory(), self.users(b"eve:wonderland")])
        names = (b"ann", b"eve", b"nobody", "\u00e4".encode(), b"")
        first = [self.parameters(login, name) for name in names]
        self.assertEqual(first, [self.parameters(login, name) for name in names])
        self.assertEqual(5, len(dict.fromkeys(salt for salt, _ in first)))
        for salt, iterations in first:
            self.assertEqual((16, ITERATIONS), (len(salt), iterations))

    def test_hashes(self) -> None:
        login = Login("mx.example", checkers=[memory()])
        self.assertNotEqual(self.parameters(login), self.parameters(login, hash_name="sha1"))

    def test_secret(self) -> None:
        """
        Nobody else can make them up, but who restarts with the same secret.
        """
        logins = [Login("mx.example", secret=secret) for secret in (None, None, b"one", b"two")]
        salts = {self.parameters(login)[0] for login in logins}
        self.assertEqual(4, len(salts))
        again = Login("mx.example", secret=b"one")
        self.assertEqual(self.parameters(logins[2]), self.parameters(again))

    def test_verifiers(self) -> None:
        """
        Those who have keys get the salt of these, and nobody else's iterations look any different.
        """
        lines = b"ann:" + verifier("sha256", iterations=5000), b"bob:" + HTPASSWD
        settings: Any
        for settings in (
            {"checkers": [self.users(*lines)]},
            {"portal": Portal(Realm(), [self.users(*lines)])},
            {"checkers": [memory(), self.users(*lines)]},
            {"portal": Portal(Realm(), [memory()]), "checkers": [self.users(*lines)]},
        ):
            login = Login("mx.example", **settings)
            self.assertEqual((SALT, 5000), self.parameters(login))
            for name in (b"bob", b"nobody"):
                salt, iterations = self.parameters(login, name)
                self.assertEqual((16, 5000), (len(salt), iterations))
                self.assertNotEqual(SALT, salt)
            # There are no keys for that hash.
            self.assertEqual(ITERATIONS, self.parameters(login, hash_name="sha1")[1])

    def test_most_iterations(self) -> None:
        users = self.users(
            b"ann:" + verifier("sha256", iterations=4096),
            b"bob:" + verifier("sha256", iterations=5000),
            b"eve:" + verifier("sha256", iterations=5000),
        )
        login = Login("mx.example", checkers=[users])
        self.assertEqual((SALT, 4096), self.parameters(login))
        self.assertEqual(5000, self.parameters(login, b"nobody")[1])

    def test_restart(self) -> None:
        """
        Where salts outlive a restart, those that are made up do too: else whose salt changes were
        known to be nobody.
        """
        lines = b"ann:" + verifier("sha256"), b"bob:" + HTPASSWD
        settings: Any
        for settings in (
            {"checkers": [self.users(*lines)]},
            {"portal": Portal(Realm(), [self.users(*lines)])},
            {"checkers": [memory(), self.users(b"eve:wonderland"), self.users(*lines)]},
        ):
            # What a file has comes before what is set.
            first, again = (Login("mx.example", secret=each, **settings) for each in (None, b"x"))
            for name in (b"ann", b"bob", b"nobody"):
                self.assertEqual(self.parameters(first, name), self.parameters(again, name))
            self.assertNotEqual(
                self.parameters(first, b"bob")[0], self.parameters(first, b"nobody")[0]
            )
            # There are no keys for that hash.
            one, other = (self.parameters(login, hash_name="sha1") for login in (first, again))
            self.assertNotEqual(one, other)

    def test_checker_without_secret(self) -> None:
        """
        One of somebody's own, that has verifiers and no secret: then there is the setting.
        """

        class Others:
            credentialInterfaces = (IUsernamePassword,)

            def scram_parameters(self, name: bytes, hash_name: str) -> None:
                return None

            def scram_iterations(self, hash_name: str) -> int:
                return 10000

        others: Any = Others()
        settings = Settings(checkers=[others], scram_secret=b"secret")
        one, other = (make_login(settings) for _ in range(2))
        assert one is not None and other is not None
        self.assertEqual(self.parameters(one), self.parameters(other))
        self.assertEqual(10000, self.parameters(one)[1])
        self.assertNotIn("b'secret'", repr(settings))


def asked(login: Login, credentials: Any = ANN, mechanism: str = "PLAIN") -> Deferred[Any]:
    verdict = login.check("server", Session(), Envelope(), mechanism, credentials)
    return Deferred.fromCoroutine(verdict)


class CheckersTests(UsersTestCase):
    """
    Checkers are asked in order.
    """

    def ask(self, *checkers: Any, credentials: Any = ANN) -> Any:
        """
        :return: the avatar id, or None for a refusal.
        """
        login = Login("mx.example", checkers=checkers)
        verdict = self.successResultOf(asked(login, credentials))
        if isinstance(verdict, Refusal):
            return None
        self.assertEqual(getattr(credentials, "username", None) or verdict.data, verdict.name)
        return verdict.data

    def test_good_and_bad(self) -> None:
        for checker in (
            memory(),
            self.users(b"ann:wonderland"),
            self.users(b"ann:" + verifier("sha1")),
        ):
            self.assertEqual(b"ann", self.ask(checker))
            self.assertIsNone(self.ask(checker, credentials=WRONG))
            self.assertIsNone(self.ask(checker, credentials=NOBODY))
        self.assertIsNone(self.ask())

    def test_first_yes_counts(self) -> None:
        checkers = [Checker(UnauthorizedLogin()), Checker(b"one"), Checker(b"two")]
        self.assertEqual(b"one", self.ask(*checkers))
        self.assertEqual([[ANN], [ANN], []], [checker.asked for checker in checkers])
        checkers[1].answer = UnauthorizedLogin()
        self.assertEqual(b"two", self.ask(*checkers))
        checkers[2].answer = UnauthorizedLogin()
        self.assertIsNone(self.ask(*checkers))

    def test_ways_to_answer(self) -> None:
        """
        At once or later.
        """

        async def yes() -> bytes:
            return b"ann"

        async def no() -> bytes:
            raise UnauthorizedLogin

        for good in (b"ann", lambda: succeed(b"ann"), yes):
            self.assertEqual(b"ann", self.ask(Checker(good)))
        for bad in (UnauthorizedLogin(), lambda: fail(UnauthorizedLogin()), no):
            self.assertIsNone(self.ask(Checker(bad)))
        self.assertIsNone(self.ask(Checker(lambda: fail(UnhandledCredentials()))))

    def test_nobody_in_particular(self) -> None:
        """
        The anonymous avatar is one, what a checker forgot to raise is not.
        """
        self.assertEqual((), self.ask(Checker(())))
        self.assertIsNone(self.ask(Checker(None)))
        self.assertIsNone(self.ask(Checker(False)))

    def test_pending(self) -> None:
        answer: Deferred[bytes] = Deferred()
        verdict = asked(Login("mx.example", checkers=[Checker(answer), Checker(b"two")]))
        self.assertNoResult(verdict)
        answer.errback(UnauthorizedLogin())
        self.assertEqual(b"two", self.successResultOf(verdict).data)

    def test_kinds_of_credentials(self) -> None:
        """
        Each is asked what it can tell.
        """
        password, hashed = Checker(b"p", IUsernamePassword), Checker(b"h", IUsernameHashedPassword)
        token, certificate = Checker(b"t", IBearerToken), Checker(b"c", IClientCertificate)
        proof = ScramProof(b"ann", "sha1", SALT, 4096, b"", b"")
        for credentials, data in (
            (ANN, b"p"),
            (CramResponse(b"ann", b"", b""), b"h"),
            (proof, b"h"),
            (BearerToken(b"x"), b"t"),
            (BearerToken(b"x", b"ann"), b"t"),
            (ClientCertificate(b"", b"x"), b"c"),
            (object(), None),
        ):
            checkers = (token, certificate, hashed, password)
            self.assertEqual(data, self.ask(*checkers, credentials=credentials))

    def test_broken(self) -> None:
        """
        Whether it would be good cannot be known now, whatever others say.
        """
        for broken in (RuntimeError("x"), lambda: fail(RuntimeError("x")), lambda: 1 // 0):
            login = Login("mx.example", checkers=[Checker(broken), Checker(b"two")])
            self.failureResultOf(asked(login), RuntimeError, ZeroDivisionError)

    def test_credentials(self) -> None:
        """
        Ours pass for those of twisted.cred.
        """
        self.assertTrue(verify.verifyObject(IUsernamePassword, ANN))
        self.assertTrue(verify.verifyObject(IUsernameHashedPassword, CramResponse(b"", b"", b"")))
        proof = ScramProof(b"ann", "sha1", SALT, 4096, b"", b"")
        self.assertTrue(verify.verifyObject(IUsernameHashedPassword, proof))


class PortalTests(SynchronousTestCase):
    """
    A portal is asked before them.
    """

    def setUp(self) -> None:
        self.realm = Realm()

    def test_good(self) -> None:
        login = Login("mx.example", Portal(self.realm, [memory()]), [Checker(b"x")])
        identity = self.successResultOf(asked(login))
        self.assertEqual(("the avatar of ann", b"ann"), (identity.data, identity.name))
        identity.logout()
        self.assertEqual([(ISMTPUser,), "ann left"], self.realm.log)

    def test_then_checkers(self) -> None:
        """
        Whom it does not know, or cannot tell, they may know.
        """
        portal, bearer = Portal(self.realm, [memory()]), Checker(b"x", IBearerToken)
        login = Login("mx.example", portal, [Checker(b"somebody"), bearer])
        self.assertEqual(b"somebody", self.successResultOf(asked(login, WRONG)).data)
        self.assertEqual(b"x", self.successResultOf(asked(login, BearerToken(b"x"))).data)
        self.assertEqual([], self.realm.log)

    def test_nobody(self) -> None:
        login = Login("mx.example", Portal(self.realm, [memory()]))
        self.assertIsInstance(self.successResultOf(asked(login, WRONG)), Refusal)

    def test_realm_that_has_no_such_avatar(self) -> None:
        """
        It knows no `ISMTPUser`: that is the server's own trouble.
        """
        self.realm.requestAvatar = lambda *_: 1 // 0  # type: ignore[method-assign]
        login = Login("mx.example", Portal(self.realm, [memory()]))
        self.failureResultOf(asked(login), ZeroDivisionError)


class AuthenticatorTests(SynchronousTestCase):
    """
    A function is asked last.
    """

    def ask(self, answer: Any, credentials: Any = ANN, **more: Any) -> Any:
        login = Login("mx.example", authenticator=lambda *_: answer, **more)
        return self.successResultOf(asked(login, credentials))

    def test_arguments(self) -> None:
        calls: list[Any] = []
        login = Login("mx.example", authenticator=lambda *arguments: calls.append(arguments))
        session, envelope = Session(), Envelope()
        step = login.check("server", session, envelope, "LOGIN", ANN)
        self.successResultOf(Deferred.fromCoroutine(step))
        data = LoginPassword(b"ann", b"wonderland")
        self.assertEqual([("server", session, envelope, "LOGIN", data)], calls)

    def test_yes(self) -> None:
        for answer, data in (
            (True, b"ann"),
            ("Ann", "Ann"),
            (b"Ann", b"Ann"),
            (self, self),
            (AuthResult(success=True), None),
            (AuthResult(success=True, auth_data="Ann"), "Ann"),
            (AuthResult(success=True, auth_data="Ann", handled=False), "Ann"),
        ):
            identity = self.ask(answer)
            self.assertIsInstance(identity, Identity)
            self.assertEqual((data, b"ann", None), (
                identity.data, identity.name, identity.message
            ))  # fmt: skip

    def test_no(self) -> None:
        """
        Also what is as good as nothing.
        """
        for answer in (False, None, AuthResult(success=False), "", b"", 0, ()):
            self.assertEqual(Refusal(), self.ask(answer))

    def test_result_of_others(self) -> None:
        """
        aiosmtpd's results are understood too: one that says no is not who it is.
        """
        no = SimpleNamespace(success=False, handled=True, message=None, auth_data="Ann")
        yes = SimpleNamespace(success=True, handled=True, message=None, auth_data="Ann")
        self.assertEqual(Refusal(), self.ask(no))
        self.assertEqual("Ann", self.ask(yes).data)

    def test_messages(self) -> None:
        identity = self.ask(AuthResult(success=True, message="235 2.7.0 Hello"))
        self.assertEqual("235 2.7.0 Hello", identity.message)
        refusal = self.ask(AuthResult(success=False, message="535 5.7.8 No"))
        self.assertEqual(Refusal("535 5.7.8 No"), refusal)

    def test_reply(self) -> None:
        """
        Who answers as hooks do is understood: "no" is not who it is.
        """
        no, yes = Reply(535, "5.7.8", "No"), Reply(235, "2.7.0", "Hello")
        self.assertEqual(Refusal(no), self.ask(no))
        self.assertEqual((b"ann", yes), (self.ask(yes).data, self.ask(yes).message))

    def test_later(self) -> None:
        async def coroutine() -> Any:
            return AuthResult(success=True, auth_data="Ann")

        self.assertEqual("Ann", self.ask(coroutine()).data)
        self.assertEqual("Ann", self.ask(succeed("Ann")).data)
        self.assertEqual(Refusal(), self.ask(succeed(False)))
        answer: Deferred[Any] = Deferred()
        verdict = asked(Login("mx.example", authenticator=lambda *_: answer))
        self.assertNoResult(verdict)
        answer.callback(AuthResult(success=False, message="535 5.7.8 No"))
        self.assertEqual(Refusal("535 5.7.8 No"), self.successResultOf(verdict))

    def test_broken(self) -> None:
        for broken in (lambda *_: 1 // 0, lambda *_: fail(ZeroDivisionError())):
            login = Login("mx.example", authenticator=broken)
            self.failureResultOf(asked(login), ZeroDivisionError)

    def test_passwords_only(self) -> None:
        """
        There is nothing else that it could judge.
        """
        for credentials in (CramResponse(b"ann", b"", b""), BearerToken(b"x")):
            self.assertEqual(Refusal(), self.ask(True, credentials))

    def test_last(self) -> None:
        """
        The portal and the checkers come first.
        """
        self.assertEqual(b"ann", self.ask("function", checkers=[memory()]).data)
        self.assertEqual("function", self.ask("function", WRONG, checkers=[memory()]).data)
        portal = Portal(Realm(), [memory()])
        self.assertEqual("the avatar of ann", self.ask("function", portal=portal).data)
        self.assertEqual("function", self.ask("function", NOBODY, portal=portal).data)


def visitor(circumstances: Any, initial: bytes | None) -> Iterator[Any]:
    """
    An exchange in which everybody is good.
    """
    yield Challenge(b"")
    return "a visitor"  # type: ignore[return-value]


class WithMechanisms(RecordingHandler):
    """
    A handler that brings mechanisms along.
    """

    auth_PORT = 25

    def auth_VISITOR(self, circumstances: Any, initial: bytes | None) -> Iterator[Any]:
        return visitor(circumstances, initial)

    def auth_X__ONE_TWO(self, circumstances: Any, initial: bytes | None) -> Iterator[Any]:
        return visitor(circumstances, initial)

    def auth_visitor(self) -> None:
        raise AssertionError("called")

    def auth(self) -> None:
        raise AssertionError("called")


class MechanismsOfTests(SynchronousTestCase):
    """
    Methods ``auth_MECH`` of a handler.
    """

    def test_names(self) -> None:
        found = list(mechanisms_of(WithMechanisms()))
        self.assertEqual(["VISITOR", "X-ONE_TWO"], [mechanism.name for mechanism in found])
        self.assertEqual([None, None], [mechanism.credentials for mechanism in found])

    def test_none(self) -> None:
        self.assertEqual([], list(mechanisms_of(RecordingHandler())))

    def test_whole_mechanism(self) -> None:
        """
        It need not be a method, and has its name from itself.
        """

        class Whole:
            auth_FIRST = MECHANISMS[0]

        self.assertEqual([MECHANISMS[0]], list(mechanisms_of(Whole())))

    def test_name_that_is_none(self) -> None:
        class Long:
            def auth_THIS_IS_MUCH_TOO_LONG(self, circumstances: Any, initial: Any) -> None:
                raise AssertionError("called")

        self.assertRaises(ValueError, list, mechanisms_of(Long()))


class MakeLoginTests(SynchronousTestCase):
    """
    Whether there is anybody to ask.
    """

    def test_nobody(self) -> None:
        self.assertIsNone(make_login(Settings()))
        self.assertIsNone(make_login(Settings(mechanisms=MECHANISMS)))

    def test_somebody(self) -> None:
        own = Mechanism("OWN", visitor, None)  # type: ignore[arg-type]
        settings: Any
        for settings in (
            {"portal": Portal(Realm())},
            {"checkers": [memory()]},
            {"authenticator": lambda *_: True},
            {"mechanisms": [own]},
        ):
            login = make_login(Settings(hostname="mx.example", **settings))
            assert login is not None
            self.assertEqual("mx.example", login.circumstances(Session(), False).hostname)

    def test_all_of_them(self) -> None:
        checkers: list[Any] = [Checker(UnauthorizedLogin()), Checker(UnauthorizedLogin())]
        portal = Portal(Realm(), checkers[:1])
        settings = Settings(
            portal=portal, checkers=checkers[1:], authenticator=lambda *_: "the function"
        )
        verdict = asked(make_login(settings))  # type: ignore[arg-type]
        self.assertEqual("the function", self.successResultOf(verdict).data)
        self.assertEqual([[ANN], [ANN]], [checker.asked for checker in checkers])


class ServerTestCase(UsersTestCase):
    """
    Speaks with a server in memory.
    """

    def connect(self, handler: Any = None, protocol: Any = SMTP, **settings: Any) -> Client:
        factory = make_factory(handler or RecordingHandler(), auth_require_tls=False, **settings)
        factory.protocol = protocol
        return self.again(factory)

    def again(self, factory: SMTPFactory) -> Client:
        client = Client(factory)
        client.send(b"EHLO client.example\r\n")
        self.offer = client.take().decode()
        return client

    def say(self, client: Client, *lines: str) -> list[str]:
        """
        :return: code and status of each reply.
        """
        client.send("".join(f"{line}\r\n" for line in lines).encode())
        said = client.take().decode().split("\r\n")
        return [re.match("334|([0-9. ]+(?= |$))", line)[0] for line in said if line[3:4] == " "]  # type: ignore[index]

    def assertSaid(self, expected: list[str], client: Client, *lines: str) -> None:
        self.assertEqual(expected, self.say(client, *lines))

    def assertNothingLeft(self, client: Client) -> None:
        client.disconnect()
        self.assertEqual([], client.clock.getDelayedCalls())


class SettingsTests(ServerTestCase):
    """
    What the factory makes of its settings.
    """

    def test_checkers(self) -> None:
        client = self.connect(checkers=[memory()])
        self.assertIn("250-AUTH SCRAM-SHA-256 SCRAM-SHA-1 CRAM-MD5 PLAIN LOGIN\r\n", self.offer)
        self.assertSaid(["235 2.7.0"], client, PLAIN)
        self.assertEqual(b"ann", client.protocol.session.auth_data)

    def test_portal(self) -> None:
        client = self.connect(portal=Portal(Realm(), [memory()]))
        self.assertSaid(["235 2.7.0"], client, PLAIN)
        self.assertEqual("the avatar of ann", client.protocol.session.auth_data)

    def test_authenticator(self) -> None:
        seen: list[Any] = []

        def authenticator(*arguments: Any) -> bool:
            seen.append(arguments)
            return True

        client = self.connect(authenticator=authenticator)
        self.assertIn("250-AUTH PLAIN LOGIN\r\n", self.offer)
        self.assertSaid(["235 2.7.0"], client, PLAIN)
        server = client.protocol
        data = LoginPassword(b"ann", b"wonderland")
        self.assertEqual([(server, server.session, server.envelope, "PLAIN", data)], seen)

    def test_mechanisms(self) -> None:
        own = Mechanism("OWN", visitor, None)  # type: ignore[arg-type]
        client = self.connect(mechanisms=[own])
        self.assertIn("250-AUTH OWN\r\n", self.offer)
        self.assertSaid(["334", "235 2.7.0"], client, "AUTH OWN", "")
        session = client.protocol.session
        self.assertEqual(("a visitor", None), (session.auth_data, session.login_data))

    def test_mechanisms_of_handlers(self) -> None:
        """
        They stand behind those that there are, and in the place of one of that name.
        """

        class Other(RecordingHandler):
            def auth_PLAIN(self, circumstances: Any, initial: bytes | None) -> Iterator[Any]:
                return visitor(circumstances, initial)

        client = self.connect(WithMechanisms())
        self.assertIn("250-AUTH VISITOR X-ONE_TWO\r\n", self.offer)
        self.assertSaid(["334", "235 2.7.0"], client, "auth x-one_two", "")
        factory = SMTPFactory(
            WithMechanisms(),
            Other(),
            reactor=Clock(),
            hostname="mx.example",
            checkers=[self.users(b"ann:" + HTPASSWD)],
            auth_require_tls=False,
        )
        client = self.again(factory)
        self.assertIn("250-AUTH PLAIN LOGIN VISITOR X-ONE_TWO\r\n", self.offer)
        self.assertSaid(["334", "235 2.7.0"], client, PLAIN, "")
        self.assertEqual("a visitor", client.protocol.session.auth_data)

    def test_required_of_nobody(self) -> None:
        error = self.assertRaises(ValueError, self.connect, auth_required=True)
        self.assertEqual("auth_required wants an authenticator, a portal or checkers", str(error))

    def test_required_of_visitors(self) -> None:
        client = self.connect(WithMechanisms(), auth_required=True)
        self.assertSaid(["530 5.7.0"], client, "MAIL FROM:<a@b>")
        self.assertSaid(["334", "235 2.7.0"], client, "AUTH VISITOR", "")
        self.assertSaid(["250 2.1.0"], client, "MAIL FROM:<a@b>")


class DelayTests(ServerTestCase):
    """
    A failed attempt costs its client a second.
    """

    def test_one_second(self) -> None:
        client = self.connect(checkers=[memory()])
        self.assertSaid([], client, WRONG_PLAIN, "NOOP")
        client.wait(0.9)
        self.assertEqual(b"", client.take())
        client.wait(0.2)
        self.assertSaid(["535 5.7.8", "250 2.0.0"], client)

    def test_others_are_served(self) -> None:
        slow = self.connect(checkers=[memory()])
        other = self.again(slow.protocol.factory)
        self.assertSaid([], slow, WRONG_PLAIN)
        self.assertSaid(["235 2.7.0"], other, PLAIN)
        self.assertSaid(["250 2.0.0"], other, "NOOP")
        slow.wait(1)
        self.assertSaid(["535 5.7.8"], slow)

    def test_gone(self) -> None:
        client = self.connect(checkers=[memory()])
        self.assertSaid([], client, WRONG_PLAIN)
        self.assertNothingLeft(client)

    def test_not_cut_short(self) -> None:
        """
        It is no hook that takes too long.
        """
        for timeout in (0.5, 1, 1.5):
            client = self.connect(checkers=[memory()], hook_timeout=timeout)
            for ending in ([], [], ["421 4.7.0"]):
                self.assertSaid([], client, WRONG_PLAIN)
                client.wait(1)
                self.assertSaid(["535 5.7.8", *ending], client)
            self.assertTrue(client.closed)


class PendingTests(ServerTestCase):
    """
    Somebody takes time to say whether the credentials are good.
    """

    def test_authenticator(self) -> None:
        answer: Deferred[Any] = Deferred()
        client = self.connect(authenticator=lambda *_: answer)
        self.assertSaid([], client, PLAIN, "NOOP")
        answer.callback("Ann")
        self.assertSaid(["235 2.7.0", "250 2.0.0"], client)
        self.assertEqual("Ann", client.protocol.session.auth_data)

    def test_checker(self) -> None:
        answer: Deferred[Any] = Deferred()
        client = self.connect(checkers=[Checker(answer)])
        self.assertSaid([], client, PLAIN)
        answer.errback(UnauthorizedLogin())
        client.wait(1)
        self.assertSaid(["535 5.7.8"], client)

    def test_later_round(self) -> None:
        answer: Deferred[Any] = Deferred()
        client = self.connect(checkers=[Checker(answer)])
        lines = ("AUTH LOGIN", "YW5u", "d29uZGVybGFuZA==", "NOOP")
        self.assertSaid(["334", "334"], client, *lines)
        answer.callback(b"ann")
        self.assertSaid(["235 2.7.0", "250 2.0.0"], client)

    def test_broken(self) -> None:
        """
        The client learns that it is not its fault, and nothing else.
        """
        answers = iter([RuntimeError("secret"), lambda: fail(RuntimeError("secret")), b"ann"])
        checker = Checker(None)
        client = self.connect(checkers=[checker])
        for _ in range(2):
            checker.answer = next(answers)
            client.send(f"{PLAIN}\r\n".encode())
            self.assertEqual(b"454 4.7.0 Temporary authentication failure\r\n", client.take())
        checker.answer = next(answers)
        self.assertSaid(["235 2.7.0"], client, PLAIN)
        self.assertEqual(2, len(self.flushLoggedErrors(RuntimeError)))

    def test_timeout(self) -> None:
        """
        Nobody waits longer than for any hook.
        """
        answer: Deferred[Any] = Deferred()
        client = self.connect(checkers=[Checker(answer)], hook_timeout=60)
        self.assertSaid([], client, PLAIN)
        client.wait(60)
        self.assertSaid(["454 4.7.0"], client)
        self.assertSaid(["250 2.0.0"], client, "NOOP")
        self.assertEqual(0, client.protocol.dialog.auth_failures)
        self.assertNothingLeft(client)

    def test_gone(self) -> None:
        """
        A client that goes leaves nothing behind, whoever has been asked.
        """
        answers: list[Deferred[Any]] = []

        def ask(*arguments: Any) -> Deferred[Any]:
            answers.append(Deferred())
            return answers[-1]

        asks: Any = Checker(ask)
        settings: Any
        for settings in (
            {"authenticator": ask},
            {"checkers": [asks]},
            {"portal": Portal(Realm(), [asks])},
        ):
            client = self.connect(**settings)
            self.assertSaid([], client, PLAIN)
            client.disconnect()
        authenticator, checker, portal = answers
        for answer in (authenticator, checker):
            self.assertTrue(answer.called)
        # That goes on, because of what may come of it.
        self.assertFalse(portal.called)
        portal.errback(UnauthorizedLogin())
        self.assertEqual([], self.flushLoggedErrors())
        self.assertEqual([], client.clock.getDelayedCalls())

    def test_gone_and_broken(self) -> None:
        """
        What goes wrong then is logged.
        """
        answer: Deferred[Any] = Deferred()
        client = self.connect(portal=Portal(Realm(), [Checker(answer)]))
        self.say(client, PLAIN)
        client.disconnect()
        answer.errback(RuntimeError("no database"))
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))


class LogoutTests(ServerTestCase):
    """
    The avatar is told when its user has left.
    """

    def setUp(self) -> None:
        self.realm = Realm()
        self.portal = Portal(self.realm, [memory()])

    @property
    def departures(self) -> list[Any]:
        return [entry for entry in self.realm.log if isinstance(entry, str)]

    def test_disconnect(self) -> None:
        client = self.connect(portal=self.portal)
        self.assertSaid(["235 2.7.0", "250 2.0.0"], client, PLAIN, "RSET")
        self.assertEqual([], self.departures)
        self.assertNothingLeft(client)
        self.assertEqual(["ann left"], self.departures)

    def test_quit(self) -> None:
        client = self.connect(portal=self.portal)
        self.assertSaid(["235 2.7.0", "221 2.0.0"], client, PLAIN, "QUIT")
        self.assertEqual(["ann left"], self.departures)

    def test_before_handlers_hear_of_it(self) -> None:
        """
        Who it was is known to the end.
        """
        handler = RecordingHandler()
        client = self.connect(handler, portal=self.portal)
        self.say(client, PLAIN)
        client.disconnect()
        self.assertEqual("DISCONNECT", handler.calls[-1].hook)
        self.assertEqual("the avatar of ann", handler.calls[-1].session.auth_data)

    def test_refused(self) -> None:
        client = self.connect(portal=self.portal)
        self.say(client, WRONG_PLAIN)
        client.wait(1)
        client.disconnect()
        self.assertEqual([], self.realm.log)

    def test_gone_before_avatar(self) -> None:
        """
        An avatar that is made for a client which has gone meanwhile is told at once.
        """
        self.realm.wait = wait = Deferred[None]()
        client = self.connect(portal=self.portal)
        self.assertSaid([], client, PLAIN)
        self.assertNothingLeft_but_waits(client)
        self.assertEqual([], self.departures)
        wait.callback(None)
        self.assertEqual(["ann left"], self.departures)
        self.assertEqual([], client.clock.getDelayedCalls())

    def test_server_that_stops(self) -> None:
        """
        It waits for an avatar that is yet to come, and for it to be told.
        """
        self.realm.wait = wait = Deferred[None]()
        client = self.connect(portal=self.portal)
        self.say(client, PLAIN)
        drained = client.protocol.factory.drain()
        client.disconnect()
        self.assertNoResult(drained)
        wait.callback(None)
        self.assertEqual(["ann left"], self.departures)
        self.successResultOf(drained)
        self.assertEqual([], client.clock.getDelayedCalls())

    def test_server_that_cannot_wait(self) -> None:
        """
        Not for ever: what comes even later is told all the same.
        """
        self.realm.wait = wait = Deferred[None]()
        client = self.connect(portal=self.portal, hook_timeout=10)
        self.say(client, PLAIN)
        drained = client.protocol.factory.drain()
        client.disconnect()
        client.wait(9)
        self.assertNoResult(drained)
        client.wait(1)
        self.successResultOf(drained)
        wait.callback(None)
        self.assertEqual(["ann left"], self.departures)

    def delivering(self, **settings: Any) -> tuple[Client, Deferred[Any]]:
        """
        A client that has gone while its message is being delivered.
        """
        delivered: Deferred[Any] = Deferred()
        handler = RecordingHandler({"DATA": delivered})
        client = self.connect(handler, portal=self.portal, **settings)
        lines = "MAIL FROM:<a@b.example>", "RCPT TO:<c@d.example>", "DATA"
        self.assertSaid(["235 2.7.0", "250 2.1.0", "250 2.1.5", "354"], client, PLAIN, *lines)
        self.assertSaid([], client, "Hello", ".")
        client.disconnect()
        return client, delivered

    def test_delivery_that_goes_on(self) -> None:
        """
        The message is still that user's, whoever delivers it, whatever comes of that.
        """
        for answer in ("250 OK", Failure(Rejected(Reply(550, "5.7.1", ("No",))))):
            self.realm.log.clear()
            client, delivered = self.delivering()
            drained = client.protocol.factory.drain()
            self.assertEqual([], self.departures)
            delivered.callback(answer)
            self.assertEqual(["ann left"], self.departures)
            self.successResultOf(drained)
            self.assertEqual([], client.clock.getDelayedCalls())

    def test_delivery_that_takes_too_long(self) -> None:
        client, _ = self.delivering(hook_timeout=60)
        client.wait(119)
        self.assertEqual([], self.departures)
        client.wait(1)
        self.assertEqual(["ann left"], self.departures)

    def test_delivery_and_slow_logout(self) -> None:
        """
        A server that stops waits for the one and then for the other.
        """
        wait: Deferred[None] = Deferred()
        self.realm.requestAvatar = lambda *_: (ISMTPUser, "ann", lambda: wait)  # type: ignore[method-assign]
        client, delivered = self.delivering()
        drained = client.protocol.factory.drain()
        delivered.callback(None)
        self.assertNoResult(drained)
        wait.callback(None)
        self.successResultOf(drained)

    def test_delivery_that_breaks(self) -> None:
        """
        Even if it ends by a defect of ours.
        """
        for broken in (lambda client: client.protocol, lambda client: client.protocol.dialog):
            self.realm.log.clear()
            client, delivered = self.delivering()
            name = "_obey" if broken(client) is client.protocol else "end_content"
            self.patch(broken(client), name, lambda *_: 1 // 0)
            delivered.callback(None)
            self.assertEqual(["ann left"], self.departures)
            self.assertEqual(1, len(self.flushLoggedErrors(ZeroDivisionError)))
            self.successResultOf(client.protocol.factory.drain())

    def test_gone_before_checked(self) -> None:
        answer: Deferred[Any] = Deferred()
        client = self.connect(portal=Portal(self.realm, [Checker(answer)]))
        self.say(client, PLAIN)
        client.disconnect()
        answer.callback(b"ann")
        self.assertEqual(["ann left"], self.departures)

    def test_too_late(self) -> None:
        """
        One that comes when nobody waits any more is told too, and is nobody else's.
        """
        self.realm.wait = wait = Deferred[None]()
        client = self.connect(portal=self.portal, hook_timeout=60)
        self.say(client, PLAIN)
        client.wait(60)
        self.assertSaid(["454 4.7.0"], client)
        self.realm.wait = None
        self.assertSaid(["235 2.7.0"], client, PLAIN)
        wait.callback(None)
        self.assertEqual(["ann left"], self.departures)
        self.assertIs(True, client.protocol.session.authenticated)
        client.disconnect()
        self.assertEqual(["ann left"] * 2, self.departures)

    def test_broken(self) -> None:
        """
        What an avatar raises then is logged, at whatever time.
        """

        def requestAvatar(*arguments: Any) -> Any:
            def logout() -> None:
                raise RuntimeError("no")

            return wait.addCallback(lambda _: (ISMTPUser, "ann", logout))

        self.realm.requestAvatar = requestAvatar  # type: ignore[method-assign,assignment]
        wait: Deferred[None] = succeed(None)
        client = self.connect(portal=self.portal)
        self.assertSaid(["235 2.7.0"], client, PLAIN)
        client.disconnect()
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))
        wait = Deferred()
        client = self.connect(portal=self.portal)
        self.say(client, PLAIN)
        client.disconnect()
        wait.callback(None)
        self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_later(self) -> None:
        """
        It may take its time, as a coroutine too.
        """
        waits: list[Deferred[None]] = []

        async def logout() -> None:
            waits.append(Deferred())
            await waits[-1]
            self.realm.log.append("ann has left at last")

        self.realm.requestAvatar = lambda *_: (ISMTPUser, "ann", logout)  # type: ignore[method-assign]
        client = self.connect(portal=self.portal)
        self.say(client, PLAIN)
        self.assertNothingLeft_but_waits(client)
        (wait,) = waits
        wait.callback(None)
        self.assertEqual(["ann has left at last"], self.departures)
        self.assertEqual([], client.clock.getDelayedCalls())

    def assertNothingLeft_but_waits(self, client: Client) -> None:
        client.disconnect()
        # A limit for what outlives its client.
        self.assertEqual(1, len(client.clock.getDelayedCalls()))


class ExchangeEndsTests(ServerTestCase):
    """
    An exchange is closed as soon as it is over: it may hold something.
    """

    def setUp(self) -> None:
        self.ends: list[str] = []

    def exchange(self, circumstances: Any, initial: bytes | None) -> Iterator[Any]:
        try:
            yield Challenge(b"")
            yield Check(ANN)
        finally:
            self.ends.append("end")

    def begun(self, **settings: Any) -> Client:
        own = Mechanism("OWN", self.exchange, None)  # type: ignore[arg-type]
        client = self.connect(mechanisms=[own], **settings)
        self.assertSaid(["334"], client, "AUTH OWN")
        self.assertEqual([], self.ends)
        return client

    def test_gone(self) -> None:
        client = self.begun()
        client.disconnect()
        self.assertEqual(["end"], self.ends)

    def test_gone_in_check(self) -> None:
        client = self.begun(authenticator=lambda *_: Deferred())
        self.assertSaid([], client, "")
        client.disconnect()
        self.assertEqual(["end"], self.ends)

    def test_refused_answer(self) -> None:
        for line in ("*", "?", "A" * 20000):
            self.ends.clear()
            client = self.begun()
            self.say(client, line)
            self.assertEqual(["end"], self.ends)

    def test_timed_out(self) -> None:
        client = self.begun()
        client.wait(300)
        self.assertSaid(["421 4.4.2"], client)
        self.assertEqual(["end"], self.ends)


class OverrideTests(ServerTestCase):
    """
    A subclass of SMTP that has a part in AUTH.
    """

    class Polite(SMTP):
        async def smtp_AUTH(self, argument: str) -> Any:
            return await super().smtp_AUTH(argument)

    class Fussy(SMTP):
        async def smtp_AUTH(self, argument: str) -> Any:
            await super().smtp_AUTH(argument)
            return "535 5.7.8 Not you"

    def test_nothing_changes(self) -> None:
        client = self.connect(protocol=self.Polite, checkers=[memory()])
        self.assertIn("250-AUTH ", self.offer)
        self.assertSaid(["334", "501 5.7.0"], client, "AUTH LOGIN", "*")
        self.assertSaid(["501 5.5.2", "504 5.5.4"], client, "AUTH PLAIN ?", "AUTH XYZZY")
        self.assertSaid([], client, WRONG_PLAIN)
        client.wait(1)
        self.assertSaid(["535 5.7.8"], client)
        self.assertSaid([], client, WRONG_PLAIN)
        client.wait(1)
        lines = ("AUTH LOGIN", "YW5u", "d29uZGVybGFuZA==")
        self.assertSaid(["535 5.7.8", "334", "334", "235 2.7.0"], client, *lines)
        self.assertEqual(b"ann", client.protocol.session.auth_data)
        self.assertSaid(["503 5.5.1"], client, PLAIN)
        self.assertEqual(2, client.protocol.dialog.auth_failures)

    def test_third_failure(self) -> None:
        client = self.connect(protocol=self.Polite, checkers=[memory()])
        for _ in range(3):
            self.say(client, WRONG_PLAIN)
            client.wait(1)
        self.assertSaid(["535 5.7.8", "421 4.7.0"], client)
        self.assertTrue(client.closed)

    def test_long_line(self) -> None:
        """
        The limits of the command are kept.
        """
        client = self.connect(protocol=self.Polite, checkers=[memory()])
        self.assertSaid(["501 5.5.2"], client, "AUTH PLAIN " + "A" * 12275)
        self.assertSaid(["500 5.5.6"], client, "AUTH PLAIN " + "A" * 12276)

    def test_in_the_clear(self) -> None:
        factory = make_factory(RecordingHandler(), checkers=[memory()])
        factory.protocol = self.Polite
        client = self.again(factory)
        self.assertNotIn("AUTH", self.offer)
        self.assertSaid(["538 5.7.11"], client, PLAIN)

    def test_refused_after_all(self) -> None:
        """
        Who is refused in the end is not logged in; the avatar that was made hears of it when the
        client goes.
        """
        realm = Realm()
        portal = Portal(realm, [memory()])
        client = self.connect(protocol=self.Fussy, portal=portal, auth_required=True)
        self.assertSaid(["535 5.7.8", "530 5.7.0"], client, PLAIN, "MAIL FROM:<a@b>")
        session = client.protocol.session
        self.assertIsNone(session.authenticated)
        self.assertIsNone(session.auth_data)
        client.disconnect()
        self.assertEqual([(ISMTPUser,), "ann left"], realm.log)

    def test_refused_at_once(self) -> None:
        class Closed(SMTP):
            def smtp_AUTH(self, argument: str) -> Any:
                raise Rejected("454 4.7.0 Not now")

        client = self.connect(protocol=Closed, checkers=[memory()])
        self.assertSaid(["454 4.7.0", "250 2.0.0"], client, PLAIN, "NOOP")

    def test_mere_words(self) -> None:
        """
        Nobody is let in by saying so.
        """

        class Words(SMTP):
            def smtp_AUTH(self, argument: str) -> str:
                return "235 2.7.0 Welcome"

        client = self.connect(protocol=Words, checkers=[memory()], auth_required=True)
        self.assertSaid(["451 4.3.0", "530 5.7.0"], client, PLAIN, "MAIL FROM:<a@b>")
        self.assertEqual(1, len(self.flushLoggedErrors(ValueError)))

    def test_pending(self) -> None:
        answer: Deferred[Any] = Deferred()
        client = self.connect(protocol=self.Polite, authenticator=lambda *_: answer)
        self.assertSaid([], client, PLAIN, "NOOP")
        answer.callback(True)
        self.assertSaid(["235 2.7.0", "250 2.0.0"], client)

    def test_gone_before_avatar(self) -> None:
        realm = Realm()
        realm.wait = wait = Deferred[None]()
        client = self.connect(protocol=self.Polite, portal=Portal(realm, [memory()]))
        self.assertSaid([], client, PLAIN)
        client.disconnect()
        wait.callback(None)
        self.assertEqual([(ISMTPUser,), "ann left"], realm.log)
        self.assertEqual([], client.clock.getDelayedCalls())
