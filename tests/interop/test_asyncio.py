"""
A handler that was written for asyncio, in a server of its own, with and without the reactor that
it wants.
"""

from __future__ import annotations

import asyncio
import smtplib
import threading
from typing import Any

from .test_service import DEADLINE, TWISTD, Process, ServiceTestCase

HANDLER = f"{__name__}.AioHandler"


class AioHandler:
    """
    Waits as asyncio does, and has a thread work.
    """

    async def handle_RCPT(
        self, server: Any, session: Any, envelope: Any, address: str, rcpt_options: list[str]
    ) -> str:
        await asyncio.sleep(0.01)
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        name = await session.loop.run_in_executor(None, lambda: threading.current_thread().name)
        await server.push("250-Working")
        await asyncio.wait_for(asyncio.sleep(0), 10)
        return f"250 Done in {name}"


class ReactorTests(ServiceTestCase):
    def serve_handler(self, *before: str) -> Process:
        # The chain's first, because the Maildir that all have takes what comes to it.
        options = ["--port", "0", "--handler", HANDLER, *self.options]
        return self.start(*TWISTD, *before, "smtpd", *options)

    def send(self, process: Process) -> tuple[int, bytes]:
        (port,) = process.ports()
        with smtplib.SMTP("127.0.0.1", port, timeout=DEADLINE) as client:
            client.ehlo("client.example")
            client.mail("ann@example.com")
            code, text = client.rcpt("bob@example.org")
            return client.data(b"Hello\r\n") if code == 250 else (code, text)

    def test_asyncio_reactor(self) -> None:
        process = self.serve_handler("--reactor", "asyncio")
        code, text = self.send(process)
        self.assertEqual(code, 250)
        self.assertRegex(text, rb"^Working\n2\.0\.0 (?:Done in|Message accepted)")
        process.find("handler .*AioHandler was written for aiosmtpd and is adapted")
        self.assertEqual(len(list((self.maildir / "new").iterdir())), 1)
        self.assertNotIn("Traceback", process.log)

    def test_another_reactor(self) -> None:
        """
        The client is told to come back, and the log says what to do.
        """
        process = self.serve_handler()
        self.assertEqual(self.send(process)[0], 451)
        process.find("which does not run: start the server with twistd --reactor asyncio")
