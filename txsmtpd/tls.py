"""
TLS on the server's side: the certificates, and which one a client gets to see.

OpenSSL has one context for each certificate, and turns to another one when the client has said whom
it wants to talk to (SNI, RFC 6066 section 3).  The contexts of a server are made together and never
change; when a file changes, new ones take their place for the connections to come.  A handshake
that has begun goes on with the old ones.

Files are read in the reactor's thread.  Verifying a long RSA key takes some tenths of a second
there, but only when there is a new one, every few weeks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from cryptography import x509
from OpenSSL import SSL
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator, IReactorTime
from twisted.logger import Logger
from zope.interface import implementer

from .keypairs import (
    Pair,
    TLSError,
    make_context,
    make_self_signed,
    read_certificates,
    read_pair,
    state_of,
)
from .tlsfacts import ssl_dict, tls_facts

__all__ = ["Certificates", "TLSError", "self_signed", "ssl_dict", "tls_facts"]

#: Seconds for which nobody looks again whether files have changed.
LOOK_AGAIN = 1.0

T = TypeVar("T")
Path = str | os.PathLike[str]


@implementer(IOpenSSLServerConnectionCreator)
class _Contexts:
    """
    Certificates that do not change, of which a client sees the one that is for the name it sent.

    A name goes before a wildcard, a wildcard stands for exactly one label, and who wants something
    else or says nothing gets the first.
    """

    def __init__(self, pairs: Iterable[Pair], client_ca: Sequence[x509.Certificate] = ()) -> None:
        self._by_name: dict[Any, SSL.Context] = {}
        contexts = []
        for pair in pairs:
            context = make_context(pair, client_ca)
            contexts.append(context)
            for name in pair.names:
                self._by_name.setdefault(name, context)
        self._first = contexts[0]
        if len(contexts) > 1:
            for context in contexts:
                # Every one has it: a connection keeps only the context that was chosen for it, and
                # OpenSSL asks again after a second ClientHello, when this one's may be gone.
                context.set_tlsext_servername_callback(self._choose)

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        return SSL.Connection(self._first)

    def _choose(self, connection: SSL.Connection) -> None:
        # Whether clients are verified stays as the first context has it, and by whom is up to the
        # new one.  They all agree.
        name = (connection.get_servername() or b"").decode("ascii", "replace").lower()
        name = name.removesuffix(".")
        wildcard = f"*.{name.partition('.')[2]}"
        known = self._by_name
        connection.set_context(known.get(name) or known.get(wildcard) or self._first)


class _Watched(Generic[T]):
    """
    What files hold, and whether they hold something else by now.
    """

    #: Why they could not be read, if that may pass without a change of theirs.
    problem = ""

    def __init__(self, read: Callable[..., T], *paths: Path) -> None:
        self._read = read
        # Absolute, because a daemon goes elsewhere.
        self.paths = [os.path.abspath(path) for path in paths]
        self.refresh()

    @property
    def changed(self) -> bool:
        return bool(self.problem) or self._state != self._look()

    def refresh(self) -> None:
        """
        Read the files again, and keep what they held if that fails.

        :raise TLSError: if it does.
        """
        # Before they are read: what changes in between is a change.
        self._state = self._look()
        self.value = self._read(*self.paths)
        self.problem = ""

    def _look(self) -> list[Any]:
        return [state_of(path) for path in self.paths]


@implementer(IOpenSSLServerConnectionCreator)
class Certificates:
    """
    Certificates from files, which are read again when they have changed.

    A file that cannot be used changes nothing but the log.  A new certificate whose key is yet to
    come is one of those: the old pair serves until both are there.

    The process must still be able to read the files when they change, also after it has dropped
    privileges.

    :param pairs: the files of each certificate, with its chain behind it, and of its key, which may
        be the same.  The first pair is for clients that ask for none of the names in the others.
    :param client_ca: certificates of those who sign those of clients.
    :raise TLSError: if something is wrong with a file.
    """

    _log = Logger()

    def __init__(
        self,
        pairs: Sequence[tuple[Path, Path]],
        *,
        clock: IReactorTime,
        client_ca: Path | None = None,
    ) -> None:
        if not pairs:
            raise TLSError("TLS needs a certificate and its key")
        self._clock = clock
        self._looked = clock.seconds()
        self._pairs = [_Watched(read_pair, *pair) for pair in pairs]
        issuers = [] if client_ca is None else [client_ca]
        self._client_ca = [_Watched(read_certificates, path) for path in issuers]
        self._renew()

    def serverConnectionForTLS(self, tlsProtocol: Any) -> SSL.Connection:
        now = self._clock.seconds()
        # The clock may have been set back.
        if not 0 <= now - self._looked < LOOK_AGAIN:
            self._looked = now
            self._refresh([files for files in self._files if files.changed])
        return self._contexts.serverConnectionForTLS(tlsProtocol)

    def reload(self) -> None:
        """
        Read all files again.
        """
        for files in self._files:
            # Who asks is told once more.
            files.problem = ""
        self._refresh(self._files)

    @property
    def _files(self) -> list[_Watched[Any]]:
        return [*self._pairs, *self._client_ca]

    def _refresh(self, changed: Iterable[_Watched[Any]]) -> None:
        if [files for files in changed if self._read_again(files)]:
            self._renew()

    def _read_again(self, files: _Watched[Any]) -> bool:
        path = files.paths[0]
        try:
            files.refresh()
        except TLSError as error:
            reason = str(error)
            if reason != files.problem:
                self._log.warn(
                    "{reason}; what was there before stays in use",
                    event="certificate",
                    path=path,
                    reason=reason,
                )
            # There may be too many open files, for example, for a moment.
            files.problem = reason if isinstance(error.__cause__, OSError) else ""
            return False
        self._log.info("{path} was read again", event="certificate", path=path)
        return True

    def _renew(self) -> None:
        client_ca = [ca for files in self._client_ca for ca in files.value]
        self._contexts = _Contexts([files.value for files in self._pairs], client_ca)


def self_signed(hostname: str) -> IOpenSSLServerConnectionCreator:
    """
    A certificate for development, which no client should trust.
    """
    return _Contexts([make_self_signed(hostname)])
