"""
Tests for :mod:`txsmtpd.core.states`.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.outcomes import Body
from txsmtpd.core.rules import make_rules
from txsmtpd.core.session import Session
from txsmtpd.core.states import (
    CONTENT,
    END,
    MAIL,
    NO_RCPT,
    RCPT,
    READY,
    REFUSED,
    START,
    TRANSITIONS,
    State,
    anytime,
    merge,
    refusal_of,
)
from txsmtpd.core.verbs import LMTP_VERBS, VERBS
from txsmtpd.extensions.chunking import CHUNKS, FAILED
from txsmtpd.login import Login

from .corekit import Client, Handler, Later, Mailbox, conclude, saying

#: How to say each verb so that nothing but its place can be wrong; a chunk takes the CRLF behind.
COMMANDS = {
    "EHLO": "EHLO client.example",
    "HELO": "HELO client.example",
    "MAIL": "MAIL FROM:<a@example.org>",
    "RCPT": "RCPT TO:<b@example.com>",
    "DATA": "DATA",
    "BDAT": "BDAT 5\r\nabc",
    "AUTH": "AUTH PLAIN AGFubgB3b25kZXJsYW5k",
    "STARTTLS": "STARTTLS",
    "XCLIENT": "XCLIENT ADDR=192.0.2.1",
    "XFORWARD": "XFORWARD ADDR=192.0.2.1",
    "RSET": "RSET",
    "NOOP": "NOOP",
    "VRFY": "VRFY user",
    "EXPN": "EXPN list",
    "HELP": "HELP",
    "QUIT": "QUIT",
}

ALWAYS = {"NOOP", "HELP", "VRFY", "EXPN", "QUIT"}

#: Where each legal command leads: written down once more, by hand, from RFC 5321, RFC 3030,
#: RFC 4954, RFC 3207 and what Postfix says of XCLIENT and XFORWARD.
LEGAL: dict[State, dict[str, State]] = {
    START: {
        "EHLO": READY, "HELO": READY, "RSET": START, "STARTTLS": START, "XCLIENT": START,
        "XFORWARD": START,
    },
    READY: {
        "EHLO": READY, "HELO": READY, "RSET": READY, "MAIL": MAIL, "AUTH": READY,
        "STARTTLS": START, "XCLIENT": START, "XFORWARD": READY,
    },
    MAIL: {"EHLO": READY, "HELO": READY, "RSET": READY, "RCPT": RCPT, "STARTTLS": START},
    NO_RCPT: {"EHLO": READY, "HELO": READY, "RSET": READY, "RCPT": RCPT, "STARTTLS": START},
    RCPT: {
        "EHLO": READY, "HELO": READY, "RSET": READY, "RCPT": RCPT, "DATA": CONTENT, "BDAT": CHUNKS,
        "STARTTLS": START,
    },
    CHUNKS: {"EHLO": READY, "HELO": READY, "RSET": READY, "BDAT": CHUNKS},
    FAILED: {"EHLO": READY, "HELO": READY, "RSET": READY},
    CONTENT: {},
    REFUSED: {"QUIT": REFUSED},
}  # fmt: skip
for _state in (START, READY, MAIL, NO_RCPT, RCPT, CHUNKS, FAILED):
    LEGAL[_state].update(dict.fromkeys(ALWAYS, _state))

#: How a client gets into each state.
WAYS: dict[State, tuple[str, ...]] = {
    START: (),
    READY: ("EHLO client.example",),
    MAIL: ("EHLO client.example", COMMANDS["MAIL"]),
    NO_RCPT: ("EHLO client.example", COMMANDS["MAIL"], "RCPT TO:<no@example.com>"),
    RCPT: ("EHLO client.example", COMMANDS["MAIL"], COMMANDS["RCPT"]),
    CHUNKS: ("EHLO client.example", COMMANDS["MAIL"], COMMANDS["RCPT"], "BDAT 0"),
    FAILED: (
        "EHLO client.example",
        COMMANDS["MAIL"],
        COMMANDS["RCPT"],
        "BDAT 1001\r\n" + "x" * 999,
    ),
    CONTENT: ("EHLO client.example", COMMANDS["MAIL"], COMMANDS["RCPT"], "DATA"),
    REFUSED: (),
}


#: What makes every command one that is served.
SERVED: dict[str, Any] = {
    "login": Login("mx.example", None, (), lambda *arguments: True),
    "auth_require_tls": False,
    "context_factory": object(),
    "trusted_proxies": ["192.0.2.0/24"],
    "data_size_limit": 1000,
}


def client_in(state: State) -> Client:
    """
    A client that has got into a state by saying what leads there.
    """

    def judge(server: object, session: object, envelope: object, address: str, options: object):
        return "550 no" if address.startswith("no@") else None

    greeting = {"handle_CONNECT": "554 no"} if state == REFUSED else {"handle_EXPN": "250 all"}
    session = Session(id="s", via=("192.0.2.9", 1025), can_start_tls=True)
    handlers = (saying(**greeting), Mailbox(), Handler(handle_RCPT=judge))
    client = Client(*handlers, session=session, **SERVED)
    client.greet()
    client.say(*WAYS[state])
    assert client.state == state, client.state
    return client


class DialogTests(SynchronousTestCase):
    """
    The whole table, driven through a dialog.
    """

    def test_complete(self) -> None:
        """
        Every state and every verb of the server is in the table above.
        """
        table = Client().rules.table
        self.assertEqual(set(table), set(LEGAL))
        verbs = {name for name, _ in Client().rules.verbs.values()}
        self.assertEqual(verbs, set(COMMANDS))
        self.assertLessEqual(set(VERBS), set(COMMANDS))
        for state, row in table.items():
            self.assertEqual(LEGAL[state], {name: row[name] for name in row if name in verbs})

    def command(self, client: Client, verb: str) -> list[str]:
        if client.state != CONTENT:
            return client.say(COMMANDS[verb])
        # No line is a command there, so the dialog is asked behind the client's back.
        outcome = conclude(client.dialog.command(COMMANDS[verb].split("\r\n")[0].encode()))
        if isinstance(outcome.then, Body):
            outcome = conclude(client.dialog.content(outcome.then))
        return [f"{reply.code} {reply.status}" for reply in outcome.replies]

    def test_legal(self) -> None:
        """
        What is legal succeeds and leads to the state that is written down.
        """
        for state, row in LEGAL.items():
            for verb, follows in row.items():
                client = client_in(state)
                (said,) = self.command(client, verb)
                self.assertIn(said[0], "23", (state, verb, said))
                self.assertEqual(follows, client.state, (state, verb))
                self.assertEqual(verb == "QUIT", client.closed)

    def test_illegal(self) -> None:
        """
        All else is answered 503 and changes nothing.
        """
        for state, row in LEGAL.items():
            for verb in sorted(set(COMMANDS) - set(row)):
                client = client_in(state)
                envelope = client.envelope
                (said,) = self.command(client, verb)
                nobody = state == NO_RCPT and verb in ("DATA", "BDAT")
                self.assertEqual("554 5.5.1" if nobody else "503 5.5.1", said, (state, verb))
                self.assertEqual(state, client.state, (state, verb))
                self.assertIs(envelope, client.envelope)
                self.assertFalse(client.closed)

    def test_refused(self) -> None:
        """
        What is legal and yet refused leaves the state as it was.
        """
        hooks = ("EHLO", "HELO", "MAIL", "RCPT", "NOOP", "VRFY", "EXPN", "HELP")
        for state, row in LEGAL.items():
            for verb in sorted(set(row).intersection(hooks)):
                for late in (False, True):
                    client = client_in(state)
                    answer = Later() if late else "550 no"
                    if isinstance(answer, Later):
                        answer.answer("550 no")
                    hooked = Client(saying(**{f"handle_{verb}": answer}))
                    client.dialog.hooks = hooked.rules.hooks
                    self.assertEqual("550", self.command(client, verb)[0].split()[0])
                    follows = NO_RCPT if (state, verb) == (MAIL, "RCPT") else state
                    self.assertEqual(follows, client.state, (state, verb))

    def test_unknown(self) -> None:
        """
        An unknown verb is unknown in every state, and out of place behind a refused greeting.
        """
        for state in LEGAL:
            client = client_in(state)
            outcome = conclude(client.dialog.command(b"FROB"))
            expected = 503 if state == REFUSED else 500
            self.assertEqual([expected], [reply.code for reply in outcome.replies])
            self.assertEqual(state, client.state)

    def test_end_of_content(self) -> None:
        """
        Content leads back, be it accepted or refused.
        """
        for state, end in [
            (CONTENT, "x\r\n."), (CONTENT, "x" * 1001 + "\r\n."), (CHUNKS, "BDAT 1 LAST\r\nx"),
            (CHUNKS, "BDAT 1001 LAST\r\n" + "x" * 1001), (FAILED, "BDAT 1 LAST\r\nx"),
        ]:  # fmt: skip
            client = client_in(state)
            client.send(f"{end}\r\n".encode() if state == CONTENT else end.encode())
            self.assertEqual(READY, client.state, (state, end[:20]))
            self.assertIsNone(client.envelope.mail_from)

    def test_failed_chunk(self) -> None:
        for state in (RCPT, CHUNKS):
            client = client_in(state)
            self.assertEqual(["552 5.3.4"], client.say("BDAT 1001\r\n" + "x" * 999))
            self.assertEqual(FAILED, client.state)


class LMTPDialogTests(SynchronousTestCase):
    """
    The same table, as LMTP has it (RFC 2033 section 4).
    """

    def client_in(self, state: State) -> Client:
        client = client_in(state)
        rules = client.rules
        client.dialog.rules = make_rules(
            rules.settings, [Mailbox()], [type(each)(rules.settings) for each in rules.extensions],
            LMTP_VERBS, lmtp=True,
        )  # fmt: skip
        return client

    def command(self, client: Client, line: str) -> str:
        (reply,) = conclude(client.dialog.command(line.encode())).replies
        return f"{reply.code} {reply.status}" if reply.status else str(reply.code)

    def test_lhlo(self) -> None:
        """
        It is legal where EHLO is, and leads there.
        """
        for state, row in LEGAL.items():
            client = self.client_in(state)
            said = self.command(client, "LHLO client.example")
            self.assertEqual("250" if "EHLO" in row else "503 5.5.1", said, state)
            self.assertEqual(row.get("EHLO", state), client.state, state)

    def test_no_ehlo(self) -> None:
        for state, row in LEGAL.items():
            for verb in ("EHLO", "HELO"):
                client = self.client_in(state)
                said = self.command(client, COMMANDS[verb])
                self.assertEqual("500 5.5.1" if verb in row else "503 5.5.1", said, (state, verb))
                self.assertEqual(state, client.state)

    def test_no_recipients(self) -> None:
        """
        Content that nobody is left to receive is out of place, and no failed transaction.
        """
        self.assertEqual("503 5.5.1", self.command(self.client_in(NO_RCPT), "DATA"))

    def test_not_smtp(self) -> None:
        self.assertEqual("500 5.5.2", self.command(client_in(START), "LHLO client.example"))


class AnytimeTests(SynchronousTestCase):
    """
    What is legal in the middle of anything.
    """

    def test_stays(self) -> None:
        for state in (START, READY, MAIL):
            row = anytime(state)
            for verb in ALWAYS:
                self.assertEqual(state, row[verb])

    def test_reset(self) -> None:
        self.assertEqual(START, anytime(START)["RSET"])
        self.assertEqual(READY, anytime(RCPT)["RSET"])


class MergeTests(SynchronousTestCase):
    """
    Extensions bring rows.
    """

    OTHER = State("other")

    def test_join(self) -> None:
        merged = merge([TRANSITIONS, {START: {"FROB": READY}, self.OTHER: {END: READY}}])
        self.assertEqual(READY, merged[START]["FROB"])
        self.assertEqual(START, merged[START]["NOOP"])
        self.assertEqual({END: READY}, merged[self.OTHER])

    def test_leaves_the_parts_alone(self) -> None:
        merge([TRANSITIONS, {START: {"FROB": READY}}])
        self.assertNotIn("FROB", TRANSITIONS[START])

    def test_nothing(self) -> None:
        self.assertEqual({}, merge([]))

    def test_conflict(self) -> None:
        """
        Two that claim the same would hide one another.
        """
        for symbol in ("RCPT", "NOOP", "DATA", refusal_of("RCPT")):
            state = RCPT if symbol == "DATA" else MAIL
            with self.assertRaisesRegex(ValueError, "claimed twice") as caught:
                merge([TRANSITIONS, {state: {symbol: START}}])
            self.assertIn(symbol, str(caught.exception))
            self.assertIn(state, str(caught.exception))

    def test_conflict_between_extensions(self) -> None:
        row = {self.OTHER: {"FROB": READY}}
        self.assertRaises(ValueError, merge, [TRANSITIONS, row, row])
