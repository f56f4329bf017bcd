"""
Where the mail goes, and how ``--handler`` says it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Callable
from typing import Any

import attrs
from OpenSSL import SSL, crypto
from twisted.internet.abstract import isIPAddress, isIPv6Address
from twisted.internet.endpoints import HostnameEndpoint, UNIXClientEndpoint
from twisted.internet.interfaces import IOpenSSLClientConnectionCreator
from twisted.internet.ssl import (
    Certificate,
    CertificateOptions,
    optionsForClientTLS,
    trustRootFromCertificates,
)
from twisted.logger import Logger
from zope.interface import implementer

from ...keypairs import TLSError, read_certificates

_log = Logger()

_ADDRESS = re.compile(r"(?:\[([0-9A-Fa-f]*:[^]\s/]*)\]|([^][:\s/]+))(?::([0-9]{1,5}))?")


@attrs.frozen
class Credentials:
    """
    Who we are for the next hop.
    """

    name: str
    password: str = attrs.field(repr=False)

    @classmethod
    def from_file(cls, path: str) -> Credentials:
        """
        Read them: one line ``name:password``, in which the first colon counts; lines that are empty
        or begin with ``#`` are skipped.

        :raise ValueError: with one sentence that has nothing of what is in the file.
        """
        lines = _read(path).decode("utf-8", "surrogateescape").replace("\r\n", "\n").split("\n")
        entries = [line for line in lines if line and not line.startswith("#")]
        name, colon, password = entries[0].partition(":") if len(entries) == 1 else ("", "", "")
        if not (name and colon and password):
            raise ValueError(f"{path} wants one line: a user's name, a colon and the password")
        if os.stat(path).st_mode & stat.S_IROTH:
            _log.warn(
                "{path} can be read by everybody on this machine: chmod o-r it",
                event="relay",
                path=path,
            )
        return cls(name, password)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:
            return file.read()
    except OSError as error:
        raise ValueError(f"{path} cannot be read: {error.strerror}") from None


def _no_host(name: str) -> ValueError:
    return ValueError(f"{name} cannot be the name of a host")


@implementer(IOpenSSLClientConnectionCreator)
class Unverified:
    """
    TLS that believes any certificate (RFC 7435): it keeps out who only listens.

    :param name: whom we want to talk to.
    """

    def __init__(self, name: str) -> None:
        self._context = CertificateOptions().getContext()
        try:
            self._name = None if isIPAddress(name) or isIPv6Address(name) else name.encode("idna")
        except UnicodeError:
            raise _no_host(name) from None

    def clientConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        connection = SSL.Connection(self._context, None)
        if self._name is not None:
            connection.set_tlsext_host_name(self._name)
        return connection


@attrs.frozen
class NextHop:
    """
    A server that all mail goes to.

    :raise ValueError: for what cannot be, in one sentence.
    """

    #: Its name or address; for a unix socket the path.
    host: str
    #: None for a unix socket.
    port: int | None = None
    #: Whether it speaks LMTP (RFC 2033).
    lmtp: bool = False
    #: Makes TLS; None is never.
    tls: Any = attrs.field(default=None, repr=False)
    #: Whether it is TLS or nothing, and the certificate is verified.
    verified: bool = False
    #: Whether TLS begins with the first octet, else with STARTTLS.
    implicit: bool = False
    credentials: Credentials | None = None

    def __attrs_post_init__(self) -> None:
        if self.credentials is not None and not self.verified:
            # Whoever can put himself between reads along, also under TLS that nobody has verified.
            raise ValueError("credentials are only for a next hop whose certificate is verified")
        if self.tls is None and self.verified:
            raise ValueError("a next hop whose certificate is verified needs something to do TLS")
        if self.implicit and not self.verified:
            # Where TLS may fail there must be a way without it.
            raise ValueError("TLS from the first octet is only for a next hop that is verified")

    def __str__(self) -> str:
        if self.port is None:
            return f"unix:{self.host}"
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    def endpoint(self, reactor: Any) -> Any:
        if self.port is None:
            return UNIXClientEndpoint(reactor, self.host)
        return HostnameEndpoint(reactor, self.host, self.port)

    @classmethod
    def plain(cls, host: str, port: int, *, lmtp: bool = False) -> NextHop:
        """
        One with STARTTLS if it offers that, whatever its certificate.
        """
        return cls(host, port, lmtp, Unverified(host))

    @classmethod
    def secure(
        cls,
        host: str,
        port: int,
        *,
        starttls: bool = False,
        name: str | None = None,
        trust: Any = None,
        credentials: Credentials | None = None,
    ) -> NextHop:
        """
        One with TLS or nothing, whose certificate is verified.

        :param name: who the certificate must be for: `host` if it is None.
        :param trust: as `twisted.internet.ssl.optionsForClientTLS` has it; None is the system's.
        """
        trusted = {} if trust is None else {"trustRoot": trust}
        try:
            tls = optionsForClientTLS(name or host, **trusted)
        except UnicodeError:
            raise _no_host(name or host) from None
        return cls(host, port, False, tls, True, not starttls, credentials)


def from_relay(argument: str | None) -> NextHop:
    """
    Read what follows ``relay:``.
    """
    return _plain("relay", argument, 25, lmtp=False)


def from_relay_lmtp(argument: str | None) -> NextHop:
    """
    Read what follows ``relay-lmtp:``.
    """
    return _plain("relay-lmtp", argument, 24, lmtp=True)


def from_relay_tls(argument: str | None) -> NextHop:
    """
    Read what follows ``relay-tls:``.
    """
    address, *words = (argument or "").split(",")
    options = _options(words)
    starttls = options.pop("starttls", False)
    host, port = _address("relay-tls", address, 587 if starttls else 465)
    for option, read in _READ.items():
        if option in options:
            options[option] = read(os.path.abspath(os.path.expanduser(options[option])))
    return NextHop.secure(
        host,
        port,
        starttls=starttls,
        name=options.get("name"),
        trust=options.get("ca"),
        credentials=options.get("credentials"),
    )


def _plain(name: str, argument: str | None, port: int, *, lmtp: bool) -> NextHop:
    argument = argument or ""
    if argument.startswith("unix:/"):
        return NextHop(argument.removeprefix("unix:"), lmtp=lmtp)
    return NextHop.plain(*_address(name, argument, port), lmtp=lmtp)


def _address(name: str, text: str, default: int) -> tuple[str, int]:
    match = _ADDRESS.fullmatch(text)
    port = int(match[3]) if match is not None and match[3] else default
    if match is None or not 0 < port < 65536:
        unix = "" if name == "relay-tls" else f" or {name}:unix:/PATH"
        raise ValueError(f"{name} wants a host and a port: {name}:HOST:PORT{unix}")
    return match[1] or match[2], port


def _options(words: list[str]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for word in words:
        name, _, value = word.partition("=")
        if name not in ("credentials", "ca", "name", "starttls") or name in found:
            raise ValueError(
                "relay-tls takes the options starttls, credentials=FILE, ca=FILE and name=NAME,"
                f" each once, not {name!r}"
            )
        if bool(value) == (name == "starttls"):
            raise ValueError(f"the option {name} of relay-tls {_WANTS[bool(value)]}")
        found[name] = value or True
    return found


_WANTS = {True: "takes no value", False: "wants a value"}


def _trust(path: str) -> Any:
    try:
        certificates = read_certificates(path)
    except TLSError as error:
        raise ValueError(str(error)) from None
    return trustRootFromCertificates(
        [Certificate(crypto.X509.from_cryptography(each)) for each in certificates]
    )


_READ: dict[str, Callable[[str], Any]] = {"credentials": Credentials.from_file, "ca": _trust}
