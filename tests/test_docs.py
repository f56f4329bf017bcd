"""
The documentation says what is so, and its code runs.

Whether Sphinx can make pages of it is not tested here, because that takes seconds: it is a step of
``.ci/run``.
"""

from __future__ import annotations

import re
from base64 import b64encode
from itertools import chain
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import attrs
from twisted.cred.checkers import ICredentialsChecker
from twisted.cred.credentials import UsernamePassword
from twisted.cred.error import UnauthorizedLogin
from twisted.cred.strcred import ICheckerFactory
from twisted.internet import task
from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.scripts.twistd import ServerOptions  # type: ignore[attr-defined]
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyObject

from docs._ext import diagram, facts
from docs.code import (
    authenticator,
    checkers,
    extension,
    lookup,
    mechanism,
    outbox,
    ping,
    plugin,
    realm,
    stop,
    stream,
    submission,
    test_printer,
    test_transcript,
    test_verdicts,
    verifier,
)
from txsmtpd import interfaces
from txsmtpd.core import states
from txsmtpd.core.hooks import HOOKS
from txsmtpd.core.session import Session
from txsmtpd.core.settings import Settings
from txsmtpd.factory import OPTIONAL
from txsmtpd.handlers import BUILTIN
from txsmtpd.sasl import BearerToken, ClientCertificate
from txsmtpd.tap import Options
from txsmtpd.testing import Client, RecordingHandler, connect, make_factory
from txsmtpd.tls import self_signed
from txsmtpd.users import UsersFile

from .certificates import CA, make_ca

ROOT = Path(__file__).parent.parent
PAGES = sorted((ROOT / "docs").rglob("*.rst"))

_OPENING = b"EHLO client.example\r\nMAIL FROM:<ann@example.com>\r\n"
_INCLUDE = re.compile(r"^\.\. literalinclude:: (\S+)$", re.MULTILINE)


class _NoThreads(task.Clock):
    """
    What a file of users needs of a reactor and its threads.
    """

    def callFromThread(self, function: Any, *arguments: Any) -> None:
        function(*arguments)

    def callInThreadWithCallback(self, done: Any, function: Any, *arguments: Any) -> None:
        done(True, function(*arguments))


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


class ExtensionsTests(SynchronousTestCase):
    def test_each_is_in_the_table(self) -> None:
        handler: Any = RecordingHandler()
        handler.honours = tuple(OPTIONAL)
        factory = make_factory(
            handler,
            context_factory=self_signed("mx.example"),
            authenticator=lambda *arguments: True,
            trusted_proxies=["192.0.2.0/24"],
        )
        clear = Session(via=("192.0.2.1", 25), can_start_tls=True)
        sessions = [clear, Session(via=clear.via, ssl={})]
        lines = {each.keyword(session) for each in factory.rules.extensions for session in sessions}
        offered = {line.split(" ")[0] for line in lines if line is not None}
        table = read("reference/extensions.rst").split("====\n")[3]
        rows = re.findall(r"^([A-Z0-9-]+)(?:, ([A-Z]+))? ", table, re.MULTILINE)
        self.assertEqual({name for row in rows for name in row if name}, offered)


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
            if symbol in ("EHLO", "HELO", "LHLO", "RSET"):
                self.assertEqual(follows, "start" if state == "start" else "ready")
            else:
                self.assertIn(symbol, ("NOOP", "HELP", "VRFY", "EXPN", "QUIT"))
                self.assertEqual(follows, state)

    def test_arrows(self) -> None:
        arrows = facts.arrows(facts.table())
        self.assertEqual(arrows["start", "ready"], ["EHLO", "HELO", "LHLO"])
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
        settings: dict[str, Any] = {"hostname": "a", "auth_require_tls": False}
        client = connect(
            extension.make_factory(
                RecordingHandler(),
                reactor=task.Clock(),
                authenticator=lambda *arguments: True,
                **settings,
            )
        )
        client.send(b"EHLO client.example\r\n")
        self.assertNotIn(b"XCAMPAIGN", client.take())
        self.said(client, "AUTH PLAIN AGFubgB3b25kZXJsYW5k")
        client.send(b"EHLO client.example\r\n")
        self.assertIn(b"250-XCAMPAIGN\r\n", client.take())
        for value, code in {
            "=spring+20sale": "250", "=+zz": "501", f"={'x' * 41}": "501", "=": "501", "": "501",
        }.items():  # fmt: skip
            (reply,) = self.said(client, f"MAIL FROM:<a@b.example> XCAMPAIGN{value}")
            self.assertEqual(reply[:3], code)
            if code == "250":
                self.assertEqual(client.protocol.envelope.campaign, "spring sale")
                self.said(client, "RSET")

    def test_outbox(self) -> None:
        handler, clock = outbox.Outbox(), task.Clock()
        client = connect(make_factory(handler, reactor=clock))
        client.send(b"EHLO client.example\r\n")
        said = client.take()
        self.assertIn(b"\r\n250-FUTURERELEASE ", said)
        self.assertIn(b"\r\n250-MT-PRIORITY\r\n", said)
        for number, parameters in enumerate(("", "HOLDFOR=60", "MT-PRIORITY=-3", "MT-PRIORITY=5")):
            sender, *replies = self.said(
                client,
                f"MAIL FROM:<{number}@a.example> {parameters}",
                "RCPT TO:<b@c.example>",
                "BDAT 0 LAST",
            )
            self.assertEqual(sender[4:9], "2.3.6" if "=5" in parameters else "2.1.0")
            self.assertEqual(replies[-1], f"250 2.0.0 {number + 1} waiting")

        def due() -> list[str]:
            return [str(each.mail_from)[0] for each in handler.due(clock.seconds())]

        self.assertEqual((due(), due()), (["0", "3", "2"], []))
        clock.advance(59)
        self.assertEqual(due(), [])
        clock.advance(1)
        self.assertEqual(due(), ["1"])

    def plain(self, name: str, password: str) -> str:
        return "AUTH PLAIN " + b64encode(f"\0{name}\0{password}".encode()).decode()

    def greeted(self, factory: Any) -> Client:
        client = connect(factory)
        client.send(b"EHLO client.example\r\n")
        client.take()
        return client

    def users(self, *lines: str) -> str:
        path = Path(self.mktemp())
        path.write_text("".join(f"{line}\n" for line in lines))
        path.chmod(0o600)
        return str(path)

    def test_submission(self) -> None:
        reactor: Any = MemoryReactorClock()
        pairs = [make_ca("Test CA").issue("mx.example").write(self.mktemp())]
        users = self.users("ann:secret")
        self.successResultOf(submission.listen(reactor, RecordingHandler(), pairs, users))
        starttls, implicit = reactor.tcpServers
        self.assertEqual([starttls[0], implicit[0]], [587, 465])
        for _, factory, _, _ in (starttls, implicit):
            settings = factory.settings
            self.assertTrue(settings.require_starttls and settings.auth_required)
            self.assertEqual(settings.implicit_tls, factory is implicit[1])
            self.assertIsNotNone(settings.context_factory)

    def test_realm(self) -> None:
        user = realm.User("ann@example.com")
        path = self.users("ann@example.com:secret")
        settings = {"hostname": "a", "reactor": task.Clock(), "auth_require_tls": False}
        factory = realm.make_factory(RecordingHandler(), [user], path, **settings)
        client = self.greeted(factory)
        said = self.said(
            client,
            "MAIL FROM:<ann@example.com>",
            self.plain("ann@example.com", "secret"),
            "MAIL FROM:<eve@example.com>",
            "MAIL FROM:<ann@example.com>",
        )
        codes = ["530 5.7.0", "235 2.7.0", "550 5.7.1", "250 2.1.0"]
        self.assertEqual([reply[:9] for reply in said], codes)
        self.assertEqual(user.connections, 1)
        client.disconnect()
        self.assertEqual(user.connections, 0)

    def test_authenticator(self) -> None:
        factory = make_factory(
            RecordingHandler(), authenticator=authenticator.authenticate, auth_require_tls=False
        )
        for password, code, data in (("wonderland", b"235", b"ann"), ("?", b"535", None)):
            client = self.greeted(factory)
            client.send(f"{self.plain('ann', password)}\r\n".encode())
            client.wait(0.1)
            client.wait(1)
            self.assertEqual(client.take()[:3], code)
            self.assertEqual(client.protocol.session.auth_data, data)

    def test_mechanism(self) -> None:
        """
        In both ways, with and without an initial response.
        """
        visitors = make_factory(mechanism.Visitors(), auth_require_tls=False)
        more = mechanism.make_factory(
            RecordingHandler(), hostname="a", reactor=task.Clock(), auth_require_tls=False
        )
        for factory in (visitors, more):
            for lines in (["AUTH ANONYMOUS ZXZl"], ["AUTH ANONYMOUS", "ZXZl"]):
                client = self.greeted(factory)
                self.assertEqual(self.said(client, *lines)[-1][:9], "235 2.7.0")
                self.assertEqual(client.protocol.session.auth_data, "a visitor")
        long = b64encode(b"x" * 256).decode()
        client = self.greeted(visitors)
        said = self.said(client, "MAIL FROM:<a@b.example>", f"AUTH ANONYMOUS {long}")
        self.assertEqual([reply[:9] for reply in said], ["530 5.7.0", "501 5.5.2"])
        said = self.said(client, "AUTH ANONYMOUS =", "MAIL FROM:<a@b.example>")
        self.assertEqual(said[1], "250 2.1.0 Welcome, a visitor")

    def test_verifier(self) -> None:
        """
        A file of users takes it, and the password fits.
        """
        path = self.users(f"ann:{verifier.verifier('sécret')}")
        threads = _NoThreads()
        checker = UsersFile(path, threads, threads)
        for password, good in (("sécret", True), ("secret", False)):
            credentials = UsernamePassword(b"ann", password.encode())
            answer = checker.requestAvatarId(credentials)
            if good:
                self.assertEqual(self.successResultOf(answer), b"ann")
            else:
                self.failureResultOf(answer, UnauthorizedLogin)
        self.assertEqual(checker.scram_hashes, {"sha256"})

    def asked(self, checker: Any, credentials: Any) -> Any:
        """
        :return: who it is, or None.
        """
        answer = checker.requestAvatarId(credentials)
        return self.successResultOf(answer.addErrback(lambda failure: None))

    def test_certificates(self) -> None:
        checker = plugin.by_certificate.generateChecker("example.com")
        ca: CA = make_ca("Test CA")
        ann, bob = b"ann@example.com", b"bob@example.org"
        for authzid, names, who in (
            (b"", [ann], ann),
            (ann, [ann], ann),
            (bob, [ann], None),
            (b"", [bob], None),
            (b"", [bob, ann], ann),
            (bob, [bob, ann], None),
            (b"", [], None),
        ):
            pair = ca.issue(*(each.decode() for each in names), client=True, common_name="x")
            credentials = ClientCertificate(authzid, pair.der)
            self.assertEqual(self.asked(checker, credentials), who, (authzid, names))

    def test_tokens(self) -> None:
        checker = plugin.by_token.generateChecker(self.users("ann:t1", "bob:t2"))
        for token, name, who in (
            (b"t1", b"", b"ann"),
            (b"t1", b"ann", b"ann"),
            (b"t1", b"bob", None),
            (b"t2", b"", b"bob"),
            (b"t3", b"", None),
        ):
            self.assertEqual(self.asked(checker, BearerToken(token, name)), who)
        self.assertNotIn("t1", repr(checker))

    def test_plugin(self) -> None:
        """
        What each factory says of itself is what its checkers are.
        """
        path = self.users("ann:t1")
        for factory, argument in ((plugin.by_certificate, "a.example"), (plugin.by_token, path)):
            verifyObject(ICheckerFactory, factory)
            checker = factory.generateChecker(argument)
            verifyObject(ICredentialsChecker, checker)
            self.assertEqual(checker.credentialInterfaces, factory.credentialInterfaces)
        self.assertIsInstance(plugin.by_token, checkers.ByTokenFactory)

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
