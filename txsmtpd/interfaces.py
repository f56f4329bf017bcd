"""
The contract: what a handler may do, and what an extension is.

A *handler* is any object that declares some of the hook interfaces below, each of one method, with
`zope.interface.implementer` or all at once with :func:`txsmtpd.hooks`.  The first three arguments
of every hook are the same:

``server``
    the protocol instance that speaks with the client;
``session``
    the :class:`~txsmtpd.core.session.Session` of the connection;
``envelope``
    the :class:`~txsmtpd.core.session.Envelope` of the transaction.

A hook returns a verdict: None to go on as if there were no hook, or a reply, as a
:class:`~txsmtpd.core.replies.Reply` or as text such as ``"550 5.1.1 No such user"``.  It may return
it at once, as a Deferred, or from an ``async def``.  To refuse it returns a negative reply (4xx or
5xx) or raises :class:`~txsmtpd.core.replies.Rejected`.  Any other exception is logged and answered
451 4.3.0 without its text.  A 421 closes the connection.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, TypeAlias

from zope.interface import Attribute, Interface

from .core.outcomes import Verb
from .core.replies import Reply
from .core.session import Envelope, Parameters, Session
from .core.states import Table

#: What a hook decides.
Verdict: TypeAlias = Reply | str | bytes | None
#: What a hook returns.
Answer: TypeAlias = Verdict | Awaitable[Verdict]
#: What is returned at the end of content.  Under LMTP (RFC 2033) each recipient has a verdict of
#: its own: a list in the order of ``envelope.recipients``, or a mapping by
#: :class:`~txsmtpd.core.session.Recipient` or by address, each verdict there at once or later.
Verdicts: TypeAlias = Verdict | Sequence[Answer] | Mapping[Any, Answer]
DeliveryAnswer: TypeAlias = Verdicts | Awaitable[Verdicts]

# `server` is Any because this module must not import Twisted, and because a handler may say in its
# own signature which protocol class it wants.


class ICONNECTHook(Interface):
    def handle_CONNECT(server: Any, session: Session, envelope: Envelope) -> Answer:
        """
        A client has connected and was not greeted yet (RFC 5321 section 3.1), or a trusted proxy
        has said by XCLIENT that it speaks for another one: with a session of its own.

        :return: a 220 replaces the greeting; 421 and 521 are sent and the connection is closed;
            after any other refusal every command but QUIT is answered 503.
        """


class IPROXYHook(Interface):
    def handle_PROXY(
        server: Any, session: Session, envelope: Envelope, proxy_data: Any
    ) -> Verdict | bool | Awaitable[Verdict | bool]:
        """
        A proxy that is trusted has said for whom it speaks, and ``session.peer`` is that client.

        :param proxy_data: a :class:`~txsmtpd.proxy.ProxyData`.
        :return: False or a refusal closes the connection without a word.
        """


class IHELOHook(Interface):
    def handle_HELO(server: Any, session: Session, envelope: Envelope, hostname: str) -> Answer:
        """
        HELO (RFC 5321 section 4.1.1.1).
        """


class IEHLOHook(Interface):
    def handle_EHLO(
        server: Any, session: Session, envelope: Envelope, hostname: str, responses: list[str]
    ) -> Verdict | list[str] | Awaitable[Verdict | list[str]]:
        """
        EHLO (RFC 5321 section 4.1.1.1).

        :param responses: the lines of the reply, each with its ``250-`` or ``250`` and a space.
        :return: a verdict, or the lines to send in place of `responses`; what separates the code
            from the text is set anew.
        """


class ISTARTTLSHook(Interface):
    def handle_STARTTLS(
        server: Any, session: Session, envelope: Envelope
    ) -> Verdict | bool | Awaitable[Verdict | bool]:
        """
        The handshake that STARTTLS began is done, and the session is a new one with ``session.tls``
        and ``session.ssl`` set (RFC 3207 section 4.2).

        :return: False or a refusal if the connection is not safe enough: every command but QUIT is
            then answered 554, and a 421 closes the connection.
        """


class IMAILHook(Interface):
    def handle_MAIL(
        server: Any, session: Session, envelope: Envelope, address: str, options: Parameters
    ) -> Answer:
        """
        MAIL, after syntax, limits and extensions have accepted it (RFC 5321 section 4.1.1.2).

        :param address: the reverse-path without brackets, ``""`` for the null sender.
        """


class IRCPTHook(Interface):
    def handle_RCPT(
        server: Any, session: Session, envelope: Envelope, address: str, options: Parameters
    ) -> Answer:
        """
        RCPT, after syntax, limits and extensions have accepted it (RFC 5321 section 4.1.1.3).

        :param address: the forward-path without brackets and source route.
        """


class IDATAStartHook(Interface):
    def handle_DATA_start(server: Any, session: Session, envelope: Envelope) -> Answer:
        """
        DATA or the first BDAT, before the client is told to go ahead.

        :return: None, a 354 in words of one's own, or a refusal.
        """


class IContentReceiver(Interface):
    """
    Takes one message as it arrives.  Exactly one of `finish` and `abort` is called, once.
    """

    def write(chunk: bytes) -> Awaitable[None] | None:
        """
        Take some octets of content.

        :return: None to get more at once, or something to wait for first: the client is not read
            meanwhile.
        :raise Rejected: to refuse the message; nothing more is written to anyone.
        """

    def finish() -> DeliveryAnswer:
        """
        The message is whole.

        A positive reply takes responsibility for it (RFC 5321 section 6.1): what must be safe is
        safe by then.  None is such a reply.  Where ``session.lmtp`` is true, it may give one
        verdict for all recipients or one for each.
        """

    def abort(reason: str) -> Awaitable[None] | None:
        """
        The message will not be whole, or someone else has refused it: forget it.
        """


class IContentHook(Interface):
    def open_content(
        server: Any, session: Session, envelope: Envelope
    ) -> IContentReceiver | Awaitable[IContentReceiver | None] | None:
        """
        A message is about to arrive.

        :return: who takes it, or None to have nothing to do with this one.
        :raise Rejected: to refuse it before it is sent.
        """


class IDATAHook(Interface):
    def handle_DATA(server: Any, session: Session, envelope: Envelope) -> DeliveryAnswer:
        """
        The message is whole, in ``envelope.content`` and ``envelope.original_content``.

        A positive reply takes responsibility for it (RFC 5321 section 6.1).  None is such a reply.
        Where ``session.lmtp`` is true, it may give one verdict for all recipients or one for each.
        """


class IRSETHook(Interface):
    def handle_RSET(server: Any, session: Session, envelope: Envelope) -> Answer:
        """
        RSET, with the envelope that it ended.  The reset has happened, whatever is returned.
        """


class INOOPHook(Interface):
    def handle_NOOP(server: Any, session: Session, envelope: Envelope, arg: str) -> Answer:
        """
        NOOP and the text that followed it.
        """


class IVRFYHook(Interface):
    def handle_VRFY(server: Any, session: Session, envelope: Envelope, address: str) -> Answer:
        """
        VRFY and the user or mailbox as the client spelled it.

        The reply may be other than ASCII: it is sent so if the client has said SMTPUTF8 behind it,
        which `address` does not contain, and otherwise answered 252 (RFC 6531 section 3.7.4.2).
        """


class IEXPNHook(Interface):
    def handle_EXPN(server: Any, session: Session, envelope: Envelope, arg: str) -> Answer:
        """
        EXPN and the name of the mailing list.  What VRFY says of SMTPUTF8 holds here too.
        """


class IHELPHook(Interface):
    def handle_HELP(server: Any, session: Session, envelope: Envelope, topic: str) -> Answer:
        """
        HELP and what it asked about, ``""`` for nothing in particular.
        """


class IQUITHook(Interface):
    def handle_QUIT(server: Any, session: Session, envelope: Envelope) -> Answer:
        """
        QUIT.  The connection closes, whatever is returned.
        """


class IDISCONNECTHook(Interface):
    def handle_DISCONNECT(
        server: Any, session: Session, envelope: Envelope, reason: str
    ) -> Awaitable[None] | None:
        """
        The connection is gone, or speaks for another client from here on: called once for each
        `handle_CONNECT`, or each client if there is none.
        """


class IExceptionHook(Interface):
    def handle_exception(
        server: Any, session: Session, envelope: Envelope, error: Exception
    ) -> Answer:
        """
        A hook or a verb has raised `error`, which is logged already.

        :return: a refusal to send in place of 451 4.3.0, or None.
        """


class ISMTPHandlerFactory(Interface):
    """
    A plugin that gives a handler a short name for ``--handler``.  It provides
    ``twisted.plugin.IPlugin`` too, and stands in a module of ``twisted/plugins``.
    """

    name = Attribute("What to write, such as ``queue``.")
    syntax = Attribute("How to write it with its argument, such as ``queue:HOST``.")
    help = Attribute("One line for ``--help-handlers``.")

    def from_spec(argument: str | None) -> Any:
        """
        :param argument: what follows the name and a colon, or None.
        :return: the handler.
        :raise ValueError: with one sentence that says what it takes.
        """


class IHonours(Interface):
    """
    A handler that keeps what a service extension promises, so that the server offers it.

    Some extensions may be offered only where what they ask for is done, and only the handler can do
    it: DELIVERBY, FUTURERELEASE, MT-PRIORITY and REQUIRETLS.  In a chain it is enough if one of the
    handlers says so, which is the one that stores the message or sends it on.
    """

    honours = Attribute("The names of these extensions, in a tuple.")


class ISMTPUser(Interface):
    """
    What a realm of `twisted.cred` is asked for when a client has logged in: the avatar, any object,
    is then ``session.auth_data``.
    """


class IExtension(Interface):
    """
    One ESMTP service extension (RFC 5321 section 2.2).

    Derive from :class:`txsmtpd.extensions.base.Extension`, which does nothing in every role, and
    write the roles that yours has.
    """

    def meet(others: Sequence[IExtension]) -> None:
        """
        Called once, when the server is built, before anything else is asked.

        :param others: the other extensions of the server, for one whose offer depends on theirs.
        """

    def keyword(session: Session) -> str | None:
        """
        :return: its line in the EHLO reply, such as ``SIZE 1000``, or None where the extension is
            not offered in this session: its parameters are then unknown too.
        """

    def mail_parameters() -> Mapping[str, Any]:
        """
        :return: for each keyword that it gives MAIL a function ``(session, value)`` that makes a
            typed value of the text behind ``=``, or of None.  It raises ValueError for a bad value
            (501 5.5.4), or `Rejected`.
        """

    def rcpt_parameters() -> Mapping[str, Any]:
        """
        The same for RCPT.
        """

    def verbs() -> Mapping[str, Verb]:
        """
        :return: its commands by name.
        """

    def rows() -> Table:
        """
        :return: when its commands are legal.
        """

    def gate(session: Session, verb: str) -> Reply | None:
        """
        Asked before the table for every command.

        :return: a refusal, or None.
        """

    def check_mail(session: Session, envelope: Envelope, options: Parameters) -> None:
        """
        Judge a whole MAIL command and note in the new envelope what it said.

        :raise Rejected: to refuse it.
        """

    def check_rcpt(session: Session, envelope: Envelope, options: Parameters) -> None:
        """
        Judge a whole RCPT command.

        :raise Rejected: to refuse it.
        """

    def check_content(session: Session, envelope: Envelope, verb: str) -> None:
        """
        Judge a transaction whose content is about to come.

        :param verb: that it comes by: ``DATA``, or the first ``BDAT``.
        :raise Rejected: to refuse it.
        """
