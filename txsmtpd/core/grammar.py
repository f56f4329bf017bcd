"""
The grammar of command arguments (RFC 5321 sections 4.1.2 and 4.1.3).

Every regex stands under the ABNF that it states. Two switches change the grammar: ``utf8`` adds
what RFC 6531 section 3.3 adds, ``lenient`` forgives what many clients get wrong.

The functions take text: a command line decoded as ASCII or, where it has 8-bit octets, as UTF-8
with ``errors="replace"``; U+FFFD then stands for invalid UTF-8. They return what they have judged
as it was spelled, and raise :class:`GrammarError`. Three rules keep them safe:

- What a pattern repeats is told apart by its first character, so no text can match in two ways,
  and a match that fails takes time linear in its input.
- Character classes are spelled out. ``\\d``, ``\\s``, ``isdigit()``, ``split()`` and case-blind
  matching take non-ASCII digits, spaces and letters too; ``upper()`` gets only ASCII.
- A pattern ends with ``\\Z`` or is used with ``fullmatch``: ``$`` lets a final newline through.
"""

from __future__ import annotations

import re
from functools import cache
from ipaddress import IPv6Address
from typing import NamedTuple

# RFC 5321 section 4.5.3.1, in octets. The path counts its brackets and its source route.
LOCAL_PART_LIMIT = 64
DOMAIN_LIMIT = 255
PATH_LIMIT = 256


class GrammarError(ValueError):
    """
    Malformed text. The message has nothing of the client's in it: it can be sent and logged.
    """


class NotASCII(GrammarError):
    """
    Non-ASCII text where SMTPUTF8 was not asked for.
    """


# RFC 6531 section 3.3
#   UTF8-non-ascii = UTF8-2 / UTF8-3 / UTF8-4
#
# Left out are C1 controls and the line and paragraph separators, which end lines in somebody's
# log or header, and what shows that the octets were not UTF-8: surrogates and U+FFFD.
_UTF8_NON_ASCII = r"\u00A0-\u2027\u202A-\uD7FF\uE000-\uFFFC\uFFFE-\U0010FFFF"

#   Let-dig = ALPHA / DIGIT
#   Ldh-str = *( ALPHA / DIGIT / "-" ) Let-dig
_LET_DIG = r"A-Za-z0-9"
_LDH_STR = rf"[{_LET_DIG}-]+(?<!-)"

# RFC 5322 section 3.2.3
#   atext = ALPHA / DIGIT / "!" / "#" / "$" / "%" / "&" / "'" / "*" / "+" / "-" / "/" / "=" /
#           "?" / "^" / "_" / "`" / "{" / "|" / "}" / "~"
_ATEXT = rf"{_LET_DIG}!#$%&'*+/=?^_`{{|}}~\-"

#   qtextSMTP       = %d32-33 / %d35-91 / %d93-126
#   quoted-pairSMTP = %d92 %d32-126
_QTEXT = r" !#-\[\]-~"
_QUOTED_PAIR = r"\\[ -~]"

#   address-literal         = "[" ( IPv4-address-literal / IPv6-address-literal /
#                             General-address-literal ) "]"
#   IPv4-address-literal    = Snum 3("." Snum)
#   Snum                    = 1*3DIGIT     ; in the range 0 through 255
#   IPv6-address-literal    = "IPv6:" IPv6-addr
#   General-address-literal = Standardized-tag ":" 1*dcontent
#   Standardized-tag        = Ldh-str
#   dcontent                = %d33-90 / %d94-126
#
# IPv6Address judges the IPv6-addr, but not its characters: it also takes a scope after a "%".
# No other tag was ever registered; any will do.
_DCONTENT = r"[!-Z^-~]"
_SNUM = r"(?:25[0-5]|2[0-4][0-9]|[01]?[0-9]{1,2})"
_IPV4 = rf"{_SNUM}(?:\.{_SNUM}){{3}}"
_IPV6 = r"(?ai:IPv6):([0-9A-Fa-f:.]+)"
_GENERAL = rf"(?!(?ai:IPv6):){_LDH_STR}:{_DCONTENT}+"
_ADDRESS_LITERAL = re.compile(rf"\[(?:{_IPV4}|{_IPV6}|{_GENERAL})\]")

# What follows a path: nothing, or one or more spaces and then the parameters.
_REST = r"(?: +(.*))?\Z"

# Where a path ends, good or bad: at its ">" or, without brackets, before the first space, but
# not within a quoted string or an address literal.
_OPAQUE = rf'"(?:[^"\\]|\\.)*"|\[{_DCONTENT}+\]'
_ANY_PATH = rf'<(?:[^"[<>]|{_OPAQUE})*>|(?:[^"[<> ]|{_OPAQUE})+'
_SPLIT = re.compile(f"({_ANY_PATH}){_REST}", re.DOTALL)


class _Rules(NamedTuple):
    domain: re.Pattern[str]
    #: Groups: local part, domain or address literal.
    mailbox: re.Pattern[str]
    #: Groups: path, mailbox, what may stand in place of one, rest.
    path: re.Pattern[str]


# Made when they are first wanted, because those with all of Unicode take a tenth of a second.
@cache
def _rules(utf8: bool, lenient: bool) -> _Rules:
    # RFC 6531 section 3.3
    #   sub-domain =/ U-label
    #   atext      =/ UTF8-non-ascii
    #   qtextSMTP  =/ UTF8-non-ascii
    more = _UTF8_NON_ASCII if utf8 else ""

    #   Domain     = sub-domain *("." sub-domain)
    #   sub-domain = Let-dig [Ldh-str]
    #
    # Lenient: names with underscores are common, and some end with the dot of the root.
    sub_domain = f"(?!-)[{_LET_DIG}{'_' if lenient else ''}{more}-]+(?<!-)"
    domain = rf"{sub_domain}(?:\.{sub_domain})*" + (r"\.?" if lenient else "")

    #   Local-part    = Dot-string / Quoted-string
    #   Dot-string    = Atom *("." Atom)
    #   Atom          = 1*atext
    #   Quoted-string = DQUOTE *QcontentSMTP DQUOTE
    #   QcontentSMTP  = qtextSMTP / quoted-pairSMTP
    #
    # Lenient: Japanese providers gave out addresses such as a..b.@example.jp.
    atom = f"[{_ATEXT}{more}]+"
    dot_string = f"[.{_ATEXT}{more}]+" if lenient else rf"{atom}(?:\.{atom})*"
    quoted_string = f'"(?:[{_QTEXT}{more}]|{_QUOTED_PAIR})*"'

    #   Mailbox = Local-part "@" ( Domain / address-literal )
    #
    # Here a literal is only told from a domain. Lenient: a local user needs no domain.
    host = rf"(?:{domain}|\[{_DCONTENT}+\])"
    local_part = f"(?:{dot_string}|{quoted_string})"
    optional = "?" if lenient else ""

    #   Reverse-path = Path / "<>"
    #   Path         = "<" [ A-d-l ":" ] Mailbox ">"
    #   A-d-l        = At-domain *( "," At-domain )
    #   At-domain    = "@" Domain
    # Section 4.1.1.3
    #   "RCPT TO:" ( "<Postmaster@" Domain ">" / "<Postmaster>" / Forward-path ) ...
    a_d_l = f"@{domain}(?:,@{domain})*"
    path = f"(<(?:(?:{a_d_l}:)?({local_part}(?:@{host}){optional})|((?ai:Postmaster)|))>)"
    mailbox = f"({local_part})(?:@({host})){optional}"
    return _Rules(re.compile(domain), re.compile(mailbox), re.compile(path + _REST, re.DOTALL))


# Nearly every path is plain: Dot-string and Domain in ASCII, and no longer in all than the local
# part may be, so that no limit can be passed.  This takes half the time of the whole grammar.
_PLAIN_DOMAIN = _rules(False, False).domain.pattern
_PLAIN_MAILBOX = rf"[{_ATEXT}]+(?:\.[{_ATEXT}]+)*@{_PLAIN_DOMAIN}"
_PLAIN_PATH = rf"<(?=.{{1,{LOCAL_PART_LIMIT}}}>)({_PLAIN_MAILBOX})>"


def plain_clause(keyword: str) -> re.Pattern[str]:
    """
    A pattern of what MAIL and RCPT nearly always say: the keyword, a colon, perhaps a space, and a
    plain path.

    :return: its groups are the mailbox and the parameters, if there are some.  Where it does not
        match, :func:`path` decides.
    """
    return re.compile(f"(?ai:{keyword}): ?{_PLAIN_PATH}{_REST}", re.DOTALL)


def path(text: str, *, utf8: bool, lenient: bool = False) -> tuple[str, str]:
    """
    Read the path at the beginning of the argument of MAIL and RCPT.

    A source route is checked, then dropped (RFC 5321 appendix C).

    :param utf8: whether SMTPUTF8 was asked for: :func:`split_path` helps to know that.
    :param lenient: brackets and domain may be missing, dots in the local part and underscores in
        the domain stand anywhere, and the domain may end with a dot.
    :return: the mailbox, ``""`` for the null path; and the parameters, without the spaces around
        them, not judged yet.
    """
    if lenient and not text.startswith("<") and (bare := _SPLIT.match(text)):
        text = f"<{bare[1]}> {bare[2] or ''}"
    match = _rules(utf8, lenient).path.match(text)
    if match is None:
        raise _malformed("path", split_path(text)[0], utf8)
    whole, address, other, rest = match.groups(default="")
    _limit("path", whole, PATH_LIMIT)
    if address:
        mailbox(address, utf8=utf8, lenient=lenient)
    return address or other, rest.rstrip(" ")


def split_path(text: str) -> tuple[str, str]:
    """
    Find the end of the path at the beginning of the text, be it good or bad, with or without
    brackets. A path that never ends is the whole text.

    Where the line is not ASCII, this finds SMTPUTF8 before the path is judged::

        utf8 = ("SMTPUTF8", None) in parameters(split_path(text)[1], utf8=True)

    :return: the path, and the parameters without the spaces around them.
    """
    match = _SPLIT.match(text)
    return (match[1], (match[2] or "").rstrip(" ")) if match else (text, "")


def mailbox(text: str, *, utf8: bool, lenient: bool = False) -> str:
    """
    Check a mailbox that stands alone, without brackets.
    """
    match = _rules(utf8, lenient).mailbox.fullmatch(text)
    if match is None:
        raise _malformed("mailbox", text, utf8)
    local_part, host = match.groups(default="")
    _limit("local part", local_part, LOCAL_PART_LIMIT)
    if host.startswith("["):
        address_literal(host)
    _limit("domain", host, DOMAIN_LIMIT)
    return text


def split_mailbox(address: str) -> tuple[str, str]:
    """
    Take a valid mailbox apart. ``"a\\b"@example.com`` gives ``ab`` and ``example.com``: all ways
    to quote a local part name the same mailbox (RFC 5321 section 4.1.2).

    :return: the local part with its quoting undone; and the domain, ``""`` if there is none.
    """
    # The local part comes first because an address literal may have "@" and quotes too.
    match = re.fullmatch(r'(?:"((?:[^"\\]|\\.)*)"|([^"@]*))(?:@(.*))?', address, re.DOTALL)
    if match is None:
        raise GrammarError("malformed mailbox")
    quoted, plain, host = match.groups(default="")
    return plain or re.sub(r"\\(.)", r"\1", quoted, flags=re.DOTALL), host


def host(text: str, *, lenient: bool = False) -> str:
    """
    Check the argument of EHLO, HELO and LHLO: a domain or address literal, even with SMTPUTF8
    in ASCII (RFC 6531 section 3.7.1).

    :param lenient: any printable ASCII text without spaces will do.
    """
    if not lenient:
        return address_literal(text) if text.startswith("[") else domain(text)
    if re.fullmatch("[!-~]+", text) is None:
        raise _malformed("host name", text)
    return _limit("host name", text, DOMAIN_LIMIT)


def domain(text: str, *, utf8: bool = False, lenient: bool = False) -> str:
    """
    Check a domain name.
    """
    if _rules(utf8, lenient).domain.fullmatch(text) is None:
        raise _malformed("domain", text, utf8)
    return _limit("domain", text, DOMAIN_LIMIT)


def address_literal(text: str) -> str:
    """
    Check an IPv4, IPv6 or general address literal (RFC 5321 section 4.1.3), with its brackets.
    """
    match = _ADDRESS_LITERAL.fullmatch(text)
    if match is None:
        raise _malformed("address literal", text)
    _limit("address literal", text, DOMAIN_LIMIT)
    if match[1]:
        try:
            IPv6Address(match[1])
        except ValueError:
            raise GrammarError("malformed address literal") from None
    return text


def _limit(what: str, text: str, octets: int) -> str:
    if len(text.encode()) > octets:
        raise GrammarError(f"{what} too long")
    return text


def _malformed(what: str, text: str, utf8: bool = False) -> GrammarError:
    if utf8 or text.isascii():
        return GrammarError(f"malformed {what}")
    return NotASCII(f"non-ASCII {what} without SMTPUTF8")


# RFC 5321 section 4.1.2
#   Mail-parameters = esmtp-param *(SP esmtp-param)
#   esmtp-param     = esmtp-keyword ["=" esmtp-value]
#   esmtp-keyword   = (ALPHA / DIGIT) *(ALPHA / DIGIT / "-")
#   esmtp-value     = 1*(%d33-60 / %d62-126)
# RFC 6531 section 3.3
#   esmtp-value     =/ UTF8-non-ascii
_PARAMETER = re.compile(f"([{_LET_DIG}][{_LET_DIG}-]*)(?:=([!-<>-~{_UTF8_NON_ASCII}]+))?")


def parameters(text: str, *, utf8: bool) -> list[tuple[str, str | None]]:
    """
    Read the parameters of MAIL and RCPT, in order, duplicates included.

    :return: the :func:`keyword_value` of each of the :func:`words`.
    """
    return [keyword_value(word) for word in words(text, utf8=utf8)]


def words(text: str, *, utf8: bool) -> list[str]:
    """
    Check the parameters and give each as it was sent, split at one or more spaces.
    """
    found = [word for word in text.split(" ") if word]
    if not (utf8 or text.isascii()) or not all(map(_PARAMETER.fullmatch, found)):
        raise _malformed("parameter", text, utf8)
    return found


def keyword_value(word: str) -> tuple[str, str | None]:
    """
    Take a parameter apart: the keyword in upper case, and the value, if there is one.
    """
    match = _PARAMETER.fullmatch(word)
    if match is None:
        raise GrammarError("malformed parameter")
    return match[1].upper(), match[2]


def ascii_upper(text: str) -> str:
    """
    A keyword in capitals, where only ASCII has any: `str.upper` makes an "I" of other letters too.
    """
    return text.encode().upper().decode()


# RFC 3461 section 4
#   xtext   = *( xchar / hexchar )
#   xchar   = any ASCII CHAR between "!" (33) and "~" (126) inclusive, except for "+" and "="
#   hexchar = ASCII "+" immediately followed by two upper case hexadecimal digits
_XTEXT = re.compile(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*")

# What xtext may carry: with control characters, +0D+0A would find its way into a header.
_PRINTABLE = re.compile(f"[ -~{_UTF8_NON_ASCII}]*")


def xtext_encode(text: str) -> str:
    """
    Encode text as xtext (RFC 3461 section 4), its non-ASCII characters as UTF-8.

    :raise GrammarError: it has control characters.
    """
    if _PRINTABLE.fullmatch(text) is None:
        raise GrammarError("control characters in xtext")
    return re.sub("[^!-*,-<>-~]+", lambda run: "+" + run[0].encode().hex("+").upper(), text)


def xtext_decode(text: str) -> str:
    """
    Decode xtext (RFC 3461 section 4).

    :raise GrammarError: it is malformed, or has control characters or invalid UTF-8 within.
    """
    if _XTEXT.fullmatch(text) is None:
        raise GrammarError("malformed xtext")
    octets = re.sub(rb"\+(..)", lambda hexchar: bytes([int(hexchar[1], 16)]), text.encode())
    decoded = octets.decode(errors="replace")
    if _PRINTABLE.fullmatch(decoded) is None:
        raise GrammarError("control characters or invalid UTF-8 in xtext")
    return decoded


# RFC 6533 section 3
#   utf-8-addr-xtext    = 1*( QCHAR / EmbeddedUnicodeChar )
#   utf-8-addr-unitext  = 1*( QUCHAR / EmbeddedUnicodeChar )
#   QCHAR               = %x21-2a / %x2c-3c / %x3e-5b / %x5d-7e
#   QUCHAR              = QCHAR / UTF8-2 / UTF8-3 / UTF8-4
#   EmbeddedUnicodeChar = %x5C.78 "{" HEXPOINT "}"
#
# One pattern is enough: without SMTPUTF8 no parameter with other than ASCII gets this far.
_UNITEXT = re.compile(rf"(?:[!-*,-<>-\[\]-~{_UTF8_NON_ASCII}]|\\x\{{[0-9A-Fa-f]{{2,6}}\}})+")

# What of ASCII a HEXPOINT may stand for, less the control characters.
_HEXPOINT_ASCII = " +=\\"


def unitext_decode(text: str) -> str:
    r"""
    Decode an address of the type utf-8, in which ``\x{E9}`` is "é" (RFC 6533 section 3).

    :raise GrammarError: it is malformed, or has control characters within.
    """
    if _UNITEXT.fullmatch(text) is None:
        raise GrammarError("malformed utf-8 address")
    decoded = re.sub(r"\\x\{([^}]+)\}", _embedded, text)
    if _PRINTABLE.fullmatch(decoded) is None:
        raise GrammarError("control characters in a utf-8 address")
    return decoded


def _embedded(match: re.Match[str]) -> str:
    # HEXPOINT has as few digits as will do, but at least two.
    digits = match[1].upper()
    point = int(digits, 16)
    if f"{point:02X}" != digits or point > 0x10FFFF:
        raise GrammarError("malformed character in a utf-8 address")
    character = chr(point)
    if character.isascii() and character not in _HEXPOINT_ASCII:
        raise GrammarError("needless or control character in a utf-8 address")
    return character


# RFC 3461 section 4.2
#   original-recipient-address = addr-type ";" xtext
#   addr-type                  = atom
_TYPED_ADDRESS = re.compile(f"([{_ATEXT}]+);(.*)", re.DOTALL)


def typed_address(text: str) -> tuple[str, str]:
    """
    Read an address with its type (RFC 3461 section 4.2, RFC 6533 section 3).

    :return: the type in small letters, and the address decoded, which is ASCII unless the type is
        ``utf-8``.
    """
    match = _TYPED_ADDRESS.fullmatch(text)
    if match is None:
        raise GrammarError("malformed typed address")
    addr_type = match[1].lower()
    if addr_type == "utf-8":
        return addr_type, unitext_decode(match[2])
    return addr_type, ascii_xtext_decode(match[2])


def ascii_xtext_decode(text: str) -> str:
    """
    Decode xtext that is to be in a delivery status notification (RFC 3461 sections 4.2, 4.4).

    :raise GrammarError: it is malformed, or has other than printable ASCII within.
    """
    decoded = xtext_decode(text)
    if not decoded.isascii():
        raise GrammarError("non-ASCII characters in xtext")
    return decoded
