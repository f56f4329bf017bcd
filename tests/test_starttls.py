"""
Tests for :mod:`txsmtpd.extensions.starttls`; with real handshakes in test_securing.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.replies import Rejected, Reply
from txsmtpd.core.session import Session
from txsmtpd.core.settings import Settings
from txsmtpd.core.states import MAIL, NO_RCPT, RCPT, READY, START
from txsmtpd.core.verbs import VERBS
from txsmtpd.extensions.starttls import StartTLS
from txsmtpd.login import make_login

from .corekit import FACTS, OPENING, Client, Handler, Later, Mailbox, saying

#: Only whether there is one matters: nobody asks it here.
CERTIFICATE = object()


def clear_session(**facts: Any) -> Session:
    return Session(**{"id": "s", "can_start_tls": True, **facts})


def client_of(*handlers: object, session: Session | None = None, **settings: Any) -> Client:
    """
    A client that was greeted by a server which has a certificate.
    """
    session = session or clear_session()
    client = Client(*handlers, session=session, **{"context_factory": CERTIFICATE, **settings})
    client.greet()
    return client


def secured(*handlers: object, **settings: Any) -> Client:
    """
    A client after STARTTLS.
    """
    client = client_of(*handlers, **settings)
    client.say("STARTTLS")
    client.secure()
    return client


class OfferTests(SynchronousTestCase):
    """
    It is offered where it can be done, and nowhere else.
    """

    def keyword(self, *, certificate: object = CERTIFICATE, **facts: Any) -> str | None:
        return StartTLS(Settings(context_factory=certificate)).keyword(clear_session(**facts))

    def test_offered(self) -> None:
        self.assertEqual("STARTTLS", self.keyword())
        said = client_of().ask("EHLO client.example")
        self.assertIn(" / STARTTLS / ", said)

    def test_no_certificate(self) -> None:
        self.assertIsNone(self.keyword(certificate=None))
        client = client_of(context_factory=None)
        self.assertNotIn("STARTTLS", client.ask("EHLO client.example"))
        self.assertEqual(["502 5.5.1"], client.say("STARTTLS"))

    def test_transport_cannot(self) -> None:
        """
        Such as standard input.
        """
        self.assertIsNone(self.keyword(can_start_tls=False))
        client = client_of(session=clear_session(can_start_tls=False))
        self.assertEqual(["502 5.5.1"], client.say("STARTTLS"))

    def test_under_tls(self) -> None:
        self.assertIsNone(self.keyword(ssl={}))
        client = secured()
        self.assertNotIn("STARTTLS", client.ask("EHLO client.example"))

    def test_tls_of_a_proxy(self) -> None:
        """
        Where a proxy has ended TLS there is nothing to begin.
        """

        class Proxied:
            secure = True

        self.assertIsNone(self.keyword(proxy=Proxied()))
        client = client_of(session=clear_session(proxy=Proxied()))
        self.assertNotIn("STARTTLS", client.ask("EHLO client.example"))
        self.assertEqual(["503 5.5.1"], client.say("STARTTLS"))
        self.assertFalse(client.handshaking)

    def test_help(self) -> None:
        self.assertIn("STARTTLS", client_of().ask("HELP STARTTLS"))


class CommandTests(SynchronousTestCase):
    def test_go_ahead(self) -> None:
        client = client_of()
        self.assertEqual("220 2.0.0 Ready to start TLS", client.ask("STARTTLS"))
        self.assertTrue(client.handshaking)
        self.assertEqual([], client.secure())

    def test_any_case(self) -> None:
        self.assertEqual(["220 2.0.0"], client_of().say("sTaRtTlS"))

    def test_trailing_blanks(self) -> None:
        self.assertEqual(["220 2.0.0"], client_of().say("STARTTLS \t"))

    def test_argument(self) -> None:
        client = client_of()
        self.assertEqual(["501 5.5.4"], client.say("STARTTLS now"))
        self.assertFalse(client.handshaking)
        self.assertEqual(["501 5.5.4"], client_of(context_factory=None).say("STARTTLS now"))

    def test_twice(self) -> None:
        client = secured()
        self.assertEqual(["503 5.5.1", "250"], client.say("STARTTLS", "EHLO client.example"))
        self.assertEqual(["503 5.5.1"], client.say("STARTTLS"))

    def test_any_state(self) -> None:
        """
        Also before EHLO, after HELO, and inside a transaction, which it ends.
        """
        openings = {
            START: [],
            READY: ["HELO client.example"],
            MAIL: OPENING[:2],
            NO_RCPT: [*OPENING[:2], "RCPT TO:<c@example.com>"],
            RCPT: OPENING,
        }
        for state, opening in openings.items():
            handler = saying(handle_RCPT="550 5.1.1 No" if state == NO_RCPT else None)
            client = client_of(Mailbox(), handler)
            client.say(*opening)
            self.assertEqual(state, client.state)
            self.assertEqual(["220 2.0.0"], client.say("STARTTLS"), state)
            self.assertEqual([], client.secure())
            self.assertEqual((START, None), (client.state, client.envelope.mail_from))
            self.assertEqual(["503 5.5.1"], client.say("MAIL FROM:<a@example.org>"))

    def test_between_chunks(self) -> None:
        """
        In the middle of a message it is out of sequence, and the message goes on.
        """
        mailbox = Mailbox()
        client = client_of(mailbox)
        client.say(*OPENING)
        client.send(b"BDAT 3\r\nabc")
        self.assertEqual(["503 5.5.1"], client.say("STARTTLS"))
        (reply,) = client.send(b"BDAT 3 LAST\r\ndef")
        self.assertEqual((250, [b"abcdef"]), (reply.code, mailbox.contents))

    def test_error_counts(self) -> None:
        """
        No certificate is our doing, all else the client's.
        """
        client = client_of(context_factory=None)
        client.say("STARTTLS")
        self.assertEqual(0, client.dialog.errors)
        client.say("STARTTLS now")
        self.assertEqual(1, client.dialog.errors)
        client = secured()
        client.say("STARTTLS")
        self.assertEqual(1, client.dialog.errors)


class ForgettingTests(SynchronousTestCase):
    """
    Before the handshake anybody could have said anything (RFC 3207 section 4.2).
    """

    def test_client(self) -> None:
        client = client_of()
        client.say(*OPENING)
        before, envelope = client.session, client.envelope
        client.say("STARTTLS")
        # As long as the handshake has not ended, nothing is known to be wrong.
        self.assertIs(before, client.session)
        client.secure()
        after = client.session
        self.assertIsNot(before, after)
        self.assertEqual((None, False), (after.host_name, after.extended_smtp))
        self.assertEqual(("s", before.peer, before.local), (after.id, after.peer, after.local))
        # A handler may have kept what was.
        self.assertEqual("client.example", before.host_name)
        self.assertIsNone(before.tls)
        self.assertEqual("a@example.org", envelope.mail_from)
        self.assertEqual([], client.envelope.recipients)
        self.assertNotEqual(envelope.id, client.envelope.id)

    def test_facts(self) -> None:
        client = secured()
        self.assertIs(FACTS, client.session.tls)
        assert client.session.ssl is not None
        self.assertEqual((FACTS.cipher, "TLSv1.3", 256), client.session.ssl["cipher"])
        self.assertTrue(client.session.secure)

    def test_what_connect_has_noted(self) -> None:
        """
        That was learnt from nobody who may have lied.  What later hooks have noted was.
        """

        def connect(server: Any, session: Any, envelope: Any) -> None:
            session.notes["known"] = True
            session.reputation = 7

        def ehlo(server: Any, session: Any, envelope: Any, hostname: str, responses: Any) -> None:
            session.notes["known"] = "no"
            session.notes["name"] = hostname
            session.reputation = 0
            session.more = True

        client = client_of(Mailbox(), Handler(handle_CONNECT=connect, handle_EHLO=ehlo))
        client.say("EHLO client.example", "STARTTLS")
        client.secure()
        self.assertEqual({"known": True}, client.session.notes)
        self.assertEqual(7, vars(client.session)["reputation"])
        self.assertNotIn("more", vars(client.session))

    def test_proxy(self) -> None:
        """
        So was what a proxy has said.
        """

        class Proxied:
            secure = False

        proxied = Proxied()
        client = client_of(session=clear_session(proxy=proxied, peer=("192.0.2.1", 1025)))
        client.say("EHLO client.example", "STARTTLS")
        client.secure()
        self.assertIs(proxied, client.session.proxy)
        self.assertEqual(("192.0.2.1", 1025), client.session.peer)

    def test_login(self) -> None:
        """
        Who has logged in is logged out.
        """
        ends: list[str] = []
        client = client_of()
        client.say("EHLO client.example")
        client.session.authenticated, client.session.auth_data = True, "alice"
        client.dialog.at_end.append(lambda: ends.append("logout"))
        client.say("STARTTLS")
        self.assertEqual([], ends)
        client.secure()
        self.assertEqual(["logout"], ends)
        session = client.session
        self.assertEqual((None, None), (session.authenticated, session.auth_data))
        client.lose()
        self.assertEqual(["logout"], ends)

    def test_tls_is_not_forgotten(self) -> None:
        """
        Whoever forgets the client again, TLS is still on.
        """
        client = secured()
        client.dialog.forget()
        self.assertIs(FACTS, client.session.tls)
        self.assertTrue(client.session.secure)

    def test_errors_are_not_forgotten(self) -> None:
        client = client_of(max_errors=2)
        client.say("BOGUS", "STARTTLS")
        client.secure()
        self.assertEqual(["500 5.5.2", "421 4.7.0"], client.say("BOGUS"))

    def test_what_follows(self) -> None:
        """
        What comes in the clear behind the command is thrown away.
        """
        client = client_of()
        self.assertEqual(
            ["250", "220 2.0.0"],
            client.say("EHLO client.example", "STARTTLS", "RSET", "MAIL FROM:<a@example.org>"),
        )
        client.secure()
        self.assertEqual(["250 2.0.0"], client.say("NOOP"))


class GateTests(SynchronousTestCase):
    """
    Where encryption is demanded.
    """

    FREE = ("EHLO", "HELO", "NOOP", "QUIT", "RSET", "HELP", "STARTTLS")

    def test_each_verb(self) -> None:
        extension = StartTLS(Settings(context_factory=CERTIFICATE, require_starttls=True))
        for verb in (*VERBS, "BDAT", "AUTH", "XPING", "STARTTLS"):
            reply = extension.gate(clear_session(), verb)
            if verb in self.FREE:
                self.assertIsNone(reply, verb)
            else:
                assert reply is not None
                self.assertEqual("530 5.7.0 Must issue a STARTTLS command first", reply.text, verb)
            self.assertIsNone(extension.gate(clear_session(ssl={}), verb))
            self.assertIsNone(extension.gate(clear_session(exempt=True), verb))

    def test_not_demanded(self) -> None:
        self.assertIsNone(StartTLS(Settings()).gate(clear_session(), "MAIL"))

    def test_dialog(self) -> None:
        mailbox = Mailbox()
        client = client_of(mailbox, require_starttls=True)
        said = client.say(
            "NOOP", "HELO client.example", *OPENING, "DATA", "VRFY a", "EXPN a", "RSET", "HELP"
        )
        refused = ["530 5.7.0"]
        self.assertEqual(["250 2.0.0", "250", "250", *refused * 5, "250 2.0.0", "214 2.0.0"], said)
        self.assertEqual(["220 2.0.0"], client.say("STARTTLS"))
        client.secure()
        self.assertEqual(["250", "250 2.1.0", "250 2.1.5", "354"], client.say(*OPENING, "DATA"))
        client.send(b"Hi\r\n.\r\n")
        self.assertEqual([b"Hi\r\n"], mailbox.contents)

    def test_chunk_is_swallowed(self) -> None:
        client = client_of(require_starttls=True)
        client.say("EHLO client.example")
        replies = client.send(b"BDAT 6 LAST\r\nQUIT\r\nNOOP\r\n")
        self.assertEqual([530, 250], [reply.code for reply in replies])
        self.assertFalse(client.closed)

    def test_unknown_command(self) -> None:
        """
        There is nothing to demand it for.
        """
        self.assertEqual(["500 5.5.2"], client_of(require_starttls=True).say("BOGUS"))

    def test_refusals_do_not_count(self) -> None:
        client = client_of(require_starttls=True, max_errors=1)
        client.say("EHLO client.example", "MAIL FROM:<a@example.org>")
        self.assertEqual(0, client.dialog.errors)

    def test_exempt(self) -> None:
        """
        A unix socket has nobody who listens.
        """
        session = clear_session(exempt=True)
        client = client_of(session=session, require_starttls=True)
        self.assertEqual(["250", "250 2.1.0", "250 2.1.5"], client.say(*OPENING))

    def test_tls_of_a_proxy(self) -> None:
        class Proxied:
            secure = True

        client = client_of(session=clear_session(proxy=Proxied()), require_starttls=True)
        self.assertEqual(["250", "250 2.1.0", "250 2.1.5"], client.say(*OPENING))


class HookTests(SynchronousTestCase):
    """
    handle_STARTTLS judges what the handshake came to.
    """

    def assertShut(self, client: Client, errors: int = 0) -> None:
        """
        There is nothing to be done but to go.
        """
        self.assertEqual(
            ["554 5.7.0"] * 5, client.say("EHLO client.example", "NOOP", "RSET", "MAIL", "STARTTLS")
        )
        self.assertEqual(errors, len(client.runner.errors))
        self.assertEqual(["500 5.5.2"], client.say("BOGUS"))
        self.assertEqual(["221 2.0.0"], client.say("QUIT"))
        self.assertTrue(client.closed)

    def assertOpen(self, client: Client) -> None:
        self.assertEqual(["250", "250 2.1.0", "250 2.1.5"], client.say(*OPENING))

    def test_arguments(self) -> None:
        seen: list[Any] = []
        client = secured(Mailbox(), Handler(handle_STARTTLS=lambda *given: seen.extend(given)))
        server, session, envelope = seen
        self.assertIs(client.server, server)
        self.assertIs(client.session, session)
        self.assertIs(client.envelope, envelope)
        self.assertIs(FACTS, session.tls)
        self.assertIsNone(session.host_name)

    def test_notes_are_kept(self) -> None:
        client = secured(
            Mailbox(),
            Handler(handle_STARTTLS=lambda server, session, envelope: session.notes.update(x=1)),
        )
        client.say("EHLO client.example")
        self.assertEqual(1, client.session.notes["x"])

    def test_good_enough(self) -> None:
        for answer in (None, True, "220 2.0.0 Fine", "250 Fine", Reply(250, None, ("Fine",))):
            client = secured(Mailbox(), saying(handle_STARTTLS=answer))
            self.assertEqual([], client.replies[2:], answer)
            self.assertOpen(client)

    def test_not_good_enough(self) -> None:
        refusal = Reply(554, "5.7.0", ("No",))
        for answer in (False, "554 5.7.0 No", "454 Later", refusal, Rejected(refusal)):
            self.assertShut(secured(Mailbox(), saying(handle_STARTTLS=answer)))

    def test_one_of_several(self) -> None:
        handlers = [saying(handle_STARTTLS=answer) for answer in (True, False, None)]
        self.assertShut(secured(Mailbox(), *handlers))

    def test_fails(self) -> None:
        """
        Who cannot tell has not said yes.
        """
        for answer in (RuntimeError("boom"), 5, "354 Go on"):
            self.assertShut(secured(Mailbox(), saying(handle_STARTTLS=answer)), errors=1)

    def test_closes(self) -> None:
        """
        The reply is for TLS, where it needs no command.
        """
        for answer in ("421 4.7.0 Go", Rejected(Reply(421, "4.7.0", ("Go",)))):
            client = client_of(Mailbox(), saying(handle_STARTTLS=answer))
            client.say("STARTTLS")
            self.assertEqual(["421 4.7.0"], client.secure())
            self.assertTrue(client.closed)

    def test_later(self) -> None:
        """
        What comes meanwhile waits.
        """
        later = Later()
        client = client_of(Mailbox(), Handler(handle_STARTTLS=lambda *context: later))
        client.say("STARTTLS")
        client.secure()
        self.assertEqual([], client.say("EHLO client.example"))
        later.answer()
        self.assertEqual([250], [reply.code for reply in client.resume()])

    def test_not_good_enough_later(self) -> None:
        later = Later()
        client = client_of(Mailbox(), Handler(handle_STARTTLS=lambda *context: later))
        client.say("STARTTLS")
        client.secure()
        client.say("EHLO client.example")
        later.answer(False)
        self.assertEqual([554], [reply.code for reply in client.resume()])
        self.assertShut(client)

    def test_not_asked(self) -> None:
        """
        Not before the handshake, and not where there is none.
        """
        asked: list[Any] = []
        client = client_of(Mailbox(), Handler(handle_STARTTLS=lambda *context: asked.append(1)))
        client.say("STARTTLS now", "STARTTLS")
        self.assertEqual([], asked)
        client.secure()
        self.assertEqual([1], asked)
        client.say("STARTTLS")
        self.assertEqual([1], asked)


class AuthTests(SynchronousTestCase):
    """
    What AUTH makes of it.
    """

    def test_offered_only_then(self) -> None:
        settings = Settings(hostname="mx.example", authenticator=lambda *context: True)
        client = client_of(login=make_login(settings))
        self.assertNotIn("AUTH", client.ask("EHLO client.example"))
        self.assertEqual(["538 5.7.11", "220 2.0.0"], client.say("AUTH PLAIN", "STARTTLS"))
        client.secure()
        self.assertIn(" / AUTH ", client.ask("EHLO client.example"))
        self.assertEqual(["235 2.7.0"], client.say("AUTH PLAIN AGEAYg=="))
        client.say("QUIT")
        self.assertTrue(client.session.authenticated)

    def test_challenge(self) -> None:
        """
        Where AUTH waits for an answer, STARTTLS is one, and no command.
        """
        settings = Settings(authenticator=lambda *context: True)
        client = client_of(login=make_login(settings), auth_require_tls=False)
        client.say("EHLO client.example", "AUTH PLAIN")
        self.assertIsNotNone(client.challenge)
        self.assertEqual(["501 5.5.2"], client.say("STARTTLS"))
        self.assertFalse(client.handshaking)
