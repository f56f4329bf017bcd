"""
Handlers that hand mail on, as real processes, and chains of them.
"""

from __future__ import annotations

import mailbox
import os
import re
import signal
import smtplib
import subprocess
import sys
import time
from base64 import b64encode
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from typing import Any, ClassVar

from .messages import BINARY, MESSAGES, large
from .server import CHECKOUT, DEADLINE, InteropTestCase, Server, command, environment
from .test_socket import Wire

_OURS = re.compile(rb"\AReturn-Path: .*?\nReceived: .*?;\n\t[^\n]*\n", re.DOTALL)
MIB = 2**20


def sent(server: Server, content: bytes, *to: str, sender: str = "bob@example.org") -> str:
    """
    Send a message.

    :return: the verdict on it.
    """
    with smtplib.SMTP("127.0.0.1", server.port, "client.example.org", DEADLINE) as client:
        client.ehlo()
        for reply in (
            client.docmd("MAIL", f"FROM:<{sender}>"),
            *(client.docmd("RCPT", f"TO:<{address}>") for address in to or ("ann@example.com",)),
        ):
            if reply[0] != 250:
                raise AssertionError(reply)
        client.send(b"BDAT %d LAST\r\n" % len(content) + content)
        code, text = client.getreply()
        return f"{code} {text.decode()}"


def run(words: list[str], where: Path | None) -> subprocess.CompletedProcess[str]:
    """
    Run something that ends by itself.
    """
    return subprocess.run(
        words,
        cwd=where,
        env=environment(),
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=False,
    )


class SinkTestCase(InteropTestCase):
    """
    A server with one handler.
    """

    def serve_with(self, handler: str, *options: str, first: Iterable[str] = ()) -> Server:
        directory = Path(self.mktemp()).absolute()
        return self.watch(Server(directory, *options, handler=handler, first=tuple(first)))

    def path(self) -> Path:
        return Path(self.mktemp()).absolute()


class MboxTests(SinkTestCase):
    """
    An mbox file that others use at the same time.
    """

    def read(self, path: Path) -> list[bytes]:
        """
        What Python's `mailbox` finds, without our headers and our quoting.
        """
        box = mailbox.mbox(path, create=False)
        try:
            found = [box.get_bytes(key) for key in sorted(box.keys())]
        finally:
            box.close()
        plain = (_OURS.sub(b"", message, count=1) for message in found)
        return [re.sub(rb"(?m)^>(>*From )", rb"\1", message) for message in plain]

    def test_mailbox(self) -> None:
        path = self.path()
        server = self.serve_with(f"mbox:{path}")
        expected = []
        odd = b"A: b\r\n\r\nFrom x\r\n>From y"
        for content in (*MESSAGES.values(), BINARY, large(5 * MIB), odd):
            self.assertEqual(sent(server, content)[:9], "250 2.0.0")
            text = content.replace(b"\r\n", b"\n")
            expected.append(text if text.endswith(b"\n") else text + b"\n")
        found = self.read(path)
        self.assertEqual(len(found), len(expected))
        for got, wanted in zip(found, expected, strict=True):
            self.assertSame(got, wanted)

    def test_two_servers(self) -> None:
        """
        Nothing is lost or torn where several processes deliver.
        """
        path = self.path()
        servers = [self.serve_with(f"mbox:{path}") for _ in range(2)]
        messages = [
            b"Subject: %d\r\n\r\nFrom %d\r\n" % (number, number) + b"x" * (number * 997) + b"\r\n"
            for number in range(80)
        ]
        with ThreadPoolExecutor(8) as threads:
            numbers = range(len(messages))
            verdicts = threads.map(lambda n: sent(servers[n % 2], messages[n]), numbers)
            self.assertEqual({verdict[:9] for verdict in verdicts}, {"250 2.0.0"})
        expected = [message.replace(b"\r\n", b"\n") for message in messages]
        self.assertEqual(sorted(self.read(path)), sorted(expected))

    def test_reader(self) -> None:
        """
        Somebody takes messages out, as Python's `mailbox` does it: by another file in the place of
        this one.
        """
        path = self.path()
        server = self.serve_with(f"mbox:{path}")
        self.assertEqual(sent(server, b"Subject: first\r\n\r\n")[:9], "250 2.0.0")
        taken: list[str] = []
        enough = Event()
        # One at a time, because a process gives up all its locks on a file when it closes it once.
        with ThreadPoolExecutor(5) as threads:
            reader = threads.submit(self.take_all, path, taken, enough)
            try:
                messages = [b"Subject: %d\r\n\r\nhello\r\n" % number for number in range(100)]
                verdicts = [*threads.map(lambda content: sent(server, content), messages)]
            finally:
                enough.set()
            reader.result()
        self.assertEqual({verdict[:9] for verdict in verdicts}, {"250 2.0.0"})
        left = mailbox.mbox(path, create=False)
        taken += [message["Subject"] for message in left]
        left.close()
        self.assertEqual(Counter(taken), Counter(["first", *map(str, range(100))]))

    def take_all(self, path: Path, taken: list[str], enough: Event) -> None:
        """
        Take messages out until it is enough.
        """
        while not enough.is_set():
            box = mailbox.mbox(path, create=False)
            try:
                box.lock()
                for key, message in box.items():
                    taken.append(message["Subject"])
                    box.remove(key)
                box.flush()
                box.unlock()
            except mailbox.ExternalClashError:
                pass
            finally:
                box.close()
            # Somebody else wants to have it, too.
            enough.wait(0.05)

    @contextmanager
    def locked(self, path: Path, lines: str) -> Iterator[None]:
        """
        Another process that has locked the mailbox.
        """
        program = f"import fcntl, sys\nfile = open(sys.argv[1], 'a')\n{lines}\nprint(flush=True)"
        with subprocess.Popen(
            [sys.executable, "-c", f"{program}\nsys.stdin.read()", path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None and process.stdin is not None
            process.stdout.readline()
            try:
                yield
            finally:
                process.stdin.close()
                process.wait(DEADLINE)

    def test_locked(self) -> None:
        """
        451, and the mailbox is not touched; when it is free, the message gets in.
        """
        path = self.path()
        server = self.serve_with(f"tests.interop.sinks.ImpatientMbox:{path}")
        self.assertEqual(sent(server, MESSAGES["plain"])[:9], "250 2.0.0")
        for lines in (
            "fcntl.lockf(file, fcntl.LOCK_EX)",
            "open(f'{sys.argv[1]}.lock', 'x')",
            "import mailbox\nmailbox.mbox(sys.argv[1]).lock()",
        ):
            before = path.read_bytes()
            with self.locked(path, lines), ThreadPoolExecutor(4) as threads:
                begun = time.monotonic()
                verdicts = threads.map(lambda n: sent(server, MESSAGES["plain"]), range(4))
                said = "451 4.2.0 Mailbox is locked, try again later"
                self.assertEqual({*verdicts}, {said}, lines)
                self.assertGreater(time.monotonic() - begun, 0.9)
                self.assertEqual(path.read_bytes(), before)
            Path(f"{path}.lock").unlink(missing_ok=True)
            self.assertEqual(sent(server, MESSAGES["plain"])[:9], "250 2.0.0", lines)
        self.assertFalse(Path(f"{path}.lock").exists())
        self.assertEqual(len(self.read(path)), 4)

    def test_killed(self) -> None:
        """
        A server that is killed in the middle of a message leaves no message glued to another.
        """
        path = self.path()
        handler = f"mbox:{path}"
        for number in range(2):
            server = Server(self.path(), handler=handler)
            self.addCleanup(server.kill)
            with ThreadPoolExecutor(1) as threads:
                sending = threads.submit(sent, server, b"Subject: x\r\n\r\n" + b"y" * 20 * MIB)
                while not path.exists() or not path.stat().st_size:
                    time.sleep(0.001)
                time.sleep(0.005 * number)
                server.kill()
                self.assertIsNotNone(sending.exception())
            # It has had the mailbox locked: somebody has to wait, or to remove this.
            Path(f"{path}.lock").unlink(missing_ok=True)
            server = self.serve_with(handler)
            self.assertEqual(sent(server, b"Subject: whole\r\n\r\nhello\r\n")[:9], "250 2.0.0")
            self.assertEqual(self.read(path)[-1], b"Subject: whole\n\nhello\n")
            path.unlink()


class SNailReaderTests(SinkTestCase):
    """
    A mail program that reads the mailbox.
    """

    program = "s-nail"

    def test_read(self) -> None:
        path = self.path()
        server = self.serve_with(f"mbox:{path}")
        for number in range(1, 4):
            body = b"line %d\r\nFrom me to you\r\n" % number
            self.assertEqual(
                sent(server, b"Subject: number %d\r\n\r\n" % number + body)[:9], "250 2.0.0"
            )
        arguments = ("-:/", "-#", "-R", "-S", "nofolder", "-f", str(path))
        ended = self.run_program(*arguments, data=b"type *\nexit\n")
        self.assertStatus(ended)
        text = ended.stdout.decode()
        for number in range(1, 4):
            self.assertEqual(text.count(f"Subject: number {number}\n"), 1)
            self.assertEqual(text.count(f"line {number}\n>From me to you\n"), 1)
        self.assertEqual(text.count("\nReturn-Path: <bob@example.org>\n"), 3)


class PipeTests(SinkTestCase):
    """
    Commands that are real.
    """

    def script(self, text: str) -> Path:
        path = self.path()
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o700)
        return path

    def open_files(self, server: Server) -> int:
        """
        How many files the server has open that have to do with messages: neither sockets, which it
        closes in its own time, nor what it has loaded.
        """
        # The first process brings things along that stay.
        self.assertEqual(sent(server, MESSAGES["plain"], "quick@a.example")[:9], "250 2.0.0")
        found = 0
        for link in Path(f"/proc/{server.pid}/fd").iterdir():
            try:
                target = os.readlink(link)
            except FileNotFoundError:
                continue
            found += target.startswith("pipe:") or "(deleted)" in target
        return found

    def test_statuses(self) -> None:
        """
        Those of sysexits.h and some more; and under LMTP there are as many replies as recipients.
        """
        handler = (
            "pipe:sh -c 'cat >/dev/null; test .$EXTENSION = .9 && kill -9 $$; exit ${EXTENSION-0}'"
        )
        server = self.serve_with(handler, "--lmtp", "0")
        expected = {0: "250 2.0.0", 67: "550 5.1.1", 71: "451 4.3.0", 75: "451 4.3.0"}
        for status in (*range(62, 81), 0, 1, 2, 126, 127, 128, 255):
            verdict = sent(server, MESSAGES["plain"], f"x+{status}@example.com")
            fallback = "5" if 64 <= status <= 78 else "4"
            self.assertTrue(verdict.startswith(expected.get(status, fallback)), (status, verdict))
        server.wait_for("it ended with 255")
        self.assertEqual(sent(server, MESSAGES["plain"], "x+9@example.com")[:9], "451 4.3.0")
        server.wait_for("it was ended by a signal")
        with smtplib.LMTP("127.0.0.1", server.ports[1], "client.example.org") as client:
            client.ehlo()
            client.mail("bob@example.org")
            for name in ("ann+1", "carol"):
                client.rcpt(f"{name}@example.com")
            # With two of them it has no EXTENSION.
            code, text = client.data(MESSAGES["plain"])
            self.assertEqual((code, text[:5]), (250, b"2.0.0"))
            self.assertEqual(client.getreply()[0], 250)

    def test_content(self) -> None:
        """
        It comes whole, and lines end as they do on Unix.
        """
        path = self.path()
        server = self.serve_with(f"pipe:{self.script(f'exec cat >{path}')}")
        for what, content in {**MESSAGES, "octets": BINARY, "large": large(5 * MIB)}.items():
            self.assertEqual(sent(server, content)[:9], "250 2.0.0")
            text = _OURS.sub(b"", path.read_bytes(), count=1)
            self.assertSame(text, content.replace(b"\r\n", b"\n"), what)

    def test_told(self) -> None:
        """
        What it finds around itself; none of it comes by the command line.
        """
        path, files = self.path(), self.path()
        text = f'env -0 >{path}; (exec ls -l /proc/self/fd >{files}); echo "$# $1"; exit 75'
        server = self.serve_with(f"pipe:{self.script(text)} '$(touch x) `touch x` ; a'")
        sender = '"$(touch /tmp/x)`x`;\\" -o x"@example.org'
        self.assertEqual(sent(server, b"", "ann+x@example.com", sender=sender)[:9], "451 4.3.0")
        pairs = (line.partition("=") for line in path.read_text().split("\0") if line)
        told = {name: value for name, _, value in pairs}
        self.assertEqual(told["SENDER"], sender)
        self.assertEqual(told["RECIPIENT"], "ann+x@example.com")
        self.assertEqual([told[name] for name in ("USER", "EXTENSION")], ["ann", "x"])
        self.assertEqual(told["CLIENT_ADDRESS"], "127.0.0.1")
        self.assertEqual(told["CLIENT_HELO"], "client.example.org")
        self.assertEqual(told["CLIENT_PROTOCOL"], "ESMTP")
        self.assertNotIn("PYTHONPATH", told)
        server.wait_for("it ended with 75: 1 $(touch x) `touch x` ; a")
        # The last is the folder that this looks at.
        self.assertEqual(re.findall(r" (\d+) ->", files.read_text()), ["0", "1", "2", "3"])

    def test_many_recipients(self) -> None:
        """
        As many as fit, and the others are told to come again.
        """
        path = self.path()
        server = self.serve_with(f"pipe:{self.script(f'printenv RECIPIENT >{path}')}")
        names = [f"{number:04}{'x' * 50}@{'y' * 60}.{'z' * 60}.example" for number in range(1000)]
        with smtplib.SMTP("127.0.0.1", server.port, "client.example.org", DEADLINE) as client:
            refused = client.sendmail("bob@example.org", names, MESSAGES["plain"])
        accepted = path.read_text().splitlines()
        self.assertEqual(accepted, [name for name in names if name not in refused])
        self.assertGreater(len(accepted), 400)
        self.assertEqual({code for code, _ in refused.values()}, {452})

    def test_unread(self) -> None:
        """
        Who does not want the message need not read it; and what a command leaves behind holds
        nobody up.
        """
        script = self.script(
            "case $USER in true) exit;; closed) exec <&-; sleep 0.1; exit 67;; esac\n"
            "sleep 20 & echo $!; exit 67"
        )
        server = self.serve_with(f"pipe:{script}")
        self.assertEqual(sent(server, large(30 * MIB), "true@a.example")[:9], "250 2.0.0")
        self.assertEqual(sent(server, large(MIB), "closed@a.example")[:9], "550 5.1.1")
        begun = time.monotonic()
        self.assertEqual(sent(server, MESSAGES["plain"], "behind@a.example")[:9], "550 5.1.1")
        self.assertLess(time.monotonic() - begun, 10)
        server.wait_for("it ended with 67: ")
        os.kill(int(server.log.rpartition("it ended with 67: ")[2].split()[0]), signal.SIGKILL)

    def test_hanging(self) -> None:
        """
        It is killed when nobody waits for it any more; and those who wait for a turn in vain leave
        nothing open either.
        """
        path = self.path()
        script = self.script(f"test $USER = quick && exit; echo $$ >>{path}; exec sleep 100")
        handler = f"tests.interop.sinks.NarrowPipe:{script}"
        server = self.serve_with(handler, "--hook-timeout", "0.5")
        before = self.open_files(server)
        # Small messages and such that have a file.
        contents = [MESSAGES["plain"], large(MIB)] * 3
        with ThreadPoolExecutor(6) as threads:
            verdicts = threads.map(lambda content: sent(server, content), contents)
            self.assertEqual({verdict[:9] for verdict in verdicts}, {"451 4.3.0"})
        server.wait_for("was not taken by", 6)
        for process in path.read_text().split():
            self.gone(int(process))
        self.assertEqual(self.open_files(server), before)

    def gone(self, process: int) -> None:
        end = time.monotonic() + DEADLINE
        while Path(f"/proc/{process}").exists():
            self.assertLess(time.monotonic(), end, "it lives on")
            time.sleep(0.01)

    def test_parallel(self) -> None:
        """
        Not more than two at a time, and two.
        """
        directory = self.path()
        directory.mkdir()
        script = self.script(
            f"cd {directory}; mkdir run.$$; ls -d run.* | wc -l >>counts; sleep 0.2; rmdir run.$$"
        )
        server = self.serve_with(f"tests.interop.sinks.NarrowPipe:{script}")
        before = self.open_files(server)
        with ThreadPoolExecutor(8) as threads:
            verdicts = threads.map(lambda n: sent(server, MESSAGES["plain"]), range(8))
            self.assertEqual({verdict[:9] for verdict in verdicts}, {"250 2.0.0"})
        counts = [int(line) for line in (directory / "counts").read_text().split()]
        self.assertEqual(len(counts), 8 + 1)
        self.assertEqual(max(counts), 2)
        self.assertEqual(self.open_files(server), before)

    def test_client_goes(self) -> None:
        """
        In the middle of a large message, many times.
        """
        server = self.serve_with("pipe:true")
        before = self.open_files(server)
        begin = b"MAIL FROM:<>\r\nRCPT TO:<ann@example.com>\r\nBDAT 1000000 LAST\r\n"
        for _ in range(10):
            wire = Wire(server)
            wire.send(begin + b"x" * 500_000)
            wire.replies(2)
            wire.reset()
        self.assertEqual(sent(server, MESSAGES["plain"])[:9], "250 2.0.0")
        end = time.monotonic() + DEADLINE
        while self.open_files(server) != before and time.monotonic() < end:
            time.sleep(0.02)
        self.assertEqual(self.open_files(server), before)

    def test_not_there(self) -> None:
        """
        The server does not start, and says why.
        """
        start, where = command()
        nowhere = "mbox /no/such/mbox: cannot be locked and written: No such file or directory"
        for handler, sentence in (
            ("pipe:/no/such/command x", "pipe: there is no command /no/such/command"),
            ("mbox:/no/such/mbox", nowhere),
        ):
            ended = run([*start, "--port", "0", "--handler", handler], where)
            self.assertEqual(ended.returncode, 1, ended)
            self.assertIn(sentence, ended.stderr)


class _Requests(BaseHTTPRequestHandler):
    """
    Answers with the status that the recipient says.
    """

    protocol_version = "HTTP/1.1"
    seen: ClassVar[list[tuple[str, Any, int, bytes]]] = []

    def do_POST(self) -> None:
        length = int(self.headers["Content-Length"])
        left, start = length, b""
        while left:
            chunk = self.rfile.read(min(left, 2**16))
            start += chunk[: 4096 - len(start)]
            left -= len(chunk)
        self.seen.append((self.path, self.headers, length, start))
        status = re.search(rb'name="recipient"\r\n\r\n([0-9]+)@', start)
        self.send_response(int(status[1]) if status else 200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *arguments: object) -> None:
        pass


class WebhookTests(SinkTestCase):
    """
    A web server in another thread.
    """

    def setUp(self) -> None:
        super().setUp()
        self.patch(_Requests, "seen", [])
        self.web = ThreadingHTTPServer(("127.0.0.1", 0), _Requests)
        thread = Thread(target=self.web.serve_forever, args=(0.01,))
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self.web.server_close)
        self.addCleanup(self.web.shutdown)

    def hook(self, user: str = "") -> str:
        return f"webhook:http://{user}127.0.0.1:{self.web.server_address[1]}/mail?key=secret"

    def test_answers(self) -> None:
        server = self.serve_with(self.hook("ann:secret@"))
        for status, verdict in ((204, "250 2.0.0"), (404, "550 5.7.1"), (429, "451 4.3.0")):
            for _ in range(3):
                to = f"{status}@example.com"
                self.assertEqual(sent(server, MESSAGES["plain"], to)[:9], verdict)
        path, headers, _, start = _Requests.seen[0]
        self.assertEqual(path, "/mail?key=secret")
        self.assertEqual(headers["Authorization"], f"Basic {b64encode(b'ann:secret').decode()}")
        self.assertIn(b'name="sender"\r\n\r\nbob@example.org\r\n', start)
        self.assertIn(b"\r\n" + MESSAGES["plain"] + b"\r\n--", start)
        self.assertEqual(len(_Requests.seen), 9)
        server.wait_for("it answered 429", 3)
        self.assertNotIn("secret", server.log)

    def peak(self, server: Server) -> int:
        """
        The most memory that the server has had, in MiB.
        """
        status = Path(f"/proc/{server.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) // 1024

    def test_large(self) -> None:
        """
        It is never whole in memory.
        """
        server = self.serve_with(self.hook())
        self.assertEqual(sent(server, MESSAGES["plain"])[:9], "250 2.0.0")
        before = self.peak(server)
        content = large(30 * MIB)
        for _ in range(2):
            self.assertEqual(sent(server, content)[:9], "250 2.0.0")
        self.assertGreater(_Requests.seen[-1][2], 30 * MIB)
        self.assertLess(self.peak(server) - before, 12)

    def test_no_server(self) -> None:
        server = self.serve_with("webhook:http://127.0.0.1:9/mail")
        self.assertEqual(sent(server, MESSAGES["plain"])[:9], "451 4.3.0")
        server.wait_for("ConnectionRefusedError")


class ChainTests(SinkTestCase):
    """
    Handlers behind each other, and handlers of others.
    """

    def test_reject_unknown(self) -> None:
        """
        Who is not in the file gets nothing; who is put there does.
        """
        known = self.path()
        known.write_text("ann@example.com\n@example.net\n")
        server = self.watch(Server(self.path(), first=(f"reject-unknown:{known}",)))
        with smtplib.SMTP("127.0.0.1", server.port, "client.example.org", DEADLINE) as client:
            to = ["ann@example.com", "eve@example.com", "x@example.net", "ann@example.org"]
            refused = client.sendmail("bob@example.org", to, MESSAGES["plain"])
            codes = {name: (code, text[:5]) for name, (code, text) in refused.items()}
            self.assertEqual(
                codes,
                {"eve@example.com": (550, b"5.1.1"), "ann@example.org": (550, b"5.7.1")},
            )
            self.assertDelivered(
                server, MESSAGES["plain"], recipients=("ann@example.com", "x@example.net")
            )
            known.write_text("eve@example.com\n")
            end = time.monotonic() + DEADLINE
            while refused := self.try_to_send(client, "eve@example.com"):
                self.assertEqual(refused["eve@example.com"][0], 550)
                self.assertLess(time.monotonic(), end)
                time.sleep(0.1)
        self.assertDelivered(server, MESSAGES["plain"], recipients=("eve@example.com",))

    def try_to_send(self, client: smtplib.SMTP, to: str) -> Any:
        """
        :return: why it is refused, if it is.
        """
        try:
            return client.sendmail("bob@example.org", [to], MESSAGES["plain"])
        except smtplib.SMTPRecipientsRefused as error:
            return error.recipients

    def test_two_that_deliver(self) -> None:
        path = self.path()
        server = self.watch(Server(self.path(), first=(f"mbox:{path}",)))
        self.assertEqual(sent(server, MESSAGES["plain"])[:9], "250 2.0.0")
        self.assertDelivered(server, MESSAGES["plain"])
        self.assertTrue(path.read_bytes().endswith(b"\n\nHello, Ann.\n\n"))

    def test_second_refuses(self) -> None:
        """
        What the first has done is done: the order matters.
        """
        server = self.watch(Server(self.path(), first=("pipe:sh -c 'exit 77'",)))
        self.assertEqual(sent(server, MESSAGES["plain"])[:9], "550 5.7.0")
        self.assertEqual(server.take(), [])

    def test_plugin(self) -> None:
        """
        A folder on Python's path brings a handler.
        """
        folder = self.path()
        plugins = folder / "twisted" / "plugins"
        plugins.mkdir(parents=True)
        plugin = CHECKOUT / "docs" / "code" / "journal_plugin.py"
        (plugins / "journal.py").write_bytes(plugin.read_bytes())
        paths = os.pathsep.join((str(folder), str(CHECKOUT)))
        self.patch(os, "environ", {**os.environ, "PYTHONPATH": paths})
        start, where = command()
        ended = run([*start, "--help-handlers"], where)
        lines = dict(line.split(None, 1) for line in ended.stdout.splitlines())
        self.assertEqual(lines["journal:FILE"], "note the envelope of each message in a file")
        self.assertLess({"mbox:FILE", "pipe:COMMAND", "webhook:URL", "sink"}, lines.keys())
        note = self.path()
        server = self.watch(Server(self.path(), first=(f"journal:{note}",)))
        self.assertEqual(sent(server, MESSAGES["plain"])[:9], "250 2.0.0")
        self.assertIn('"from": "bob@example.org", "to": ["ann@example.com"]', note.read_text())
        wrong = run([*start, "--handler", "journal"], where)
        self.assertIn("--handler: cannot make journal:FILE: it wants a file", wrong.stderr)
