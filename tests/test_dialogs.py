"""
Every transcript in tests/dialogs, replayed in every way.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.testing import Content, Cut, Replayed, Transcript, When

DIALOGS = Path(__file__).parent / "dialogs"

# How the client's octets come, when a hook answers, and how content is wanted.  These few are
# tried in every combination.  Every single cut in two is tried with hooks that answer at once and
# hooks that wait, and for each cut content is wanted in one of the two ways, by turns.  Where a
# client says more than testing.LONG octets, Transcript.cuts leaves out the inside of its lines.
CUTS: tuple[Cut, ...] = ("whole", "lock-step", "octets", "burst")
WHENS: tuple[When, ...] = ("now", "coroutine", "later")
CONTENTS: tuple[Content, ...] = ("whole", "stream")


class DialogTests(SynchronousTestCase):
    """
    One test for each transcript.
    """

    def replay_everywhere(self, transcript: Transcript) -> None:
        """
        The outcome is what the transcript says, and not an octet differs from one way to another.
        """
        contents = CONTENTS
        if transcript.verdicts.keys() & {"open_content", "write"}:
            contents = ("stream",)
        ways: list[tuple[Cut, When, Content]] = [
            (cut, when, content) for content in contents for when in WHENS for cut in CUTS
        ]
        for turn, cut in enumerate(transcript.cuts()):
            content = contents[turn % len(contents)]
            ways.extend(((cut, "now", content), (cut, "later", content)))
        first: Replayed | None = None
        for cut, when, content in ways:
            replayed = transcript.replay(cut=cut, when=when, content=content)
            logged = {failure.type.__name__ for failure in self.flushLoggedErrors()}
            self.assertEqual(set(transcript.logs), logged, (cut, when, content))
            first = first or replayed
            self.assertEqual(first, replayed, (cut, when, content))


def _test_of(path: Path) -> Callable[[DialogTests], None]:
    def test(self: DialogTests) -> None:
        self.replay_everywhere(Transcript.parse(path.read_text(encoding="utf-8")))

    test.__doc__ = f"The dialog in {path.name}."
    return test


for _path in DIALOGS.glob("*.txt"):
    setattr(DialogTests, f"test_{_path.stem.replace('-', '_')}", _test_of(_path))
