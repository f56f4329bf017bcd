"""
What holds for every client, whatever it sends and however the network cuts it.
"""

from __future__ import annotations

import re
from itertools import pairwise
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txsmtpd import LMTP, Envelope, Session, SMTPFactory, hooks
from txsmtpd.interfaces import IContentReceiver

_steady = settings(
    deadline=None,
    derandomize=True,
    max_examples=300,
    suppress_health_check=[HealthCheck.too_slow],
)

# reply-line = Reply-code ( SP / "-" ) [ status SP ] textstring CRLF
_REPLIES = re.compile(rb"(?:[2-5][0-5][0-9][ -][\x20-\x7e]*\r\n)*")

_LINES = [
    b"EHLO client.example",
    b"HELO client.example",
    b"MAIL FROM:<a@example.org>",
    b"MAIL FROM:<> SIZE=10 BODY=8BITMIME",
    "MAIL FROM:<\u00e4@example.org> SMTPUTF8".encode(),
    b"RCPT TO:<b@example.org>",
    b"RCPT TO:<no@example.org>",
    b"DATA",
    b".",
    b"..",
    b"text\nbare\rtext",
    b"BDAT 3",
    b"BDAT 0 LAST",
    b"BDAT 20 LAST",
    b"BDAT x",
    b"RSET",
    b"NOOP",
    b"VRFY b",
    b"HELP",
    b"JUNK",
    b"QUIT",
]
_ends = st.sampled_from([b"\r\n"] * 8 + [b"\n", b"\r", b"", b"\r\n.\r\n", b"\n.\n", b"\r\n.\n"])
_pieces = st.one_of(st.sampled_from(_LINES), st.binary(max_size=20))
#: Bytes that look enough like a dialog to get somewhere.
_dialogs = st.lists(st.tuples(_pieces, _ends), max_size=25).map(
    lambda lines: b"".join(piece + end for piece, end in lines)
)


@hooks
class Keeper:
    """
    Keeps what it was given.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[Any, ...]] = []

    def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: Any
    ) -> str | None:
        return "550 No" if address.startswith("no@") else None

    def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> None:
        self.messages.append((envelope.mail_from, tuple(envelope.rcpt_tos), envelope.content))


@implementer(IContentReceiver)
class Streamer:
    """
    Takes a message as it comes, and keeps it.
    """

    def __init__(self, messages: list[tuple[Any, ...]], envelope: Envelope) -> None:
        self._messages = messages
        self._envelope = envelope
        self._chunks: list[bytes] = []

    def write(self, chunk: bytes) -> None:
        self._chunks.append(chunk)

    def finish(self) -> None:
        envelope, content = self._envelope, b"".join(self._chunks)
        self._messages.append((envelope.mail_from, tuple(envelope.rcpt_tos), content))

    def abort(self, reason: str) -> None:
        pass


@hooks
class StreamKeeper:
    """
    Likewise, as content comes.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[Any, ...]] = []

    def open_content(self, server: Any, session: Session, envelope: Envelope) -> IContentReceiver:
        return Streamer(self.messages, envelope)


def _serve(
    *segments: bytes, kind: type[Keeper] | type[StreamKeeper] = Keeper, lmtp: bool = False
) -> tuple[bytes, list[tuple[Any, ...]], bool, Clock]:
    """
    :return: what was said, what was delivered, whether we closed, and the clock.
    """
    keeper, clock = kind(), Clock()
    factory = SMTPFactory(keeper, reactor=clock, hostname="mx.example")
    if lmtp:
        factory = factory.beside(protocol=LMTP)
    protocol, transport = factory.buildProtocol(None), StringTransport()
    protocol.makeConnection(transport)
    for segment in segments:
        if not transport.disconnecting:
            protocol.dataReceived(segment)
    closed = transport.disconnecting
    protocol.connectionLost()
    return transport.value(), keeper.messages, closed, clock


class AnyBytesTests(SynchronousTestCase):
    @_steady
    @given(_dialogs)
    def test_replies_or_a_close(self, dialog: bytes) -> None:
        said, _, _, clock = _serve(dialog)
        self.assertIsNotNone(_REPLIES.fullmatch(said), said)
        self.assertEqual(clock.getDelayedCalls(), [])
        self.assertEqual(self.flushLoggedErrors(), [])

    @_steady
    @given(st.binary(max_size=400))
    def test_noise(self, noise: bytes) -> None:
        said, messages, _, _ = _serve(b"EHLO a\r\n" + noise)
        self.assertIsNotNone(_REPLIES.fullmatch(said), said)
        self.assertEqual(messages, [])
        self.assertEqual(self.flushLoggedErrors(), [])

    @_steady
    @given(_dialogs, st.data())
    def test_any_cut_equals_whole(self, dialog: bytes, data: st.DataObject) -> None:
        cuts = sorted(data.draw(st.lists(st.integers(0, len(dialog)), max_size=6)))
        edges = [0, *cuts, len(dialog)]
        segments = [dialog[start:end] for start, end in pairwise(edges)]
        self.assertEqual(_serve(*segments)[:3], _serve(dialog)[:3])

    @_steady
    @given(_dialogs)
    def test_byte_by_byte_equals_whole(self, dialog: bytes) -> None:
        octets = [dialog[i : i + 1] for i in range(len(dialog))]
        self.assertEqual(_serve(*octets)[:3], _serve(dialog)[:3])


#: Content that would end something, or do something, if it were not counted.
_messages = st.lists(
    st.one_of(
        st.sampled_from([b"\r\n.\r\n", b"\r", b"\n", b".", b"QUIT\r\n", b"BDAT 5 LAST\r\n", b"\0"]),
        st.binary(max_size=20),
    ),
    max_size=10,
).map(b"".join)


def _cut(octets: bytes, most: int) -> st.SearchStrategy[list[bytes]]:
    """
    The ways to cut octets into up to so many pieces and one, which may be empty.
    """
    places = st.lists(st.integers(0, len(octets)), max_size=most).map(sorted)
    return places.map(
        lambda cuts: [octets[start:end] for start, end in pairwise([0, *cuts, len(octets)])]
    )


class MessageTests(SynchronousTestCase):
    OPEN = b"EHLO a\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n"

    @_steady
    @given(st.lists(st.text("ab.\r\n\x00", max_size=12), max_size=8))
    def test_no_content_is_ever_a_command_or_a_second_message(self, lines: list[str]) -> None:
        """
        What a sender transfers by the rules arrives as one message, bare newlines and all.
        """
        text = "\r\n".join(lines).encode()
        stuffed = b"\r\n".join(
            b"." + line if line.startswith(b".") else line for line in text.split(b"\r\n")
        )
        said, messages, closed, _ = _serve(self.OPEN + b"DATA\r\n" + stuffed + b"\r\n.\r\nQUIT\r\n")
        wanted = text + b"\r\n"
        wanted = wanted.replace(b"\r\n", b"\n").replace(b"\r", b" ").replace(b"\n", b"\r\n")
        self.assertEqual(messages, [("a@example.org", ("b@example.org",), wanted)])
        self.assertTrue(closed)
        self.assertTrue(said.endswith(b"250 2.0.0 Message accepted\r\n221 2.0.0 Bye\r\n"), said)

    @_steady
    @given(st.lists(st.binary(max_size=30), max_size=6), st.data())
    def test_chunks_are_the_message(self, chunks: list[bytes], data: st.DataObject) -> None:
        dialog = self.OPEN
        for chunk in chunks:
            dialog += b"BDAT %d\r\n%b" % (len(chunk), chunk)
        dialog += b"BDAT 0 LAST\r\n"
        cut = data.draw(st.integers(0, len(dialog)))
        _, messages, _, _ = _serve(dialog[:cut], dialog[cut:])
        self.assertEqual(messages, [("a@example.org", ("b@example.org",), b"".join(chunks))])

    @_steady
    @given(
        _messages, st.booleans(), st.booleans(), st.sampled_from([Keeper, StreamKeeper]), st.data()
    )
    def test_any_split_of_chunks(
        self, message: bytes, binary: bool, lmtp: bool, kind: Any, data: st.DataObject
    ) -> None:
        """
        However a client cuts a message into chunks, some of them empty, and however the network
        cuts the session, the same message arrives, and each command has its reply; under LMTP the
        last has one for each recipient.
        """
        body = b" BODY=BINARYMIME" * binary
        hello = b"LHLO" if lmtp else b"EHLO"
        dialog = b"%b a\r\nMAIL FROM:<a@example.org>%b\r\n" % (hello, body)
        dialog += b"RCPT TO:<b@example.org>\r\nRCPT TO:<c@example.org>\r\n"
        chunks = data.draw(_cut(message, 5))
        for number, chunk in enumerate(chunks, 1):
            last = b" LAST" * (number == len(chunks))
            dialog += b"BDAT %d%b\r\n%b" % (len(chunk), last, chunk)
        dialog += b"NOOP\r\n"
        said, messages, closed, _ = _serve(*data.draw(_cut(dialog, 8)), kind=kind, lmtp=lmtp)
        recipients = ("b@example.org", "c@example.org")
        self.assertEqual(messages, [("a@example.org", recipients, message)])
        self.assertFalse(closed)
        transaction = said.partition(b" HELP\r\n")[2].splitlines()
        received = [b"250 2.0.0 %d octets received" % len(chunk) for chunk in chunks[:-1]]
        verdicts = [b"250 2.0.0 Message accepted"] * (2 if lmtp else 1)
        self.assertEqual(transaction[3:], [*received, *verdicts, b"250 2.0.0 OK"])

    @_steady
    @given(st.binary(max_size=60))
    def test_no_message_that_was_cut_short(self, content: bytes) -> None:
        chunk = b"BDAT %d LAST\r\n%b" % (len(content) + 1, content)
        _, messages, _, _ = _serve(self.OPEN + chunk)
        self.assertEqual(messages, [])
