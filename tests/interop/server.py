"""
A server in a process of its own, started from a command line, and the Maildir that it fills.

It is `twistd -n smtpd` where the plugin is installed beside this interpreter, and else
`python -m txsmtpd` in the checkout.  Every wait has an end, and what was started here is ended
here.
"""

from __future__ import annotations

import mailbox
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from threading import Event, Thread
from typing import ClassVar

import attrs
from twisted.trial.unittest import SkipTest, SynchronousTestCase

from .messages import difference

CHECKOUT = Path(__file__).parent.parent.parent
#: Seconds after which a process or a reply is taken for stuck.
DEADLINE = 30
#: What the server calls itself.
HOSTNAME = "mx.example.com"

_LISTENING = re.compile(r"listening on (?:127\.0\.0\.1:([0-9]+)|unix:)")
_TROUBLE = re.compile(r"Traceback|Unhandled|#(?:error|critical)\]")

# RFC 5321 section 4.4 fixes where the time stamp line ends: its date follows the only semicolon
# that ends a line.
_TRACE = re.compile(
    rb"Return-Path: <(?P<sender>[^\r\n]*)>\r\n"
    rb"(?P<recipients>(?:Delivered-To: [^\r\n]*\r\n)*)"
    rb"Received: (?P<received>.*?;\r\n\t[^\r\n]*)\r\n",
    re.DOTALL,
)


@cache
def command() -> tuple[list[str], Path | None]:
    """
    What starts a server, and in which directory it must be, if in any.
    """
    twistd = Path(sys.executable).parent / "twistd"
    if twistd.exists():
        usage = subprocess.run(
            [twistd, "--help"], capture_output=True, text=True, timeout=DEADLINE, check=True
        )
        if re.search("^ +smtpd ", usage.stdout, re.MULTILINE):
            return [str(twistd), "-n", "smtpd"], None
    return [sys.executable, "-m", "txsmtpd"], CHECKOUT


def environment() -> dict[str, str]:
    """
    That of a server, which finds handlers and checkers of ours wherever it runs.
    """
    paths = filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")])
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


@attrs.frozen
class Delivered:
    """
    A message in the Maildir: what the server wrote above it, and what the client sent.
    """

    sender: str
    recipients: list[str]
    received: str
    content: bytes

    @classmethod
    def parse(cls, file: bytes) -> Delivered:
        """
        :raise AssertionError: if the file does not begin with our trace headers.
        """
        trace = _TRACE.match(file)
        if trace is None:
            raise AssertionError(f"no trace headers: {file[:500]!r}")
        lines = trace["recipients"].decode().splitlines()
        return cls(
            trace["sender"].decode(),
            [line.removeprefix("Delivered-To: ") for line in lines],
            " ".join(trace["received"].decode().split()),
            file[trace.end() :],
        )


class Server:
    """
    A running server.

    :param directory: for its files; it is made if it is not that of a server which has ended.
    :param options: of the command line, beside those that every server here has.
    :param template: what follows the Maildir's own path, such as ``/{local}``.
    :param first: handlers that are asked before the Maildir.
    :param handler: what takes the mail in place of the Maildir.
    """

    def __init__(
        self,
        directory: Path,
        *options: str,
        template: str = "",
        first: Sequence[str] = (),
        handler: str = "",
    ) -> None:
        directory.mkdir(exist_ok=True)
        self.maildir = directory / "mail"
        self.log = ""
        #: Where it listens: for SMTP, and for each --smtps and --lmtp that is no unix socket.
        self.ports: list[int] = []
        self._wanted = 1 + options.count("--smtps") + options.count("--lmtp")
        self._listening = 0
        self._started = Event()
        start, where = command()
        handlers = (*first, handler or f"maildir:{self.maildir}{template}")
        self._process = subprocess.Popen(
            [
                *start,
                *("--port", "0", "--hostname", HOSTNAME),
                *(word for handler in handlers for word in ("--handler", handler)),
                *options,
            ],
            cwd=where or directory,
            env=environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._reader = Thread(target=self._read_log, daemon=True)
        self._reader.start()
        if not self._started.wait(DEADLINE) or self._listening < self._wanted:
            self.kill()
            raise AssertionError(f"the server did not start: {self.log}")

    @property
    def port(self) -> int:
        return self.ports[0]

    @property
    def pid(self) -> int:
        return self._process.pid

    def _read_log(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as lines:
            for line in lines:
                self.log += line
                if listening := _LISTENING.search(line):
                    self._listening += 1
                    if listening[1]:
                        self.ports.append(int(listening[1]))
                    if self._listening == self._wanted:
                        self._started.set()
        self._started.set()

    def hang_up(self) -> None:
        """
        Have it read its certificates again.
        """
        self._process.send_signal(signal.SIGHUP)

    def terminate(self) -> None:
        """
        Ask it to end, as a service manager does, and return at once.
        """
        self._process.send_signal(signal.SIGTERM)

    def wait(self) -> int:
        """
        :return: the status that it ended with.
        :raise TimeoutExpired: if it does not end.
        """
        status = self._process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return status

    def kill(self) -> None:
        self._process.kill()
        self.wait()

    def wait_for(self, text: str, count: int = 1) -> None:
        """
        Wait until a text is so many times in the log.

        :raise AssertionError: if it does not come.
        """
        end = time.monotonic() + DEADLINE
        while self.log.count(text) < count:
            if time.monotonic() > end:
                raise AssertionError(f"{text!r} is not {count} times in the log:\n{self.log}")
            time.sleep(0.02)

    @property
    def troubled(self) -> bool:
        """
        Whether it has logged what only a defect can cause.
        """
        return _TROUBLE.search(self.log) is not None

    def take(self, name: str = "") -> list[Delivered]:
        """
        Take all messages out of the Maildir, as Python's `mailbox` sees them.

        :param name: which, if there is one for each recipient.
        """
        box = mailbox.Maildir(self.maildir / name, create=False)
        messages = [Delivered.parse(box.get_bytes(key)) for key in box.iterkeys()]
        box.clear()
        return messages


class InteropTestCase(SynchronousTestCase):
    """
    A test of one client.
    """

    #: The program that it needs.
    program: ClassVar[str] = ""

    def setUp(self) -> None:
        if self.program and shutil.which(self.program) is None:
            raise SkipTest(f"{self.program} is not installed")

    def serve(self, *options: str) -> Server:
        """
        Start a server, which must be without fault when the test has ended.
        """
        return self.watch(Server(Path(self.mktemp()).absolute(), *options))

    def watch(self, server: Server) -> Server:
        self.addCleanup(self._end, server)
        return server

    def _end(self, server: Server) -> None:
        try:
            server.terminate()
            status = server.wait()
        except subprocess.TimeoutExpired:
            server.kill()
            raise
        # twistd ends as any program that a signal ends.
        self.assertEqual(status, -signal.SIGTERM, server.log)
        self.assertFalse(server.troubled, server.log)
        self.assertEqual([*server.maildir.glob("**/tmp/*")], [])

    def run_program(
        self, *arguments: str, data: bytes = b"", **environment: str
    ) -> subprocess.CompletedProcess[bytes]:
        """
        Run the program, without the settings of whoever runs the tests.

        :param data: what it reads from its standard input.
        """
        home = self.mktemp()
        os.mkdir(home)
        clean: Mapping[str, str] = {
            "PATH": os.environ.get("PATH", os.defpath),
            "HOME": os.path.abspath(home),
            "LC_ALL": "C.UTF-8",
            **environment,
        }
        return subprocess.run(
            [self.program, *arguments],
            input=data,
            capture_output=True,
            timeout=DEADLINE,
            env=clean,
            check=False,
        )

    def assertStatus(self, ended: subprocess.CompletedProcess[bytes], status: int = 0) -> str:
        """
        :return: what the program said on stderr.
        """
        errors = ended.stderr.decode()
        self.assertEqual(ended.returncode, status, errors)
        return errors

    def file(self, content: bytes) -> str:
        """
        :return: the path of a file with that content.
        """
        path = Path(self.mktemp()).absolute()
        path.write_bytes(content)
        return str(path)

    def assertSame(self, found: bytes, expected: bytes, what: str = "") -> None:
        if found != expected:
            self.fail(f"{what}: {difference(found, expected)}")

    def assertDelivered(
        self,
        server: Server,
        content: bytes,
        sender: str = "bob@example.org",
        recipients: tuple[str, ...] = ("ann@example.com",),
        what: str = "",
    ) -> Delivered:
        """
        Check that there is one message in the Maildir, and take it out.
        """
        messages = server.take()
        self.assertEqual(len(messages), 1, what)
        (message,) = messages
        self.assertEqual(message.sender, sender, what)
        self.assertEqual(message.recipients, list(recipients), what)
        self.assertSame(message.content, content, what)
        return message
