"""
Tests for txsmtpd.handlers.debug.
"""

from __future__ import annotations

import io
import sys
import unicodedata
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsmtpd.core.session import Envelope, Session
from txsmtpd.handlers.debug import Debug
from txsmtpd.interfaces import IDATAHook

FOLLOWS = "---------- MESSAGE FOLLOWS ----------\n"
END = "------------ END MESSAGE ------------\n"
FACTS = "X-Peer: ('192.0.2.1', 1025)\nX-MailFrom: a@example.org\nX-RcptTo: b@example.com\n"


def printed(content: bytes | str | None, stream: io.StringIO | None = None, **facts: Any) -> str:
    stream = io.StringIO() if stream is None else stream
    facts = {"mail_from": "a@example.org", "rcpt_tos": ["b@example.com"], **facts}
    original = content if isinstance(content, bytes) else None
    envelope = Envelope(content=content, original_content=original, **facts)
    Debug(stream).handle_DATA(None, Session(peer=("192.0.2.1", 1025)), envelope)
    return stream.getvalue()


class Stream(io.StringIO):
    """
    Remembers what was done to it.
    """

    encoding: str = "ascii"

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[str] = []

    def write(self, text: str) -> int:
        self.calls.append("write")
        return super().write(text)

    def flush(self) -> None:
        self.calls.append("flush")


class DebugTests(SynchronousTestCase):
    """
    What is printed.
    """

    def test_interface(self) -> None:
        verifyObject(IDATAHook, Debug())

    def test_message(self) -> None:
        self.assertEqual(
            f"{FOLLOWS}Subject: x\nTo: y\n{FACTS}\nHello\n\n  there\n{END}",
            printed(b"Subject: x\r\nTo: y\r\n\r\nHello\r\n\r\n  there\r\n"),
        )

    def test_options(self) -> None:
        text = printed(
            b"A: b\r\n\r\n",
            mail_options=["SIZE=10", "BODY=8BITMIME"],
            rcpt_options=["NOTIFY=NEVER"],
        )
        self.assertEqual(
            f"{FOLLOWS}mail options: SIZE=10 BODY=8BITMIME\nrcpt options: NOTIFY=NEVER\n\n"
            f"A: b\n{FACTS}\n{END}",
            text,
        )

    def test_one_kind_of_options(self) -> None:
        self.assertIn("\nmail options: X\n\nA: b", printed(b"A: b\r\n\r\n", mail_options=["X"]))
        self.assertIn("\nrcpt options: X\n\nA: b", printed(b"A: b\r\n\r\n", rcpt_options=["X"]))

    def test_header_only(self) -> None:
        self.assertEqual(f"{FOLLOWS}A: b\n{FACTS}\n{END}", printed(b"A: b\r\n"))

    def test_body_only(self) -> None:
        self.assertEqual(f"{FOLLOWS}{FACTS}\nbody\n{END}", printed(b"\r\nbody\r\n"))

    def test_body_without_newline(self) -> None:
        self.assertEqual(f"{FOLLOWS}A: b\n{FACTS}\nbody\n{END}", printed(b"A: b\r\n\r\nbody"))

    def test_empty(self) -> None:
        for content in (b"", None):
            self.assertEqual(f"{FOLLOWS}{FACTS}\n{END}", printed(content))

    def test_decoded_content(self) -> None:
        self.assertIn("A: ж\n", printed("A: ж\r\n\r\n"))

    def test_envelope(self) -> None:
        text = printed(b"", mail_from="", rcpt_tos=["b@example.com", "c@example.com"])
        self.assertIn("\nX-MailFrom: \nX-RcptTo: b@example.com, c@example.com\n", text)


class TerminalTests(SynchronousTestCase):
    """
    A message is a stranger's text: it must not command the terminal.
    """

    def test_controls(self) -> None:
        text = printed(b"A: \x1b]0;owned\x07\r\n\r\n\x00\x08\x7f\tx\ry\n\xc2\x9b2J\r\n")
        self.assertIn("A: \\x1b]0;owned\\x07\n", text)
        self.assertIn("\n\\x00\\x08\\x7f\tx\\x0dy\n\\x9b2J\n", text)

    def test_not_utf8(self) -> None:
        self.assertIn("\n\\xff\\x9b ж\n", printed(b"\r\n\xff\x9b " + "ж\r\n".encode()))

    def test_reordering(self) -> None:
        self.assertIn("\\u202egpj.exe\\u2028", printed("\n\u202egpj.exe\u2028".encode()))

    def test_envelope(self) -> None:
        text = printed(b"", mail_from="\x1b[2J", rcpt_tos=["\x9b\udc80"], mail_options=["\x1bc"])
        self.assertIn("mail options: \\x1bc\n", text)
        self.assertIn("X-MailFrom: \\x1b[2J\nX-RcptTo: \\x9b\\udc80\n", text)

    @settings(derandomize=True, deadline=None)
    @given(st.binary())
    def test_anything(self, content: bytes) -> None:
        """
        Whatever comes, only tabs and newlines are controls.
        """
        controls = {c for c in printed(content) if unicodedata.category(c) in ("Cc", "Zl", "Zp")}
        self.assertLessEqual(controls, {"\t", "\n"})


class StreamTests(SynchronousTestCase):
    """
    Where and how it is printed.
    """

    def test_one_piece(self) -> None:
        """
        Two messages do not mix, and nobody waits for the second to see the first.
        """
        stream = Stream()
        printed(b"A: b\r\n\r\nbody\r\n", stream)
        self.assertEqual(["write", "flush"], stream.calls)

    def test_encoding(self) -> None:
        """
        What the stream cannot encode is escaped.
        """
        self.assertIn("\\u0436\n", printed("\n\u0436".encode(), Stream()))

    def test_from_spec(self) -> None:
        out, err = io.StringIO(), io.StringIO()
        self.patch(sys, "stdout", out)
        self.patch(sys, "stderr", err)
        self.assertIs(out, Debug().stream)
        self.assertIs(out, Debug.from_spec(None).stream)
        self.assertIs(out, Debug.from_spec("stdout").stream)
        self.assertIs(err, Debug.from_spec("stderr").stream)

    def test_wrong_stream(self) -> None:
        for argument in ("", "STDOUT", "file"):
            error = self.assertRaises(ValueError, Debug.from_spec, argument)
            self.assertEqual(f"debug prints to stdout or stderr, not to {argument!r}", str(error))
