from __future__ import annotations

import io
import json
import re
from contextlib import redirect_stdout
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import LogEvent, LogLevel, eventAsText, globalLogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from examples import json_log
from txsmtpd.core.replies import LOCAL_ERROR, OK
from txsmtpd.core.session import Envelope, Parameters, Recipient, Session
from txsmtpd.logs import SessionLog, masked
from txsmtpd.testing import Client, RecordingHandler, connect, make_factory

DOCS = Path(__file__).parent.parent / "docs" / "logs.rst"

_ROW = re.compile(r"^``([a-z]+)`` +([a-z]+) *((?:``[a-z_]+``\s*)*)$", re.MULTILINE)


class LogsTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.events: list[LogEvent] = []
        observer: Any = self.events.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def kinds(self) -> list[str]:
        return [event["event"] for event in self.events if "event" in event]

    def event(self, kind: str) -> LogEvent:
        (event,) = (event for event in self.events if event.get("event") == kind)
        return event

    def text(self, kind: str) -> str:
        return eventAsText(self.event(kind), includeTimestamp=False, includeSystem=False)

    def converse(self, *lines: str, handler: object = None, **settings: Any) -> Client:
        client = connect(make_factory(handler or RecordingHandler(), **settings))
        client.send("".join(f"{line}\r\n" for line in lines).encode())
        client.disconnect()
        return client


class MaskedTests(SynchronousTestCase):
    def test_lines(self) -> None:
        for line, shown in {
            b"MAIL FROM:<a@b>": "MAIL FROM:<a@b>",
            b"AUTH": "AUTH",
            b"AUTH PLAIN": "AUTH PLAIN",
            b"auth plain AGEAYg==": "auth plain ********",
            b"AUTH PLAIN  AGEAYg== more": "AUTH PLAIN ********",
            b" AUTH PLAIN AGEAYg==": " AUTH PLAIN ********",
            b"AUTH\tPLAIN AGEAYg==": "AUTH\\tPLAIN ********",
            b"AUTH PLAIN\tAGEAYg==": "AUTH PLAIN ********",
            b"AUTH PLAIN=AGEAYg==": "AUTH ********",
            b"AUTH AGFubgBodW50ZXIy": "AUTH ********",
            b"NOOP \x1b[1m\xff'\"\\": "NOOP \\x1b[1m\\xff\\'\"\\\\",
        }.items():
            self.assertEqual(masked(line, True), shown)

    def test_no_command(self) -> None:
        """
        What comes in place of a command may be an answer to AUTH.
        """
        self.assertEqual(masked(b"aHVudGVyMg==", False), "(12 octets that are no command)")
        self.assertEqual(masked(b"AUTH PLAIN AGEAYg==", False), "AUTH PLAIN ********")


class DialogTests(LogsTestCase):
    MAIL = ("EHLO client.example", "MAIL FROM:<a@example.org>", "RCPT TO:<b@example.org>")

    def test_message(self) -> None:
        """
        One line for the transaction and one for the connection.
        """
        client = self.converse(*self.MAIL, "DATA", "Hello", ".", "QUIT")
        self.assertEqual(self.kinds(), ["transaction", "connection"])
        name = client.protocol.session.id
        self.assertEqual(
            self.text("transaction"),
            f"{name}: message {name}.1 from <a@example.org> to ['b@example.org'], 7 octets:"
            " 250 2.0.0 Message accepted",
        )
        self.assertEqual(
            self.text("connection"),
            f"{name}: client.example [192.0.2.1] left after 1 messages:"
            " Connection was closed cleanly: Connection done.",
        )

    def test_chunks(self) -> None:
        self.converse(*self.MAIL, "BDAT 2", "xxBDAT 7 LAST", "Hello")
        self.assertEqual(self.kinds(), ["transaction", "connection"])

    def test_refused_message(self) -> None:
        handler = RecordingHandler({"DATA": "554 5.6.0 No"})
        self.converse(*self.MAIL, "DATA", "Hello", ".", handler=handler)
        self.assertEqual(self.event("transaction")["reply"], "554 5.6.0 No")
        self.assertEqual(self.event("connection")["messages"], 0)

    def test_refusal(self) -> None:
        handler = RecordingHandler({"RCPT": "550 5.1.1 No"})
        self.converse(*self.MAIL, handler=handler)
        self.assertEqual(self.kinds(), ["refusal", "connection"])
        event = self.event("refusal")
        self.assertEqual((event["verb"], event["code"]), ("RCPT", 550))
        name = event["session"]
        self.assertEqual(event["transaction"], f"{name}.1")
        self.assertEqual(
            self.text("refusal"),
            f"{name}: [192.0.2.1] RCPT TO:<b@example.org> refused: 550 5.1.1 No",
        )

    def test_blanks_behind_a_command(self) -> None:
        self.converse("DATA\t")
        self.assertEqual(self.event("refusal")["verb"], "DATA")

    def test_unknown_command_is_not_shown(self) -> None:
        """
        It may be a password that was typed too early.
        """
        self.converse("hunter2 hunter3")
        self.assertEqual(self.event("refusal")["verb"], "unknown command")
        self.assertNotIn("hunter", repr(self.events))

    def test_timeout(self) -> None:
        client = connect(make_factory(RecordingHandler(), timeout=10))
        client.send(b"EHLO a\r\nPASSWORD")
        client.wait(10)
        self.assertEqual(self.event("refusal")["verb"], "session")

    def test_refused_connection(self) -> None:
        factory = make_factory(RecordingHandler(), max_connections=1)
        connect(factory), connect(factory)
        event = self.event("refusal")
        self.assertEqual((event["session"], event["code"]), ("-", 421))
        self.assertEqual(event["peer"], "192.0.2.1")

    def test_verbose(self) -> None:
        self.converse("NOOP a", "AUTH PLAIN AGEAYg==", "QUIT", verbose=True)
        lines = [event["line"] for event in self.events if event.get("event") == "command"]
        self.assertEqual(lines, ["NOOP a", "AUTH PLAIN ********", "QUIT"])
        lines = [event["line"] for event in self.events if event.get("event") == "reply"]
        self.assertEqual(lines[0], "220 mx.example ESMTP txsmtpd")
        self.assertEqual(len(lines), 4)

    def test_verbose_content(self) -> None:
        """
        A message is nobody's business.
        """
        self.converse(*self.MAIL, "DATA", "Secret", ".", verbose=True)
        self.assertNotIn("Secret", repr([event.get("line") for event in self.events]))

    def test_not_verbose(self) -> None:
        self.converse("NOOP a", "QUIT")
        self.assertEqual(self.kinds(), ["connection"])


class DocumentedTests(LogsTestCase):
    """
    The table in the documentation says what events there are, and what they have.
    """

    def test_table(self) -> None:
        rules: Any = SimpleNamespace(name_of=lambda line: "RCPT")
        log = SessionLog(Session(id="s", peer="/run/socket"), rules)
        log.heard(b"NOOP", secret=False)
        log.said(OK)
        log.junk()
        log.refused(b"RCPT TO:<c@d>", "s.1", LOCAL_ERROR)
        log.introduced(log.session)
        forwarded = {"ADDR": "203.0.113.9"}
        recipient = Recipient("b@example.org", Parameters(), OK)
        envelope = Envelope(forwarded=forwarded)
        message: Any = SimpleNamespace(
            envelope=envelope, recipients=[recipient], size=1, verdicts=[OK]
        )
        log.transaction(message, True)
        log.ended("done")
        log.no_handshake("done")
        log.no_header("done")
        log.failed(ValueError(), False)
        log.failed(CancelledError(), False)
        log.failed(CancelledError(), True)
        log.broken(Failure(ValueError()))
        self.assertEqual(len(self.flushLoggedErrors(ValueError)), 2)
        table = {
            kind: (level, set(re.findall("[a-z_]+", fields)))
            for kind, level, fields in _ROW.findall(DOCS.read_text())
        }
        # What the logger itself adds.
        usual = {"event", "session", "failure", "format", "isError", "message", "system", "time"}
        for event in self.events:
            fields = {
                name
                for name in event.keys() - usual - {"why"}
                if name == "log_failure" or not name.startswith("log_")
            }
            level: Any = event["log_level"]
            self.assertEqual((level.name, fields), table.pop(event["event"]), event["event"])
            self.assertIs(level, LogLevel.lookupByName(level.name))
        self.assertEqual(table, {})

    def test_json(self) -> None:
        with redirect_stdout(io.StringIO()) as written:
            observe = json_log.observer()
        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        self.converse("QUIT")
        (line,) = written.getvalue().splitlines()
        self.assertEqual(json.loads(line)["event"], "connection")
