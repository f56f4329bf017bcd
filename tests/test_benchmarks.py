"""
Tests for benchmarks: what it computes, checks and writes.  Nothing here is timed.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from benchmarks import CheckFailed, logins, report
from benchmarks.child import Mark
from benchmarks.compare import Ratio, Results, rotated
from benchmarks.load import Replies, Step
from benchmarks.workloads import WORKLOADS
from benchmarks.workloads.base import CPU, Goal, Sample
from benchmarks.workloads.kept import LockStep, Pipelined, content


def sample(cpu: float, *, client: float = 0.1, wall: float = 1.0) -> Sample:
    return Sample(cpu, client, wall, messages=1000, octets=1024000)


class RepliesTests(SynchronousTestCase):
    """
    How the load generator checks what a server says.
    """

    def setUp(self) -> None:
        self.replies = Replies()
        self.replies.expect((b"250", b"354"))

    def test_right(self) -> None:
        self.assertTrue(self.replies.feed(b"250-one\r\n250 two\r\n354 go\r\n"))

    def test_in_pieces(self) -> None:
        said = b"250-one\r\n250 two\r\n354\r\n"
        done = [self.replies.feed(said[at : at + 1]) for at in range(len(said))]
        self.assertEqual(done, [False] * (len(said) - 1) + [True])

    def test_wrong(self) -> None:
        """
        Every line has the code that is wanted, also those in the middle of a reply.
        """
        for said in (b"451 no\r\n", b"250-one\r\n251 two\r\n", b"2500 what\r\n", b"\r\n"):
            replies = Replies()
            replies.expect((b"250",))
            with self.assertRaisesRegex(CheckFailed, "wanted 250"):
                replies.feed(said)

    def test_too_much(self) -> None:
        for more in (b"250 more\r\n", b"2"):
            replies = Replies()
            replies.expect((b"250",))
            with self.assertRaisesRegex(CheckFailed, "wanted nothing"):
                replies.feed(b"250 one\r\n" + more)


class WorkloadTests(SynchronousTestCase):
    """
    What the servers are given to do.
    """

    def test_content(self) -> None:
        """
        It has the length that it says, ends a line, and needs no dot-stuffing.
        """
        for octets in range(900, 1100):
            made = content(octets)
            self.assertEqual(len(made), octets)
            self.assertEqual(made[-2:], b"\r\n")
            self.assertNotIn(b"\r\n.", made)
            self.assertEqual(made.count(b"\n"), made.count(b"\r\n"))

    def test_same_messages(self) -> None:
        """
        Lock-step and pipelined, the same octets are sent and the same replies wanted.
        """
        slow, fast = LockStep().script(3, 5), Pipelined().script(3, 5)
        self.assertEqual(b"".join(s.send for s in slow), b"".join(s.send for s in fast))
        self.assertEqual([c for s in slow for c in s.codes], [c for s in fast for c in s.codes])
        self.assertEqual((len(slow), len(fast)), (20, 6))

    def test_waits_for_go_ahead(self) -> None:
        """
        DATA ends a group (RFC 2920 section 3.1).
        """
        for step in Pipelined().script(0, 3)[:-1]:
            self.assertTrue(step.send.endswith(b"\r\nDATA\r\n"))
            self.assertEqual(step.codes[-1], b"354")

    def test_check(self) -> None:
        """
        The server must have counted each message, and all of it.
        """
        for workload in (LockStep(), Pipelined()):
            scripts = [workload.script(client, 4) for client in range(2)]
            workload.check(Mark(1.0, 8, 8192), scripts)
            for wrong in (Mark(1.0, 7, 8192), Mark(1.0, 8, 8191)):
                with self.assertRaisesRegex(CheckFailed, "8 messages of 1024 octets"):
                    workload.check(wrong, scripts)

    def test_opening(self) -> None:
        self.assertEqual(LockStep.opening[0], Step(b"", (b"220",), connect=True))

    def test_names(self) -> None:
        self.assertEqual(list(WORKLOADS), ["W2", "W3"])


class CompareTests(SynchronousTestCase):
    """
    Ratios and goals.
    """

    def test_mark(self) -> None:
        self.assertEqual(Mark(3.0, 20, 200) - Mark(1.0, 5, 50), Mark(2.0, 15, 150))

    def test_ratio(self) -> None:
        """
        It is taken within each round, and then the median of the rounds.
        """
        ratio = Ratio.of([1.0, 20.0, 3.0], [2.0, 10.0, 3.0])
        self.assertEqual(ratio, Ratio(1.0, 0.5, 2.0))
        self.assertEqual(str(ratio), "1.00 (0.50 to 2.00)")

    def test_rotated(self) -> None:
        turns = ["".join(rotated("abc", turn)) for turn in range(4)]
        self.assertEqual(turns, ["abc", "bca", "cab", "abc"])

    def test_goal(self) -> None:
        less, more = Goal("floor", 2.5), Goal("aiosmtpd", 20, at_least=True)
        self.assertEqual([less.met(2.5), less.met(2.51)], [True, False])
        self.assertEqual([more.met(20), more.met(19.9)], [True, False])
        self.assertEqual([str(less), str(more)], ["at most 2.5", "at least 20"])

    def test_measure(self) -> None:
        self.assertEqual(CPU.form.format(CPU.of(sample(0.25))), "250 µs")


class LoginsTests(SynchronousTestCase):
    """
    Two distributions of times, side by side.
    """

    def test_distribution(self) -> None:
        found = logins.Distribution.of([float(number) for number in range(100, -1, -1)])
        self.assertEqual((found.low, found.middle, found.high), (5.0, 50.0, 95.0))
        self.assertEqual(str(logins.Distribution(1e-6, 2.25e-5, 0.003)), "1.0 22.5 3000.0")

    def test_sooner(self) -> None:
        """
        Half of the time where nothing can be told.
        """
        for some, others, probability in (
            ([1.0, 2.0], [3.0], 1.0),
            ([3.0], [1.0, 2.0], 0.0),
            ([1.0, 2.0, 3.0], [3.0, 2.0, 1.0], 0.5),
            ([1.0], [1.0], 0.5),
            ([2.0], [1.0, 2.0, 3.0, 4.0], 0.625),
        ):
            self.assertEqual(logins.sooner(some, others), probability)

    def test_measure(self) -> None:
        """
        Each kind of file can be read, and refuses every attempt.
        """
        for kind in ("plain", "SCRAM"):
            known, unknown = logins.measure(kind, 2)
            self.assertEqual((len(known), len(unknown)), (2, 2))
            self.assertGreater(min(known + unknown), 0)
        self.assertEqual(list(logins.KINDS), ["plain", "SCRAM", "bcrypt", "scrypt", "argon2"])


class ReportTests(SynchronousTestCase):
    """
    The tables.
    """

    def results(self, **cpu: float) -> Results:
        return Results(LockStep(), {name: [sample(c)] * 5 for name, c in cpu.items()})

    def test_table(self) -> None:
        self.assertEqual(
            report.table(["a", "b"], [["1", "2"]]), "| a | b |\n| --- | --- |\n| 1 | 2 |"
        )

    def test_figures(self) -> None:
        lines = report.figures([self.results(txsmtpd=0.5, aiosmtpd=1.0, floor=0.25)]).splitlines()
        self.assertEqual(
            lines[2],
            "| W2 1 KiB, session kept, lock-step, 20 at once | txsmtpd | CPU per message | 500 µs"
            " | 2.00 (2.00 to 2.00) | 0.50 (0.50 to 0.50) | 1000 | 50 % | 10 % |",
        )
        self.assertEqual(len(lines), 5)

    def test_verdicts(self) -> None:
        said = report.verdicts([self.results(txsmtpd=0.5, aiosmtpd=1.0, floor=0.25)])
        self.assertIn("| W2 | CPU per message, of floor's | at most 2.5 | 2.00 | PASS |", said)
        self.assertIn("| W2 | CPU per message, of aiosmtpd's | at most 0.35 | 0.50 | miss |", said)

    def test_nothing_to_compare(self) -> None:
        """
        A server alone has figures, but no ratios and no verdict.
        """
        alone = [self.results(txsmtpd=0.5)]
        self.assertIn("500 µs |  |  | 1000", report.figures(alone))
        self.assertEqual(report.verdicts(alone), "")
        self.assertEqual(report.verdicts([self.results(aiosmtpd=1.0, floor=0.25)]), "")

    def test_doubts(self) -> None:
        """
        A server that was kept waiting, by us or by others.
        """
        cases = {
            "something else": sample(0.5),
            "load generator": sample(0.5, client=0.95),
            "": sample(0.95),
        }
        for cause, one in cases.items():
            said = list(report.doubts([Results(LockStep(), {"floor": [one]})]))
            self.assertEqual(len(said), bool(cause))
            self.assertIn(cause, "".join(said))

    def test_few_rounds(self) -> None:
        self.assertIn("not to be quoted", report.surroundings(4, 100, apart=True))
        self.assertNotIn("not to be quoted", report.surroundings(5, 100, apart=True))
