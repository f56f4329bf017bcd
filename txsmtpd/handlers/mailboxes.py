"""
Delivery into a Maildir for each recipient, whose path is made of the recipient's address.

A message is kept once, however many recipients it has: in memory if it is small, else in a file
without a name, which is gone when the process is.  When it is whole, each mailbox gets a copy with
a Delivered-To header for those of its recipients who have that mailbox, in the way that
:mod:`~txsmtpd.handlers.maildir` describes.

Under LMTP each mailbox succeeds or fails alone.  The first of ``envelope.rcpt_tos`` is then taken
for the address of the first of ``envelope.recipients``, and so on: hooks may rewrite an address in
its place.  If they leave more addresses or fewer, there is one verdict, as under SMTP.

Under SMTP there is one verdict, so it is all or nothing: every copy is written and fsynced, and
only then are they renamed into ``new/``, one behind the other, and the directories fsynced.  A
failure before the first rename leaves nothing anywhere.  When a rename or the fsync of a directory
fails, those that were renamed already are removed again, and the client is told to try again; but
they may have been read by then, and if the machine dies among the renames, some mailboxes have the
message and others do not.  Then the second try is a duplicate for some: the lesser evil, as ever.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from itertools import chain
from typing import IO, Any

import attrs
from twisted.internet.defer import Deferred
from zope.interface import implementer

from ..core import trace
from ..core.replies import Rejected, Reply
from ..core.session import Envelope, Parameters, Recipient, Session
from ..interfaces import IContentHook, IContentReceiver, IRCPTHook
from .base import local_time, runner
from .disk import MEMORY, Forgotten, make_directory, write_all
from .maildir import (
    Maildir,
    MaildirMessage,
    MessageFile,
    Storage,
    make_maildir,
    unique_name,
    unwritable,
)
from .template import Template

NO_MAILBOX = Reply(550, "5.1.1", ("No mailbox can have this name",))


@attrs.define(eq=False)
class ContentFile(Storage):
    """
    The content of one message, or as much of it as does not fit into memory.
    """

    _file: IO[bytes] | None = attrs.field(default=None, init=False)

    def append(self, chunks: Iterable[bytes]) -> None:
        """
        Write some more.
        """
        if self.forgotten:
            raise Forgotten
        if self._file is None:
            self._file = tempfile.TemporaryFile(buffering=0, dir=self.directory)  # noqa: SIM115
        write_all(self._file.fileno(), b"".join(chunks))

    def chunks(self) -> Iterator[bytes]:
        """
        All of it, from its beginning.
        """
        if self._file is not None:
            self._file.seek(0)
            while chunk := self._file.read(MEMORY):
                yield chunk

    def discard(self) -> None:
        """
        Forget it.
        """
        self.forget()
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()


@attrs.frozen(eq=False)
class Copy:
    """
    A message on its way into one mailbox.
    """

    file: MessageFile
    #: What stands before the content.
    head: bytes

    def write(self, content: Iterable[bytes]) -> None:
        """
        Have it on disk, in a mailbox that is made if it is missing.
        """
        make_maildir(self.file.directory)
        self.file.secure(chain([self.head], content))

    def deliver(self, content: Iterable[bytes]) -> None:
        """
        Deliver it, whatever becomes of others.
        """
        try:
            self.write(content)
            self.file.publish()
            self.file.settle()
        except BaseException:
            self.file.discard()
            raise


@attrs.define(eq=False)
class Together(Storage):
    """
    Copies that are delivered all or none.

    Its directory is that of the copy which it is busy with.
    """

    copies: Sequence[Copy]

    def deliver(self, content: Callable[[], Iterable[bytes]]) -> None:
        """
        :param content: from its beginning each time.
        """
        try:
            for copy in self._each():
                self._look_whether_forgotten()
                copy.write(content())
            self._look_whether_forgotten()
            for copy in self._each():
                copy.file.publish()
            for copy in self._each():
                copy.file.settle()
        except BaseException:
            for copy in self.copies:
                copy.file.discard()
            raise

    def _each(self) -> Iterator[Copy]:
        for copy in self.copies:
            self.directory = copy.file.directory
            yield copy

    def _look_whether_forgotten(self) -> None:
        if self.forgotten:
            raise Forgotten


@implementer(IContentReceiver)
class MailboxesMessage(MaildirMessage):
    """
    Takes the content of one message, for as many mailboxes as it turns out to be.
    """

    _file: ContentFile

    def __init__(
        self,
        mailboxes: Mailboxes,
        server: Any,
        session: Session,
        envelope: Envelope,
        run: Callable[..., Deferred[Any]],
    ) -> None:
        self._when = mailboxes.now()
        self._mailboxes = mailboxes
        self._session = session
        self._envelope = envelope
        self._hostname = server.hostname
        self._received = trace.received(session, envelope, self._hostname, self._when)
        file = ContentFile(mailboxes.base, unique_name(self._when))
        super().__init__(file, b"", run, envelope.id)

    def finish(self) -> Any:
        self._finished = True
        rest = self._take()
        envelope = self._envelope
        # Hooks may have rewritten the addresses, each in its place, which says whose it is.  If
        # there are not as many of them as recipients, nobody can tell.
        each = self._session.lmtp and len(envelope.recipients) == len(envelope.rcpt_tos)

        def content() -> Iterator[bytes]:
            yield from self._file.chunks()
            yield rest

        try:
            return self._deliver_each(content) if each else self._deliver_all(content)
        finally:
            if self._on_disk:
                # The last to have its turn.
                self._in_thread(self._file, self._file.discard)

    def _deliver_each(self, content: Callable[[], Iterable[bytes]]) -> dict[Recipient, Any]:
        envelope = self._envelope
        verdicts: dict[Recipient, Any] = {}
        # Recipients and addresses of each mailbox.
        found: dict[str, tuple[list[Recipient], list[str]]] = {}
        for recipient, address in zip(envelope.recipients, envelope.rcpt_tos, strict=True):
            try:
                recipients, addresses = found.setdefault(self._path(address), ([], []))
            except Rejected as refusal:
                verdicts[recipient] = refusal.reply
            else:
                recipients.append(recipient)
                addresses.append(address)
        for path, (recipients, addresses) in found.items():
            copy = self._copy(path, addresses)
            delivered = self._in_thread(copy.file, copy.deliver, content())
            verdicts.update(dict.fromkeys(recipients, delivered))
        return verdicts

    def _deliver_all(self, content: Callable[[], Iterable[bytes]]) -> Deferred[None]:
        found: dict[str, list[str]] = {}
        for address in self._envelope.rcpt_tos:
            found.setdefault(self._path(address), []).append(address)
        copies = [self._copy(path, addresses) for path, addresses in found.items()]
        together = Together(self._mailboxes.base, self._file.name, copies)
        return self._in_thread(together, together.deliver, content)

    def _path(self, address: str) -> str:
        """
        :raise Rejected: for an address that can have no mailbox.
        """
        path = self._mailboxes.path(address, self._hostname)
        if path is None:
            raise Rejected(NO_MAILBOX)
        return path

    def _copy(self, path: str, addresses: Iterable[str]) -> Copy:
        head = [
            trace.return_path(self._envelope),
            *map(trace.delivered_to, addresses),
            self._received,
        ]
        # Two paths may lead to the same mailbox, which wants a name for each message.
        return Copy(MessageFile(path, unique_name(self._when)), b"".join(head))


@implementer(IContentHook, IRCPTHook)
class Mailboxes:
    """
    Delivers every message into a Maildir for each of its recipients, as
    :class:`~txsmtpd.handlers.Maildir` does into one.

    A mailbox is made when its first message comes, for whichever address it is: put a handler
    before this one that refuses the recipients that there are not.

    :param template: the path, in which :mod:`~txsmtpd.handlers.template` says what may stand.
    :param run: calls a function in a thread and returns a Deferred for what comes of it.  The
        default is the thread pool of the session's reactor.
    :param now: the time, with its zone.
    :raise ValueError: for a template that cannot be.
    """

    def __init__(
        self,
        template: str | os.PathLike[str],
        *,
        run: Callable[..., Deferred[Any]] | None = None,
        now: Callable[[], datetime] = local_time,
    ) -> None:
        self.template = os.fspath(template)
        self.now = now
        self._parsed = Template.parse(self.template)
        self._run = run

    @property
    def base(self) -> str:
        """
        The directory that all mailboxes are below.
        """
        return self._parsed.base

    @classmethod
    def from_spec(cls, argument: str) -> Mailboxes:
        """
        Make it of ``maildir:DIR/{local}``.
        """
        # No shell expands a tilde behind a colon.
        return cls(os.path.expanduser(argument))

    def path(self, address: str, hostname: str) -> str | None:
        """
        The directory of a mailbox, or None if the address can have none.
        """
        try:
            return self._parsed.path(address, hostname)
        except ValueError:
            return None

    def prepare(self) -> None:
        """
        Make the directory that mailboxes are below, and try whether one could be made there.

        :raise HandlerError: if not.
        """
        # Readers pass over a name that begins with a dot.
        probe = os.path.join(self.base, f".{unique_name(self.now())}")
        try:
            make_directory(self.base)
            make_directory(probe)
            os.rmdir(probe)
        except OSError as error:
            raise unwritable(self.template, error) from error

    def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: Parameters
    ) -> Reply | None:
        return NO_MAILBOX if self.path(address, server.hostname) is None else None

    def open_content(self, server: Any, session: Session, envelope: Envelope) -> MailboxesMessage:
        run = self._run or runner(session.reactor)
        return MailboxesMessage(self, server, session, envelope, run)


def from_spec(argument: str | None) -> Maildir | Mailboxes:
    """
    Make what ``maildir:DIR`` says: a path with something in braces is a template.
    """
    if argument and "{" in argument:
        return Mailboxes.from_spec(argument)
    return Maildir.from_spec(argument)
