"""
What a SASL mechanism (RFC 4422) is made of, ours and anybody's.

A mechanism is a generator. It says what it wants and is resumed with what came of it::

    def exchange(circumstances, initial):
        response = initial if initial is not None else (yield Challenge(b""))
        good = yield Check(Password(*split(response)))

It touches no transport and no user database: AUTH carries the messages, twisted.cred checks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Generator
from contextlib import suppress
from typing import Any, TypeAlias

import attrs

from .saslprep import saslprep

#: Octets in a user name. RFC 4616 wants at least 255; the rest of a line is for tokens.
NAME_LIMIT = 1024


@attrs.frozen
class Challenge:
    """
    What the server says next, without base64. The generator is resumed with the client's answer,
    bytes without base64 too.
    """

    data: bytes = attrs.field(repr=False)


@attrs.frozen
class Check:
    """
    Ask outside whether these credentials are good. The generator is resumed with True or False.
    """

    credentials: Any = attrs.field(repr=False)


@attrs.frozen
class Call:
    """
    Call something outside with the server, the session and the envelope, as a hook is called, and
    wait for what it returns, which may be awaitable. The generator is resumed with that. What it
    raises ends the exchange.
    """

    function: Callable[[Any, Any, Any], Any] = attrs.field(repr=False)


class Malformed(Exception):
    """
    The client's message is not what the mechanism wants: 501 5.5.2. The text has nothing of the
    client's in it: it can be logged.
    """


class Denied(Exception):
    """
    Refused without a check: 535 5.7.8, which takes as long as after a check that failed. The text
    has nothing of the client's in it: it can be logged.
    """


@attrs.frozen(eq=False, repr=False)
class Circumstances:
    """
    What a mechanism may know of the connection and of the server.
    """

    #: The server's own name.
    hostname: str
    #: Makes fresh randomness, in printable ASCII without comma.
    nonce: Callable[[], str]
    #: The time in seconds since 1970.
    now: Callable[[], float]
    #: The octets of a channel binding by its registered name: ``tls-exporter``, which TLS 1.3 has,
    #: or ``tls-server-end-point``; None for any other name, for one that this connection does not
    #: have, without TLS, and where -PLUS is switched off.  That there is one does not mean that
    #: -PLUS was offered: that takes ``tls-exporter``.
    channel_binding: Callable[[str], bytes | None]
    #: The client's certificate, verified, as the session has it, or None.
    certificate: Any
    #: ``(user name, "sha1" or "sha256") -> (salt, iterations)``. Unknown users have them too, and
    #: the same ones each time.
    scram: Callable[[bytes, str], tuple[bytes, int]]


#: One run of a mechanism. It yields :class:`Challenge`, :class:`Check` and :class:`Call`, raises
#: :class:`Malformed` or :class:`Denied`, or returns:
#:
#: - None: it is successful if its last Check was answered True, else (also without any) refused;
#: - False: refused;
#: - an `Identity` or a `Refusal` of :mod:`txsmtpd.core.identity`: what that says, in its words;
#: - anything else: successful, and this is the identity, which the mechanism has established by
#:   itself.
#:
#: When the client aborts or goes, the generator is closed. Any other exception is the server's
#: fault (454 4.7.0) and logged with its traceback, so its text holds no credentials.
Exchange: TypeAlias = Generator[Challenge | Check | Call, Any, Any]


def _always(circumstances: Circumstances) -> bool:
    return True


def _check_name(mechanism: Any, attribute: Any, name: str) -> None:
    # RFC 4422 section 3.1
    #   sasl-mech = 1*20mech-char
    #   mech-char = UPPER-ALPHA / DIGIT / HYPHEN / UNDERSCORE
    if re.fullmatch("[A-Z0-9_-]{1,20}", name) is None:
        raise ValueError(f"not a SASL mechanism name: {name!r}")


@attrs.frozen
class Mechanism:
    """
    A SASL mechanism. Whoever writes one writes an :data:`Exchange`, which tells how it may end.
    """

    #: In capitals, as EHLO lists it.
    name: str = attrs.field(validator=_check_name)
    #: Begins an exchange. The second argument is the initial response: None if there was none,
    #: ``b""`` if it was empty.
    exchange: Callable[[Circumstances, bytes | None], Exchange] = attrs.field(repr=False)
    #: The class of what it gives to Check; None if it checks by itself.
    credentials: type | None
    #: Whether the server speaks first, so that an initial response is an error (501 5.7.0).
    server_first: bool = False
    #: Whether it can be used in these circumstances.
    offered: Callable[[Circumstances], bool] = attrs.field(default=_always, repr=False)


def client_first(initial: bytes | None) -> Generator[Challenge, bytes, bytes]:
    """
    Get the first message of a mechanism in which the client speaks first (RFC 4954 section 4).
    """
    return (yield Challenge(b"")) if initial is None else initial


def utf8(octets: bytes) -> str:
    """
    :raise Malformed: it is not UTF-8, or has NUL within.
    """
    # Raised outside of the handler, because the UnicodeDecodeError has all of the octets.
    with suppress(UnicodeDecodeError):
        text = octets.decode()
        if "\0" not in text:
            return text
    raise Malformed("invalid UTF-8 or NUL")


def name(text: str) -> bytes:
    """
    Prepare a user name with SASLprep, as a query (RFC 4616 section 2, RFC 5802 section 5.1). A
    name with controls, which could forge a line of somebody's log, is none.

    The rule for right-to-left text is left out: an address with a Hebrew local part and a Latin
    domain breaks it, and is a good user name all the same.

    :raise Malformed: it is empty, too long or not acceptable.
    """
    with suppress(ValueError):
        prepared = saslprep(text[:NAME_LIMIT], bidi=False).encode()
        if prepared and len(text.encode()) <= NAME_LIMIT:
            return prepared
    raise Malformed("no acceptable user name")


def authorize(username: bytes, authzid: bytes) -> None:
    """
    Nobody may act for another.

    :raise Denied: there is an authorization identity, and it is not the user.
    """
    if authzid not in (b"", username):
        raise Denied("not authorized to act for another user")
