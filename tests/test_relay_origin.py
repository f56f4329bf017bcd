"""
Tests for txsmtpd.handlers.relay.origin.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred

from txsmtpd.core.replies import Rejected
from txsmtpd.core.session import Envelope, Session
from txsmtpd.handlers.relay import NextHop, origin
from txsmtpd.handlers.relay.answers import NONSENSE

from .relaykit import Hop, RelayTestCase

KNOWN = "NAME ADDR PORT PROTO HELO LOGIN DESTADDR DESTPORT"
COMMAND = (
    "XCLIENT NAME=[UNAVAILABLE] ADDR=192.0.2.1 PORT=54321 PROTO=ESMTP HELO=client.example"
    " LOGIN=[UNAVAILABLE] DESTADDR=192.0.2.25 DESTPORT=25"
)


def session(**facts: Any) -> Session:
    return Session(
        **{
            "peer": ("192.0.2.1", 54321),
            "local": ("192.0.2.25", 25),
            "host_name": "client.example",
            "extended_smtp": True,
            **facts,
        }
    )


class FactsTests(RelayTestCase):
    def command(self, **facts: Any) -> str:
        (command,) = origin.commands("XCLIENT", origin.client_facts(session(**facts)), KNOWN)
        return command

    def test_usual(self) -> None:
        self.assertEqual(self.command(), COMMAND)

    def test_addresses(self) -> None:
        for peer, words in (
            (("2001:db8::1", 25, 0, 0), "ADDR=IPV6:2001:db8::1 PORT=25"),
            (("::ffff:192.0.2.7", 25, 0, 0), "ADDR=192.0.2.7 PORT=25"),
            (("fe80::1%eth0", 25, 0, 2), "ADDR=IPV6:fe80::1 PORT=25"),
            ("/run/smtp", "ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE]"),
            (None, "ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE]"),
            (("what", 25), "ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE]"),
            (("192.0.2.1",), "ADDR=[UNAVAILABLE] PORT=[UNAVAILABLE]"),
        ):
            self.assertIn(f" {words} ", self.command(peer=peer))

    def test_greeting(self) -> None:
        self.assertIn(" PROTO=SMTP ", self.command(extended_smtp=False))
        self.assertIn(" HELO=[UNAVAILABLE] ", self.command(host_name=None))
        self.assertIn(" HELO=a+20b+C3+A4 ", self.command(host_name="a\nb\xe4"))

    def test_login(self) -> None:
        for facts, login in (
            ({"authenticated": True, "login_data": b"ann@a"}, "ann@a"),
            ({"authenticated": True, "login_data": "a=n"}, "a+3Dn"),
            # What an authenticator made of it may be no text.
            ({"authenticated": True, "login_data": b"caf\xe9"}, "caf?"),
            ({"authenticated": True, "login_data": "a\ud800b"}, "a?b"),
            ({"authenticated": True, "login_data": None}, "[UNAVAILABLE]"),
            ({"authenticated": False, "login_data": b"ann"}, "[UNAVAILABLE]"),
        ):
            self.assertIn(f" LOGIN={login} ", self.command(**facts))

    def test_long(self) -> None:
        """
        A value is not cut within a character, nor a command at all.
        """
        for extra in range(4):
            word = self.command(host_name="a" * extra + "\xe4" * 200).split()[5]
            self.assertRegex(word, r"^HELO=a*(\+C3\+A4)*$")
            self.assertIn(len(word), range(255, 261))
        facts = {"A": "a" * 255, "B": "b" * 255, "C": "c"}
        found = [*origin.commands("XCLIENT", facts, "A B C D")]
        self.assertEqual(found, [f"XCLIENT A={'a' * 255}", f"XCLIENT B={'b' * 255} C=c"])

    def test_nothing_known(self) -> None:
        self.assertEqual([*origin.commands("XCLIENT", {"A": "a"}, "B")], [])

    def test_message(self) -> None:
        envelope = Envelope(id="abc.1")
        facts = origin.message_facts(session(), envelope)
        self.assertEqual((facts["IDENT"], facts["SOURCE"]), ("abc.1", "REMOTE"))
        facts = origin.message_facts(session(peer="/run/smtp"), Envelope())
        self.assertEqual((facts["IDENT"], facts["SOURCE"]), ("[UNAVAILABLE]", "LOCAL"))


class IntroduceTests(RelayTestCase):
    hostname = "relay.example"
    where = NextHop("hop.example", 25)

    def connected(self, hop: Hop) -> Any:
        connection = self.connection(hop)
        hop.wire.say("220 hop")
        self.run_all()
        if hop.offered[0].startswith("XCLIENT"):
            connection.features = {"XCLIENT": KNOWN}
        return connection

    def introduce(self, connection: Any, **facts: Any) -> Deferred[None]:
        done = Deferred.fromCoroutine(
            origin.introduce(connection, self.where, self.hostname, session(**facts))
        )
        self.run_all()
        return done

    def refused(self, connection: Any) -> str:
        failure = self.failureResultOf(self.introduce(connection), Rejected)
        self.assertIsNotNone(connection.gone)
        return str(failure.value.reply)

    def test_not_wanted(self) -> None:
        connection = self.connected(hop := self.hop("SIZE"))
        self.successResultOf(self.introduce(connection))
        self.assertEqual(hop.heard, [])

    def test_logged_in(self) -> None:
        """
        It would forget that.
        """
        connection = self.connected(hop := self.hop(f"XCLIENT {KNOWN}"))
        connection.logged_in = True
        self.successResultOf(self.introduce(connection))
        self.assertEqual(hop.heard, [])

    def test_once(self) -> None:
        connection = self.connected(hop := self.hop(f"XCLIENT {KNOWN}"))
        for _ in range(2):
            self.successResultOf(self.introduce(connection))
        self.assertEqual(hop.heard, [COMMAND, "EHLO relay.example"])
        self.assertFalse(connection.spent)

    def test_another(self) -> None:
        """
        One connection may speak for several clients, one after the other.
        """
        connection = self.connected(hop := self.hop(f"XCLIENT {KNOWN}"))
        self.successResultOf(self.introduce(connection, authenticated=True, login_data=b"ann"))
        self.successResultOf(self.introduce(connection, peer=("192.0.2.2", 1)))
        self.assertIn(" LOGIN=ann ", hop.heard[0])
        self.assertIn(" ADDR=192.0.2.2 ", hop.heard[2])
        self.assertIn(" LOGIN=[UNAVAILABLE] ", hop.heard[2])

    def test_only_once(self) -> None:
        connection = self.connected(hop := self.hop(f"XCLIENT {KNOWN}"))
        hop.offered = ("SIZE",)
        self.successResultOf(self.introduce(connection))
        self.assertTrue(connection.spent)

    def test_refused(self) -> None:
        for said, reply in (
            ("550 5.7.1 Not from there", "550 5.7.1 Not from there"),
            ("450 4.7.1 Later", "450 4.7.1 Later"),
            ("421 4.7.0 Later", "451 4.7.0 Later"),
            # That is about us.
            ("501 5.5.4 What?", str(NONSENSE)),
            ("354 What?", str(NONSENSE)),
        ):
            hop = self.hop(f"XCLIENT {KNOWN}", XCLIENT=said)
            self.assertEqual(self.refused(self.connected(hop)), reply)
