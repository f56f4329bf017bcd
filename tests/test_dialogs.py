"""
Every transcript in tests/dialogs, replayed in every way.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path

from twisted.logger import (
    FilteringLogObserver,
    Logger,
    LogLevel,
    LogLevelFilterPredicate,
    globalLogPublisher,
)
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd import logs
from txsmtpd.testing import Content, Cut, Rehearsal, Replayed, Transcript, When

DIALOGS = Path(__file__).parent / "dialogs"

# How the client's octets come, when a hook answers, and how content is wanted: these are tried in
# every combination.  Then every single cut in two is tried with hooks that answer at once.  With
# hooks that wait, the second part comes while the last hook that the first has asked is undecided:
# there only the cuts near the ends of lines differ, and the others are not tried again.  For the
# cuts content is wanted in one way and the other by turns.  Where a client says more than
# testing.LONG octets, Transcript.cuts leaves out the inside of its lines.
CUTS: tuple[Cut, ...] = ("whole", "lock-step", "octets", "burst")
WHENS: tuple[When, ...] = ("now", "coroutine", "later")
CONTENTS: tuple[Content, ...] = ("whole", "stream")

# Trial spells out every event of the log, which takes longer than what is logged: for the single
# cuts only warnings and errors go that far.
QUIET = Logger(
    observer=FilteringLogObserver(
        globalLogPublisher, [LogLevelFilterPredicate(defaultLogLevel=LogLevel.warn)]
    )
)


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
        said = b"".join(part.said for part in transcript.script)
        for place in transcript.cuts():
            content = contents[place % len(contents)]
            ways.append((place, "now", content))
            if b"\n" in said[max(place - 2, 0) : place + 2]:
                ways.append((place, "later", content))

        @cache
        def rehearsal(when: When, content: Content, every_hook: bool) -> Rehearsal:
            # To make a server takes longer than most dialogs, so each serves many of them.
            return Rehearsal(transcript, when=when, content=content, every_hook=every_hook)

        first: Replayed | None = None
        loud = logs._log
        for cut, when, content in ways:
            # A hook that says nothing is no different from none, so let some replays have none.
            every_hook = when != "now" or not isinstance(cut, int)
            self.patch(logs, "_log", QUIET if isinstance(cut, int) else loud)
            replayed = rehearsal(when, content, every_hook).replay(cut)
            logged = [failure.type.__name__ for failure in self.flushLoggedErrors()]
            self.assertTrue(transcript.explains(logged), (cut, when, content, logged))
            first = first or replayed
            self.assertEqual(first, replayed, (cut, when, content))


def _test_of(path: Path) -> Callable[[DialogTests], None]:
    def test(self: DialogTests) -> None:
        self.replay_everywhere(Transcript.parse(path.read_text(encoding="utf-8")))

    test.__doc__ = f"The dialog in {path.name}."
    return test


for _path in DIALOGS.glob("*.txt"):
    setattr(DialogTests, f"test_{_path.stem.replace('-', '_')}", _test_of(_path))
