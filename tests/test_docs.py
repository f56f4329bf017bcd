"""
The documentation says what is so, and its code runs.

Whether Sphinx can make pages of it is not tested here, because that takes seconds: it is a step of
``.ci/run``.
"""

from __future__ import annotations

import re
from itertools import chain
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import attrs
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.interface import InterfaceClass

from docs._ext import diagram, facts
from docs.code import (
    extension,
    lookup,
    ping,
    stop,
    stream,
    test_printer,
    test_transcript,
    test_verdicts,
)
from txsmtpd import interfaces
from txsmtpd.core import states
from txsmtpd.core.hooks import HOOKS
from txsmtpd.core.settings import Settings
from txsmtpd.handlers import BUILTIN
from txsmtpd.tap import Options
from txsmtpd.testing import Client, RecordingHandler, connect, make_factory

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.rst"))

_INCLUDE = re.compile(r"^\.\. literalinclude:: (\S+)$", re.MULTILINE)
_OPENING = b"EHLO client.example\r\nMAIL FROM:<ann@example.com>\r\n"


def read(name: str) -> str:
    return (ROOT / "docs" / name).read_text()


class PageTests(SynchronousTestCase):
    def test_included_files_are_tested(self) -> None:
        """
        What is shown as a file is one, and some test names it, or the folder that it is in.
        """
        here = Path(__file__).parent
        tests = "".join(path.read_text() for path in here.rglob("test_*.py"))
        included = [
            (page.parent / name).resolve()
            for page in PAGES
            for name in _INCLUDE.findall(page.read_text())
        ]
        self.assertGreater(len(included), 10)
        for path in included:
            self.assertTrue(path.is_file(), path)
            names = [path.stem, *({path.parent.name} - {"code", "examples"})]
            self.assertTrue(any(name in tests for name in names), path)

    def test_no_python_but_in_files(self) -> None:
        for page in PAGES:
            self.assertNotIn("code-block:: py", page.read_text(), page)

    def test_options_that_are_spoken_of(self) -> None:
        known = {name.rstrip("=") for name in (*Options().longOpt, *ServerOptions().longOpt)}
        for page in PAGES:
            spoken_of = set(re.findall(r"(?<![\w-])--([a-z][a-z0-9-]*)", page.read_text()))
            self.assertEqual(spoken_of - known - {"now"}, set(), page)


class OptionsTests(SynchronousTestCase):
    def test_help_lists_the_same(self) -> None:
        shown = re.findall(r"^ +(?:-\w, )?(--[a-z0-9-]+)", Options().getUsage(), re.MULTILINE)
        described = [option.names[0] for option in facts.options()]
        self.assertEqual(sorted(described), sorted(set(shown)))

    def test_values(self) -> None:
        options = {option.names[0]: option for option in facts.options()}
        self.assertEqual(options["--port"].names, ("--port", "-p"))
        self.assertTrue(options["--port"].takes_value)
        self.assertFalse(options["--lenient"].takes_value)
        for option in options.values():
            self.assertTrue(option.help, option)

    def test_settings(self) -> None:
        filled = {option.names[0]: option.setting for option in facts.options()}
        self.assertEqual(filled["--size-limit"], "data_size_limit")
        self.assertEqual(filled["--no-smtputf8"], "enable_SMTPUTF8")
        self.assertEqual(filled["--bare-newline"], "bare_newline")
        self.assertIsNone(filled["--port"])

    def test_lines(self) -> None:
        text = "\n".join(facts.option_lines())
        self.assertIn(".. option:: --handler <value>, -H <value>\n", text)
        self.assertIn(".. option:: --lenient\n", text)

    def test_handlers(self) -> None:
        text = "\n".join(facts.handler_lines())
        for handler in BUILTIN.values():
            self.assertIn(f"``{handler.syntax}``\n    {handler.help}", text)


class SettingsTests(SynchronousTestCase):
    def test_each_is_described(self) -> None:
        names = [field.name for field in attrs.fields(Settings)]
        self.assertEqual(list(facts.settings()), names)
        text = "\n".join(facts.setting_lines())
        for name in names:
            self.assertIn(f".. py:attribute:: Settings.{name}\n", text)


class HooksTests(SynchronousTestCase):
    def test_each_is_in_the_table(self) -> None:
        text = "\n".join(facts.hook_lines())
        for method, interface in HOOKS.items():
            self.assertIn(f"``{method}(", text)
            self.assertIn(f".{interface.__name__}`", text)

    def test_each_interface_is_on_the_page(self) -> None:
        shown = re.findall(r"autointerface:: (\w+)", read("reference/hooks.rst"))
        known = [
            name
            for name, value in vars(interfaces).items()
            if isinstance(value, InterfaceClass) and value.__module__ == interfaces.__name__
        ]
        self.assertEqual(sorted(shown), sorted(known))


class RepliesTests(SynchronousTestCase):
    def test_each_has_a_meaning(self) -> None:
        said = re.findall(r"^   ([A-Z0-9_]+): \S", read("reference/replies.rst"), re.MULTILINE)
        self.assertEqual(sorted(said), sorted(facts.known_replies()))

    def test_table(self) -> None:
        lines = list(facts.reply_lines(["BYE: when: QUIT"]))
        self.assertEqual(lines[-2:], ["   * - ``221 2.0.0 Bye``", "     - when: QUIT"])


class StatesTests(SynchronousTestCase):
    def test_nothing_is_left_out(self) -> None:
        """
        The arrows, and what the page says of all states at once, are the whole table.
        """
        table = facts.table()
        drawn = {
            (state, symbol, follows)
            for (state, follows), symbols in facts.arrows(table).items()
            for symbol in symbols
        }
        entries = {
            (state, symbol, follows)
            for state, row in table.items()
            for symbol, follows in row.items()
        }
        self.assertLess(drawn, entries)
        for state, symbol, follows in entries - drawn:
            if symbol in ("EHLO", "HELO", "RSET"):
                self.assertEqual(follows, "start" if state == "start" else "ready")
            else:
                self.assertIn(symbol, ("NOOP", "HELP", "VRFY", "EXPN", "QUIT"))
                self.assertEqual(follows, state)

    def test_arrows(self) -> None:
        arrows = facts.arrows(facts.table())
        self.assertEqual(arrows["start", "ready"], ["EHLO", "HELO"])
        self.assertEqual(arrows["mail", "no rcpt"], ["(RCPT refused)"])
        self.assertEqual(arrows["rcpt", "chunks"], ["BDAT"])

    def test_diagram(self) -> None:
        text = ElementTree.fromstring(diagram.svg()).itertext()
        words = {word.strip() for word in text}
        table = facts.table()
        self.assertLess(set(table), words)
        symbols = chain.from_iterable(facts.arrows(table).values())
        self.assertLess({symbol.strip("()") for symbol in symbols}, words)

    def test_new_state_is_drawn(self) -> None:
        new = states.State("a <new> state")
        table = {**facts.table(), new: {"MAIL": states.READY}}
        self.patch(diagram, "table", lambda: table)
        self.assertIn("a <new> state", set(ElementTree.fromstring(diagram.svg()).itertext()))

    def test_table(self) -> None:
        text = "\n".join(facts.state_lines())
        self.assertIn("   * - **content**\n     - (end of content)\n     - ready", text)


class PrinterTests(test_printer.PrinterTests):
    """
    That of the tutorial.
    """


class VerdictTests(test_verdicts.VerdictTests):
    """
    That of the page on tests.
    """


class TranscriptTests(test_transcript.DialogTests):
    """
    Likewise.
    """


class CodeTests(SynchronousTestCase):
    def said(self, client: Client, *lines: str) -> list[str]:
        """
        :return: the last line of each reply.
        """
        client.send("".join(f"{line}\r\n" for line in lines).encode())
        return [line for line in client.take().decode().splitlines() if line[3] == " "]

    def opened(self, factory: Any) -> Client:
        client = connect(factory)
        client.send(_OPENING)
        client.take()
        return client

    def test_lookup(self) -> None:
        for handler in (lookup.AtOnce(), lookup.WithDeferred(), lookup.AsCoroutine()):
            client = self.opened(make_factory(handler))
            client.send(b"RCPT TO:<ann@example.org>\r\nRCPT TO:<eve@example.org>\r\n")
            client.wait(0.1)
            client.wait(0.1)
            self.assertEqual(
                client.take(),
                b"250 2.1.5 Recipient OK\r\n550 5.1.1 No such user\r\n",
                type(handler).__name__,
            )

    def test_stream(self) -> None:
        client = self.opened(make_factory(stream.Checksum()))
        said = self.said(client, "RCPT TO:<bob@example.org>", "DATA", "Hello", ".")
        self.assertRegex(said[-1], r"^250 2\.0\.0 [0-9a-f]{64}$")
        client = self.opened(make_factory(stream.Checksum()))
        self.said(client, "RCPT TO:<bob@example.org>", "DATA", "Hello")
        client.disconnect()
        self.assertTrue(client.closed)

    def test_ping(self) -> None:
        client = connect(ping.PingFactory(RecordingHandler(), reactor=task.Clock(), hostname="a"))
        client.take()
        said = self.said(client, "PING you", "NOOP", "HELP PING")
        self.assertEqual(
            said, ["250 2.0.0 PONG you", "250 2.0.0 OK", "214 2.0.0 Syntax: PING [text]"]
        )
        self.assertEqual(client.protocol.session.notes, {"noops": 1})

    def test_ping_listens(self) -> None:
        reactor: Any = MemoryReactorClock()
        running = Deferred.fromCoroutine(ping.main(reactor))
        self.assertNoResult(running)
        ((port, _, _, _),) = reactor.tcpServers
        self.assertEqual(port, 2525)

    def test_extension(self) -> None:
        handler = RecordingHandler()
        client = connect(extension.make_factory(handler, reactor=task.Clock(), hostname="a"))
        client.send(b"EHLO client.example\r\n")
        self.assertIn(b"250-MT-PRIORITY\r\n", client.take())
        for value, code in {"=-3": "250", "=10": "501", "=+3": "501", "": "501"}.items():
            (reply,) = self.said(client, f"MAIL FROM:<a@b.example> MT-PRIORITY{value}")
            self.assertEqual(reply[:3], code)
            if code == "250":
                self.assertEqual(client.protocol.envelope.priority, -3)
                self.said(client, "RSET")

    def test_stop(self) -> None:
        class Port:
            stopped = False

            def stopListening(self) -> None:
                self.stopped = True

        factory = make_factory(RecordingHandler())
        client = connect(factory)
        port: Any = Port()
        stopping = Deferred.fromCoroutine(stop.stop(port, factory))
        client.pump()
        self.successResultOf(stopping)
        self.assertTrue(port.stopped)
        self.assertTrue(client.closed)
