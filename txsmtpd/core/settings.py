"""
Every setting of a server, with its default and its check, in one place.

The factory takes these as keyword arguments and the command line fills the same fields.  Names are
those of aiosmtpd where the meaning is the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Any, TypeAlias

import attrs

from .addresses import host_address

Network: TypeAlias = IPv4Network | IPv6Network

#: What becomes of bare CR and LF in the content of DATA.
BARE_NEWLINE = ("reject", "normalize", "keep")
#: What becomes of a MAIL or RCPT parameter that no extension knows.
UNKNOWN_PARAMETERS = ("reject", "ignore", "pass")

_boolean = attrs.validators.instance_of(bool)


def _count(instance: Settings, attribute: attrs.Attribute[int], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{attribute.name} wants a whole number from 0, not {value!r}")


def _seconds(instance: Settings, attribute: attrs.Attribute[Any], value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise ValueError(f"{attribute.name} wants a number of seconds from 0, not {value!r}")


def _one_line(instance: Settings, attribute: attrs.Attribute[str], value: Any) -> None:
    if not isinstance(value, str) or not value.isascii() or not value.isprintable():
        raise ValueError(f"{attribute.name} wants one line of printable ASCII, not {value!r}")


def _host(instance: Settings, attribute: attrs.Attribute[str], value: Any) -> None:
    _one_line(instance, attribute, value)
    if " " in value or len(value) > 255:
        raise ValueError(f"{attribute.name} wants a host name, not {value!r}")


def _names(value: Iterable[str] | None) -> frozenset[str]:
    if isinstance(value, str):
        raise ValueError(f"mechanisms are named in a list, not as {value!r}")
    return frozenset(name.upper() for name in value or ())


def _networks(value: Iterable[str | Network]) -> tuple[Network, ...]:
    if isinstance(value, str):
        raise ValueError(f"trusted_proxies wants networks in a list, not {value!r}")
    try:
        return tuple(ip_network(each) for each in value)
    except ValueError as error:
        raise ValueError(f"trusted_proxies wants networks: {error}") from None


def _in_a_tuple(value: Any) -> Any:
    return None if value is None else tuple(value)


def _none_is_zero(value: int | None) -> int:
    return 0 if value is None else value


@attrs.frozen(kw_only=True)
class Settings:
    """
    The settings of one server.

    :raise ValueError: for a value out of range.
    """

    #: Our name in the greeting, in replies and in trace headers.  "" becomes the machine's FQDN
    #: when the factory is made.
    hostname: str = attrs.field(default="", validator=_host)
    #: What follows the name in the greeting.
    ident: str = attrs.field(default="ESMTP txsmtpd", validator=_one_line)
    #: Octets in a message as it is kept: unstuffed, its newlines normalized; 0 or None is no limit.
    data_size_limit: int = attrs.field(default=2**25, converter=_none_is_zero, validator=_count)
    #: Whether to offer SMTPUTF8 (RFC 6531).
    enable_SMTPUTF8: bool = attrs.field(default=True, validator=_boolean)
    #: Whether `Envelope.content` is str: UTF-8 if SMTPUTF8 is offered, else ASCII.
    decode_data: bool = attrs.field(default=False, validator=_boolean)
    #: What becomes of bare CR and LF in the content of DATA: they never end it.
    bare_newline: str = attrs.field(
        default="normalize", validator=attrs.validators.in_(BARE_NEWLINE)
    )
    #: Octets in a line of content, CRLF included; 0 is no limit.
    line_length_limit: int = attrs.field(default=0, validator=_count)
    #: What becomes of a MAIL or RCPT parameter that no extension knows.
    unknown_parameters: str = attrs.field(
        default="reject", validator=attrs.validators.in_(UNKNOWN_PARAMETERS)
    )
    #: What TLS is done with: gives a connection of pyOpenSSL for each client, as
    #: `txsmtpd.tls.Certificates` does, and `twisted.internet.ssl.CertificateOptions` for clients
    #: without ALPN.  None: no TLS.
    context_factory: Any = attrs.field(default=None, repr=False)
    #: Whether TLS begins with the first octet (RFC 8314).
    implicit_tls: bool = attrs.field(default=False, validator=_boolean)
    #: Whether mail is taken only after STARTTLS; not by unix sockets and LMTP.
    require_starttls: bool = attrs.field(default=False, validator=_boolean)
    #: Whether mail is taken only after AUTH; not by unix sockets and LMTP.
    auth_required: bool = attrs.field(default=False, validator=_boolean)
    #: Whether AUTH wants TLS.
    auth_require_tls: bool = attrs.field(default=True, validator=_boolean)
    #: The mechanisms that may be offered, by name; none named is all.
    auth_mechanism: frozenset[str] = attrs.field(default=(), converter=_names)
    #: The mechanisms that are not offered, by name.
    auth_exclude_mechanism: frozenset[str] = attrs.field(default=(), converter=_names)
    #: Judges credentials of PLAIN and LOGIN: called with server, session, envelope, the mechanism's
    #: name and a `LoginPassword`; returns an `AuthResult`, a bool or who it is.
    authenticator: Any = attrs.field(default=None, repr=False)
    #: A `twisted.cred.portal.Portal` that is asked for an `ISMTPUser`.
    portal: Any = attrs.field(default=None, repr=False)
    #: Each an `ICredentialsChecker`, asked in order.
    checkers: tuple[Any, ...] = attrs.field(default=(), converter=tuple, repr=False)
    #: The SASL mechanisms that there are, those preferred first; None is those of `txsmtpd.sasl`.
    mechanisms: Any = attrs.field(default=None, converter=_in_a_tuple, repr=False)
    #: What the salts are made of that SCRAM tells those who have none, where no checker says:
    #: files of users with verifiers do.  None is a new one at each start, which does not do for
    #: checkers of your own that have verifiers: a name whose salt changes is nobody's.
    scram_secret: bytes | None = attrs.field(default=None, repr=False)
    #: Asks whichever of the three there is.  The factory makes it.
    login: Any = attrs.field(default=None, repr=False)
    #: Whether a PROXY header comes before all else.
    proxy_protocol: bool = attrs.field(default=False, validator=_boolean)
    #: The networks whose PROXY headers are believed, ``()`` for this machine's own addresses; and,
    #: but only if they are named, who may say XCLIENT and XFORWARD.  It is the address at the other
    #: end of the connection that counts; what comes behind a PROXY header is said by the client
    #: that it names, whose address must be in one of them too.
    trusted_proxies: tuple[Network, ...] = attrs.field(default=(), converter=_networks)
    #: Whether to log every line of every dialog, credentials masked.
    verbose: bool = attrs.field(default=False, validator=_boolean)
    #: Whether addresses may be sloppy: no brackets, underscores in domains and the like.
    lenient: bool = attrs.field(default=False, validator=_boolean)
    #: Recipients of one message; 0 is no limit.
    max_recipients: int = attrs.field(default=1000, validator=_count)
    #: Replies to junk before the connection is closed; 0 is no limit.
    max_errors: int = attrs.field(default=20, validator=_count)
    #: Connections at a time, in all; 0 is no limit.
    max_connections: int = attrs.field(default=1000, validator=_count)
    #: Connections at a time from one client address; 0 is no limit.
    max_connections_per_host: int = attrs.field(default=0, validator=_count)
    #: Octets of content held in memory over all connections, for handlers that want it whole.
    content_memory: int = attrs.field(default=2**28, validator=_count)
    #: Seconds that a client may take for its next command; 0 is for ever.
    timeout: float = attrs.field(default=300, validator=_seconds)
    #: Seconds that a client may take for its next octets of content (as `timeout`).
    data_timeout: float = attrs.field(
        default=attrs.Factory(lambda self: self.timeout, takes_self=True), validator=_seconds
    )
    #: Seconds that a hook may take; the end of data may take twice as long.
    hook_timeout: float = attrs.field(default=300, validator=_seconds)
    #: Seconds that a connection may last; 0 is for ever.
    session_timeout: float = attrs.field(default=0, validator=_seconds)

    def trusts(self, address: Any) -> bool:
        """
        Whether an address, as a socket has it, is in a network that is named.
        """
        return bool(self.trusted_proxies) and _is_in(address, self.trusted_proxies)

    def believes(self, address: Any) -> bool:
        """
        Whether a PROXY header from there is believed: where no network is named, from this machine,
        also by a unix socket.  Of an address that is none, nobody knows where it is.
        """
        if isinstance(address, bytes):
            return True
        return _is_in(address, self.trusted_proxies or _THIS_MACHINE)


_THIS_MACHINE: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


def _is_in(address: Any, networks: Iterable[Network]) -> bool:
    if not isinstance(address, tuple):
        return False
    host = host_address(address[0])
    return any(host in network for network in networks)
