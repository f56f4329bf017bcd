"""
Trace headers (RFC 5321 section 4.4): where a message came from and for whom.

Time is an argument.  What came from the client has been through the grammar, but hooks may put what
they like into a session and an envelope, and lenient servers take what they can get for a host
name.  So every value is made harmless here: a header that comes out is one header, and it parses.
"""

from __future__ import annotations

import re
from datetime import datetime
from email.utils import format_datetime

from .addresses import host_address
from .replies import CONTROLS
from .session import Envelope, Session

#: What would end or begin something else where a host name is wanted; Postfix replaces these too.
SPECIALS = re.compile(r'[ <>()\\";@]')


def _clean(text: str) -> str:
    return CONTROLS.sub(" ", text)


def _host(name: str) -> str:
    return SPECIALS.sub("?", _clean(name))


def _encode(header: str) -> bytes:
    return f"{header}\r\n".encode("utf-8", "replace")


def protocol_name(session: Session, smtp_utf8: bool) -> str:
    """
    The name of the protocol that a message came by (RFC 3848, RFC 6531 section 4.3).
    """
    if not session.extended_smtp:
        return "SMTP"
    if session.lmtp:
        name = "UTF8LMTP" if smtp_utf8 else "LMTP"
    else:
        name = "UTF8SMTP" if smtp_utf8 else "ESMTP"
    if session.ssl is not None:
        name += "S"
    if session.authenticated:
        name += "A"
    return name


def address_literal(peer: object) -> str | None:
    """
    The client's address as RFC 5321 section 4.1.3 writes it, or None where it has no IP address.
    """
    if not isinstance(peer, tuple) or not peer:
        return None
    try:
        address = host_address(peer[0])
    except ValueError:
        return None
    return f"[{address}]" if address.version == 4 else f"[IPv6:{address}]"


# RFC 5321 section 4.4
#   TCP-info = address-literal / ( Domain FWS address-literal )
def _tcp_info(session: Session) -> str:
    literal = address_literal(session.peer)
    if literal is None:
        return ""
    name = session.client_name
    return f" ({_host(name)} {literal})" if name else f" ({literal})"


def return_path(envelope: Envelope) -> bytes:
    """
    The header that final delivery puts on top: the reverse-path.
    """
    return _encode(f"Return-Path: <{_clean(envelope.mail_from or '')}>")


def delivered_to(address: str) -> bytes:
    """
    The header that names a mailbox which the message was delivered to.
    """
    return _encode(f"Delivered-To: {_clean(address)}")


def received(session: Session, envelope: Envelope, hostname: str, when: datetime) -> bytes:
    """
    The time stamp line.

    It names a recipient only if there is one, so that nobody learns of a blind copy (section 7.2).

    :param hostname: our own name.
    :param when: the time of receipt, with its zone.
    """
    source = _host(session.host_name or "unknown")
    clauses = [f"from {source}{_tcp_info(session)}"]
    clauses.append(f"by {hostname} with {envelope.protocol} id {envelope.id}")
    if len(envelope.rcpt_tos) == 1:
        clauses.append(f"for <{_clean(envelope.rcpt_tos[0])}>")
    if envelope.priority is not None:
        # RFC 6710 section 7.
        clauses.append(f"PRIORITY {_clean(str(envelope.priority))}")
    folded = "\r\n\t".join(clauses)
    return _encode(f"Received: {folded};\r\n\t{format_datetime(when)}")
