"""
Tests for :mod:`txsmtpd.extensions.xclient`, and how a server begins again with another client.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.address import IPv6Address, UNIXAddress
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd import LMTP, SMTP
from txsmtpd.core.session import Session
from txsmtpd.core.trace import received
from txsmtpd.extensions.xclient import XClient
from txsmtpd.factory import SMTPFactory
from txsmtpd.testing import Client, RecordingHandler, make_factory
from txsmtpd.tls import self_signed

from . import corekit
from .test_arrival import WHEN
from .test_flow import MAIL, MESSAGE, FlowTestCase, Later, codes

CREATOR = self_signed("mx.example")
VIA, OURS = ("192.0.2.1", 54321), ("192.0.2.25", 25)


class XClientTestCase(FlowTestCase):
    def factory(self, handler: object = None, *more: object, **settings: Any) -> SMTPFactory:
        usual: dict[str, Any] = {"trusted_proxies": ["192.0.2.0/24"]}
        return make_factory(handler or RecordingHandler(), *more, **{**usual, **settings})

    def connect(self, handler: object = None, *more: object, **settings: Any) -> Client:
        client = Client(self.factory(handler, *more, **settings))
        self.assertEqual(codes(client), [220])
        return client

    def say(self, client: Client, *lines: str) -> list[int]:
        client.send("".join(f"{line}\r\n" for line in lines).encode())
        return codes(client)

    def introduced(self, *commands: str) -> Session:
        """
        The session after these commands.
        """
        client = self.connect()
        for command in commands:
            self.assertEqual(self.say(client, f"XCLIENT {command}"), [220], client.transcript)
        session: Session = client.protocol.session
        self.assertEqual(session.via, VIA)
        return session


class KeywordTests(SynchronousTestCase):
    def test_keyword(self) -> None:
        client = corekit.Client(trusted_proxies=["192.0.2.0/24"], session=Session(via=VIA))
        (reply,) = client.send(b"EHLO proxy.example\r\n")
        self.assertIn("XCLIENT NAME ADDR PROTO HELO PORT LOGIN DESTADDR DESTPORT", reply.lines)

    def test_not_offered(self) -> None:
        for trusted in ((), ("198.51.100.0/24",)):
            client = corekit.Client(trusted_proxies=trusted, session=Session(via=VIA))
            (reply,) = client.send(b"EHLO proxy.example\r\n")
            self.assertNotIn("XCLIENT", str(reply.lines))
            self.assertEqual(["550 5.7.0"], client.say("XCLIENT ADDR=203.0.113.9"))

    def test_everywhere(self) -> None:
        self.assertEqual({"XCLIENT"}, set(XClient(corekit.rules().settings).verbs()))


class AddressTests(XClientTestCase):
    """
    Who the client is.
    """

    def test_address(self) -> None:
        for command, peer in {
            "ADDR=203.0.113.9": ("203.0.113.9", 0),
            "ADDR=203.0.113.9 PORT=40000": ("203.0.113.9", 40000),
            "ADDR=203.0.113.9 PORT=[UNAVAILABLE]": ("203.0.113.9", 0),
            "ADDR=IPV6:2001:db8::9 PORT=40000": ("2001:db8::9", 40000, 0, 0),
            "ADDR=IPV6:::ffff:203.0.113.9": ("203.0.113.9", 0),
            "ADDR=[UNAVAILABLE]": None,
            "ADDR=[UNAVAILABLE] PORT=40000": None,
            "PORT=40000": ("192.0.2.1", 40000),
            "PORT=[UNAVAILABLE]": ("192.0.2.1", 0),
            "NAME=client.example": VIA,
            "HELO=client.example": VIA,
        }.items():
            session = self.introduced(command)
            self.assertEqual(session.peer, peer, command)
            self.assertEqual(session.local, OURS)

    def test_destination(self) -> None:
        for command, local in {
            "DESTADDR=203.0.113.1": ("203.0.113.1", 0),
            "DESTADDR=203.0.113.1 DESTPORT=587": ("203.0.113.1", 587),
            "DESTADDR=[UNAVAILABLE]": None,
            "DESTPORT=587": ("192.0.2.25", 587),
        }.items():
            session = self.introduced(command)
            self.assertEqual((session.peer, session.local), (VIA, local))

    def test_name(self) -> None:
        for command, name in {
            "NAME=client.example": "client.example",
            "NAME=[unavailable]": None,
            "NAME=[TEMPUNAVAIL]": None,
            "ADDR=203.0.113.9": None,
        }.items():
            self.assertEqual(self.introduced(command).client_name, name)

    def test_as_it_was_said(self) -> None:
        """
        Handlers that want to know more find all of it.
        """
        session = self.introduced("name=[tempunavail] ADDR=IPV6:2001:DB8::9 LOGIN=a+20b")
        self.assertEqual(
            session.xclient, {"NAME": "[TEMPUNAVAIL]", "ADDR": "2001:db8::9", "LOGIN": "a b"}
        )

    def test_several(self) -> None:
        """
        Who the client is adds up; what it has told does not (XCLIENT_README).
        """
        session = self.introduced(
            "HELO=client.example PROTO=ESMTP LOGIN=ann PORT=40000",
            "NAME=client.example ADDR=203.0.113.9",
        )
        self.assertEqual(session.peer, ("203.0.113.9", 40000))
        self.assertEqual(session.client_name, "client.example")
        self.assertEqual((session.host_name, session.extended_smtp), (None, False))
        self.assertIsNone(session.authenticated)
        self.assertEqual(set(session.xclient), {"PORT", "NAME", "ADDR"})

    def test_back_to_the_proxy(self) -> None:
        """
        Unavailable is not the same as the proxy's.
        """
        session = self.introduced("ADDR=203.0.113.9", "ADDR=[UNAVAILABLE] NAME=[UNAVAILABLE]")
        self.assertEqual((session.peer, session.client_name), (None, None))

    def test_no_port_of_a_path(self) -> None:
        """
        Where there is no address, a port alone is of no use.
        """
        session = self.introduced("ADDR=[UNAVAILABLE]", "PORT=40000")
        self.assertIsNone(session.peer)

    def test_ipv6_proxy(self) -> None:
        factory = self.factory(trusted_proxies=["2001:db8::/32"])
        client = Client(factory, peer=IPv6Address("TCP", "2001:db8::1", 1))
        self.assertEqual(self.say(client, "XCLIENT PORT=40000"), [220, 220])
        self.assertEqual(client.protocol.session.peer, ("2001:db8::1", 40000, 0, 0))

    def test_unix_proxy(self) -> None:
        """
        A unix socket is in no network.
        """
        client = Client(self.factory(), peer=UNIXAddress(b"/run/x"))
        self.assertEqual(self.say(client, "XCLIENT ADDR=203.0.113.9"), [220, 550])


class ToldTests(XClientTestCase):
    """
    What the client is said to have told.
    """

    def test_helo(self) -> None:
        for command, told in {
            "HELO=client.example PROTO=ESMTP": ("client.example", True),
            "HELO=client.example PROTO=smtp": ("client.example", False),
            "HELO=client.example": ("client.example", False),
            "HELO=[UNAVAILABLE] PROTO=ESMTP": (None, True),
            "HELO=+3Cscript+3E": ("?script?", False),
            "ADDR=203.0.113.9": (None, False),
        }.items():
            session = self.introduced(command)
            self.assertEqual((session.host_name, session.extended_smtp), told)

    def test_ehlo_says_it_better(self) -> None:
        client = self.connect()
        self.say(client, "XCLIENT HELO=one.example", "EHLO two.example")
        self.assertEqual(client.protocol.session.host_name, "two.example")

    def test_login(self) -> None:
        session = self.introduced("LOGIN=caf+C3+A9")
        self.assertIs(session.authenticated, True)
        self.assertEqual((session.auth_data, session.login_data), (b"caf\xc3\xa9", b"caf\xc3\xa9"))

    def test_no_login(self) -> None:
        for command in ("LOGIN=[UNAVAILABLE]", "ADDR=203.0.113.9"):
            session = self.introduced(command)
            self.assertIsNone(session.authenticated)
            self.assertIsNone(session.login_data)

    def test_protocol(self) -> None:
        """
        Who has logged in elsewhere has logged in.
        """
        handler = RecordingHandler()
        client = self.connect(handler)
        self.say(client, "XCLIENT LOGIN=ann")
        client.send(MESSAGE)
        self.assertEqual(handler.messages[0].envelope.protocol, "ESMTPA")

    def test_the_greeter_is_not_told(self) -> None:
        """
        At the greeting a client has told nothing yet.
        """
        seen: list[Any] = []

        def greet(server: Any, session: Session, envelope: Any) -> None:
            seen.append(
                (session.peer, session.client_name, session.host_name, session.authenticated)
            )

        client = self.connect(RecordingHandler({"CONNECT": greet}))
        self.say(client, "XCLIENT NAME=client.example ADDR=203.0.113.9 HELO=x LOGIN=ann")
        expected = (("203.0.113.9", 0), "client.example", None, None)
        self.assertEqual(seen, [(VIA, None, None, None), expected])

    def test_starttls_forgets_it(self) -> None:
        """
        But not who the client is, as it does not forget what a PROXY header has said.
        """
        client = self.connect(context_factory=CREATOR)
        self.say(
            client, "XCLIENT NAME=client.example ADDR=203.0.113.9 HELO=x PROTO=ESMTP LOGIN=ann"
        )
        self.say(client, "STARTTLS")
        client.start_tls()
        session = client.protocol.session
        self.assertEqual(
            (session.peer, session.client_name), (("203.0.113.9", 0), "client.example")
        )
        self.assertEqual((session.host_name, session.extended_smtp), (None, False))
        self.assertIsNone(session.authenticated)
        self.assertEqual(self.say(client, "EHLO x", "XCLIENT ADDR=203.0.113.10"), [250, 220])


class RestartTests(XClientTestCase):
    """
    The session begins anew.
    """

    def test_hooks(self) -> None:
        """
        One client leaves and another comes.
        """
        handler = RecordingHandler()
        client = self.connect(handler)
        first = client.protocol.session
        self.say(client, "XCLIENT ADDR=203.0.113.9")
        second = client.protocol.session
        client.disconnect()
        self.assertEqual(
            [(call.hook, call.session) for call in handler.calls],
            [
                ("CONNECT", first),
                ("DISCONNECT", first),
                ("CONNECT", second),
                ("DISCONNECT", second),
            ],
        )
        self.assertEqual(handler.calls[1].arguments, ("replaced by another client",))
        self.assertIsNot(first, second)
        self.assertEqual((first.peer, second.peer), (VIA, ("203.0.113.9", 0)))
        self.assert_clean(client)

    def test_without_greeters(self) -> None:
        for hooks in (["DISCONNECT"], ["DATA"]):
            handler = RecordingHandler(hooks=hooks)
            client = self.connect(handler)
            self.assertEqual(self.say(client, "XCLIENT ADDR=203.0.113.9"), [220])
            self.assertEqual(client.protocol.session.peer, ("203.0.113.9", 0))
            client.disconnect()
            self.assertEqual(len(handler.calls), 2 if hooks == ["DISCONNECT"] else 0)

    def test_what_greeters_have_noted(self) -> None:
        """
        It was about another client.
        """

        def greet(server: Any, session: Session, envelope: Any) -> None:
            session.notes[session.peer] = "seen"
            session.mine = session.peer  # type: ignore[attr-defined]

        for handlers in (
            [RecordingHandler({"CONNECT": greet})],
            [RecordingHandler({"CONNECT": [greet]})],
        ):
            client = self.connect(*handlers)
            first = client.protocol.session
            self.say(client, "XCLIENT ADDR=203.0.113.9")
            second = client.protocol.session
            self.assertEqual(first.notes, {VIA: "seen"})
            self.assertNotIn(VIA, second.notes)
            self.assertNotEqual(getattr(second, "mine", None), VIA)
            self.assertEqual(second.id, first.id)
            self.assertIs(second.reactor, first.reactor)

    def test_nothing_was_said(self) -> None:
        """
        EHLO, AUTH and an exchange of it are of the one before.
        """
        client = self.connect(authenticator=lambda *given: True, auth_require_tls=False)
        self.assertEqual(self.say(client, "EHLO proxy.example", "AUTH PLAIN AGEAYg=="), [250, 235])
        self.assertEqual(
            self.say(client, "XCLIENT ADDR=203.0.113.9", "MAIL FROM:<a@b>"), [220, 503]
        )
        session = client.protocol.session
        self.assertEqual((session.host_name, session.authenticated), (None, None))
        self.assertEqual(self.say(client, "EHLO x", "AUTH PLAIN AGEAYg=="), [250, 235])

    def test_in_transaction(self) -> None:
        client = self.connect()
        client.send(MAIL)
        client.take()
        envelope = client.protocol.envelope
        self.assertEqual(self.say(client, "XCLIENT ADDR=203.0.113.9"), [503])
        self.assertIs(client.protocol.envelope, envelope)
        self.assertEqual(client.protocol.session.peer, VIA)

    def test_refused_changes_nothing(self) -> None:
        client = self.connect()
        self.say(client, "EHLO proxy.example")
        self.assertEqual(self.say(client, "XCLIENT NAME=client.example ADDR=x"), [501])
        session = client.protocol.session
        self.assertEqual((session.client_name, session.peer, session.xclient), (None, VIA, {}))
        self.assertEqual(self.say(client, "MAIL FROM:<a@b.example>"), [250])

    def test_tls_stays(self) -> None:
        """
        XCLIENT_README: turning it off would leave the connection in an undefined state.
        """
        for implicit in (False, True):
            client = Client(self.factory(context_factory=CREATOR, implicit_tls=implicit))
            if not implicit:
                self.say(client, "STARTTLS")
            client.start_tls()
            client.take()
            tls = client.protocol.session.tls
            self.assertEqual(self.say(client, "XCLIENT ADDR=203.0.113.9"), [220])
            session = client.protocol.session
            self.assertIs(session.tls, tls)
            self.assertTrue(session.ssl)
            client.send(b"EHLO x\r\n")
            self.assertNotIn(b"STARTTLS", client.take())
            self.assertEqual(self.say(client, "STARTTLS"), [503])

    def test_pending_greeting(self) -> None:
        """
        What is pipelined behind it waits for it.
        """
        later = Later()
        client = self.connect(RecordingHandler({"CONNECT": [None, later]}))
        self.assertEqual(self.say(client, "XCLIENT ADDR=203.0.113.9 HELO=x", "NOOP"), [])
        self.assertEqual(self.say(client, "QUIT"), [])
        self.assertIsNone(client.protocol.session.host_name)
        later.fire(client)
        self.assertEqual(codes(client), [220, 250, 221])
        self.assertEqual(client.protocol.session.host_name, "x")
        self.assert_clean(client)

    def test_refused_greeting(self) -> None:
        """
        Who is refused has told nothing.
        """
        client = self.connect(RecordingHandler({"CONNECT": [None, "554 5.7.1 No"]}))
        self.assertEqual(
            self.say(client, "XCLIENT HELO=x LOGIN=ann", "NOOP", "QUIT"), [554, 503, 221]
        )
        session = client.protocol.session
        self.assertEqual((session.host_name, session.authenticated), (None, None))

    def test_half_close(self) -> None:
        client = self.connect()
        client.send(b"XCLIENT ADDR=203.0.113.9\r\nNOOP\r\n")
        client.half_close()
        self.assertEqual(codes(client), [220, 250])
        self.assert_clean(client)

    def test_lmtp(self) -> None:
        client = Client(self.factory().beside(LMTP))
        self.assertEqual(self.say(client, "LHLO x", "XCLIENT ADDR=203.0.113.9"), [220, 250, 220])
        self.assertIn(b"220 mx.example LMTP txsmtpd\r\n", client.received[5:])

    def test_subclass(self) -> None:
        """
        A subclass may refuse, or add to it.
        """

        class Picky(SMTP):
            async def smtp_XCLIENT(self, argument: str) -> Any:
                return (
                    "550 5.7.1 No" if "LOGIN" in argument else await super().smtp_XCLIENT(argument)
                )

            async def smtp_XFORWARD(self, argument: str) -> Any:
                return await super().smtp_XFORWARD(argument)

        client = Client(self.factory().beside(Picky))
        said = self.say(client, "XCLIENT LOGIN=ann", "XCLIENT ADDR=203.0.113.9", "XFORWARD PORT=1")
        self.assertEqual(said, [220, 550, 220, 250])

    def test_login_ends(self) -> None:
        """
        Who had logged in by a portal is logged out.
        """
        later = corekit.Client(trusted_proxies=["192.0.2.0/24"], session=Session(via=VIA))
        ended: list[str] = []
        later.dialog.at_end.append(lambda: ended.append("logout"))
        self.assertEqual(["220"], later.say("XCLIENT ADDR=203.0.113.9"))
        self.assertEqual(ended, ["logout"])

    def test_disconnect_hook_that_waits(self) -> None:
        """
        Nobody waits for it.
        """
        waiting: Deferred[None] = Deferred()
        client = self.connect(RecordingHandler({"DISCONNECT": [lambda *given: waiting]}))
        self.assertEqual(self.say(client, "XCLIENT ADDR=203.0.113.9"), [220])
        waiting.callback(None)
        client.disconnect()
        self.assert_clean(client)


class EffectTests(XClientTestCase):
    """
    The client is the client everywhere.
    """

    def test_limit(self) -> None:
        factory = self.factory(max_connections_per_host=1)
        first = Client(factory)
        self.assertEqual(self.say(first, "XCLIENT ADDR=203.0.113.9"), [220, 220])
        # The proxy does not count for itself any more.
        second = Client(factory)
        self.assertEqual(self.say(second, "XCLIENT ADDR=203.0.113.9"), [220, 421])
        self.assert_closed(second)
        third = Client(factory)
        self.assertEqual(self.say(third, "XCLIENT ADDR=203.0.113.10"), [220, 220])
        first.disconnect()
        fourth = Client(factory)
        self.assertEqual(self.say(fourth, "XCLIENT ADDR=203.0.113.9"), [220, 220])
        fifth = Client(factory)
        self.assertEqual(self.say(fifth, "XCLIENT ADDR=[UNAVAILABLE]"), [220, 220])
        sixth = Client(factory)
        self.assertEqual(self.say(sixth, "XCLIENT ADDR=[UNAVAILABLE]"), [220, 220])

    def assert_closed(self, client: Client) -> None:
        self.assertTrue(client.closed, client.transcript)

    def test_turned_away(self) -> None:
        """
        Over the limit the old client has been told goodbye, and the new one was not greeted.
        """
        handler = RecordingHandler()
        factory = self.factory(handler, max_connections_per_host=1)
        self.say(Client(factory), "XCLIENT ADDR=203.0.113.9")
        handler.calls.clear()
        self.say(Client(factory), "XCLIENT ADDR=203.0.113.9")
        self.assertEqual([call.hook for call in handler.calls], ["CONNECT", "DISCONNECT"])

    def test_trace(self) -> None:
        handler = RecordingHandler()
        client = self.connect(handler)
        self.say(client, "XCLIENT ADDR=IPV6:2001:db8::9")
        client.send(MESSAGE)
        line = received(client.protocol.session, handler.messages[0].envelope, "mx.example", WHEN)
        self.assertIn(b"from c.example ([IPv6:2001:db8::9])", line)

    def test_log(self) -> None:
        client = self.connect()
        self.say(client, "XCLIENT NAME=client.example ADDR=203.0.113.9", "FOO", "QUIT")
        name = client.protocol.session.id
        self.assertEqual(
            self.log_lines("client", "refusal", "connection"),
            [
                f"{name}: [192.0.2.1] speaks for client.example [203.0.113.9]",
                f"{name}: [203.0.113.9] unknown command refused: 500 5.5.2 Command not recognized",
                f"{name}: None [203.0.113.9] left after 0 messages:"
                " Connection was closed cleanly: Connection done.",
            ],
        )
        (event,) = (event for event in self.logged if event.get("event") == "client")
        self.assertEqual((event["via"], event["peer"]), ("192.0.2.1", "203.0.113.9"))

    def test_errors(self) -> None:
        """
        They are those of one client.
        """
        client = self.connect(max_errors=2)
        said = self.say(client, "FOO", "XCLIENT ADDR=203.0.113.9", "FOO", "NOOP", "FOO")
        self.assertEqual(said, [500, 220, 500, 250, 500, 421])
