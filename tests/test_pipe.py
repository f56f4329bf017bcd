"""
Tests for txsmtpd.handlers.pipe.

Real commands are in tests.interop.test_handlers.
"""

from __future__ import annotations

import errno
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.error import ProcessDone, ProcessExitedAlready, ProcessTerminated
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsmtpd.core.replies import TOO_MANY_RECIPIENTS, Reply
from txsmtpd.core.session import Envelope, Parameters, Session
from txsmtpd.extensions.dsn import DSN
from txsmtpd.handlers import Pipe, make_handler
from txsmtpd.handlers import pipe as module
from txsmtpd.handlers.base import HandlerError
from txsmtpd.handlers.disk import MEMORY
from txsmtpd.handlers.pipe import LAST_WORDS, PARALLEL, ROOM, SAID, STOPPING, environment
from txsmtpd.interfaces import IContentHook, IContentReceiver, IRCPTHook

from .spoolkit import BODY, Server, SpoolCase, make_envelope, make_session, recipients

FAILED = "451 4.3.0 Local error, try again later"


class Process:
    """
    A process that runs until the test ends it, and its transport.
    """

    def __init__(self, protocol: Any, path: str, words: list[str], env: Any, files: Any) -> None:
        self.protocol = protocol
        self.path, self.words, self.env = path, words, env
        self.outputs = {number: way for number, way in files.items() if number}
        # It has a descriptor of its own.
        with os.fdopen(os.dup(files[0]), "rb") as file:
            self.input = file.read()
        self.signals: list[str] = []
        #: What a signal raises.
        self.immune: Exception | None = None
        self.closed = False
        protocol.makeConnection(self)

    def signalProcess(self, name: str) -> None:
        self.signals.append(name)
        if self.immune is not None:
            raise self.immune

    def loseConnection(self) -> None:
        self.closed = True
        self.protocol.processEnded(None)

    def say(self, words: bytes, number: int = 1) -> None:
        self.protocol.childDataReceived(number, words)

    def exit(self, status: int = 0, killed: int | None = None) -> None:
        """
        End, while something else still has its output.
        """
        if status or killed:
            reason: Exception = ProcessTerminated(None if killed else status, killed)
        else:
            reason = ProcessDone(0)
        self.protocol.processExited(Failure(reason))

    def end(self, status: int = 0, killed: int | None = None) -> None:
        self.exit(status, killed)
        self.protocol.processEnded(None)


class Reactor(Clock):
    """
    Starts processes that are none.
    """

    def __init__(self) -> None:
        super().__init__()
        self.processes: list[Process] = []
        #: Why none can be started.
        self.error: Exception | None = None

    def spawnProcess(self, protocol: Any, path: str, words: Any, env: Any, childFDs: Any) -> None:
        if self.error is not None:
            raise self.error
        self.processes.append(Process(protocol, path, list(words), env, childFDs))


class PipeCase(SpoolCase):
    """
    A command on a reactor that has no processes.
    """

    def setUp(self) -> None:
        super().setUp()
        self.reactor = Reactor()
        self.pipe = Pipe(["true"], run=maybeDeferred)
        # Nothing waits for something that has ended.
        self.addCleanup(lambda: self.assertEqual(self.reactor.getDelayedCalls(), []))

    def receiver(self, pipe: Pipe | None = None, **envelope: Any) -> Any:
        session = make_session(self.reactor)
        return (pipe or self.pipe).open_content(Server(), session, make_envelope(**envelope))

    def start(self, *chunks: bytes, pipe: Pipe | None = None) -> Deferred[Any]:
        receiver = self.receiver(pipe)
        for chunk in chunks or (BODY,):
            receiver.write(chunk)
        return self.finished(receiver)

    def verdict(self, *ending: Any, **endings: Any) -> str:
        """
        That of one message.
        """
        done = self.start()
        self.reactor.processes[-1].end(*ending, **endings)
        return str(self.successResultOf(done))

    def said(self) -> list[str]:
        """
        What was logged, without what all of it has.
        """
        for event in self.complaints():
            told = [event[name] for name in ("event", "transaction", "command")]
            self.assertEqual(told, ["pipe", "abc1", "true"])
        return [f"{event['reason']}: {event['said']}" for event in self.complaints()]


class RunTests(PipeCase):
    """
    One message, one process.
    """

    def test_interfaces(self) -> None:
        verifyObject(IContentHook, self.pipe)
        verifyObject(IRCPTHook, self.pipe)
        verifyObject(IContentReceiver, self.receiver())

    def test_message(self) -> None:
        done = self.start()
        [process] = self.reactor.processes
        self.assertNoResult(done)
        self.assertRegex(
            process.input,
            rb"\AReturn-Path: <a@example\.org>\nReceived: from client\.example [^;]+;\n\t[^\n]+\n"
            rb"Subject: x\n\nHello\n\Z",
        )
        self.assertEqual(process.outputs, {1: "r", 2: "r"})
        process.end()
        self.assertEqual(str(self.successResultOf(done)), "250 2.0.0 Message accepted")
        self.assertEqual(self.said(), [])

    def test_large(self) -> None:
        self.start(b"x\r\n" * MEMORY)
        [process] = self.reactor.processes
        self.assertTrue(process.input.endswith(b"\n" + b"x\n" * MEMORY))
        process.end()

    def test_words(self) -> None:
        """
        None of them is the client's.
        """
        pipe = Pipe(["true", "a b", "$SENDER", "-x"], run=maybeDeferred)
        self.start(pipe=pipe)
        [process] = self.reactor.processes
        self.assertEqual(process.words, ["true", "a b", "$SENDER", "-x"])
        self.assertIn(process.path, ("/bin/true", "/usr/bin/true"))
        process.end()

    def test_told(self) -> None:
        self.start()
        [process] = self.reactor.processes
        self.assertEqual(process.env[b"SENDER"], b"a@example.org")
        self.assertEqual(process.env[b"PATH"], os.environb[b"PATH"])
        process.end()

    def test_statuses(self) -> None:
        """
        As sys_exits.c of Postfix has them; all others, which that takes for 5.3.0, are no verdict.
        """
        expected = {
            0: "250 2.0.0",
            64: "554 5.3.0",
            65: "554 5.6.0",
            66: "554 5.3.0",
            67: "550 5.1.1",
            68: "550 5.1.2",
            69: "554 5.3.0",
            70: "554 5.3.0",
            71: "451 4.3.0",
            72: "554 5.3.0",
            73: "554 5.2.0",
            74: "554 5.3.0",
            75: "451 4.3.0",
            76: "554 5.5.0",
            77: "550 5.7.0",
            78: "554 5.3.5",
        }
        for status in range(256):
            verdict = self.verdict(status)
            self.assertEqual(verdict[:9], expected.get(status, "451 4.3.0"), status)
        self.assertEqual(len(self.said()), 255)
        self.assertEqual(self.said()[:2], ["it ended with 1: ", "it ended with 2: "])

    def test_signal(self) -> None:
        self.assertEqual(self.verdict(killed=signal.SIGSEGV), FAILED)
        self.assertEqual(self.said(), ["it was ended by a signal: "])

    def test_output(self) -> None:
        """
        Some of it goes to the log, and nothing to the client or a terminal that shows the log.
        """
        done = self.start()
        [process] = self.reactor.processes
        process.say(b"out \x1b[2J\xff\r\n")
        process.say(b"err\0" + b"x" * SAID, 2)
        process.say(b"y" * SAID)
        process.end(67)
        self.assertEqual(str(self.successResultOf(done)), "550 5.1.1 User unknown")
        said = "out  [2J\ufffd  err " + "x" * SAID
        self.assertEqual(self.said(), ["it ended with 67: " + said[:SAID]])

    def test_left_behind(self) -> None:
        """
        The end of the command counts, not that of what it has left in the background.
        """
        done = self.start()
        [process] = self.reactor.processes
        process.exit(75)
        process.say(b"late")
        self.assertNoResult(done)
        self.reactor.advance(LAST_WORDS)
        self.assertTrue(process.closed)
        self.assertEqual(str(self.successResultOf(done)), "451 4.3.0 Temporary failure")
        self.assertEqual(self.said(), ["it ended with 75: late"])

    def test_cannot_start(self) -> None:
        for number in (errno.ENOENT, errno.EACCES, errno.E2BIG, errno.EMFILE, errno.EAGAIN):
            self.reactor.error = OSError(number, "a reason")
            self.assertEqual(str(self.successResultOf(self.start())), FAILED)
        self.assertEqual(self.said(), ["it cannot be started: a reason: "] * 5)

    def test_defect(self) -> None:
        """
        Anything else is for the core to log.
        """
        self.reactor.error = ZeroDivisionError()
        self.failureResultOf(self.start(), ZeroDivisionError)
        self.assertEqual(self.said(), [])

    def test_not_there(self) -> None:
        """
        It was there when the server started.
        """
        self.start(pipe=Pipe(["/no/such/command"], run=maybeDeferred))
        [process] = self.reactor.processes
        self.assertEqual(process.path, "/no/such/command")
        process.end()


class TurnTests(PipeCase):
    """
    Not too many at a time, and none for nobody.  `SpoolCase` looks whether files are closed.
    """

    def setUp(self) -> None:
        super().setUp()
        self.pipe = Pipe(["true"], parallel=2, run=maybeDeferred)

    def test_parallel(self) -> None:
        first, second, third = (self.start() for _ in range(3))
        self.assertEqual(len(self.reactor.processes), 2)
        self.reactor.processes[1].end()
        self.successResultOf(second)
        self.assertEqual(len(self.reactor.processes), 3)
        self.assertNoResult(third)
        for process in (self.reactor.processes[0], self.reactor.processes[2]):
            process.end()
        self.successResultOf(first)
        self.successResultOf(third)

    def test_default(self) -> None:
        pipe = Pipe(["true"], run=maybeDeferred)
        for _ in range(PARALLEL + 1):
            self.start(pipe=pipe)
        self.assertEqual(len(self.reactor.processes), PARALLEL)
        for process in [*self.reactor.processes]:
            process.end()
        self.reactor.processes[-1].end()

    def test_turn_after_a_failure(self) -> None:
        self.reactor.error = OSError(errno.EAGAIN, "a reason")
        for _ in range(3):
            self.successResultOf(self.start())
        self.reactor.error = None
        self.assertEqual(self.verdict(), "250 2.0.0 Message accepted")

    def test_too_slow(self) -> None:
        """
        It is killed, and its turn lasts until it has ended.
        """
        slow, other, third = (self.start() for _ in range(3))
        slow.cancel()
        self.failureResultOf(slow, CancelledError)
        process = self.reactor.processes[0]
        self.assertEqual(process.signals, ["KILL"])
        self.assertEqual(len(self.reactor.processes), 2)
        process.say(b"half")
        process.end(killed=signal.SIGKILL)
        self.assertEqual(self.said(), ["it took too long: half"])
        self.assertEqual(len(self.reactor.processes), 3)
        for process in self.reactor.processes[1:]:
            process.end()
        self.successResultOf(other)
        self.successResultOf(third)

    def test_cannot_be_killed(self) -> None:
        """
        It has ended just now, or it is somebody else's.
        """
        for error in (ProcessExitedAlready(), PermissionError()):
            done = self.start()
            process = self.reactor.processes[-1]
            process.immune = error
            done.cancel()
            self.failureResultOf(done, CancelledError)
            process.end()

    def test_turn_too_late(self) -> None:
        """
        Its file is closed at once, and it never runs.
        """
        first, second, third = (self.start() for _ in range(3))
        self.assertEqual(self.files[2].closes, 0)
        third.cancel()
        self.failureResultOf(third, CancelledError)
        self.assertEqual(self.files[2].closes, 1)
        for process in self.reactor.processes:
            process.end()
        self.successResultOf(first)
        self.successResultOf(second)
        self.assertEqual(len(self.reactor.processes), 2)
        self.assertEqual(self.said(), ["its turn did not come in time: "])

    def test_stop(self) -> None:
        """
        Commands end with the server, and none begins then.
        """
        messages = [self.start() for _ in range(3)]
        stopped = Deferred.fromCoroutine(self.pipe.stop())
        first, second = self.reactor.processes
        self.assertEqual([first.signals, second.signals], [["KILL"], ["KILL"]])
        first.end(killed=signal.SIGKILL)
        self.assertNoResult(stopped)
        second.end(killed=signal.SIGKILL)
        self.assertIsNone(self.successResultOf(stopped))
        self.assertEqual(len(self.reactor.processes), 2)
        self.assertEqual([str(self.successResultOf(each)) for each in messages], [FAILED] * 3)
        # Those that have ended by themselves are nobody's business.
        self.successResultOf(Deferred.fromCoroutine(self.pipe.stop()))

    def test_stop_in_vain(self) -> None:
        """
        One that cannot be killed does not keep the server.
        """
        message = self.start()
        [process] = self.reactor.processes
        process.immune = PermissionError()
        stopped = Deferred.fromCoroutine(self.pipe.stop())
        self.reactor.advance(STOPPING - 1)
        self.assertNoResult(stopped)
        self.reactor.advance(1)
        self.assertIsNone(self.successResultOf(stopped))
        process.end()
        self.successResultOf(message)

    def test_parent_keeps_no_file(self) -> None:
        """
        The command has a descriptor of its own.
        """
        self.start()
        self.assertEqual(self.files[0].closes, 1)
        self.reactor.processes[0].end()


class EnvironmentTests(SynchronousTestCase):
    """
    What a command is told.
    """

    def setUp(self) -> None:
        self.patch(os, "environ", {"PATH": "/bin", "TZ": "Europe/Berlin", "SECRET": "x"})

    def told(self, session: Session | None = None, **facts: Any) -> dict[str, str]:
        found = environment(session or make_session(), make_envelope(**facts))
        return {name.decode(): value.decode() for name, value in found.items()}

    def test_all(self) -> None:
        session = make_session(
            client_name="host.example", authenticated=True, login_data=b"ann", peer=("::1", 1, 0, 0)
        )
        told = self.told(
            session,
            protocol="ESMTPSA",
            auth="bob@example.com",
            dsn=DSN("HDRS", "QQ314159"),
            rcpt_tos=["joe+list@example.com"],
            recipients=recipients("Joe@alias.example"),
        )
        self.assertEqual(
            told,
            {
                "PATH": "/bin",
                "TZ": "Europe/Berlin",
                "SENDER": "a@example.org",
                "RECIPIENT": "joe+list@example.com",
                "ORIGINAL_RECIPIENT": "Joe@alias.example",
                "CLIENT_ADDRESS": "::1",
                "CLIENT_HOSTNAME": "host.example",
                "CLIENT_HELO": "client.example",
                "CLIENT_PROTOCOL": "ESMTPSA",
                "SASL_USERNAME": "ann",
                "SASL_SENDER": "bob@example.com",
                "ENVID": "QQ314159",
                "QUEUE_ID": "abc1",
                "LOCAL": "joe+list",
                "USER": "joe",
                "EXTENSION": "list",
                "DOMAIN": "example.com",
            },
        )

    def test_nothing(self) -> None:
        """
        What is not known is empty.
        """
        found = environment(Session(), Envelope(dsn=DSN()))
        del found[b"PATH"], found[b"TZ"]
        self.assertEqual(found.pop(b"CLIENT_PROTOCOL"), b"SMTP")
        self.assertEqual(set(found.values()), {b""})
        self.assertIn(b"SENDER", found)
        self.assertNotIn(b"LOCAL", found)

    def test_recipients(self) -> None:
        """
        One on a line, and no parts of any.
        """
        told = self.told(
            rcpt_tos=["x@example.com", '"a\nb"@example.com'], recipients=recipients("b@c", "d@e")
        )
        self.assertEqual(told["RECIPIENT"], 'x@example.com\n"a b"@example.com')
        self.assertEqual(told["ORIGINAL_RECIPIENT"], "b@c\nd@e")
        self.assertNotIn("LOCAL", told)

    def test_parts(self) -> None:
        for address, *parts in (
            ("joe@example.com", "joe", "joe", "", "example.com"),
            ("joe+a+b@example.com", "joe+a+b", "joe", "a+b", "example.com"),
            ("+joe@example.com", "+joe", "+joe", "", "example.com"),
            ('"a @b"@[192.0.2.1]', "a @b", "a @b", "", "[192.0.2.1]"),
            ("Postmaster", "Postmaster", "Postmaster", "", ""),
        ):
            told = self.told(rcpt_tos=[address])
            names = ("LOCAL", "USER", "EXTENSION", "DOMAIN")
            self.assertEqual([told[name] for name in names], parts)
        # A hook has made it.
        self.assertNotIn("LOCAL", self.told(rcpt_tos=['"a@b']))

    def test_clean(self) -> None:
        """
        A string of C ends at NUL, and in lines there are no newlines.
        """
        evil = "a\0b\nc\x1bd\u2028e"
        session = make_session(
            host_name=evil, client_name=evil, authenticated=True, login_data=evil, peer=(evil, 1)
        )
        told = self.told(
            session, mail_from=evil, rcpt_tos=[evil], auth=evil, id=evil, protocol=evil
        )
        for name, value in told.items():
            if name not in ("PATH", "TZ", "ORIGINAL_RECIPIENT", "EXTENSION", "DOMAIN", "ENVID"):
                self.assertEqual(value, "a b c d e", name)

    def test_utf8(self) -> None:
        """
        Whatever the locale.
        """
        session = make_session(host_name="\udcff")
        found = environment(session, make_envelope("\u2603@example.com"))
        self.assertEqual(found[b"RECIPIENT"], "\u2603@example.com".encode())
        self.assertEqual(found[b"CLIENT_HELO"], b"?")


#: As long as they come.
LONG = "x" * 60 + "@" + "y" * 180 + ".example"


class HandlerTests(PipeCase):
    """
    What makes one, and for how many recipients there is room.
    """

    def rcpt(self, envelope: Envelope, address: str) -> Reply | None:
        return self.pipe.handle_RCPT(Server(), Session(), envelope, address, Parameters())

    def fill(self, address: str, hook: Callable[[Envelope], None]) -> Envelope:
        """
        A message with all recipients that have room.

        :param hook: what a later handler does with each.
        """
        envelope = Envelope()
        for _ in range(ROOM):
            verdict = self.rcpt(envelope, address)
            if verdict is not None:
                break
            envelope.recipients += recipients(address)
            hook(envelope)
        self.assertIs(verdict, TOO_MANY_RECIPIENTS)
        found = environment(Session(), envelope)
        for name in (b"RECIPIENT", b"ORIGINAL_RECIPIENT"):
            self.assertLess(len(found[name]), ROOM + len(LONG))
        return envelope

    def test_spec(self) -> None:
        self.patch(os, "environ", {"HOME": "/home/ann", "PATH": "/bin"})
        for argument, command in {
            "true": ["true"],
            "true 'a b' \"c\"": ["true", "a b", "c"],
            "~/bin/x ~": ["/home/ann/bin/x", "~"],
            "bin/x": [os.path.abspath("bin/x")],
            "/a:b": ["/a:b"],
        }.items():
            made = make_handler(f"pipe:{argument}")
            self.assertIsInstance(made, Pipe)
            self.assertEqual(made.command, command)

    def test_bad_spec(self) -> None:
        for argument in (None, "", " ", "''"):
            error = self.assertRaises(ValueError, Pipe.from_spec, argument)
            self.assertEqual(str(error), "pipe wants a command: pipe:COMMAND")
        error = self.assertRaises(ValueError, Pipe.from_spec, "a 'b")
        self.assertEqual(str(error), "pipe cannot read its command: No closing quotation")

    def test_prepare(self) -> None:
        self.pipe.prepare()
        path = Path(self.mktemp()).absolute()
        for command in ("no-such-command", str(path)):
            error = self.assertRaises(HandlerError, Pipe([command]).prepare)
            self.assertEqual(str(error), f"pipe: there is no command {command}")
        path.touch()
        # Nobody may run it.
        self.assertRaises(HandlerError, Pipe([str(path)]).prepare)
        path.chmod(0o700)
        Pipe([str(path)]).prepare()

    def test_too_many_recipients(self) -> None:
        """
        The client is told to send the message to the others once more.
        """
        envelope = self.fill(LONG, lambda envelope: envelope.rcpt_tos.append(LONG))
        # RFC 5321 section 4.5.3.1.8 wants a hundred.
        self.assertGreater(len(envelope.recipients), 300)
        # Another message has room of its own.
        self.assertIsNone(self.rcpt(Envelope(), LONG))
        # What Linux takes (MAX_ARG_STRLEN).
        self.assertLess(ROOM + len("ORIGINAL_RECIPIENT="), 131072)

    def test_long_originals(self) -> None:
        """
        Other handlers have made one address of them.
        """

        def hook(envelope: Envelope) -> None:
            envelope.rcpt_tos = ["list@example.com"]

        self.assertGreater(len(self.fill(LONG, hook).recipients), 300)

    def test_made_longer(self) -> None:
        """
        By a handler that comes after us.
        """
        envelope = self.fill("a@b", lambda envelope: envelope.rcpt_tos.append(LONG))
        self.assertLess(len(envelope.recipients), 500)

    def test_taken_away(self) -> None:
        """
        A hook has made room.
        """
        envelope = Envelope(rcpt_tos=[LONG] * 1000)
        self.assertIs(self.rcpt(envelope, "a@b"), TOO_MANY_RECIPIENTS)
        del envelope.rcpt_tos[100:]
        self.assertIsNone(self.rcpt(envelope, "a@b"))

    def test_each_is_counted_once(self) -> None:
        """
        Or a client's many recipients would keep us busy.
        """
        counted: list[str] = []

        def count(text: str) -> str:
            counted.append(text)
            return text

        self.patch(module, "clean", count)
        envelope = Envelope()
        for number in range(1000):
            address = f"{number}@example.com"
            self.assertIsNone(self.rcpt(envelope, address))
            envelope.rcpt_tos.append(address)
            envelope.recipients += recipients(address)
        self.assertLess(len(counted), 3000)
