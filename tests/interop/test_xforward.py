"""
Postfix, which says by XFORWARD whom its messages come from.
"""

from __future__ import annotations

import smtplib

from .postfix import Postfix, public_directory, require_postfix
from .secure import ANN, BOB
from .server import DEADLINE, InteropTestCase, Server

CONTENT = b"Subject: x\r\n\r\nbody\r\n"
CLIENT = "127.0.0.2"


class XForwardTests(InteropTestCase):
    program = "postfix"

    def setUp(self) -> None:
        super().setUp()
        require_postfix()

    def forwarded(self, server: Server, relay: Postfix) -> str:
        """
        Send a message through Postfix.

        :return: what our log says of it.
        """
        with smtplib.SMTP("127.0.0.1", relay.port, "c.example", DEADLINE, (CLIENT, 0)) as client:
            client.sendmail(BOB, ANN, CONTENT)
        relay.wait_for("status=sent")
        (message,) = server.take()
        self.assertTrue(message.content.endswith(CONTENT))
        # The address of the one who has sent it to us, and not of the one before.
        self.assertIn("from relay.example.net ([127.0.0.1])", message.received)
        server.wait_for(": message ")
        (line,) = (line for line in server.log.splitlines() if ": message " in line)
        return line

    def test_smtp(self) -> None:
        server = self.serve("--trusted-proxy", "127.0.0.0/8")
        transport = f"smtp:[127.0.0.1]:{server.port}"
        with Postfix(
            public_directory(self), default_transport=transport, smtp_send_xforward_command="yes"
        ) as relay:
            line = self.forwarded(server, relay)
            for attribute in (
                f"'ADDR': '{CLIENT}'",
                "'HELO': 'c.example'",
                "'PROTO': 'ESMTP'",
                "'IDENT': '",
                "'SOURCE': '",
            ):
                self.assertIn(attribute, line)
            self.assertEqual(relay.lines("warning: host .* said"), [])

    def test_not_trusted(self) -> None:
        """
        It is not offered, so Postfix does not say it.
        """
        server = self.serve()
        transport = f"smtp:[127.0.0.1]:{server.port}"
        with Postfix(
            public_directory(self), default_transport=transport, smtp_send_xforward_command="yes"
        ) as relay:
            self.assertNotIn("forwarded", self.forwarded(server, relay))
