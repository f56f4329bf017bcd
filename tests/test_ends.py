"""
Tests for how a connection ends, and for what a client or a hook may not exceed: time, length and
number.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

from twisted.internet.address import IPv4Address, UNIXAddress
from twisted.internet.defer import CancelledError, Deferred

from txsmtpd.testing import Client, RecordingHandler, connect, make_factory

from .test_flow import (
    CONTENT,
    DATA,
    MAIL,
    MESSAGE,
    RCPT,
    FlowTestCase,
    Later,
    Opening,
    Receiver,
    Stubborn,
    codes,
    greeted,
)


class HookTimeoutTests(FlowTestCase):
    """
    A step that is pending for too long is cancelled and answered 451, and the session goes on.
    """

    def check(self, hook: str, sent: bytes, *, timeout: int = 300, **options: Any) -> list[int]:
        """
        :return: the codes of the replies from the one to the hook on.
        """
        later = Later()
        handler = RecordingHandler({hook: later}, **options)
        client = greeted(handler)
        client.send(sent + b"RSET\r\n")
        codes(client)
        client.wait(timeout - 1)
        self.assertEqual(codes(client), [])
        self.assertEqual(later.cancelled, [])
        client.wait(1)
        self.assertEqual(later.cancelled, later.waiting)
        heard = client.take()
        client.send(b"NOOP\r\n")
        self.assertEqual(codes(client), [250])
        self.assertEqual(len(self.log_lines("timeout")), 1)
        self.assertIn("took too long", self.log_lines("timeout")[0])
        self.logged.clear()
        client.disconnect()
        self.assert_clean(client)
        replies = heard.split(b"\r\n")
        self.assertTrue(replies[0].startswith(b"451 4.3.0 "), heard)
        return [int(reply[:3]) for reply in replies if reply]

    def test_commands(self) -> None:
        cases = {
            "EHLO": b"EHLO c.example\r\n",
            "HELO": b"HELO c.example\r\n",
            "MAIL": MAIL,
            "RCPT": RCPT,
            "DATA_start": DATA,
            "NOOP": b"NOOP\r\n",
            "VRFY": b"VRFY x\r\n",
            "EXPN": b"EXPN x\r\n",
            "HELP": b"HELP\r\n",
        }
        for hook, sent in cases.items():
            if hook == "NOOP":
                continue
            self.assertEqual(self.check(hook, sent), [451, 250], hook)

    def test_rset(self) -> None:
        """
        It happens all the same.
        """
        later = Later()
        handler = RecordingHandler({"RSET": later})
        client = greeted(handler)
        client.send(RCPT + b"RSET\r\nDATA\r\n")
        client.wait(300)
        self.assertEqual(codes(client)[-2:], [451, 503])

    def test_quit(self) -> None:
        """
        So does this.
        """
        client = greeted(RecordingHandler({"QUIT": Later()}))
        client.send(b"QUIT\r\n")
        client.wait(300)
        self.assertEqual(codes(client), [451])
        self.assert_clean(client)

    def test_connect(self) -> None:
        """
        At the greeting it is 421.
        """
        later = Later()
        client = connect(make_factory(RecordingHandler({"CONNECT": later})))
        client.send(b"EHLO c.example\r\n")
        client.wait(300)
        self.assertTrue(client.received.startswith(b"421 4.3.0 "))
        self.assertEqual(codes(client), [421])
        self.assertEqual(later.cancelled, later.waiting)
        self.assert_clean(client)

    def test_first_chunk(self) -> None:
        """
        Its octets are swallowed, and the next chunk too.
        """
        commands = b"BDAT 6\r\nNOOP\r\nBDAT 6 LAST\r\nNOOP\r\n"
        self.assertEqual(self.check("DATA_start", RCPT + commands), [451, 503, 250])

    def test_write(self) -> None:
        """
        The rest is swallowed, and the reply comes when the content ends.
        """
        self.assertEqual(self.check("write", MESSAGE, content="stream"), [451, 250])

    def test_write_in_the_middle(self) -> None:
        later = Later()
        handler = RecordingHandler({"write": later}, content="stream")
        client = greeted(handler)
        client.send(DATA + CONTENT)
        codes(client)
        client.wait(300)
        self.assertEqual(later.cancelled, later.waiting)
        self.assertEqual(codes(client), [])
        client.send(CONTENT)
        client.send(b".\r\nNOOP\r\n")
        self.assertEqual(codes(client), [451, 250])
        self.assertEqual([call.hook for call in handler.calls].count("abort"), 1)
        self.assertEqual(handler.messages, [])

    def test_two_receivers(self) -> None:
        later = Later()
        handlers = [RecordingHandler({"write": later}, content="stream") for _ in range(2)]
        client = greeted(*handlers)
        client.send(MESSAGE + b"NOOP\r\n")
        codes(client)
        client.wait(300)
        self.assertEqual(later.cancelled, later.waiting)
        self.assertEqual(codes(client), [451, 250])

    def test_delivery(self) -> None:
        """
        It has twice the time.
        """
        for content in ("whole", "stream"):
            self.assertEqual(self.check("DATA", MESSAGE, timeout=600, content=content), [451, 250])

    def test_delivery_of_chunks(self) -> None:
        sent = RCPT + b"BDAT 5 LAST\r\nHello"
        self.assertEqual(self.check("DATA", sent, timeout=600), [451, 250])

    def test_opening(self) -> None:
        later = Later()
        quick = RecordingHandler(content="stream")
        client = greeted(quick, Opening(later))
        client.send(DATA + b"NOOP\r\n")
        codes(client)
        client.wait(300)
        self.assertEqual(codes(client), [451, 250])
        self.assertEqual(later.cancelled, later.waiting)
        self.assertIn("abort", [call.hook for call in quick.calls])

    def test_opening_in_the_first_chunk(self) -> None:
        client = greeted(Opening(Later()))
        client.send(RCPT + b"BDAT 6 LAST\r\nNOOP\r\nRSET\r\n")
        codes(client)
        client.wait(300)
        self.assertEqual(codes(client), [451, 250])

    def test_setting(self) -> None:
        client = greeted(RecordingHandler({"NOOP": Later()}), hook_timeout=7)
        client.send(b"NOOP\r\n")
        client.wait(6)
        self.assertEqual(codes(client), [])
        client.wait(1)
        self.assertEqual(codes(client), [451])

    def test_no_timeout(self) -> None:
        later = Later()
        client = greeted(RecordingHandler({"NOOP": later}), hook_timeout=0)
        client.send(b"NOOP\r\n")
        client.wait(1_000_000)
        self.assertEqual(codes(client), [])
        later.fire(client)
        self.assertEqual(codes(client), [250])

    def test_idle_time_begins_behind_it(self) -> None:
        """
        The client was waiting for us, so it has its whole time again.
        """
        later = Later()
        client = greeted(RecordingHandler({"NOOP": later}))
        client.send(b"NOOP\r\n")
        client.wait(299)
        later.fire(client)
        codes(client)
        client.wait(299)
        self.assertFalse(client.closed)
        client.wait(1)
        self.assertEqual(codes(client), [421])

    def test_each_step_has_its_own_time(self) -> None:
        later = Later()
        client = greeted(RecordingHandler({"NOOP": later}))
        client.send(b"NOOP\r\n" * 3)
        for _ in range(3):
            client.wait(299)
            later.fire(client)
        self.assertEqual(codes(client), [250, 250, 250])

    def test_several_time_out(self) -> None:
        client = greeted(RecordingHandler({"VRFY": Later()}))
        client.send(b"VRFY x\r\n" * 3 + b"NOOP\r\n")
        for _ in range(3):
            client.wait(300)
            self.assertEqual(codes(client)[0], 451)
        client.send(b"NOOP\r\n")
        self.assertEqual(codes(client), [250])

    def test_chain(self) -> None:
        """
        The time is for all handlers together, and those behind the late one are not asked.
        """
        later = Later()
        first, second = RecordingHandler({"RCPT": later}), RecordingHandler()
        client = greeted(first, second)
        client.send(RCPT + b"DATA\r\n")
        codes(client)
        client.wait(300)
        self.assertEqual(codes(client), [451, 554])
        self.assertNotIn("RCPT", [call.hook for call in second.calls])

    def test_exception_hook(self) -> None:
        """
        It is told, and what it says is sent.
        """
        handler = RecordingHandler({"VRFY": Later(), "exception": "450 4.2.1 Slow today"})
        client = greeted(handler)
        client.send(b"VRFY x\r\n")
        client.wait(300)
        self.assertEqual(client.take(), b"450 4.2.1 Slow today\r\n")
        self.assertEqual([call.hook for call in handler.calls][-1], "exception")

    def test_exception_hook_that_waits(self) -> None:
        """
        It may not hang the session either.
        """
        later = Later()
        handler = RecordingHandler({"VRFY": later, "exception": later})
        client = greeted(handler)
        client.send(b"VRFY x\r\nNOOP\r\n")
        client.wait(300)
        client.wait(300)
        self.assertEqual(codes(client), [451, 250])
        self.assertEqual(later.cancelled, later.waiting)
        client.disconnect()
        self.assert_clean(client)

    def test_answers_when_cancelled(self) -> None:
        """
        Too late is too late, also by a moment.
        """

        async def hook(*arguments: Any) -> str:
            with contextlib.suppress(CancelledError):
                await Deferred()
            return "250 2.1.5 After all"

        handler = RecordingHandler({"RCPT": hook})
        client = greeted(handler)
        client.send(RCPT + b"DATA\r\n")
        codes(client)
        client.wait(300)
        self.assertEqual(codes(client), [451, 554])
        self.assertEqual(handler.calls[-1].envelope.recipients, [])

    def test_fails_when_cancelled(self) -> None:
        async def hook(*arguments: Any) -> None:
            try:
                await Deferred()
            finally:
                raise RuntimeError("boom")

        client = greeted(RecordingHandler({"VRFY": hook}))
        client.send(b"VRFY x\r\nNOOP\r\n")
        client.wait(300)
        self.assertEqual(codes(client), [451, 250])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)


class LateVerdictTests(FlowTestCase):
    """
    A hook that swallows its cancellation and answers later changes nothing any more.
    """

    def stubborn(self, hook: str, sent: bytes, timeout: int = 300, **options: Any) -> Client:
        """
        :return: a client whose step has timed out, while the hook goes on.
        """
        self.hook = Stubborn()
        self.handler = RecordingHandler({hook: self.hook}, **options)
        client = greeted(self.handler)
        client.send(sent)
        client.take()
        client.wait(timeout)
        self.assertEqual(self.hook.cancelled, 1)
        return client

    def test_mail(self) -> None:
        client = self.stubborn("MAIL", MAIL)
        self.assertEqual(codes(client), [451])
        envelope = self.handler.calls[-1].envelope
        self.hook.fire(client, "250 Late")
        self.assertEqual(client.take(), b"")
        self.assertIsNone(envelope.mail_from)
        client.send(b"RCPT TO:<c@d.example>\r\n")
        self.assertEqual(codes(client), [503])

    def test_mail_in_the_next_transaction(self) -> None:
        """
        It comes when the next transaction is open, and does not touch that.
        """
        self.hook = Stubborn()
        self.handler = RecordingHandler({"MAIL": [None, None]})
        handler = RecordingHandler({"MAIL": lambda *arguments: answers.pop(0)(*arguments)})
        answers: list[Callable[..., Any]] = [self.hook, lambda *arguments: None]
        client = greeted(handler)
        client.send(MAIL)
        client.wait(300)
        client.send(b"MAIL FROM:<second@b.example>\r\nRCPT TO:<c@d.example>\r\n")
        self.assertEqual(codes(client), [250, 451, 250, 250])
        self.hook.fire(client, "550 Late")
        client.send(b"DATA\r\n" + CONTENT + b".\r\n")
        self.assertEqual(codes(client), [354, 250])
        (message,) = handler.messages
        self.assertEqual(message.mail_from, "second@b.example")

    def test_rcpt(self) -> None:
        client = self.stubborn("RCPT", RCPT)
        self.assertEqual(codes(client), [451])
        self.hook.fire(client, "250 Late")
        self.assertEqual(client.take(), b"")
        envelope = self.handler.calls[-1].envelope
        self.assertEqual((envelope.recipients, envelope.rcpt_tos), ([], []))
        client.send(b"DATA\r\n")
        self.assertEqual(codes(client), [554])

    def test_helo(self) -> None:
        client = self.stubborn("HELO", b"HELO c.example\r\n")
        self.assertEqual(codes(client), [451])
        self.hook.fire(client, "250 Late")
        self.assertIsNone(self.handler.calls[-1].session.host_name)
        client.send(b"MAIL FROM:<a@b.example>\r\n")
        self.assertEqual(codes(client), [503])

    def test_data_start(self) -> None:
        client = self.stubborn("DATA_start", DATA)
        self.assertEqual(codes(client), [451])
        self.hook.fire(client, "354 Late")
        client.send(b"NOOP\r\n")
        self.assertEqual(codes(client), [250])

    def test_first_chunk(self) -> None:
        client = self.stubborn("DATA_start", RCPT + b"BDAT 6\r\nNOOP\r\n")
        self.assertEqual(codes(client), [451])
        self.hook.fire(client, None)
        client.send(b"BDAT 6 LAST\r\nNOOP\r\nNOOP\r\n")
        self.assertEqual(codes(client), [503, 250])
        self.assertEqual(self.handler.messages, [])

    def test_write(self) -> None:
        client = self.stubborn("write", DATA + CONTENT, content="stream")
        client.send(CONTENT + b".\r\n")
        self.assertEqual(codes(client), [451])
        self.hook.fire(client)
        client.send(b"NOOP\r\n")
        self.assertEqual(codes(client), [250])
        self.assertEqual(self.handler.messages, [])

    def test_delivery(self) -> None:
        for content in ("whole", "stream"):
            client = self.stubborn("DATA", MESSAGE, 600, content=content)
            self.assertEqual(codes(client), [451])
            self.hook.fire(client, "250 Late")
            client.send(b"NOOP\r\n")
            self.assertEqual(codes(client), [250])

    def test_delivery_while_the_next_one_is_pending(self) -> None:
        """
        Nobody takes it for the verdict on another message.
        """
        first, second = Stubborn(), Later()
        answers: list[Callable[..., Any]] = [first, second]
        handler = RecordingHandler({"DATA": lambda *arguments: answers.pop(0)(*arguments)})
        client = greeted(handler)
        client.send(MESSAGE)
        client.wait(600)
        client.send(MESSAGE)
        client.take()
        first.fire(client, "550 Late")
        self.assertEqual(client.take(), b"")
        second.fire(client, "250 2.0.0 Second")
        self.assertEqual(client.take(), b"250 2.0.0 Second\r\n")

    def test_opening(self) -> None:
        """
        A receiver that comes too late is told that there will be no message, so that it leaves
        nothing behind.
        """
        stubborn, receiver = Stubborn(), Receiver()
        client = greeted(Opening(stubborn))
        client.send(DATA)
        client.wait(300)
        self.assertEqual(codes(client)[-1], 451)
        stubborn.fire(client, receiver)
        client.send(b"NOOP\r\n")
        self.assertEqual(codes(client), [250])
        self.assertEqual(receiver.told, ["abort"])

    def test_connect(self) -> None:
        stubborn = Stubborn()
        client = connect(make_factory(RecordingHandler({"CONNECT": stubborn})))
        client.wait(300)
        self.assertEqual(codes(client), [421])
        stubborn.fire(client, "220 Late")
        self.assertEqual(client.take(), b"")
        self.assert_clean(client)

    def test_late_failure_is_logged(self) -> None:
        client = self.stubborn("RCPT", RCPT)
        self.hook.answer.errback(RuntimeError("boom"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        client.send(b"NOOP\r\n")
        self.assertEqual(codes(client), [451, 250])


class LineLengthTests(FlowTestCase):
    """
    Long lines are one line each, and memory has an end.
    """

    def test_longest_command(self) -> None:
        client = greeted(RecordingHandler())
        client.send(b"NOOP ".ljust(2046, b"x") + b"\r\n")
        self.assertEqual(codes(client), [250])

    def test_too_long(self) -> None:
        """
        One reply, in whatever segments it comes.
        """
        said = b"500 5.5.2 Command line too long\r\n250 2.0.0 OK\r\n"
        cuts = [(2047, 1), (4095, 1), (4096, 500), (4098, 4095), (30_000, 500), (65_536, 4097)]
        for size, cut in [*cuts, *((size, 70_000) for size, _ in cuts)]:
            line = b"NOOP ".ljust(size, b"x") + b"\r\n"
            client = greeted(RecordingHandler())
            client.send(*(line[at : at + cut] for at in range(0, len(line), cut)), b"RSET\r\n")
            self.assertEqual(client.take(), said, (size, cut))

    def test_tail_is_no_command(self) -> None:
        handler = RecordingHandler()
        client = greeted(handler)
        for start in range(9):
            client.send(b"VRFY ".ljust(4088 + start, b"x") + b"NOOP x\r\n")
            self.assertEqual(codes(client), [500])
        self.assertEqual([call.hook for call in handler.calls], ["CONNECT"])

    def test_unknown_verb(self) -> None:
        client = greeted(RecordingHandler())
        client.send(b"x" * 5000 + b"\r\nNOOP\r\n")
        self.assertEqual(codes(client), [500, 250])

    def test_endless_in_many_segments(self) -> None:
        handler = RecordingHandler()
        client = greeted(handler)
        sizes = []
        for _ in range(80):
            client.send(b"x" * 1000)
            sizes.append(len(client.protocol._arrived))
        self.assertTrue(client.received.endswith(b"421 4.7.0 Line without end\r\n"))
        self.assertEqual(codes(client), [421])
        self.assertLess(max(sizes), 65_539)
        self.assert_clean(client)

    def test_endless_in_one_segment(self) -> None:
        client = greeted(RecordingHandler())
        client.send(b"x" * 100_000)
        self.assertEqual(codes(client), [421])
        self.assert_clean(client)

    def test_endless_with_following_commands(self) -> None:
        """
        Nothing of the line and nothing behind it is run.
        """
        for size in (65_537, 65_538, 65_600, 131_072):
            for first in (size, 65_530, 70_000):
                handler = RecordingHandler()
                client = greeted(handler)
                sent = b"x" * size + b"\r\nNOOP\r\nVRFY x\r\n"
                client.protocol.dataReceived(sent[:first])
                if not client.protocol.closing:
                    client.protocol.dataReceived(sent[first:])
                client.pump()
                self.assertEqual(codes(client), [421])
                self.assertEqual([call.hook for call in handler.calls], ["CONNECT", "DISCONNECT"])
                self.assert_clean(client)

    def test_endless_behind_commands(self) -> None:
        client = greeted(RecordingHandler())
        client.send(b"NOOP\r\n" * 3 + b"x" * 70_000)
        self.assertEqual(codes(client), [250, 250, 250, 421])
        self.assert_clean(client)

    def test_endless_behind_a_pending_hook(self) -> None:
        later = Later()
        client = greeted(RecordingHandler({"NOOP": later}))
        client.send(b"NOOP\r\n" + b"x" * 70_000)
        self.assertEqual(codes(client), [])
        later.fire(client)
        self.assertEqual(codes(client), [250, 421])
        self.assert_clean(client)

    def test_bare_line_feed_stays_inside(self) -> None:
        handler = RecordingHandler()
        client = greeted(handler)
        client.send(b"NOOP a\nVRFY x\r\n")
        client.send(b"NOOP\nVRFY x\r\n")
        client.send(b"NOOP\rVRFY x\r\n")
        self.assertEqual(codes(client), [500, 500, 500])
        self.assertEqual([call.hook for call in handler.calls], ["CONNECT"])

    def test_cut_line_end(self) -> None:
        client = greeted(RecordingHandler())
        client.send(b"NOOP\r", b"\nNOOP\r", b"\n")
        self.assertEqual(codes(client), [250, 250])


class IdleTests(FlowTestCase):
    """
    A client that says nothing for too long is told 421 4.4.2.
    """

    def assert_timed_out(self, client: Client) -> None:
        self.assertTrue(client.received.endswith(b"421 4.4.2 Timed out\r\n"), client.transcript)
        self.assert_clean(client)

    def test_idle(self) -> None:
        handler = RecordingHandler()
        client = greeted(handler)
        client.wait(299.5)
        self.assertFalse(client.closed)
        client.wait(0.5)
        self.assert_timed_out(client)
        self.assertEqual([call.hook for call in handler.calls], ["CONNECT", "DISCONNECT"])

    def test_each_command_has_its_time(self) -> None:
        client = greeted(RecordingHandler())
        for _ in range(5):
            client.wait(299)
            client.send(b"NOOP\r\n")
        self.assertEqual(codes(client), [250] * 5)
        client.wait(299)
        self.assertFalse(client.closed)
        client.wait(1)
        self.assert_timed_out(client)

    def test_trickled_command(self) -> None:
        """
        Only a complete line counts.
        """
        client = greeted(RecordingHandler())
        for _ in range(10):
            client.wait(29)
            client.send(b"x")
        client.wait(10)
        self.assert_timed_out(client)

    def test_trickled_behind_a_command(self) -> None:
        client = greeted(RecordingHandler())
        client.wait(100)
        client.send(b"NOOP\r\nNO")
        client.wait(200)
        client.send(b"OP")
        client.wait(100)
        self.assert_timed_out(client)

    def test_content(self) -> None:
        """
        In content each read counts, and what was received is not delivered.
        """
        handler = RecordingHandler()
        client = greeted(handler)
        client.send(DATA)
        for _ in range(5):
            client.wait(299)
            client.send(b"x")
        self.assertFalse(client.closed)
        client.wait(300)
        self.assert_timed_out(client)
        self.assertEqual(handler.messages, [])

    def test_chunk(self) -> None:
        client = greeted(RecordingHandler())
        client.send(RCPT + b"BDAT 10 LAST\r\n")
        for _ in range(9):
            client.wait(299)
            client.send(b"x")
        self.assertFalse(client.closed)
        client.wait(300)
        self.assert_timed_out(client)

    def test_between_chunks(self) -> None:
        handler = RecordingHandler(content="stream")
        client = greeted(handler, timeout=10, data_timeout=100)
        client.send(RCPT + b"BDAT 5\r\nHello")
        client.wait(10)
        self.assert_timed_out(client)
        self.assertEqual([call.hook for call in handler.calls].count("abort"), 1)

    def test_data_timeout(self) -> None:
        client = greeted(RecordingHandler(), data_timeout=20)
        client.send(DATA)
        client.wait(19)
        client.send(CONTENT)
        client.wait(19)
        self.assertFalse(client.closed)
        client.wait(1)
        self.assert_timed_out(client)

    def test_data_timeout_ends_with_content(self) -> None:
        client = greeted(RecordingHandler(), data_timeout=20)
        client.send(MESSAGE)
        client.wait(299)
        self.assertFalse(client.closed)
        client.wait(1)
        self.assert_timed_out(client)

    def test_longer_data_timeout(self) -> None:
        client = greeted(RecordingHandler(), timeout=20, data_timeout=100)
        client.send(DATA)
        client.wait(99)
        self.assertFalse(client.closed)
        client.wait(1)
        self.assert_timed_out(client)

    def test_setting(self) -> None:
        client = greeted(RecordingHandler(), timeout=2.5)
        client.wait(2)
        self.assertFalse(client.closed)
        client.wait(0.5)
        self.assert_timed_out(client)

    def test_never(self) -> None:
        client = greeted(RecordingHandler(), timeout=0)
        self.assertEqual(client.clock.getDelayedCalls(), [])
        client.send(DATA)
        client.wait(1e8)
        client.send(CONTENT + b".\r\n")
        client.wait(1e8)
        self.assertEqual(codes(client), [250, 250, 250, 354, 250])
        client.send(b"QUIT\r\n")
        self.assert_clean(client)

    def test_client_that_does_not_read(self) -> None:
        """
        It is idle too, and is aborted when it does not read our farewell either.
        """
        handler = RecordingHandler({"HELP": "214 " + "x" * 490})
        client = greeted(handler)
        client.reading = False
        client.send(b"HELP\r\n" * 1000)
        client.wait(300)
        self.assertFalse(client.closed)
        client.wait(30)
        self.assert_clean(client)
        self.assertEqual(handler.calls[-1].hook, "DISCONNECT")

    def test_client_that_reads_late(self) -> None:
        client = greeted(RecordingHandler())
        client.reading = False
        client.send(b"NOOP\r\n")
        client.wait(300)
        client.reading = True
        client.pump()
        self.assert_timed_out(client)

    def test_one_delayed_call(self) -> None:
        """
        A connection has one timer, however much goes on.
        """
        later = Later()
        client = greeted(RecordingHandler({"VRFY": later}))

        def timers() -> int:
            return len(client.clock.getDelayedCalls())

        for sent in (b"NOOP\r\n", MESSAGE, b"VRFY x\r\n", b"NOOP\r\n"):
            client.send(sent)
            client.wait(1)
            self.assertEqual(timers(), 1)
        later.fire(client)
        self.assertEqual(timers(), 1)
        client.disconnect()
        self.assert_clean(client)

    def test_many_commands_do_not_touch_the_reactor(self) -> None:
        client = greeted(RecordingHandler())
        calls = client.clock.getDelayedCalls()
        for _ in range(100):
            client.wait(1)
            client.send(b"NOOP\r\n")
        self.assertEqual(client.clock.getDelayedCalls(), calls)


class SessionTimeoutTests(FlowTestCase):
    """
    A session that lasts too long is told 421 4.4.2.
    """

    def session(self, handler: object) -> Client:
        return greeted(handler, session_timeout=1000)

    def test_busy_client(self) -> None:
        client = self.session(RecordingHandler())
        for _ in range(9):
            client.wait(100)
            client.send(b"NOOP\r\n")
        client.wait(99)
        self.assertFalse(client.closed)
        client.wait(1)
        self.assertTrue(client.take().endswith(b"421 4.4.2 Timed out\r\n"))
        self.assert_clean(client)

    def test_off_by_default(self) -> None:
        client = greeted(RecordingHandler())
        for _ in range(1000):
            client.wait(299)
            client.send(b"NOOP\r\n")
        self.assertFalse(client.closed)

    def test_in_content(self) -> None:
        """
        A message that trickles in for so long is not waited for.
        """
        handler = RecordingHandler(content="stream")
        client = self.session(handler)
        client.send(DATA)
        for _ in range(10):
            client.wait(100)
            client.send(b"x")
        self.assertEqual(codes(client)[-1], 421)
        self.assertEqual([call.hook for call in handler.calls][-2:], ["abort", "DISCONNECT"])
        self.assert_clean(client)

    def test_pending_hook(self) -> None:
        """
        Its reply comes first.
        """
        later = Later()
        client = self.session(RecordingHandler({"NOOP": later}))
        for _ in range(4):
            client.wait(200)
            client.send(b"RSET\r\n")
        client.send(b"NOOP\r\nRSET\r\n")
        client.take()
        client.wait(200)
        self.assertEqual(client.take(), b"")
        later.fire(client)
        self.assertEqual(codes(client), [250, 421])
        self.assert_clean(client)

    def test_pending_delivery(self) -> None:
        later = Later()
        handler = RecordingHandler({"DATA": later})
        client = greeted(handler, session_timeout=100)
        client.send(MESSAGE)
        client.take()
        client.wait(100)
        self.assertEqual(later.cancelled, [])
        later.fire(client)
        self.assertEqual(codes(client), [250, 421])
        self.assertEqual(len(handler.messages), 1)
        self.assert_clean(client)

    def test_receiver_that_is_not_ready(self) -> None:
        later = Later()
        handler = RecordingHandler({"write": later}, content="stream")
        client = greeted(handler, session_timeout=100)
        client.send(DATA + CONTENT)
        client.take()
        client.wait(100)
        self.assertEqual(client.take(), b"")
        later.fire(client)
        self.assertEqual(codes(client), [421])
        self.assertEqual(handler.messages, [])
        self.assert_clean(client)

    def test_closing_already(self) -> None:
        client = greeted(RecordingHandler(), session_timeout=10)
        client.reading = False
        client.send(b"QUIT\r\n")
        client.wait(10)
        client.reading = True
        client.pump()
        self.assertEqual(codes(client), [221])
        self.assert_clean(client)


class LingerTests(FlowTestCase):
    """
    A connection that is closed waits for what was written to leave, but not for ever.
    """

    def test_everything_leaves_first(self) -> None:
        client = greeted(RecordingHandler({"HELP": "214 " + "x" * 490}))
        client.reading = False
        client.send(b"HELP\r\n" * 100 + b"QUIT\r\n")
        client.wait(29)
        self.assertFalse(client.closed)
        client.reading = True
        client.pump()
        self.assertEqual(codes(client), [214] * 100 + [221])
        self.assert_clean(client)

    def test_aborted_when_it_is_never_read(self) -> None:
        endings: list[Callable[[Client], None]] = [
            lambda client: client.send(b"QUIT\r\n"),
            lambda client: client.send(b"x" * 70_000),
            lambda client: client.send(b"NOOP\r\nGET / HTTP/1.0\r\n"),
        ]
        for end in endings:
            client = greeted(RecordingHandler())
            client.reading = False
            end(client)
            client.wait(29)
            self.assertFalse(client.closed)
            client.wait(1)
            self.assertEqual(client.take(), b"")
            self.assert_clean(client)

    def test_also_without_idle_timeout(self) -> None:
        client = greeted(RecordingHandler(), timeout=0, hook_timeout=0)
        client.reading = False
        client.send(b"QUIT\r\n")
        client.wait(30)
        self.assert_clean(client)

    def test_what_comes_meanwhile_is_not_obeyed(self) -> None:
        handler = RecordingHandler()
        client = greeted(handler)
        client.reading = False
        client.send(b"QUIT\r\n")
        client.protocol.dataReceived(b"NOOP\r\n" * 100_000)
        self.assertEqual(client.protocol._arrived, b"")
        self.assertEqual([call.hook for call in handler.calls], ["CONNECT", "QUIT"])

    def test_half_closed_meanwhile(self) -> None:
        client = greeted(RecordingHandler())
        client.reading = False
        client.send(b"QUIT\r\n")
        client.protocol.readConnectionLost()
        client.reading = True
        client.pump()
        self.assertEqual(codes(client), [221])
        self.assert_clean(client)


class MaximumTests(FlowTestCase):
    """
    Connections over the limit are told 421 4.7.0, and nobody else hears of them.
    """

    REFUSED = b"421 4.7.0 Too many connections, try again later\r\n"

    def test_total(self) -> None:
        handler = RecordingHandler()
        factory = make_factory(handler, max_connections=2)
        first, second = connect(factory), connect(factory)
        for _ in range(5):
            refused = connect(factory)
            self.assertEqual(refused.received, self.REFUSED)
            self.assertTrue(refused.closed)
        self.assertEqual([call.hook for call in handler.calls], ["CONNECT", "CONNECT"])
        first.send(b"QUIT\r\n")
        third = connect(factory)
        self.assertEqual(codes(third), [220])
        self.assertEqual(connect(factory).received, self.REFUSED)
        for client in (second, third):
            client.disconnect()
        self.assert_clean(third)

    def test_slot_comes_back(self) -> None:
        """
        However the connection ends.
        """
        endings: list[Callable[[Client], None]] = [
            lambda client: client.send(b"QUIT\r\n"),
            lambda client: client.disconnect(),
            lambda client: client.half_close(),
            lambda client: client.wait(300),
            lambda client: client.send(b"\x16\x03\x01"),
            disconnect_in_content,
            lambda client: client.transport.abortConnection(),
            lambda client: client.send(b"VRFY x\r\n"),
        ]
        handler = RecordingHandler({"VRFY": "421 Go"})
        factory = make_factory(handler, max_connections=1)
        for end in endings:
            client = connect(factory)
            self.assertEqual(codes(client), [220])
            self.assertEqual(connect(factory).received, self.REFUSED)
            end(client)
            client.pump()
            self.assertTrue(client.closed)
        client = connect(factory)
        self.assertEqual(codes(client), [220])
        client.disconnect()
        self.assert_clean(client)

    def test_refused_ones_do_not_count(self) -> None:
        """
        Neither while they last nor when they are gone.
        """
        factory = make_factory(RecordingHandler(), max_connections=1)
        client = connect(factory)
        refused = [connect(factory, reading=False) for _ in range(3)]
        client.disconnect()
        client = connect(factory)
        self.assertEqual(codes(client), [220])
        for one in refused:
            one.disconnect()
        self.assertEqual(connect(factory).received, self.REFUSED)
        client.disconnect()
        self.assertEqual(codes(connect(factory)), [220])

    def test_refused_client_talks(self) -> None:
        """
        It is not obeyed, and neither is one that speaks TLS.
        """
        handler = RecordingHandler()
        factory = make_factory(handler, max_connections=1)
        connect(factory)
        for sent in (MESSAGE, b"\x16\x03\x01"):
            client = connect(factory, reading=False)
            client.protocol.dataReceived(sent)
            client.protocol.readConnectionLost()
            client.reading = True
            client.pump()
            self.assertEqual(client.received, self.REFUSED)
            self.assertTrue(client.closed)
        self.assertEqual([call.hook for call in handler.calls], ["CONNECT"])

    def test_refused_client_does_not_read(self) -> None:
        factory = make_factory(RecordingHandler(), max_connections=1)
        first = connect(factory)
        client = connect(factory, reading=False)
        client.wait(30)
        self.assertTrue(client.closed)
        first.disconnect()
        self.assert_clean(first)

    def test_hook_that_refuses(self) -> None:
        """
        A connection counts while its greeting is pending, and no longer when it was refused.
        """
        later = Later()
        factory = make_factory(RecordingHandler({"CONNECT": later}), max_connections=1)
        client = connect(factory)
        self.assertEqual(connect(factory).received, self.REFUSED)
        later.fire(client, "521 No")
        self.assertTrue(client.closed)
        client = connect(factory)
        self.assertEqual(client.received, b"")
        client.disconnect()
        self.assert_clean(client)

    def test_per_host(self) -> None:
        factory = make_factory(RecordingHandler(), max_connections_per_host=2)
        mine = [connect(factory, peer=peer("192.0.2.1")) for _ in range(3)]
        other = connect(factory, peer=peer("192.0.2.2"))
        self.assertEqual([codes(client) for client in mine], [[220], [220], [421]])
        self.assertEqual(mine[2].received, self.REFUSED)
        self.assertEqual(codes(other), [220])
        mine[0].disconnect()
        self.assertEqual(codes(connect(factory, peer=peer("192.0.2.1"))), [220])
        self.assertEqual(codes(connect(factory, peer=peer("192.0.2.1"))), [421])

    def test_per_host_forgets_hosts(self) -> None:
        """
        Clients from ever new addresses do not make it grow.
        """
        factory = make_factory(RecordingHandler(), max_connections_per_host=2)
        for number in range(10):
            connect(factory, peer=peer(f"192.0.2.{number}")).disconnect()
        self.assertEqual(len(factory.census._hosts), 0)

    def test_per_host_and_total(self) -> None:
        factory = make_factory(RecordingHandler(), max_connections=2, max_connections_per_host=1)
        hosts = ["192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.3"]
        clients = [connect(factory, peer=peer(host)) for host in hosts]
        self.assertEqual([codes(client) for client in clients], [[220], [421], [220], [421]])

    def test_unix_sockets_count_only_in_total(self) -> None:
        factory = make_factory(RecordingHandler(), max_connections=3, max_connections_per_host=1)
        address = UNIXAddress(None)
        clients = [connect(factory, peer=address, host=address) for _ in range(4)]
        self.assertEqual([codes(client) for client in clients], [[220], [220], [220], [421]])
        for client in clients:
            client.disconnect()
        self.assertEqual(codes(connect(factory, peer=address, host=address)), [220])

    def test_no_limit(self) -> None:
        factory = make_factory(RecordingHandler(), max_connections=0)
        clients = [connect(factory) for _ in range(1100)]
        self.assertEqual(codes(clients[-1]), [220])

    def test_default(self) -> None:
        factory = make_factory(RecordingHandler())
        clients = [connect(factory) for _ in range(1001)]
        self.assertEqual(codes(clients[999]), [220])
        self.assertEqual(codes(clients[1000]), [421])


def disconnect_in_content(client: Client) -> None:
    client.send(DATA)
    client.disconnect()


def peer(host: str) -> IPv4Address:
    return IPv4Address("TCP", host, 1025)


class DrainTests(FlowTestCase):
    """
    When the server stops, idle clients are let go at once and messages may end.
    """

    DOWN = b"421 4.3.2 Shutting down, try again later\r\n"

    def drain(self, client: Client) -> Deferred[None]:
        """
        Stop the server of a client, whose replies so far do not matter.
        """
        client.take()
        drained: Deferred[None] = client.protocol.factory.drain()
        client.pump()
        return drained

    def test_nobody_there(self) -> None:
        factory = make_factory(RecordingHandler())
        self.successResultOf(factory.drain())
        self.assertEqual(factory.reactor.getDelayedCalls(), [])

    def test_idle(self) -> None:
        for sent in (b"", MAIL, RCPT, MESSAGE, b"NOO"):
            client = greeted(RecordingHandler())
            client.send(sent)
            drained = self.drain(client)
            self.assertEqual(client.take(), self.DOWN)
            self.successResultOf(drained)
            self.assert_clean(client)

    def test_several(self) -> None:
        factory = make_factory(RecordingHandler())
        clients = [connect(factory) for _ in range(3)]
        clients[1].send(DATA)
        drained = factory.drain()
        for client in clients:
            client.pump()
        self.assertEqual([client.closed for client in clients], [True, False, True])
        self.assertNoResult(drained)
        clients[1].send(CONTENT + b".\r\n")
        self.successResultOf(drained)
        self.assert_clean(clients[1])

    def test_in_content(self) -> None:
        handler = RecordingHandler()
        client = greeted(handler)
        client.send(DATA)
        drained = self.drain(client)
        client.send(CONTENT)
        client.wait(29)
        self.assertEqual(client.take(), b"")
        self.assertNoResult(drained)
        client.send(b".\r\n")
        self.assertEqual(codes(client), [250, 421])
        self.assertTrue(client.received.endswith(self.DOWN))
        self.assertEqual(len(handler.messages), 1)
        self.successResultOf(drained)
        self.assert_clean(client)

    def test_in_content_for_too_long(self) -> None:
        handler = RecordingHandler(content="stream")
        client = greeted(handler)
        client.send(DATA + CONTENT)
        drained = self.drain(client)
        client.wait(29)
        self.assertFalse(client.closed)
        client.wait(1)
        self.assertEqual([call.hook for call in handler.calls][-2:], ["abort", "DISCONNECT"])
        self.assertEqual(handler.messages, [])
        self.successResultOf(drained)
        self.assert_clean(client)

    def test_between_chunks(self) -> None:
        """
        The message is being received until its last chunk has come.
        """
        handler = RecordingHandler()
        client = greeted(handler)
        client.send(RCPT + b"BDAT 5\r\nHello")
        self.drain(client)
        client.send(b"BDAT 1\r\n!")
        self.assertEqual(codes(client), [250])
        client.send(b"BDAT 1 LAST\r\n!")
        self.assertEqual(codes(client), [250, 421])
        self.assertEqual(handler.messages[0].content, b"Hello!!")
        self.assert_clean(client)

    def test_pending_delivery(self) -> None:
        later = Later()
        handler = RecordingHandler({"DATA": later})
        client = greeted(handler)
        client.send(MESSAGE + b"NOOP\r\n")
        drained = self.drain(client)
        client.wait(29)
        self.assertEqual(client.take(), b"")
        self.assertEqual(later.cancelled, [])
        later.fire(client)
        self.assertEqual(codes(client), [250, 421])
        self.assertEqual(len(handler.messages), 1)
        self.successResultOf(drained)
        self.assert_clean(client)

    def test_pending_delivery_for_too_long(self) -> None:
        client = greeted(RecordingHandler({"DATA": Later()}))
        client.send(MESSAGE)
        drained = self.drain(client)
        client.wait(30)
        self.assertTrue(client.closed)
        self.successResultOf(drained)

    def test_pending_delivery_whose_client_has_gone(self) -> None:
        """
        It too gets its time.
        """
        later = Later()
        client = greeted(RecordingHandler({"DATA": later}))
        client.send(MESSAGE)
        client.disconnect()
        drained = self.drain(client)
        self.assertNoResult(drained)
        later.fire(client)
        self.successResultOf(drained)
        self.assert_clean(client)

    def test_pending_delivery_whose_client_has_gone_for_too_long(self) -> None:
        client = greeted(RecordingHandler({"DATA": Later()}))
        client.send(MESSAGE)
        client.disconnect()
        drained = self.drain(client)
        client.wait(30)
        self.successResultOf(drained)

    def test_pending_hook(self) -> None:
        """
        Its reply comes first, and what was pipelined behind it is not obeyed.
        """
        later = Later()
        handler = RecordingHandler({"VRFY": later})
        client = greeted(handler)
        client.send(b"VRFY x\r\nNOOP\r\n")
        drained = self.drain(client)
        self.assertEqual(client.take(), b"")
        later.fire(client)
        self.assertEqual(codes(client), [252, 421])
        self.assertNotIn("NOOP", [call.hook for call in handler.calls])
        self.successResultOf(drained)
        self.assert_clean(client)

    def test_pending_go_ahead(self) -> None:
        """
        A message that is being agreed upon is under way.
        """
        later = Later()
        handler = RecordingHandler({"DATA_start": later})
        client = greeted(handler)
        client.send(DATA)
        self.drain(client)
        later.fire(client)
        client.send(CONTENT + b".\r\n")
        self.assertEqual(codes(client), [354, 250, 421])
        self.assertEqual(len(handler.messages), 1)
        self.assert_clean(client)

    def test_pending_greeting(self) -> None:
        later = Later()
        client = connect(make_factory(RecordingHandler({"CONNECT": later})))
        drained = self.drain(client)
        later.fire(client)
        self.assertEqual(codes(client)[-1], 421)
        self.successResultOf(drained)
        self.assert_clean(client)

    def test_client_that_does_not_read(self) -> None:
        client = greeted(RecordingHandler())
        client.reading = False
        drained = self.drain(client)
        client.wait(29)
        self.assertNoResult(drained)
        client.wait(1)
        self.successResultOf(drained)
        self.assert_clean(client)

    def test_closing_already(self) -> None:
        client = greeted(RecordingHandler())
        client.reading = False
        client.send(b"QUIT\r\n")
        drained = self.drain(client)
        client.reading = True
        client.pump()
        self.assertEqual(codes(client), [221])
        self.successResultOf(drained)
        self.assert_clean(client)

    def test_new_connections(self) -> None:
        """
        They are refused, and no hook sees them.
        """
        handler = RecordingHandler()
        client = greeted(handler)
        client.send(DATA)
        factory = client.protocol.factory
        factory.drain()
        refused = connect(factory)
        self.assertEqual(refused.received, self.DOWN)
        self.assertTrue(refused.closed)
        client.disconnect()
        self.assertEqual(connect(factory).received, self.DOWN)
        self.assertEqual([call.hook for call in handler.calls].count("CONNECT"), 1)
        self.assert_clean(client)

    def test_twice(self) -> None:
        client = greeted(RecordingHandler())
        client.send(DATA)
        first, second = self.drain(client), self.drain(client)
        client.disconnect()
        self.successResultOf(first)
        self.successResultOf(second)


class DisconnectHookTests(FlowTestCase):
    """
    DISCONNECT is called exactly once for each CONNECT.
    """

    def test_each_end(self) -> None:
        endings: list[Callable[[Client], Any]] = [
            lambda client: client.send(b"QUIT\r\n"),
            lambda client: client.disconnect(),
            lambda client: client.half_close(),
            lambda client: client.wait(300),
            lambda client: client.send(b"\x16\x03\x01"),
            lambda client: client.send(b"x" * 70_000),
            lambda client: client.send(b"POST / HTTP/1.1\r\n"),
            lambda client: client.send(b"x\r\n" * 20),
            disconnect_in_content,
            lambda client: client.protocol.factory.drain(),
            lambda client: client.transport.abortConnection(),
        ]
        for end in endings:
            handler = RecordingHandler()
            client = greeted(handler)
            end(client)
            client.pump()
            self.assert_clean(client)
            calls = [call for call in handler.calls if call.hook in ("CONNECT", "DISCONNECT")]
            self.assertEqual([call.hook for call in calls], ["CONNECT", "DISCONNECT"])
            self.assertIs(calls[0].session, calls[1].session)

    def test_refused_by_the_hook(self) -> None:
        for answer in ("421 No", "521 No", RuntimeError("boom")):
            handler = RecordingHandler({"CONNECT": answer})
            client = connect(make_factory(handler))
            told = [call.hook for call in handler.calls if call.hook != "exception"]
            self.assertEqual(told, ["CONNECT", "DISCONNECT"])
            self.assert_clean(client)
            self.flushLoggedErrors(RuntimeError)
