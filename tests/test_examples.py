"""
Every example runs, and the README says what they say.
"""

from __future__ import annotations

import ast
import io
import re
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.testing import MemoryReactorClock
from twisted.trial.unittest import SynchronousTestCase

from examples import embed, handler, test_signup
from txsmtpd import SMTPFactory
from txsmtpd.testing import Client, connect, make_factory

README = Path(__file__).parent.parent / "README.rst"

_BLOCK = re.compile(r"^\.\. code-block:: python\n\n((?: +.*\n|\n)+)", re.MULTILINE)
_DIALOG = (
    b"EHLO client.example\r\nMAIL FROM:<a@example.com>\r\nRCPT TO:<b@example.net>\r\n"
    b"RCPT TO:<b@example.org>\r\nDATA\r\nHello\r\n.\r\n"
)


class ExamplesTestCase(SynchronousTestCase):
    def assertServes(self, client: Client) -> str:
        """
        Send a message, of whose two recipients one is refused.

        :return: what the handler printed.
        """
        client.take()
        with redirect_stdout(io.StringIO()) as printed:
            client.send(_DIALOG)
        replies = [line for line in client.take().decode().splitlines() if line[3] == " "]
        self.assertEqual(
            replies[1:],
            [
                "250 2.1.0 Sender OK",
                "550 5.7.1 We do not take mail for that domain",
                "250 2.1.5 Recipient OK",
                "354 End data with <CR><LF>.<CR><LF>",
                "250 2.0.0 Thank you",
            ],
        )
        return printed.getvalue()


class HandlerTests(ExamplesTestCase):
    def test_serves(self) -> None:
        printed = self.assertServes(connect(make_factory(handler.Printer())))
        self.assertEqual(printed, "a@example.com -> ['b@example.org']: 7 octets\n")


class EmbedTests(ExamplesTestCase):
    def test_listens(self) -> None:
        reactor: Any = MemoryReactorClock()
        with redirect_stdout(io.StringIO()):
            running = Deferred.fromCoroutine(embed.main(reactor))
        self.assertNoResult(running)
        ((port, factory, _, interface),) = reactor.tcpServers
        self.assertEqual((port, interface), (2525, "127.0.0.1"))
        self.assertIsInstance(factory, SMTPFactory)
        self.assertEqual(factory.settings.hostname, "mx.example.org")


class SignUpOverTCPTests(test_signup.RealServerTests):
    """
    The trial suite of an application, which is run as it stands.
    """


class SignUpInMemoryTests(test_signup.InMemoryTests):
    """
    Likewise.
    """


class ReadmeTests(ExamplesTestCase):
    def setUp(self) -> None:
        self.blocks = [
            re.sub("(?m)^    ", "", block) for block in _BLOCK.findall(README.read_text())
        ]

    def test_handler(self) -> None:
        names: dict[str, Any] = {}
        exec(self.blocks[0], names)
        printed = self.assertServes(connect(make_factory(names["Printer"]())))
        self.assertEqual(printed, "a@example.com -> ['b@example.org'] 7\n")

    def test_fifteen_lines(self) -> None:
        self.assertLessEqual(len(self.blocks[0].strip().splitlines()), 15)

    def test_embedding_is_what_the_example_does(self) -> None:
        """
        The README's call of the factory stands in the example word for word.
        """
        calls = [
            node
            for node in ast.walk(ast.parse(self.blocks[1]))
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "SMTPFactory"
        ]
        self.assertEqual(len(calls), 1)
        self.assertIn(
            ast.unparse(calls[0]), ast.unparse(ast.parse(Path(embed.__file__).read_text()))
        )
