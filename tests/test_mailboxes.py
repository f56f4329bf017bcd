"""
Tests for txsmtpd.handlers.mailboxes.
"""

from __future__ import annotations

import errno
import mailbox
import os
import stat
import tracemalloc
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.logger import LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import SynchronousTestCase, TestCase
from zope.interface.verify import verifyObject

from txsmtpd.core.replies import RECIPIENT_OK, Rejected
from txsmtpd.core.session import Envelope, Parameters, Recipient, Session
from txsmtpd.handlers.base import HandlerError
from txsmtpd.handlers.disk import MEMORY
from txsmtpd.handlers.mailboxes import Mailboxes, from_spec
from txsmtpd.handlers.maildir import Maildir
from txsmtpd.interfaces import IContentHook, IContentReceiver, IRCPTHook
from txsmtpd.testing import Client, RecordingHandler, connect, make_factory

from .test_maildir import BIG, BODY, WHEN, Disk, Server, Threads

NOT_STORED = "452 4.3.1 Insufficient system storage"
FAILED = "451 4.3.0 Local error, try again later"
NO_MAILBOX = "550 5.1.1 No mailbox can have this name"

ANN, BOB, EVE = "ann@example.com", "bob@example.com", "eve@example.com"
ODD = '""@example.com'


class MailboxesCase(SynchronousTestCase):
    """
    Mailboxes whose threads are the caller's.
    """

    template = "{local}"

    def setUp(self) -> None:
        self.logged: list[LogEvent] = []
        observer: Any = self.logged.append
        globalLogPublisher.addObserver(observer)
        self.addCleanup(globalLogPublisher.removeObserver, observer)
        self.results: dict[Deferred[Any], Any] = {}
        self.base = os.path.abspath(self.mktemp())
        self.mailboxes = self.make()
        self.mailboxes.prepare()

    def make(self, run: Callable[..., Deferred[Any]] = maybeDeferred) -> Mailboxes:
        return Mailboxes(f"{self.base}/{self.template}", run=run, now=lambda: WHEN)

    def complaints(self) -> list[LogEvent]:
        """
        What was logged of deliveries that failed for a reason outside of us: no traceback.
        """
        errors = [event for event in self.logged if event["log_level"] is LogLevel.error]
        self.assertEqual([], [event for event in errors if "log_failure" in event])
        return errors

    def receiver(
        self,
        *addresses: str,
        lmtp: bool,
        mailboxes: Mailboxes | None = None,
        rcpt_tos: Sequence[str] | None = None,
    ) -> Any:
        self.envelope = Envelope(
            id="abc1",
            protocol="LMTP" if lmtp else "ESMTP",
            mail_from="a@example.org",
            rcpt_tos=list(addresses if rcpt_tos is None else rcpt_tos),
            recipients=[Recipient(each, Parameters(), RECIPIENT_OK) for each in addresses],
        )
        session = Session(peer=("192.0.2.1", 1025), host_name="client.example", lmtp=lmtp)
        return (mailboxes or self.mailboxes).open_content(Server(), session, self.envelope)

    def verdicts(self, given: Any) -> list[str | None]:
        """
        What each recipient is told: None is a good reply.
        """
        if isinstance(given, dict):
            return [self.verdict(given[recipient]) for recipient in self.envelope.recipients]
        return [self.verdict(given)]

    def verdict(self, given: Any) -> str | None:
        if not isinstance(given, Deferred):
            return str(given)
        # Recipients may share one.
        if given not in self.results:
            given.addBoth(partial(self.results.__setitem__, given))
        result = self.results[given]
        if result is None:
            return None
        self.assertIsInstance(result.value, Rejected)
        return str(result.value.reply)

    def deliver(
        self, *addresses: str, lmtp: bool, chunks: Sequence[bytes] = (BODY,), **more: Any
    ) -> list[str | None]:
        receiver = self.receiver(*addresses, lmtp=lmtp, **more)
        for chunk in chunks:
            waiting = receiver.write(chunk)
            if waiting is not None:
                self.assertIsNone(self.successResultOf(waiting))
        return self.verdicts(receiver.finish())

    def messages(self, name: str, base: str | None = None) -> list[bytes]:
        path = os.path.join(base or self.base, name)
        box = mailbox.Maildir(path, factory=None, create=False)
        return [box.get_bytes(key) for key in sorted(box.keys())]

    def files(self) -> list[str]:
        """
        All there are, in any mailbox, without their own names.
        """
        found = []
        for path, _, names in os.walk(self.base):
            found += [os.path.relpath(path, self.base)] * len(names)
        return sorted(found)

    def head(self, *addresses: str, of: int = 1, protocol: str = "LMTP") -> bytes:
        delivered = "".join(f"Delivered-To: {address}\r\n" for address in addresses)
        only = f"\tfor <{addresses[0]}>;\r\n" if of == 1 else ""
        by = f"\tby mx.example with {protocol} id abc1"
        return (
            f"Return-Path: <a@example.org>\r\n{delivered}"
            f"Received: from client.example ([192.0.2.1])\r\n{by}"
            + (f"\r\n{only}" if only else ";\r\n")
            + "\tThu, 29 Feb 2024 12:00:00 +0000\r\n"
        ).encode()


class DeliveryTests(MailboxesCase):
    """
    Who gets what, under LMTP and SMTP.
    """

    def test_interfaces(self) -> None:
        verifyObject(IContentHook, self.mailboxes)
        verifyObject(IRCPTHook, self.mailboxes)
        verifyObject(IContentReceiver, self.receiver(ANN, lmtp=True))

    def test_one(self) -> None:
        for lmtp, protocol in ((True, "LMTP"), (False, "ESMTP")):
            self.assertEqual([None], self.deliver(ANN, lmtp=lmtp))
            head = self.head(ANN, protocol=protocol)
            self.assertEqual(head + BODY, self.messages("ann")[-1])
        self.assertEqual(["ann/new"] * 2, self.files())

    def test_several(self) -> None:
        """
        Nobody learns of the others.
        """
        self.assertEqual([None, None], self.deliver(ANN, BOB, lmtp=True))
        self.assertEqual([self.head(ANN, of=2) + BODY], self.messages("ann"))
        self.assertEqual([self.head(BOB, of=2) + BODY], self.messages("bob"))
        self.assertEqual([None], self.deliver(ANN, BOB, lmtp=False))
        self.assertEqual(["ann/new"] * 2 + ["bob/new"] * 2, self.files())

    def test_same_mailbox(self) -> None:
        """
        It gets one copy, with a header for each.
        """
        addresses = ("ann+x@example.com", BOB, "ANN@Example.com", "ann+x@example.com")
        for lmtp, verdicts in ((True, 4), (False, 1)):
            self.assertEqual([None] * verdicts, self.deliver(*addresses, lmtp=lmtp))
            lines = self.messages("ann")[-1].split(b"\r\n")
            self.assertEqual(
                [
                    b"Return-Path: <a@example.org>",
                    b"Delivered-To: ann+x@example.com",
                    b"Delivered-To: ANN@Example.com",
                    b"Delivered-To: ann+x@example.com",
                ],
                lines[:4],
            )
        self.assertEqual((2, 2), (len(self.messages("ann")), len(self.messages("bob"))))

    def test_same_directory(self) -> None:
        """
        Two paths may lead there.
        """
        self.deliver(ANN, lmtp=True)
        os.symlink("ann", os.path.join(self.base, "bob"))
        self.assertEqual([None, None], self.deliver(ANN, BOB, lmtp=True))
        self.assertEqual([None], self.deliver(ANN, BOB, lmtp=False))
        self.assertEqual(5, len(self.messages("ann")))

    def test_large(self) -> None:
        """
        It goes to disk as it comes, once, and from there to each.
        """
        chunks = (BIG, b"\0\xff\r", b"\n", BIG, b"end")
        for lmtp in (True, False):
            self.deliver(ANN, BOB, lmtp=lmtp, chunks=chunks)
            for name, address in (("ann", ANN), ("bob", BOB)):
                content = self.messages(name)[-1]
                self.assertTrue(content.startswith(b"Return-Path:"))
                self.assertIn(f"\r\nDelivered-To: {address}\r\n".encode(), content[:200])
                self.assertTrue(content.endswith(b"".join(chunks)))
        self.assertEqual(["ann/new"] * 2 + ["bob/new"] * 2, self.files())

    def test_empty(self) -> None:
        self.deliver(ANN, lmtp=True, chunks=())
        self.assertEqual([self.head(ANN)], self.messages("ann"))

    def test_nobody(self) -> None:
        """
        A hook has taken all addresses away.
        """
        self.assertEqual([None], self.deliver(ANN, lmtp=False, rcpt_tos=()))
        self.assertEqual([None], self.deliver(ANN, lmtp=True, rcpt_tos=()))
        self.assertEqual([], self.files())

    def test_rewritten(self) -> None:
        """
        An address that a hook has made of another says where the message goes, and under LMTP each
        counts for its recipient.
        """
        for lmtp in (True, False):
            self.deliver(ANN, BOB, lmtp=lmtp, rcpt_tos=(BOB, EVE))
        os.chmod(os.path.join(self.base, "eve", "tmp"), 0)
        self.assertEqual(["bob/new"] * 2 + ["eve/new"] * 2, self.files())
        Disk(self, os.path.join(self.base, "eve")).fail("open tmp/file", errno.EDQUOT)
        self.assertEqual([None, NOT_STORED], self.deliver(ANN, BOB, lmtp=True, rcpt_tos=(BOB, EVE)))

    def test_replaced(self) -> None:
        """
        Where nobody can tell whose is which there is one verdict, as under SMTP.
        """
        self.assertEqual([None], self.deliver(ANN, lmtp=True, rcpt_tos=(BOB, EVE)))
        self.assertEqual(["bob/new", "eve/new"], self.files())
        Disk(self, os.path.join(self.base, "eve")).fail("open tmp/file", errno.EDQUOT)
        self.assertEqual([NOT_STORED], self.deliver(ANN, lmtp=True, rcpt_tos=(BOB, EVE)))
        self.assertEqual(["bob/new", "eve/new"], self.files())

    def test_narrowed(self) -> None:
        """
        Who was refused while the message came gets nothing.
        """
        receiver = self.receiver(ANN, BOB, lmtp=True)
        receiver.write(BODY)
        del self.envelope.recipients[0], self.envelope.rcpt_tos[0]
        self.assertEqual([None], self.verdicts(receiver.finish()))
        self.assertEqual(["bob/new"], self.files())

    def test_no_mailbox(self) -> None:
        """
        An address that can have none, as a hook may have made it, is nobody else's trouble.
        """
        self.assertEqual([None, NO_MAILBOX, None], self.deliver(ANN, ODD, BOB, lmtp=True))
        self.assertEqual(["ann/new", "bob/new"], self.files())
        for chunks in ((BODY,), (BIG, BODY)):
            receiver = self.receiver(ANN, ODD, lmtp=False)
            for chunk in chunks:
                receiver.write(chunk)
            error = self.assertRaises(Rejected, receiver.finish)
            self.assertEqual(NO_MAILBOX, str(error.reply))
        self.assertEqual(["ann/new", "bob/new"], self.files())

    def test_mode(self) -> None:
        """
        A mailbox is made for our user only, whatever the umask.
        """
        self.addCleanup(os.umask, os.umask(0))
        for umask in (0, 0o777):
            os.umask(umask)
            self.deliver(f"u{umask}@example.com", lmtp=True)
            for name in (".", "tmp", "new", "cur"):
                mode = os.stat(os.path.join(self.base, f"u{umask}", name)).st_mode
                self.assertEqual(0o700, stat.S_IMODE(mode))
        (message,) = os.scandir(os.path.join(self.base, "u0", "new"))
        self.assertEqual(0o600, stat.S_IMODE(message.stat().st_mode))

    def test_constant_memory(self) -> None:
        """
        However large the message is and however many mailboxes get it.
        """
        addresses = [f"u{n}@example.com" for n in range(5)]
        for lmtp in (True, False):
            receiver = self.receiver(*addresses, lmtp=lmtp)
            chunk = bytes(MEMORY)
            tracemalloc.start()
            for _ in range(100):
                self.successResultOf(receiver.write(chunk + b"x"))
            self.verdicts(receiver.finish())
            _, peak = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            self.assertLess(peak, 10 * MEMORY)
            self.assertTrue(self.messages("u4")[-1].endswith((chunk + b"x") * 100))


class DeepTests(MailboxesCase):
    template = "{domain}/{local}/.{detail}"

    def test_path(self) -> None:
        self.deliver("ann+news@example.com", lmtp=True)
        self.deliver(ANN, lmtp=True)
        self.deliver('"../../x+.."@example.com', lmtp=True)
        self.deliver("Postmaster", lmtp=True)
        self.assertEqual(
            [
                "example.com/%2E.%2F..%2Fx/.%2E./new",
                "example.com/ann/.news/new",
                "example.com/ann/new",
                "mx.example/postmaster/new",
            ],
            self.files(),
        )
        self.assertEqual([os.path.basename(self.base)], os.listdir(os.path.dirname(self.base)))


class DurabilityTests(MailboxesCase):
    """
    The order of system calls.
    """

    def calls(self, lmtp: bool, chunks: Sequence[bytes] = (BODY,)) -> list[str]:
        """
        What is done, each with the mailbox that it is done to.
        """
        for address in (ANN, BOB):
            self.deliver(address, lmtp=True)
        disk = Disk(self, self.base)
        calls: list[str] = []

        def note(name: str, path: str) -> None:
            words = os.path.relpath(path, self.base).split(os.sep)
            calls.append(" ".join([name, words[0], *words[1:2], *(["file"] * (len(words) > 2))]))

        self.patch(disk, "_note", note)
        self.deliver(ANN, BOB, lmtp=lmtp, chunks=chunks)
        # But for what has no name, whose end is not seen here.
        still_open = [path for path in disk.open.values() if path.startswith(f"{self.base}/")]
        self.assertEqual([], still_open)
        return calls

    def steps(self, name: str, *which: str) -> list[str]:
        steps = {
            "write": [f"open {name} tmp file", *[f"write {name} tmp file"] * 2],
            "secure": [f"fsync {name} tmp file", f"close {name} tmp file"],
            "publish": [f"rename {name} tmp file"],
            "settle": [f"open {name} new", f"fsync {name} new", f"close {name} new"],
        }
        return [call for each in which for call in steps[each]]

    def test_each(self) -> None:
        """
        Under LMTP one mailbox after the other.
        """
        all_of_it = ("write", "secure", "publish", "settle")
        self.assertEqual(
            self.steps("ann", *all_of_it) + self.steps("bob", *all_of_it), self.calls(lmtp=True)
        )

    def test_all(self) -> None:
        """
        Under SMTP all are on disk before a reader sees any.
        """
        names = ("ann", "bob")
        self.assertEqual(
            [
                *(call for name in names for call in self.steps(name, "write", "secure")),
                *(call for name in names for call in self.steps(name, "publish")),
                *(call for name in names for call in self.steps(name, "settle")),
            ],
            self.calls(lmtp=False),
        )

    def test_large(self) -> None:
        """
        What a large message is kept in has no name, and is not there any more.
        """
        calls = self.calls(lmtp=False, chunks=(BIG, BIG))
        kept = [call for call in calls if call.split()[1] not in ("ann", "bob")]
        self.assertNotIn("fsync", " ".join(kept))
        self.assertEqual(["ann/new"] * 2 + ["bob/new"] * 2, self.files())

    def test_made(self) -> None:
        """
        A mailbox that is made is entered into the directory above it for good.
        """
        disk = Disk(self, self.base)
        self.deliver(ANN, lmtp=True)
        above = ["mkdir ann", "open .", "fsync .", "close ."]
        self.assertEqual([*above, "mkdir ann/file", "open ann", "fsync ann"], disk.calls[:7])

    def test_verdict_comes_last(self) -> None:
        """
        Under LMTP as soon as its mailbox has the message.
        """
        threads = Threads()
        receiver = self.receiver(ANN, BOB, lmtp=True, mailboxes=self.make(threads.run))
        receiver.write(BODY)
        ann, bob = receiver.finish().values()
        self.assertNoResult(ann)
        self.assertEqual([], self.files())
        threads.step()
        self.assertIsNone(self.successResultOf(ann))
        self.assertNoResult(bob)
        self.assertEqual(["ann/new"], self.files())
        threads.step()
        self.assertIsNone(self.successResultOf(bob))
        self.assertEqual([], threads.jobs)


class FailureTests(MailboxesCase):
    """
    A disk that fails for one mailbox.
    """

    CALLS = (
        "mkdir .",
        "mkdir tmp",
        "open tmp/file",
        "write tmp/file",
        "fsync tmp/file",
        "close tmp/file",
        "rename tmp/file",
        "open new",
        "fsync new",
        "close new",
    )

    def fails(self, call: str, error: int, lmtp: bool, chunks: Sequence[bytes]) -> list[str | None]:
        self.setUp()
        disk = Disk(self, os.path.join(self.base, "bob"))
        disk.fail(call, error)
        verdicts = self.deliver(ANN, BOB, EVE, lmtp=lmtp, chunks=chunks)
        self.assertIn(call, disk.calls)
        self.assertEqual({}, disk.open)
        (complaint,) = self.complaints()
        self.assertEqual(os.path.join(self.base, "bob"), complaint["path"])
        self.assertEqual(("abc1", error), (complaint["transaction"], complaint["errno"]))
        return verdicts

    def test_each(self) -> None:
        """
        Under LMTP the others have their message.
        """
        for call in self.CALLS:
            for error, reply in ((errno.ENOSPC, NOT_STORED), (errno.EACCES, FAILED)):
                for chunks in ((BODY,), (BIG, BIG)):
                    verdicts = self.fails(call, error, True, chunks)
                    self.assertEqual([None, reply, None], verdicts, call)
                    self.assertEqual(["ann/new", "eve/new"], self.files(), call)

    def test_all(self) -> None:
        """
        Under SMTP nobody has it, also not those whose copy was renamed already.
        """
        for call in self.CALLS:
            for error, reply in ((errno.ENOSPC, NOT_STORED), (errno.EACCES, FAILED)):
                for chunks in ((BODY,), (BIG, BIG)):
                    self.assertEqual([reply], self.fails(call, error, False, chunks), call)
                    self.assertEqual([], self.files(), call)

    def test_before_rename(self) -> None:
        """
        Under SMTP nobody has even seen it, if it fails before the renames.
        """
        disk = Disk(self, self.base)
        for call in self.CALLS[:6]:
            disk.calls.clear()
            self.fails(call, errno.EIO, False, (BODY,))
            self.assertNotIn("rename", " ".join(disk.calls))

    def test_content(self) -> None:
        """
        Where the content itself cannot be kept, the message is refused in its middle.
        """
        real = os.write
        full = OSError(errno.ENOSPC, "a secret")

        def write(fd: int, data: bytes) -> int:
            raise full

        self.patch(os, "write", write)
        receiver = self.receiver(ANN, lmtp=True)
        self.assertEqual([NOT_STORED], self.verdicts(receiver.write(BIG)))
        self.patch(os, "write", real)
        self.assertIsNone(self.successResultOf(receiver.abort("refused")))
        self.assertEqual([], self.files())
        (complaint,) = self.complaints()
        self.assertEqual(self.base, complaint["path"])

    def test_content_will_not_close(self) -> None:
        """
        That is nobody's trouble.
        """
        receiver = self.receiver(ANN, lmtp=True)
        self.successResultOf(receiver.write(BIG))
        file = receiver._file._file

        class Stuck:
            def __getattr__(self, name: str) -> Any:
                return getattr(file, name)

            def close(self) -> None:
                file.close()
                raise OSError(errno.EIO, "a secret")

        receiver._file._file = Stuck()
        self.assertEqual([None], self.verdicts(receiver.finish()))
        self.assertEqual([], self.complaints())

    def test_file_in_the_way(self) -> None:
        with open(os.path.join(self.base, "bob"), "wb"):
            pass
        self.assertEqual([None, FAILED], self.deliver(ANN, BOB, lmtp=True))
        self.assertEqual(1, len(self.complaints()))


class EndsTests(MailboxesCase):
    """
    Messages that are given up, and deliveries that nobody waits for.
    """

    def setUp(self) -> None:
        super().setUp()
        self.threads = Threads()

    def open(self, lmtp: bool, *chunks: bytes) -> Any:
        receiver = self.receiver(ANN, BOB, lmtp=lmtp, mailboxes=self.make(self.threads.run))
        for chunk in chunks:
            receiver.write(chunk)
        return receiver

    def run_all(self) -> None:
        while self.threads.jobs:
            self.threads.step()

    def test_abort(self) -> None:
        receiver = self.open(True, BODY)
        self.assertIsNone(receiver.abort("connection lost"))
        self.assertEqual([], self.threads.jobs)
        receiver = self.open(True, BIG, BIG)
        self.run_all()
        file = receiver._file._file
        self.assertFalse(file.closed)
        aborting = receiver.abort("connection lost")
        self.run_all()
        self.successResultOf(aborting)
        self.assertTrue(file.closed)
        self.assertEqual([], self.files())

    def test_abort_before_it_began(self) -> None:
        receiver = self.open(True)
        waiting = receiver.write(BIG)
        receiver.abort("connection lost")
        self.run_all()
        self.assertEqual([FAILED], self.verdicts(waiting))
        self.assertEqual([], self.files())

    def test_cancelled_each(self) -> None:
        """
        Under LMTP who has it has it, and the others are told to try again and have not.
        """
        for chunks in ((BODY,), (BIG, BODY)):
            self.setUp()
            ann, bob = self.open(True, *chunks).finish().values()
            while not ann.called:
                self.threads.step()
            bob.cancel()
            self.run_all()
            self.assertIsNone(self.successResultOf(ann))
            self.failureResultOf(bob, CancelledError)
            self.assertEqual(["ann/new"], self.files())

    def test_cancelled_all(self) -> None:
        """
        Under SMTP nobody has it if the renames had not begun, else everybody.
        """
        for call, files in {
            "open tmp/file": [],
            "fsync tmp/file": [],
            "rename tmp/file": ["ann/new", "bob/new"],
            "fsync new": ["ann/new", "bob/new"],
        }.items():
            for name in ("ann", "bob"):
                self.setUp()
                done = self.open(False, BODY).finish()
                disk = Disk(self, os.path.join(self.base, name))
                disk.before(call, done.cancel)
                self.run_all()
                self.failureResultOf(done, CancelledError)
                self.assertEqual({}, disk.open)
                self.assertEqual(files, self.files(), (call, name))

    def test_cancelled_before_it_began(self) -> None:
        done = self.open(False, BODY).finish()
        done.cancel()
        self.run_all()
        self.failureResultOf(done, CancelledError)
        self.assertEqual([], os.listdir(self.base))

    def test_abort_after_finish(self) -> None:
        receiver = self.open(True, BIG)
        receiver.finish()
        self.assertIsNone(receiver.abort("too late"))
        self.run_all()
        self.assertEqual(["ann/new", "bob/new"], self.files())


class ServerTests(MailboxesCase):
    """
    Behind a server, as the client sees it.
    """

    def talk(self, *names: str, lmtp: bool, before: object = None) -> list[str]:
        handlers = [self.mailboxes] if before is None else [before, self.mailboxes]
        client = connect(make_factory(*handlers, lmtp=lmtp))
        client.send(b"LHLO c.example\r\n" if lmtp else b"EHLO c.example\r\n")
        client.send(b"MAIL FROM:<a@example.org>\r\n")
        client.take()
        for name in names:
            client.send(f"RCPT TO:<{name}@example.com>\r\n".encode())
        client.send(b"DATA\r\n" + BODY + b".\r\n")
        return client.take().decode().splitlines()

    def test_mixed(self) -> None:
        Disk(self, os.path.join(self.base, "bob")).fail("write tmp/file", errno.EDQUOT)
        self.assertEqual(
            [
                "250 2.1.5 Recipient OK",
                NO_MAILBOX,
                "250 2.1.5 Recipient OK",
                "250 2.1.5 Recipient OK",
                "354 End data with <CR><LF>.<CR><LF>",
                "250 2.0.0 Message accepted",
                NOT_STORED,
                "250 2.0.0 Message accepted",
            ],
            self.talk("ann", '""', "bob", "ann", lmtp=True),
        )
        self.assertEqual(["ann/new"], self.files())

    def test_one_verdict(self) -> None:
        Disk(self, os.path.join(self.base, "bob")).fail("write tmp/file", errno.EDQUOT)
        self.assertEqual([NOT_STORED], self.talk("ann", "bob", lmtp=False)[3:])
        self.assertEqual([], self.files())

    def test_behind_a_filter(self) -> None:
        """
        Who was refused by a handler before it gets nothing.
        """
        handler = RecordingHandler({"DATA": [(None, "550 5.7.1 No")]})
        said = self.talk("ann", "bob", lmtp=True, before=handler)
        self.assertEqual(["250 2.0.0 Message accepted", "550 5.7.1 No"], said[3:])
        self.assertEqual(["ann/new"], self.files())

    def test_utf8(self) -> None:
        client = Client(make_factory(self.mailboxes, lmtp=True))
        client.send("LHLO c.example\r\nMAIL FROM:<> SMTPUTF8\r\nRCPT TO:<J\u00d6RG@b>\r\n".encode())
        client.send(b"DATA\r\n.\r\n")
        self.assertTrue(client.take().endswith(b"250 2.0.0 Message accepted\r\n"))
        self.assertEqual(["jörg/new".encode()], [os.fsencode(name) for name in self.files()])


class PrepareTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.parent = os.path.abspath(self.mktemp())
        os.mkdir(self.parent)
        self.template = os.path.join(self.parent, "mail", "{domain}", "{local}")

    def fails(self, reason: str) -> None:
        error = self.assertRaises(HandlerError, Mailboxes(self.template).prepare)
        self.assertEqual(f"maildir {self.template}: cannot be written: {reason}", str(error))

    def test_makes(self) -> None:
        Mailboxes(self.template).prepare()
        base = os.path.join(self.parent, "mail")
        self.assertEqual(0o700, stat.S_IMODE(os.stat(base).st_mode))
        self.assertEqual([], os.listdir(base))
        Mailboxes(self.template).prepare()

    def test_is_a_file(self) -> None:
        with open(os.path.join(self.parent, "mail"), "wb"):
            pass
        self.fails("Not a directory")

    def test_no_permission(self) -> None:
        os.mkdir(os.path.join(self.parent, "mail"))
        disk = Disk(self, os.path.join(self.parent, "mail"))

        def refuse(name: str, path: str) -> None:
            if name == "mkdir":
                raise OSError(errno.EACCES, "a secret")

        self.patch(disk, "_note", refuse)
        self.fails("a secret")


class FromSpecTests(SynchronousTestCase):
    """
    ``--handler maildir:DIR``.
    """

    def test_directory(self) -> None:
        handler = from_spec("/var/mail/a:b}")
        assert isinstance(handler, Maildir)
        self.assertEqual("/var/mail/a:b}", handler.path)

    def test_template(self) -> None:
        handler = from_spec("/var/mail/a:b/{local}")
        assert isinstance(handler, Mailboxes)
        self.assertEqual("/var/mail/a:b", handler.base)

    def test_tilde(self) -> None:
        self.patch(os, "environ", {**os.environ, "HOME": "/home/a"})
        handler = from_spec("~/mail/{local}")
        assert isinstance(handler, Mailboxes)
        self.assertEqual("/home/a/mail", handler.base)

    def test_wrong(self) -> None:
        for argument in (None, ""):
            error = self.assertRaises(ValueError, from_spec, argument)
            self.assertEqual("maildir wants a directory: maildir:DIR", str(error))
        error = self.assertRaises(ValueError, from_spec, "/x/{user}")
        self.assertIn("{address}, {local}, {domain} and {detail}", str(error))


class ReactorTests(TestCase):
    """
    Without a function that runs things in threads, the session's reactor has some.
    """

    async def test_threads(self) -> None:
        from twisted.internet import reactor

        base = os.path.abspath(self.mktemp())
        mailboxes = Mailboxes(f"{base}/{{local}}")
        mailboxes.prepare()
        recipients = [Recipient(each, Parameters(), RECIPIENT_OK) for each in (ANN, BOB)]
        receiver: Any = mailboxes.open_content(
            Server(),
            Session(reactor=reactor, lmtp=True),
            Envelope(recipients=recipients, rcpt_tos=[ANN, BOB]),
        )
        await receiver.write(BIG)
        for delivered in receiver.finish().values():
            self.assertIsNone(await delivered)
        # The job that removes the content comes last.
        await receiver._turn.run(lambda: None)
        for name in ("ann", "bob"):
            box = mailbox.Maildir(f"{base}/{name}", factory=None, create=False)
            (key,) = box.keys()
            self.assertTrue(box.get_bytes(key).endswith(b"\r\n" + BIG))
