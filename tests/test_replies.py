"""
Tests for :mod:`txsmtpd.core.replies`.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core import replies
from txsmtpd.core.replies import LINE_LIMIT, Declined, Rejected, Reply

CONSTANTS = {name: value for name, value in vars(replies).items() if isinstance(value, Reply)}

BAD_TEXTS = ["", "hello", "25", "2500", "25x no", "250x", "199 no", "600 no", "260 no", "x250 no"]


class ReplyTests(SynchronousTestCase):
    """
    A reply is clean by construction (RFC 5321 section 4.2).
    """

    def test_wire(self) -> None:
        for reply, wire in [
            (Reply(250), b"250 OK\r\n"),
            (Reply(250, None, ("Fine",)), b"250 Fine\r\n"),
            (Reply(250, "2.1.5", ("Fine",)), b"250 2.1.5 Fine\r\n"),
            (Reply(354, None, ("",)), b"354 \r\n"),
            (Reply(250, None, ()), b"250 OK\r\n"),
            (Reply(550, "5.1.1"), b"550 5.1.1 Refused\r\n"),
            (Reply(250, None, "Yes"), b"250 Yes\r\n"),
            (
                Reply(550, "5.1.1", ("a", "b", "c")),
                b"550-5.1.1 a\r\n550-5.1.1 b\r\n550 5.1.1 c\r\n",
            ),
        ]:
            self.assertEqual(wire, reply.wire)

    def test_code(self) -> None:
        for code in (200, 220, 354, 421, 559):
            self.assertEqual(code, Reply(code).code)
        for code in (-250, 0, 25, 199, 260, 299, 360, 560, 599, 600, 2500):
            self.assertRaises(ValueError, Reply, code)

    def test_status_class(self) -> None:
        """
        The status says the same as the code (RFC 2034 section 4).
        """
        for code, status in [(250, "2.0.0"), (421, "4.3.2"), (550, "5.999.999")]:
            self.assertEqual(status, Reply(code, status).status)
        for code, status in [
            (250, "5.0.0"), (550, "2.0.0"), (450, "5.1.1"), (354, "2.0.0"), (354, "3.0.0"),
            (250, ""), (250, "2"), (250, "2.0"), (250, "2.0.0 "), (250, "2.0.0\n"),
            (250, "2.0.1000"), (250, "2.\u0660.0"), (250, "x2.0.0"),
        ]:  # fmt: skip
            self.assertRaises(ValueError, Reply, code, status)

    def test_controls(self) -> None:
        """
        Nobody can put a second reply into a reply.
        """
        controls = [*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029]
        for control in map(chr, controls):
            reply = Reply(550, "5.1.1", (f"a{control}b", f"{control}"))
            self.assertEqual(("a b", " "), reply.lines)
            self.assertEqual(b"550-5.1.1 a b\r\n550 5.1.1  \r\n", reply.wire)

    def test_fold(self) -> None:
        """
        A line has 512 octets at most, CRLF included, and nothing is lost.
        """
        for status in (None, "5.1.1"):
            room = LINE_LIMIT - len(f"550 {status} \r\n" if status else "550 \r\n")
            self.assertEqual(1, len(Reply(550, status, ("x" * room,)).lines))
            self.assertEqual(("x" * room, "x"), Reply(550, status, ("x" * (room + 1),)).lines)
            self.assertEqual(LINE_LIMIT, len(Reply(550, status, ("x" * room,)).wire))

    def test_fold_multibyte(self) -> None:
        """
        No line ends in the middle of a character.
        """
        for character in ("\u00e9", "\u20ac", "\U0001f600"):
            for shift in range(4):
                text = "x" * shift + character * 600
                reply = Reply(550, "5.1.1", (text, "tail"))
                for line in reply.wire.splitlines(keepends=True):
                    self.assertLessEqual(len(line), LINE_LIMIT)
                    self.assertTrue(line.decode("utf-8").endswith("\r\n"))
                self.assertEqual(text, "".join(reply.lines[:-1]))
                self.assertEqual("tail", reply.lines[-1])
                self.assertEqual(len(reply.lines) - 1, reply.wire.count(b"550-5.1.1 "))

    def test_surrogates(self) -> None:
        """
        What cannot be encoded does no harm, in a short line or a long one.
        """
        self.assertEqual(b"550 ?\r\n", Reply(550, None, ("\udc80",)).wire)
        wire = Reply(550, None, ("\udc80" * 600,)).wire
        self.assertEqual(600, wire.count(b"?"))
        for line in wire.splitlines(keepends=True):
            self.assertLessEqual(len(line), LINE_LIMIT)

    def test_positive(self) -> None:
        self.assertEqual(
            [True, True, False, False],
            [Reply(code).positive for code in (250, 354, 450, 550)],
        )

    def test_value(self) -> None:
        """
        Equal replies are equal, and cannot be changed.
        """
        self.assertEqual(Reply(250, "2.0.0", ("a",)), Reply(250, "2.0.0", ("a",)))
        self.assertNotEqual(Reply(250, "2.0.0", ("a",)), Reply(250, None, ("a",)))
        self.assertEqual(hash(Reply(250)), hash(Reply(250)))
        self.assertRaises(AttributeError, setattr, Reply(250), "code", 550)

    def test_str(self) -> None:
        self.assertEqual("550 5.1.1 a / b", str(Reply(550, "5.1.1", ("a", "b"))))
        self.assertEqual("250 OK", str(Reply(250)))


class InASCIITests(SynchronousTestCase):
    """
    A client that did not ask for SMTPUTF8 gets ASCII (RFC 6531 section 3.7.4.2).
    """

    def test_ascii(self) -> None:
        reply = Reply(550, "5.1.1", ("No such user",))
        self.assertIs(reply, reply.in_ascii())

    def test_other(self) -> None:
        reply = Reply(550, "5.1.1", ("caf\u00e9", "\u20ac")).in_ascii()
        self.assertEqual(Reply(550, "5.1.1", ("caf?", "?")), reply)
        self.assertEqual(b"550-5.1.1 caf?\r\n550 5.1.1 ?\r\n", reply.wire)

    def test_address(self) -> None:
        """
        Where another address is told, it is told no more (RFC 6531 section 3.7.4.1).
        """
        for code, instead, status in [(251, 250, "2.1.5"), (551, 550, "5.1.6")]:
            reply = Reply(code, status, ("try <\u00e4@b>",)).in_ascii()
            self.assertEqual(Reply(instead, status, ("try <?@b>",)), reply)
            same = Reply(code, status, ("try <a@b>",))
            self.assertIs(same, same.in_ascii())


class WithStatusTests(SynchronousTestCase):
    """
    A reply that came without an enhanced status code gets one (RFC 2034).
    """

    def test_has_one(self) -> None:
        reply = Reply(550, "5.7.1")
        self.assertIs(reply, reply.with_status("2.1.5"))

    def test_intermediate(self) -> None:
        """
        A 3xx never has one.
        """
        reply = Reply(354)
        self.assertIs(reply, reply.with_status("2.0.0"))

    def test_success(self) -> None:
        self.assertEqual(
            Reply(250, "2.1.5", ("Yes",)), Reply(250, None, ("Yes",)).with_status("2.1.5")
        )
        reply = Reply(220, None, ("mx.example",))
        self.assertIs(reply, reply.with_status(None))

    def test_refusal(self) -> None:
        """
        A refusal is of its own class and the subject of the command.
        """
        for code, good, status in [
            (550, "2.1.5", "5.1.0"), (450, "2.1.0", "4.1.0"), (421, "2.0.0", "4.0.0"),
            (550, "4.3.0", "5.3.0"), (554, None, "5.0.0"), (451, None, "4.0.0"),
        ]:  # fmt: skip
            self.assertEqual(
                Reply(code, status, ("No",)), Reply(code, None, ("No",)).with_status(good)
            )


class ParseTests(SynchronousTestCase):
    """
    Hooks may spell a reply as text.
    """

    def test_good(self) -> None:
        for text, code, status, line in [
            ("250", 250, None, "OK"),
            ("250 ", 250, None, "OK"),
            ("250 Fine", 250, None, "Fine"),
            ("250-Fine", 250, None, "Fine"),
            ("250 2.1.5", 250, "2.1.5", "OK"),
            ("250 2.1.5 Fine", 250, "2.1.5", "Fine"),
            ("550 5.1.1  two  spaces ", 550, "5.1.1", " two  spaces "),
            ("550 5.1.1.1 no status", 550, None, "5.1.1.1 no status"),
            ("550 5.1.1x", 550, None, "5.1.1x"),
            ("550 6.1.1 x", 550, None, "6.1.1 x"),
            ("250 Fine\r\n", 250, None, "Fine"),
            ("550 a\r\n250 b", 550, None, "a  250 b"),
            ("550 a\nb\x00c", 550, None, "a b c"),
            ("550 caf\u00e9", 550, None, "caf\u00e9"),
            ("559 last", 559, None, "last"),
        ]:
            self.assertEqual(Reply(code, status, (line,)), Reply.parse(text), repr(text))

    def test_bad(self) -> None:
        for text in BAD_TEXTS:
            self.assertRaises(ValueError, Reply.parse, text)

    def test_mismatch(self) -> None:
        for text in ["250 5.1.1 no", "550 2.0.0 yes", "450 5.1.1 no", "354 2.0.0 go"]:
            self.assertRaises(ValueError, Reply.parse, text)

    def test_non_ascii_digits(self) -> None:
        self.assertRaises(ValueError, Reply.parse, "\u0662\u0665\u0660 OK")
        self.assertEqual("5.1.\u0661 x", Reply.parse("550 5.1.\u0661 x").lines[0])


class RejectedTests(SynchronousTestCase):
    """
    A refusal that is raised.
    """

    def test_reply(self) -> None:
        reply = Reply(550, "5.1.1", ("No such user",))
        self.assertIs(reply, Rejected(reply).reply)
        self.assertEqual("550 5.1.1 No such user", str(Rejected(reply)))

    def test_text(self) -> None:
        self.assertEqual(Reply(450, None, ("Later",)), Rejected("450 Later").reply)
        self.assertEqual(Reply(450, None, ("Later",)), Rejected(b"450 Later").reply)

    def test_positive(self) -> None:
        for reply in ("250 OK", "354 Go", Reply(250)):
            self.assertRaises(ValueError, Rejected, reply)

    def test_no_reply(self) -> None:
        for text in BAD_TEXTS:
            self.assertRaises(ValueError, Rejected, text)


class DeclinedTests(SynchronousTestCase):
    """
    A refusal that is no fault of the client's.
    """

    def test_rejected(self) -> None:
        """
        Who catches the one catches the other, and it keeps the same rules.
        """
        declined = Declined("450 4.2.0 Later")
        self.assertIsInstance(declined, Rejected)
        self.assertEqual(Reply(450, "4.2.0", ("Later",)), declined.reply)
        self.assertRaises(ValueError, Declined, "250 OK")


class ConstantsTests(SynchronousTestCase):
    """
    What we say keeps our own rules.
    """

    def test_there_are_some(self) -> None:
        self.assertGreater(len(CONSTANTS), 30)

    def test_status(self) -> None:
        """
        All but 3xx have an enhanced status code of their class.
        """
        for name, reply in CONSTANTS.items():
            if reply.code // 100 == 3:
                self.assertIsNone(reply.status, name)
            else:
                self.assertEqual(str(reply.code)[0], (reply.status or "")[:1], name)

    def test_one_plain_line(self) -> None:
        for name, reply in CONSTANTS.items():
            self.assertEqual(1, len(reply.lines), name)
            self.assertTrue(reply.lines[0].isprintable() and reply.lines[0].isascii(), name)
            self.assertLessEqual(len(reply.wire), LINE_LIMIT, name)

    def test_codes(self) -> None:
        """
        The codes that clients act upon.
        """
        for name, expected in {
            "OK": "250 2.0.0", "BYE": "221 2.0.0", "SENDER_OK": "250 2.1.0",
            "RECIPIENT_OK": "250 2.1.5", "DELIVERED": "250 2.0.0", "CANNOT_VERIFY": "252 2.0.0",
            "NOT_IN_ASCII": "252 2.6.8",
            "BAD_COMMAND": "500 5.5.2", "BAD_LINE": "500 5.5.2", "LINE_TOO_LONG": "500 5.5.2",
            "NO_ARGUMENT": "501 5.5.4", "BAD_HOSTNAME": "501 5.5.4", "BAD_PARAMETER": "501 5.5.4",
            "TWICE_PARAMETER": "501 5.5.4", "UNKNOWN_PARAMETER": "555 5.5.4",
            "BAD_SENDER": "501 5.1.7", "BAD_RECIPIENT": "501 5.1.3", "NEEDS_SMTPUTF8": "553 5.6.7",
            "NOT_SERVED": "502 5.5.1", "BAD_SEQUENCE": "503 5.5.1", "NO_RECIPIENTS": "554 5.5.1",
            "TOO_MANY_RECIPIENTS": "452 4.5.3", "TOO_BIG": "552 5.3.4",
            "BARE_NEWLINE": "554 5.6.0", "TEXT_LINE_TOO_LONG": "500 5.6.0",
            "NO_MEMORY": "452 4.3.1", "LOCAL_ERROR": "451 4.3.0", "TOO_MANY_ERRORS": "421 4.7.0",
            "TOO_MANY_CONNECTIONS": "421 4.7.0", "UNAVAILABLE": "421 4.3.0",
            "TIMED_OUT": "421 4.4.2", "SHUTTING_DOWN": "421 4.3.2",
        }.items():  # fmt: skip
            reply = CONSTANTS[name]
            self.assertEqual(expected, f"{reply.code} {reply.status}", name)
