"""
Tests for :mod:`txsmtpd.core.verbs`.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.replies import RECIPIENT_OK, Rejected, Reply
from txsmtpd.core.session import Envelope, Parameters, Session
from txsmtpd.core.verbs import VERBS
from txsmtpd.extensions.base import Extension

from .corekit import (
    EXTENSIONS,
    OPENING,
    Client,
    Handler,
    Later,
    Mailbox,
    greeted,
    opened,
    saying,
    short,
)

NO = "550 5.7.1 No"
NO_ANSWERS = (NO, Rejected(NO))


class EHLOTests(SynchronousTestCase):
    """
    EHLO and HELO (RFC 5321 section 4.1.1.1).
    """

    def test_reply(self) -> None:
        (reply,) = Client(data_size_limit=99, max_recipients=5).send(b"EHLO client.example\r\n")
        self.assertEqual(
            b"250-mx.example\r\n250-PIPELINING\r\n250-SIZE 99\r\n250-8BITMIME\r\n250-BINARYMIME\r\n"
            b"250-SMTPUTF8\r\n250-ENHANCEDSTATUSCODES\r\n250-DSN\r\n250-CHUNKING\r\n"
            b"250-LIMITS RCPTMAX=5\r\n250 HELP\r\n",
            reply.wire,
        )

    def test_helo(self) -> None:
        (reply,) = Client().send(b"HELO client.example\r\n")
        self.assertEqual(b"250 mx.example\r\n", reply.wire)

    def test_expn_listed(self) -> None:
        """
        EXPN is listed where a hook serves it, and only there.
        """
        (reply,) = Client(saying(handle_EXPN="250 2.1.5 all")).send(b"EHLO client.example\r\n")
        self.assertIn("EXPN", reply.lines)
        (reply,) = Client().send(b"EHLO client.example\r\n")
        self.assertNotIn("EXPN", reply.lines)

    def test_session(self) -> None:
        for verb, extended in [("EHLO", True), ("HELO", False), ("ehlo", True)]:
            client = Client()
            client.say(f"{verb} Client.Example")
            session = client.dialog.session
            self.assertEqual("Client.Example", session.host_name)
            self.assertIs(extended, session.extended_smtp)

    def test_hosts(self) -> None:
        for verb in ("EHLO", "HELO"):
            for host in ("localhost", "a.b", "[127.0.0.1]", "[IPv6:::1]"):
                self.assertEqual(["250"], Client().say(f"{verb} {host}"))
            for host in ("", " a", "a b", "a_b", "[1.2.3]", "a..b", "\u00e9.example", "a;b"):
                client = Client()
                self.assertEqual(["501 5.5.4"], client.say(f"{verb} {host}"), host)
                self.assertEqual("start", client.state)
                self.assertIsNone(client.dialog.session.host_name)

    def test_lenient(self) -> None:
        for host in ("a_b", "[1.2.3]", "a..b", "a;b"):
            self.assertEqual(["250"], Client(lenient=True).say(f"EHLO {host}"))
        for host in ("", "a b", "\u00e9.example"):
            self.assertEqual(["501 5.5.4"], Client(lenient=True).say(f"EHLO {host}"))

    def test_resets(self) -> None:
        """
        It resets the transaction and may come again.
        """
        for verb in ("EHLO", "HELO"):
            client = opened()
            envelope = client.envelope
            self.assertEqual(["250"], client.say(f"{verb} other.example"))
            self.assertEqual("ready", client.state)
            self.assertIsNot(envelope, client.envelope)
            self.assertEqual("a@example.org", envelope.mail_from)
            self.assertEqual("other.example", client.dialog.session.host_name)

    def test_refused(self) -> None:
        """
        A refusal leaves everything as it was.
        """
        for answer in NO_ANSWERS:
            for verb in ("EHLO", "HELO"):
                client = Client(saying(**{f"handle_{verb}": answer}))
                self.assertEqual(["550 5.7.1"], client.say(f"{verb} client.example"))
                self.assertEqual("start", client.state)
                session = client.dialog.session
                self.assertEqual((None, False), (session.host_name, session.extended_smtp))

    def test_refused_in_a_transaction(self) -> None:
        answers = [None, NO]
        client = opened(Handler(handle_EHLO=lambda *_: answers.pop(0)))
        envelope = client.envelope
        self.assertEqual(["550 5.7.1"], client.say("EHLO other.example"))
        self.assertEqual("rcpt", client.state)
        self.assertIs(envelope, client.envelope)
        self.assertEqual("client.example", client.dialog.session.host_name)

    def test_hook(self) -> None:
        seen: list[Any] = []
        for verb in ("EHLO", "HELO"):
            client = Client(Handler(**{f"handle_{verb}": lambda *a: seen.append(a[3:])}))
            self.assertEqual(["250"], client.say(f"{verb} client.example"))
        (ehlo, helo) = seen
        self.assertEqual(("client.example",), helo)
        hostname, lines = ehlo
        self.assertEqual("client.example", hostname)
        self.assertEqual(["250-mx.example", "250-PIPELINING"], lines[:2])
        self.assertEqual("250 HELP", lines[-1])

    def test_edited(self) -> None:
        """
        A hook may edit the lines.
        """

        def edit(server, session, envelope, hostname, responses):
            return [*responses[:2], "250-FROB"]

        (reply,) = Client(Handler(handle_EHLO=edit)).send(b"EHLO client.example\r\n")
        self.assertEqual(b"250-mx.example\r\n250-PIPELINING\r\n250 FROB\r\n", reply.wire)

    def test_hook_sets_the_name(self) -> None:
        def rename(server, session, envelope, hostname, *responses):
            session.host_name = "renamed.example"

        for verb in ("EHLO", "HELO"):
            client = Client(Handler(**{f"handle_{verb}": rename}))
            client.say(f"{verb} client.example")
            self.assertEqual("renamed.example", client.dialog.session.host_name)

    def test_no_extension_after_helo(self) -> None:
        client = Client()
        client.say("EHLO client.example", "HELO client.example")
        for command in ("MAIL FROM:<a@b> SIZE=1", "MAIL FROM:<a@b> BODY=8BITMIME"):
            self.assertEqual(["555 5.5.4"], client.say(command))
        self.assertEqual(["250 2.1.0"], client.say("MAIL FROM:<a@b>"))
        self.assertEqual(["555 5.5.4"], client.say("RCPT TO:<a@b> FROB=1"))
        self.assertEqual(["250 2.1.5", "503 5.5.1"], client.say("RCPT TO:<a@b>", "BDAT 2\r\n"))


class MAILTests(SynchronousTestCase):
    """
    MAIL (RFC 5321 section 4.1.1.2).
    """

    def assertSays(self, expected: str, *lines: str, **settings: Any) -> None:
        for line in lines:
            client = greeted(**settings)
            self.assertEqual([expected], client.say(line), line)
            self.assertEqual("mail" if expected == "250 2.1.0" else "ready", client.state)

    def test_syntax(self) -> None:
        self.assertSays(
            "250 2.1.0", "MAIL FROM:<a@b>", "mail from:<a@b>", "MAIL FROM: <a@b>", "MAIL FROM:<>",
            'MAIL FROM:<"a b"@c>', "MAIL FROM:<a@[127.0.0.1]>", "MAIL FROM:<@r:a@b>",
            "MAIL FROM:<a@b>  ", "MAIL From:<a@b>\t",
        )  # fmt: skip

    def test_no_keyword(self) -> None:
        self.assertSays(
            "501 5.5.4", "MAIL", "MAIL FROM", "MAIL FROM:", "MAIL FROM: ", "MAIL TO:<a@b>",
            "MAIL FROM <a@b>", "MAIL <a@b>", "MAIL  FROM:<a@b>", "MAIL FROM :<a@b>",
        )  # fmt: skip

    def test_syntax_said(self) -> None:
        reply = greeted().ask("MAIL")
        self.assertEqual("501 5.5.4 Syntax: MAIL FROM:<address> [parameters]", reply)

    def test_malformed(self) -> None:
        self.assertSays(
            "501 5.1.7", "MAIL FROM:a@b", "MAIL FROM:<a@b", "MAIL FROM:<a>", "MAIL FROM:  <a@b>",
            "MAIL FROM:<a@b>SIZE=1", "MAIL FROM:<a@b.>", f"MAIL FROM:<{'l' * 65}@b>",
            f"MAIL FROM:<a@{'d' * 256}>",
        )  # fmt: skip

    def test_lenient(self) -> None:
        self.assertSays(
            "250 2.1.0", "MAIL FROM:a@b", "MAIL FROM:<a>", "MAIL FROM:a_b", lenient=True
        )

    def test_null_sender(self) -> None:
        """
        The null sender is a sender.
        """
        client = greeted()
        self.assertEqual(["250 2.1.0"], client.say("MAIL FROM:<>"))
        self.assertEqual("", client.envelope.mail_from)
        self.assertEqual(["503 5.5.1"], client.say("MAIL FROM:<>"))
        self.assertEqual(
            ["250 2.1.5", "354", "250 2.0.0"], client.say("RCPT TO:<a@b>", "DATA", ".")
        )

    def test_recorded(self) -> None:
        client = greeted()
        client.say("MAIL FROM:<A@b> SIZE=10 BODY=8BITMIME")
        envelope = client.envelope
        self.assertEqual("A@b", envelope.mail_from)
        self.assertEqual(["SIZE=10", "BODY=8BITMIME"], envelope.mail_options)
        self.assertEqual(
            (10, "8BITMIME", "ESMTP"), (envelope.size, envelope.body, envelope.protocol)
        )

    def test_protocol(self) -> None:
        client = Client()
        client.say("HELO client.example", "MAIL FROM:<a@b>")
        self.assertEqual("SMTP", client.envelope.protocol)
        client = greeted()
        client.say("MAIL FROM:<a@b> SMTPUTF8")
        self.assertEqual("UTF8SMTP", client.envelope.protocol)

    def test_hook(self) -> None:
        seen: list[Any] = []
        client = greeted(Handler(handle_MAIL=lambda *a: seen.append(a)))
        envelope = client.envelope
        client.say("MAIL FROM:<a@b> size=10")
        ((server, session, same, address, options),) = seen
        self.assertIs(client.server, server)
        self.assertIs(client.dialog.session, session)
        self.assertIs(envelope, same)
        self.assertEqual(("a@b", ["size=10"], 10), (address, options, options.get("SIZE")))

    def test_hook_after_checks(self) -> None:
        asked: list[Any] = []
        client = greeted(Handler(handle_MAIL=lambda *a: asked.append(a)), data_size_limit=10)
        client.say("MAIL FROM:<x>", "MAIL FROM:<a@b> X=1", "MAIL FROM:<a@b> SIZE=11")
        self.assertEqual([], asked)

    def test_hook_records(self) -> None:
        """
        The core records the sender unless the hook did.
        """

        def rewrite(server, session, envelope, address, options):
            envelope.mail_from = "other@b"
            envelope.mail_options = ["X"]

        client = greeted(Handler(handle_MAIL=rewrite))
        client.say("MAIL FROM:<a@b> SIZE=10")
        self.assertEqual(
            ("other@b", ["X"]), (client.envelope.mail_from, client.envelope.mail_options)
        )

    def test_hook_records_null(self) -> None:
        def rewrite(server, session, envelope, address, options):
            envelope.mail_from = ""

        client = greeted(Handler(handle_MAIL=rewrite))
        client.say("MAIL FROM:<a@b>")
        self.assertEqual("", client.envelope.mail_from)

    def test_hook_words(self) -> None:
        client = greeted(saying(handle_MAIL="250 Go on"))
        self.assertEqual("250 2.1.0 Go on", client.ask("MAIL FROM:<a@b>"))

    def test_refused(self) -> None:
        """
        Nothing of a refused sender stays.
        """
        for answer in (*NO_ANSWERS, KeyError()):
            later = Later()
            later.answer(NO)
            for each in (answer, later):
                client = greeted(saying(handle_MAIL=each))
                before = client.envelope
                said = client.say("MAIL FROM:<a@b> SIZE=10 SMTPUTF8")
                self.assertIn(said, [["550 5.7.1"], ["451 4.3.0"]])
                self.assertEqual("ready", client.state)
                self.assertIsNot(before, client.envelope)
                envelope = client.envelope
                self.assertEqual(
                    (None, [], None, False),
                    (envelope.mail_from, envelope.mail_options, envelope.size, envelope.smtp_utf8),
                )

    def test_refused_by_extension(self) -> None:
        """
        The same for a sender that an extension refuses, after others have taken notes.
        """

        class Picky(Extension):
            def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
                raise Rejected(NO)

        client = greeted(extensions=(*EXTENSIONS, Picky))
        before = client.envelope
        self.assertEqual(["550 5.7.1"], client.say("MAIL FROM:<a@b> SIZE=10"))
        self.assertEqual("ready", client.state)
        self.assertIsNot(before, client.envelope)
        self.assertIsNone(client.envelope.size)

    def test_reply_in_utf8(self) -> None:
        client = greeted(saying(handle_MAIL="550 5.7.1 caf\u00e9"))
        self.assertEqual("550 5.7.1 caf?", client.ask("MAIL FROM:<a@b>"))
        self.assertEqual("550 5.7.1 caf\u00e9", client.ask("MAIL FROM:<a@b> SMTPUTF8"))

    def test_nested(self) -> None:
        client = opened()
        self.assertEqual(["503 5.5.1"], client.say("MAIL FROM:<c@d>"))
        self.assertEqual("a@example.org", client.envelope.mail_from)


class RCPTTests(SynchronousTestCase):
    """
    RCPT (RFC 5321 section 4.1.1.3).
    """

    def begun(self, *handlers: object, **settings: Any) -> Client:
        client = greeted(*handlers, **settings)
        self.assertEqual(["250 2.1.0"], client.say("MAIL FROM:<a@example.org>"))
        return client

    def assertSays(self, expected: str, *lines: str, **settings: Any) -> None:
        for line in lines:
            client = self.begun(**settings)
            self.assertEqual([expected], client.say(line), line)
            self.assertEqual("rcpt" if expected == "250 2.1.5" else "no rcpt", client.state)

    def test_syntax(self) -> None:
        self.assertSays(
            "250 2.1.5", "RCPT TO:<a@b>", "rcpt to:<a@b>", "RCPT TO: <a@b>",
            "RCPT TO:<Postmaster>", "RCPT TO:<postmaster>", "RCPT TO:<@r,@s:a@b>",
        )  # fmt: skip

    def test_no_keyword(self) -> None:
        self.assertSays("501 5.5.4", "RCPT", "RCPT TO", "RCPT TO:", "RCPT FROM:<a@b>", "RCPT <a@b>")
        self.assertEqual(
            "501 5.5.4 Syntax: RCPT TO:<address> [parameters]", self.begun().ask("RCPT")
        )

    def test_malformed(self) -> None:
        self.assertSays("501 5.1.3", "RCPT TO:<>", "RCPT TO:a@b", "RCPT TO:<a>", "RCPT TO:<a@b")

    def test_lenient(self) -> None:
        self.assertSays("250 2.1.5", "RCPT TO:a@b", "RCPT TO:<user>", "RCPT TO:user", lenient=True)
        self.assertSays("501 5.1.3", "RCPT TO:<>", lenient=True)

    def test_route_dropped(self) -> None:
        client = self.begun()
        client.say("RCPT TO:<@r:a@b>")
        self.assertEqual(["a@b"], client.envelope.rcpt_tos)

    def test_recorded(self) -> None:
        """
        One entry for each accepted recipient, duplicates too.
        """
        client = self.begun(unknown_parameters="pass")
        client.say("RCPT TO:<a@b> X=1", "RCPT TO:<c@d>", "RCPT TO:<a@b> Y")
        envelope = client.envelope
        self.assertEqual(["a@b", "c@d", "a@b"], envelope.rcpt_tos)
        self.assertEqual(["X=1", "Y"], envelope.rcpt_options)
        self.assertEqual(["a@b", "c@d", "a@b"], [each.address for each in envelope.recipients])
        self.assertEqual([["X=1"], [], ["Y"]], [each.options for each in envelope.recipients])
        self.assertEqual([RECIPIENT_OK] * 3, [each.reply for each in envelope.recipients])

    def test_refused(self) -> None:
        """
        A refused recipient is none.
        """
        for answer in (*NO_ANSWERS, KeyError()):
            client = self.begun(saying(handle_RCPT=answer))
            self.assertIn(client.say("RCPT TO:<a@b>"), [["550 5.7.1"], ["451 4.3.0"]])
            self.assertEqual("no rcpt", client.state)
            self.assertEqual(([], []), (client.envelope.rcpt_tos, client.envelope.recipients))

    def test_refused_and_recorded(self) -> None:
        """
        Whatever a hook has noted of a recipient that it or another one refuses.
        """

        def note(server, session, envelope, address, options):
            envelope.rcpt_tos.append(address)
            envelope.rcpt_options.append(f"OF={address}")

        def judge(server, session, envelope, address, options):
            return NO if address == "c@d" else None

        client = self.begun(Handler(handle_RCPT=note), Handler(handle_RCPT=judge))
        client.say("RCPT TO:<a@b>", "RCPT TO:<c@d>", "RCPT TO:<e@f>")
        self.assertEqual(["a@b", "e@f"], client.envelope.rcpt_tos)
        self.assertEqual(["OF=a@b", "OF=e@f"], client.envelope.rcpt_options)

    def test_some_refused(self) -> None:
        def judge(server, session, envelope, address, options):
            return None if address == "a@b" else NO

        client = self.begun(Handler(handle_RCPT=judge))
        said = client.say("RCPT TO:<a@b>", "RCPT TO:<c@d>", "RCPT TO:<x>", "RCPT TO:<a@b>")
        self.assertEqual(["250 2.1.5", "550 5.7.1", "501 5.1.3", "250 2.1.5"], said)
        self.assertEqual("rcpt", client.state)
        self.assertEqual(["a@b", "a@b"], client.envelope.rcpt_tos)

    def test_reply_kept(self) -> None:
        client = self.begun(saying(handle_RCPT="251 Will forward"))
        client.say("RCPT TO:<a@b>")
        reply = Reply(251, "2.1.5", ("Will forward",))
        self.assertEqual([reply], [each.reply for each in client.envelope.recipients])

    def test_hook(self) -> None:
        seen: list[Any] = []
        client = self.begun(Handler(handle_RCPT=lambda *a: seen.append(a)))
        client.say("RCPT TO:<a@b>")
        ((server, session, envelope, address, options),) = seen
        self.assertEqual((client.server, client.dialog.session), (server, session))
        self.assertIs(client.envelope, envelope)
        self.assertEqual(("a@b", []), (address, options))

    def test_hook_rewrites(self) -> None:
        """
        The list of addresses is the hook's, if it touches it.
        """

        def append(server, session, envelope, address, options):
            envelope.rcpt_tos.append(f"{address}.appended")

        def replace(server, session, envelope, address, options):
            envelope.rcpt_tos = [*envelope.rcpt_tos, f"{address}.new"]

        def change(server, session, envelope, address, options):
            if envelope.rcpt_tos:
                envelope.rcpt_tos[-1] = "changed"

        def clear(server, session, envelope, address, options):
            envelope.rcpt_tos.clear()

        for hook, expected in [
            (append, ["a@b.appended", "c@d.appended"]),
            (replace, ["a@b.new", "c@d.new"]),
            (change, ["changed"]),
            (clear, ["a@b"][:0]),
        ]:
            client = self.begun(Handler(handle_RCPT=hook), unknown_parameters="pass")
            client.say("RCPT TO:<a@b>", "RCPT TO:<c@d>")
            if hook is clear:
                # The first time there was nothing to clear, so the list was left unchanged.
                expected = []
            self.assertEqual(expected, client.envelope.rcpt_tos, hook.__name__)
            self.assertEqual(["a@b", "c@d"], [each.address for each in client.envelope.recipients])

    def test_limit(self) -> None:
        """
        The accepted ones stay.
        """
        asked: list[Any] = []
        client = self.begun(Handler(handle_RCPT=lambda *a: asked.append(a)), max_recipients=2)
        said = client.say(*["RCPT TO:<a@b>"] * 4)
        self.assertEqual(["250 2.1.5"] * 2 + ["452 4.5.3"] * 2, said)
        self.assertEqual((2, 2), (len(client.envelope.recipients), len(asked)))
        self.assertEqual("rcpt", client.state)
        self.assertEqual(["354"], client.say("DATA"))

    def test_limit_is_not_the_hooks(self) -> None:
        """
        What they do to the envelope changes nothing in what the client may do.
        """
        thief = Handler(handle_RCPT=lambda server, session, e, *rest: e.recipients.clear())
        client = self.begun(thief, max_recipients=2)
        said = client.say(*["RCPT TO:<a@b>"] * 3)
        self.assertEqual(["250 2.1.5"] * 2 + ["452 4.5.3"], said)

    def test_no_limit(self) -> None:
        client = self.begun(max_recipients=0)
        self.assertEqual({"250 2.1.5"}, set(client.say(*["RCPT TO:<a@b>"] * 1500)))

    def test_checks(self) -> None:
        class Picky(Extension):
            def check_rcpt(self, session: Session, envelope: Envelope, options: Parameters) -> None:
                raise Rejected(NO)

        client = self.begun(extensions=(*EXTENSIONS, Picky))
        self.assertEqual(["550 5.7.1"], client.say("RCPT TO:<a@b>"))
        self.assertEqual([], client.envelope.recipients)


class DATATests(SynchronousTestCase):
    """
    DATA (RFC 5321 section 4.1.1.4): what comes then, test_delivery knows.
    """

    def test_go_ahead(self) -> None:
        client = opened()
        self.assertEqual("354 End data with <CR><LF>.<CR><LF>", client.ask("DATA"))
        self.assertEqual("content", client.state)

    def test_argument(self) -> None:
        client = opened()
        self.assertEqual(["501 5.5.4"], client.say("DATA now"))
        self.assertEqual("rcpt", client.state)

    def test_nobody(self) -> None:
        """
        After refused recipients only it says why.
        """
        client = greeted(saying(handle_RCPT=NO))
        said = client.say("MAIL FROM:<a@b>", "RCPT TO:<a@b>", "DATA")
        self.assertEqual(["250 2.1.0", "550 5.7.1", "554 5.5.1"], said)
        self.assertEqual("554 5.5.1 No valid recipients", client.ask("DATA"))
        self.assertEqual("no rcpt", client.state)

    def test_before_any(self) -> None:
        client = greeted()
        self.assertEqual(["250 2.1.0", "503 5.5.1"], client.say("MAIL FROM:<a@b>", "DATA"))

    def test_checks(self) -> None:
        class Picky(Extension):
            def check_content(self, session: Session, envelope: Envelope, verb: str) -> None:
                raise Rejected(NO)

        client = opened(extensions=(*EXTENSIONS, Picky))
        self.assertEqual(["550 5.7.1"], client.say("DATA"))
        self.assertEqual("rcpt", client.state)

    def test_what_follows(self) -> None:
        """
        Content and commands in one go.
        """
        mailbox = Mailbox()
        client = Client(mailbox)
        replies = client.send(
            b"EHLO client.example\r\nMAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nDATA\r\n"
            b"QUIT\r\n..\r\n.\r\nNOOP\r\nQUIT\r\nNOOP\r\n"
        )
        self.assertEqual(
            ["250", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "250 2.0.0", "221 2.0.0"],
            [short(reply) for reply in replies],
        )
        self.assertEqual([b"QUIT\r\n.\r\n"], mailbox.contents)


class RSETTests(SynchronousTestCase):
    """
    RSET (RFC 5321 section 4.1.1.5).
    """

    def test_reset(self) -> None:
        client = opened()
        envelope = client.envelope
        self.assertEqual("250 2.0.0 OK", client.ask("RSET"))
        self.assertEqual("ready", client.state)
        self.assertIsNot(envelope, client.envelope)
        self.assertEqual("a@example.org", envelope.mail_from)
        self.assertEqual(["503 5.5.1"], client.say("RCPT TO:<a@b>"))

    def test_before_ehlo(self) -> None:
        client = Client()
        self.assertEqual(["250 2.0.0", "503 5.5.1"], client.say("RSET", "MAIL FROM:<a@b>"))
        self.assertEqual("start", client.state)

    def test_keeps_the_greeting(self) -> None:
        client = greeted()
        self.assertEqual(["250 2.0.0", "250 2.1.0"], client.say("RSET", "MAIL FROM:<a@b> SIZE=1"))

    def test_argument(self) -> None:
        client = opened()
        self.assertEqual(["501 5.5.4"], client.say("RSET all"))
        self.assertEqual("rcpt", client.state)

    def test_whatever_the_hook_says(self) -> None:
        """
        The hook sees the envelope that ends, and it ends.
        """
        for answer in (None, *NO_ANSWERS, KeyError(), "250 2.0.0 Fine"):
            seen: list[Any] = []

            def hook(server, session, envelope, answer=answer, seen=seen):
                seen.append(envelope)
                if isinstance(answer, Exception):
                    raise answer
                return answer

            client = opened(Handler(handle_RSET=hook))
            envelope = client.envelope
            client.say("RSET")
            self.assertEqual([envelope], seen)
            self.assertEqual("ready", client.state)
            self.assertIsNot(envelope, client.envelope)

    def test_later(self) -> None:
        later = Later()
        client = opened(saying(handle_RSET=later))
        self.assertEqual([], client.say("RSET", "MAIL FROM:<c@d>"))
        later.answer(NO)
        self.assertEqual(["550 5.7.1", "250 2.1.0"], [short(each) for each in client.resume()])


class QUITTests(SynchronousTestCase):
    """
    QUIT (RFC 5321 section 4.1.1.10).
    """

    def test_quit(self) -> None:
        for client in (Client(), greeted(), opened()):
            self.assertEqual(["221 2.0.0"], client.say("QUIT", "NOOP"))
            self.assertTrue(client.closed)

    def test_argument(self) -> None:
        client = Client()
        self.assertEqual(["501 5.5.4"], client.say("QUIT now"))
        self.assertFalse(client.closed)

    def test_whatever_the_hook_says(self) -> None:
        for answer, expected in [
            (None, "221 2.0.0"), ("221 Farewell", "221 2.0.0"), (NO, "550 5.7.1"),
            (Rejected(NO), "550 5.7.1"), (KeyError(), "451 4.3.0"), ("421 4.0.0 Bye", "421 4.0.0"),
        ]:  # fmt: skip
            client = Client(saying(handle_QUIT=answer))
            self.assertEqual([expected], client.say("QUIT", "NOOP"))
            self.assertTrue(client.closed)

    def test_later(self) -> None:
        later = Later()
        client = Client(saying(handle_QUIT=later))
        self.assertEqual([], client.say("QUIT", "NOOP"))
        self.assertFalse(client.closed)
        later.answer()
        self.assertEqual(["221 2.0.0"], [short(reply) for reply in client.resume()])
        self.assertTrue(client.closed)


class OthersTests(SynchronousTestCase):
    """
    NOOP, VRFY, EXPN and HELP.
    """

    def asked(self, verb: str, line: str) -> tuple[str, Any]:
        seen: list[Any] = []
        client = Client(Handler(**{f"handle_{verb}": lambda *a: seen.append(a[3:])}))
        (said,) = client.say(line)
        return said, seen

    def test_noop(self) -> None:
        self.assertEqual(["250 2.0.0"] * 3, Client().say("NOOP", "NOOP a b c", "noop \u00e9"))
        self.assertEqual(("250 2.0.0", [("a  b",)]), self.asked("NOOP", "NOOP a  b"))
        self.assertEqual(["550 5.7.1"], Client(saying(handle_NOOP=NO)).say("NOOP"))

    def test_vrfy(self) -> None:
        """
        It never says whether a user exists.
        """
        client = Client()
        self.assertEqual(["252 2.0.0"] * 2, client.say("VRFY user", "VRFY <a@b>"))
        self.assertEqual("501 5.5.4 Syntax: VRFY address", client.ask("VRFY"))
        self.assertEqual(("252 2.0.0", [("<a@b>",)]), self.asked("VRFY", "VRFY <a@b>"))
        client = Client(saying(handle_VRFY="250 2.1.5 <a@b>"))
        self.assertEqual("250 2.1.5 <a@b>", client.ask("VRFY a"))

    def test_expn(self) -> None:
        self.assertEqual(["502 5.5.1"], Client().say("EXPN list"))
        # A hook that has nothing to say is as good as none.
        self.assertEqual(("502 5.5.1", [("list",)]), self.asked("EXPN", "EXPN list"))
        self.assertEqual("250 2.0.0 <a@b>", Client(saying(handle_EXPN="250 <a@b>")).ask("EXPN a"))
        self.assertEqual(["550 5.7.1"], Client(saying(handle_EXPN=NO)).say("EXPN list"))

    def test_smtputf8(self) -> None:
        """
        A client may allow an answer to VRFY and EXPN that is not ASCII (RFC 6531 section 3.7.4.2).
        """
        for verb in ("VRFY", "EXPN"):
            for code in (250, 251, 550, 551):
                answer = f"{code} {code // 100}.1.5 <\u00e4@b>"
                for late in (False, True):
                    verdict: Any = Later() if late else answer
                    if late:
                        verdict.answer(answer)
                    client = Client(saying(**{f"handle_{verb}": verdict}))
                    client.say("EHLO client.example")
                    self.assertEqual(answer, client.ask(f"{verb} \u00e4 SMTPUTF8"))
                    self.assertEqual(answer, client.ask(f"{verb} a smtputf8"))
                    # That was for one command only.
                    self.assertNotIn("\u00e4", client.ask(f"{verb} \u00e4"))

    def test_smtputf8_argument(self) -> None:
        """
        The hook does not see the parameter.
        """

        def asked(verb: str, argument: str, opening: str = "EHLO a", **settings: Any) -> str:
            seen: list[str] = []
            hook = Handler(**{f"handle_{verb}": lambda *arguments: seen.append(arguments[-1])})
            Client(hook, **settings).say(opening, f"{verb} {argument}")
            (found,) = seen
            return found

        for verb in ("VRFY", "EXPN"):
            for argument, expected in [
                ("\u00e4 SMTPUTF8", "\u00e4"),
                ("a b smtputf8", "a b"),
                ("SMTPUTF8", "SMTPUTF8"),
                ("a SMTPUTF8=1", "a SMTPUTF8=1"),
                ("a \u017fMTPUTF8", "a \u017fMTPUTF8"),
            ]:
                self.assertEqual(expected, asked(verb, argument))
            whole = "a SMTPUTF8"
            self.assertEqual(whole, asked(verb, whole, "NOOP"))
            self.assertEqual(whole, asked(verb, whole, "HELO a"))
            self.assertEqual(whole, asked(verb, whole, enable_SMTPUTF8=False))
            self.assertEqual(whole, asked(verb, whole, extensions=()))

    def test_not_in_ascii(self) -> None:
        """
        Without it there is no address to show; a refusal needs none.
        """
        for verb in ("VRFY", "EXPN"):
            for answer, expected in [
                ("250 <\u00e4@b>", "252 2.6.8 That cannot be told in ASCII: ask with SMTPUTF8"),
                ("251 <\u00e4@b>", "252 2.6.8 That cannot be told in ASCII: ask with SMTPUTF8"),
                ("550 5.1.1 No \u00e4", "550 5.1.1 No ?"),
                ("551 5.1.6 <\u00e4@b>", "550 5.1.6 <?@b>"),
            ]:
                client = Client(saying(**{f"handle_{verb}": answer}))
                self.assertEqual(expected, client.ask(f"{verb} a"))
                # Not even in a transaction that is SMTPUTF8.
                client.say("EHLO client.example", "MAIL FROM:<a@b> SMTPUTF8")
                self.assertEqual(expected, client.ask(f"{verb} a"))
            refused = Rejected(Reply(550, "5.1.1", ("No \u00e4",)))
            client = Client(saying(**{f"handle_{verb}": refused}))
            self.assertEqual("550 5.1.1 No ?", client.ask(f"{verb} a"))

    def test_help(self) -> None:
        client = Client()
        names = (
            "AUTH BDAT DATA EHLO EXPN HELO HELP MAIL NOOP QUIT RCPT RSET STARTTLS VRFY XCLIENT"
            " XFORWARD"
        )
        self.assertEqual(f"214 2.0.0 Commands: {names}", client.ask("HELP"))
        self.assertEqual(f"214 2.0.0 Commands: {names}", client.ask("HELP \u00e9 what"))
        self.assertEqual("214 2.0.0 Syntax: NOOP [text]", client.ask("HELP noop"))
        self.assertEqual(("214 2.0.0", [("me",)]), self.asked("HELP", "HELP me"))
        self.assertEqual("214 2.0.0 Call us", Client(saying(handle_HELP="214 Call us")).ask("HELP"))

    def test_syntax_of_each(self) -> None:
        for name, verb in VERBS.items():
            self.assertEqual(name, verb.syntax.split()[0])
            self.assertEqual(f"214 2.0.0 Syntax: {verb.syntax}", Client().ask(f"HELP {name}"))

    def test_anytime(self) -> None:
        """
        They work before EHLO and in a transaction, and change nothing.
        """
        for client in (Client(), greeted(), opened()):
            state, envelope = client.state, client.envelope
            said = client.say("NOOP", "HELP", "VRFY a", "EXPN a")
            self.assertEqual(["250 2.0.0", "214 2.0.0", "252 2.0.0", "502 5.5.1"], said)
            self.assertEqual((state, envelope), (client.state, client.envelope))

    def test_opening(self) -> None:
        self.assertEqual(["250", "250 2.1.0", "250 2.1.5"], Client().say(*OPENING))
