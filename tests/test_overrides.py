from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd import SMTP, Rejected, Reply, SMTPFactory, syntax
from txsmtpd.core.outcomes import Outcome
from txsmtpd.core.verbs import VERBS
from txsmtpd.extensions.chunking import Chunking
from txsmtpd.factory import DEFAULT
from txsmtpd.handlers import Sink
from txsmtpd.overrides import VerbMethods
from txsmtpd.testing import RecordingHandler, connect, make_factory


class PingSMTP(SMTP):
    @syntax("PING [text]")
    def smtp_PING(self, arg: str) -> str:
        return f"250 PONG {arg}".rstrip()


class OverridesTestCase(SynchronousTestCase):
    """
    Speaks with one protocol class.
    """

    def converse(self, protocol: type[SMTP], *lines: str, **settings: Any) -> list[str]:
        factory = SMTPFactory(Sink(), reactor=Clock(), hostname="mx.example", **settings)
        factory.protocol = protocol
        self.server = factory.buildProtocol(None)
        self.transport = StringTransport()
        self.server.makeConnection(self.transport)
        return self.go_on(*lines)

    def go_on(self, *lines: str) -> list[str]:
        """
        :return: the replies, without the lines before the last of one.
        """
        self.transport.clear()
        self.server.dataReceived("".join(f"{line}\r\n" for line in lines).encode())
        said = self.transport.value().decode().split("\r\n")
        return [line for line in said if line[3:4] == " "]


class NewVerbTests(OverridesTestCase):
    def test_method_is_verb(self) -> None:
        self.assertEqual(
            self.converse(PingSMTP, "PING", "ping a"), ["250 2.0.0 PONG", "250 2.0.0 PONG a"]
        )

    def test_help_shows_syntax(self) -> None:
        (said,) = self.converse(PingSMTP, "HELP ping")
        self.assertEqual(said, "214 2.0.0 Syntax: PING [text]")

    def test_help_lists_it(self) -> None:
        (said,) = self.converse(PingSMTP, "HELP")
        self.assertIn(" PING ", said)

    def test_legal_in_every_state_and_changes_none(self) -> None:
        dialog = (
            "EHLO a",
            "MAIL FROM:<a@example.org>",
            "RCPT TO:<b@example.org>",
            "BDAT 0",
            "RSET",
        )
        said = self.converse(
            PingSMTP, "PING", *(word for line in dialog for word in (line, "PING"))
        )
        self.assertEqual(said[::2], ["250 2.0.0 PONG"] * 6)
        self.assertTrue(all(line.startswith("250 ") for line in said), said)

    def test_not_legal_after_refused_greeting(self) -> None:
        handler = RecordingHandler(verdicts={"CONNECT": "554 5.7.1 Not you"})
        factory = SMTPFactory(handler, reactor=Clock(), hostname="mx.example")
        factory.protocol = PingSMTP
        self.server = factory.buildProtocol(None)
        self.transport = StringTransport()
        self.server.makeConnection(self.transport)
        self.assertEqual(self.go_on("PING"), ["503 5.5.1 Bad sequence of commands"])

    def test_unknown_without_the_class(self) -> None:
        self.assertEqual(self.converse(SMTP, "PING"), ["500 5.5.2 Command not recognized"])

    def test_two_underscores_are_a_hyphen(self) -> None:
        class Hyphen(SMTP):
            def smtp_X__ONE_TWO(self, arg: str) -> None:
                pass

        self.assertEqual(self.converse(Hyphen, "X-ONE_TWO", "X__ONE_TWO")[0], "250 2.0.0 OK")

    def test_syntax_without_the_decorator(self) -> None:
        class Plain(SMTP):
            def smtp_PING(self, arg: str) -> None:
                pass

        self.assertEqual(self.converse(Plain, "HELP PING"), ["214 2.0.0 Syntax: PING"])

    def test_only_capitals_make_a_verb(self) -> None:
        class Private(SMTP):
            def smtp_ping(self, arg: str) -> None:
                raise AssertionError("called")

        self.assertEqual(self.converse(Private, "PING"), ["500 5.5.2 Command not recognized"])

    def test_class_attribute_of_a_factory(self) -> None:
        class PingFactory(SMTPFactory):
            protocol = PingSMTP

        factory = PingFactory(Sink(), reactor=Clock(), hostname="mx.example")
        self.assertIn(b"PING", factory.rules.verbs)


class AnswerTests(OverridesTestCase):
    def answer(self, what: Any) -> str:
        class Answering(SMTP):
            def smtp_PING(self, arg: str) -> Any:
                return what() if callable(what) else what

        (said,) = self.converse(Answering, "PING")
        return said

    def test_reply(self) -> None:
        self.assertEqual(self.answer(Reply(250, "2.5.0", ("Pong",))), "250 2.5.0 Pong")

    def test_none(self) -> None:
        self.assertEqual(self.answer(None), "250 2.0.0 OK")

    def test_outcome(self) -> None:
        self.assertEqual(self.answer(Outcome((Reply(250, "2.5.0", ("Pong",)),))), "250 2.5.0 Pong")

    def test_fired_deferred(self) -> None:
        self.assertEqual(self.answer(succeed("250 Pong")), "250 2.0.0 Pong")

    def test_coroutine(self) -> None:
        async def pong() -> str:
            return "250 Pong"

        self.assertEqual(self.answer(pong), "250 2.0.0 Pong")

    def test_rejected(self) -> None:
        def refuse() -> None:
            raise Rejected("550 5.7.1 No")

        self.assertEqual(self.answer(refuse), "550 5.7.1 No")

    def test_not_a_verdict(self) -> None:
        self.assertEqual(self.answer(3), "451 4.3.0 Local error, try again later")
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_exception(self) -> None:
        def fail() -> None:
            raise RuntimeError("not for clients")

        self.assertEqual(self.answer(fail), "451 4.3.0 Local error, try again later")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_pending_deferred_keeps_order(self) -> None:
        waiting: Deferred[str] = Deferred()

        class Slow(SMTP):
            def smtp_PING(self, arg: str) -> Deferred[str]:
                return waiting

        self.assertEqual(self.converse(Slow, "PING", "NOOP"), [])
        self.transport.clear()
        waiting.callback("250 Pong")
        self.assertEqual(self.transport.value(), b"250 2.0.0 Pong\r\n250 2.0.0 OK\r\n")


class OverrideTests(OverridesTestCase):
    class Fussy(SMTP):
        """
        Refuses some senders before anything else looks at them.
        """

        async def smtp_MAIL(self, argument: str) -> Any:
            if "spam" in argument:
                return "550 5.7.1 No spam"
            return await super().smtp_MAIL(argument)

    def test_mail_passes(self) -> None:
        said = self.converse(
            self.Fussy,
            "EHLO a",
            "MAIL FROM:<a@example.org>",
            "RCPT TO:<b@example.org>",
        )
        self.assertEqual(said[1:], ["250 2.1.0 Sender OK", "250 2.1.5 Recipient OK"])
        self.assertEqual(self.server.envelope.mail_from, "a@example.org")

    def test_mail_refused_keeps_state(self) -> None:
        said = self.converse(
            self.Fussy, "EHLO a", "MAIL FROM:<spam@example.org>", "MAIL FROM:<a@example.org>"
        )
        self.assertEqual(said[1:], ["550 5.7.1 No spam", "250 2.1.0 Sender OK"])

    def test_place_in_the_table_is_kept(self) -> None:
        self.assertEqual(
            self.converse(self.Fussy, "MAIL FROM:<a@example.org>"),
            ["503 5.5.1 Bad sequence of commands"],
        )

    def test_bad_syntax_is_refused_and_counted(self) -> None:
        said = self.converse(self.Fussy, "EHLO a", "MAIL", "MAIL", max_errors=2)
        self.assertEqual([line[:9] for line in said[1:]], ["501 5.5.4", "501 5.5.4", "421 4.7.0"])

    def test_every_command_can_be_extended(self) -> None:
        """
        A subclass that replaces all commands by themselves changes nothing.
        """
        names = [*VERBS, *Chunking(None).verbs(), "AUTH", "STARTTLS"]  # type: ignore[arg-type]

        def again(attribute: str) -> Any:
            async def method(self: Any, argument: str) -> Any:
                return await getattr(VerbMethods, attribute)(self, argument)

            return method

        own = {f"smtp_{name}": again(f"smtp_{name}") for name in names}
        same = type("Same", (SMTP,), own)
        dialog = (
            "HELO a", "EHLO a", "NOOP", "VRFY a", "EXPN a", "HELP NOOP", "RSET",
            "STARTTLS", "AUTH PLAIN AAAA",
            "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>", "DATA", "a", ".",
            "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>", "BDAT 2", "xxBDAT 0 LAST",
            "QUIT",
        )  # fmt: skip
        self.assertEqual(self.converse(same, *dialog), self.converse(SMTP, *dialog))

    def test_a_core_verb_has_a_method_each(self) -> None:
        methods = {name for name in dir(VerbMethods) if name.startswith("smtp_")}
        self.assertLessEqual({f"smtp_{name}" for name in VERBS}, methods)

    def test_extension_that_is_not_there(self) -> None:
        factory = SMTPFactory(
            Sink(),
            reactor=Clock(),
            hostname="mx.example",
            extensions=[make for make in DEFAULT if make is not Chunking],
        )
        self.assertNotIn(b"BDAT", factory.rules.verbs)


class RefusedAfterSuperTests(OverridesTestCase):
    """
    A subclass may ask super() first and refuse then: nothing of it may stay.
    """

    class Second(SMTP):
        async def _judge(self, outcome: Any, argument: str) -> Any:
            outcome = await outcome
            return "550 5.7.1 On second thoughts" if "bad" in argument else outcome

        def smtp_MAIL(self, argument: str) -> Any:
            return self._judge(super().smtp_MAIL(argument), argument)

        def smtp_RCPT(self, argument: str) -> Any:
            return self._judge(super().smtp_RCPT(argument), argument)

        def smtp_EHLO(self, argument: str) -> Any:
            return self._judge(super().smtp_EHLO(argument), argument)

    def test_sender_and_recipient(self) -> None:
        said = self.converse(
            self.Second,
            "EHLO a",
            "MAIL FROM:<bad@example.org> SIZE=10",
            "MAIL FROM:<good@example.org>",
            "RCPT TO:<bad@example.org>",
            "RCPT TO:<good@example.org>",
        )
        self.assertEqual([line[:3] for line in said], ["250", "550", "250", "550", "250"])
        envelope = self.server.envelope
        self.assertEqual((envelope.mail_from, envelope.size), ("good@example.org", None))
        self.assertEqual(envelope.rcpt_tos, ["good@example.org"])
        self.assertEqual([r.address for r in envelope.recipients], ["good@example.org"])

    def test_greeting(self) -> None:
        self.converse(self.Second, "EHLO good", "EHLO bad")
        self.assertEqual(self.server.session.host_name, "good")

    def test_content(self) -> None:
        """
        What was opened for it is aborted, once, and the next message is received.
        """

        moods = [
            "451 4.3.0 Not now",
            Rejected("451 4.3.0 Not now"),
            Outcome((Reply(451, "4.3.0", "Not now"),)),
            "250 Fine",
            None,
        ]

        class Moody(SMTP):
            async def smtp_DATA(self, argument: str) -> Any:
                outcome = await super().smtp_DATA(argument)
                mood = moods.pop(0) or outcome
                if isinstance(mood, Exception):
                    raise mood
                return mood

        handler = RecordingHandler(content="stream")
        factory = make_factory(handler)
        factory.protocol = Moody
        client = connect(factory)
        client.send(b"EHLO a\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n")
        client.take()
        for _ in range(3):
            client.send(b"DATA\r\n")
            self.assertEqual(client.take(), b"451 4.3.0 Not now\r\n")
        client.send(b"DATA\r\n")
        self.assertEqual(client.take()[:9], b"451 4.3.0")
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)
        client.send(b"DATA\r\nHello\r\n.\r\n")
        self.assertEqual([message.content for message in handler.messages], [b"Hello\r\n"])
        self.assertEqual([call.hook for call in handler.calls].count("abort"), 4)

    def test_chunk_is_swallowed(self) -> None:
        """
        Whatever words it is refused with, no octet of it is a command.
        """
        for words in ("451 4.3.0 No", "250 Fine"):

            class Deaf(SMTP):
                def smtp_BDAT(self, argument: str, said: str = words) -> str:
                    return said

            said = self.converse(
                Deaf,
                "EHLO a",
                "MAIL FROM:<a@example.org>",
                "RCPT TO:<b@example.org>",
                "BDAT 6 LAST",
                "JUNK",
                "NOOP",
            )
            self.assertEqual([line[:9] for line in said[-2:]], ["451 4.3.0", "250 2.0.0"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_mere_words_do_not_act(self) -> None:
        class Words(SMTP):
            def smtp_MAIL(self, argument: str) -> str:
                return "250 2.1.0 Sure"

        said = self.converse(Words, "EHLO a", "MAIL FROM:<a@example.org>", "RCPT TO:<b@c>")
        self.assertEqual([line[:3] for line in said[-2:]], ["451", "503"])
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 1)

    def test_attribute_that_is_no_method(self) -> None:
        class Port(SMTP):
            smtp_PORT = 25

        self.assertEqual(self.converse(Port, "PORT")[-1][:3], "500")
