"""
Tests for txsmtpd.handlers.relay.setup.
"""

from __future__ import annotations

import hmac
from base64 import b64encode
from typing import Any

from twisted.internet.defer import Deferred

from txsmtpd.handlers.relay import Credentials, NextHop, answers
from txsmtpd.handlers.relay.answers import Lost
from txsmtpd.handlers.relay.setup import set_up

from .relaykit import DROP, FakeCreator, Hop, RelayTestCase

ANN = Credentials("ann", "se:cret")


class SetUpTestCase(RelayTestCase):
    def where(self, **how: Any) -> NextHop:
        return NextHop("hop.example", 25, **how)

    def set_up(self, hop: Hop, where: NextHop, **how: Any) -> tuple[Any, Deferred[None]]:
        connection = self.connection(hop, creator=where.tls if where.implicit else None)
        hop.wires[-1].say(hop.answer("GREETING", ""))
        done = Deferred.fromCoroutine(set_up(connection, where, "relay.example", **how))
        self.run_all()
        return connection, done

    def works(self, hop: Hop, where: NextHop, **how: Any) -> Any:
        connection, done = self.set_up(hop, where, **how)
        self.successResultOf(done)
        self.assertIsNone(connection.gone)
        return connection

    def fails(self, hop: Hop, where: NextHop, reply: Any, reason: str) -> None:
        connection, done = self.set_up(hop, where)
        error = self.failureResultOf(done, Lost).value
        self.assertEqual((error.reply, error.reason), (reply, reason))
        self.assertIsNotNone(connection.gone)


class HelloTests(SetUpTestCase):
    def test_ehlo(self) -> None:
        hop = self.hop("size 1000", "PIPELINING", "auth plain login")
        connection = self.works(hop, self.where())
        self.assertEqual(hop.heard, ["EHLO relay.example"])
        self.assertEqual(
            connection.features, {"SIZE": "1000", "PIPELINING": "", "AUTH": "PLAIN LOGIN"}
        )
        self.assertFalse(connection.tls or connection.verified or connection.logged_in)

    def test_lhlo(self) -> None:
        hop = self.hop(lmtp=True)
        self.works(hop, self.where(lmtp=True))
        self.assertEqual(hop.heard, ["LHLO relay.example"])

    def test_helo(self) -> None:
        hop = self.hop(EHLO="502 5.5.1 What?")
        connection = self.works(hop, self.where())
        self.assertEqual(hop.heard, ["EHLO relay.example", "HELO relay.example"])
        self.assertEqual(connection.features, {})

    def test_refused(self) -> None:
        for said in ("554 5.7.1 Not you", "421 4.3.2 Busy", "450 Later", "250 Hello"):
            hop = self.hop(GREETING=said)
            self.fails(hop, self.where(), answers.UNWELCOME, said)
            self.assertEqual(hop.heard, [])
        for how in ({"EHLO": "550 No"}, {"EHLO": "500 What?", "HELO": "550 No"}):
            self.fails(self.hop(**how), self.where(), answers.UNWELCOME, "550 No")
        hop = self.hop(lmtp=True, LHLO="500 What?")
        self.fails(hop, self.where(lmtp=True), answers.UNWELCOME, "500 What?")

    def test_lost(self) -> None:
        clean = "Connection was closed cleanly."
        self.fails(self.hop(EHLO=DROP), self.where(), answers.LOST, clean)


class TLSTests(SetUpTestCase):
    def secure(self, **how: Any) -> NextHop:
        return self.where(tls=FakeCreator(), verified=True, **how)

    def test_starttls(self) -> None:
        for where in (self.secure(), self.where(tls=FakeCreator())):
            hop = self.hop("STARTTLS", "SIZE")
            connection = self.works(hop, where)
            self.assertEqual(hop.heard, ["EHLO relay.example", "STARTTLS", "EHLO relay.example"])
            self.assertTrue(connection.tls)
            self.assertEqual(connection.verified, where.verified)

    def test_not_wanted(self) -> None:
        hop = self.hop("STARTTLS")
        self.works(hop, self.where())
        self.assertEqual(hop.heard, ["EHLO relay.example"])
        hop = self.hop("STARTTLS")
        self.works(hop, self.where(tls=FakeCreator()), tls=False)
        self.assertEqual(hop.heard, ["EHLO relay.example"])

    def test_implicit(self) -> None:
        hop = self.hop()
        connection = self.works(hop, self.secure(implicit=True))
        self.assertEqual(hop.heard, ["EHLO relay.example"])
        self.assertTrue(connection.tls and connection.verified)

    def test_not_offered(self) -> None:
        hop = self.hop()
        self.works(hop, self.where(tls=FakeCreator()))
        self.fails(self.hop(), self.secure(), answers.UNSAFE, "it does not do STARTTLS")

    def test_refused(self) -> None:
        self.works(self.hop("STARTTLS", STARTTLS="454 Later"), self.where(tls=FakeCreator()))
        hop = self.hop("STARTTLS", STARTTLS="454 Later")
        self.fails(hop, self.secure(), answers.UNSAFE, "it does not do STARTTLS")

    def test_wrong_name(self) -> None:
        """
        Nothing is said to who is not the one we want to talk to.
        """
        hop = self.hop("STARTTLS")
        hop.handshake = "wrong name"
        reason = "no TLS: no handshake"
        self.fails(hop, self.secure(credentials=ANN), answers.UNSAFE, reason)
        self.assertEqual(hop.heard, ["EHLO relay.example", "STARTTLS"])

    def test_no_helo(self) -> None:
        """
        Who knows no EHLO knows no TLS.
        """
        hop = self.hop(EHLO="500 What?")
        self.fails(hop, self.secure(), answers.UNWELCOME, "500 What?")


class LoginTests(SetUpTestCase):
    def hop_with(self, mechanisms: str, *said: Any) -> Hop:
        later = said[1:]
        if later:
            # What is no command is the next message of the exchange.
            self.patch(Hop, "answer", _exchange(Hop.answer, [*later]))
        return self.hop(f"AUTH {mechanisms}", AUTH=said[0] if said else "235 Welcome")

    def where_as(self, credentials: Credentials = ANN) -> NextHop:
        return self.where(tls=FakeCreator(), verified=True, implicit=True, credentials=credentials)

    def test_plain(self) -> None:
        hop = self.hop_with("CRAM-MD5 LOGIN PLAIN")
        connection = self.works(hop, self.where_as())
        initial = b64encode(b"\0ann\0se:cret").decode()
        self.assertEqual(hop.heard[1:], [f"AUTH PLAIN {initial}"])
        self.assertTrue(connection.logged_in)

    def test_octets(self) -> None:
        hop = self.hop_with("PLAIN")
        self.works(hop, self.where_as(Credentials("\xe4", "\udcff")))
        initial = b64encode(b"\0\xc3\xa4\0\xff").decode()
        self.assertEqual(hop.heard[1:], [f"AUTH PLAIN {initial}"])

    def test_login(self) -> None:
        hop = self.hop_with("LOGIN CRAM-MD5", "334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 Welcome")
        self.works(hop, self.where_as())
        name, password = (b64encode(each).decode() for each in (b"ann", b"se:cret"))
        self.assertEqual(hop.heard[1:], ["AUTH LOGIN", name, password])

    def test_cram_md5(self) -> None:
        challenge = b"<1896.697170952@postoffice.reston.mci.net>"
        hop = self.hop_with("CRAM-MD5", f"334 {b64encode(challenge).decode()}", "235 Welcome")
        self.works(hop, self.where_as())
        digest = hmac.new(b"se:cret", challenge, "md5").hexdigest()
        response = b64encode(f"ann {digest}".encode()).decode()
        self.assertEqual(hop.heard[1:], ["AUTH CRAM-MD5", response])

    def test_known_answer(self) -> None:
        """
        The example of RFC 2195 section 2.
        """
        challenge = "PDE4OTYuNjk3MTcwOTUyQHBvc3RvZmZpY2UucmVzdG9uLm1jaS5uZXQ+"
        hop = self.hop_with("CRAM-MD5", f"334 {challenge}", "235 Welcome")
        self.works(hop, self.where_as(Credentials("tim", "tanstaaftanstaaf")))
        response = "dGltIGI5MTNhNjAyYzdlZGE3YTQ5NWI0ZTZlNzMzNGQzODkw"
        self.assertEqual(hop.heard[1:], ["AUTH CRAM-MD5", response])

    def test_refused(self) -> None:
        said = "535 5.7.8 No"
        for mechanisms, answers_ in (
            ("PLAIN", (said,)),
            ("LOGIN", (said,)),
            ("LOGIN", ("334 VXNlcm5hbWU6", said)),
            ("LOGIN", ("334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", said)),
            ("CRAM-MD5", (said,)),
            ("CRAM-MD5", ("334 PDE+", said)),
        ):
            hop = self.hop_with(mechanisms, *answers_)
            # A hop may say our own words again, which no log may have.
            self.fails(hop, self.where_as(), answers.NO_LOGIN, "AUTH was answered 535")

    def test_no_challenge(self) -> None:
        hop = self.hop_with("CRAM-MD5", "334 what?")
        reason = "a challenge that is not base64"
        self.fails(hop, self.where_as(), answers.NONSENSE, reason)

    def test_nothing_that_we_know(self) -> None:
        reason = "it offers no mechanism of PLAIN, LOGIN, CRAM-MD5"
        self.fails(self.hop_with("GSSAPI"), self.where_as(), answers.NO_LOGIN, reason)
        self.fails(self.hop("SIZE"), self.where_as(), answers.NO_LOGIN, reason)


def _exchange(answer: Any, later: list[Any]) -> Any:
    known = ("GREETING", "EHLO", "AUTH", "QUIT")
    return lambda hop, verb, line: (
        answer(hop, verb, line) if verb in known or not later else later.pop(0)
    )
