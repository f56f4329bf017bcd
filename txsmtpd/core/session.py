"""
What one connection and one transaction know: data, and nothing else.

Hooks may set attributes of their own on a :class:`Session`, an :class:`Envelope` and a
:class:`Recipient`; the names that aiosmtpd documents mean the same here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

import attrs

from .replies import Reply


class Parameters(list[str]):
    """
    The parameters of one MAIL or RCPT command: a list of the words as the client sent them.
    """

    #: What each known parameter's extension made of it, by keyword in capitals.
    values: Mapping[str, Any] = MappingProxyType({})

    def get(self, keyword: str, default: Any = None) -> Any:
        """
        :return: the value of a parameter as its extension parsed it, or `default`.
        """
        return self.values.get(keyword.upper(), default)


@attrs.define(slots=False, eq=False)
class Recipient:
    """
    One accepted RCPT command; two for the same address are two recipients.
    """

    address: str
    options: Parameters
    #: What the client was told.
    reply: Reply


@attrs.frozen(eq=False)
class TLS:
    """
    What is known about TLS on one connection.
    """

    #: Such as ``TLSv1.3``.
    version: str
    cipher: str
    #: The number of secret bits that the cipher uses.
    bits: int
    #: Whom the client wanted to talk to (SNI, RFC 6066 section 3): a stranger's words, in printable
    #: ASCII.
    server_name: str | None = None
    #: The client's certificate in DER.
    peer_certificate: bytes | None = attrs.field(default=None, repr=False)
    #: Channel bindings by type, None for those that there are not: ``tls-exporter`` (RFC 9266) and
    #: ``tls-server-end-point`` (RFC 5929).  To be asked for in the reactor's thread, while the
    #: connection is there.
    channel_binding: Callable[[str], bytes | None] = attrs.field(
        default=lambda binding: None, repr=False
    )


@attrs.define(slots=False, eq=False)
class Session:
    """
    What is known about the client of one connection.
    """

    #: Names the connection in logs.
    id: str = ""
    #: The client's address as its socket gives it: ``(host, port, ...)``, bytes for a unix socket,
    #: which are its path or empty, or None.  It is what a trusted proxy says, if there is one.
    peer: Any = None
    #: The address at the other end of the connection itself.
    via: Any = None
    #: Our own side of the connection, likewise.
    local: Any = None
    #: The argument of the last accepted EHLO or HELO.
    host_name: str | None = None
    #: Whether that was EHLO.
    extended_smtp: bool = False
    #: Facts about TLS as a dict, or None in the clear.
    ssl: dict[str, Any] | None = None
    #: The same, typed.
    tls: TLS | None = None
    #: What a PROXY header said.
    proxy: Any = None
    #: What XCLIENT has said, by the names of its attributes, such as ``NAME`` and ``ADDR``: as it
    #: was meant, without xtext, but ``[UNAVAILABLE]`` and ``[TEMPUNAVAIL]`` as they are.
    xclient: Mapping[str, str] = MappingProxyType({})
    #: The client's name in the DNS, if XCLIENT has said it.
    client_name: str | None = None
    #: Whether it is one of LMTP (RFC 2033).
    lmtp: bool = False
    #: Whether its transport can do STARTTLS.
    can_start_tls: bool = False
    #: Whether it has come by a unix socket or to an LMTP port, where nobody has to do STARTTLS and
    #: AUTH first.
    exempt: bool = False
    #: None before AUTH, then whether it succeeded.
    authenticated: bool | None = None
    #: Who it is: what the authenticator, the realm or the checker has given.
    auth_data: Any = attrs.field(default=None, repr=False)
    #: The user's name as it was sent, or None.
    login_data: Any = attrs.field(default=None, repr=False)
    #: The reactor that serves this connection.
    reactor: Any = attrs.field(default=None, repr=False)
    #: A place for handlers' own facts.
    notes: dict[Any, Any] = attrs.field(factory=dict, repr=False)

    @property
    def secure(self) -> bool:
        """
        Whether nobody on the way can read along: TLS of our own, or of a trusted proxy.
        """
        return self.ssl is not None or (self.proxy is not None and self.proxy.secure)


@attrs.define(slots=False, eq=False)
class Envelope:
    """
    One mail transaction (RFC 5321 section 3.3).  It is never cleared, always replaced by a new
    one, so a handler may keep it.
    """

    #: Names the transaction in logs and trace headers.
    id: str = ""
    #: The reverse-path without brackets; ``""`` is the null sender, None is "no MAIL yet".
    mail_from: str | None = None
    mail_options: list[str] = attrs.field(factory=list)
    #: What the hooks take for recipients: they may rewrite it.  Under LMTP the place of an address
    #: says which of the `recipients` it is for.
    rcpt_tos: list[str] = attrs.field(factory=list)
    rcpt_options: list[str] = attrs.field(factory=list)
    #: What the client was told is accepted: one entry for each positive reply to RCPT.
    recipients: list[Recipient] = attrs.field(factory=list)
    #: Whether MAIL asked for SMTPUTF8 (RFC 6531).
    smtp_utf8: bool = False
    #: BODY of MAIL: ``7BIT``, ``8BITMIME``, ``BINARYMIME`` or None (RFC 6152, RFC 3030).
    body: str | None = None
    #: SIZE of MAIL in octets, as the client declared it, or None (RFC 1870).
    size: int | None = None
    #: AUTH of MAIL: who has submitted the message first, ``""`` if nobody can tell, or None
    #: (RFC 4954 section 5).
    auth: str | None = None
    #: RET and ENVID of MAIL: a :class:`~txsmtpd.extensions.dsn.DSN` or None (RFC 3461).
    dsn: Any = None
    #: Whether MAIL asked for REQUIRETLS (RFC 8689).
    require_tls: bool = False
    #: BY of MAIL: a :class:`~txsmtpd.extensions.deliverby.DeliverByValue` or None (RFC 2852).
    deliver_by: Any = None
    #: HOLDFOR or HOLDUNTIL of MAIL: a :class:`~txsmtpd.extensions.futurerelease.Hold` or None
    #: (RFC 4865).
    hold: Any = None
    #: MT-PRIORITY of MAIL, or None (RFC 6710).  A hook that changes the priority sets it.
    priority: int | None = None
    #: What XFORWARD has said about who has sent this message before, by the names of its
    #: attributes, those that are not available left out; empty without XFORWARD.
    forwarded: Mapping[str, str] = attrs.field(factory=dict)
    #: The protocol's name for trace headers (RFC 3848, RFC 6531), such as ``ESMTP``.
    protocol: str = "SMTP"
    #: The message: bytes, or str where `decode_data` is set.  Only for `IDATAHook`.
    content: bytes | str | None = attrs.field(default=None, repr=False)
    #: The message as it came, whatever `decode_data` says.  Only for `IDATAHook`.
    original_content: bytes | None = attrs.field(default=None, repr=False)
