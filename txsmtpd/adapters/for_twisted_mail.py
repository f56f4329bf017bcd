"""
What was written for ``twisted.mail.smtp``: it delivers line by line, to an object of its own for
each recipient.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import attrs
from twisted.cred.credentials import Anonymous
from twisted.cred.error import UnauthorizedLogin, UnhandledCredentials
from twisted.internet.defer import Deferred, DeferredList
from twisted.logger import Logger
from twisted.mail.interfaces import IMessageDelivery, IMessageDeliveryFactory
from twisted.mail.smtp import Address, AddressError, SMTPServerError, User
from zope.interface import implementer

from ..core.hooks import is_later
from ..core.replies import (
    BAD_RECIPIENT,
    BAD_SENDER,
    TEXT_LINE_TOO_LONG,
    Rejected,
    Reply,
)
from ..core.session import Envelope, Recipient, Session
from ..interfaces import IContentHook, IContentReceiver, IMAILHook, IRCPTHook
from ..login import IPortalOwner

#: Octets in a line, as twisted.mail takes them.
LINE_LIMIT = 16384

_ONLY_ASCII = Reply(553, "5.6.7", ("Only ASCII addresses are taken here",))
_LOG_IN = Reply(530, "5.7.0", ("Authentication required",))

#: What realms of twisted.mail give, those preferred first.
_AVATARS = (IMessageDeliveryFactory, IMessageDelivery)


async def _result(answer: Any) -> Any:
    """
    :raise Rejected: for a refusal as twisted.mail spells it.
    """
    try:
        return await answer if is_later(answer) else answer
    except SMTPServerError as error:
        raise Rejected(refusal(error)) from error


async def _called(function: Callable[..., Any], *arguments: Any) -> Any:
    try:
        answer = function(*arguments)
    except SMTPServerError as error:
        raise Rejected(refusal(error)) from error
    return await _result(answer)


def refusal(error: SMTPServerError) -> Reply:
    """
    What twisted.mail would say.
    """
    said = error.resp
    text = said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)
    return Reply.parse(f"{error.code} {text}")


class _Server:
    """
    The connection, as twisted.mail's ``User.protocol`` shows it; what else is asked for is our
    own protocol's.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self.host: bytes = protocol.hostname.encode("ascii")

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)


@attrs.define(eq=False)
class _Transaction:
    """
    What a delivery has said about one message so far.
    """

    delivery: Any
    server: _Server
    helo: tuple[bytes, bytes]
    origin: Any
    #: For each RCPT that was asked about, by the identity of its options: who it is, and what makes
    #: a message for that.
    recipients: dict[int, tuple[object, User, Any]] = attrs.field(factory=dict)

    async def received_header(self, user: User) -> bytes | None:
        header: bytes | None = await _called(
            self.delivery.receivedHeader, self.helo, self.origin, [user]
        )
        return header


def _helo(session: Session) -> tuple[bytes, bytes]:
    peer = session.peer[0] if isinstance(session.peer, tuple) else session.peer
    return _octets(session.host_name or ""), _octets(str(peer))


def _octets(text: str) -> bytes:
    return text.encode("ascii", "replace")


def _address(text: str, host: bytes, otherwise: Reply) -> Address:
    """
    :raise Rejected: if twisted.mail has no such addresses.
    """
    if not text.isascii():
        raise Rejected(_ONLY_ASCII)
    try:
        return Address(f"<{text}>".encode("ascii"), host)
    except AddressError:
        raise Rejected(otherwise) from None


@implementer(IMAILHook, IRCPTHook, IContentHook)
class DeliveryHandler:
    """
    Asks one delivery, or one for each message.

    :param delivery: an ``IMessageDelivery`` or an ``IMessageDeliveryFactory``.
    """

    def __init__(self, delivery: Any) -> None:
        self.handler = delivery
        # Where an envelope has what belongs to it and to us.
        self._place = f"twisted_mail_{id(self)}"

    async def handle_MAIL(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: Any
    ) -> None:
        protocol = _Server(server)
        origin = _address(address, protocol.host, BAD_SENDER)
        found = await self._delivery(server, session)
        delivery = found if hasattr(found, "validateFrom") else found.getMessageDelivery()
        delivery = await _result(delivery)
        helo = _helo(session)
        accepted = await _called(delivery.validateFrom, helo, origin)
        origin = origin if accepted is None else accepted
        # It may have another sender in mind.
        if bytes(origin) != address.encode("ascii"):
            envelope.mail_from = bytes(origin).decode("ascii", "replace")
        setattr(envelope, self._place, _Transaction(delivery, protocol, helo, origin))

    async def _delivery(self, server: Any, session: Session) -> Any:
        return self.handler

    async def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: Any
    ) -> None:
        transaction: _Transaction = getattr(envelope, self._place)
        # Made once more by `User`, which has no reply for what it cannot read.
        _address(address, transaction.server.host, BAD_RECIPIENT)
        user = User(
            f"<{address}>".encode("ascii"),
            transaction.helo,
            transaction.server,
            transaction.origin,
        )
        make = await _called(transaction.delivery.validateTo, user)
        # Another handler may refuse it yet; then the envelope will not have it.
        transaction.recipients[id(options)] = (options, user, make)

    async def open_content(
        self, server: Any, session: Session, envelope: Envelope
    ) -> DeliveryReceiver:
        transaction: _Transaction = getattr(envelope, self._place)
        receiver = DeliveryReceiver(session, envelope)
        try:
            for recipient in envelope.recipients:
                _, user, make = transaction.recipients[id(recipient.options)]
                message = await _called(make)
                receiver.add(recipient, message)
                header = await transaction.received_header(user)
                if header:
                    receiver.begin(message, header)
        except BaseException:
            receiver.abort("another recipient's message could not be opened")
            raise
        return receiver


@implementer(IPortalOwner)
class PortalHandler(DeliveryHandler):
    """
    Asks the avatar of who has logged in, or that of somebody anonymous.
    """

    def __init__(self, portal: Any) -> None:
        super().__init__(portal)
        self.portal = MailPortal(portal)

    async def _delivery(self, server: Any, session: Session) -> Any:
        if any(each.providedBy(session.auth_data) for each in _AVATARS):
            return session.auth_data
        if self not in session.notes:
            session.notes[self] = await self._enter(server)
        return session.notes[self]

    async def _enter(self, server: Any) -> Any:
        try:
            _, avatar, logout = await self.portal.login(Anonymous(), None)
        except (UnauthorizedLogin, UnhandledCredentials) as error:
            raise Rejected(_LOG_IN) from error
        server.dialog.at_end.append(logout)
        return avatar


class MailPortal:
    """
    A portal whose realm knows of twisted.mail's avatars and not of ours.
    """

    def __init__(self, portal: Any) -> None:
        self._portal = portal
        self.checkers: Any = portal.checkers
        self.listCredentialsInterfaces: Callable[[], Iterable[Any]] = (
            portal.listCredentialsInterfaces
        )

    def login(self, credentials: Any, mind: Any, *interfaces: Any) -> Any:
        """
        Log in, whatever interfaces are asked for.
        """
        return self._portal.login(credentials, mind, *_AVATARS).addCallback(_checked)


def _checked(entered: tuple[Any, Any, Any]) -> tuple[Any, Any, Any]:
    interface, _, logout = entered
    if interface not in _AVATARS:
        logout()
        raise TypeError(f"a realm has given {interface!r}, which delivers nothing")
    return entered


@implementer(IContentReceiver)
class DeliveryReceiver:
    """
    Cuts content into lines, and gives each to every recipient's message.
    """

    _log = Logger()

    def __init__(self, session: Session, envelope: Envelope) -> None:
        self._session = session
        self._envelope = envelope
        self._messages: list[tuple[Recipient, Any]] = []
        self._rest = b""
        # Whether a header was put in front of a message whose first line has not come yet.
        self._headed: list[Any] = []

    def add(self, recipient: Recipient, message: Any) -> None:
        self._messages.append((recipient, message))

    def begin(self, message: Any, header: bytes) -> None:
        """
        Put a header above the message.
        """
        _say(message, header)
        self._headed.append(message)

    def write(self, chunk: bytes) -> None:
        *lines, self._rest = (self._rest + chunk).split(b"\r\n")
        for line in lines:
            self._pass_on(line)
        if len(self._rest) > LINE_LIMIT:
            raise Rejected(TEXT_LINE_TOO_LONG)

    def _pass_on(self, line: bytes) -> None:
        if len(line) > LINE_LIMIT:
            raise Rejected(TEXT_LINE_TOO_LONG)
        if self._headed:
            self._separate(line)
        for _, message in self._messages:
            _say(message, line)

    def _separate(self, line: bytes) -> None:
        """
        Keep a body without a header of its own apart from the one that was put in front.
        """
        headed, self._headed = self._headed, []
        if line and b":" not in line:
            for message in headed:
                _say(message, b"")

    def finish(self) -> Any:
        if self._rest:
            # Only content by BDAT may end so.
            self._pass_on_last()
        wanted = self._envelope.recipients
        verdicts = {}
        for recipient, message in self._messages:
            if recipient in wanted:
                verdicts[recipient] = self._eom(message)
            else:
                # Somebody else has refused it.
                self._lose(message)
        return verdicts if self._session.lmtp else self._one(list(verdicts.values()))

    def _pass_on_last(self) -> None:
        try:
            self._pass_on(self._rest)
        except BaseException:
            self.abort("the last line was refused")
            raise

    async def _eom(self, message: Any) -> None:
        await _called(message.eomReceived)

    async def _one(self, verdicts: list[Any]) -> None:
        """
        The verdict for all: every message is told that it is whole, also when another has failed.

        :raise Exception: the first of them.
        """
        each = [Deferred.fromCoroutine(verdict) for verdict in verdicts]
        results = await DeferredList(each, consumeErrors=True)
        failures = [failure for good, failure in results if not good]
        for failure in failures[1:]:
            self._log.failure("a recipient's message failed", failure, event="failure")
        if failures:
            failures[0].raiseException()

    def abort(self, reason: str) -> None:
        for _, message in self._messages:
            self._lose(message)

    def _lose(self, message: Any) -> None:
        try:
            message.connectionLost()
        except Exception:
            # The others have to hear of it all the same.
            self._log.failure("a message failed when it was given up", event="failure")


def _say(message: Any, line: bytes) -> None:
    try:
        message.lineReceived(line)
    except SMTPServerError as error:
        raise Rejected(refusal(error)) from error
