"""
EXTERNAL: the client has shown who it is in the TLS handshake (RFC 4422 appendix A).
"""

from __future__ import annotations

from .base import Check, Circumstances, Denied, Exchange, Mechanism, client_first, name, utf8
from .credentials import ClientCertificate


def _exchange(circumstances: Circumstances, initial: bytes | None) -> Exchange:
    # extern-resp = *( UTF8-char-no-nul )
    authzid = utf8((yield from client_first(initial)))
    if not _offered(circumstances):
        raise Denied("no client certificate")
    identity = name(authzid) if authzid else b""
    yield Check(ClientCertificate(identity, circumstances.certificate))


def _offered(circumstances: Circumstances) -> bool:
    return circumstances.certificate is not None


EXTERNAL = Mechanism("EXTERNAL", _exchange, ClientCertificate, offered=_offered)
