"""
Tests for how a connection waits: one step at a time, whatever hooks, clients and transports do.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any, cast

from twisted.internet.defer import CancelledError, Deferred
from twisted.logger import ILogObserver, formatEvent, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txsmtpd import hooks
from txsmtpd.brakes import HELD, STEP, UNREAD
from txsmtpd.factory import SMTPFactory
from txsmtpd.interfaces import IContentReceiver
from txsmtpd.testing import Client, RecordingHandler, connect, make_factory

MAIL = b"EHLO c.example\r\nMAIL FROM:<a@b.example>\r\n"
RCPT = MAIL + b"RCPT TO:<c@d.example>\r\n"
DATA = RCPT + b"DATA\r\n"
CONTENT = b"Subject: x\r\n\r\nHello\r\n"
MESSAGE = DATA + CONTENT + b".\r\n"


def codes(client: Client) -> list[int]:
    """
    The codes of the replies since the last call.
    """
    return [int(code) for code in re.findall(rb"(?m)^([0-9]{3}) ", client.take())]


def greeted(handler: object, *more: object, **settings: Any) -> Client:
    client = connect(make_factory(handler, *more, **settings))
    client.take()
    return client


class Later:
    """
    Answers of hooks that the test gives when it likes.
    """

    def __init__(self) -> None:
        self.waiting: list[Deferred[Any]] = []
        self.cancelled: list[Deferred[Any]] = []

    def __call__(self, *arguments: Any) -> Deferred[Any]:
        answer: Deferred[Any] = Deferred(self.cancelled.append)
        self.waiting.append(answer)
        return answer

    def fire(self, client: Client, answer: Any = None) -> None:
        self.waiting.pop(0).callback(answer)
        client.pump()


class Stubborn:
    """
    A hook that takes no notice of being cancelled and answers when the test likes.
    """

    def __init__(self) -> None:
        self.answer: Deferred[Any] = Deferred()
        self.cancelled = 0

    async def __call__(self, *arguments: Any) -> Any:
        try:
            await Deferred()
        except CancelledError:
            self.cancelled += 1
        return await self.answer

    def fire(self, client: Client, answer: Any = None) -> None:
        self.answer.callback(answer)
        client.pump()


class FlowTestCase(SynchronousTestCase):
    """
    Also sees to it that nothing is left behind by any test.
    """

    def setUp(self) -> None:
        self.logged: list[dict[str, Any]] = []
        observer = cast(ILogObserver, self.logged.append)
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)

    def log_lines(self, *events: str) -> list[str]:
        """
        :param events: the kinds that count.
        """
        wanted = events or ("junk", "refusal", "transaction")
        return [formatEvent(event) for event in self.logged if event.get("event") in wanted]

    def assert_clean(self, client: Client) -> None:
        """
        The connection is gone, and has left nothing behind.
        """
        self.assertTrue(client.closed, client.transcript)
        self.assertEqual(client.clock.getDelayedCalls(), [])
        factory: SMTPFactory = client.protocol.factory
        self.assertEqual(factory.rules.budget.used, 0)
        self.successResultOf(factory.drain())


class OrderTests(FlowTestCase):
    """
    Later commands wait while a hook is pending, and replies leave in order.
    """

    def test_pipelined_commands_wait(self) -> None:
        later = Later()
        handler = RecordingHandler({"MAIL": later})
        client = greeted(handler)
        client.send(MAIL + b"RCPT TO:<c@d.example>\r\nNOOP\r\n")
        self.assertEqual(codes(client), [250])
        self.assertEqual([call.hook for call in handler.calls], ["CONNECT", "EHLO", "MAIL"])
        later.fire(client, "250 2.1.0 Yes")
        self.assertEqual(codes(client), [250, 250, 250])
        self.assertEqual([call.hook for call in handler.calls][3:], ["RCPT", "NOOP"])

    def test_commands_that_come_later_wait(self) -> None:
        later = Later()
        client = greeted(RecordingHandler({"NOOP": later}))
        client.send(b"NOOP\r\n")
        client.send(b"VRFY x\r\n")
        client.send(b"HELP\r\n", b"RSET\r\n")
        self.assertEqual(codes(client), [])
        later.fire(client)
        self.assertEqual(codes(client), [250, 252, 214, 250])

    def test_order_of_replies(self) -> None:
        """
        Each of several hooks has to wait, and the client hears in its own order.
        """
        later = Later()
        client = greeted(RecordingHandler({"NOOP": later}))
        client.send(b"NOOP a\r\nVRFY x\r\nNOOP b\r\nNOOP c\r\nQUIT\r\nNOOP d\r\n")
        for text in ("a", "b", "c"):
            self.assertEqual(len(later.waiting), 1)
            later.fire(client, f"250 {text}")
        self.assertEqual(
            client.take(),
            b"250 2.0.0 a\r\n"
            b"252 2.0.0 Cannot VRFY user, but will take mail for it\r\n"
            b"250 2.0.0 b\r\n"
            b"250 2.0.0 c\r\n"
            b"221 2.0.0 Bye\r\n",
        )
        self.assertEqual(later.waiting, [])
        self.assert_clean(client)

    def test_refusal_that_comes_late(self) -> None:
        """
        What was pipelined behind a command is judged by what became of it.
        """
        later = Later()
        client = greeted(RecordingHandler({"MAIL": later}))
        client.send(RCPT + b"DATA\r\nNOOP\r\n")
        later.fire(client, "550 No")
        self.assertEqual(codes(client), [250, 550, 503, 503, 250])

    def test_failing_hook_in_a_group(self) -> None:
        later = Later()
        client = greeted(RecordingHandler({"RCPT": later}))
        client.send(RCPT + b"RCPT TO:<e@f.example>\r\nNOOP\r\n")
        later.waiting.pop(0).errback(RuntimeError("boom"))
        client.pump()
        self.assertEqual(codes(client), [250, 250, 451])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        later.fire(client)
        self.assertEqual(codes(client), [250, 250])

    def test_content_waits_for_the_go_ahead(self) -> None:
        later = Later()
        handler = RecordingHandler({"DATA_start": later})
        client = greeted(handler)
        client.send(MESSAGE + b"NOOP\r\n")
        self.assertEqual(codes(client), [250, 250, 250])
        later.fire(client)
        self.assertEqual(codes(client), [354, 250, 250])
        self.assertEqual([message.content for message in handler.messages], [CONTENT])

    def test_commands_wait_for_the_verdict(self) -> None:
        later = Later()
        handler = RecordingHandler({"DATA": later})
        client = greeted(handler)
        client.send(MESSAGE + b"MAIL FROM:<e@f.example>\r\nNOOP\r\n")
        self.assertEqual(codes(client), [250, 250, 250, 354])
        later.fire(client)
        self.assertEqual(codes(client), [250, 250, 250])

    def test_commands_wait_for_a_slow_receiver(self) -> None:
        later = Later()
        handler = RecordingHandler({"write": later}, content="stream")
        client = greeted(handler)
        client.send(MESSAGE + b"NOOP\r\n")
        self.assertEqual(codes(client), [250, 250, 250, 354])
        later.fire(client)
        self.assertEqual(codes(client), [250, 250])
        self.assertEqual([message.content for message in handler.messages], [CONTENT])

    def test_content_waits_for_a_slow_receiver(self) -> None:
        """
        It is not written to while it is not ready.
        """
        later = Later()
        handler = RecordingHandler({"write": later}, content="stream")
        client = greeted(handler)
        client.send(DATA)
        for _ in range(3):
            client.send(b"x" * 70 + b"\r\n")
            self.assertEqual(len(later.waiting), 1)
        client.send(b".\r\n")
        while later.waiting:
            later.fire(client)
        self.assertEqual(codes(client)[-1], 250)
        self.assertEqual(handler.messages[0].content, (b"x" * 70 + b"\r\n") * 3)

    def test_command_behind_a_chunk_waits(self) -> None:
        later = Later()
        handler = RecordingHandler({"DATA": later})
        client = greeted(handler)
        client.send(RCPT + b"BDAT 5\r\nHelloBDAT 1 LAST\r\n!NOOP\r\n")
        self.assertEqual(codes(client), [250, 250, 250, 250])
        later.fire(client)
        self.assertEqual(codes(client), [250, 250])
        self.assertEqual(handler.messages[0].content, b"Hello!")

    def test_empty_chunks(self) -> None:
        """
        They are over at once: no octet of theirs will ever come.
        """
        later = Later()
        handler = RecordingHandler({"DATA": later})
        client = greeted(handler)
        client.send(RCPT + b"BDAT 0\r\nBDAT 5\r\nHelloBDAT 0 LAST\r\nNOOP\r\n")
        self.assertEqual(codes(client), [250, 250, 250, 250, 250])
        later.fire(client)
        self.assertEqual(codes(client), [250, 250])
        self.assertEqual(handler.messages[0].content, b"Hello")

    def test_first_chunk_waits_for_the_go_ahead(self) -> None:
        """
        Its octets are in the buffer already and are no commands.
        """
        later = Later()
        handler = RecordingHandler({"DATA_start": later})
        client = greeted(handler)
        client.send(RCPT + b"BDAT 6 LAST\r\nNOOP\r\nNOOP\r\n")
        self.assertEqual(codes(client), [250, 250, 250])
        later.fire(client)
        self.assertEqual(codes(client), [250, 250])
        self.assertEqual(handler.messages[0].content, b"NOOP\r\n")

    def test_client_talks_before_the_greeting(self) -> None:
        """
        It is buffered, not obeyed.
        """
        later = Later()
        handler = RecordingHandler({"CONNECT": later})
        client = connect(make_factory(handler))
        client.send(b"EHLO c.exa")
        client.send(b"mple\r\nNOOP\r\n")
        self.assertEqual(client.received, b"")
        self.assertEqual([call.hook for call in handler.calls], ["CONNECT"])
        later.fire(client)
        self.assertEqual(codes(client), [220, 250, 250])

    def test_client_talks_before_it_is_refused(self) -> None:
        later = Later()
        handler = RecordingHandler({"CONNECT": later})
        client = connect(make_factory(handler))
        client.send(MESSAGE)
        later.fire(client, "521 No")
        self.assertEqual(codes(client), [521])
        self.assertEqual(
            [call.hook for call in handler.calls if call.hook != "DISCONNECT"], ["CONNECT"]
        )
        self.assert_clean(client)


class CloseTests(FlowTestCase):
    """
    What follows the end of a connection is not obeyed.
    """

    def hooks_after(self, sent: bytes, verdicts: dict[str, Any]) -> list[str]:
        handler = RecordingHandler(verdicts)
        client = greeted(handler)
        client.send(sent)
        self.assert_clean(client)
        return [call.hook for call in handler.calls]

    def test_after_quit(self) -> None:
        self.assertEqual(
            self.hooks_after(b"QUIT\r\nNOOP\r\n", {}), ["CONNECT", "QUIT", "DISCONNECT"]
        )

    def test_after_421_to_a_command(self) -> None:
        self.assertEqual(
            self.hooks_after(b"VRFY x\r\nNOOP\r\n", {"VRFY": "421 Go"}),
            ["CONNECT", "VRFY", "DISCONNECT"],
        )

    def test_after_421_to_content(self) -> None:
        hooks = self.hooks_after(MESSAGE + b"NOOP\r\nNOOP\r\n", {"DATA": "421 Go"})
        self.assertNotIn("NOOP", hooks)

    def test_after_421_to_a_chunk(self) -> None:
        hooks = self.hooks_after(RCPT + b"BDAT 5 LAST\r\nHelloNOOP\r\nNOOP\r\n", {"DATA": "421 Go"})
        self.assertNotIn("NOOP", hooks)

    def test_after_421_that_came_late(self) -> None:
        later = Later()
        handler = RecordingHandler({"DATA": later})
        client = greeted(handler)
        client.send(MESSAGE + b"NOOP\r\nNOOP\r\n")
        later.fire(client, "421 Go")
        self.assertEqual(codes(client)[-1], 421)
        self.assertNotIn("NOOP", [call.hook for call in handler.calls])
        self.assert_clean(client)

    def test_producer_is_unregistered_before_every_close(self) -> None:
        """
        Else a TLS connection would never close.
        """

        def quit(client: Client) -> None:
            client.send(b"QUIT\r\n")

        def junk(client: Client) -> None:
            client.send(b"\x16\x03\x01")

        def endless(client: Client) -> None:
            client.send(b"x" * 70000)

        def idle(client: Client) -> None:
            client.wait(300)

        def drain(client: Client) -> None:
            client.protocol.factory.drain()
            client.pump()

        def content(client: Client) -> None:
            client.send(DATA)
            client.wait(300)

        endings: list[Callable[[Client], None]]
        endings = [quit, junk, endless, idle, drain, Client.half_close, content]
        for end in endings:
            client = greeted(RecordingHandler())
            producers: list[Any] = []
            lose = client.transport.loseConnection

            def losing(
                client: Client = client, producers: list[Any] = producers, lose: Any = lose
            ) -> None:
                producers.append(client.transport.producer)
                lose()

            self.patch(client.transport, "loseConnection", losing)
            end(client)
            self.assertEqual(producers, [None], end)
            self.assert_clean(client)


class PausedTests(SynchronousTestCase):
    """
    What LineReceiver calls paused.
    """

    def test_stays_so_at_the_end(self) -> None:
        """
        Nothing makes a connection that closes go on.
        """
        client = connect(make_factory(RecordingHandler()))
        client.protocol.close()
        client.protocol.paused = False
        self.assertTrue(client.protocol.paused)


class BrakeTests(FlowTestCase):
    """
    A brake keeps lines in the buffer while the transport reads on.
    """

    def test_disconnect_is_noticed_at_once(self) -> None:
        later = Later()
        handler = RecordingHandler({"NOOP": later})
        client = greeted(handler)
        client.send(b"NOOP\r\n", b"VRFY x\r\n")
        client.disconnect()
        self.assertEqual([call.hook for call in handler.calls][-1], "DISCONNECT")
        self.assertEqual(later.cancelled, later.waiting)
        self.assert_clean(client)

    def test_transport_reads_on(self) -> None:
        client = greeted(RecordingHandler({"NOOP": Later()}))
        client.send(b"NOOP\r\n")
        client.send(b"x" * HELD)
        self.assertTrue(client.transport.wants_read)
        self.assertEqual(len(client.protocol._arrived), HELD)

    def test_transport_is_paused_when_too_much_is_held(self) -> None:
        later = Later()
        client = greeted(RecordingHandler({"NOOP": later}))
        client.send(b"NOOP\r\n")
        client.send(b"VRFY xyz\r\n" * (HELD // 10 + 1))
        self.assertFalse(client.transport.wants_read)
        later.fire(client)
        self.assertTrue(client.transport.wants_read)
        self.assertEqual(codes(client), [250] + [252] * (HELD // 10 + 1))

    def test_buffer_is_bounded(self) -> None:
        """
        However much the client sends while a hook is pending.
        """
        later = Later()
        client = greeted(RecordingHandler({"NOOP": later}))
        client.send(b"NOOP\r\n")
        client.send(b"VRFY xyz\r\n" * 30_000)
        self.assertLessEqual(len(client.protocol._arrived), HELD + client.transport.bufferSize)
        self.assertTrue(client.transport.incoming)
        later.fire(client)
        self.assertEqual(codes(client), [250] + [252] * 30_000)

    def test_buffer_is_bounded_while_a_receiver_is_slow(self) -> None:
        later = Later()
        handler = RecordingHandler({"write": later}, content="stream")
        client = greeted(handler, data_size_limit=0)
        client.send(DATA)
        line = b"x" * 98 + b"\r\n"
        client.send(line * 10_000)
        while later.waiting:
            self.assertLessEqual(len(client.protocol._arrived), HELD + client.transport.bufferSize)
            later.fire(client)
        client.send(b".\r\n")
        later.fire(client)
        self.assertEqual(codes(client)[-1], 250)
        self.assertEqual(handler.messages[0].content, line * 10_000)


class UnreadTests(FlowTestCase):
    """
    A client that does not read its replies is not obeyed.
    """

    def stuffed(self, handler: object) -> Client:
        """
        A client that has more replies than it reads.
        """
        client = greeted(handler)
        client.reading = False
        while not client.protocol.brakes & UNREAD:
            client.send(b"HELP\r\n" * 100)
        return client

    def test_commands_wait(self) -> None:
        handler = RecordingHandler()
        client = self.stuffed(handler)
        count = len(handler.calls)
        client.send(b"NOOP\r\n")
        self.assertEqual(len(handler.calls), count)
        client.reading = True
        client.pump()
        self.assertEqual(handler.calls[-1].hook, "NOOP")
        self.assertEqual(client.protocol.brakes, 0)

    def test_replies_are_bounded(self) -> None:
        """
        Replies that nobody reads do not pile up.
        """
        client = greeted(RecordingHandler())
        client.reading = False
        client.send(b"HELP\r\n" * 20_000)
        transport = client.transport
        unread = sum(map(len, client.writes))
        self.assertLess(unread, 150_000)
        self.assertLessEqual(len(client.protocol._arrived), HELD + transport.bufferSize)
        client.reading = True
        client.pump()
        self.assertEqual(len(codes(client)), 20_000)

    def both_brakes(self) -> tuple[Client, Later]:
        """
        A client whose hook is pending, behind replies that fill the transport's buffer.
        """
        later = Later()
        client = greeted(RecordingHandler({"NOOP": later, "HELP": "214 " + "x" * 490}))
        client.reading = False
        client.send(b"HELP\r\n" * 200 + b"NOOP\r\nVRFY x\r\n")
        self.assertEqual(client.protocol.brakes, UNREAD | STEP)
        return client, later

    def test_resumed_transport_does_not_release_a_step(self) -> None:
        client, later = self.both_brakes()
        client.reading = True
        client.pump()
        self.assertEqual(client.protocol.brakes, STEP)
        self.assertEqual(codes(client), [214] * 200)
        later.fire(client)
        self.assertEqual(codes(client), [250, 252])

    def test_hook_that_ends_does_not_release_unread_replies(self) -> None:
        client, later = self.both_brakes()
        later.fire(client)
        self.assertEqual(client.protocol.brakes, UNREAD)
        client.reading = True
        client.pump()
        self.assertEqual(codes(client), [214] * 200 + [250, 252])

    def test_producer_is_not_the_protocol(self) -> None:
        client = greeted(RecordingHandler())
        self.assertIsNot(client.transport.producer, client.protocol)

    def test_disconnect(self) -> None:
        client = self.stuffed(RecordingHandler())
        client.disconnect()
        self.assert_clean(client)


class WriteTests(FlowTestCase):
    """
    Replies to a group leave in one write.
    """

    def writes(self, handler: object, sent: bytes) -> list[bytes]:
        client = greeted(handler)
        client.writes.clear()
        client.send(sent)
        return client.writes

    def test_group(self) -> None:
        writes = self.writes(RecordingHandler(), RCPT + b"NOOP\r\nDATA\r\n")
        self.assertEqual(len(writes), 1)
        self.assertEqual(writes[0].count(b"\r\n250 "), 4)

    def test_group_of_coroutines(self) -> None:
        writes = self.writes(RecordingHandler(when="coroutine"), RCPT + b"NOOP\r\nDATA\r\n")
        self.assertEqual(len(writes), 1)

    def test_whole_dialog(self) -> None:
        """
        Content and what follows it included, if it comes in one segment.
        """
        self.assertEqual(len(self.writes(RecordingHandler(), MESSAGE * 2 + b"QUIT\r\n")), 1)

    def test_one_reply(self) -> None:
        self.assertEqual(self.writes(RecordingHandler(), b"RSET\r\n"), [b"250 2.0.0 OK\r\n"])

    def test_unfinished_line(self) -> None:
        self.assertEqual(len(self.writes(RecordingHandler(), b"NOOP\r\nNOO")), 1)

    def test_nothing_to_say(self) -> None:
        self.assertEqual(self.writes(RecordingHandler(), b"NOO"), [])

    def test_before_a_hook_that_waits(self) -> None:
        """
        What is known is said, and the rest together when it is known too.
        """
        later = Later()
        client = greeted(RecordingHandler({"MAIL": later}))
        client.writes.clear()
        client.send(b"NOOP\r\n" + RCPT + b"NOOP\r\n")
        self.assertEqual(len(client.writes), 1)
        later.fire(client)
        self.assertEqual(len(client.writes), 2)
        self.assertEqual(client.writes[1].count(b"\r\n"), 3)

    def test_farewell(self) -> None:
        writes = self.writes(RecordingHandler(), b"NOOP\r\nGET / HTTP/1.1\r\n")
        self.assertEqual(len(writes), 1)

    def test_very_large_group(self) -> None:
        """
        It is answered in batches, so that replies do not pile up.
        """
        writes = self.writes(RecordingHandler(), b"NOOP\r\n" * 2000)
        self.assertEqual(b"".join(writes), b"250 2.0.0 OK\r\n" * 2000)
        self.assertLess(len(writes), 12)
        self.assertLess(max(map(len, writes)), 300 * 14)


class HalfCloseTests(FlowTestCase):
    """
    What a client had sent before it closed its half is still obeyed and answered, in order.
    """

    def test_nothing_pending(self) -> None:
        handler = RecordingHandler()
        client = greeted(handler)
        client.half_close()
        self.assertEqual(client.take(), b"")
        self.assertEqual([call.hook for call in handler.calls], ["CONNECT", "DISCONNECT"])
        self.assert_clean(client)

    def test_with_the_last_segment(self) -> None:
        handler = RecordingHandler()
        client = greeted(handler)
        client.transport.incoming.append(MESSAGE + b"NOOP\r\n")
        client.half_close()
        self.assertEqual(codes(client), [250, 250, 250, 354, 250, 250])
        self.assertEqual(len(handler.messages), 1)
        self.assert_clean(client)

    def test_pending_hook(self) -> None:
        later = Later()
        handler = RecordingHandler({"MAIL": later, "DATA": later})
        client = greeted(handler)
        client.send(MESSAGE + b"NOOP\r\n")
        client.half_close()
        self.assertFalse(client.closed)
        self.assertEqual(later.cancelled, [])
        later.fire(client)
        self.assertFalse(client.closed)
        self.assertEqual(codes(client), [250, 250, 250, 354])
        later.fire(client)
        self.assertEqual(codes(client), [250, 250])
        self.assertEqual(len(handler.messages), 1)
        self.assert_clean(client)

    def test_pending_greeting(self) -> None:
        later = Later()
        client = connect(make_factory(RecordingHandler({"CONNECT": later})))
        client.send(b"NOOP\r\n")
        client.half_close()
        later.fire(client)
        self.assertEqual(codes(client), [220, 250])
        self.assert_clean(client)

    def test_pending_hook_that_takes_too_long(self) -> None:
        client = greeted(RecordingHandler({"VRFY": Later()}))
        client.send(b"VRFY x\r\nNOOP\r\n")
        client.half_close()
        client.wait(300)
        self.assertEqual(codes(client), [451, 250])
        self.assert_clean(client)

    def test_unread_replies(self) -> None:
        client = greeted(RecordingHandler())
        client.reading = False
        client.send(b"HELP\r\n" * 5000)
        client.half_close()
        self.assertFalse(client.closed)
        client.reading = True
        client.pump()
        self.assertEqual(len(codes(client)), 5000)
        self.assert_clean(client)

    def test_more_than_is_held(self) -> None:
        """
        The end is only seen when the transport reads again.
        """
        later = Later()
        client = greeted(RecordingHandler({"NOOP": later}))
        client.send(b"NOOP\r\n" + b"VRFY xyz\r\n" * HELD)
        client.half_close()
        later.fire(client)
        self.assertEqual(len(codes(client)), HELD + 1)
        self.assert_clean(client)

    def test_unfinished_line(self) -> None:
        """
        The end of file does not end a line.
        """
        handler = RecordingHandler()
        client = greeted(handler)
        client.send(b"NOOP\r\nNOOP")
        client.half_close()
        self.assertEqual(codes(client), [250])
        self.assertEqual([call.hook for call in handler.calls].count("NOOP"), 1)
        self.assert_clean(client)

    def test_in_content(self) -> None:
        """
        Nor does it end content: nothing is delivered.
        """
        for content in ("whole", "stream"):
            handler = RecordingHandler(content=content)
            client = greeted(handler)
            client.send(DATA + CONTENT + b".")
            client.half_close()
            self.assertEqual(codes(client), [250, 250, 250, 354])
            self.assertEqual(handler.messages, [])
            self.assertEqual(
                [call.hook for call in handler.calls].count("abort"), content == "stream"
            )
            self.assert_clean(client)

    def test_in_a_chunk(self) -> None:
        handler = RecordingHandler()
        client = greeted(handler)
        client.send(RCPT + b"BDAT 100 LAST\r\n" + CONTENT)
        client.half_close()
        self.assertEqual(handler.messages, [])
        self.assert_clean(client)

    def test_in_content_that_a_receiver_has_to_take_first(self) -> None:
        later = Later()
        handler = RecordingHandler({"write": later}, content="stream")
        client = greeted(handler)
        client.send(DATA + CONTENT)
        client.half_close()
        self.assertFalse(client.closed)
        later.fire(client)
        self.assertEqual(handler.messages, [])
        self.assert_clean(client)

    def test_end_of_content_that_a_receiver_has_to_take_first(self) -> None:
        later = Later()
        handler = RecordingHandler({"write": later}, content="stream")
        client = greeted(handler)
        client.send(MESSAGE)
        client.half_close()
        later.fire(client)
        self.assertEqual(codes(client), [250, 250, 250, 354, 250])
        self.assertEqual(len(handler.messages), 1)
        self.assert_clean(client)

    def test_not_told_that_our_half_is_closed(self) -> None:
        client = greeted(RecordingHandler())
        client.protocol.writeConnectionLost()
        self.assertFalse(client.closed)


class LostTests(FlowTestCase):
    """
    A connection that is lost cancels the pending step, except a delivery that has begun.
    """

    def test_each_hook(self) -> None:
        """
        Cancelled once; nothing is said, logged or left.
        """
        cases = {
            "CONNECT": b"",
            "EHLO": MAIL,
            "HELO": b"HELO c.example\r\n",
            "MAIL": MAIL,
            "RCPT": RCPT,
            "DATA_start": DATA,
            "RSET": b"RSET\r\n",
            "NOOP": b"NOOP\r\n",
            "VRFY": b"VRFY x\r\n",
            "EXPN": b"EXPN x\r\n",
            "HELP": b"HELP\r\n",
            "QUIT": b"QUIT\r\n",
        }
        for hook, sent in cases.items():
            later = Later()
            handler = RecordingHandler({hook: later})
            client = connect(make_factory(handler))
            client.send(sent + b"NOOP\r\n")
            self.assertEqual(handler.calls[-1].hook, hook)
            self.assertEqual(len(later.waiting), 1)
            client.disconnect()
            self.assertEqual(later.cancelled, later.waiting, hook)
            self.assertEqual([call.hook for call in handler.calls][-2:], [hook, "DISCONNECT"], hook)
            self.assert_clean(client)
        self.assertEqual(self.log_lines(), [])

    def test_reset_and_other_ends(self) -> None:
        """
        It does not matter how it is lost.
        """
        for how in (None, ConnectionError("reset"), CancelledError()):
            later = Later()
            client = greeted(RecordingHandler({"NOOP": later}))
            client.send(b"NOOP\r\n")
            client.disconnect(how)
            self.assertEqual(later.cancelled, later.waiting)
            self.assert_clean(client)

    def test_coroutine_cleans_up(self) -> None:
        steps: list[str] = []

        async def hook(*arguments: Any) -> None:
            try:
                await Deferred()
            finally:
                steps.append("clean")

        client = greeted(RecordingHandler({"NOOP": hook}))
        client.send(b"NOOP\r\n")
        client.disconnect()
        self.assertEqual(steps, ["clean"])
        self.assert_clean(client)

    def test_swallowed(self) -> None:
        """
        A hook that goes on all the same changes nothing.
        """
        stubborn = Stubborn()
        handler = RecordingHandler({"RCPT": stubborn})
        client = greeted(handler)
        client.send(RCPT)
        envelope = handler.calls[-1].envelope
        client.disconnect()
        self.assert_clean(client)
        stubborn.fire(client, "250 Late")
        self.assertEqual(stubborn.cancelled, 1)
        self.assertEqual(envelope.recipients, [])
        self.assertEqual(envelope.rcpt_tos, [])
        self.assert_clean(client)

    def test_fails_on_cancelling(self) -> None:
        """
        That is a defect of the hook, so it is logged, once.
        """

        async def hook(*arguments: Any) -> None:
            try:
                await Deferred()
            except CancelledError:
                raise RuntimeError("boom") from None

        client = greeted(RecordingHandler({"NOOP": hook}))
        client.send(b"NOOP\r\n")
        client.disconnect()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assert_clean(client)

    def test_opening(self) -> None:
        """
        A handler that opens slowly is cancelled, and one that is open already is aborted.
        """
        later = Later()
        quick = RecordingHandler(content="stream")
        slow = Opening(later)
        client = greeted(quick, slow)
        client.send(DATA)
        client.disconnect()
        self.assertEqual(later.cancelled, later.waiting)
        self.assertEqual([call.hook for call in quick.calls][-2:], ["abort", "DISCONNECT"])
        self.assert_clean(client)

    def test_in_content(self) -> None:
        handler = RecordingHandler(content="stream")
        client = greeted(handler)
        client.send(DATA + CONTENT)
        client.disconnect()
        self.assertEqual([call.hook for call in handler.calls][-2:], ["abort", "DISCONNECT"])
        self.assertEqual(handler.messages, [])
        self.assert_clean(client)

    def test_between_chunks(self) -> None:
        handler = RecordingHandler(content="stream")
        client = greeted(handler)
        client.send(RCPT + b"BDAT 5\r\nHello")
        client.disconnect()
        self.assertEqual([call.hook for call in handler.calls][-2:], ["abort", "DISCONNECT"])
        self.assertEqual(handler.messages, [])
        self.assert_clean(client)

    def test_while_a_receiver_is_not_ready(self) -> None:
        for content in (CONTENT, CONTENT + b".\r\n"):
            later = Later()
            handler = RecordingHandler({"write": later}, content="stream")
            client = greeted(handler)
            client.send(DATA + content)
            client.disconnect()
            self.assertEqual(later.cancelled, later.waiting)
            self.assertEqual(handler.messages, [])
            self.assertEqual([call.hook for call in handler.calls].count("abort"), 1)
            self.assert_clean(client)

    def test_while_two_receivers_are_not_ready(self) -> None:
        later = Later()
        handlers = [RecordingHandler({"write": later}, content="stream") for _ in range(2)]
        client = greeted(*handlers)
        client.send(DATA + CONTENT)
        self.assertEqual(len(later.waiting), 2)
        client.disconnect()
        self.assertEqual(later.cancelled, later.waiting)
        for handler in handlers:
            self.assertEqual([call.hook for call in handler.calls].count("abort"), 1)
        self.assert_clean(client)

    def test_delivery_runs_to_its_end(self) -> None:
        """
        The message is whole: the delivery is not cancelled, and its verdict is logged.
        """
        for content in ("whole", "stream"):
            self.logged.clear()
            later = Later()
            handler = RecordingHandler({"DATA": later}, content=content)
            client = greeted(handler)
            client.send(MESSAGE)
            client.disconnect()
            self.assertEqual(later.cancelled, [])
            self.assertEqual([call.hook for call in handler.calls][-1], "DISCONNECT")
            self.assertNotIn("abort", [call.hook for call in handler.calls])
            later.fire(client, "250 2.0.0 Stored as 7")
            self.assertEqual([message.content for message in handler.messages], [CONTENT])
            (line,) = self.log_lines()
            self.assertIn("250 2.0.0 Stored as 7", line)
            self.assert_clean(client)

    def test_delivery_of_chunks_runs_to_its_end(self) -> None:
        later = Later()
        handler = RecordingHandler({"DATA": later})
        client = greeted(handler)
        client.send(RCPT + b"BDAT 5\r\nHelloBDAT 1 LAST\r\n!")
        client.disconnect()
        self.assertEqual(later.cancelled, [])
        later.fire(client)
        self.assertEqual([message.content for message in handler.messages], [b"Hello!"])
        self.assertEqual(len(self.log_lines()), 1)
        self.assert_clean(client)

    def test_what_follows_the_delivery_is_not_obeyed(self) -> None:
        later = Later()
        handler = RecordingHandler({"DATA": later})
        client = greeted(handler)
        client.send(MESSAGE + b"NOOP\r\n" + MESSAGE)
        client.disconnect()
        later.fire(client)
        self.assertEqual(len(handler.messages), 1)
        self.assertNotIn("NOOP", [call.hook for call in handler.calls])
        self.assert_clean(client)

    def test_delivery_to_several(self) -> None:
        """
        Those that come after the pending one get the same message, though the client has gone.
        """
        for content in ("whole", "stream"):
            later = Later()
            first = RecordingHandler({"DATA": later}, content=content)
            second = RecordingHandler()
            client = greeted(first, second)
            client.send(MESSAGE)
            client.disconnect()
            later.fire(client)
            for handler in (first, second):
                (message,) = handler.messages
                self.assertEqual(message.mail_from, "a@b.example")
                self.assertEqual(message.rcpt_tos, ("c@d.example",))
                self.assertEqual(message.content, CONTENT)
            self.assertIs(first.messages[0].envelope, second.messages[0].envelope)
            self.assert_clean(client)

    def test_delivery_that_refuses(self) -> None:
        later = Later()
        client = greeted(RecordingHandler({"DATA": later}))
        client.send(MESSAGE)
        client.disconnect()
        later.fire(client, "550 5.7.1 Spam")
        (line,) = self.log_lines()
        self.assertIn("550 5.7.1 Spam", line)
        self.assert_clean(client)

    def test_delivery_that_fails(self) -> None:
        """
        Its exception is a defect of the handler and not the client's doing: it is logged.
        """
        later = Later()
        client = greeted(RecordingHandler({"DATA": later}))
        client.send(MESSAGE)
        client.disconnect()
        later.waiting[0].errback(RuntimeError("disk on fire"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertIn("451 4.3.0", " ".join(self.log_lines()))
        self.assert_clean(client)

    def test_at_every_octet(self) -> None:
        """
        Wherever a dialog is cut off, whatever is pending: no part of a message is delivered, and
        nothing is logged or left.
        """
        dialog = MESSAGE + RCPT[16:] + b"BDAT 3\r\nHeyBDAT 1 LAST\r\n!QUIT\r\n"
        ends: list[Callable[[Client], None]] = [Client.disconnect, Client.half_close]
        kinds: list[tuple[Any, Any]] = [
            (when, content)
            for when in ("now", "coroutine", "later")
            for content in ("whole", "stream")
        ]
        for when, content in kinds:
            for cut in range(len(dialog) + 1):
                for end in ends:
                    handler = RecordingHandler(when=when, content=content)
                    client = connect(make_factory(handler))
                    if cut:
                        client.transport.incoming.append(dialog[:cut])
                    end(client)
                    self.assert_clean(client)
                    told = [call.hook for call in handler.calls]
                    self.assertEqual((told.count("CONNECT"), told.count("DISCONNECT")), (1, 1))
                    for message in handler.messages:
                        self.assertIn(message.content, (CONTENT, b"Hey!"))
                    if when != "later":
                        whole = (cut >= len(MESSAGE)) + (cut >= len(dialog) - 6)
                        self.assertEqual(len(handler.messages), whole)
                        opened = told.count("open_content")
                        self.assertEqual(told.count("abort"), max(opened - whole, 0))

    def test_disconnect_hook_is_not_waited_for(self) -> None:
        """
        Its connection does not count any more; only who stops the server waits for it.
        """
        later = Later()
        factory = make_factory(RecordingHandler({"DISCONNECT": later}), max_connections=1)
        client = connect(factory)
        client.disconnect()
        second = connect(factory)
        self.assertTrue(second.received.startswith(b"220 "))
        second.disconnect()
        drained = factory.drain()
        later.fire(client)
        self.assertNoResult(drained)
        later.fire(client)
        self.successResultOf(drained)
        self.assert_clean(client)

    def test_disconnect_hook_fails(self) -> None:
        client = greeted(RecordingHandler({"DISCONNECT": RuntimeError("boom")}))
        client.disconnect()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assert_clean(client)

    def test_disconnect_hook_fails_later(self) -> None:
        later = Later()
        client = greeted(RecordingHandler({"DISCONNECT": later}))
        client.disconnect()
        later.waiting[0].errback(RuntimeError("boom"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assert_clean(client)


@hooks
class Opening:
    """
    A handler whose content is opened as the test likes.
    """

    def __init__(self, opens: Callable[..., Any]) -> None:
        self._opens = opens

    def open_content(self, server: Any, session: Any, envelope: Any) -> Any:
        return self._opens()


@implementer(IContentReceiver)
class Receiver:
    """
    Notes what it is told.
    """

    def __init__(self) -> None:
        self.told: list[str] = []

    def write(self, chunk: bytes) -> None:
        self.told.append("write")

    def finish(self) -> None:
        self.told.append("finish")

    def abort(self, reason: str) -> None:
        self.told.append("abort")
