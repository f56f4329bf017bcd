"""
A base for handlers that want a message as Python's ``email`` package has it.
"""

from __future__ import annotations

import email
import email.policy
from email.message import EmailMessage
from email.policy import EmailPolicy
from typing import Any

from zope.interface import Interface, implementer

from ..core.replies import Rejected, Reply
from ..core.session import Envelope, Session
from ..interfaces import DeliveryAnswer, IDATAHook

_TOO_DEEP = Reply(554, "5.6.0", ("The message has too many parts within parts",))


class IMessageHandler(Interface):
    """
    Takes messages that have been parsed.
    """

    def handle_message(message: EmailMessage) -> DeliveryAnswer:
        """
        Take a message, and with it the responsibility for it, as ``handle_DATA`` does.
        """


@implementer(IDATAHook, IMessageHandler)
class Message:
    """
    Parses each message and passes it to `handle_message`, which a subclass defines.

    The message has three header fields more than it came with: ``X-Peer`` has the client's address,
    ``X-MailFrom`` the sender of the envelope, and ``X-RcptTo`` its recipients, separated by commas.
    Fields that came with these names are removed, because they say what the client likes.

    :param policy: how header fields are read and how the message is written again.
    """

    def __init__(self, policy: EmailPolicy[EmailMessage] = email.policy.default) -> None:
        self.policy = policy

    def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> DeliveryAnswer:
        return self.handle_message(self.prepare_message(session, envelope))

    def prepare_message(self, session: Session, envelope: Envelope) -> EmailMessage:
        """
        Make the message of an envelope.

        :raise Rejected: if it is made to take more of the stack than there is.
        """
        try:
            message = self._parse(envelope.content or b"")
        except RecursionError:
            raise Rejected(_TOO_DEEP) from None
        for name, value in (
            ("X-Peer", str(session.peer)),
            ("X-MailFrom", envelope.mail_from or ""),
            ("X-RcptTo", ", ".join(envelope.rcpt_tos)),
        ):
            del message[name]
            message[name] = value
        return message

    def _parse(self, content: bytes | str) -> EmailMessage:
        if isinstance(content, str):
            return email.message_from_string(content, policy=self.policy)
        return email.message_from_bytes(content, policy=self.policy)

    def handle_message(self, message: EmailMessage) -> DeliveryAnswer:
        """
        Take a message: at once, with a Deferred, or as a coroutine.

        :return: a verdict, as ``handle_DATA`` gives it; None accepts the message.
        """
        raise NotImplementedError(f"{type(self).__name__} defines no handle_message")
