"""
Tests for :mod:`txsmtpd.extensions.chunking`.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.outcomes import Body
from txsmtpd.core.replies import Rejected, Reply
from txsmtpd.core.session import Session
from txsmtpd.core.settings import Settings
from txsmtpd.extensions.base import Extension
from txsmtpd.extensions.chunking import Chunking

from .corekit import (
    EXTENSIONS,
    OPENING,
    Client,
    Handler,
    Later,
    Mailbox,
    Receiver,
    conclude,
    cuts,
    opened,
    saying,
    short,
    streaming,
)

NO = "550 5.7.1 No"

#: What would be noticed if a chunk were taken for commands.
TRAP = b"QUIT\r\nFROB\r\n.\r\n\x00\xff\nQUIT\r\n"


def chunk(octets: bytes, *, last: bool = False) -> bytes:
    return b"BDAT %d%s\r\n" % (len(octets), b" LAST" if last else b"") + octets


class ChunkingTestCase(SynchronousTestCase):
    """
    Messages that are sent with BDAT.
    """

    def assertSent(self, expected: list[str], client: Client, *data: bytes) -> None:
        self.assertEqual(expected, [short(reply) for reply in client.send(b"".join(data))])

    def assertSwallowed(self, expected: str, client: Client, *, last: bool = False) -> None:
        """
        A chunk is consumed to its last octet, answered once, and nothing in it is run.
        """
        self.assertSent([expected, "250 2.0.0"], client, chunk(TRAP, last=last), b"NOOP\r\n")
        self.assertFalse(client.closed)
        # The reply comes when the chunk is over and not before.
        self.assertSent([], client, chunk(TRAP, last=last)[:-1])
        again = client.send(TRAP[-1:])
        self.assertEqual(1, len(again))


class AcceptedTests(ChunkingTestCase):
    """
    A message in chunks (RFC 3030 section 2).
    """

    def test_keyword(self) -> None:
        self.assertEqual("CHUNKING", Chunking(Settings()).keyword(Session()))

    def test_help(self) -> None:
        self.assertEqual("214 2.0.0 Syntax: BDAT size [LAST]", Client().ask("HELP bdat"))

    def test_one(self) -> None:
        mailbox, receiver = Mailbox(), Receiver()
        client = opened(mailbox, streaming(receiver))
        self.assertSent(["250 2.0.0"], client, chunk(TRAP, last=True))
        self.assertEqual(([TRAP], TRAP), (mailbox.contents, receiver.content))
        self.assertEqual(["finish"], receiver.ends)
        self.assertEqual("ready", client.state)
        self.assertEqual("Message accepted", client.replies[-1].lines[0])

    def test_several(self) -> None:
        mailbox = Mailbox()
        client = opened(mailbox)
        self.assertEqual("250 2.0.0 3 octets received", str(client.send(chunk(b"one"))[0]))
        self.assertEqual([], mailbox.contents)
        self.assertSent(["250 2.0.0"] * 2, client, chunk(b"two"), chunk(b"three", last=True))
        self.assertEqual([b"onetwothree"], mailbox.contents)

    def test_octets(self) -> None:
        """
        No dots, no newlines, nothing is changed.
        """
        for octets in (
            b".",
            b".\r\n",
            b"..\r\n.\r\n",
            b"\r",
            b"\n",
            b"\r\n.\r\n",
            bytes(range(256)),
        ):
            for policy in ("reject", "normalize", "keep"):
                mailbox = Mailbox()
                client = opened(mailbox, bare_newline=policy)
                self.assertSent(["250 2.0.0"], client, chunk(octets, last=True))
                self.assertEqual([octets], mailbox.contents)

    def test_any_cut(self) -> None:
        data = chunk(b"a\r\n") + chunk(b"") + chunk(b"QUIT\r\n", last=True) + b"NOOP\r\n"
        for pieces in cuts(data):
            mailbox = Mailbox()
            client = opened(mailbox)
            before = len(client.replies)
            for piece in pieces:
                client.send(piece)
            self.assertEqual(4, len(client.replies) - before)
            self.assertEqual([b"a\r\nQUIT\r\n"], mailbox.contents)

    def test_empty(self) -> None:
        """
        `BDAT 0` is a chunk and `BDAT 0 LAST` ends a message; neither waits for octets.
        """
        mailbox = Mailbox()
        client = opened(mailbox)
        self.assertEqual(["250 2.0.0"], client.say("BDAT 0"))
        self.assertEqual("chunks", client.state)
        self.assertEqual(["250 2.0.0", "250 2.0.0"], client.say("BDAT 0 LAST", "NOOP"))
        self.assertEqual([b""], mailbox.contents)
        self.assertEqual(["250 2.0.0"], opened(mailbox).say("BDAT 0 LAST"))
        self.assertEqual([b"", b""], mailbox.contents)

    def test_spelling(self) -> None:
        for line in (
            "BDAT 0 LAST", "bdat 0 last", "BDAT 00000000000000000000 LaSt", "BDAT 0 LAST \t",
        ):  # fmt: skip
            client = opened()
            self.assertEqual(["250 2.0.0"], client.say(line), line)
            self.assertEqual("ready", client.state)

    def test_next(self) -> None:
        """
        The next message may come by DATA, and the other way round.
        """
        mailbox = Mailbox()
        client = opened(mailbox)
        client.send(chunk(b"one\r\n", last=True))
        client.say(*OPENING, "DATA", "two", ".", *OPENING)
        client.send(chunk(b"three\r\n", last=True))
        self.assertEqual([b"one\r\n", b"two\r\n", b"three\r\n"], mailbox.contents)

    def test_delivers(self) -> None:
        """
        Only the last chunk ends in a delivery.
        """
        client = opened()
        for line, delivers in [(b"BDAT 1", False), (b"BDAT 1 LAST", True)]:
            step: Any = conclude(client.dialog.command(line))
            self.assertIsInstance(step.then, Body)
            self.assertIs(delivers, step.then.message is not None)
            self.assertFalse(step.then.empty)

    def test_nothing_to_come(self) -> None:
        """
        An empty chunk says so, also where it is refused.
        """
        for client in (opened(), Client()):
            step: Any = conclude(client.dialog.command(b"BDAT 0"))
            self.assertTrue(step.then.empty)

    def test_asked_once(self) -> None:
        """
        DATA_start and open_content come with the first chunk.
        """
        asked: list[str] = []
        receiver = Receiver()

        def open_content(*arguments: Any) -> Receiver:
            asked.append("open")
            return receiver

        client = opened(
            Handler(handle_DATA_start=lambda *_: asked.append("start"), open_content=open_content)
        )
        self.assertSent(["250 2.0.0"] * 3, client, chunk(b"1"), chunk(b"2"), chunk(b"3", last=True))
        self.assertEqual(["start", "open"], asked)
        self.assertEqual(b"123", receiver.content)

    def test_first_pending(self) -> None:
        """
        What follows waits for the hook.
        """
        later = Later()
        client = opened(saying(handle_DATA_start=later))
        self.assertSent([], client, chunk(TRAP), b"NOOP\r\n")
        later.answer()
        self.assertEqual(["250 2.0.0"] * 2, [short(reply) for reply in client.resume()])

    def test_write_pending(self) -> None:
        later = Later()
        client = opened(streaming(Receiver(write=later)))
        self.assertSent([], client, chunk(b"one"), chunk(b"two", last=True))
        self.assertTrue(client.pending)
        later.answer()
        self.assertEqual(["250 2.0.0"] * 2, [short(reply) for reply in client.resume()])

    def test_reset(self) -> None:
        for line, expected in [("RSET", "250 2.0.0"), ("EHLO a", "250"), ("HELO a", "250")]:
            receiver = Receiver()
            client = opened(streaming(receiver))
            client.send(chunk(b"one"))
            self.assertEqual([expected], client.say(line))
            self.assertEqual(["abort"], receiver.ends)
            self.assertEqual(("ready", None), (client.state, client.dialog.delivery))
            self.assertEqual(0, client.rules.budget.used)

    def test_line_limit(self) -> None:
        """
        Lines go on from one chunk to the next, and what is between CR and LF too.
        """
        for content, expected in [
            (b"x" * 8 + b"\r\n", "250 2.0.0"),
            (b"x" * 9 + b"\r\n", "500 5.6.0"),
        ]:
            for at in range(len(content) + 1):
                client = opened(line_length_limit=10)
                (first,) = client.send(chunk(content[:at]))
                (last,) = client.send(chunk(content[at:], last=True))
                if short(first) == "250 2.0.0":
                    self.assertEqual(expected, short(last), (content, at))
                else:
                    self.assertEqual(expected, short(first), (content, at))


class SequenceTests(ChunkingTestCase):
    """
    Every octet of an announced chunk is consumed, whatever the reply.
    """

    def test_before_ehlo(self) -> None:
        for last in (False, True):
            self.assertSwallowed("503 5.5.1", Client(), last=last)

    def test_before_mail(self) -> None:
        for last in (False, True):
            client = Client()
            client.say("EHLO a")
            self.assertSwallowed("503 5.5.1", client, last=last)
            self.assertEqual("ready", client.state)

    def test_before_rcpt(self) -> None:
        for last in (False, True):
            client = Client()
            client.say(*OPENING[:2])
            self.assertSwallowed("503 5.5.1", client, last=last)
            self.assertEqual("mail", client.state)

    def test_no_recipients(self) -> None:
        for last in (False, True):
            client = Client(saying(handle_RCPT=NO))
            client.say(*OPENING)
            self.assertSwallowed("554 5.5.1", client, last=last)
            self.assertEqual("no rcpt", client.state)

    def test_after_helo(self) -> None:
        """
        No extension is on.
        """
        client = Client()
        client.say("HELO a", *OPENING[1:])
        self.assertSwallowed("503 5.5.1", client)

    def test_after_helo_data_works(self) -> None:
        """
        A chunk that was none of this transaction does not spoil it.
        """
        client = Client()
        client.say("HELO a", *OPENING[1:])
        self.assertSent(["503 5.5.1"], client, chunk(TRAP, last=True))
        said = client.say("RSET", *OPENING[1:], "DATA", ".")
        self.assertEqual(["250 2.0.0", "250 2.1.0", "250 2.1.5", "354", "250 2.0.0"], said)

    def test_refused_greeting(self) -> None:
        client = Client(saying(handle_CONNECT="554 5.7.1 No"))
        client.greet()
        self.assertSent(["503 5.5.1"], client, chunk(TRAP, last=True))
        self.assertEqual(["221 2.0.0"], client.say("QUIT"))

    def test_gate(self) -> None:
        """
        Refused by require_starttls and its like.
        """

        class Gate(Extension):
            def gate(self, session: Session, verb: str) -> Reply | None:
                return Reply(530, "5.7.0") if verb == "BDAT" else None

        for last in (False, True):
            client = opened(extensions=(*EXTENSIONS, Gate))
            self.assertSent(["530 5.7.0", "250 2.0.0"], client, chunk(TRAP, last=last), b"NOOP\r\n")

    def test_gate_between_chunks(self) -> None:
        """
        A message that has lost a chunk is not delivered.
        """
        shut: list[Reply] = []

        class Gate(Extension):
            def gate(self, session: Session, verb: str) -> Reply | None:
                return shut.pop() if verb == "BDAT" and shut else None

        mailbox, receiver = Mailbox(), Receiver()
        client = opened(mailbox, streaming(receiver), extensions=(*EXTENSIONS, Gate))
        self.assertSent(["250 2.0.0"], client, chunk(b"one"))
        shut.append(Reply(450, "4.7.0"))
        self.assertSent(["450 4.7.0"], client, chunk(TRAP))
        self.assertSent(["503 5.5.1"], client, chunk(b"three", last=True))
        self.assertEqual(([], ["abort"]), (mailbox.contents, receiver.ends))
        self.assertEqual(("ready", 0), (client.state, client.rules.budget.used))

    def test_long_line(self) -> None:
        """
        A line that is too long may still say how long its chunk is.
        """
        client = opened()
        line = b"BDAT %d%s\r\n" % (len(TRAP), b" " * 3000)
        self.assertSent(["500 5.5.2", "250 2.0.0"], client, line, TRAP, b"NOOP\r\n")

    def test_others_between_chunks(self) -> None:
        """
        MAIL, RCPT and DATA after the first BDAT.
        """
        client = opened()
        client.send(chunk(b"one"))
        said = client.say("MAIL FROM:<a@b>", "RCPT TO:<a@b>", "DATA")
        self.assertEqual(["503 5.5.1"] * 3, said)
        self.assertEqual("chunks", client.state)
        self.assertEqual(["250 2.0.0", "252 2.0.0"], client.say("NOOP", "VRFY a"))
        self.assertSent(["250 2.0.0"], client, chunk(b"two", last=True))


class MalformedTests(ChunkingTestCase):
    """
    Nobody can tell where such a chunk ends.
    """

    SIZES = (
        "", "LAST", "x", "-1", "+1", "1.0", "1_0", "0x10", "1k", "1 LAST LAST", "1 LASTLY", "1 X",
        "1LAST", "1 1", " 1", "1\u0660", "\u0661", "\u00b2", "0" * 21, "1" * 30, "1\tLAST", "1\x00",
        "1 LA\u017fT", "LAST 1", "1 LAST x", "1,0",
    )  # fmt: skip

    def test_size(self) -> None:
        for size in self.SIZES:
            client = opened()
            self.assertSent(["521 5.5.4"], client, f"BDAT {size}\r\n".encode(), TRAP)
            self.assertTrue(client.closed, repr(size))

    def test_in_any_state(self) -> None:
        """
        Also where a good one would be refused.
        """
        lost, failed = opened(), opened(data_size_limit=1)
        lost.send(chunk(b"one"))
        failed.send(chunk(b"one"))
        nobody = Client(saying(handle_RCPT=NO))
        nobody.say(*OPENING)
        for client in (Client(), lost, failed, nobody):
            self.assertSent(["521 5.5.4"], client, b"BDAT 1 X\r\n", TRAP)
            self.assertTrue(client.closed)

    def test_aborts(self) -> None:
        receiver = Receiver()
        client = opened(streaming(receiver))
        client.send(chunk(b"one") + b"BDAT x\r\n")
        client.lose()
        self.assertEqual(["abort"], receiver.ends)

    def test_not_utf8(self) -> None:
        client = opened()
        self.assertSent(["521 5.5.4"], client, b"BDAT 1\xff\r\n", TRAP)

    def test_one_reply(self) -> None:
        """
        Nothing is said after 521, not even that it was one error too many.
        """
        client = Client(max_errors=1)
        self.assertSent(["521 5.5.4"], client, b"BDAT x\r\n")


class RefusedTests(ChunkingTestCase):
    """
    After a failed chunk what is left of the message is swallowed.
    """

    def assertFailed(self, expected: str, client: Client, first: bytes, *, last: bool) -> None:
        """
        A chunk is refused, and how things go on from there.
        """
        self.assertSent([expected], client, chunk(first, last=last))
        self.assertFalse(client.closed)
        if not last:
            self.assertEqual("chunk failed", client.state)
            self.assertSwallowedAsFailed(client)
        self.assertEqual("ready", client.state)
        self.assertIsNone(client.dialog.delivery)
        self.assertIsNone(client.envelope.mail_from)
        self.assertEqual(0, client.rules.budget.used)
        self.assertEqual(["250 2.1.0"], client.say("MAIL FROM:<a@b>"))

    def assertSwallowedAsFailed(self, client: Client) -> None:
        self.assertSent(["503 5.5.1"] * 2, client, chunk(TRAP), chunk(b""))
        self.assertEqual(["503 5.5.1"] * 3, client.say(*OPENING[1:], "DATA"))
        self.assertEqual("chunk failed", client.state)
        self.assertSent(["503 5.5.1"], client, chunk(TRAP, last=True))

    def test_at_the_start(self) -> None:
        """
        DATA_start and open_content refuse the first chunk.
        """
        for last in (False, True):
            for hook in ("handle_DATA_start", "open_content"):
                for answer, expected in [
                    (Rejected(NO), "550 5.7.1"), (KeyError("canary"), "451 4.3.0"),
                ]:  # fmt: skip
                    client = opened(saying(**{hook: answer}))
                    self.assertFailed(expected, client, TRAP, last=last)

    def test_at_the_start_later(self) -> None:
        later = Later()
        client = opened(saying(handle_DATA_start=later))
        self.assertSent([], client, chunk(TRAP), chunk(TRAP), b"NOOP\r\n")
        later.answer(NO)
        said = [short(reply) for reply in client.resume()]
        self.assertEqual(["550 5.7.1", "503 5.5.1", "250 2.0.0"], said)

    def test_no_memory(self) -> None:
        for last in (False, True):
            client = opened(content_memory=5)
            client.rules.budget.take(5)
            self.assertSent(["452 4.3.1"], client, chunk(TRAP, last=last))
            self.assertEqual("ready" if last else "chunk failed", client.state)

    def test_no_memory_on_the_way(self) -> None:
        for last in (False, True):
            self.assertFailed("452 4.3.1", opened(content_memory=5), TRAP, last=last)

    def test_over_the_limit(self) -> None:
        """
        What is announced is enough to refuse it, but not to believe that it has come.
        """
        for last in (False, True):
            receiver, mailbox = Receiver(), Mailbox()
            client = opened(streaming(receiver), mailbox, data_size_limit=10)
            self.assertFailed("552 5.3.4", client, TRAP, last=last)
            self.assertEqual(([], ["abort"]), (receiver.chunks, receiver.ends))
            self.assertEqual([], mailbox.contents)

    def test_over_the_limit_together(self) -> None:
        for last in (False, True):
            client = opened(data_size_limit=10)
            self.assertSent(["250 2.0.0"], client, chunk(b"12345"))
            self.assertFailed("552 5.3.4", client, b"678901", last=last)

    def test_at_the_limit(self) -> None:
        mailbox = Mailbox()
        client = opened(mailbox, data_size_limit=10)
        self.assertSent(
            ["250 2.0.0"] * 3, client, chunk(b"12345"), chunk(b"67890"), chunk(b"", last=True)
        )
        self.assertEqual([b"1234567890"], mailbox.contents)

    def test_no_limit(self) -> None:
        client = opened(data_size_limit=0)
        self.assertSent(["250 2.0.0"], client, chunk(b"x" * 100000, last=True))

    def test_huge(self) -> None:
        """
        Nothing is reserved for what is only announced.
        """
        client = opened()
        self.assertEqual([], client.send(b"BDAT 99999999999999999999\r\n" + TRAP))
        self.assertFalse(client.closed)
        client.lose()

    def test_write_refused(self) -> None:
        for last in (False, True):
            for error, expected in [(Rejected(NO), "550 5.7.1"), (KeyError(), "451 4.3.0")]:
                receiver, other = Receiver(write=error), Receiver()
                client = opened(streaming(receiver), streaming(other))
                self.assertFailed(expected, client, TRAP, last=last)
                self.assertEqual((["abort"], ["abort"]), (receiver.ends, other.ends))

    def test_write_refused_later(self) -> None:
        later = Later()
        client = opened(streaming(Receiver(write=later)))
        self.assertSent([], client, chunk(b"one"), chunk(TRAP), b"RSET\r\n")
        later.fail(Rejected(NO))
        said = [short(reply) for reply in client.resume()]
        self.assertEqual(["550 5.7.1", "503 5.5.1", "250 2.0.0"], said)

    def test_421(self) -> None:
        for last in (False, True):
            client = opened(streaming(Receiver(write=Rejected("421 4.7.0 Bye"))))
            self.assertSent(["421 4.7.0"], client, chunk(TRAP, last=last), b"NOOP\r\n")
            self.assertTrue(client.closed)
            client = opened(saying(handle_DATA_start="421 4.7.0 Bye"))
            self.assertSent(["421 4.7.0"], client, chunk(TRAP, last=last), b"NOOP\r\n")
            self.assertTrue(client.closed)

    def test_at_the_end(self) -> None:
        """
        A refusal at the end is that of the message.
        """
        for verdict, expected in [(NO, "550 5.7.1"), (False, "451 4.3.0")]:
            client = opened(Mailbox(verdict))
            self.assertSent(["250 2.0.0", expected], client, chunk(b"1"), chunk(b"2", last=True))
            self.assertEqual("ready", client.state)

    def test_until_reset(self) -> None:
        for line in ("RSET", "EHLO a"):
            client = opened(data_size_limit=5)
            self.assertSent(["552 5.3.4"], client, chunk(TRAP))
            client.say(line)
            self.assertEqual("ready", client.state)
            self.assertEqual(["250 2.1.0", "250 2.1.5"], client.say(*OPENING[1:]))
            self.assertSent(["250 2.0.0"], client, chunk(b"fine", last=True))

    def test_other_verbs(self) -> None:
        client = opened(data_size_limit=5)
        client.send(chunk(TRAP))
        self.assertEqual(["250 2.0.0", "221 2.0.0"], client.say("NOOP", "QUIT"))

    def test_pipelined(self) -> None:
        """
        A client sends all its chunks at once; only the first refusal says why.
        """
        client = opened(data_size_limit=5)
        self.assertSent(
            ["250 2.0.0", "552 5.3.4", "503 5.5.1", "503 5.5.1", "250 2.1.0"],
            client, chunk(b"ok"), chunk(TRAP), chunk(b"x"), chunk(TRAP, last=True),
            b"MAIL FROM:<a@b>\r\n",
        )  # fmt: skip

    def test_junk(self) -> None:
        """
        A sender that is behind a refusal is not punished for what it had sent already.
        """
        client = opened(data_size_limit=5, max_errors=2)
        self.assertSent(["552 5.3.4"] + ["503 5.5.1"] * 10, client, *[chunk(TRAP)] * 11)
        self.assertFalse(client.closed)

    def test_disconnect(self) -> None:
        for sent in (
            b"BDAT 10\r\n12345",
            chunk(b"12345"),
            b"BDAT 10 LAST\r\n12345",
            chunk(b"123456789012"),
        ):
            receiver, mailbox = Receiver(), Mailbox()
            client = opened(mailbox, streaming(receiver), data_size_limit=11)
            client.send(sent)
            client.lose()
            self.assertEqual((["abort"], []), (receiver.ends, mailbox.contents))
            self.assertEqual(0, client.rules.budget.used)
