"""
Tests for txsmtpd.handlers.relay.connection.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IHandshakeListener
from twisted.protocols.basic import LineReceiver
from zope.interface.verify import verifyObject

from txsmtpd.handlers.relay import answers
from txsmtpd.handlers.relay.answers import Answer, Lost
from txsmtpd.handlers.relay.connection import TLSFailed, encoded, judged

from .relaykit import DROP, SILENCE, FakeCreator, RelayTestCase


class ConnectionTestCase(RelayTestCase):
    def ready(self, **how: Any) -> Any:
        """
        :return: a connection that was greeted.
        """
        self.the_hop = self.hop(GREETING=SILENCE, **how)
        connection = self.connection(self.the_hop)
        self.wire.say("220 hop")
        self.run_all()
        self.successResultOf(connection.greeting)
        return connection

    @property
    def wire(self) -> Any:
        return self.the_hop.wire

    def lost(self, waiting: Deferred[Any], reply: Any) -> Lost:
        failure = self.failureResultOf(waiting, Lost)
        self.assertEqual(failure.value.reply, reply)
        error: Lost = failure.value
        return error

    def assertClean(self) -> None:
        """
        Check that the connection is gone and leaves nothing behind.
        """
        self.run_all()
        self.assertTrue(self.wire.lost)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AskTests(ConnectionTestCase):
    def test_interfaces(self) -> None:
        connection = self.ready()
        self.assertTrue(verifyObject(IHandshakeListener, connection))
        self.assertIsInstance(connection, LineReceiver)

    def test_without_no_delay(self) -> None:
        """
        A unix socket has none.
        """
        connection = self.connection(hop := self.hop())
        self.patch(type(hop.wire), "setTcpNoDelay", None)
        connection.connectionMade()
        self.assertIsNone(connection.gone)

    def test_answer(self) -> None:
        connection = self.ready()
        asked = connection.ask("RSET")
        self.assertNoResult(asked)
        self.run_all()
        self.assertEqual(self.successResultOf(asked), Answer(250, ("2.0.0 Forgotten",)))
        self.assertEqual(self.wire.heard, ["RSET"])

    def test_answer_in_pieces(self) -> None:
        connection = self.ready(RSET=SILENCE)
        asked = connection.ask("RSET")
        for octet in b"250-a\r\n250 b\r":
            connection.dataReceived(bytes([octet]))
        self.assertNoResult(asked)
        connection.dataReceived(b"\n")
        self.assertEqual(self.successResultOf(asked), Answer(250, ("a", "b")))

    def test_in_order(self) -> None:
        connection = self.ready()
        asked = connection.say(b"MAIL FROM:<>\r\nRCPT TO:<a@b>\r\n", answers=2)
        self.run_all()
        said = [self.successResultOf(each).lines[0] for each in asked]
        self.assertEqual(said, ["2.1.0 Sender fine", "2.1.5 Recipient fine"])

    def test_half_a_reply(self) -> None:
        """
        It counts for nothing, whatever it begins with.
        """
        for half in (b"250 OK", b"250 OK\r", b"250 OK\n", b"250-OK\r\n"):
            connection = self.ready(RSET=(half, DROP))
            asked = connection.ask("RSET")
            self.run_all()
            self.assertEqual(
                self.lost(asked, answers.LOST).reason, "Connection was closed cleanly."
            )
            self.assertClean()

    def test_nonsense(self) -> None:
        for said in (
            *(b"hello\r\n", b"250 a\n250 b\r\n", b"250 a\rb\r\n", b"250-a\r\n550 b\r\n"),
            *(b"250-a\r\n" * 101, b"250 " + b"a" * 2043 + b"\r\n", b"a" * 3000),
        ):
            connection = self.ready(RSET=said)
            asked = connection.ask("RSET")
            self.run_all()
            self.lost(asked, answers.NONSENSE)
            self.assertTrue(self.wire.aborted)
            self.assertClean()

    def test_longest_line(self) -> None:
        connection = self.ready(RSET=b"250 " + b"a" * 2042 + b"\r\n")
        asked = connection.ask("RSET")
        self.run_all()
        self.assertEqual(self.successResultOf(asked).lines, ("a" * 2042,))

    def test_nothing_that_was_not_asked_for(self) -> None:
        """
        A reply that came before the question never answers it.
        """
        connection = self.ready(RSET=b"250 OK\r\n250 OK\r\n250 OK\r\n")
        connection.ask("RSET")
        self.run_all()
        self.lost(connection.ask("RSET"), answers.NONSENSE)
        self.assertEqual(self.wire.heard, ["RSET"])
        self.assertClean()

    def test_asked_at_once(self) -> None:
        """
        Nor does it answer what is asked by whoever hears the one before it.
        """
        for early, heard in (
            (b"250 early\r\n", ["RSET"]),
            (b"250-early\r\n", ["RSET"]),
            (b"250 ear", ["RSET"]),
            (b"", ["RSET", "NOOP"]),
        ):
            connection = self.ready(RSET=b"250 OK\r\n" + early)
            asked = connection.ask("RSET")
            asked.addCallback(lambda _, to=connection: to.ask("NOOP"))
            self.run_all()
            self.assertEqual(self.wire.heard, heard)
            if early:
                self.lost(asked, answers.NONSENSE)
                self.assertClean()

    def test_given_up_by_whom_came_before(self) -> None:
        """
        Two answers have come, and who hears the first does not want the second.
        """
        connection = self.ready()
        first, second = connection.say(b"", answers=2)
        first.addCallback(lambda _: second.cancel())
        connection.dataReceived(b"250 a\r\n250 b\r\n")
        self.successResultOf(first)
        self.failureResultOf(second, CancelledError)
        self.assertClean()

    def test_refusal_that_was_not_asked_for(self) -> None:
        connection = self.ready()
        self.wire.say("421 4.3.2 Going down")
        self.run_all()
        self.assertEqual(connection.gone.reply.text, "451 4.3.2 Going down")
        self.assertEqual(connection.gone.reason, "unasked: 421 4.3.2 Going down")

    def test_421(self) -> None:
        connection = self.ready(RSET="421 bye")
        asked = connection.ask("RSET")
        self.run_all()
        self.assertEqual(self.successResultOf(asked).code, 421)
        self.assertTrue(connection.spent)

    def test_no_answer(self) -> None:
        connection = self.ready(RSET=SILENCE)
        asked = connection.ask("RSET")
        # A reply that never ends does not help.
        for _ in range(50):
            self.wire.say(b"250-wait\r\n")
            self.clock.advance(1)
        self.assertNoResult(asked)
        self.clock.advance(10)
        self.lost(asked, answers.TIMED_OUT)
        self.assertClean()

    def test_time_is_for_each_answer(self) -> None:
        connection = self.ready(RSET=SILENCE, NOOP=SILENCE)
        first, second = connection.say(b"RSET\r\n", answers=2, seconds=100)
        self.clock.advance(99)
        connection.dataReceived(b"250 OK\r\n")
        self.clock.advance(99)
        connection.dataReceived(b"250 OK\r\n")
        self.successResultOf(first)
        self.successResultOf(second)
        self.clock.advance(1000)
        self.assertIsNone(connection.gone)

    def test_no_greeting(self) -> None:
        connection = self.connection(self.hop(GREETING=SILENCE))
        self.clock.advance(60)
        self.lost(connection.greeting, answers.TIMED_OUT)

    def test_given_up(self) -> None:
        """
        Who does not want the answer any more has no use for the connection.
        """
        connection = self.ready(RSET=SILENCE)
        first, second = connection.say(b"RSET\r\n", answers=2)
        first.cancel()
        self.failureResultOf(first, CancelledError)
        self.assertTrue(self.lost(second, answers.LOST).planned)
        self.assertClean()

    def test_gone(self) -> None:
        connection = self.ready()
        gone: list[Any] = []
        connection.on_gone = gone.append
        self.wire.close()
        self.run_all()
        self.lost(connection.ask("RSET"), answers.LOST)
        connection.end(Lost(answers.NONSENSE))
        self.assertEqual(gone, [connection])
        self.successResultOf(connection.closed)
        self.assertEqual(self.wire.heard, [])

    def test_control_characters(self) -> None:
        """
        One command is one command.
        """
        for line in ("RSET\r\nQUIT", "RSET\n", "RSET\0", "RSET \x85"):
            self.assertRaises(ValueError, encoded, line)
        self.assertEqual(encoded("MAIL FROM:<\xe4@b>"), b"MAIL FROM:<\xc3\xa4@b>\r\n")


class AskAllTests(ConnectionTestCase):
    def ask_all(self, *features: str, **how: Any) -> tuple[Any, Deferred[Any]]:
        connection = self.ready(**how)
        connection.features = dict.fromkeys(features, "")
        asked = Deferred.fromCoroutine(connection.ask_all(["MAIL FROM:<>", "RCPT TO:<a@b>"]))
        return connection, asked

    def test_at_once(self) -> None:
        _, asked = self.ask_all("PIPELINING")
        self.assertEqual(len(self.wire.heard), 2)
        self.run_all()
        self.assertEqual([answer.code for answer in self.successResultOf(asked)], [250, 250])

    def test_one_by_one(self) -> None:
        _, asked = self.ask_all()
        self.assertEqual(len(self.wire.heard), 1)
        self.run_all()
        self.assertEqual([answer.code for answer in self.successResultOf(asked)], [250, 250])

    def test_lost(self) -> None:
        for features in ((), ("PIPELINING",)):
            _, asked = self.ask_all(*features, MAIL=DROP, RCPT=SILENCE)
            self.run_all()
            self.lost(asked, answers.LOST)

    def test_lost_between(self) -> None:
        _, asked = self.ask_all("PIPELINING", RCPT=DROP)
        self.run_all()
        self.lost(asked, answers.LOST)

    def test_given_up(self) -> None:
        _, asked = self.ask_all("PIPELINING")
        asked.cancel()
        self.failureResultOf(asked, CancelledError)
        self.assertClean()


class ContentTests(ConnectionTestCase):
    def content(self, **how: Any) -> Any:
        connection = self.ready(**how)
        connection.ask("DATA")
        self.run_all()
        connection.begin_content()
        return connection

    def test_back_pressure(self) -> None:
        connection = self.content()
        self.assertIsNone(connection.write(b"a\r\n"))
        self.wire.producer.pauseProducing()
        ready = connection.write(b"b\r\n")
        self.assertNoResult(ready)
        self.clock.advance(179)
        self.wire.producer.resumeProducing()
        self.assertIsNone(self.successResultOf(ready))
        # The client may take its time.
        self.clock.advance(1000)
        connection.end_content()
        self.assertIsNone(self.wire.producer)
        (verdict,) = connection.say(b".\r\n")
        self.run_all()
        self.assertEqual(self.successResultOf(verdict).code, 250)
        self.assertEqual(self.wire.contents, [b"a\r\nb\r\n"])

    def test_it_does_not_read(self) -> None:
        connection = self.content()
        self.wire.producer.pauseProducing()
        ready = connection.write(b"a\r\n")
        self.clock.advance(180)
        self.lost(ready, answers.TIMED_OUT)
        self.assertRaises(Lost, connection.write, b"b\r\n")
        self.assertClean()

    def test_paused_at_the_end(self) -> None:
        """
        What counts then is how long the verdict takes.
        """
        connection = self.content()
        self.wire.producer.pauseProducing()
        connection.end_content()
        (verdict,) = connection.say(b"", seconds=600)
        self.clock.advance(599)
        self.assertNoResult(verdict)
        self.clock.advance(1)
        self.lost(verdict, answers.TIMED_OUT)

    def test_early_refusal(self) -> None:
        """
        It is the verdict, and the connection is out of step.
        """
        connection = self.content()
        self.wire.say("552 5.3.4 Too big")
        self.run_all()
        error = self.assertRaises(Lost, connection.write, b"a")
        self.assertEqual(error.reply.text, "552 5.3.4 Too big")
        connection.end_content()
        self.assertClean()

    def test_early_acceptance(self) -> None:
        """
        It is no verdict on what has not been sent.
        """
        connection = self.content(DATA=b"354 Go on\r\n250 OK\r\n")
        error = self.assertRaises(Lost, connection.write, b"a")
        self.assertEqual(error.reply, answers.NONSENSE)
        self.assertClean()

    def test_lost(self) -> None:
        connection = self.content()
        self.wire.producer.pauseProducing()
        ready = connection.write(b"a\r\n")
        self.wire.close()
        self.run_all()
        self.lost(ready, answers.LOST)
        connection.begin_content()
        self.assertClean()

    def test_without_content(self) -> None:
        connection = self.ready()
        self.assertIsNone(connection.write(b""))
        connection.end_content()
        self.assertIsNone(connection.gone)

    def test_answers_to_chunks(self) -> None:
        """
        While answers are awaited, their time counts.
        """
        connection = self.content(BDAT=SILENCE)
        (taken,) = connection.say(b"", seconds=10)
        self.wire.producer.pauseProducing()
        self.wire.producer.resumeProducing()
        self.clock.advance(9)
        self.assertNoResult(taken)
        connection.end_content()
        self.clock.advance(9)
        self.assertNoResult(taken)
        self.clock.advance(1)
        self.lost(taken, answers.TIMED_OUT)


class TLSTests(ConnectionTestCase):
    def test_starttls(self) -> None:
        connection = self.ready()
        connection.features = {"AUTH": "PLAIN"}
        done = connection.start_tls(FakeCreator())
        self.assertNoResult(done)
        self.assertEqual(connection.features, {})
        self.run_all()
        self.assertIsNone(self.successResultOf(done))
        self.assertTrue(connection.tls)
        self.clock.advance(1000)
        self.assertIsNone(connection.gone)

    def test_injected(self) -> None:
        """
        What came in the clear behind the reply is not what the next hop says under TLS.
        """
        for injected in (b"250-hop\r\n250 AUTH PLAIN\r\n", b"250-hop\r\n", b"250-h", b"250 OK\r\n"):
            connection = self.ready(STARTTLS=b"220 OK\r\n" + injected)
            done = connection.ask("STARTTLS")
            done.addCallback(lambda _, to=connection: to.start_tls(FakeCreator()))
            self.run_all()
            self.lost(done, answers.NONSENSE)
            self.assertFalse(self.wire.secured)
            self.assertClean()

    def test_no_handshake(self) -> None:
        for handshake in ("none", "wrong name"):
            connection = self.ready()
            self.the_hop.handshake = handshake
            done = connection.start_tls(FakeCreator())
            self.run_all()
            error = self.lost(done, answers.UNSAFE)
            self.assertIsInstance(error, TLSFailed)
            self.assertFalse(connection.tls)
            self.assertClean()

    def test_endless_handshake(self) -> None:
        connection = self.ready()
        self.the_hop.handshake = "never"
        done = connection.start_tls(FakeCreator())
        self.clock.advance(60)
        self.lost(done, answers.TIMED_OUT)
        self.assertClean()

    def test_given_up(self) -> None:
        connection = self.ready()
        self.the_hop.handshake = "never"
        done = connection.start_tls(FakeCreator())
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.assertClean()

    def test_implicit(self) -> None:
        self.the_hop = self.hop(GREETING=SILENCE)
        connection = self.connection(self.the_hop, creator=FakeCreator())
        self.run_all()
        self.assertTrue(connection.tls)
        self.wire.say("220 hop")
        self.run_all()
        self.assertEqual(self.successResultOf(connection.greeting).code, 220)
        connection.handshakeCompleted()

    def test_implicit_fails(self) -> None:
        self.the_hop = self.hop(GREETING=SILENCE)
        self.the_hop.handshake = "wrong name"
        connection = self.connection(self.the_hop, creator=FakeCreator())
        self.run_all()
        self.lost(connection.greeting, answers.UNSAFE)
        self.assertFalse(connection.tls)


class EndTests(ConnectionTestCase):
    def test_rest(self) -> None:
        connection = self.ready()
        rested: list[Any] = []
        connection.rest(rested.append)
        self.assertTrue(connection.used)
        self.clock.advance(44)
        connection.ask("RSET")
        self.run_all()
        connection.rest(rested.append)
        self.clock.advance(44)
        self.assertEqual(rested, [])
        self.clock.advance(1)
        self.assertEqual(rested, [connection])

    def test_leave(self) -> None:
        connection = self.ready()
        connection.leave()
        self.assertEqual(self.wire.heard, ["QUIT"])
        self.assertClean()
        self.assertTrue(connection.gone.planned)
        connection.leave()
        self.assertEqual(self.wire.heard, ["QUIT"])

    def test_leave_without_answer(self) -> None:
        connection = self.ready(QUIT=SILENCE)
        connection.leave()
        self.clock.advance(5)
        self.assertTrue(self.wire.aborted)
        self.assertClean()


class JudgedTests(ConnectionTestCase):
    def test_verdicts(self) -> None:
        connection = self.ready()
        for code, text in ((250, "2.1.0 Yes"), (550, "5.1.1 No"), (450, "4.2.0 Later")):
            reply = judged(connection, Answer(code, (text,)))
            self.assertEqual(reply.text, f"{code} {text}")
        self.assertIsNone(connection.gone)

    def test_not_to_be_used_again(self) -> None:
        """
        This message can still go by it, whomever it is not for.
        """
        connection = self.ready()
        connection.spent = True
        judged(connection, Answer(550, ("5.1.1 No",)))
        self.assertIsNone(connection.gone)

    def test_nonsense(self) -> None:
        for code in (221, 334, 354):
            connection = self.ready()
            error = self.assertRaises(Lost, judged, connection, Answer(code, ("",)))
            self.assertEqual(error.reply, answers.NONSENSE)
            self.assertClean()

    def test_421(self) -> None:
        connection = self.ready(RSET="421 4.7.0 Enough")
        asked = connection.ask("RSET")
        self.run_all()
        reply = judged(connection, self.successResultOf(asked))
        self.assertEqual(reply.text, "451 4.7.0 Enough")
        self.assertEqual(connection.gone.reply, reply)
