from __future__ import annotations

import os
import re
import runpy
import signal
import socket
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from threading import Timer
from typing import Any
from unittest import mock

from twisted.application.app import ApplicationRunner
from twisted.application.service import IServiceCollection
from twisted.internet import reactor
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd import __main__
from txsmtpd.service import SMTPService

CHECKOUT = Path(__file__).parent.parent
COMMAND = [sys.executable, "-m", "txsmtpd"]
#: Seconds after which a process is taken for stuck.
DEADLINE = 60


class MainTests(SynchronousTestCase):
    def test_runs_what_the_options_describe(self) -> None:
        configs: list[Any] = []

        def run(config: Any) -> None:
            configs.append(config)
            config.loadedPlugins["smtpd"].makeService(config.subOptions)

        self.patch(__main__, "runApp", run)
        self.patch(reactor, "addSystemEventTrigger", lambda *trigger: None)
        __main__.main(["--port", "0"])
        (config,) = configs
        self.assertTrue(config["nodaemon"])
        application = ApplicationRunner(config).createOrGetApplication()
        (service,) = IServiceCollection(application)
        self.assertIsInstance(service, SMTPService)
        self.assertEqual(service.program, "txsmtpd")

    def test_trouble_of_the_running_reactor(self) -> None:
        """
        It was told when it came, so there is only the status left.
        """

        def run(config: Any) -> None:
            service = config.loadedPlugins["smtpd"].makeService(config.subOptions)
            service.trouble = "cannot listen"

        self.patch(__main__, "runApp", run)
        self.patch(reactor, "addSystemEventTrigger", lambda *trigger: None)
        end = self.assertRaises(SystemExit, __main__.main, ["--port", "0"])
        self.assertEqual(end.code, 1)

    def test_wrong_option(self) -> None:
        end = self.assertRaises(SystemExit, __main__.main, ["--port", "x"])
        self.assertTrue(str(end.code).startswith("txsmtpd: --port wants "), end.code)

    def test_as_a_program(self) -> None:
        self.patch(sys, "argv", ["txsmtpd", "--nope"])
        with mock.patch.dict(sys.modules):
            del sys.modules["txsmtpd.__main__"]
            end = self.assertRaises(
                SystemExit, runpy.run_module, "txsmtpd", run_name="__main__", alter_sys=False
            )
        self.assertEqual(end.code, "txsmtpd: option --nope not recognized; --help lists all")


class ProcessTests(SynchronousTestCase):
    """
    As a person at a terminal sees it.
    """

    def assertEnds(self, arguments: list[str], sentence: str) -> str:
        """
        Check the status and all that is on stderr.

        :return: what was on stdout.
        """
        ended = subprocess.run(
            [*COMMAND, *arguments],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=DEADLINE,
        )
        self.assertEqual((ended.returncode, ended.stderr), (1, f"txsmtpd: {sentence}\n"))
        self.assertNotIn("Traceback", ended.stdout)
        return ended.stdout

    def test_wrong_option(self) -> None:
        stdout = self.assertEnds(
            ["--timeout", "x"], "--timeout wants a number of seconds from 0, not 'x'"
        )
        self.assertEqual(stdout, "")

    def test_port_in_use(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = str(taken.getsockname()[1])
            sentence = f"cannot listen on port {port}: Address already in use"
            self.assertIn(sentence, self.assertEnds(["--port", port], sentence))

    def test_directory_that_cannot_be_written(self) -> None:
        """
        That not even root can write.
        """
        path = os.path.abspath(self.mktemp())
        Path(path).touch()
        directory = os.path.join(path, "mail")
        self.assertEnds(
            ["--port", "0", "--handler", f"maildir:{directory}"],
            f"maildir {directory}: cannot be written: Not a directory",
        )

    def test_start_and_stop(self) -> None:
        with subprocess.Popen(
            [*COMMAND, "--port", "0", "--hostname", "mx.example", "--handler", "sink"],
            cwd=CHECKOUT,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            deadline = Timer(DEADLINE, process.kill)
            deadline.start()
            try:
                assert process.stdout is not None
                port = self._port(process.stdout)
                with socket.create_connection(("127.0.0.1", port), DEADLINE) as client:
                    lines = client.makefile("rb")
                    self.assertTrue(lines.readline().startswith(b"220 "))
                    process.send_signal(signal.SIGTERM)
                    self.assertTrue(lines.readline().startswith(b"421 4.3.2 "))
                    self.assertEqual(lines.readline(), b"")
                _, errors = process.communicate()
            finally:
                deadline.cancel()
                process.kill()
        self.assertEqual(errors, "")
        # Like any program that a signal ends.
        self.assertEqual(process.returncode, -signal.SIGTERM)

    def _port(self, log: Iterable[str]) -> int:
        seen = []
        for line in log:
            seen.append(line)
            if listening := re.search(r"listening on 127\.0\.0\.1:([0-9]+)", line):
                return int(listening[1])
        raise AssertionError("".join(seen))
