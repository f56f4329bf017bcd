"""
How the process starts, where it listens, and how it ends.
"""

from __future__ import annotations

import mailbox
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from threading import Event, Thread
from typing import Any

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from txsmtpd.census import GRACE

CHECKOUT = Path(__file__).parent.parent.parent
#: Seconds after which a process or a reply is taken for stuck.
DEADLINE = 90

MODULE = ["-m", "txsmtpd"]
TWISTD = ["-c", "from twisted.scripts.twistd import run; run()", "-n", "--pidfile="]
TWIST = ["-m", "twisted", "--log-format=text"]

# Become a command that finds a socket as systemd passes it on.
_PASS_ON = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_FDS="1", LISTEN_FDNAMES="smtp", LISTEN_PID=str(os.getpid()))
os.execv(sys.argv[2], sys.argv[2:])
"""

_TROUBLE = re.compile(r"Traceback|Unhandled|#(?:error|critical)\]")
_CODE = re.compile(rb"([0-9]{3}(?: [245]\.[0-9]+\.[0-9]+)?) ")

ENVELOPE = b"MAIL FROM:<bob@example.org>\r\nRCPT TO:<ann@example.org>\r\n"


def _heed_interrupts() -> None:
    """
    What runs in the background of a shell ignores SIGINT, and so would what it starts.
    """
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Process:
    """
    A Python that runs, and its log.

    :param log: what is the log: ``stdout``, which is also that of stderr, or ``stderr``.
    """

    def __init__(self, arguments: Sequence[str], *, log: str = "stdout", **how: Any) -> None:
        paths = filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")])
        # So that the plugin is found, installed or not.
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), **how.pop("env", {})}
        if log == "stdout":
            how = {
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.STDOUT,
                **how,
            }
        how.setdefault("preexec_fn", _heed_interrupts)
        self.process = subprocess.Popen([sys.executable, *arguments], env=environment, **how)
        self.lines: list[str] = []
        self._more = Event()
        self._ended = False
        pipe = getattr(self.process, log)
        self._reader = Thread(target=self._read, args=(pipe,), daemon=True)
        self._reader.start()

    def _read(self, pipe: Any) -> None:
        with pipe:
            for line in pipe:
                self.lines.append(line.decode())
                self._more.set()
        self._ended = True
        self._more.set()

    @property
    def log(self) -> str:
        return "".join(self.lines)

    def find(self, pattern: str, count: int = 1) -> list[str]:
        """
        Wait until the log has so many matches.
        """
        while True:
            # Before the look: what comes after it is not missed.
            self._more.clear()
            ended = self._ended
            found = re.findall(pattern, self.log, re.MULTILINE)
            if len(found) >= count:
                return found
            if ended or not self._more.wait(DEADLINE):
                raise AssertionError(f"no {pattern!r} in {self.log}")

    def ports(self, count: int = 1) -> list[int]:
        """
        :return: the TCP ports where it listens.
        """
        return [int(port) for port in self.find(r"listening on \S+:([0-9]+)$", count)]

    def signal(self, number: int) -> None:
        self.process.send_signal(number)

    def wait(self) -> int:
        status = self.process.wait(DEADLINE)
        self._reader.join(DEADLINE)
        return status

    def kill(self) -> None:
        self.process.kill()
        self.wait()


class Client:
    """
    A client, which has already read the greeting and said EHLO.
    """

    def __init__(self, connection: socket.socket) -> None:
        connection.settimeout(DEADLINE)
        self.socket = connection
        self._replies = connection.makefile("rb")
        found = self.talk(b"EHLO client.example.org\r\n", 2)
        if found != ["220", "250"]:
            raise AssertionError(found)

    def replies(self, count: int) -> list[str]:
        """
        :return: so many codes, fewer if the server closes.
        """
        found: list[str] = []
        while len(found) < count:
            line = self._replies.readline()
            if not line:
                break
            if code := _CODE.match(line):
                found.append(code[1].decode())
        return found

    def talk(self, data: bytes, count: int) -> list[str]:
        self.socket.sendall(data)
        return self.replies(count)

    def at_end(self) -> bool:
        return self._replies.read() == b""

    def close(self) -> None:
        self._replies.close()
        self.socket.close()


class ServiceTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        # Not in trial's own directory: the path of a unix socket is short, and another user must
        # come this far.
        self.directory = Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.directory)
        self.directory.chmod(0o755)
        self.maildir = self.directory / "mail"
        self.options = ["--hostname", "mx.example.org", "--handler", f"maildir:{self.maildir}"]

    def start(self, *arguments: str, **how: Any) -> Process:
        how.setdefault("cwd", self.directory)
        process = Process(arguments, **how)
        self.addCleanup(process.kill)
        return process

    def serve(self, *options: str, command: Sequence[str] = MODULE, **how: Any) -> Process:
        return self.start(*command, *options, *self.options, **how)

    def client(self, connection: socket.socket) -> Client:
        self.addCleanup(connection.close)
        client = Client(connection)
        self.addCleanup(client.close)
        return client

    def tcp(self, port: int) -> Client:
        return self.client(socket.create_connection(("127.0.0.1", port), DEADLINE))

    def unix(self, path: Path) -> Client:
        return self.client(self.connected(path))

    def connected(self, path: Path) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        self.addCleanup(connection.close)
        connection.settimeout(DEADLINE)
        connection.connect(str(path))
        return connection

    def assertServes(self, client: Client, text: bytes = b"hello") -> None:
        """
        Send a message and QUIT, and find the message in the Maildir.
        """
        self.assertEqual(client.talk(ENVELOPE + b"DATA\r\n", 3)[2:], ["354"])
        replies = client.talk(text + b"\r\n.\r\nQUIT\r\n", 2)
        self.assertEqual(replies, ["250 2.0.0", "221 2.0.0"])
        self.assertTrue(client.at_end())
        self.assertDelivered(text)

    def assertDelivered(self, *texts: bytes) -> None:
        box = mailbox.Maildir(self.maildir, create=False)
        bodies = [box.get_bytes(key).splitlines()[-1] for key in box.iterkeys()]
        self.assertEqual(sorted(bodies), sorted(texts))
        box.clear()

    def assertEnds(self, process: Process, number: int = signal.SIGTERM) -> None:
        """
        Check that it ends without a fault when it is told to.
        """
        process.signal(number)
        # Like any program that a signal ends.
        self.assertStatus(process, -number)

    def assertStatus(self, process: Process, status: int) -> None:
        self.assertEqual(process.wait(), status, process.log)
        self.assertIsNone(_TROUBLE.search(process.log), process.log)


class SeveralTests(ServiceTestCase):
    def test_three(self) -> None:
        """
        Two ports and a unix socket, in one process, share what they deliver to and how they end.
        """
        path = self.directory / "smtp.sock"
        process = self.serve(
            "--port", "0", "--smtp", "tcp:0:interface=127.0.0.1", "--port", f"unix:{path}"
        )
        process.find("listening on unix:")
        first, second = process.ports(2)
        self.assertServes(self.tcp(first), b"one")
        self.assertServes(self.tcp(second), b"two")
        self.assertServes(self.unix(path), b"three")
        idle = [self.tcp(first), self.tcp(second), self.unix(path)]
        process.signal(signal.SIGTERM)
        for client in idle:
            self.assertEqual(client.replies(1), ["421 4.3.2"])
            self.assertTrue(client.at_end())
        self.assertStatus(process, -signal.SIGTERM)

    def test_all_or_none(self) -> None:
        path = self.directory / "smtp.sock"
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            process = self.serve("--port", f"unix:{path}", "--port", port)
            self.assertEqual(process.wait(), 1)
        self.assertIn(f"txsmtpd: cannot listen on port {port}: Address already in use", process.log)
        self.assertEqual(os.listdir(self.directory), [])


class TwistTests(ServiceTestCase):
    def test_serves(self) -> None:
        process = self.serve("--port", "0", command=[*TWIST, "smtpd"])
        self.assertServes(self.tcp(*process.ports()))
        self.assertEnds(process)

    def test_cannot(self) -> None:
        """
        twist asks for less than twistd, and gets the same sentences.
        """
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            process = self.serve("--port", port, command=[*TWIST, "smtpd"])
            self.assertEqual(process.wait(), 1)
        self.assertIn(f"smtpd: cannot listen on port {port}: Address already in use", process.log)
        process = self.serve("--port", "x", command=[*TWIST, "smtpd"])
        self.assertEqual(process.wait(), 1)
        self.assertTrue(process.log.startswith("twistd smtpd: --port wants "), process.log)


class UNIXTests(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.path = self.directory / "smtp.sock"
        self.endpoint = f"unix:{self.path}:mode=660"

    def test_mode(self) -> None:
        process = self.serve("--port", self.endpoint, command=[*TWISTD, "smtpd"])
        process.find("listening on unix:")
        mode = self.path.stat().st_mode
        self.assertTrue(stat.S_ISSOCK(mode))
        self.assertEqual(stat.S_IMODE(mode), 0o660)
        self.assertServes(self.unix(self.path))
        self.assertEnds(process)
        # Neither the socket nor its lock.
        self.assertEqual(os.listdir(self.directory), ["mail"])

    def test_killed(self) -> None:
        """
        What a server that was killed leaves behind is in nobody's way.
        """
        process = self.serve("--port", self.endpoint)
        process.find("listening on unix:")
        process.kill()
        self.assertTrue(self.path.exists())
        # Whose process number may be another's by now.
        lock = Path(f"{self.path}.lock")
        lock.unlink()
        lock.symlink_to(str(os.getpid()))
        process = self.serve("--port", self.endpoint)
        process.find("listening on unix:")
        self.assertServes(self.unix(self.path))
        self.assertEnds(process)

    def test_in_use(self) -> None:
        process = self.serve("--port", self.endpoint)
        process.find("listening on unix:")
        for _ in range(2):
            second = self.serve("--port", self.endpoint)
            self.assertEqual(second.wait(), 1)
            sentence = f"txsmtpd: cannot listen on {self.endpoint}: Address already in use"
            self.assertIn(sentence, second.log)
        self.assertServes(self.unix(self.path))
        self.assertEnds(process)


class SystemdTests(ServiceTestCase):
    def inherit(self, listening: socket.socket, endpoint: str) -> Process:
        """
        Start a server with a socket as systemd passes it on.
        """
        self.addCleanup(listening.close)
        fd = listening.fileno()
        command = ["-c", _PASS_ON, str(fd), sys.executable, *TWISTD, "smtpd"]
        return self.serve("--port", endpoint, command=command, pass_fds=[fd])

    def test_tcp(self) -> None:
        listening = socket.create_server(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        for endpoint in ("systemd:domain=INET:index=0", "systemd:domain=INET:name=smtp"):
            process = self.inherit(listening, endpoint)
            self.assertEqual(process.ports(), [port])
            self.assertServes(self.tcp(port))
            self.assertEnds(process)
        # Who comes between two servers waits for the next.
        early = socket.create_connection(("127.0.0.1", port), DEADLINE)
        process = self.inherit(listening, "systemd:domain=INET:index=0")
        self.assertServes(self.client(early))
        self.assertEnds(process)

    def test_both_protocols(self) -> None:
        """
        ``ListenStream=25`` is an IPv6 socket that takes IPv4 too, whatever the endpoint says.
        """
        if not socket.has_dualstack_ipv6():
            raise SkipTest("there is no IPv6 here")
        listening = socket.create_server(("::", 0), family=socket.AF_INET6, dualstack_ipv6=True)
        process = self.inherit(listening, "systemd:domain=INET:index=0")
        self.assertServes(self.tcp(*process.ports()))
        self.assertEnds(process)

    def test_unix(self) -> None:
        """
        The file is systemd's: its mode and its end are none of our business.
        """
        path = self.directory / "smtp.sock"
        listening = socket.socket(socket.AF_UNIX)
        listening.bind(str(path))
        path.chmod(0o600)
        listening.listen()
        for _ in range(2):
            process = self.inherit(listening, "systemd:domain=UNIX:index=0")
            process.find("listening on unix:")
            self.assertServes(self.unix(path))
            self.assertEnds(process)
            self.assertEqual(stat.S_IMODE(path.stat().st_mode), 0o600)

    def test_none(self) -> None:
        process = self.serve("--port", "systemd:domain=INET:index=0")
        self.assertEqual(process.wait(), 1)
        self.assertIn("systemd has opened no such socket", process.log)

    def test_connected(self) -> None:
        ours, theirs = socket.socketpair()
        self.addCleanup(ours.close)
        process = self.inherit(theirs, "systemd:domain=UNIX:index=0")
        self.assertEqual(process.wait(), 1)
        self.assertIn("it is no socket that listens", process.log)


class StdioTests(ServiceTestCase):
    commands = (MODULE, [*TWISTD, "smtpd"], [*TWIST, "smtpd"])

    def inetd(self, theirs: socket.socket, **how: Any) -> Process:
        """
        Serve a client as inetd would.
        """
        with theirs:
            return self.serve("--port", "stdio:", stdin=theirs, stdout=theirs, **how)

    def test_pipes(self) -> None:
        """
        Nothing but the dialog is on stdout, all is answered although no more comes, and the process
        ends well.
        """
        dialog = b"EHLO client.example.org\r\n" + ENVELOPE + b"DATA\r\nhello\r\n.\r\nNOOP\r\n"
        source = self.directory / "dialog"
        source.write_bytes(dialog)
        for command in self.commands:
            process = self.serve(
                "--port",
                "stdio:",
                # It prints the message, but not into the dialog.
                "--handler",
                "debug",
                command=command,
                log="stderr",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
            assert process.process.stdin is not None
            assert process.process.stdout is not None
            process.process.stdin.write(dialog)
            process.process.stdin.close()
            with process.process.stdout as stdout:
                replies = stdout.read()
            self.assertStatus(process, 0)
            self.assertIn("listening on standard input", process.log)
            self.assertIn("MESSAGE FOLLOWS", process.log)
            codes = [line[:3] for line in replies.splitlines() if line[3:4] == b" "]
            self.assertEqual(codes, [b"220", b"250", b"250", b"250", b"354", b"250", b"250"])
            self.assertDelivered(b"hello")

    def test_file(self) -> None:
        source = self.directory / "dialog"
        source.write_bytes(b"NOOP\r\nQUIT\r\nNOOP\r\n")
        target = self.directory / "replies"
        with source.open("rb") as stdin, target.open("wb") as stdout:
            process = self.serve(
                "--port",
                "stdio:",
                log="stderr",
                stdin=stdin,
                stdout=stdout,
                stderr=subprocess.PIPE,
            )
            self.assertStatus(process, 0)
        codes = [line[:3] for line in target.read_bytes().splitlines()]
        self.assertEqual(codes, [b"220", b"250", b"221"])

    def test_unread(self) -> None:
        """
        Who does not listen any more is not served any more.
        """
        process = self.serve(
            "--port",
            "stdio:",
            log="stderr",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        stdin, stdout = process.process.stdin, process.process.stdout
        assert stdin is not None
        assert stdout is not None
        self.assertTrue(stdout.readline().startswith(b"220 "))
        stdout.close()
        stdin.write(b"NOOP\r\n")
        stdin.flush()
        self.assertStatus(process, 0)
        stdin.close()

    def test_socket(self) -> None:
        """
        Of which a client may close one half.
        """
        with socket.create_server(("127.0.0.1", 0)) as server:
            for command in self.commands:
                ours = socket.create_connection(server.getsockname(), DEADLINE)
                theirs, _ = server.accept()
                log = ["--logfile", "log"] if command is self.commands[1] else []
                arguments = [*command[:-1], *log, *command[-1:]]
                process = self.inetd(theirs, command=arguments, log="stderr", stderr=-1)
                client = self.client(ours)
                client.socket.sendall(ENVELOPE + b"BDAT 5 LAST\r\nhello")
                client.socket.shutdown(socket.SHUT_WR)
                self.assertEqual(client.replies(9), ["250 2.1.0", "250 2.1.5", "250 2.0.0"])
                self.assertStatus(process, 0)
                (message,) = (self.maildir / "new").iterdir()
                # It knows who that was.
                self.assertIn(b"[127.0.0.1]", message.read_bytes())
                self.assertDelivered(b"hello")

    def test_stderr_is_the_client_too(self) -> None:
        """
        As with inetd itself.
        """
        ours, theirs = socket.socketpair()
        fd = theirs.fileno()
        options = ["--port", "stdio:", "--hostname", "mx.example.org"]
        with subprocess.Popen(
            [sys.executable, *MODULE, *options], cwd=CHECKOUT, stdin=fd, stdout=fd, stderr=fd
        ) as process:
            self.addCleanup(process.kill)
            theirs.close()
            ours.settimeout(DEADLINE)
            with ours, ours.makefile("rb") as lines:
                ours.sendall(b"NOOP\r\nNOOP\r\nQUIT\r\n")
                self.assertEqual(
                    lines.readlines(),
                    [
                        b"220 mx.example.org ESMTP txsmtpd\r\n",
                        b"250 2.0.0 OK\r\n",
                        b"250 2.0.0 OK\r\n",
                        b"221 2.0.0 Bye\r\n",
                    ],
                )
            self.assertEqual(process.wait(DEADLINE), 0)

    def test_told_to_end(self) -> None:
        ours, theirs = socket.socketpair()
        process = self.inetd(theirs, log="stderr", stderr=subprocess.PIPE)
        client = self.client(ours)
        process.signal(signal.SIGTERM)
        self.assertEqual(client.replies(9), ["421 4.3.2"])
        self.assertStatus(process, -signal.SIGTERM)

    def test_daemon(self) -> None:
        process = self.serve("--port", "stdio:", command=[*TWISTD[:2], "smtpd"])
        self.assertEqual(process.wait(), 1)
        self.assertIn("twistd smtpd: --port stdio: is not for a daemon: say twistd -n", process.log)


class SignalTests(ServiceTestCase):
    def under_way(self, process: Process) -> Client:
        """
        A client with half a message sent.
        """
        client = self.tcp(*process.ports())
        self.assertEqual(client.talk(ENVELOPE + b"DATA\r\n", 3)[2:], ["354"])
        client.socket.sendall(b"hel")
        return client

    def test_each(self) -> None:
        """
        Idle clients are sent away, and the message that is under way is delivered.
        """
        for command in (MODULE, [*TWISTD, "smtpd"], [*TWIST, "smtpd"]):
            for number in (signal.SIGTERM, signal.SIGINT):
                process = self.serve("--port", "0", command=command)
                busy = self.under_way(process)
                idle = self.tcp(*process.ports())
                process.signal(number)
                self.assertEqual(idle.replies(9), ["421 4.3.2"])
                self.assertRaises(ConnectionRefusedError, self.tcp, *process.ports())
                self.assertEqual(busy.talk(b"lo\r\n.\r\n", 9), ["250 2.0.0", "421 4.3.2"])
                self.assertStatus(process, -number)
                self.assertDelivered(b"hello")

    def test_second(self) -> None:
        """
        A second SIGTERM changes nothing, a second SIGINT ends the process at once.
        """
        process = self.serve("--port", "0")
        busy = self.under_way(process)
        idle = self.tcp(*process.ports())
        process.signal(signal.SIGINT)
        self.assertEqual(idle.replies(9), ["421 4.3.2"])
        for _ in range(3):
            process.signal(signal.SIGTERM)
        self.assertEqual(busy.talk(b"lo\r\n.\r\n", 9), ["250 2.0.0", "421 4.3.2"])
        self.assertStatus(process, -signal.SIGINT)
        self.assertDelivered(b"hello")
        process = self.serve("--port", "0")
        busy = self.under_way(process)
        idle = self.tcp(*process.ports())
        process.signal(signal.SIGTERM)
        self.assertEqual(idle.replies(9), ["421 4.3.2"])
        process.signal(signal.SIGINT)
        self.assertStatus(process, -signal.SIGINT)
        self.assertDelivered()

    def test_never_ends(self) -> None:
        """
        A message that does not come to its end does not keep the process.
        """
        self.assertLess(GRACE, DEADLINE)
        process = self.serve("--port", "0")
        busy = self.under_way(process)
        process.signal(signal.SIGTERM)
        self.assertRaises(ConnectionResetError, busy.replies, 1)
        self.assertStatus(process, -signal.SIGTERM)
        self.assertDelivered()
        self.assertEqual(os.listdir(self.maildir / "tmp"), [])


class PrivilegesTests(ServiceTestCase):
    def setUp(self) -> None:
        super().setUp()
        if os.geteuid() != 0:
            raise SkipTest("only root has privileges to drop")
        self.nobody = pwd.getpwnam("nobody")
        # Where nobody may write, and where not.
        self.theirs = self.directory / "theirs"
        self.theirs.mkdir()
        os.chown(self.theirs, self.nobody.pw_uid, self.nobody.pw_gid)
        self.maildir = self.theirs / "mail"
        self.options[-1] = f"maildir:{self.maildir}"
        self.path = self.directory / "smtp.sock"
        drop = ["--uid", "nobody", "--gid", str(self.nobody.pw_gid)]
        self.command = [*TWISTD, *drop, "smtpd"]

    def test_dropped(self) -> None:
        """
        Sockets are opened as root, all else is nobody's; what nobody may not remove at the end is
        not in the way of the next start.
        """
        for _ in range(2):
            process = self.serve("--port", f"unix:{self.path}", "--port", "0", command=self.command)
            process.find("listening on unix:")
            self.assertEqual(self.path.stat().st_uid, 0)
            client = self.unix(self.path)
            self.assertEqual(client.talk(ENVELOPE + b"BDAT 5 LAST\r\nhello", 3)[2:], ["250 2.0.0"])
            (message,) = (self.maildir / "new").iterdir()
            for path, mode in ((self.maildir, 0o700), (message.parent, 0o700), (message, 0o600)):
                found = path.stat()
                self.assertEqual(
                    (found.st_uid, found.st_gid, stat.S_IMODE(found.st_mode)),
                    (self.nobody.pw_uid, self.nobody.pw_gid, mode),
                )
            self.assertDelivered(b"hello")
            self.assertServes(self.tcp(*process.ports()), b"hello too")
            busy = self.unix(self.path)
            busy.talk(ENVELOPE + b"DATA\r\n", 3)
            process.signal(signal.SIGTERM)
            self.assertEqual(client.replies(9), ["421 4.3.2"])
            # The file is there, but nobody behind it.
            self.assertRaises(ConnectionRefusedError, self.connected, self.path)
            self.assertEqual(busy.talk(b"x\r\n.\r\n", 9), ["250 2.0.0", "421 4.3.2"])
            self.assertStatus(process, -signal.SIGTERM)
            self.assertIn("cannot stop listening: Permission denied", process.log)
            self.assertDelivered(b"x")

    def test_where_nobody_may_write(self) -> None:
        self.options[-1] = f"maildir:{self.directory / 'mail'}"
        process = self.serve("--port", "0", command=self.command)
        self.assertEqual(process.wait(), 1)
        self.assertIn("mail: cannot be written: Permission denied", process.log)
        self.assertNotIn("Traceback", process.log)


class ExampleTests(ServiceTestCase):
    def test_tac(self) -> None:
        start = partial(self.start, *TWISTD, "-y", "examples/server.tac", cwd=CHECKOUT)
        process = start(env={"SMTP_ENDPOINT": "tcp:0:interface=127.0.0.1"})
        (port,) = process.ports()
        client = self.tcp(port)
        client.talk(b"MAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.org>\r\nDATA\r\n", 3)
        self.assertEqual(client.talk(b"hello\r\n.\r\n", 1), ["250 2.0.0"])
        process.find(r"a@example\.com -> \['b@example\.org'\]: 7 octets")
        sentence = f"server.tac: cannot listen on tcp:{port}:interface=127.0.0.1: Address already"
        other = start(env={"SMTP_ENDPOINT": f"tcp:{port}:interface=127.0.0.1"})
        self.assertEqual(other.wait(), 1)
        self.assertIn(sentence, other.log)
        process.signal(signal.SIGTERM)
        self.assertEqual(client.replies(9), ["421 4.3.2"])
        self.assertStatus(process, -signal.SIGTERM)

    def test_units(self) -> None:
        """
        The commands of the units have options that there are.
        """
        units = sorted((CHECKOUT / "examples" / "systemd").iterdir())
        self.assertEqual(len(units), 4)
        for unit in units:
            for command in re.findall("^ExecStart=(.*)$", unit.read_text(), re.MULTILINE):
                program, *options = command.split()
                self.assertEqual(program, "/usr/bin/twistd")
                # Which option is wrong would be known before what the last one asks for.
                process = self.start(*TWISTD[:2], *options, "--help")
                self.assertEqual(process.wait(), 0, process.log)
