"""
A handler that runs a command for each message.

The command reads the message on its standard input and finds in its environment what local(8) of
Postfix puts there.  Its exit status is the verdict, by sysexits.h.  No word of a client's is ever
on its command line, and no shell reads it.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from contextlib import suppress
from shutil import which
from typing import IO, Any

import attrs
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.logger import Logger
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core import grammar
from ..core.replies import CONTROLS, DELIVERED, LOCAL_ERROR, Reply
from ..core.session import Envelope, Session
from ..interfaces import IContentHook
from .base import HandlerError
from .spool import Spool, local_time

#: Commands that run at the same time.
PARALLEL = 20
#: Octets of what a command says that the log keeps.
SAID = 1024

# sysexits.h, with the enhanced codes that Postfix gives them.  All of them are final but for
# EX_OSERR, EX_IOERR and EX_TEMPFAIL.
_EXITS = {
    0: DELIVERED,
    64: Reply(554, "5.3.0", ("Command line usage error",)),
    65: Reply(554, "5.6.0", ("Data format error",)),
    66: Reply(554, "5.3.0", ("Cannot open input",)),
    67: Reply(550, "5.1.1", ("User unknown",)),
    68: Reply(550, "5.1.2", ("Host name unknown",)),
    69: Reply(554, "5.3.0", ("Service unavailable",)),
    70: Reply(554, "5.3.0", ("Internal software error",)),
    71: Reply(451, "4.3.0", ("System resource problem",)),
    72: Reply(554, "5.3.0", ("Critical OS file missing",)),
    73: Reply(554, "5.3.0", ("Cannot create user output file",)),
    74: Reply(451, "4.3.0", ("Input or output error",)),
    75: Reply(451, "4.3.0", ("Temporary failure",)),
    76: Reply(554, "5.5.0", ("Remote error in protocol",)),
    77: Reply(550, "5.7.0", ("Permission denied",)),
    78: Reply(554, "5.3.5", ("Local configuration error",)),
}


def environment(session: Session, envelope: Envelope) -> dict[str, str]:
    """
    What a command is told.

    ``SENDER``
        the reverse-path, empty for the null sender;
    ``RECIPIENT``
        the recipients, each on a line of its own;
    ``LOCAL``, ``USER``, ``EXTENSION``, ``DOMAIN``
        the parts of the only recipient, if there is only one: the local part, that without its
        detail, the detail, and the domain;
    ``CLIENT_ADDRESS``, ``CLIENT_HELO``, ``CLIENT_PROTOCOL``, ``SASL_USERNAME``
        about the client;
    ``MESSAGE_ID``
        what the log calls the message;
    and of our own environment ``PATH``, ``HOME``, ``LANG``, ``TZ`` and ``TMPDIR``.
    """
    recipients = [recipient.address for recipient in envelope.recipients]
    peer = session.peer
    told = {
        "SENDER": envelope.mail_from or "",
        "RECIPIENT": "\n".join(recipients),
        "CLIENT_ADDRESS": str(peer[0]) if isinstance(peer, tuple) else "",
        "CLIENT_HELO": session.host_name or "",
        "CLIENT_PROTOCOL": envelope.protocol,
        "SASL_USERNAME": _text(session.login_data) if session.authenticated else "",
        "MESSAGE_ID": envelope.id,
    }
    if len(recipients) == 1:
        local, domain = grammar.split_mailbox(recipients[0])
        user, _, extension = local.partition("+")
        told.update(LOCAL=local, USER=user, EXTENSION=extension, DOMAIN=domain)
    kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
    return {**kept, **{name: _one_line(name, value) for name, value in told.items()}}


_KEPT = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")


def _text(value: Any) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value or "")


def _one_line(name: str, value: str) -> str:
    """
    A value without what would end a string in C, or a line for whoever reads it line by line.
    """
    lines = value.split("\n") if name == "RECIPIENT" else [value]
    return "\n".join(CONTROLS.sub(" ", line) for line in lines)


class _Command(ProcessProtocol):
    """
    One run of the command.
    """

    def __init__(self) -> None:
        self.ended: Deferred[int | None] = Deferred(lambda _: self.kill())
        self.said = b""

    def kill(self) -> None:
        """
        End it: nobody waits for it any more.
        """
        process: Any = self.transport
        with suppress(ProcessExitedAlready):
            process.signalProcess("KILL")

    def outReceived(self, data: bytes) -> None:
        self.said = (self.said + data)[:SAID]

    errReceived = outReceived

    def processEnded(self, reason: Failure) -> None:
        ended, status = self.ended, getattr(reason.value, "exitCode", None)
        if not ended.called:
            ended.callback(status)


class _Message(Spool):
    """
    A message for the command.
    """

    def __init__(self, pipe: Pipe, server: Any, session: Session, envelope: Envelope) -> None:
        super().__init__(server, session, envelope, local_time())
        self._pipe = pipe

    def deliver(self, file: IO[bytes]) -> Deferred[Reply]:
        reactor = self.session.reactor
        told = environment(self.session, self.envelope)
        return self._pipe.run(reactor, file, told, self.envelope.id)


@attrs.define(eq=False)
@implementer(IContentHook)
class Pipe:
    """
    Runs a command for each message.

    :param command: its words.
    :param parallel: how many of them run at the same time; other messages wait.
    """

    command: Sequence[str]
    parallel: int = PARALLEL
    _turns: DeferredSemaphore = attrs.field(init=False)

    log = Logger()

    @_turns.default
    def _make_turns(self) -> DeferredSemaphore:
        return DeferredSemaphore(self.parallel)

    @classmethod
    def from_spec(cls, argument: str | None) -> Pipe:
        """
        Make it of ``pipe:COMMAND``, whose words are split and quoted as in a shell.
        """
        try:
            words = shlex.split(argument or "")
        except ValueError as error:
            raise ValueError(f"pipe cannot read its command: {error}") from None
        if not words:
            raise ValueError("pipe wants a command: pipe:COMMAND")
        return cls([os.path.expanduser(words[0]), *words[1:]])

    def prepare(self) -> None:
        """
        :raise HandlerError: if there is no such command.
        """
        if which(self.command[0]) is None:
            raise HandlerError(f"pipe: there is no command {self.command[0]}")

    def open_content(self, server: Any, session: Session, envelope: Envelope) -> _Message:
        return _Message(self, server, session, envelope)

    def run(
        self, reactor: Any, file: IO[bytes], told: dict[str, str], transaction: str
    ) -> Deferred[Reply]:
        """
        Run the command when it is its turn.

        :param file: what it reads; closed in the end.
        :param told: its environment.
        :return: the verdict.
        """
        done: Deferred[Reply] = self._turns.run(self._start, reactor, file, told, transaction)
        return done.addBoth(_closing, file)

    def _start(
        self, reactor: Any, file: IO[bytes], told: dict[str, str], transaction: str
    ) -> Deferred[Reply]:
        run = _Command()
        path = which(self.command[0]) or self.command[0]
        reactor.spawnProcess(
            run, path, self.command, env=told, childFDs={0: file.fileno(), 1: "r", 2: "r"}
        )
        return run.ended.addCallback(self._judge, run, transaction)

    def _judge(self, status: int | None, run: _Command, transaction: str) -> Reply:
        reply = LOCAL_ERROR if status is None else _EXITS.get(status, LOCAL_ERROR)
        if status != 0:
            self.log.warn(
                "message {transaction}: {command} ended with {status}: {said}",
                event="command",
                transaction=transaction,
                command=self.command[0],
                status="a signal" if status is None else status,
                said=CONTROLS.sub(" ", run.said.decode("utf-8", "replace")),
            )
        return reply


def _closing(result: Any, file: IO[bytes]) -> Any:
    file.close()
    return result
