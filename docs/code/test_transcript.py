"""
A dialog that is written down, and replayed.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.testing import Rehearsal, Transcript

DIALOG = """
%hook RCPT "550 5.1.1 No such user"
S: 220 ...
C: EHLO client.example
S: *
C: MAIL FROM:<ann@example.com>
S: 250 2.1.0 ...
C: RCPT TO:<bob@example.org>
S: 550 5.1.1 No such user
"""


class DialogTests(SynchronousTestCase):
    def test_dialog(self) -> None:
        transcript = Transcript.parse(DIALOG)
        rehearsal = Rehearsal(transcript)
        for cut in transcript.cuts():
            rehearsal.replay(cut)
