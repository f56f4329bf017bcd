"""
Tests for txsmtpd.adapters.for_twisted_mail.
"""

from __future__ import annotations

import gc
import weakref
from typing import Any

from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet.defer import Deferred, fail, succeed
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory, IMessageSMTP
from twisted.mail.smtp import Address, SMTPBadRcpt, SMTPBadSender, SMTPServerError
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txsmtpd import Rejected, SMTPFactory, adapters, hooks
from txsmtpd.adapters.for_twisted_mail import refusal
from txsmtpd.core.replies import Reply
from txsmtpd.handlers import Sink
from txsmtpd.protocol import LMTP
from txsmtpd.tap import Options

from .adapterskit import Talk, b64

LOCAL_ERROR = "451 4.3.0 Local error, try again later"
LONG = "x" * 16385


@implementer(IMessageSMTP)
class Message:
    """
    What one recipient gets.
    """

    def __init__(self, delivery: Any, user: Any) -> None:
        self.user = user
        self.lines: list[bytes] = []
        self.end = ""
        self._results = delivery.results
        self._refuses = delivery.refuses
        delivery.messages.append(self)

    def lineReceived(self, line: bytes) -> None:
        if line == self._refuses:
            raise SMTPServerError(554, b"We do not like that line")
        self.lines.append(line)

    def eomReceived(self) -> Any:
        self.end = "eom"
        return self._results.get(str(self.user.dest), succeed(b""))

    def connectionLost(self) -> None:
        self.end = "lost"
        if self._refuses == b"fail":
            raise KeyError("connectionLost")


@implementer(IMessageDelivery)
class Delivery:
    """
    Takes mail for example.org.

    :param results: what ``eomReceived`` returns, by recipient.
    :param header: what goes on top of each message.
    :param refuses: a line that nobody wants.
    """

    def __init__(
        self, results: Any = None, header: bytes = b"", refuses: bytes = b"(none)"
    ) -> None:
        self.results = results or {}
        self.header = header
        self.refuses = refuses
        self.messages: list[Message] = []
        self.calls: list[Any] = []

    def receivedHeader(self, helo: Any, origin: Any, recipients: Any) -> bytes:
        self.calls.append((helo, str(origin), [str(each) for each in recipients]))
        return self.header

    def validateFrom(self, helo: Any, origin: Any) -> Any:
        self.calls.append((helo, origin))
        if origin.domain == b"bad.example":
            raise SMTPBadSender(origin)
        if origin.local == b"slow":
            return fail(SMTPServerError(451, "Come back later"))
        return Address(b"sales@example.com") if origin.local == b"alias" else origin

    def validateTo(self, user: Any) -> Any:
        if user.dest.domain != b"example.org":
            raise SMTPBadRcpt(user)
        if user.dest.local == b"broken":
            return self._break
        if user.dest.local == b"refusing":
            return self._refuse
        if user.dest.local == b"coroutine":
            return self._later(user)
        return succeed(lambda: Message(self, user))

    async def _later(self, user: Any) -> Any:
        await succeed(None)
        return lambda: Message(self, user)

    def _break(self) -> None:
        raise KeyError("broken")

    def _refuse(self) -> None:
        raise SMTPServerError(452, b"No room")


@implementer(IMessageDeliveryFactory)
class Factory:
    def __init__(self) -> None:
        self.deliveries: list[Delivery] = []

    def getMessageDelivery(self) -> Delivery:
        self.deliveries.append(Delivery())
        return self.deliveries[-1]


class DeliveryTests(SynchronousTestCase):
    def opened(self, delivery: Any, *more: object, **settings: Any) -> Talk:
        talk = Talk(adapters.message_delivery(delivery), *more, **settings)
        talk.greet()
        return talk

    def test_message(self) -> None:
        delivery = Delivery(header=b"Received: from there\n\tby here")
        talk = self.opened(delivery)
        heard = talk.mail("bob@example.org", "coroutine@example.org", content="A: b\r\n\r\nc\r\n")
        self.assertEqual(heard[-1], "250 2.0.0 Message accepted")
        for message in delivery.messages:
            self.assertEqual(message.lines, [delivery.header, b"A: b", b"", b"c"])
            self.assertEqual(message.end, "eom")
        self.assertEqual(
            [str(message.user.dest) for message in delivery.messages],
            ["bob@example.org", "coroutine@example.org"],
        )
        helo = (b"client.example", b"192.0.2.1")
        self.assertEqual(delivery.calls[0][0], helo)
        self.assertEqual(delivery.calls[1], (helo, "ann@example.com", ["bob@example.org"]))

    def test_user(self) -> None:
        delivery = Delivery()
        talk = self.opened(delivery)
        talk.mail()
        user = delivery.messages[0].user
        self.assertEqual(user.helo, (b"client.example", b"192.0.2.1"))
        self.assertEqual(str(user.orig), "ann@example.com")
        self.assertEqual(user.protocol.host, b"mx.example")
        self.assertEqual(user.protocol.transport.getPeer().host, "192.0.2.1")

    def test_two_messages(self) -> None:
        delivery = Delivery()
        talk = self.opened(delivery)
        talk.mail()
        talk.mail("eve@example.org")
        self.assertEqual(len(delivery.messages), 2)

    def test_null_sender(self) -> None:
        delivery = Delivery()
        self.opened(delivery).say("MAIL FROM:<>")
        self.assertEqual(str(delivery.calls[0][1]), "")

    def test_refusals(self) -> None:
        talk = self.opened(Delivery())
        for line, reply in [
            ("MAIL FROM:<a@bad.example>", "550 5.1.0 Sender not acceptable"),
            ("MAIL FROM:<slow@example.com>", "451 4.1.0 Come back later"),
            ("MAIL FROM:<ж@example.com> SMTPUTF8", "553 5.6.7 Only ASCII addresses are taken here"),
            ("MAIL FROM:<a@example.com>", "250 2.1.0 Sender OK"),
            ("RCPT TO:<b@example.net>", "550 5.1.0 Cannot receive for specified address"),
        ]:
            self.assertEqual(talk.say(line), [reply])

    def test_addresses_it_cannot_read(self) -> None:
        """
        Ours may be laxer.
        """
        talk = self.opened(Delivery())
        self.assertEqual(talk.say("MAIL FROM:<a@[IPv6:::1]>"), ["501 5.1.7 Malformed reverse-path"])
        talk.say("MAIL FROM:<a@example.com>")
        self.assertEqual(talk.say("RCPT TO:<a@[IPv6:::1]>"), ["501 5.1.3 Malformed forward-path"])

    def test_other_sender(self) -> None:
        talk = self.opened(Delivery())
        talk.say("MAIL FROM:<alias@example.com>")
        self.assertEqual(talk.protocol.envelope.mail_from, "sales@example.com")

    def test_sender_without_a_word(self) -> None:
        class Silent(Delivery):
            def validateFrom(self, helo: Any, origin: Any) -> None: ...

        talk = self.opened(Silent())
        self.assertEqual(talk.mail()[-1][:3], "250")

    def test_unix_socket(self) -> None:
        delivery = Delivery()
        talk = self.opened(delivery)
        talk.protocol.session.peer = "/run/client"
        talk.say("MAIL FROM:<>")
        self.assertEqual(delivery.calls[0][0][1], b"/run/client")

    def test_factory(self) -> None:
        """
        There is a delivery for each message.
        """
        factory = Factory()
        talk = self.opened(factory)
        talk.mail("a@example.org", "b@example.org")
        talk.mail()
        self.assertEqual([len(each.messages) for each in factory.deliveries], [2, 1])

    def test_maker_fails(self) -> None:
        delivery = Delivery()
        talk = self.opened(delivery)
        heard = talk.mail("bob@example.org", "broken@example.org")
        self.assertEqual(heard[3], LOCAL_ERROR)
        self.assertEqual(delivery.messages[0].end, "lost")
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    def test_maker_refuses(self) -> None:
        heard = self.opened(Delivery()).mail("refusing@example.org")
        self.assertEqual(heard[2], "452 4.0.0 No room")

    def test_chain(self) -> None:
        """
        What another handler refuses is not made.
        """

        @hooks
        class Picky:
            def handle_RCPT(self, s: Any, e: Any, n: Any, address: str, options: Any) -> Any:
                return "550 5.1.1 No" if address.startswith("no") else None

        delivery = Delivery()
        self.opened(delivery, Picky()).mail("no@example.org", "bob@example.org")
        self.assertEqual([str(each.user) for each in delivery.messages], ["bob@example.org"])

    def test_nothing_stays(self) -> None:
        """
        A client that leaves in the middle leaves nothing behind.
        """
        talk = self.opened(handler := Delivery())
        talk.say("MAIL FROM:<>", "RCPT TO:<b@example.org>")
        gone = weakref.ref(talk.protocol)
        talk.client.disconnect()
        del talk
        handler.calls.clear()
        gc.collect()
        self.assertIsNone(gone())


class ContentTests(SynchronousTestCase):
    """
    Content becomes lines.
    """

    def lines(self, *segments: bytes, header: bytes = b"") -> list[bytes]:
        self.delivery = Delivery(header=header)
        talk = Talk(adapters.message_delivery(self.delivery))
        talk.greet()
        talk.say("MAIL FROM:<>", "RCPT TO:<b@example.org>", "DATA")
        talk.client.send(*segments)
        self.said = talk.heard()
        return self.delivery.messages[0].lines

    def test_segments(self) -> None:
        whole = b"one\r\n\r\n..two\r\n.\r\n"
        self.assertEqual(self.lines(whole), [b"one", b"", b".two"])
        cut = [whole[at : at + 1] for at in range(len(whole))]
        self.assertEqual(self.lines(*cut), [b"one", b"", b".two"])

    def test_body_without_header(self) -> None:
        """
        It is kept apart from the header that was put in front of it, and else left alone.
        """
        header = b"Received: x"
        self.assertEqual(self.lines(b"body\r\n.\r\n", header=header), [header, b"", b"body"])
        self.assertEqual(self.lines(b"\r\nbody\r\n.\r\n", header=header), [header, b"", b"body"])
        self.assertEqual(self.lines(b"A: b\r\n.\r\n", header=header), [header, b"A: b"])
        self.assertEqual(self.lines(b"body\r\n.\r\n"), [b"body"])

    def test_long_lines(self) -> None:
        for content in (LONG, f"{LONG}\r\nx", f"a\r\n{LONG}"):
            self.lines(f"{content}\r\n.\r\n".encode())
            self.assertEqual(self.said, ["500 5.6.0 A line of the message is too long"])
            self.assertEqual(self.delivery.messages[0].end, "lost")
        self.lines(f"{LONG[1:]}\r\n.\r\n".encode())
        self.assertEqual(self.said[0][:3], "250")

    def test_line_without_end(self) -> None:
        """
        It is not kept for long.
        """
        self.lines(b"x" * 10000, b"x" * 10000, b"x" * 10000 + b"\r\n.\r\n")
        self.assertEqual(self.said, ["500 5.6.0 A line of the message is too long"])
        self.assertEqual(self.delivery.messages[0].end, "lost")

    def test_refused_line(self) -> None:
        for header, content in ((b"", "ok\r\nbad\r\nok\r\n"), (b"bad", "ok\r\n")):
            delivery = Delivery(header=header, refuses=b"bad")
            talk = Talk(adapters.message_delivery(delivery))
            talk.greet()
            heard = talk.mail(content=content)
            self.assertIn("554 5.0.0 We do not like that line", heard)
            self.assertEqual(delivery.messages[0].end, "lost")

    def chunk(self, content: bytes, delivery: Delivery) -> list[str]:
        talk = Talk(adapters.message_delivery(delivery))
        talk.greet()
        talk.say("MAIL FROM:<>", "RCPT TO:<b@example.org>")
        talk.client.send(b"BDAT %d LAST\r\n" % len(content) + content)
        return talk.heard()

    def test_no_last_newline(self) -> None:
        delivery = Delivery()
        self.assertEqual(self.chunk(b"A: b\r\nc", delivery)[0][:3], "250")
        self.assertEqual(delivery.messages[0].lines, [b"A: b", b"c"])

    def test_last_line_refused(self) -> None:
        delivery = Delivery(refuses=b"bad")
        said = self.chunk(b"A: b\r\nbad", delivery)
        self.assertEqual(said, ["554 5.0.0 We do not like that line"])
        self.assertEqual(delivery.messages[0].end, "lost")

    def test_client_leaves(self) -> None:
        delivery = Delivery(refuses=b"fail")
        talk = Talk(adapters.message_delivery(delivery))
        talk.greet()
        talk.say("MAIL FROM:<>", "RCPT TO:<a@example.org>", "RCPT TO:<b@example.org>", "DATA", "x")
        talk.client.disconnect()
        self.assertEqual([message.end for message in delivery.messages], ["lost", "lost"])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 2)


class VerdictTests(SynchronousTestCase):
    TO = ("a@example.org", "b@example.org", "c@example.org")

    def verdicts(self, results: Any, *more: object, **settings: Any) -> list[str]:
        self.delivery = Delivery(results)
        handler = adapters.message_delivery(self.delivery)
        talk = Talk(*more, handler, **settings)
        talk.say("LHLO x" if settings else "EHLO x")
        heard = talk.mail(*self.TO)
        return heard[heard.index("354 End data with <CR><LF>.<CR><LF>") + 1 :]

    def ends(self) -> list[str]:
        return [message.end for message in self.delivery.messages]

    def test_one_refuses(self) -> None:
        refused = fail(SMTPServerError(452, b"No room"))
        self.assertEqual(self.verdicts({"b@example.org": refused}), ["452 4.0.0 No room"])
        self.assertEqual(self.ends(), ["eom"] * 3)

    def test_several_fail(self) -> None:
        failed = {"a@example.org": fail(KeyError()), "c@example.org": fail(IndexError())}
        self.assertEqual(self.verdicts(failed), [LOCAL_ERROR])
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
        self.assertEqual(len(self.flushLoggedErrors(IndexError)), 1)

    def test_later(self) -> None:
        waiting: Deferred[bytes] = Deferred()
        self.assertEqual(self.verdicts({"b@example.org": waiting}), [])
        waiting.callback(b"")

    def test_lmtp(self) -> None:
        """
        Each recipient has a verdict.
        """
        results = {
            "a@example.org": fail(SMTPServerError(452, b"No room")),
            "c@example.org": fail(KeyError()),
        }
        self.assertEqual(
            self.verdicts(results, protocol=LMTP),
            ["452 4.0.0 No room", "250 2.0.0 Message accepted", LOCAL_ERROR],
        )
        self.flushLoggedErrors(KeyError)

    def test_lmtp_chain(self) -> None:
        """
        Who was refused by another handler gets no message.
        """

        @hooks
        class Picky:
            def handle_DATA(self, server: Any, session: Any, envelope: Any) -> Any:
                return [None, "550 5.7.1 No", None]

        accepted = "250 2.0.0 Message accepted"
        self.assertEqual(
            self.verdicts({}, Picky(), protocol=LMTP), [accepted, "550 5.7.1 No", accepted]
        )
        self.assertEqual(self.ends(), ["eom", "lost", "eom"])


class RefusalTests(SynchronousTestCase):
    def test_words(self) -> None:
        for words in ("No room", b"No room"):
            self.assertEqual(refusal(SMTPServerError(452, words)), Reply(452, None, "No room"))

    def test_of_ours(self) -> None:
        class Ours(Delivery):
            def validateFrom(self, helo: Any, origin: Any) -> Any:
                raise Rejected("550 5.7.1 No")

        talk = Talk(adapters.message_delivery(Ours()))
        talk.greet()
        self.assertEqual(talk.say("MAIL FROM:<>"), ["550 5.7.1 No"])


@implementer(IRealm)
class Realm:
    """
    Knows of twisted.mail's avatars only.
    """

    def __init__(self, gives: Any = IMessageDelivery) -> None:
        self.gives = gives
        self.delivery: Any = Delivery() if gives is IMessageDelivery else Factory()
        self.log: list[Any] = []

    def requestAvatar(self, avatarId: Any, mind: Any, *interfaces: Any) -> Any:
        self.log.append(("in", avatarId))
        self.log.append(interfaces)
        return self.gives, self.delivery, lambda: self.log.append(("out", avatarId))


class PortalTests(SynchronousTestCase):
    def opened(self, realm: Realm, *checkers: Any, **settings: Any) -> Talk:
        handler = adapters.message_delivery(Portal(realm, checkers))
        talk = Talk(handler, **settings)
        self.greeting = talk.greet()
        return talk

    def log_in(self, talk: Talk, password: str = "wonderland") -> list[str]:
        talk.say(f"AUTH PLAIN {b64(f'{chr(0)}ann{chr(0)}{password}'.encode())}")
        talk.client.wait(1)
        return talk.client.received.decode().split("\r\n")[-2:-1]

    def users(self) -> Any:
        return InMemoryUsernamePasswordDatabaseDontUse(ann=b"wonderland")

    def test_anonymous(self) -> None:
        """
        It is asked for once, and logged out in the end.
        """
        realm = Realm()
        talk = self.opened(realm, AllowAnonymousAccess())
        for _ in range(2):
            self.assertEqual(talk.mail()[-1][:3], "250")
        self.assertEqual(len(realm.delivery.messages), 2)
        self.assertEqual(realm.log, [("in", ()), (IMessageDeliveryFactory, IMessageDelivery)])
        talk.client.disconnect()
        self.assertEqual(realm.log[-1], ("out", ()))

    def test_no_anonymous(self) -> None:
        talk = self.opened(Realm(), self.users())
        self.assertEqual(talk.say("MAIL FROM:<>"), ["530 5.7.0 Authentication required"])

    def test_log_in(self) -> None:
        for gives in (IMessageDelivery, IMessageDeliveryFactory):
            realm = Realm(gives)
            talk = self.opened(realm, self.users())
            self.assertTrue(any("AUTH" in line and "PLAIN" in line for line in self.greeting))
            self.assertEqual(self.log_in(talk), ["235 2.7.0 Authentication successful"])
            self.assertEqual(talk.mail()[-1][:3], "250")
            self.assertIs(talk.protocol.session.auth_data, realm.delivery)
            talk.client.disconnect()
            self.assertEqual(realm.log[-1], ("out", b"ann"))

    def test_wrong_password(self) -> None:
        talk = self.opened(Realm(), self.users())
        said = self.log_in(talk, "wrong")
        self.assertEqual(said, ["535 5.7.8 Authentication credentials invalid"])

    def test_another_avatar(self) -> None:
        """
        A realm that gives what delivers nothing is at fault, not the client.
        """
        realm = Realm(IRealm)
        talk = self.opened(realm, self.users(), AllowAnonymousAccess())
        self.assertEqual(self.log_in(talk), ["454 4.7.0 Temporary authentication failure"])
        self.assertEqual(realm.log[-1], ("out", b"ann"))
        self.assertEqual(talk.say("MAIL FROM:<>"), [LOCAL_ERROR])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 2)

    def test_other_portal(self) -> None:
        """
        The setting wins.
        """
        portal = Portal(Realm(), [self.users()])
        handler = adapters.message_delivery(Portal(Realm(), []))
        self.assertIs(SMTPFactory(handler, portal=portal).settings.portal, portal)
        self.assertIs(SMTPFactory(handler).settings.portal, handler.portal)
        self.assertIsNone(SMTPFactory(Sink()).settings.portal)

    def test_demands_auth(self) -> None:
        """
        The portal brings the users that the option wants.
        """
        handler = "tests.test_adapters_for_twisted_mail.make_portal"
        options = Options()
        options.parseOptions(
            ["--require-auth", "--auth-without-tls", "--handler", handler, "--port", "0"]
        )
        self.assertTrue(options.settings["auth_required"])


def make_portal() -> Portal:
    return Portal(Realm(), [InMemoryUsernamePasswordDatabaseDontUse(ann=b"wonderland")])
