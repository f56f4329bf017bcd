"""
A handler that runs a command for each message.

The command reads the message on its standard input, which is a file, with the headers Return-Path
and Received on top.  Lines end as Unix programs have it, but those of binary content stay as they
are.  In its environment it finds what Postfix puts there, see :func:`environment`.  No word of a
client's is ever on its command line, and no shell reads that.

Its exit status is the verdict, by sysexits.h and as Postfix has it.  Any other status, and the end
by a signal, is 451: nobody has meant that for a verdict.  What it says goes to the log, and not to
the client.

A command that still runs when nobody waits for its verdict any more, or when the server stops, is
killed, but not what that has started itself.  Its end counts, and not that of what it leaves behind
in the background, which loses its standard output a second later.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Sequence
from contextlib import suppress
from shutil import which
from typing import IO, Any, ClassVar, Generic, TypeVar
from weakref import WeakKeyDictionary

from twisted.internet.defer import Deferred, DeferredList, DeferredSemaphore
from twisted.internet.error import ProcessExitedAlready
from twisted.internet.protocol import ProcessProtocol
from twisted.python.failure import Failure
from zope.interface import implementer

from ..core import grammar
from ..core.replies import DELIVERED, LOCAL_ERROR, TOO_MANY_RECIPIENTS, Reply
from ..core.session import Envelope, Parameters, Recipient, Session
from ..interfaces import IContentHook, IRCPTHook, Verdict
from .base import HandlerError, shielded
from .spool import Spool, clean, client_address, user_name

#: Commands that run at the same time.
PARALLEL = 20
#: Octets of what a command says that the log keeps.
SAID = 1024
#: Seconds that what a command has said may take to arrive when it has ended.
LAST_WORDS = 1
#: Seconds that commands may take to end when the server stops.
STOPPING = 5
#: Octets of recipients in one message: systems limit the length of a variable, Linux to 131072.
ROOM = 100_000

T = TypeVar("T")

# src/global/sys_exits.c of Postfix.
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
    73: Reply(554, "5.2.0", ("Cannot create user output file",)),
    74: Reply(554, "5.3.0", ("Input or output error",)),
    75: Reply(451, "4.3.0", ("Temporary failure",)),
    76: Reply(554, "5.5.0", ("Remote error in protocol",)),
    77: Reply(550, "5.7.0", ("Permission denied",)),
    78: Reply(554, "5.3.5", ("Local configuration error",)),
}

# Of our own environment.
_KEPT = ("PATH", "HOME", "LANG", "TZ", "TMPDIR")


def environment(session: Session, envelope: Envelope) -> dict[bytes, bytes]:
    """
    What a command is told.  Every variable is always there, if only empty, but for the last four.

    ``SENDER``
        the reverse-path, empty for the null sender;
    ``RECIPIENT``
        the recipients, each on a line of its own;
    ``ORIGINAL_RECIPIENT``
        the same as the client has spelled them, whatever other handlers have made of them;
    ``CLIENT_ADDRESS``, ``CLIENT_HOSTNAME``, ``CLIENT_HELO``, ``CLIENT_PROTOCOL``
        the client's IP address, its name in the DNS if a proxy has told it by XCLIENT, what it
        calls itself, and by which protocol the message came;
    ``SASL_USERNAME``, ``SASL_SENDER``
        who has logged in, and who is said to have submitted the message first;
    ``ENVID``
        the sender's name for the message (RFC 3461);
    ``QUEUE_ID``
        the log's name for it;
    ``LOCAL``, ``USER``, ``EXTENSION``, ``DOMAIN``
        the parts of the recipient, if there is only one: the local part, that without its detail,
        the detail, and the domain;

    and of our own environment ``PATH``, ``HOME``, ``LANG``, ``TZ`` and ``TMPDIR``.  Controls are
    replaced by spaces, and values are UTF-8.
    """
    original = [recipient.address for recipient in envelope.recipients]
    told = {
        "SENDER": clean(envelope.mail_from or ""),
        "RECIPIENT": _lines(envelope.rcpt_tos),
        "ORIGINAL_RECIPIENT": _lines(original),
        "CLIENT_ADDRESS": client_address(session),
        "CLIENT_HOSTNAME": clean(session.client_name or ""),
        "CLIENT_HELO": clean(session.host_name or ""),
        "CLIENT_PROTOCOL": clean(envelope.protocol),
        "SASL_USERNAME": user_name(session),
        "SASL_SENDER": clean(envelope.auth or ""),
        "ENVID": clean((envelope.dsn and envelope.dsn.envid) or ""),
        "QUEUE_ID": clean(envelope.id),
    }
    if len(envelope.rcpt_tos) == 1:
        told.update(_parts(clean(envelope.rcpt_tos[0])))
    kept = {name: os.fsencode(os.environ[name]) for name in _KEPT if name in os.environ}
    values = {**kept, **{name: value.encode() for name, value in told.items()}}
    return {name.encode(): value for name, value in values.items()}


def _lines(addresses: Sequence[str]) -> str:
    return "\n".join(map(clean, addresses))


def _parts(address: str) -> dict[str, str]:
    try:
        local, domain = grammar.split_mailbox(address)
    except grammar.GrammarError:
        # A hook has made it.
        return {}
    user, _, extension = local.partition("+")
    if not user:
        user, extension = local, ""
    return {"LOCAL": local, "USER": user, "EXTENSION": extension, "DOMAIN": domain}


def _octets(address: str) -> int:
    """
    How many octets a line of one of those variables has.
    """
    return len(clean(address).encode()) + 1


class _Room(Generic[T]):
    """
    How many octets a growing list takes up.

    Every item is looked at once.  To look at all of them at each RCPT would take time that grows
    with the square of their number, and that is the client's to choose.
    """

    def __init__(self, measure: Callable[[T], int]) -> None:
        self._measure = measure
        self._items = self._sum = 0

    def of(self, items: Sequence[T]) -> int:
        """
        :param items: those of the last time, and perhaps more.
        """
        if len(items) < self._items:
            # A hook has taken some away.
            self._items = self._sum = 0
        self._sum += sum(map(self._measure, items[self._items :]))
        self._items = len(items)
        return self._sum


class _Addresses:
    """
    How many octets the recipients of one message take up, as other handlers have left them or as
    the client has spelled them, whichever are more.
    """

    def __init__(self) -> None:
        self._left = _Room[str](_octets)
        self._spelled = _Room[Recipient](lambda recipient: _octets(recipient.address))

    def of(self, envelope: Envelope) -> int:
        return max(self._left.of(envelope.rcpt_tos), self._spelled.of(envelope.recipients))


class _Command(ProcessProtocol):
    """
    One run of the command, which may have to wait for its turn.
    """

    transport: Any = None

    def __init__(self, reactor: Any, command: Sequence[str], file: IO[bytes]) -> None:
        self.reactor = reactor
        self._command = command
        self._file = file
        self._ended: Deferred[None] = Deferred()
        #: Fires when it has ended, or when it is known that it does not begin.
        self.over: Deferred[None] = Deferred()
        #: Whether nobody waits for it any more.
        self.forgotten = False
        #: Its exit status; None if it has none, because it was ended by a signal.
        self.status: int | None = None
        #: What it has said, or the beginning of that.
        self.said = b""

    def start(self, told: dict[bytes, bytes]) -> Deferred[None] | None:
        """
        :param told: its environment.
        :return: fires when it has ended.
        :raise OSError: if it cannot be started.
        """
        if self.forgotten:
            return None
        # It gets a descriptor of its own.
        with self._file:
            name = self._command[0]
            files = {0: self._file.fileno(), 1: "r", 2: "r"}
            self.reactor.spawnProcess(
                self, which(name) or name, self._command, env=told, childFDs=files
            )
        return self._ended

    def forget(self) -> None:
        """
        End it, or see that it does not begin.
        """
        self.forgotten = True
        self._file.close()
        if self.transport is not None:
            # A program that has taken another user's rights cannot be killed by us.
            with suppress(ProcessExitedAlready, PermissionError):
                self.transport.signalProcess("KILL")

    def outReceived(self, data: bytes) -> None:
        self.said = (self.said + data)[:SAID]

    errReceived = outReceived

    def processExited(self, reason: Failure) -> None:
        ended: Any = reason.value
        self.status = ended.exitCode
        # Something that it has left behind may never close its end.
        self._late = self.reactor.callLater(LAST_WORDS, self.transport.loseConnection)

    def processEnded(self, reason: Failure) -> None:
        if self._late.active():
            self._late.cancel()
        self._ended.callback(None)


class _Message(Spool):
    """
    A message for the command.
    """

    unix_newlines: ClassVar[bool] = True
    wants_descriptor: ClassVar[bool] = True

    def __init__(self, pipe: Pipe, server: Any, session: Session, envelope: Envelope) -> None:
        super().__init__(server, session, envelope, pipe.run)
        self._pipe = pipe

    def deliver(self, file: IO[bytes]) -> Deferred[Verdict]:
        command = _Command(self.session.reactor, self._pipe.command, file)
        told = environment(self.session, self.envelope)
        done = self._pipe.run_in_turn(command, told)
        done.addCallbacks(self._judge, self._explain, callbackArgs=(command,))
        return shielded(done, command.forget)

    def _judge(self, _: object, command: _Command) -> Reply:
        status = command.status
        reply = LOCAL_ERROR if status is None else _EXITS.get(status, LOCAL_ERROR)
        if command.forgotten:
            begun = command.transport is not None
            self._say("it took too long" if begun else "its turn did not come in time", command)
        elif status is None:
            self._say("it was ended by a signal", command)
        elif status:
            self._say(f"it ended with {status}", command)
        return reply

    def _explain(self, failure: Failure) -> Reply:
        error = failure.value
        if not isinstance(error, OSError):
            failure.raiseException()
        self._say(f"it cannot be started: {error.strerror}")
        return LOCAL_ERROR

    def _say(self, reason: str, command: _Command | None = None) -> None:
        said = "" if command is None else clean(command.said.decode("utf-8", "replace")).strip()
        sentence = "message {transaction} was not taken by {command}: {reason}"
        self.log.warn(
            sentence + (": {said}" if said else ""),
            event="pipe",
            transaction=self.envelope.id,
            command=self._pipe.command[0],
            reason=reason,
            said=said,
        )


@implementer(IContentHook, IRCPTHook)
class Pipe:
    """
    Runs a command for each message.

    Under LMTP all recipients have the same verdict.

    :param command: its words.  One with a slash is a path from where we are now; another is looked
        for where ``PATH`` says.
    :param parallel: how many of them run at the same time; other messages wait.
    :param run: calls a function in a thread and returns a Deferred for what comes of it.  The
        default is the thread pool of the session's reactor.
    """

    def __init__(
        self, command: Sequence[str], *, parallel: int = PARALLEL, run: Any = None
    ) -> None:
        name, *arguments = command
        # A daemon goes elsewhere.
        self.command = [os.path.abspath(name) if os.sep in name else name, *arguments]
        self.run = run
        #: Whose turn it is.
        self._turns = DeferredSemaphore(parallel)
        #: Those that run or wait for their turn.
        self._commands: set[_Command] = set()
        self._addresses: WeakKeyDictionary[Envelope, _Addresses] = WeakKeyDictionary()

    @classmethod
    def from_spec(cls, argument: str | None) -> Pipe:
        """
        Make it of ``pipe:COMMAND``, whose words are split and quoted as in a shell.
        """
        try:
            words = shlex.split(argument or "")
        except ValueError as error:
            raise ValueError(f"pipe cannot read its command: {error}") from None
        if not words or not words[0]:
            raise ValueError("pipe wants a command: pipe:COMMAND")
        return cls([os.path.expanduser(words[0]), *words[1:]])

    def prepare(self) -> None:
        """
        :raise HandlerError: if there is no such command.
        """
        if which(self.command[0]) is None:
            raise HandlerError(f"pipe: there is no command {self.command[0]}")

    async def stop(self) -> None:
        """
        End the commands that have outlived those who waited for them.
        """
        commands = list(self._commands)
        # Before any of them ends, or others would have their turn.
        for command in commands:
            command.forget()
        if commands:
            ends = DeferredList([command.over for command in commands], consumeErrors=True)
            # One that cannot be killed lives on.
            reactor = commands[0].reactor
            await ends.addTimeout(STOPPING, reactor, lambda result, timeout: None)

    def run_in_turn(self, command: _Command, told: dict[bytes, bytes]) -> Deferred[Any]:
        """
        Run a command when there are not too many of them.

        :param told: its environment.
        """
        start: Any = command.start
        self._commands.add(command)
        done: Deferred[Any] = self._turns.run(start, told)
        return done.addBoth(self._over, command)

    def _over(self, result: T, command: _Command) -> T:
        self._commands.discard(command)
        command.over.callback(None)
        return result

    def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: Parameters
    ) -> Reply | None:
        addresses = self._addresses.get(envelope)
        if addresses is None:
            addresses = self._addresses[envelope] = _Addresses()
        # The client sends the message again to those who found no room.
        octets = addresses.of(envelope) + _octets(address)
        return TOO_MANY_RECIPIENTS if octets > ROOM else None

    def open_content(self, server: Any, session: Session, envelope: Envelope) -> _Message:
        return _Message(self, server, session, envelope)
