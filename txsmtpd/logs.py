"""
What a session writes into the log.

Every event has an ``event`` that names its kind and the ``session`` it belongs to; what else it has
stands in ``docs/logs.rst``.  Nothing of a message's content is ever logged, and nothing a client
has sent in place of a command, because it may be a password.
"""

from __future__ import annotations

import re
import time
from typing import Any

from twisted.internet.defer import CancelledError
from twisted.logger import Logger, LogLevel
from twisted.python.failure import Failure

from .core.outcomes import Message
from .core.replies import Reply
from .core.rules import Rules
from .core.session import Session

MASK = "********"

# Of the module, because each look at a class's logger makes a new one.
_log = Logger()
_INFO = LogLevel.info


# Mechanisms by name: another word behind AUTH may be a credential whose mechanism was forgotten.
_MECHANISM = (
    rb"PLAIN|LOGIN|(?:CRAM|DIGEST)-MD5|SCRAM-SHA-(?:1|256|512)(?:-PLUS)?|XOAUTH2|OAUTHBEARER"
    rb"|EXTERNAL|GSSAPI|NTLM|ANONYMOUS"
)
_AUTH = re.compile(
    rb"(\s*AUTH\b(?:[ \t]+(?:" + _MECHANISM + rb")(?=[ \t]|$))?)(.*)", re.I | re.DOTALL
)


def masked(line: bytes, known: bool) -> str:
    """
    A line of the client's for the log: in ASCII, without controls and without credentials.

    :param known: whether it begins with a command that there is; what does not may be a password.
    """
    auth = _AUTH.match(line)
    if auth is not None:
        # The mechanism is no secret; what follows it is one.
        line = auth[1] + b" " + MASK.encode() if auth[2] else auth[1]
    elif not known:
        return f"({len(line)} octets that are no command)"
    return repr(line)[2:-1]


def _host(address: Any) -> Any:
    """
    An address without its port, or None where it says nothing.
    """
    return address[0] if isinstance(address, tuple) else address or None


class SessionLog:
    """
    The log of one session.

    :param rules: they know which words are commands.
    """

    # Every connection, also an idle one, has one.
    __slots__ = ("_messages", "_rules", "session")

    def __init__(self, session: Session, rules: Rules) -> None:
        self.session = session
        self._rules = rules
        self._messages = 0

    @property
    def _id(self) -> str:
        # A connection that was turned away has no session.
        return self.session.id or "-"

    @property
    def _peer(self) -> Any:
        return _host(self.session.peer)

    def _tell(self, event: str, text: str, **facts: Any) -> None:
        """
        Log an event of the session.
        """
        self._emit(event, text, facts)

    def _emit(self, name: str, text: str, event: dict[str, Any]) -> None:
        """
        Log as `Logger.info` does.  That takes longer than all else about it, because it looks for
        the level in a list that it sorts anew each time.

        :param event: the facts, to which the rest is added.
        """
        event["event"] = name
        event["session"] = self._id
        event["log_logger"] = _log
        event["log_level"] = _INFO
        event["log_namespace"] = __name__
        event["log_source"] = None
        event["log_format"] = text
        event["log_time"] = time.time()
        _log.observer(event)

    def heard(self, line: bytes, *, secret: bool) -> None:
        """
        A line of the dialog, where every line is logged.

        :param secret: whether it is an answer to a challenge.
        """
        shown = MASK if secret else masked(line, self._rules.name_of(line) is not None)
        self._tell("command", "{session} C: {line}", line=shown)

    def said(self, reply: Reply) -> None:
        """
        A reply, where every line is logged.
        """
        words = f"334 {MASK}" if reply.code == 334 else reply.wire.decode("utf-8")
        for line in words.splitlines():
            self._tell("reply", "{session} S: {line}", line=line)

    def junk(self) -> None:
        """
        What the client has sent first is the beginning of no command.
        """
        self._tell("junk", "{session}: the client does not speak SMTP")

    def refused(self, line: bytes | None, transaction: str, reply: Reply) -> None:
        """
        A negative reply was sent.

        :param line: the command that it answers, or None if it answers none.
        """
        verb = "session" if line is None else self._rules.name_of(line) or "unknown command"
        # The addresses are wanted; what other commands bring may be a password.
        command = masked(line, True) if line is not None and verb in ("MAIL", "RCPT") else verb
        self._tell(
            "refusal",
            "{session}: [{peer}] {command} refused: {reply}",
            transaction=transaction,
            peer=self._peer,
            verb=verb,
            command=command,
            reply=reply.text,
            code=reply.code,
        )

    def transaction(self, message: Message, gone: bool) -> None:
        """
        A message has come to its verdict, or under LMTP to one for each recipient.

        :param gone: whether the client has gone and will not hear of it.
        """
        envelope, verdicts = message.envelope, message.verdicts
        reply, said = verdicts[0], "{reply}"
        delivered = reply.code < 400
        if verdicts.count(reply) < len(verdicts):
            # The one that somebody may have to look after.
            reply = next((each for each in verdicts if not each.positive), reply)
            delivered = any(each.positive for each in verdicts)
            said = "{verdicts}"
        self._messages += delivered
        event: dict[str, Any] = {
            "transaction": envelope.id,
            "sender": envelope.mail_from,
            "recipients": [recipient.address for recipient in message.recipients],
            "size": message.size,
            "priority": envelope.priority,
            "reply": reply.text,
            "code": reply.code,
            "verdicts": [each.text for each in verdicts],
            "unheard": ", but the client had gone" if gone else "",
        }
        if envelope.forwarded:
            event["forwarded"] = envelope.forwarded
            said += ", forwarded: {forwarded}"
        self._emit(
            "transaction",
            "{session}: message {transaction} from <{sender}> to {recipients}, {size} octets: "
            + said
            + "{unheard}",
            event,
        )

    def introduced(self, session: Session) -> None:
        """
        The connection speaks for another client from here on.
        """
        self.session = session
        self._tell(
            "client",
            "{session}: [{via}] speaks for {client_name} [{peer}]",
            via=_host(session.via),
            peer=self._peer,
            client_name=session.client_name,
        )

    def ended(self, reason: str) -> None:
        """
        The connection is gone.
        """
        self._tell(
            "connection",
            "{session}: {host_name} [{peer}] left after {messages} messages: {reason}",
            peer=self._peer,
            host_name=self.session.host_name,
            messages=self._messages,
            reason=reason,
        )

    def no_header(self, reason: str) -> None:
        """
        The connection is gone, and there was no PROXY header that we believe.
        """
        self._tell(
            "proxy",
            "{session}: [{peer}] left without a PROXY header that we believe: {reason}",
            peer=self._peer,
            reason=reason,
        )

    def no_handshake(self, reason: str) -> None:
        """
        The connection is gone, and TLS was never on.
        """
        self._tell(
            "handshake",
            "{session}: [{peer}] left without a TLS handshake: {reason}",
            peer=self._peer,
            reason=reason,
        )

    def failed(self, error: BaseException, gone: bool) -> None:
        """
        A hook or a verb has raised something that is no verdict.

        :param gone: whether the client has gone, so that the hook may have been cancelled for that.
        """
        if not isinstance(error, CancelledError):
            _log.failure(
                "{session}: a hook failed",
                Failure(error),
                event="failure",
                session=self._id,
            )
        elif not gone:
            _log.warn("{session}: a hook took too long", event="timeout", session=self._id)

    def broken(self, failure: Failure) -> None:
        """
        Something of our own has failed.
        """
        _log.failure("{session}: internal error", failure, event="defect", session=self._id)
