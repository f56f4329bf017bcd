"""
A recording handler that answers as it is told.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.testing import RecordingHandler, connect, make_factory


class VerdictTests(SynchronousTestCase):
    def test_second_recipient_is_refused(self) -> None:
        handler = RecordingHandler({"RCPT": [None, "550 5.1.1 No such user"]})
        client = connect(make_factory(handler))
        client.send(
            b"EHLO client.example\r\nMAIL FROM:<ann@example.com>\r\n"
            b"RCPT TO:<bob@example.org>\r\nRCPT TO:<eve@example.org>\r\n"
            b"DATA\r\nSubject: Hello\r\n.\r\n"
        )
        (message,) = handler.messages
        self.assertEqual(message.rcpt_tos, ("bob@example.org",), client.transcript)
        self.assertEqual(message.content, b"Subject: Hello\r\n")
