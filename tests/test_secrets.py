"""
Credentials are nowhere to be seen.
"""

from __future__ import annotations

import hmac
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Any

import attrs
from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.internet.defer import fail, succeed
from twisted.logger import LogEvent, eventAsText, globalLogPublisher
from twisted.python.failure import Failure

from txsmtpd.core.identity import AuthResult
from txsmtpd.sasl import MECHANISMS, IBearerToken, IClientCertificate
from txsmtpd.testing import Client, RecordingHandler, make_factory

from .test_login import OVER_TLS, Checker, ServerTestCase, memory, verifier
from .test_sasl_scram import Client as ScramClient

#: A user name.
NAME = b"a name"


@attrs.define
class Speaker:
    """
    A client's end of each mechanism: `say` gives what it answers to each challenge, None standing
    for the beginning, and notes what nobody else may see.
    """

    name: str
    password: bytes
    secrets: list[bytes] = attrs.field(factory=list)

    def say(self, challenge: bytes | None, step: int) -> bytes | None:
        kind = self.name.replace("-", "_").lower().removesuffix("_plus")
        answer: bytes | None = getattr(self, f"_{kind}")(challenge, step)
        self.secrets.append(self.password)
        self.secrets += filter(None, (challenge, answer))
        if answer == NAME:
            # It may be seen, but not as it was sent.
            self.secrets[-1] = b64encode(NAME)
        return answer

    def _plain(self, challenge: bytes | None, step: int) -> bytes:
        return b"\0ann\0" + self.password

    def _login(self, challenge: bytes | None, step: int) -> bytes:
        return NAME if step == 0 else self.password

    def _cram_md5(self, challenge: bytes | None, step: int) -> bytes | None:
        if challenge is None:
            return None
        digest = hmac.digest(self.password, challenge, "md5").hex().encode()
        self.secrets.append(digest)
        return b"ann " + digest

    def _external(self, challenge: bytes | None, step: int) -> bytes:
        return b"ann@example.org"

    def _oauthbearer(self, challenge: bytes | None, step: int) -> bytes:
        if challenge is not None:
            return b"\x01"
        return b"n,a=ann,\x01auth=Bearer " + self.password + b"\x01\x01"

    def _xoauth2(self, challenge: bytes | None, step: int) -> bytes:
        if challenge is not None:
            return b""
        return b"user=ann\x01auth=Bearer " + self.password + b"\x01\x01"

    def _scram_sha_1(self, challenge: bytes | None, step: int) -> bytes:
        return self._scram("sha1", challenge, step)

    def _scram_sha_256(self, challenge: bytes | None, step: int) -> bytes:
        return self._scram("sha256", challenge, step)

    def _scram(self, hash_name: str, challenge: bytes | None, step: int) -> bytes:
        plus = self.name.endswith("-PLUS")
        header, binding = ("p=tls-exporter,,", b"E" * 32) if plus else ("n,,", b"")
        client = ScramClient(self.password, "ann", hash_name, header, binding, nonce="client.nonce")
        if challenge is None:
            return client.first()
        if step == 1:
            final = client.final(challenge)
            self.secrets.append(final.rpartition(b"p=")[2])
            self.secrets.append(b64decode(self.secrets[-1]))
            return final
        return b""


class SecretsTests(ServerTestCase):
    """
    Credentials and challenges are nowhere to be seen but on the wire: with `verbose`, for every
    mechanism, however it goes.
    """

    PASSWORD = b"Tr0ub4dor-3.wonderland"
    WRONG = b"looking-glass.Tr0ub4dor"

    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.shown: list[str] = []

    def shows(self, client: Client) -> None:
        """
        Note what can be seen of the connection now.
        """
        server = client.protocol
        things = [server, server.session, server.envelope, server.dialog, server.dialog.state]
        things += [server._challenge, server.factory, server.factory.settings, server.factory.rules]
        self.shown += [form(thing) for thing in things for form in (repr, str)]

    def logged(self) -> Iterator[str]:
        """
        All that an observer could make of the log.
        """
        for event in self.events:
            yield eventAsText(event, includeTraceback=True)
            yield repr(event)
            for value in event.values():
                yield str(value)
                yield repr(value)
                if isinstance(value, Failure):
                    for detail in ("brief", "default", "verbose"):
                        yield value.getTraceback(detail=detail)
                    errors: list[Any] = [value.value]
                    for error in filter(None, errors):
                        yield f"{error!r} {error} {error.args!r}"
                        errors += [error.__cause__, error.__context__]

    def server(self, checkers: list[Any]) -> Client:
        client = self.connect(checkers=checkers, verbose=True)
        session = client.protocol.session
        session.ssl, session.tls = {}, OVER_TLS
        return client

    def checkers(self) -> list[Any]:
        bearer = Checker(None, IBearerToken)
        bearer.answer = lambda: self.judged(bearer.asked[-1].token == self.PASSWORD)
        certificate = Checker(None, IClientCertificate)
        certificate.answer = lambda: self.judged(self.certified)
        users = InMemoryUsernamePasswordDatabaseDontUse()
        users.addUser(b"ann", self.PASSWORD)
        users.addUser(NAME, self.PASSWORD)
        return [users, bearer, certificate]

    certified = True

    @staticmethod
    def judged(good: bool) -> Any:
        return succeed(b"ann") if good else fail(UnauthorizedLogin())

    def converse(self, client: Client, speaker: Speaker, rounds: int = 9) -> str:
        """
        :param rounds: after how many answers it gives up.
        :return: the last reply.
        """
        initial = speaker.say(None, 0)
        line = f"AUTH {speaker.name}"
        if initial is not None and rounds:
            line += f" {b64encode(initial).decode()}"
        client.send(f"{line}\r\n".encode())
        for step in range(1, 10):
            self.shows(client)
            if client.protocol.brakes:
                client.wait(1)
            said = client.take().decode().rstrip("\r\n")
            if not said.startswith("334"):
                return said
            if step > rounds:
                client.send(b"*\r\n")
            else:
                answer = speaker.say(b64decode(said[4:]), step)
                client.send(b64encode(answer or b"") + b"\r\n")
        raise AssertionError("no end")

    def assertHidden(self, *secrets: bytes) -> None:
        """
        None of these is anywhere, as it is, in base64, or in hexadecimal.
        """
        everywhere = "\n".join([*self.shown, *self.logged()])
        self.assertIn("AUTH", everywhere)
        for secret in set(secrets):
            # A shorter one may be there by chance.
            if len(secret) < 5:
                continue
            forms = [b64encode(secret).decode().rstrip("="), secret.hex(), repr(secret)[2:-1]]
            for form in (*forms, secret.decode("latin-1"), secret.decode("utf-8", "replace")):
                place = everywhere.find(form)
                self.assertEqual(-1, place, everywhere[max(place - 80, 0) : place + 80])

    def each(self, mechanism: str, password: bytes, expected: str, **options: Any) -> None:
        speaker = Speaker(mechanism, password)
        client = self.server(options.pop("checkers", None) or self.checkers())
        said = self.converse(client, speaker, **options)
        self.assertEqual(expected, said[:9], mechanism)
        self.shows(client)
        client.disconnect()
        self.assertHidden(*speaker.secrets)
        self.events.clear()
        self.shown.clear()

    NAMES = tuple(mechanism.name for mechanism in MECHANISMS)

    def test_success(self) -> None:
        for name in self.NAMES:
            self.each(name, self.PASSWORD, "235 2.7.0")

    def test_failure(self) -> None:
        self.certified = False
        for name in self.NAMES:
            self.each(name, self.WRONG, "535 5.7.8")

    def test_unknown_user(self) -> None:
        nobody = [memory(), Checker(UnauthorizedLogin(), IBearerToken, IClientCertificate)]
        for name in self.NAMES:
            self.each(name, self.PASSWORD, "535 5.7.8", checkers=[*nobody])

    def test_abort(self) -> None:
        for name in self.NAMES:
            self.each(name, self.PASSWORD, "501 5.7.0", rounds=0)
        for name in ("SCRAM-SHA-256-PLUS", "SCRAM-SHA-1"):
            self.each(name, self.PASSWORD, "501 5.7.0", rounds=1)

    def test_broken_checker(self) -> None:
        every = (IUsernamePassword, IUsernameHashedPassword, IBearerToken, IClientCertificate)
        for name in self.NAMES:
            for broken in (RuntimeError("no database"), lambda: fail(RuntimeError("no database"))):
                self.each(name, self.PASSWORD, "454 4.7.0", checkers=[Checker(broken, *every)])
                self.assertEqual(1, len(self.flushLoggedErrors(RuntimeError)))

    def test_file(self) -> None:
        """
        Users that come from a file.
        """
        users = self.users(
            b"ann:" + verifier("sha256", self.PASSWORD),
            NAME + b":" + verifier("sha1", self.PASSWORD),
        )
        for name in ("SCRAM-SHA-256", "SCRAM-SHA-256-PLUS", "PLAIN", "LOGIN"):
            self.each(name, self.PASSWORD, "235 2.7.0", checkers=[users])
            self.each(name, self.WRONG, "535 5.7.8", checkers=[users])

    def test_malformed(self) -> None:
        """
        What is wrong about a command, or with an answer, is not told either.
        """
        secret = b64encode(self.PASSWORD).decode()
        for lines, last in (
            ([f"AUTH PLAIN {secret}"], "501"),
            ([f"AUTH {secret}"], "504"),
            ([f"AUTH PLAIN {secret} {secret}"], "501"),
            ([f"AUTH PLAIN  {secret}"], "501"),
            ([f"AUTH PLAIN\t{secret}"], "500"),
            ([f"AUTH PLAIN {secret}\0"], "500"),
            ([f"AUTH PLAIN {secret}!"], "501"),
            ([f"AUTH CRAM-MD5 {secret}"], "501"),
            ([f"AUTH XYZZY {secret}"], "504"),
            ([f"AUTHPLAIN {secret}"], "500"),
            ([secret], "500"),
            ([f"AUTH PLAIN {'A' * 13000}{secret}"], "500"),
            (["AUTH PLAIN", secret], "501"),
            (["AUTH PLAIN", f"{secret} {secret}"], "501"),
            (["AUTH PLAIN", f"{secret}\n"], "501"),
            (["AUTH PLAIN", f"NOOP {secret}"], "501"),
            (["AUTH PLAIN", f"{'A' * 13000}{secret}"], "500"),
            (["AUTH LOGIN", "YW5u", f"{secret}*"], "501"),
            (["AUTH LOGIN", "YW5u", f"{self.PASSWORD.decode()}"], "501"),
            (["AUTH SCRAM-SHA-256", secret], "501"),
            (["AUTH OAUTHBEARER", secret], "501"),
            (["AUTH XOAUTH2", secret], "501"),
            (["AUTH CRAM-MD5", secret], "501"),
        ):
            client = self.server(self.checkers())
            for line in lines:
                client.send(f"{line}\r\n".encode())
                self.shows(client)
            self.assertEqual(last, client.take().decode().split("\r\n")[-2][:3], lines)
            client.disconnect()
            self.assertHidden(self.PASSWORD)

    def test_not_offered(self) -> None:
        """
        A client that does not listen says its name and password as commands.
        """
        secret = b64encode(self.PASSWORD).decode()
        for lines in (
            ["AUTH LOGIN", "YW5u", secret],
            ["AUTH PLAIN", secret],
            [f"AUTH PLAIN {secret}"],
        ):
            factory = make_factory(RecordingHandler(), checkers=self.checkers(), verbose=True)
            client = self.again(factory)
            for line in lines:
                client.send(f"{line}\r\n".encode())
                self.shows(client)
            client.disconnect()
            self.assertHidden(self.PASSWORD)

    def test_authenticator(self) -> None:
        """
        What it is given does not show itself, nor does what it gives.
        """
        seen: list[Any] = []

        def authenticator(*arguments: Any) -> AuthResult:
            seen.append(arguments[-1])
            result = AuthResult(success=True, auth_data=self.PASSWORD)
            self.shown.extend((repr(arguments), str(arguments[-1]), repr(result)))
            return result

        client = self.connect(authenticator=authenticator, verbose=True)
        message = b64encode(b"\0ann\0" + self.PASSWORD)
        client.send(b"AUTH PLAIN " + message + b"\r\n")
        self.assertEqual(b"235", client.take()[:3])
        self.assertEqual(self.PASSWORD, seen[0].password)
        server = client.protocol
        self.shown.extend(map(repr, (server, server.session, server.envelope, server.dialog)))
        client.disconnect()
        self.assertHidden(self.PASSWORD, message)

    def test_it_would_show(self) -> None:
        """
        These tests would notice.
        """
        client = self.server(self.checkers())
        client.send(b"NOOP " + b64encode(self.PASSWORD) + b"\r\n")
        self.assertRaises(self.failureException, self.assertHidden, self.PASSWORD)
