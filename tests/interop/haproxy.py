"""
A HAProxy of our own, with a configuration and a log of its own.
"""

from __future__ import annotations

import shutil
import socket
import subprocess
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from twisted.trial.unittest import SkipTest

# It inherits the socket that it listens on, so its port is known and open before it has started.
_CONFIGURATION = """\
global
    maxconn 100
defaults
    mode tcp
    timeout connect 10s
    timeout client 30s
    timeout server 30s
listen mail
    bind fd@{socket} {bind}
    {lines}
    server mail 127.0.0.1:{server} {options}
"""


class HAProxy:
    """
    A running HAProxy: ``with HAProxy(directory, server.port, "send-proxy") as proxy:``.

    :param server: the port that it passes on to.
    :param options: of its server, such as how it says who the client is.
    :param bind: options of the port that it listens on.
    :param lines: more of the section.
    """

    def __init__(
        self,
        directory: Path,
        server: int,
        options: str,
        *,
        bind: str = "",
        lines: Iterable[str] = (),
    ) -> None:
        if shutil.which("haproxy") is None:
            raise SkipTest("haproxy is not installed")
        directory.mkdir(exist_ok=True)
        self._log = directory / "haproxy.log"
        self._file = directory / "haproxy.cfg"
        self._facts = {
            "server": server,
            "options": options,
            "bind": bind,
            "lines": "\n    ".join(lines),
        }
        #: Where it listens, on 127.0.0.1.
        self.port = 0

    def __enter__(self) -> HAProxy:
        with socket.create_server(("127.0.0.1", 0)) as listening, self._log.open("wb") as log:
            self.port = listening.getsockname()[1]
            number = listening.fileno()
            self._file.write_text(_CONFIGURATION.format(socket=number, **self._facts))
            self._process = subprocess.Popen(
                ["haproxy", "-db", "-f", str(self._file)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                pass_fds=[number],
            )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def log(self) -> str:
        """
        What it has said so far.
        """
        return self._log.read_text(errors="replace")
