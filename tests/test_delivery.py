"""
Tests for :mod:`txsmtpd.core.delivery`.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.replies import Rejected, Reply

from .corekit import Client, Handler, Later, Mailbox, Receiver, opened, saying, short, streaming

MESSAGE = b"Subject: x\r\n\r\nHello\r\n"


class DeliveryTestCase(SynchronousTestCase):
    """
    Messages that are sent with DATA.
    """

    def deliver(self, client: Client, *pieces: bytes) -> Reply:
        """
        The reply to a message.
        """
        self.assertEqual(["354"], client.say("DATA"))
        return self.rest(client, *pieces)

    def rest(self, client: Client, *pieces: bytes) -> Reply:
        replies = [reply for piece in (*pieces, b".\r\n") for reply in client.send(piece)]
        self.assertEqual(1, len(replies), replies)
        return replies[0]

    def assertNextWorks(self, client: Client) -> None:
        """
        The next message on the same connection is received.
        """
        said = client.say("MAIL FROM:<a@example.org>", "RCPT TO:<b@example.com>", "DATA", ".")
        self.assertEqual(["250 2.1.0", "250 2.1.5", "354", "250 2.0.0"], said)

    def assertRefused(self, expected: str, client: Client, *pieces: bytes) -> None:
        """
        The message is refused at its end, and all is as before it.
        """
        self.assertEqual(expected, short(self.deliver(client, *pieces)))
        self.assertEqual(0, client.rules.budget.used)
        self.assertEqual("ready", client.state)
        self.assertIsNone(client.dialog.delivery)


class AcceptedTests(DeliveryTestCase):
    """
    A message that everyone takes.
    """

    def test_streamed(self) -> None:
        receiver = Receiver()
        client = opened(streaming(receiver))
        self.assertEqual("250 2.0.0 Message accepted", str(self.deliver(client, MESSAGE)))
        self.assertEqual((MESSAGE, ["finish"]), (receiver.content, receiver.ends))

    def test_in_pieces(self) -> None:
        receiver = Receiver()
        client = opened(streaming(receiver))
        self.deliver(client, b"one\r\n", b"two\r\n")
        self.assertEqual([b"one", b"\r\ntwo", b"\r\n"], receiver.chunks)

    def test_whole(self) -> None:
        mailbox = Mailbox()
        client = opened(mailbox)
        envelope = client.envelope
        self.assertEqual("250 2.0.0", short(self.deliver(client, MESSAGE)))
        self.assertEqual([envelope], mailbox.envelopes)
        self.assertEqual((MESSAGE, MESSAGE), (envelope.content, envelope.original_content))
        self.assertEqual(0, client.rules.budget.used)

    def test_empty(self) -> None:
        mailbox, receiver = Mailbox(), Receiver()
        self.deliver(opened(mailbox, streaming(receiver)))
        self.assertEqual([b""], mailbox.contents)
        self.assertEqual(([], ["finish"]), (receiver.chunks, receiver.ends))

    def test_not_assembled(self) -> None:
        """
        Content is put together only if someone wants it so.
        """
        client = opened(streaming(Receiver()), content_memory=1)
        envelope = client.envelope
        self.assertEqual("250 2.0.0", short(self.deliver(client, MESSAGE)))
        self.assertIsNone(envelope.content)

    def test_both(self) -> None:
        """
        A handler may have it as it comes, then whole.
        """
        receiver = Receiver()

        def whole(server: object, session: object, envelope: Any) -> str:
            receiver.log.append("handle_DATA")
            return "250 2.6.0 Whole"

        client = opened(streaming(receiver, handle_DATA=whole))
        self.assertEqual("250 2.6.0 Whole", str(self.deliver(client, MESSAGE)))
        self.assertEqual(["write ", "finish ", "handle_DATA"], receiver.log[-3:])

    def test_both_positive(self) -> None:
        receiver = Receiver(finish="250 2.6.0 Streamed")
        client = opened(streaming(receiver, handle_DATA=lambda *_: None))
        self.assertEqual("250 2.6.0 Streamed", str(self.deliver(client, MESSAGE)))

    def test_last_positive(self) -> None:
        client = opened(Mailbox("250 2.6.1 One"), Mailbox("250 2.6.2 Two"), Mailbox())
        self.assertEqual("250 2.6.2 Two", str(self.deliver(client, MESSAGE)))

    def test_order(self) -> None:
        """
        At the end each is asked once, in order.
        """
        log: list[str] = []
        client = opened(*(streaming(Receiver(name, log)) for name in "abc"))
        self.deliver(client, MESSAGE)
        writes, finishes = log[:-3], log[-3:]
        self.assertEqual(["write a", "write b", "write c"] * (len(writes) // 3), writes)
        self.assertEqual(["finish a", "finish b", "finish c"], finishes)

    def test_no_receiver(self) -> None:
        """
        A handler may have no interest in this message.
        """
        mailbox = Mailbox()
        client = opened(saying(open_content=None), mailbox)
        self.assertEqual("250 2.0.0", short(self.deliver(client, MESSAGE)))
        self.assertEqual([MESSAGE], mailbox.contents)

    def test_no_receiver_to_abort(self) -> None:
        client = opened(saying(open_content=None), bare_newline="reject")
        self.assertRefused("554 5.6.0", client, b"\n\r\n")

    def test_opened_later(self) -> None:
        later, receiver = Later(), Receiver()
        client = opened(saying(open_content=later))
        self.assertEqual([], client.say("DATA"))
        later.answer(receiver)
        self.assertEqual(["354"], [short(reply) for reply in client.resume()])
        self.rest(client, MESSAGE)
        self.assertEqual(MESSAGE, receiver.content)

    def test_opened_by_a_coroutine(self) -> None:
        receiver = Receiver()

        async def open_content(server: object, session: object, envelope: object) -> Receiver:
            return receiver

        self.deliver(opened(Handler(open_content=open_content)), MESSAGE)
        self.assertEqual(MESSAGE, receiver.content)

    def test_errors_forgiven(self) -> None:
        """
        An accepted message shows that the client means well.
        """
        client = opened(max_errors=3)
        client.say("FROB", "FROB")
        self.deliver(client)
        self.assertEqual(["500 5.5.2", "500 5.5.2"], client.say("FROB", "FROB"))
        self.assertFalse(client.closed)

    def test_errors_not_forgiven(self) -> None:
        client = opened(Mailbox("550 no"), max_errors=3)
        client.say("FROB", "FROB")
        self.deliver(client)
        self.assertEqual(["500 5.5.2", "421 4.7.0"], client.say("FROB"))

    def test_envelope_kept(self) -> None:
        """
        A handler may keep the envelope: the next transaction has another.
        """
        mailbox = Mailbox()
        client = opened(mailbox)
        self.deliver(client, MESSAGE)
        self.assertNextWorks(client)
        first, second = mailbox.envelopes
        self.assertEqual((MESSAGE, b""), (first.content, second.content))
        self.assertEqual(["b@example.com"], first.rcpt_tos)
        self.assertNotEqual(first.id, second.id)


class GoAheadTests(DeliveryTestCase):
    """
    A handler may say something before the content comes.
    """

    def test_words(self) -> None:
        client = opened(saying(handle_DATA_start="354 Do"))
        self.assertEqual("354 Do", client.ask("DATA"))

    def test_refused(self) -> None:
        for answer in ("550 5.7.1 No", Rejected("550 5.7.1 No")):
            receiver = Receiver()
            client = opened(saying(handle_DATA_start=answer), streaming(receiver))
            self.assertEqual(["550 5.7.1"], client.say("DATA"))
            self.assertEqual("rcpt", client.state)
            self.assertIsNone(client.dialog.delivery)
            self.assertEqual([], receiver.ends)

    def test_wrong_class(self) -> None:
        """
        A 250 here would leave the client waiting.
        """
        client = opened(saying(handle_DATA_start="250 OK"))
        self.assertEqual(["451 4.3.0"], client.say("DATA"))
        self.assertIsInstance(client.runner.errors[0], ValueError)

    def test_open_refused(self) -> None:
        """
        A refusal is sent in place of 354 and those that were open are aborted.
        """
        first, last = Receiver(), Receiver()
        for answer in (Rejected("552 5.2.2 Full"), Rejected(Reply(552, "5.2.2", ("Full",)))):
            client = opened(
                streaming(first), saying(open_content=None), saying(open_content=answer),
                streaming(last),
            )  # fmt: skip
            self.assertEqual("552 5.2.2 Full", client.ask("DATA"))
            self.assertEqual("rcpt", client.state)
            self.assertIsNone(client.dialog.delivery)
            self.assertEqual((["abort"], []), (first.ends, last.ends))
            first.ends.clear()

    def test_open_refused_without_status(self) -> None:
        client = opened(saying(open_content=Rejected("552 Full")))
        self.assertEqual(["552 5.0.0"], client.say("DATA"))

    def test_open_refused_later(self) -> None:
        later, first = Later(), Receiver()
        client = opened(streaming(first), saying(open_content=later))
        client.say("DATA")
        self.assertTrue(client.pending)
        later.fail(Rejected("450 4.2.0 Busy"))
        self.assertEqual(["450 4.2.0"], [short(reply) for reply in client.resume()])
        self.assertEqual(["abort"], first.ends)

    def test_open_answered_later(self) -> None:
        """
        What comes later is as good a verdict, and as bad a receiver, as what is there at once.
        """
        for answer, expected in (("450 4.2.0 Busy", "450 4.2.0"), (7, "451 4.3.0")):
            later, first = Later(), Receiver()
            client = opened(streaming(first), saying(open_content=later))
            client.say("DATA")
            later.answer(answer)
            self.assertEqual([expected], [short(reply) for reply in client.resume()])
            self.assertEqual(["abort"], first.ends)

    def test_opened_too_late(self) -> None:
        """
        A receiver that comes when the client has its answer is told that nothing will come.
        """
        later, receiver = Later(), Receiver()
        client = opened(saying(open_content=later))
        client.say("DATA")
        later.fail(KeyError("cancelled"))
        self.assertEqual(["451 4.3.0"], [short(reply) for reply in client.resume()])
        (too_late,) = client.runner.late
        too_late(receiver)
        self.assertEqual(["abort"], receiver.ends)

    def test_open_raises(self) -> None:
        first = Receiver()
        client = opened(streaming(first), saying(open_content=KeyError("canary")))
        self.assertEqual("451 4.3.0 Local error, try again later", client.ask("DATA"))
        self.assertEqual(["abort"], first.ends)
        self.assertIsInstance(client.runner.errors[0], KeyError)
        self.assertEqual("rcpt", client.state)

    def test_again(self) -> None:
        """
        What was refused for now may be tried again in the same transaction.
        """
        answers = ["450 4.2.0 Busy", None]
        mailbox = Mailbox()
        client = opened(Handler(handle_DATA_start=lambda *_: answers.pop(0)), mailbox)
        self.assertEqual(["450 4.2.0"], client.say("DATA"))
        self.assertEqual("250 2.0.0", short(self.deliver(client, MESSAGE)))
        self.assertEqual([MESSAGE], mailbox.contents)


class SizeTests(DeliveryTestCase):
    """
    Over the limit, content is consumed to its end and refused there (RFC 1870 section 6.3).
    """

    def test_exact(self) -> None:
        for limit in (2, 3, 21, 100):
            content = b"x" * (limit - 2) + b"\r\n"
            for pieces in ([content], [content[:1], content[1:]], [b"", content[:-2], b"\r\n"]):
                mailbox, receiver = Mailbox(), Receiver()
                client = opened(mailbox, streaming(receiver), data_size_limit=limit)
                self.assertEqual("250 2.0.0", short(self.deliver(client, *pieces)))
                self.assertEqual([content], mailbox.contents)
                client = opened(mailbox, streaming(receiver), data_size_limit=limit)
                self.assertRefused("552 5.3.4", client, b"x", *pieces)
                self.assertEqual([content], mailbox.contents)
                self.assertEqual(["finish", "abort"], receiver.ends)

    def test_dots_do_not_count(self) -> None:
        client = opened(data_size_limit=6)
        self.assertEqual("250 2.0.0", short(self.deliver(client, b"..\r\n..\r\n")))
        client = opened(data_size_limit=5)
        self.assertRefused("552 5.3.4", client, b"..\r\n..\r\n")

    def test_no_limit(self) -> None:
        client = opened(data_size_limit=0)
        self.assertEqual("250 2.0.0", short(self.deliver(client, b"x" * 100000 + b"\r\n")))

    def test_swallowed(self) -> None:
        """
        What comes after the limit goes to nobody and costs no memory.
        """
        receiver, mailbox = Receiver(), Mailbox()
        client = opened(mailbox, streaming(receiver), data_size_limit=10)
        client.say("DATA")
        client.send(b"x" * 11)
        self.assertEqual(["abort"], receiver.ends)
        self.assertEqual(0, client.rules.budget.used)
        for _ in range(10):
            client.send(b"y" * 1000)
        self.assertEqual("552 5.3.4", short(self.rest(client, b"\r\n")))
        self.assertEqual(([], [], ["abort"]), (receiver.chunks, mailbox.contents, receiver.ends))

    def test_end_still_needs_crlf(self) -> None:
        """
        After the limit it is the same end that is looked for.
        """
        client = opened(data_size_limit=3)
        self.assertRefused("552 5.3.4", client, b"xxxxx\n.\nQUIT\n", b"\r.\r\n", b"QUIT\r\n")
        self.assertNextWorks(client)
        self.assertFalse(client.closed)

    def test_next(self) -> None:
        client = opened(data_size_limit=3)
        self.assertRefused("552 5.3.4", client, b"xxxx\r\n")
        self.assertNextWorks(client)


class BareNewlineTests(DeliveryTestCase):
    """
    Bare CR and LF never end anything.
    """

    BAD = (b"a\nb\r\n", b"a\rb\r\n", b"\n\r\n", b"a\r\r\n", b"\n.\n\r\n", b"\r\n\n\r\n")

    def test_reject(self) -> None:
        for content in self.BAD:
            receiver, mailbox = Receiver(), Mailbox()
            client = opened(mailbox, streaming(receiver), bare_newline="reject")
            self.assertRefused("554 5.6.0", client, content)
            self.assertEqual((["abort"], []), (receiver.ends, mailbox.contents))
            self.assertNextWorks(client)

    def test_reject_nothing(self) -> None:
        mailbox = Mailbox()
        client = opened(mailbox, bare_newline="reject")
        self.assertEqual(
            "250 2.0.0",
            short(self.deliver(client, *(MESSAGE[n : n + 1] for n in range(len(MESSAGE))))),
        )
        self.assertEqual([MESSAGE], mailbox.contents)

    def test_normalize(self) -> None:
        """
        It is the default, and does what Postfix does.
        """
        normalized = (
            b"a\r\nb\r\n", b"a b\r\n", b"\r\n\r\n", b"a \r\n", b"\r\n.\r\n\r\n",
            b"\r\n\r\n\r\n",
        )  # fmt: skip
        for content, normal in zip(self.BAD, normalized, strict=True):
            receiver, mailbox = Receiver(), Mailbox()
            client = opened(mailbox, streaming(receiver))
            self.assertEqual("250 2.0.0", short(self.deliver(client, content)))
            self.assertEqual(([normal], normal), (mailbox.contents, receiver.content))

    def test_normalize_in_pieces(self) -> None:
        content, normal = b"a\r\nb\rc\nd\r\r\n\r\n", b"a\r\nb c\r\nd \r\n\r\n"
        for at in range(1, len(content)):
            mailbox = Mailbox()
            self.deliver(opened(mailbox), content[:at], content[at:])
            self.assertEqual([normal], mailbox.contents, at)
        mailbox = Mailbox()
        self.deliver(opened(mailbox), *(content[n : n + 1] for n in range(len(content))))
        self.assertEqual([normal], mailbox.contents)

    def test_normalized_size(self) -> None:
        """
        What counts is what is delivered.
        """
        client = opened(data_size_limit=6)
        self.assertRefused("552 5.3.4", client, b"a\nbc\r\n")

    def test_keep(self) -> None:
        for content in self.BAD:
            mailbox = Mailbox()
            client = opened(mailbox, bare_newline="keep")
            self.assertEqual("250 2.0.0", short(self.deliver(client, content)))
            self.assertEqual([content], mailbox.contents)


class LineLimitTests(DeliveryTestCase):
    """
    Lines may be limited (RFC 5321 section 4.5.3.1.6).
    """

    def test_exact(self) -> None:
        for content, expected in [
            (b"x" * 8 + b"\r\n", "250 2.0.0"),
            (b"x" * 9 + b"\r\n", "500 5.6.0"),
            (b"ok\r\n" * 5 + b"x" * 8 + b"\r\nok\r\n", "250 2.0.0"),
            (b"ok\r\n" * 5 + b"x" * 9 + b"\r\nok\r\n", "500 5.6.0"),
        ]:
            for pieces in ([content], [content[n : n + 1] for n in range(len(content))]):
                receiver, mailbox = Receiver(), Mailbox()
                client = opened(mailbox, streaming(receiver), line_length_limit=10)
                self.assertEqual(expected, short(self.deliver(client, *pieces)), repr(pieces))
                accepted = expected == "250 2.0.0"
                self.assertEqual([content] if accepted else [], mailbox.contents)
                self.assertEqual(["finish" if accepted else "abort"], receiver.ends)
                self.assertEqual(0, client.rules.budget.used)
                self.assertNextWorks(client)

    def test_off(self) -> None:
        client = opened()
        self.assertEqual("250 2.0.0", short(self.deliver(client, b"x" * 100000 + b"\r\n")))


class MemoryTests(DeliveryTestCase):
    """
    Whole contents are limited in all, over all connections.
    """

    def test_at_the_go_ahead(self) -> None:
        client = opened(content_memory=10)
        self.assertTrue(client.rules.budget.take(10))
        self.assertEqual(["452 4.3.1"], client.say("DATA"))
        self.assertEqual("rcpt", client.state)
        client.rules.budget.give_back(1)
        self.assertEqual(["354"], client.say("DATA"))

    def test_streaming_does_not_count(self) -> None:
        client = opened(streaming(Receiver()), content_memory=10)
        client.rules.budget.take(10)
        self.assertEqual("250 2.0.0", short(self.deliver(client, MESSAGE)))
        self.assertEqual(10, client.rules.budget.used)

    def test_on_the_way(self) -> None:
        receiver, mailbox = Receiver(), Mailbox()
        client = opened(streaming(receiver), mailbox, content_memory=10)
        client.say("DATA")
        client.send(b"12345")
        self.assertEqual(5, client.rules.budget.used)
        client.send(b"678901")
        self.assertEqual(0, client.rules.budget.used)
        self.assertEqual("452 4.3.1", short(self.rest(client, b"\r\n")))
        self.assertEqual((["abort"], []), (receiver.ends, mailbox.contents))
        self.assertNextWorks(client)

    def test_exact(self) -> None:
        client = opened(content_memory=10)
        self.assertEqual("250 2.0.0", short(self.deliver(client, b"12345678\r\n")))
        self.assertNextWorks(client)

    def test_given_back(self) -> None:
        """
        Whatever becomes of a message, the next one has all the memory again.
        """
        cases: list[tuple[tuple[Any, ...], dict[str, Any], bytes]] = [
            ((Mailbox(),), {}, MESSAGE),
            ((Mailbox("550 no"),), {}, MESSAGE),
            ((Mailbox(False),), {}, MESSAGE),
            ((saying(handle_DATA=KeyError()),), {}, MESSAGE),
            ((Mailbox(), streaming(Receiver(finish="550 no"))), {}, MESSAGE),
            ((Mailbox(), streaming(Receiver(finish=KeyError()))), {}, MESSAGE),
            ((Mailbox(), streaming(Receiver(write=Rejected("550 no")))), {}, MESSAGE),
            ((Mailbox(), streaming(Receiver(write=KeyError()))), {}, MESSAGE),
            ((Mailbox(), streaming(Receiver(write=KeyError(), abort=KeyError()))), {}, MESSAGE),
            ((Mailbox(),), {"data_size_limit": 15}, MESSAGE),
            ((Mailbox(),), {"line_length_limit": 8}, MESSAGE),
            ((Mailbox(),), {"bare_newline": "reject"}, b"x\n"),
            ((Mailbox(),), {"decode_data": True, "enable_SMTPUTF8": False}, b"\xff\r\n"),
        ]
        for handlers, settings, content in cases:
            client = opened(*handlers, content_memory=30, **settings)
            client.say("DATA")
            client.send(b"1\r\n")
            self.rest(client, content, b"\r\n")
            self.assertEqual(0, client.rules.budget.used, (handlers, settings))
            self.assertIsNone(client.dialog.delivery)

    def test_given_back_when_interrupted(self) -> None:
        for end in (lambda client: client.lose(), lambda client: client.dialog.reset()):
            mailbox, receiver = Mailbox(), Receiver()
            client = opened(mailbox, streaming(receiver))
            client.say("DATA")
            client.send(MESSAGE)
            self.assertGreater(client.rules.budget.used, 0)
            end(client)
            self.assertEqual(0, client.rules.budget.used)
            self.assertEqual(([], ["abort"]), (mailbox.contents, receiver.ends))

    def test_held_until_the_verdict(self) -> None:
        later = Later()
        client = opened(Mailbox(later))
        client.say("DATA")
        client.send(MESSAGE + b".\r\n")
        self.assertEqual(len(MESSAGE), client.rules.budget.used)
        later.answer()
        self.assertEqual(["250 2.0.0"], [short(reply) for reply in client.resume()])
        self.assertEqual(0, client.rules.budget.used)


class WriteTests(DeliveryTestCase):
    """
    A receiver may refuse, fail or take its time.
    """

    def test_refusal(self) -> None:
        """
        It is sent at the end; nothing more is written to anyone, and everyone is told.
        """
        log: list[str] = []
        client = opened(
            streaming(Receiver("a", log)),
            streaming(Receiver("b", log, write=Rejected("554 5.7.1 Spam"))),
            streaming(Receiver("c", log)),
        )
        self.assertEqual("554 5.7.1 Spam", str(self.deliver(client, b"one", b"two", b"\r\n")))
        self.assertEqual(["write a", "write b", "abort a", "abort b", "abort c"], log)
        self.assertNextStateIsReady(client)

    def assertNextStateIsReady(self, client: Client) -> None:
        self.assertEqual(("ready", 0), (client.state, client.rules.budget.used))

    def test_refusal_without_status(self) -> None:
        client = opened(streaming(Receiver(write=Rejected("554 Spam"))))
        self.assertRefused("554 5.0.0", client, MESSAGE)

    def test_error(self) -> None:
        receiver, other = Receiver(write=KeyError("canary")), Receiver()
        client = opened(streaming(receiver), streaming(other))
        self.assertEqual(
            "451 4.3.0 Local error, try again later", str(self.deliver(client, b"one", b"\r\n"))
        )
        self.assertEqual((["abort"], ["abort"]), (receiver.ends, other.ends))
        self.assertEqual([KeyError], [type(error) for error in client.runner.errors])

    def test_error_explained(self) -> None:
        """
        The first reason that there is decides.
        """
        client = opened(
            streaming(Receiver(write=KeyError())), saying(handle_exception="554 5.3.9 Broken")
        )
        self.assertRefused("554 5.3.9", client, MESSAGE)

    def test_closing(self) -> None:
        """
        A 421 from anywhere closes the connection.
        """
        client = opened(streaming(Receiver(write=Rejected("421 4.7.0 Bye"))))
        self.assertEqual("421 4.7.0", short(self.deliver(client, b"x\r\n")))
        self.assertTrue(client.closed)

    def test_waits(self) -> None:
        """
        The slowest sets the pace.
        """
        one, other = Later(), Later()
        slow, slower, fast = Receiver(write=one), Receiver(write=other), Receiver()
        client = opened(streaming(slow), streaming(slower), streaming(fast))
        client.say("DATA")
        client.send(b"one")
        self.assertTrue(client.pending)
        client.send(b"two\r\n.\r\n")
        for receiver in (slow, slower, fast):
            self.assertEqual([b"one"], receiver.chunks)
        one.answer()
        client.resume()
        self.assertTrue(client.pending)
        self.assertEqual([b"one"], fast.chunks)
        other.answer()
        self.assertEqual(["250 2.0.0"], [short(reply) for reply in client.resume()])
        for receiver in (slow, slower, fast):
            self.assertEqual(b"onetwo\r\n", receiver.content)

    def test_at_once(self) -> None:
        """
        A write that is over at once is not waited for.
        """

        async def at_once() -> None:
            pass

        class Prompt(Receiver):
            def write(self, chunk: bytes) -> Any:
                super().write(chunk)
                return at_once()

        receiver = Prompt()
        client = opened(streaming(receiver))
        client.say("DATA")
        client.send(b"one")
        self.assertFalse(client.pending)
        self.rest(client, b"\r\n")
        self.assertEqual(b"one\r\n", receiver.content)

    def pending_writes(self) -> tuple[Client, list[Later], list[Receiver]]:
        answers = [Later(), Later()]
        receivers = [Receiver(write=answer) for answer in answers]
        client = opened(*map(streaming, receivers))
        client.say("DATA")
        client.send(b"one")
        return client, answers, receivers

    def test_refusal_later(self) -> None:
        """
        Once the message is refused nobody waits for the others.
        """
        client, (first, second), receivers = self.pending_writes()
        first.fail(Rejected("554 5.7.1 Spam"))
        client.resume()
        self.assertFalse(client.pending)
        self.assertEqual(1, len(client.runner.cancelled))
        second.fail(Rejected("550 5.7.2 Also"))
        self.assertEqual("554 5.7.1", short(self.rest(client, b"two\r\n")))
        for receiver in receivers:
            self.assertEqual(([b"one"], ["abort"]), (receiver.chunks, receiver.ends))

    def test_refusal_of_the_last(self) -> None:
        client, (first, second), receivers = self.pending_writes()
        first.answer()
        client.resume()
        self.assertTrue(client.pending)
        second.fail(Rejected("550 5.7.2 Also"))
        client.resume()
        self.assertEqual("550 5.7.2", short(self.rest(client, b"two\r\n")))
        self.assertEqual([["abort"], ["abort"]], [receiver.ends for receiver in receivers])

    def test_error_later(self) -> None:
        client, (first, second), receivers = self.pending_writes()
        first.answer()
        second.fail(KeyError("canary"))
        client.resume()
        self.assertEqual("451 4.3.0", short(self.rest(client, b"two\r\n")))
        self.assertEqual([["abort"], ["abort"]], [receiver.ends for receiver in receivers])
        self.assertIsInstance(client.runner.errors[0], KeyError)

    def test_error_while_others_wait(self) -> None:
        """
        Those that were begun are not waited for.
        """
        for error, expected in [(KeyError(), "451 4.3.0"), (Rejected("550 5.7.1 no"), "550 5.7.1")]:
            receivers = [Receiver(write=Later()), Receiver(write=error)]
            client = opened(*map(streaming, receivers))
            client.say("DATA")
            client.send(b"one")
            self.assertFalse(client.pending)
            self.assertEqual(1, len(client.runner.cancelled))
            self.assertEqual(expected, short(self.rest(client, b"\r\n")))
            self.assertEqual([["abort"], ["abort"]], [receiver.ends for receiver in receivers])


class VerdictTests(DeliveryTestCase):
    """
    At the end the first refusal aborts the rest.
    """

    def test_refusal(self) -> None:
        for answer, expected in [
            ("550 5.7.1 No", "550 5.7.1"),
            (Rejected("550 5.7.1 No"), "550 5.7.1"),
            ("550 No", "550 5.0.0"),
            (KeyError("canary"), "451 4.3.0"),
            (True, "451 4.3.0"),
            ("354 Go", "451 4.3.0"),
        ]:
            first, second, third = Receiver(), Receiver(finish=answer), Receiver()
            mailbox = Mailbox()
            client = opened(streaming(first), streaming(second), streaming(third), mailbox)
            self.assertRefused(expected, client, MESSAGE)
            self.assertEqual(["finish"], first.ends)
            self.assertEqual(["finish"], second.ends)
            self.assertEqual(["abort"], third.ends)
            self.assertEqual([], mailbox.contents)

    def test_whole_refused(self) -> None:
        last = Receiver()
        client = opened(Mailbox("550 5.7.1 No"), streaming(last))
        self.assertRefused("550 5.7.1", client, MESSAGE)
        self.assertEqual(["abort"], last.ends)

    def test_refused_by_the_stream_first(self) -> None:
        """
        A handler that has refused it as it came does not get it whole.
        """
        asked: list[Any] = []
        handler = streaming(Receiver(finish="550 5.7.1 No"), handle_DATA=lambda *a: asked.append(a))
        self.assertRefused("550 5.7.1", opened(handler), MESSAGE)
        self.assertEqual([], asked)

    def test_closing(self) -> None:
        client = opened(Mailbox("421 4.3.2 Bye"))
        self.assertEqual("421 4.3.2", short(self.deliver(client, MESSAGE)))
        self.assertTrue(client.closed)

    def test_later(self) -> None:
        later = Later()
        client = opened(streaming(Receiver(finish=later)))
        client.say("DATA")
        self.assertEqual([], client.send(MESSAGE + b".\r\nNOOP\r\n"))
        later.answer("250 2.6.0 Yes")
        self.assertEqual(["250 2.6.0", "250 2.0.0"], [short(reply) for reply in client.resume()])

    def test_many(self) -> None:
        """
        However many handlers there are, and whichever of them take their time.
        """
        slow = [Later() for _ in range(3)]
        receivers = [Receiver(finish=later) for later in slow]
        many = [Mailbox() for _ in range(1000)]
        client = opened(*many, *map(streaming, receivers))
        client.say("DATA")
        self.assertEqual([], client.send(MESSAGE + b".\r\n"))
        for later in slow[:-1]:
            later.answer()
            self.assertEqual([], client.resume())
        slow[-1].answer("250 2.6.0 Yes")
        self.assertEqual(["250 2.6.0"], [short(reply) for reply in client.resume()])
        self.assertEqual([[MESSAGE]] * 1000, [mailbox.contents for mailbox in many])

    def test_runs_to_its_end(self) -> None:
        """
        A message that is whole is not taken back when the client vanishes.
        """
        later = Later()
        first, second = Receiver(finish=later), Receiver()
        client = opened(streaming(first), streaming(second))
        client.say("DATA")
        client.send(MESSAGE + b".\r\n")
        client.lose()
        later.answer()
        self.assertEqual(["250 2.0.0"], [short(reply) for reply in client.resume()])
        self.assertEqual((["finish"], ["finish"]), (first.ends, second.ends))

    def test_error_when_the_client_has_gone(self) -> None:
        """
        A delivery that fails is logged even if nobody is left to hear of it.
        """
        later = Later()
        client = opened(streaming(Receiver(finish=later)))
        client.say("DATA")
        client.send(MESSAGE + b".\r\n")
        client.lose()
        later.fail(KeyError("canary"))
        self.assertEqual(["451 4.3.0"], [short(reply) for reply in client.resume()])
        self.assertEqual([KeyError], [type(error) for error in client.runner.errors])


class AbortTests(DeliveryTestCase):
    """
    Everyone who was to have the message is told, once, that it will not come.
    """

    def test_disconnect(self) -> None:
        """
        A message that is not whole is not delivered.
        """
        for sent in (b"", b"Subject: x\r\n", MESSAGE, MESSAGE + b"\r\n.", MESSAGE + b".\r"):
            receivers, mailbox = [Receiver(), Receiver()], Mailbox()
            client = opened(*map(streaming, receivers), mailbox)
            client.say("DATA")
            client.send(sent)
            client.lose()
            self.assertEqual([["abort"], ["abort"]], [receiver.ends for receiver in receivers])
            self.assertEqual([], mailbox.contents)
            self.assertEqual(0, client.rules.budget.used)

    def test_disconnect_after_refusal(self) -> None:
        receiver = Receiver(write=Rejected("550 no"))
        client = opened(streaming(receiver))
        client.say("DATA")
        client.send(b"x\r\n\r\n")
        client.lose()
        self.assertEqual(["abort"], receiver.ends)

    def test_reason(self) -> None:
        reasons: list[str] = []

        class Curious(Receiver):
            def abort(self, reason: str) -> None:
                reasons.append(reason)

        client = opened(streaming(Curious()))
        client.say("DATA")
        client.lose("connection reset")
        self.deliver(opened(streaming(Curious()), data_size_limit=1), b"xx\r\n")
        self.deliver(opened(Mailbox("550 5.7.1 No"), streaming(Curious())), b"xx\r\n")
        self.assertEqual(
            ["connection reset", "552 5.3.4 Message exceeds the size limit", "550 5.7.1 No"],
            reasons,
        )

    def test_error(self) -> None:
        """
        One that fails in abort does not keep the others from being told.
        """
        first, second = Receiver(abort=KeyError("canary")), Receiver()
        client = opened(streaming(first), streaming(second))
        client.say("DATA")
        client.lose()
        self.assertEqual(["abort"], second.ends)
        self.assertIsInstance(client.runner.errors[0], KeyError)

    def test_later(self) -> None:
        """
        Nobody waits for an abort, but it runs to its end and its errors are seen.
        """
        later = Later()
        client = opened(streaming(Receiver(abort=later)), data_size_limit=1)
        self.assertRefused("552 5.3.4", client, b"xx\r\n")
        later.fail(KeyError("canary"))
        self.assertEqual([], client.runner.errors)
        client.runner.resume()
        self.assertIsInstance(client.runner.errors[0], KeyError)


class DecodeTests(DeliveryTestCase):
    """
    Content may be wanted as text.
    """

    def test_utf8(self) -> None:
        """
        Octets that are no UTF-8 are kept for those who know.
        """
        mailbox = Mailbox()
        self.deliver(opened(mailbox, decode_data=True), b"caf\xc3\xa9 \xff\r\n")
        self.assertEqual(["caf\u00e9 \udcff\r\n"], mailbox.contents)
        self.assertEqual(b"caf\xc3\xa9 \xff\r\n", mailbox.envelopes[0].original_content)

    def test_ascii(self) -> None:
        mailbox = Mailbox()
        client = opened(mailbox, decode_data=True, enable_SMTPUTF8=False)
        self.deliver(client, MESSAGE)
        self.assertEqual([MESSAGE.decode()], mailbox.contents)

    def test_not_ascii(self) -> None:
        mailbox, receiver = Mailbox(), Receiver()
        client = opened(streaming(receiver), mailbox, decode_data=True, enable_SMTPUTF8=False)
        self.assertRefused("554 5.6.1", client, b"caf\xc3\xa9\r\n")
        self.assertEqual(([], ["abort"]), (mailbox.contents, receiver.ends))
        self.assertNextWorks(client)
