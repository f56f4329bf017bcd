"""
Tests for txsmtpd.handlers.spool.
"""

from __future__ import annotations

import errno
import os
import tempfile
import tracemalloc
from collections.abc import Callable
from io import BytesIO
from typing import IO, Any

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.testing import MemoryReactorClock
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsmtpd.core.replies import Rejected
from txsmtpd.core.session import Envelope, Session
from txsmtpd.handlers.disk import MEMORY
from txsmtpd.handlers.spool import (
    Spool,
    UnixNewlines,
    clean,
    client_address,
    user_name,
)
from txsmtpd.interfaces import IContentReceiver

from .spoolkit import BODY, Server, SpoolCase, fail_writing, make_envelope, make_session

BIG = b"0123456789abcd\r\n" * (MEMORY // 16 + 1)


class Kept(Spool):
    """
    Keeps what it gets.
    """

    got: bytes | None = None
    file: Any = None

    def deliver(self, file: IO[bytes]) -> Deferred[Any]:
        self.file = file
        with file:
            self.got = file.read()
        return maybeDeferred(lambda: None)


class Unix(Kept):
    unix_newlines = True


class Described(Kept):
    wants_descriptor = True

    def deliver(self, file: IO[bytes]) -> Deferred[Any]:
        self.offset = os.lseek(file.fileno(), 0, os.SEEK_CUR)
        return super().deliver(file)


class SpoolTests(SpoolCase):
    """
    A message until it is whole.
    """

    def receiver(
        self, kind: type[Kept] = Kept, run: Callable[..., Any] = maybeDeferred, **envelope: Any
    ) -> Any:
        return kind(Server(), make_session(), make_envelope(**envelope), run)

    def test_interface(self) -> None:
        verifyObject(IContentReceiver, self.receiver())

    def test_small(self) -> None:
        """
        It is kept in memory.
        """
        receiver = self.receiver()
        for octet in BODY:
            self.assertIsNone(receiver.write(bytes([octet])))
        self.assertIsNone(self.verdict_of(receiver))
        head, _, rest = receiver.got.partition(b"Subject: ")
        self.assertEqual(b"Subject: " + rest, BODY)
        self.assertRegex(
            head,
            rb"\AReturn-Path: <a@example\.org>\r\n"
            rb"Received: from client\.example \(\[192\.0\.2\.1\]\)\r\n"
            rb"\tby mx\.example with ESMTP id abc1\r\n"
            rb"\tfor <b@example\.com>;\r\n"
            rb"\t[^\r\n]+ [-+][0-9]{4}\r\n\Z",
        )
        self.assertIsInstance(receiver.file, BytesIO)
        self.assertEqual(self.files, [])

    def test_small_chunks(self) -> None:
        """
        They take no more memory than their octets.
        """
        for kind in (Kept, Unix):
            receiver = self.receiver(kind)
            tracemalloc.start()
            try:
                for number in range(1000):
                    receiver.write(bytes((number & 0xFF, number >> 8)))
                self.assertLess(tracemalloc.get_traced_memory()[0], 30_000)
            finally:
                tracemalloc.stop()

    def test_large(self) -> None:
        """
        It goes to a file as it comes.
        """
        receiver = self.receiver()
        for chunk in (BIG, b"\x00\xff\r", b"\n", BIG, b"end"):
            done = receiver.write(chunk)
            if len(chunk) > 3:
                self.assertIsNone(self.successResultOf(done))
        self.assertIsNone(self.verdict_of(receiver))
        self.assertTrue(receiver.got.endswith(b"\r\n" + BIG + b"\x00\xff\r\n" + BIG + b"end"))
        self.assertEqual(len(self.files), 1)

    def test_pace(self) -> None:
        """
        While a thread writes nobody has to hold more than the chunk that it writes.
        """
        receiver = self.receiver(run=self.threads.run)
        self.assertIsNone(receiver.write(b"x" * 1000))
        done = receiver.write(BIG)
        self.assertNoResult(done)
        self.threads.step()
        self.assertIsNone(self.successResultOf(done))
        self.assertEqual(receiver._held, b"")
        # From here on it is the same again.
        self.assertIsNone(receiver.write(b"y" * 1000))
        finished = self.finished(receiver)
        self.assertNoResult(finished)
        self.threads.step()
        self.assertIsNone(self.successResultOf(finished))
        self.assertTrue(receiver.got.endswith(b"x" * 1000 + BIG + b"y" * 1000))

    def test_descriptor(self) -> None:
        """
        Who wants one gets one, at the beginning of the file.
        """
        for chunk in (BODY, BIG):
            receiver = self.receiver(Described)
            receiver.write(chunk)
            self.assertIsNone(self.verdict_of(receiver))
            self.assertEqual(receiver.offset, 0)
            self.assertTrue(receiver.got.startswith(b"Return-Path: "))
            self.assertTrue(receiver.got.endswith(chunk))

    def test_newlines(self) -> None:
        """
        Those of the headers too, wherever the content is cut.
        """
        for chunks in ([b"a\r\nb\r\n"], [b"a\r", b"\nb\r\n"], [b"a", b"\r", b"", b"\nb\r", b"\n"]):
            receiver = self.receiver(Unix)
            for chunk in chunks:
                receiver.write(chunk)
            self.assertIsNone(self.verdict_of(receiver))
            self.assertNotIn(b"\r", receiver.got)
            self.assertTrue(receiver.got.endswith(b"0\na\nb\n"), receiver.got)

    def test_newlines_at_the_end(self) -> None:
        receiver = self.receiver(Unix)
        receiver.write(b"a\r\n\r")
        self.assertIsNone(self.verdict_of(receiver))
        self.assertTrue(receiver.got.endswith(b"0\na\n\r"), receiver.got)

    def test_binary(self) -> None:
        """
        In binary content a CRLF may be no newline.
        """
        receiver = self.receiver(Unix, body="BINARYMIME")
        receiver.write(b"a\r\nb\n")
        self.assertIsNone(self.verdict_of(receiver))
        self.assertTrue(receiver.got.startswith(b"Return-Path: <a@example.org>\r\n"))
        self.assertTrue(receiver.got.endswith(b"a\r\nb\n"))

    def test_verdict(self) -> None:
        class Refusing(Kept):
            async def deliver(self, file: IO[bytes]) -> Any:  # type: ignore[override]
                file.close()
                return "550 no"

        self.assertEqual(self.verdict_of(self.receiver(Refusing)), "550 no")

    def test_reactor_threads(self) -> None:
        """
        Without a function to run things in threads, those of the reactor are it.
        """
        reactor: Any = MemoryReactorClock()
        pool = ThreadPool(0, 1)
        jobs: list[Any] = []
        self.patch(pool, "callInThreadWithCallback", lambda *job: jobs.append(job))
        reactor.getThreadPool = lambda: pool
        receiver = Kept(Server(), make_session(reactor), make_envelope())
        done: Any = receiver.write(BIG)
        [(_, job, *arguments)] = jobs
        self.assertNoResult(done)
        job(*arguments)
        self.assertEqual(len(self.files), 1)
        self.files[0].close()


class AbandonedTests(SpoolCase):
    """
    Messages that are forgotten: each file is closed once (`SpoolCase` looks), and not while a
    thread uses it.
    """

    def receiver(self, kind: type[Kept] = Kept) -> Any:
        return kind(Server(), make_session(), make_envelope(), self.threads.run)

    def begun(self) -> Any:
        receiver = self.receiver()
        done = receiver.write(BIG)
        self.threads.step()
        self.successResultOf(done)
        return receiver

    def test_small(self) -> None:
        receiver = self.receiver()
        receiver.write(BODY)
        self.assertIsNone(receiver.abort("gone"))
        self.assertEqual(receiver._held, b"")

    def test_large(self) -> None:
        receiver = self.begun()
        receiver.abort("gone")
        self.assertEqual(self.files[0].closes, 1)
        receiver.abort("again")

    def test_while_writing(self) -> None:
        receiver = self.begun()
        done = receiver.write(BIG)
        receiver.abort("gone")
        self.assertEqual(self.files[0].closes, 0)
        self.threads.step()
        self.assertEqual(self.files[0].closes, 1)
        self.assertIsNone(self.successResultOf(done))

    def test_cancelled_while_writing(self) -> None:
        """
        As the core does it: nobody waits for the thread any more.
        """
        receiver = self.begun()
        done = receiver.write(BIG)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        receiver.abort("gone")
        self.assertEqual(self.files[0].closes, 0)
        self.threads.step()
        self.assertEqual(self.files[0].closes, 1)

    def test_cancelled_while_making_the_file(self) -> None:
        receiver = self.receiver()
        done = receiver.write(BIG)
        done.cancel()
        self.failureResultOf(done, CancelledError)
        self.threads.step()
        self.assertEqual(self.files[0].closes, 1)

    def test_cancelled_while_finishing(self) -> None:
        for receiver in (self.begun(), self.receiver(Described)):
            done = self.finished(receiver)
            done.cancel()
            self.failureResultOf(done, CancelledError)
            self.threads.step()
            self.assertEqual(self.files[-1].closes, 1)
            self.assertIsNone(receiver.got)

    def test_after_finish(self) -> None:
        """
        By then it is somebody's.
        """
        receiver = self.begun()
        done = self.finished(receiver)
        receiver.abort("too late")
        self.threads.step()
        self.assertIsNone(self.successResultOf(done))
        self.assertTrue(receiver.got.endswith(BIG))

    def test_full(self) -> None:
        receiver = self.begun()
        for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            done = receiver.write(BIG)
            fail_writing(self, OSError(number, "a reason"))
            self.threads.step()
            refusal = self.failureResultOf(done, Rejected).value.reply
            self.assertEqual(str(refusal), "452 4.3.1 Insufficient system storage")
        receiver.abort("refused")
        [event, *_] = self.complaints()
        told = [event[name] for name in ("event", "transaction", "path", "reason", "errno")]
        self.assertEqual(told, ["delivery", "abc1", "a temporary file", "a reason", errno.ENOSPC])

    def test_full_at_the_end(self) -> None:
        receiver = self.begun()
        fail_writing(self, OSError(errno.EIO, "a reason"))
        done = self.finished(receiver)
        self.threads.step()
        refusal = self.failureResultOf(done, Rejected).value.reply
        self.assertEqual(str(refusal), "451 4.3.0 Local error, try again later")
        self.assertEqual(len(self.complaints()), 1)

    def test_no_file(self) -> None:
        """
        Nothing is there to be closed if it cannot be made.
        """

        def fail(buffering: int) -> None:
            raise OSError(errno.EMFILE, None)

        self.patch(tempfile, "TemporaryFile", fail)
        done = self.finished(self.receiver(Described))
        self.threads.step()
        self.failureResultOf(done, Rejected)
        self.assertEqual(self.complaints()[0]["reason"], "OSError")

    def test_defect(self) -> None:
        """
        Anything else is for the core to log.
        """
        receiver = self.begun()
        done = receiver.write(BIG)
        fail_writing(self, ZeroDivisionError())
        self.threads.step()
        self.failureResultOf(done, ZeroDivisionError)
        receiver.abort("failed")
        self.assertEqual(self.complaints(), [])


class FunctionTests(SynchronousTestCase):
    """
    What handlers of this kind share besides.
    """

    @given(st.lists(st.sampled_from([b"\r", b"\n", b"x", b"\r\n"])), st.data())
    def test_newlines(self, parts: list[bytes], data: st.DataObject) -> None:
        """
        However it is cut.
        """
        text = b"".join(parts)
        cuts = data.draw(st.lists(st.integers(0, len(text))).map(sorted))
        reader, got = UnixNewlines(), b""
        for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True):
            got += reader.feed(text[start:end])
        self.assertEqual(got + reader.rest, text.replace(b"\r\n", b"\n"))

    def test_clean(self) -> None:
        self.assertEqual(clean("a\0b\r\nc\x85\u2028d\u2603"), "a b  c  d\u2603")
        self.assertEqual(clean("a\ud800"), "a?")

    def test_client_address(self) -> None:
        for peer, address in (
            (("192.0.2.1", 25), "192.0.2.1"),
            (("2001:db8::1", 25, 0, 0), "2001:db8::1"),
            ((), ""),
            ("/run/socket", ""),
            (None, ""),
        ):
            self.assertEqual(client_address(Session(peer=peer)), address)

    def test_user_name(self) -> None:
        for name, authenticated, shown in (
            (b"ann", True, "ann"),
            ("ann\n", True, "ann "),
            (b"\xff", True, "\ufffd"),
            (None, True, ""),
            (b"ann", False, ""),
            (b"ann", None, ""),
        ):
            session = Session(login_data=name, authenticated=authenticated)
            self.assertEqual(user_name(session), shown)

    def test_abstract(self) -> None:
        maker: Any = Spool
        self.assertRaises(TypeError, maker, Server(), Session(), Envelope(), maybeDeferred)
