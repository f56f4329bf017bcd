"""
Which parameters of MAIL and RCPT the next hop gets.

What it offers gets the words as our client sent them.  What it does not offer is left out where
nobody is deceived by that, and refused where someone would be.
"""

from __future__ import annotations

import re

from ...core.grammar import keyword_value, xtext_encode
from ...core.replies import Rejected, Reply
from ...core.session import Parameters
from .connection import Connection

NO_UTF8 = Reply(550, "5.6.7", ("The next hop does not take SMTPUTF8",))
NO_CONVERSION = Reply(554, "5.6.3", ("The next hop does not take content of this kind",))
NO_REQUIRETLS = Reply(550, "5.7.30", ("The next hop does not do REQUIRETLS",))
NO_SUCCESS = Reply(550, "5.3.3", ("The next hop cannot notify of success",))
NOT_TAKEN = Reply(555, "5.5.4", ("The next hop does not take this parameter",))

#: The keyword in EHLO that each parameter of MAIL and RCPT needs.
_NEEDED = {
    "SIZE": "SIZE",
    "SMTPUTF8": "SMTPUTF8",
    "RET": "DSN",
    "ENVID": "DSN",
    "NOTIFY": "DSN",
    "ORCPT": "DSN",
    "REQUIRETLS": "REQUIRETLS",
    "BY": "DELIVERBY",
    "HOLDFOR": "FUTURERELEASE",
    "HOLDUNTIL": "FUTURERELEASE",
    "MT-PRIORITY": "MT-PRIORITY",
}

# RFC 1870 section 6; RFC 3461 section 5.2.2 (a); RFC 6710 section 4.3: nobody is promised anything.
_LEFT_OUT = frozenset(("SIZE", "RET", "ENVID", "NOTIFY", "ORCPT", "MT-PRIORITY"))

_REFUSALS = {"SMTPUTF8": NO_UTF8, "REQUIRETLS": NO_REQUIRETLS}

#: What our client is told that we offer only if the next hop does, too.
PROMISED = {
    "8BITMIME": ("8BITMIME",),
    "BINARYMIME": ("BINARYMIME", "CHUNKING"),
    "SMTPUTF8": ("SMTPUTF8",),
    "DSN": ("DSN",),
    "REQUIRETLS": ("REQUIRETLS",),
    "DELIVERBY": ("DELIVERBY",),
    "FUTURERELEASE": ("FUTURERELEASE",),
    "MT-PRIORITY": ("MT-PRIORITY",),
}
#: What we take it to offer as long as we do not know: nearly all servers do.
LIKELY = {"8BITMIME": "", "BINARYMIME": "", "CHUNKING": "", "SMTPUTF8": "", "DSN": ""}

_SUCCESS = re.compile(r"(?:^|,)SUCCESS(?:,|$)", re.IGNORECASE)


def mail(connection: Connection, address: str, options: Parameters) -> str:
    """
    The MAIL command for the next hop.

    :raise Rejected: if it cannot be asked what our client asks us.
    """
    words = [f"MAIL FROM:<{address}>"]
    for word in options:
        keyword, value = keyword_value(word)
        if keyword == "AUTH":
            words.extend(_auth(connection, options))
        elif keyword == "BODY" and value is not None:
            words.extend(_body(connection, word, value))
        elif keyword == "REQUIRETLS" and not connection.verified:
            # RFC 8689 section 4.2.1 wants its name verified.
            raise Rejected(NO_REQUIRETLS)
        elif _offered(connection, keyword):
            words.append(word)
    return " ".join(words)


def rcpt(connection: Connection, address: str, options: Parameters) -> str:
    """
    The RCPT command for the next hop.

    :raise Rejected: if it cannot be asked what our client asks us.
    """
    words = [f"RCPT TO:<{address}>"]
    for word in options:
        keyword, value = keyword_value(word)
        if _offered(connection, keyword):
            words.append(word)
        elif keyword == "NOTIFY" and _SUCCESS.search(value or ""):
            # We would have to say ourselves that it was relayed (RFC 3461 section 5.2.2 (b)), and
            # we send no mail.
            raise Rejected(NO_SUCCESS)
    return " ".join(words)


def _offered(connection: Connection, keyword: str) -> bool:
    # What no extension of ours knows was let pass by a setting: the next hop may know it.
    needed = _NEEDED.get(keyword)
    if needed is None or needed in connection.features:
        return True
    if keyword in _LEFT_OUT:
        return False
    raise Rejected(_REFUSALS.get(keyword, NOT_TAKEN))


def _body(connection: Connection, word: str, value: str) -> list[str]:
    """
    BODY: we do not convert (RFC 6152 section 3, RFC 3030 section 3).
    """
    kind = value.upper()
    needed = PROMISED["BINARYMIME" if kind == "BINARYMIME" else "8BITMIME"]
    if connection.features.keys() >= set(needed):
        return [word]
    if kind == "7BIT":
        return []
    raise Rejected(NO_CONVERSION)


def _auth(connection: Connection, options: Parameters) -> list[str]:
    """
    AUTH (RFC 4954 section 5): who has submitted the message, if we are somebody whom the next hop
    may believe.
    """
    if not connection.logged_in:
        return []
    sender = options.get("AUTH")
    return [f"AUTH={xtext_encode(sender)}" if sender else "AUTH=<>"]
