"""
A Postfix of our own: its configuration, its queue and its log are in one directory, and it takes no
notice of one that the system may run.

It wants root, as Postfix always does.  Every wait has an end, and what was started here is ended
here.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from twisted.trial.unittest import SkipTest

from .server import DEADLINE, InteropTestCase

#: Who Postfix's clients run as.
USER = "postfix"

_MAIN: dict[str, object] = {
    "compatibility_level": "3.6",
    "myhostname": "relay.example.net",
    "mydestination": "",
    "mynetworks": "127.0.0.0/8",
    "inet_interfaces": "127.0.0.1",
    "inet_protocols": "ipv4",
    "alias_maps": "",
    "local_recipient_maps": "",
    "smtpd_relay_restrictions": "permit_mynetworks,reject",
    "smtp_dns_support_level": "disabled",
    "maximal_backoff_time": "300s",
    "minimal_backoff_time": "300s",
}

# Nothing runs in a jail, because none has been furnished.
_MASTER = """\
127.0.0.1:{port} inet n - n - - smtpd
pickup unix n - n 60 1 pickup
cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
lmtp unix - - n - - lmtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"""


def require_postfix() -> None:
    """
    :raise SkipTest: where there can be none.
    """
    if shutil.which("postfix") is None:
        raise SkipTest("postfix is not installed")
    if os.getuid() != 0:
        raise SkipTest("postfix wants root")


def public_directory(test: InteropTestCase) -> Path:
    """
    Make a directory that other users may enter, as Postfix has it, with a path that is short enough
    for a unix socket; it goes with the test.
    """
    directory = Path(tempfile.mkdtemp(prefix="txsmtpd-"))
    test.addCleanup(shutil.rmtree, directory)
    directory.chmod(0o755)
    return directory


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


class Postfix:
    """
    A running Postfix: ``with Postfix(public_directory(self), default_transport=...) as relay:``.

    :param directory: of its own, and one that other users may enter.
    :param services: lines of ``master.cf`` beside those that every Postfix here has.
    :param main_cf: parameters of ``main.cf``, beside those.
    """

    def __init__(self, directory: Path, services: Iterable[str] = (), **main_cf: object) -> None:
        require_postfix()
        self.directory = directory
        #: Where it takes mail by SMTP, on 127.0.0.1.
        self.port = _free_port()
        self._log = directory / "log"
        self._master: subprocess.Popen[bytes] | None = None
        self._configure(services, main_cf)

    def _configure(self, services: Iterable[str], main_cf: dict[str, object]) -> None:
        config, queue, data = (self.directory / name for name in ("config", "queue", "data"))
        for directory in (config, queue, data):
            directory.mkdir()
        shutil.chown(data, USER)
        main = {
            **_MAIN,
            "queue_directory": queue,
            "data_directory": data,
            "maillog_file": self._log,
            "maillog_file_prefixes": self.directory,
            **main_cf,
        }
        lines = [f"{name} = {value}\n" for name, value in main.items()]
        (config / "main.cf").write_text("".join(lines))
        master = [_MASTER.format(port=self.port), *(f"{line}\n" for line in services)]
        (config / "master.cf").write_text("".join(master))

    def __enter__(self) -> Postfix:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def log(self) -> str:
        """
        All that it has logged so far.
        """
        return self._log.read_text(errors="replace") if self._log.exists() else ""

    def lines(self, pattern: str) -> list[str]:
        """
        The lines of the log in which a regular expression is found.
        """
        return [line for line in self.log.splitlines() if re.search(pattern, line)]

    def wait_for(self, pattern: str, count: int = 1) -> list[str]:
        """
        Wait until so many lines of the log have the pattern, and return them all.

        :raise AssertionError: if they do not come.
        """
        end = time.monotonic() + DEADLINE
        while len(found := self.lines(pattern)) < count:
            if time.monotonic() > end:
                raise AssertionError(f"{pattern!r} is not {count} times in the log:\n{self.log}")
            time.sleep(0.02)
        return found

    def start(self) -> None:
        """
        Start it and wait until it takes mail.
        """
        self._master = subprocess.Popen(
            ["postfix", "-c", str(self.directory / "config"), "start-fg"],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self.wait_for("daemon started")
        except AssertionError:
            self.stop()
            raise

    def stop(self) -> None:
        """
        End it, whatever it is doing.
        """
        master, self._master = self._master, None
        if master is None:
            return
        try:
            self._signal(signal.SIGTERM)
            master.wait(DEADLINE)
        finally:
            if master.poll() is None:
                self._signal(signal.SIGKILL)
                master.kill()
                master.wait()

    def _signal(self, number: signal.Signals) -> None:
        """
        Send a signal to the master process and, as it is the leader of their group, to all that it
        has started.
        """
        pid_file = self.directory / "queue" / "pid" / "master.pid"
        if pid_file.exists() and (pid := pid_file.read_text().strip()):
            os.killpg(int(pid), number)

    def sendmail(self, sender: str, *recipients: str, content: bytes, options: str = "") -> None:
        """
        Give it a message with its ``sendmail`` command.

        :param options: more of them, such as ``-N never``.
        """
        config = str(self.directory / "config")
        subprocess.run(
            ["sendmail", "-C", config, "-i", *options.split(), "-f", sender, "--", *recipients],
            input=content,
            check=True,
            timeout=DEADLINE,
        )

    def queued(self) -> list[str]:
        """
        The messages that are still in its queue, a line of JSON each.
        """
        config = str(self.directory / "config")
        listed = subprocess.run(
            ["postqueue", "-c", config, "-j"],
            capture_output=True,
            text=True,
            check=True,
            timeout=DEADLINE,
        )
        return listed.stdout.splitlines()
