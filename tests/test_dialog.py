"""
Tests for :mod:`txsmtpd.core.dialog`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.context import Context
from txsmtpd.core.outcomes import Challenge, Outcome, Step, Verb
from txsmtpd.core.replies import OK, Declined, Rejected, Reply, challenge
from txsmtpd.core.session import Envelope, Parameters, Session
from txsmtpd.core.states import MAIL, READY, START, State, Table, anytime
from txsmtpd.extensions.base import Extension

from .corekit import (
    EXTENSIONS,
    OPENING,
    Client,
    Handler,
    Later,
    Mailbox,
    Receiver,
    conclude,
    opened,
    saying,
    short,
    streaming,
)

NO = "550 5.7.1 No"


class Frob(Extension):
    """
    Adds a verb that does what the test wants.
    """

    run: Any = None
    extended = False

    def verbs(self) -> Mapping[str, Verb]:
        return {"FROB": Verb(lambda *a: type(self).run(*a), "FROB", extended=self.extended)}

    def rows(self) -> Table:
        return {START: {"FROB": START}, READY: {"FROB": MAIL}}


def frobbing(run: Any, *handlers: object, extended: bool = False, **settings: Any) -> Client:
    """
    A client of a server whose FROB is `run`.
    """
    made = type("Frob", (Frob,), {"run": staticmethod(run), "extended": extended})
    return Client(*handlers, extensions=(*EXTENSIONS, made), **settings)


TOGGLED = State("toggled")


class GreetingTests(SynchronousTestCase):
    """
    What a client is told when it connects (RFC 5321 section 3.1).
    """

    def greet(self, answer: Any) -> tuple[Client, str]:
        client = Client(saying(handle_CONNECT=answer))
        (reply,) = client.greet()
        return client, str(reply)

    def test_banner(self) -> None:
        client = Client(ident="ESMTP test")
        self.assertEqual(b"220 mx.example ESMTP test\r\n", client.greet()[0].wire)
        self.assertEqual("start", client.state)

    def test_hook(self) -> None:
        for answer, expected in [
            (None, "220 mx.example ESMTP txsmtpd"),
            ("220 other.example ESMTP", "220 other.example ESMTP"),
            ("220 other.example\r\n250 x", "220 other.example  250 x"),
        ]:
            client, said = self.greet(answer)
            self.assertEqual(expected, said)
            self.assertEqual(["250"], client.say("EHLO client.example"))

    def test_closing(self) -> None:
        for answer in ("421 4.7.0 Busy", "521 5.3.2 Never", Rejected("521 5.3.2 Never")):
            client, said = self.greet(answer)
            self.assertIn(said, ("421 4.7.0 Busy", "521 5.3.2 Never"))
            self.assertTrue(client.closed)

    def test_refused(self) -> None:
        """
        After another refusal every verb but QUIT gets 503.
        """
        for answer in ("554 5.7.1 No", Rejected("554 5.7.1 No"), "450 4.7.1 No"):
            client, _ = self.greet(answer)
            self.assertFalse(client.closed)
            lines = [
                *OPENING, "DATA", "HELO a", "RSET", "NOOP", "VRFY a", "EXPN a", "HELP", "MAIL",
            ]  # fmt: skip
            self.assertEqual(["503 5.5.1"] * len(lines), client.say(*lines))
            self.assertEqual(["503 5.5.1"], client.say("BDAT 6\r\nQUIT"))
            self.assertEqual(["221 2.0.0"], client.say("QUIT"))
            self.assertTrue(client.closed)

    def test_error(self) -> None:
        """
        What goes wrong at the greeting closes the connection.
        """
        for answer in (KeyError("canary"), False, "354 Go", "250 Hello"):
            client, said = self.greet(answer)
            self.assertEqual("421 4.3.0 Local error, try again later", said)
            self.assertTrue(client.closed)
            self.assertEqual(1, len(client.runner.errors))

    def test_later(self) -> None:
        """
        A client that talks before it is greeted is not obeyed before.
        """
        later = Later()
        client = Client(saying(handle_CONNECT=later))
        self.assertEqual([], client.greet())
        self.assertEqual([], client.say("NOOP"))
        later.answer()
        self.assertEqual(["220", "250 2.0.0"], [short(reply) for reply in client.resume()])

    def test_arguments(self) -> None:
        seen: list[Any] = []
        client = Client(Handler(handle_CONNECT=lambda *a: seen.append(a)))
        client.greet()
        self.assertEqual([(client.server, client.dialog.session, client.envelope)], seen)


class LineTests(SynchronousTestCase):
    """
    What is a command, and what is none.
    """

    def test_case(self) -> None:
        self.assertEqual(["250 2.0.0"] * 3, Client().say("NOOP", "noop", "nOoP x"))

    def test_trailing_blanks(self) -> None:
        self.assertEqual(["250 2.0.0"] * 3, Client().say("RSET ", "RSET\t", "RSET \t \t "))

    def test_unknown(self) -> None:
        for line in (
            "", " ", "FROB", " NOOP", "NOOP\tx", "NOOPX", "NO OP", "MAILFROM:<a@b>", "__class__",
            "_reset", "UNKNOWN", "command", "X" * 200, "*", "NOOP\x00", "\x00", "NOOP\x0bx",
            "N\u00d6\u00d6P", "qu\u0131t", "\u212aELP", "NOOP\u00a0",
        ):  # fmt: skip
            client = Client()
            self.assertEqual(["500 5.5.2"], client.say(line), repr(line))
            self.assertFalse(client.closed)

    def test_octets(self) -> None:
        for octet in (*range(0x0D), *range(0x0E, 0x41), *range(0x5B, 0x61), *range(0x7B, 0x100)):
            client = Client()
            self.assertEqual(["500 5.5.2"], client.say(bytes([octet]) * 4), octet)

    def test_controls(self) -> None:
        """
        One line, one reply, and nothing of it is run.
        """
        for control in (*range(0x20), 0x7F):
            for line in (
                b"NOOP a%cb", b"MAIL FROM:<a%c@b>", b"EHLO a%cb", b"RSET x%c x", b"HELP %c%c",
            ):  # fmt: skip
                line = line.replace(b"%c", bytes([control]))
                if line.rstrip(b" \t") != line:
                    continue
                client = Client()
                self.assertEqual(["500 5.5.2"], client.say(line), repr(line))
                self.assertEqual("start", client.state)

    def test_bare_newlines(self) -> None:
        """
        Only CRLF ends a command; what follows a bare LF is never run.
        """
        for newline in ("\n", "\r", "\n\r", "\x0b", "\x0c", "\x1c", "\x1e"):
            client = Client()
            said = client.say(f"NOOP{newline}QUIT", f"NOOP x{newline}QUIT", f"EHLO a{newline}QUIT")
            self.assertEqual(["500 5.5.2"] * 3, said)
            self.assertFalse(client.closed)
            self.assertEqual("start", client.state)

    def test_not_utf8(self) -> None:
        """
        Octets that are no text are refused by what wants text, and nowhere else.
        """
        client = Client()
        self.assertEqual(["250 2.0.0"], client.say(b"NOOP \xff\xfe"))
        self.assertEqual(["501 5.5.4"], client.say(b"EHLO \xff"))

    def test_length(self) -> None:
        """
        2048 octets with the CRLF are allowed.
        """
        client = Client()
        self.assertEqual(["250 2.0.0"], client.say("NOOP " + "x" * 2041))
        self.assertEqual(["500 5.5.2"], client.say("NOOP " + "x" * 2042))
        self.assertEqual("500 5.5.2 Command line too long", client.ask("NOOP" + " " * 3000))
        self.assertEqual(["500 5.5.2"], client.say("X" * 60000))
        self.assertFalse(client.closed)

    def test_length_of_a_verb(self) -> None:
        """
        A verb may have more.
        """

        class Long(Extension):
            def verbs(self) -> Mapping[str, Verb]:
                too_long = Reply(500, "5.5.6", ("Too long",))
                run = lambda context, argument: Outcome((OK,))  # noqa: E731
                return {"LONG": Verb(run, "LONG", line_limit=5000, too_long=too_long)}

            def rows(self) -> Table:
                return {START: {"LONG": START}}

        client = Client(extensions=(Long,))
        self.assertEqual(["250 2.0.0"], client.say("LONG " + "x" * 4993))
        self.assertEqual(["500 5.5.6"], client.say("LONG " + "x" * 4994))

    def test_http(self) -> None:
        """
        Somebody takes us for something else.
        """
        for line in (
            "GET / HTTP/1.1", "POST / HTTP/1.0", "CONNECT a:25 HTTP/1.1", "get /", "HEAD /",
            "PUT /", "OPTIONS *", "DELETE /", "TRACE /", "PATCH /",
        ):  # fmt: skip
            client = Client()
            self.assertEqual(["421 4.7.0"], client.say(line, *OPENING), line)
            self.assertTrue(client.closed)


class JunkTests(SynchronousTestCase):
    """
    Too many replies to junk end the connection.
    """

    def assertJunk(self, *lines: str | bytes, client: Client | None = None) -> None:
        """
        Each of these counts.
        """
        for line in lines:
            each = client or Client()
            before = each.dialog.errors
            (said,) = each.say(line)
            self.assertIn(said[0], "5")
            self.assertEqual(before + 1, each.dialog.errors, (line, said))

    def assertNoJunk(self, client: Client, *lines: str | bytes) -> list[str]:
        """
        None of these counts.
        """
        before = client.dialog.errors
        said = client.say(*lines)
        self.assertEqual(before, client.dialog.errors, said)
        return said

    def test_closes(self) -> None:
        client = Client(max_errors=3)
        self.assertEqual(
            ["500 5.5.2", "250 2.0.0", "500 5.5.2", "503 5.5.1", "421 4.7.0"],
            client.say("FROB", "NOOP", "FROB", "DATA", "NOOP"),
        )
        self.assertTrue(client.closed)

    def test_no_limit(self) -> None:
        client = Client(max_errors=0)
        self.assertEqual({"500 5.5.2"}, set(client.say(*["FROB"] * 100)))
        self.assertFalse(client.closed)

    def test_one(self) -> None:
        self.assertEqual(["500 5.5.2", "421 4.7.0"], Client(max_errors=1).say("FROB", "NOOP"))

    def test_counts(self) -> None:
        self.assertJunk(
            "FROB", "", b"\xff", "NOOP a\tb", "NOOP" + " " * 3000, "EHLO", "EHLO a b", "HELO -",
            "MAIL FROM:<a@b>", "RCPT TO:<a@b>", "DATA", "BDAT 2\r\n", "RSET x", "QUIT x", "VRFY",
        )  # fmt: skip
        ready = Client()
        ready.say("EHLO client.example")
        self.assertJunk(
            "MAIL", "MAIL FROM:<x>", "MAIL FROM:<\u00e9@b>", "MAIL FROM:<a@b> X=1",
            "MAIL FROM:<a@b> SIZE=x", "MAIL FROM:<a@b> SIZE=1 SIZE=1", client=ready,
        )  # fmt: skip
        self.assertJunk("MAIL FROM:<a@b>", "RCPT TO:<x>", "RCPT", client=opened())

    def test_success_does_not_count(self) -> None:
        self.assertNoJunk(Client(), *OPENING, "NOOP", "HELP", "VRFY a", "RSET")

    def test_refused_by_hooks(self) -> None:
        """
        What a hook refuses is not junk, whatever the code.
        """
        for text in (NO, "500 5.5.2 No", "501 5.5.4 No", "503 5.5.1 No", "553 5.1.3 No"):
            later = Later()
            later.answer(text)
            for answer in (text, Rejected(text), later):
                for hook in ("HELO", "EHLO", "MAIL", "RCPT", "NOOP", "VRFY", "EXPN", "DATA_start"):
                    client = Client(saying(**{f"handle_{hook}": answer}))
                    self.assertNoJunk(client, "EHLO a", "HELO a", "NOOP", "VRFY a", "EXPN a")
                    client = Client(saying(**{f"handle_{hook}": answer}))
                    if hook != "EHLO":
                        client.say("EHLO a")
                        self.assertNoJunk(client, "MAIL FROM:<a@b>", "RCPT TO:<a@b>")
                    if hook == "DATA_start":
                        self.assertNoJunk(client, "DATA")

    def test_failures_do_not_count(self) -> None:
        client = Client(saying(handle_NOOP=KeyError(), handle_VRFY=False))
        self.assertEqual(["451 4.3.0"] * 2, self.assertNoJunk(client, "NOOP", "VRFY a"))

    def test_limits_do_not_count(self) -> None:
        client = Client(max_recipients=1, data_size_limit=10)
        client.say("EHLO a")
        said = self.assertNoJunk(
            client, "MAIL FROM:<a@b> SIZE=11", "MAIL FROM:<a@b>", "RCPT TO:<a@b>", "RCPT TO:<a@b>"
        )
        self.assertEqual(["552 5.3.4", "250 2.1.0", "250 2.1.5", "452 4.5.3"], said)
        self.assertEqual(["502 5.5.1"], self.assertNoJunk(client, "EXPN a"))
        client.rules.budget.take(2**28)
        self.assertEqual(["452 4.3.1"], self.assertNoJunk(client, "DATA"))

    def test_gates_do_not_count(self) -> None:
        """
        Nor does 530.
        """

        class Gate(Extension):
            def gate(self, session: Session, verb: str) -> Reply | None:
                return Reply(530, "5.7.0", ("STARTTLS first",)) if verb != "EHLO" else None

        client = Client(extensions=(*EXTENSIONS, Gate))
        said = self.assertNoJunk(client, *OPENING, "DATA", "BDAT 2\r\n", "VRFY")
        self.assertEqual(["250"] + ["530 5.7.0"] * 5, said)

    def test_behind_a_refused_mail(self) -> None:
        """
        What a pipelining client has sent behind a refused MAIL is no junk.
        """
        client = Client(saying(handle_MAIL=NO), max_errors=3)
        client.say("EHLO a")
        for _ in range(5):
            said = self.assertNoJunk(
                client, "MAIL FROM:<a@b>", "RCPT TO:<a@b>", "RCPT TO:<c@d>", "DATA"
            )
            self.assertEqual(["550 5.7.1", "503 5.5.1", "503 5.5.1", "503 5.5.1"], said)
            said = self.assertNoJunk(client, "MAIL FROM:<a@b>", "BDAT 2\r\n", "BDAT 2 LAST\r\n")
            self.assertEqual(["550 5.7.1", "503 5.5.1", "503 5.5.1"], said)
        self.assertFalse(client.closed)

    def test_behind_a_malformed_mail(self) -> None:
        """
        The malformed MAIL counts once.
        """
        client = Client()
        client.say("EHLO a", "MAIL FROM:<x>", "RCPT TO:<a@b>", "DATA")
        self.assertEqual(1, client.dialog.errors)

    def test_not_behind_it(self) -> None:
        """
        Only RCPT, DATA and BDAT follow a MAIL, and only until something else begins.
        """
        client = Client(saying(handle_MAIL=NO))
        client.say("EHLO a", "MAIL FROM:<a@b>", "FROB", "VRFY")
        self.assertEqual(2, client.dialog.errors)
        for line in ("RSET", "EHLO a"):
            client = Client(saying(handle_MAIL=NO))
            client.say("EHLO a", "MAIL FROM:<a@b>", line, "RCPT TO:<a@b>")
            self.assertEqual(1, client.dialog.errors)

    def test_not_behind_an_accepted_mail(self) -> None:
        answers = [NO, None]
        client = Client(Handler(handle_MAIL=lambda *_: answers.pop(0)))
        client.say("EHLO a", "MAIL FROM:<a@b>", "MAIL FROM:<a@b>", "DATA")
        self.assertEqual(1, client.dialog.errors)

    def test_syntax_errors_behind_it(self) -> None:
        """
        Out of sequence it is no junk; but a line that is none is.
        """
        client = Client(saying(handle_MAIL=NO))
        client.say("EHLO a", "MAIL FROM:<a@b>", "RCPT TO:<a\tb>")
        self.assertEqual(1, client.dialog.errors)

    def test_behind_refused_recipients(self) -> None:
        """
        A client that pipelines cannot know that nobody is left to receive its DATA.
        """
        client = Client(saying(handle_RCPT=NO), max_errors=3)
        client.say("EHLO a")
        for content in ("DATA", "BDAT 2 LAST\r\n"):
            for _ in range(5):
                said = self.assertNoJunk(
                    client, "MAIL FROM:<a@b>", "RCPT TO:<a@b>", content, "RSET"
                )
                self.assertEqual(["250 2.1.0", "550 5.7.1", "554 5.5.1", "250 2.0.0"], said)

    def test_behind_a_failed_chunk(self) -> None:
        client = opened(data_size_limit=1)
        said = self.assertNoJunk(client, "BDAT 2\r\n", "BDAT 2\r\n", "BDAT 2 LAST\r\n")
        self.assertEqual(["552 5.3.4", "503 5.5.1", "503 5.5.1"], said)

    def test_forgiven(self) -> None:
        """
        An accepted message, by whatever verb, wipes the slate.
        """
        for lines in (["DATA", "."], ["BDAT 2 LAST\r\n"]):
            client = opened(max_errors=3)
            client.say("FROB", "FROB", *lines)
            self.assertEqual(0, client.dialog.errors)

    def test_too_much_behind_content(self) -> None:
        """
        The last straw may be a chunk: it is swallowed, then the connection closes.
        """
        client = Client(max_errors=1)
        self.assertEqual(["503 5.5.1", "421 4.7.0"], client.say("BDAT 6\r\nQUIT", "NOOP"))
        self.assertTrue(client.closed)


class GateTests(SynchronousTestCase):
    """
    Extensions are asked about every verb, before the table.
    """

    def test_every_verb(self) -> None:
        asked: list[str] = []

        class Gate(Extension):
            def gate(self, session: Session, verb: str) -> Reply | None:
                asked.append(verb)
                return None

        client = Client(extensions=(*EXTENSIONS, Gate))
        client.say("MAIL FROM:<a@b>", "bdat 2\r\n", *OPENING, "HELP", "FROB", "NOOP a\tb")
        self.assertEqual(["MAIL", "BDAT", "EHLO", "MAIL", "RCPT", "HELP"], asked)

    def test_first_refusal(self) -> None:
        asked: list[str] = []

        class Gate(Extension):
            reply: Reply | None = Reply(530, "5.7.0")

            def gate(self, session: Session, verb: str) -> Reply | None:
                asked.append(type(self).__name__)
                return self.reply

        class Silent(Gate):
            reply = None

        class Other(Gate):
            reply = Reply(538, "5.7.11")

        client = Client(extensions=(Silent, Gate, Other))
        self.assertEqual(["530 5.7.0"], client.say("NOOP"))
        self.assertEqual(["Silent", "Gate"], asked)

    def test_before_the_table(self) -> None:
        class Gate(Extension):
            def gate(self, session: Session, verb: str) -> Reply | None:
                return Reply(530, "5.7.0")

        client = Client(extensions=(Gate,))
        self.assertEqual(["530 5.7.0"] * 2, client.say("DATA", "MAIL"))

    def test_fails(self) -> None:
        """
        A gate that fails lets nobody through.
        """

        class Gate(Extension):
            def gate(self, session: Session, verb: str) -> Reply | None:
                raise KeyError("canary")

        client = Client(extensions=(*EXTENSIONS, Gate))
        self.assertEqual("451 4.3.0 Local error, try again later", client.ask("EHLO a"))
        self.assertEqual("start", client.state)
        self.assertIsInstance(client.runner.errors[0], KeyError)
        self.assertEqual(["451 4.3.0"], client.say("BDAT 6\r\nQUIT"))
        self.assertFalse(client.closed)

    def test_rejects(self) -> None:
        class Gate(Extension):
            def gate(self, session: Session, verb: str) -> Reply | None:
                raise Rejected("530 5.7.0 No")

        self.assertEqual(["530 5.7.0"], Client(extensions=(Gate,)).say("EHLO a"))


class VerbTests(SynchronousTestCase):
    """
    What a verb returns or raises becomes an outcome.
    """

    def test_values(self) -> None:
        for reply, expected, follows in [
            (OK, "250 2.0.0", "mail"),
            (Reply(550, "5.7.1"), "550 5.7.1", "ready"),
            (Reply(354), "354", "mail"),
        ]:

            def run(context: Context, argument: str, reply: Reply = reply) -> Outcome:
                return Outcome((reply,))

            async def run_later(context: Context, argument: str, reply: Reply = reply) -> Outcome:
                return Outcome((reply,))

            for each in (run, run_later):
                client = frobbing(each)
                client.say("EHLO a")
                self.assertEqual([expected], client.say("FROB x"))
                self.assertEqual(follows, client.state)

    def test_raises(self) -> None:
        """
        A refusal is a refusal, and anything else is 451 without its text.
        """
        for error, expected in [
            (Rejected("552 5.2.2 Full"), "552 5.2.2"),
            (KeyError("canary"), "451 4.3.0"),
        ]:

            def run(context: Context, argument: str, error: Exception = error) -> Outcome:
                raise error

            async def run_later(
                context: Context, argument: str, error: Exception = error
            ) -> Outcome:
                raise error

            for each in (run, run_later):
                client = frobbing(each)
                client.say("EHLO a")
                (reply,) = client.send(b"FROB\r\n")
                self.assertEqual(expected, short(reply))
                self.assertNotIn("canary", str(reply))
                self.assertEqual("ready", client.state)
                self.assertEqual(0, client.dialog.errors)
                reported = [type(error) for error in client.runner.errors]
                self.assertEqual([KeyError] if expected[0] == "4" else [], reported)

    def test_refusals_of_a_verb(self) -> None:
        """
        What is wrong with a command itself counts, at once or later; what was declined does not.
        """
        for kind, errors in [(Rejected, 1), (Declined, 0)]:

            def run(context: Context, argument: str, kind: type[Rejected] = kind) -> Outcome:
                raise kind("501 5.5.4 No")

            async def run_later(
                context: Context, argument: str, kind: type[Rejected] = kind
            ) -> Outcome:
                raise kind("501 5.5.4 No")

            for each in (run, run_later):
                client = frobbing(each)
                self.assertEqual(["501 5.5.4"], client.say("FROB"))
                self.assertEqual(errors, client.dialog.errors)

    def test_explained(self) -> None:
        """
        A handler may put an error into its own words.
        """
        seen: list[Any] = []

        def explain(server, session, envelope, error):
            seen.append(error)
            return "554 5.3.9 Broken"

        error = KeyError("canary")

        def run(context: Context, argument: str) -> Outcome:
            raise error

        client = frobbing(run, Handler(handle_exception=explain))
        self.assertEqual(["554 5.3.9"], client.say("FROB"))
        self.assertEqual([error], seen)
        self.assertEqual([error], client.runner.errors)

    def test_explained_later(self) -> None:
        later = Later()

        def run(context: Context, argument: str) -> Outcome:
            raise KeyError

        client = frobbing(run, saying(handle_exception=later))
        self.assertEqual([], client.say("FROB", "NOOP"))
        later.answer("421 4.3.0 Bye")
        self.assertEqual(["421 4.3.0"], [short(reply) for reply in client.resume()])
        self.assertTrue(client.closed)

    def test_extended(self) -> None:
        """
        A verb of an extension wants EHLO.
        """

        def run(context: Context, argument: str) -> Step:
            return Outcome((OK,))

        for greeting, expected in [("EHLO a", "250 2.0.0"), ("HELO a", "503 5.5.1")]:
            client = frobbing(run, extended=True)
            self.assertEqual(["503 5.5.1"], client.say("FROB"))
            client.say(greeting)
            self.assertEqual([expected], client.say("FROB"))

    def test_argument(self) -> None:
        seen: list[str] = []

        def run(context: Context, argument: str) -> Outcome:
            seen.append(argument)
            return Outcome((OK,))

        client = frobbing(run)
        client.say("FROB", "frob  a b ", "FROB \u00e9", b"FROB \xff")
        self.assertEqual(["", " a b", "\u00e9", "\ufffd"], seen)

    def test_421(self) -> None:
        """
        A 421 from anywhere closes the connection.
        """
        text = "421 4.7.0 Bye"
        for hook, lines in {
            "EHLO": ["EHLO a"], "HELO": ["HELO a"], "NOOP": ["NOOP"], "VRFY": ["VRFY a"],
            "RSET": ["RSET"], "MAIL": [*OPENING[:2]], "RCPT": [*OPENING],
            "DATA_start": [*OPENING, "DATA"], "DATA": [*OPENING, "DATA", "."],
        }.items():  # fmt: skip
            for answer in (text, Rejected(text)):
                client = Client(saying(**{f"handle_{hook}": answer}))
                self.assertEqual("421 4.7.0", client.say(*lines, "NOOP")[-1], hook)
                self.assertEqual(len(lines), len(client.replies), hook)
                self.assertTrue(client.closed)


class Toggle(Extension):
    """
    A verb that asks for a line, and whose success leads from one state to another and back.
    """

    def verbs(self) -> Mapping[str, Verb]:
        return {"TOGGLE": Verb(self._toggle, "TOGGLE")}

    def rows(self) -> Table:
        return {READY: {"TOGGLE": TOGGLED}, TOGGLED: {**anytime(TOGGLED), "TOGGLE": READY}}

    def _toggle(self, context: Context, argument: str) -> Outcome:
        return Outcome((challenge(b"more"),), Challenge("TOGGLE", self._answered, self._refused))

    async def _answered(self, line: bytes) -> Outcome:
        return Outcome((Reply(250) if line == b"yes" else Reply(550),))

    async def _refused(self, reply: Reply) -> Outcome:
        return Outcome((reply,))


class ChallengeTests(SynchronousTestCase):
    """
    What answers a challenge is no command: its own has made the move.
    """

    def test_moves_once(self) -> None:
        for answer in (b"yes", b"no"):
            client = Client(extensions=(Toggle,))
            client.say("EHLO a", "TOGGLE")
            assert client.challenge is not None
            conclude(client.dialog.response(client.challenge, answer))
            self.assertEqual(TOGGLED, client.state)


class HookErrorTests(SynchronousTestCase):
    """
    A broken hook costs its command and nothing else.
    """

    def test_each(self) -> None:
        for hook, lines in {
            "EHLO": ["EHLO a"], "HELO": ["HELO a"], "NOOP": ["NOOP"], "VRFY": ["VRFY a"],
            "EXPN": ["EXPN a"], "HELP": ["HELP"], "RSET": ["RSET"], "MAIL": [*OPENING[:2]],
            "RCPT": [*OPENING], "DATA_start": [*OPENING, "DATA"], "DATA": [*OPENING, "DATA", "."],
        }.items():  # fmt: skip
            later = Later()
            later.fail(KeyError("canary"))
            for answer in (KeyError("canary"), later, True, 7, "canary", object()):
                client = Client(saying(**{f"handle_{hook}": answer}))
                *_, last = client.send("".join(f"{line}\r\n" for line in lines).encode())
                self.assertEqual("451 4.3.0 Local error, try again later", str(last), hook)
                self.assertEqual(1, len(client.runner.errors))
                self.assertFalse(client.closed)
                client.dialog.hooks = Client().rules.hooks
                self.assertEqual(["250 2.0.0"], client.say("NOOP"))


class ExtensionErrorTests(SynchronousTestCase):
    """
    So does a broken extension.
    """

    def test_keyword(self) -> None:
        class Broken(Extension):
            def keyword(self, session: Session) -> str | None:
                if session.id:
                    raise KeyError("canary")
                return None

        client = Client(extensions=(*EXTENSIONS, Broken))
        self.assertEqual(["451 4.3.0", "250"], client.say("EHLO a", "HELO a"))

    def test_each(self) -> None:
        def broken(self: Any, *arguments: Any) -> Any:
            raise KeyError("canary")

        for role, lines, state in [
            ("gate", OPENING[:1], "start"),
            ("check_mail", OPENING[:2], "ready"),
            ("check_rcpt", OPENING, "no rcpt"),
            ("check_content", (*OPENING, "DATA"), "rcpt"),
        ]:
            extension = type("Broken", (Extension,), {role: broken})
            client = Client(extensions=(*EXTENSIONS, extension))
            self.assertEqual("451 4.3.0", client.say(*lines)[-1], role)
            self.assertEqual(state, client.state, role)
            self.assertEqual([KeyError], [type(error) for error in client.runner.errors])
            client.dialog.rules = Client().rules
            self.assertEqual(["250"], client.say("EHLO a"))

    def test_parameter(self) -> None:
        class Broken(Extension):
            def keyword(self, session: Session) -> str | None:
                return "BROKEN"

            def mail_parameters(self) -> Mapping[str, Any]:
                return {"BROKEN": lambda session, value: {}[value]}

        client = Client(extensions=(*EXTENSIONS, Broken))
        said = client.say("EHLO a", "MAIL FROM:<a@b> BROKEN", "MAIL FROM:<a@b>")
        self.assertEqual(["250", "451 4.3.0", "250 2.1.0"], said)

    def test_notes_of_a_broken_check(self) -> None:
        """
        A MAIL that failed half way leaves nothing in the envelope of the next.
        """
        fails = [True, False]

        class Notes(Extension):
            def check_mail(self, session: Session, envelope: Envelope, options: Parameters) -> None:
                if fails.pop(0):
                    envelope.dsn = "canary"
                    raise KeyError

        client = Client(extensions=(*EXTENSIONS, Notes))
        said = client.say("EHLO a", "MAIL FROM:<a@b>", "MAIL FROM:<c@d>")
        self.assertEqual(["250", "451 4.3.0", "250 2.1.0"], said)
        self.assertIsNone(client.envelope.dsn)


class EnvelopeTests(SynchronousTestCase):
    """
    An envelope is never cleared, always replaced: a handler may keep it.
    """

    def test_replaced(self) -> None:
        for line in ("RSET", "EHLO a", "HELO a"):
            client = opened()
            kept = client.envelope
            client.say(line)
            self.assertIsNot(kept, client.envelope)
            self.assertEqual(("a@example.org", ["b@example.com"]), (kept.mail_from, kept.rcpt_tos))
            self.assertEqual(1, len(kept.recipients))

    def test_at_the_end(self) -> None:
        for verdict in (None, NO):
            mailbox = Mailbox(verdict)
            client = opened(mailbox)
            kept = client.envelope
            client.say("DATA", "hello", ".")
            self.assertIsNot(kept, client.envelope)
            self.assertEqual((b"hello\r\n", "a@example.org"), (kept.content, kept.mail_from))

    def test_ids(self) -> None:
        """
        Each transaction has an id of its own.
        """
        client = Client()
        ids = set()
        for _ in range(3):
            client.say(*OPENING, "DATA", ".")
            ids.add(client.envelope.id)
        self.assertEqual(3, len(ids))
        self.assertTrue(all(each.startswith("s.") for each in ids))


class PipeliningTests(SynchronousTestCase):
    """
    Later commands wait while a hook is pending.
    """

    def test_waits(self) -> None:
        hooks = ["CONNECT", "EHLO", "MAIL", "RCPT", "DATA_start", "DATA", "NOOP", "QUIT"]
        order: list[str] = []
        waiting = {hook: Later() for hook in hooks}

        def hook(name: str) -> Any:
            def ask(*arguments: Any) -> Later:
                order.append(name)
                return waiting[name]

            return ask

        client = Client(Handler(**{f"handle_{name}": hook(name) for name in hooks}))
        client.greet()
        client.say(*OPENING, "DATA", ".", "NOOP", "QUIT")
        expected = ["220", "250", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0", "250 2.0.0"]
        for number, name in enumerate(hooks):
            self.assertEqual(hooks[: number + 1], order)
            self.assertTrue(client.pending)
            self.assertEqual(expected[:number], [short(reply) for reply in client.replies])
            waiting[name].answer()
            client.resume()
        self.assertEqual([*expected, "221 2.0.0"], [short(reply) for reply in client.replies])


class LostTests(SynchronousTestCase):
    """
    The client has gone.
    """

    def test_told(self) -> None:
        seen: list[Any] = []
        client = Client(Handler(handle_DISCONNECT=lambda *a: seen.append(a)))
        client.greet()
        client.lose("connection reset")
        self.assertEqual(
            [(client.server, client.dialog.session, client.envelope, "connection reset")], seen
        )
        self.assertTrue(client.dialog.gone)

    def test_nobody_to_tell(self) -> None:
        client = Client()
        client.greet()
        client.lose()
        self.assertEqual([], client.runner.errors)

    def test_aborts(self) -> None:
        for lines in (["DATA"], ["DATA", "hello"], ["BDAT 2\r\n"]):
            receiver = Receiver()
            client = opened(streaming(receiver))
            client.say(*lines)
            client.lose()
            self.assertEqual(["abort"], receiver.ends)
            self.assertIsNone(client.dialog.delivery)

    def test_all_are_told(self) -> None:
        """
        Each handler that was told of the client hears of its end, even if another fails; and that
        is reported.
        """
        told: list[int] = []
        client = Client(
            saying(handle_DISCONNECT=KeyError("canary")),
            Handler(handle_DISCONNECT=lambda *_: told.append(1)),
        )
        client.greet()
        client.lose()
        self.assertEqual([1], told)
        self.assertEqual([KeyError], [type(error) for error in client.runner.errors])

    def test_later(self) -> None:
        later = Later()
        client = Client(saying(handle_DISCONNECT=later))
        client.greet()
        client.lose()
        later.fail(KeyError("canary"))
        client.runner.resume()
        self.assertIsInstance(client.runner.errors[0], KeyError)

    def test_hook_pending(self) -> None:
        """
        A hook that is cut off by the disconnect need not be explained to anybody.
        """
        later = Later()
        client = Client(saying(handle_EHLO=later, handle_exception="554 no"))
        client.say("EHLO a")
        client.greet()
        client.lose()
        later.fail(KeyError("cancelled"))
        self.assertEqual(["451 4.3.0"], [short(reply) for reply in client.resume()])
        self.assertEqual([KeyError], [type(error) for error in client.runner.errors])

    def test_transaction(self) -> None:
        """
        The envelope of the transaction that was open is there to be looked at.
        """
        seen: list[Any] = []
        client = opened(Handler(handle_DISCONNECT=lambda *a: seen.append(a[2].mail_from)))
        client.greet()
        client.lose()
        self.assertEqual(["a@example.org"], seen)
