"""
Tests for :mod:`txsmtpd.core.grammar`.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable
from itertools import product
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core import grammar
from txsmtpd.core.grammar import GrammarError, NotASCII

repeatable = settings(derandomize=True, deadline=None, database=None)

# What no address may hold, whatever the switches.
CONTROLS = [chr(code) for code in (*range(0x20), *range(0x7F, 0xA0), 0x2028, 0x2029, 0xFFFD)]
CONTROLS += ["\ud800", "\udc80", "\udfff"]

LOCAL_64 = "l" * 64
# 255 octets; and the longest one that leaves room for "<l@>" in 256.
DOMAIN_255 = ".".join(["d" * 63] * 4)
DOMAIN_252 = DOMAIN_255[:-3]

LOCAL_PARTS = [
    "user", "a.b.c", "1", "!#$%&'*+-/=?^_`{|}~", "-", '""', '" "', '"a b"', '"<>@:,;()[]"',
    r'"\"\\\ \a"', '"a"', '"..a.."', LOCAL_64, '"' + "q" * 62 + '"',
]  # fmt: skip
BAD_LOCAL_PARTS = [
    "", ".", ".a", "a.", "a..b", "a b", "a,b", "a:b", "a;b", "(a)", "a\\b", "[a]", '"', '"""',
    'a"b"', '"a"b', '"a".b', '"a\\"', '"a\\\t"', LOCAL_64 + "l", '"' + "q" * 63 + '"',
]  # fmt: skip
DOMAINS = [
    "x", "1", "example.com", "EXAMPLE.com", "a-b.c--d.xn--p1ai", "1.2.3.4", "a.b.c.d.e.f.g.h",
    "x" * 250,
]  # fmt: skip
BAD_DOMAINS = [
    "", ".", ".x", "x.", "x..y", "-x", "x-", "x.-y", "x-.y", "a_b", "a b", "a@b", "a/b", '"x"',
    "x,y", "x:y", "x" * 256,
]  # fmt: skip
LITERALS = [
    "[127.0.0.1]", "[0.0.0.0]", "[255.255.255.255]", "[001.099.249.250]", "[IPv6:::]",
    "[IPv6:::1]", "[ipV6:fe80::ABCD]", "[IPv6:1:2:3:4:5:6:7:8]", "[IPv6:1:2:3:4:5:6:1.2.3.4]",
    "[IPv6:::ffff:192.0.2.1]", "[X400:c=no]", "[-x-9:!]", '[tag:@<>",:;]', "[IPv6x:%]",
    "[t:" + "x" * 251 + "]",
]  # fmt: skip
BAD_LITERALS = [
    "", "[]", "[", "[1.2.3.4", "1.2.3.4]", "[1.2.3]", "[1.2.3.4.5]", "[1.2.3.256]", "[1.2.3.300]",
    "[1.2.3.0001]", "[1.2.3.]", "[+1.2.3.4]", "[1.2.3.4 ]", "[1.2.3.4]\n", "[::1]", "[IPv6:]",
    "[IPv6:1]", "[IPv6:1::2::3]", "[IPv6:12345::]", "[IPv6:1:2:3:4:5:6:7:8:9]",
    "[IPv6:fe80::1%eth0]", "[IPv6:fe80::1%1]", "[IPv6:::1/64]", "[IPv6:g::]", "[IPv6:::1.2.3.256]",
    "[tag]", "[tag:]", "[:x]", "[tag-:x]", "[t_g:x]", "[tag:a b]", "[tag:a[b]", "[tag:a\\b]",
    "[tag:a]b]", "[t:" + "x" * 252 + "]",
]  # fmt: skip


class GrammarTestCase(SynchronousTestCase):
    def assertRefused(
        self,
        function: Callable[..., object],
        text: str,
        error: type[GrammarError] = GrammarError,
        **switches: bool,
    ) -> None:
        """
        The function refuses the text with just this error, whose message is safe to send.
        """
        with self.assertRaises(GrammarError, msg=repr(text)) as caught:
            function(text, **switches)
        self.assertIs(type(caught.exception), error, repr(text))
        self.assertRegex(str(caught.exception), r"\A[A-Za-z0-9 -]{10,60}\Z")
        self.assertNotIn("canary", str(caught.exception))


class PathTests(GrammarTestCase):
    """
    :func:`grammar.path` reads what follows ``MAIL FROM:`` and ``RCPT TO:``.
    """

    def test_mailbox(self) -> None:
        for local_part in LOCAL_PARTS:
            for host in ["x", "example.com", "[127.0.0.1]", "[IPv6:::1]", '[t:@<>"]']:
                address = f"{local_part}@{host}"
                for utf8 in (False, True):
                    for lenient in (False, True):
                        self.assertEqual(
                            grammar.path(f"<{address}>", utf8=utf8, lenient=lenient),
                            (address, ""),
                        )

    def test_hosts(self) -> None:
        for host in DOMAINS + LITERALS[:-1]:
            self.assertEqual(grammar.path(f"<a@{host}>", utf8=False), (f"a@{host}", ""))

    def test_bad_local_part(self) -> None:
        for local_part in BAD_LOCAL_PARTS:
            self.assertRefused(grammar.path, f"<{local_part}@example.com>", utf8=False)
            self.assertRefused(grammar.path, f"<{local_part}@[127.0.0.1]>", utf8=True)

    def test_bad_host(self) -> None:
        for host in BAD_DOMAINS + BAD_LITERALS:
            self.assertRefused(grammar.path, f"<canary@{host}>", utf8=False)
            self.assertRefused(grammar.path, f'<"canary"@{host}>', utf8=True)

    def test_null(self) -> None:
        self.assertEqual(grammar.path("<>", utf8=False), ("", ""))
        self.assertEqual(grammar.path("<> SIZE=1", utf8=True, lenient=True), ("", "SIZE=1"))
        for text in ["< >", "<<>>", "<><>", "<@>", "<@a:>", "<:>"]:
            self.assertRefused(grammar.path, text, utf8=False)

    def test_postmaster(self) -> None:
        """
        Postmaster needs no domain, in any case, but only in ASCII and without a route.
        """
        for name in ["Postmaster", "postmaster", "POSTMASTER", "pOsTmAsTeR"]:
            self.assertEqual(grammar.path(f"<{name}>", utf8=False), (name, ""))
            self.assertEqual(grammar.path(f"<{name}> X", utf8=True), (name, "X"))
        for text in ["<postmaste>", "<postmasters>", '<"postmaster">', "<@a:postmaster>", "<a>"]:
            self.assertRefused(grammar.path, text, utf8=False)
        self.assertRefused(grammar.path, "<po\u017ftma\u017fter>", utf8=True)

    def test_source_route(self) -> None:
        for route in ["@a", "@a,@b", "@a.example,@b-c.example,@1"]:
            for address in ["user@host", '"a,b:c"@[127.0.0.1]', '""@x']:
                self.assertEqual(grammar.path(f"<{route}:{address}>", utf8=False), (address, ""))
        for route in [
            "a", "@", "@a,", "@a,b", ",@a", "@a, @b", "@a;@b", "@a@b", "@-a", "@[1.2.3.4]",
        ]:  # fmt: skip
            self.assertRefused(grammar.path, f"<{route}:user@host>", utf8=False)
        self.assertRefused(grammar.path, "<@a:@b:user@host>", utf8=False)
        self.assertRefused(grammar.path, "<:user@host>", utf8=False)
        self.assertRefused(grammar.path, "<@a user@host>", utf8=False)

    def test_rest(self) -> None:
        for path in ["a@b", '"<> "@b', "@r:a@b", "Postmaster", "", f"{LOCAL_64}@b"]:
            for rest in ["SIZE=1", "A B=c", "\N{LATIN SMALL LETTER E WITH ACUTE}", "\n"]:
                address = path.removeprefix("@r:")
                for sent in [f"<{path}> {rest}", f"<{path}>   {rest}  "]:
                    self.assertEqual(grammar.path(sent, utf8=False), (address, rest))
            self.assertEqual(grammar.path(f"<{path}>  ", utf8=False), (address, ""))

    def test_bad_rest(self) -> None:
        for rest in ["SIZE=1", "\tSIZE=1", "\n", ">", ">  X", "\u00a0X", "\u3000", "<a@b>"]:
            for utf8 in (False, True):
                with self.assertRaises(GrammarError):
                    grammar.path(f"<a@b>{rest}", utf8=utf8)

    def test_brackets(self) -> None:
        for text in [
            "", " ", "<", ">", "a@b", "<a@b", "a@b>", "<<a@b>>", " <a@b>", "<a@b >", "< a@b>",
        ]:  # fmt: skip
            self.assertRefused(grammar.path, text, utf8=False)

    def test_limits(self) -> None:
        """
        Each limit holds to the octet, whatever the characters weigh.
        """
        for good in [
            f"<{LOCAL_64}@x>",
            f"<l@{DOMAIN_252}>",
            f"<@{'r' * 200}:l@{'x' * 50}>",
            f"<{'é' * 32}@x>",
            f"<l@{'é' * 126}>",
            f"<l@{'📧' * 63}>",
        ]:
            address = good[1:-1].rpartition(":")[2]
            self.assertEqual(grammar.path(good, utf8=True), (address, ""))
        for bad in [
            f"<{LOCAL_64}l@x>",
            f"<l@{DOMAIN_252}d>",
            f"<@{'r' * 200}:l@{'x' * 51}>",
            f"<{'é' * 32}l@x>",
            f"<l@{'é' * 126}x>",
            f"<l@{'📧' * 63}x>",
        ]:
            self.assertRefused(grammar.path, bad, utf8=True)

    def test_utf8(self) -> None:
        for address in [
            "用户@例子.广告", "дом.а@пример.рф", '"é <> é"@x', "\u00a0@\ue000",
            "\U0010ffff@\U0001f4e7.é-é", "a@é",
        ]:  # fmt: skip
            self.assertEqual(grammar.path(f"<{address}> X", utf8=True), (address, "X"))
            self.assertEqual(grammar.path(f"<@é,@x:{address}>", utf8=True), (address, ""))
            self.assertRefused(grammar.path, f"<{address}> X", NotASCII, utf8=False)
            self.assertRefused(grammar.path, f"<{address}>", NotASCII, utf8=False, lenient=True)
        for text in [r'<"\é"@x>', "<é@[t:é]>", "<é@[127.0.0.\u0661]>", "<é.@x>", "<a@-é>", "<é>"]:
            self.assertRefused(grammar.path, text, utf8=True)

    def test_not_ascii(self) -> None:
        """
        Without SMTPUTF8, any non-ASCII path is that first of all: also one that is malformed,
        not UTF-8, or never ends. Behind the path is another matter.
        """
        for text in ["<é>", "<é@@>", "<\ufffd@x>", "<a@b\u0085>", "é", "<é", '<"é@x>', "<é@[>"]:
            self.assertRefused(grammar.path, text, NotASCII, utf8=False)
            self.assertRefused(grammar.path, text, utf8=True)
        self.assertRefused(grammar.path, "<a@@b> é", utf8=False)
        self.assertEqual(grammar.path("<a@b> é", utf8=False), ("a@b", "é"))

    def test_controls(self) -> None:
        for control in CONTROLS:
            for text in [
                f"<a{control}b@x>",
                f'<"a{control}b"@x>',
                f'<"a\\{control}b"@x>',
                f"<a@x{control}y>",
                f"<a@[t:x{control}y]>",
                f"<@r{control}:a@x>",
                f"<{control}>",
                f"<a@x{control}>",
            ]:
                self.assertRefused(grammar.path, text, utf8=True)
                self.assertRefused(grammar.path, text, utf8=True, lenient=True)
                error = GrammarError if control.isascii() else NotASCII
                self.assertRefused(grammar.path, text, error, utf8=False)

    @repeatable
    @given(st.text() | st.text('<>@"\\[]:,. -_aé%IPv6\ufffd\n'), st.booleans(), st.booleans())
    def test_anything(self, text: str, utf8: bool, lenient: bool) -> None:
        """
        Whatever is sent is refused, or gives an address that can be sent on.
        """
        try:
            address, _ = grammar.path(text, utf8=utf8, lenient=lenient)
        except GrammarError:
            return
        self.assertIn(address, text)
        self.assertEqual(grammar.path(f"<{address}>", utf8=utf8, lenient=lenient), (address, ""))
        self.assertFalse(set(address) & set(CONTROLS))
        grammar.split_mailbox(address)


class LenientTests(GrammarTestCase):
    """
    What ``lenient`` forgives, and what it does not.
    """

    forgiven = (
        "a..b.@example.jp", ".a@x", ".@x", "a@b_c._d", "a@x.", "user", '"a b"',
    )  # fmt: skip

    def test_forgiven(self) -> None:
        for address in self.forgiven:
            for text in [f"<{address}>", address, f"<@r_1.:{address}>", f"@r:{address}"]:
                self.assertRefused(grammar.path, text, utf8=False)
                for rest in ["", "SIZE=1"]:
                    self.assertEqual(
                        grammar.path(f"{text}  {rest}", utf8=False, lenient=True),
                        (address, rest),
                    )

    def test_without_brackets(self) -> None:
        for address in ["a@b", '"<a b>"@x', "a@[t:<>]", "Postmaster"]:
            expected = (address, "SIZE=1")
            sent = f"{address} SIZE=1"
            self.assertEqual(grammar.path(sent, utf8=False, lenient=True), expected)

    def test_limits_without_brackets(self) -> None:
        """
        The brackets count, sent or not: so each address can be sent on.
        """
        self.assertEqual(
            grammar.path(f"l@{DOMAIN_252}", utf8=False, lenient=True), (f"l@{DOMAIN_252}", "")
        )
        self.assertRefused(grammar.path, f"l@{DOMAIN_252}d", utf8=False, lenient=True)
        self.assertRefused(grammar.path, f"{LOCAL_64}l", utf8=False, lenient=True)

    def test_not_forgiven(self) -> None:
        for text in [
            "", " ", " a@b", "<", ">", "<a@b", "a@b>", "a@b> <x", "<a@b>>", "<<a@b>>", "a<b>@c",
            "<a b@c>", "a@b\tSIZE=1", "a@b\n", "@x", "a@", "a@b@c", "a@x..", "a@.", "a@-x",
            "a@[1.2.3.4].", "a@[1.2.3.256]", '"a', '"a"b@c',
        ]:  # fmt: skip
            self.assertRefused(grammar.path, text, utf8=False, lenient=True)
            self.assertRefused(grammar.path, text, utf8=True, lenient=True)

    def test_utf8(self) -> None:
        self.assertEqual(grammar.path("é..@é_. X", utf8=True, lenient=True), ("é..@é_.", "X"))
        self.assertRefused(grammar.path, "é..@é_. X", NotASCII, utf8=False, lenient=True)
        self.assertRefused(grammar.path, "é>", NotASCII, utf8=False, lenient=True)


class SplitPathTests(GrammarTestCase):
    """
    :func:`grammar.split_path` finds the end of any path.
    """

    def test_split(self) -> None:
        for path in [
            "<>", "<a@b>", "a@b", '<"> "@b>', '"> "@b', "<a@[t:>]>", "<é \ufffd>", "<a@@>",
        ]:  # fmt: skip
            self.assertEqual(grammar.split_path(path), (path, ""))
            self.assertEqual(grammar.split_path(f"{path}  A  B "), (path, "A  B"))

    def test_endless(self) -> None:
        for text in ["", " ", " <a@b>", "<a@b", '<"a> X', "<a>b X", "a@b> X", "<a@[1.2> X"]:
            self.assertEqual(grammar.split_path(text), (text, ""))

    def test_recipe(self) -> None:
        """
        The example of the docstring.
        """
        for text, expected in [
            ("<é@x> SMTPUTF8", True),
            ("<é@x> BODY=8BITMIME smtputf8", True),
            ("<é@x> SMTPUTF8=1", False),
            ("<SMTPUTF8@é>", False),
        ]:
            utf8 = ("SMTPUTF8", None) in grammar.parameters(grammar.split_path(text)[1], utf8=True)
            self.assertEqual(utf8, expected)


class MailboxTests(GrammarTestCase):
    """
    :func:`grammar.mailbox` judges a mailbox without brackets, :func:`grammar.split_mailbox`
    takes it apart.
    """

    def test_good(self) -> None:
        for local_part in LOCAL_PARTS:
            for host in [*DOMAINS, *LITERALS, DOMAIN_255]:
                address = f"{local_part}@{host}"
                self.assertEqual(grammar.mailbox(address, utf8=False), address)
                self.assertEqual(grammar.mailbox(address, utf8=True, lenient=True), address)
                self.assertEqual(grammar.split_mailbox(address)[1], host)

    def test_bad(self) -> None:
        for local_part in BAD_LOCAL_PARTS:
            self.assertRefused(grammar.mailbox, f"{local_part}@example.com", utf8=False)
        for host in [*BAD_DOMAINS, *BAD_LITERALS, DOMAIN_255 + "d"]:
            self.assertRefused(grammar.mailbox, f"canary@{host}", utf8=False)
        for text in ["", "a", "Postmaster", "<a@b>", "@r:a@b", "a@b ", " a@b", "a@b\n"]:
            self.assertRefused(grammar.mailbox, text, utf8=False)

    def test_not_ascii(self) -> None:
        self.assertEqual(grammar.mailbox("é@é", utf8=True), "é@é")
        self.assertRefused(grammar.mailbox, "é@x", NotASCII, utf8=False)
        self.assertRefused(grammar.mailbox, "\ufffd", NotASCII, utf8=False)
        self.assertRefused(grammar.mailbox, "\ufffd@x", utf8=True)

    def test_lenient(self) -> None:
        for address in LenientTests.forgiven:
            self.assertEqual(grammar.mailbox(address, utf8=False, lenient=True), address)
            self.assertRefused(grammar.mailbox, address, utf8=False)
        self.assertRefused(grammar.mailbox, "", utf8=False, lenient=True)

    def test_split(self) -> None:
        for address, parts in [
            ("", ("", "")),
            ("Postmaster", ("Postmaster", "")),
            ("a.b@example.com", ("a.b", "example.com")),
            ('""@x', ("", "x")),
            ('"a@b"@x', ("a@b", "x")),
            (r'"a\"@\\\b "@x', (r'a"@\b ', "x")),
            ('"a"', ("a", "")),
            ('a@[t:"@"]', ("a", '[t:"@"]')),
            ('"a"@[t:"@b"@]', ("a", '[t:"@b"@]')),
            ("é@é", ("é", "é")),
        ]:
            self.assertEqual(grammar.split_mailbox(address), parts)

    def test_split_malformed(self) -> None:
        for address in ['"', '"a', '"a"b@x', 'a"b"@x', '"a\\"@x']:
            self.assertRefused(grammar.split_mailbox, address)


class HostTests(GrammarTestCase):
    """
    :func:`grammar.host` judges the argument of EHLO; a domain and a literal can stand alone.
    """

    def test_good(self) -> None:
        for name in [*DOMAINS, DOMAIN_255]:
            self.assertEqual(grammar.domain(name), name)
        for literal in LITERALS:
            self.assertEqual(grammar.address_literal(literal), literal)
        for text in [*DOMAINS, *LITERALS, DOMAIN_255]:
            self.assertEqual(grammar.host(text), text)
            self.assertEqual(grammar.host(text, lenient=True), text)

    def test_bad(self) -> None:
        for text in [*BAD_DOMAINS, *LITERALS, DOMAIN_255 + "d", "x\n"]:
            self.assertRefused(grammar.domain, text)
        for text in [*BAD_LITERALS, *DOMAINS]:
            self.assertRefused(grammar.address_literal, text)
        for text in [*BAD_DOMAINS, *BAD_LITERALS, DOMAIN_255 + "d", "x\n"]:
            self.assertRefused(grammar.host, text)

    def test_switches(self) -> None:
        self.assertEqual(grammar.domain("é.é", utf8=True), "é.é")
        self.assertEqual(grammar.domain("a_b.", lenient=True), "a_b.")
        self.assertRefused(grammar.domain, "é" * 127 + "xx", utf8=True)
        self.assertRefused(grammar.domain, "x..", lenient=True)

    def test_lenient(self) -> None:
        for text in ["_", "host_name.", "[10.0.0.1", "!", "~", "::1", "<x>", "x" * 255]:
            self.assertRefused(grammar.host, "\t" + text)
            self.assertEqual(grammar.host(text, lenient=True), text)
        for text in ["", " ", "a b", "a ", "a\n", "a\x00", "\x7f", "x" * 256]:
            self.assertRefused(grammar.host, text, lenient=True)

    def test_not_ascii(self) -> None:
        for text in ["é", "\u0661", "\u212aelvin", "a\u00a0b", "\ufffd", "\x85", "\udc80"]:
            self.assertRefused(grammar.host, text, NotASCII)
            self.assertRefused(grammar.host, text, NotASCII, lenient=True)
            self.assertRefused(grammar.domain, text, NotASCII)
            self.assertRefused(grammar.address_literal, f"[{text}]", NotASCII)


class ParametersTests(GrammarTestCase):
    """
    :func:`grammar.parameters` and :func:`grammar.words` read what follows a path.
    """

    def test_good(self) -> None:
        for text, expected in [
            ("", []),
            ("  ", []),
            ("SIZE=1000", [("SIZE", "1000")]),
            ("size=1000 BODY=8bitMIME", [("SIZE", "1000"), ("BODY", "8bitMIME")]),
            (" A   b-1- ", [("A", None), ("B-1-", None)]),
            ("A A=1 a=2", [("A", None), ("A", "1"), ("A", "2")]),
            ('8=!<>~+,;:"\\', [("8", '!<>~+,;:"\\')]),
            ("A=" + "v" * 500, [("A", "v" * 500)]),
        ]:
            for utf8 in (False, True):
                self.assertEqual(grammar.parameters(text, utf8=utf8), expected)

    def test_words(self) -> None:
        """
        The words keep the case that they were sent in.
        """
        self.assertEqual(grammar.words(" Ret=hdrs  smtputf8", utf8=False), ["Ret=hdrs", "smtputf8"])
        self.assertEqual(grammar.keyword_value("Ret=hdrs"), ("RET", "hdrs"))
        self.assertEqual(grammar.keyword_value("smtputf8"), ("SMTPUTF8", None))

    def test_bad(self) -> None:
        for text in [
            "=", "=1", "A=", "A==", "A=1=2", "A= 1", "A =1", "-A", "A_B", "A,B", "<a@b>", "A\tB",
            "A\n", "A=1\r\nB", "A=\x00", "A=\x7f",
        ]:  # fmt: skip
            for utf8 in (False, True):
                self.assertRefused(grammar.parameters, text, utf8=utf8)
                self.assertRefused(grammar.words, "GOOD " + text, utf8=utf8)
        for word in ["", "A=", "A B", "A\n", "\u017fIZE=1"]:
            self.assertRefused(grammar.keyword_value, word)

    def test_utf8(self) -> None:
        """
        With SMTPUTF8, values may be non-ASCII, but never keywords or what separates them.
        """
        self.assertEqual(grammar.parameters("A=é", utf8=True), [("A", "é")])
        self.assertEqual(grammar.words("A=\u3000", utf8=True), ["A=\u3000"])
        self.assertRefused(grammar.parameters, "A=é", NotASCII, utf8=False)
        for text in ["é", "\u017fIZE=1", "SMTPUTF\u0668", "A\u2003B", "A\u00a0", "A\u3000=1"]:
            self.assertRefused(grammar.parameters, text, utf8=True)
            self.assertRefused(grammar.parameters, text, NotASCII, utf8=False)
        for control in CONTROLS:
            self.assertRefused(grammar.parameters, f"A=b{control}c", utf8=True)

    @repeatable
    @given(st.text() | st.text("aB1-= é\n"), st.booleans())
    def test_anything(self, text: str, utf8: bool) -> None:
        try:
            words = grammar.words(text, utf8=utf8)
        except GrammarError:
            return
        self.assertEqual("".join(words), text.replace(" ", ""))
        self.assertEqual(
            grammar.parameters(text, utf8=utf8),
            [grammar.keyword_value(word) for word in words],
        )
        self.assertTrue(all(word.partition("=")[0].isascii() for word in words))


class XtextTests(GrammarTestCase):
    """
    xtext carries any text but control characters (RFC 3461 section 4).
    """

    def test_both_ways(self) -> None:
        for text, encoded in [
            ("", ""),
            ("QQ314159", "QQ314159"),
            ("a+b=c d", "a+2Bb+3Dc+20d"),
            ("!*,-<>~", "!*,-<>~"),
            ("é", "+C3+A9"),
            ("\U0001f4e7", "+F0+9F+93+A7"),
        ]:
            self.assertEqual(grammar.xtext_encode(text), encoded)
            self.assertEqual(grammar.xtext_decode(encoded), text)

    def test_needless_hexchar(self) -> None:
        self.assertEqual(grammar.xtext_decode("+41+2B4+31"), "A+41")

    def test_malformed(self) -> None:
        for text in [
            "+", "+2", "a+", "+2b", "+4g", "+ 1", "++2B", "+-1", "+0x", "=", "a b", "a\n", "é",
        ]:  # fmt: skip
            self.assertRefused(grammar.xtext_decode, text)
        self.assertRefused(grammar.xtext_decode, "+\u0661\u0661")

    def test_hidden(self) -> None:
        """
        What is no text or would be a control character does not come out of xtext, nor go in.
        """
        for hidden in ["+0D+0A", "+00", "+09", "+7F", "+C2+85", "+E2+80+A8", "+EF+BF+BD"]:
            self.assertRefused(grammar.xtext_decode, f"a{hidden}b")
        for invalid in ["+FF", "+C3", "+A9", "+C0+8A", "+ED+A0+80", "+F4+90+80+80"]:
            self.assertRefused(grammar.xtext_decode, invalid)
        for control in CONTROLS:
            self.assertRefused(grammar.xtext_encode, f"a{control}b")

    @repeatable
    @given(st.text())
    def test_round_trip(self, text: str) -> None:
        if set(text) & set(CONTROLS):
            self.assertRefused(grammar.xtext_encode, text)
        else:
            encoded = grammar.xtext_encode(text)
            self.assertEqual(grammar.words(f"X=.{encoded}", utf8=False), [f"X=.{encoded}"])
            self.assertEqual(grammar.xtext_decode(encoded), text)

    @repeatable
    @given(st.text() | st.text("+0123456789ABCDEFax"))
    def test_anything(self, text: str) -> None:
        try:
            decoded = grammar.xtext_decode(text)
        except GrammarError:
            return
        self.assertEqual(grammar.xtext_decode(grammar.xtext_encode(decoded)), decoded)


class UnitextTests(GrammarTestCase):
    """
    Addresses of the type utf-8 (RFC 6533 section 3).
    """

    def test_decoded(self) -> None:
        for text, decoded in [
            ("plain@example.net", "plain@example.net"),
            ("j\\x{F6}rg", "jörg"),
            ("j\\x{f6}rg", "jörg"),
            ("jörg@例.example", "jörg@例.example"),
            ("\\x{4F8B}\\x{1F4E7}\\x{10FFFD}", "例\U0001f4e7\U0010fffd"),
            ("a\\x{2B}b\\x{3D}c\\x{20}d\\x{5C}e", "a+b=c d\\e"),
            ("x{F6}", "x{F6}"),
        ]:
            self.assertEqual(grammar.unitext_decode(text), decoded)

    def test_malformed(self) -> None:
        for text in [
            "", "a+b", "a=b", "a b", "\\", "a\\", "\\x", "\\x{", "\\x{}", "\\x{E", "\\x{E}",
            "\\xE9", "\\X{E9}", "\\x{G1}", "\\x{0E9}", "\\x{00E9}", "\\x{110000}", "\\x{1000000}",
            "\\\\",
            "\\x{\u0661\u0661}", "\\x{ E9}", "a\n",
        ]:  # fmt: skip
            self.assertRefused(grammar.unitext_decode, text)

    def test_needless(self) -> None:
        """
        A character that can stand for itself must.
        """
        for point in range(0x21, 0x7F):
            text = f"\\x{{{point:02X}}}"
            if chr(point) in "+=\\":
                self.assertEqual(grammar.unitext_decode(text), chr(point))
            else:
                self.assertRefused(grammar.unitext_decode, text)

    def test_hidden(self) -> None:
        for control in CONTROLS:
            self.assertRefused(grammar.unitext_decode, f"a\\x{{{ord(control):02X}}}b")
            self.assertRefused(grammar.unitext_decode, f"a{control}b")

    @repeatable
    @given(st.text(min_size=1))
    def test_round_trip(self, text: str) -> None:
        encoded = "".join(
            c if "!" <= c <= "~" and c not in "+=\\" else f"\\x{{{ord(c):02X}}}" for c in text
        )
        if set(text) & set(CONTROLS):
            self.assertRefused(grammar.unitext_decode, encoded)
        else:
            self.assertEqual(grammar.unitext_decode(encoded), text)


class TypedAddressTests(GrammarTestCase):
    """
    Addresses that say what they are (RFC 3461 section 4.2).
    """

    def test_types(self) -> None:
        for text, address in [
            ("rfc822;a+2Bb@c", ("rfc822", "a+b@c")),
            ("RFC822;A@B", ("rfc822", "A@B")),
            ("rfc822;", ("rfc822", "")),
            ("x-y!#;a;b", ("x-y!#", "a;b")),
            ("Utf-8;\\x{E9}", ("utf-8", "é")),
            ("rfc822;\\x{E9}", ("rfc822", "\\x{E9}")),
        ]:
            self.assertEqual(grammar.typed_address(text), address)

    def test_malformed(self) -> None:
        for text in [
            "", ";", "rfc822", ";a", "a b;c", "a.b;c", "a@b;c", "(a);c", "é;a", "rfc822;+",
            "utf-8;", "utf-8;a+2Bb", "rfc822;+C3+A9", "rfc822;+0A", "rfc822;a\n", "\u212a;a",
        ]:  # fmt: skip
            self.assertRefused(grammar.typed_address, text)

    def test_ascii_only(self) -> None:
        self.assertEqual(grammar.ascii_xtext_decode("a+20b"), "a b")
        for text in ["+C3+A9", "é", "+", "+0D"]:
            self.assertRefused(grammar.ascii_xtext_decode, text)


class CapitalsTests(GrammarTestCase):
    """
    Keywords in capitals.
    """

    def test_upper(self) -> None:
        self.assertEqual(grammar.ascii_upper("8bitMime-x"), "8BITMIME-X")
        self.assertEqual(grammar.ascii_upper("\u0131\u017f\xdf\u212aé"), "\u0131\u017f\xdf\u212aé")


def joined(separator: str, parts: st.SearchStrategy[str], count: int) -> st.SearchStrategy[str]:
    return st.lists(parts, min_size=1, max_size=count).map(separator.join)


# The ABNF once more, this time as what makes texts. None comes near a limit.
alphanumeric = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
hyphens = st.sampled_from(["-", "--", ""])
non_ascii = "é例\u00a0\U0001f4e7"


def mailboxes(more: str = "") -> st.SearchStrategy[tuple[str, str, str]]:
    """
    Mailboxes: how one is spelled, its local part without quoting, its domain.
    """
    graphic = "".join(map(chr, range(33, 127)))
    atom = st.text(alphanumeric + more + "!#$%&'*+-/=?^_`{|}~", min_size=1, max_size=5)
    dot_string = joined(".", atom, 3).map(lambda text: (text, text))
    content = st.one_of(
        st.sampled_from([c for c in graphic + " " + more if c not in '"\\']).map(lambda c: (c, c)),
        st.sampled_from(graphic + " ").map(lambda c: ("\\" + c, c)),
    )
    quoted_string = st.lists(content, max_size=10).map(
        lambda pairs: (f'"{"".join(p[0] for p in pairs)}"', "".join(p[1] for p in pairs))
    )
    host = st.one_of(
        domains(more),
        st.ip_addresses(v=4).map(lambda ip: f"[{ip}]"),
        st.ip_addresses(v=6).map(lambda ip: f"[IPv6:{ip}]"),
        st.ip_addresses(v=6).map(lambda ip: f"[ipv6:{ip.exploded.upper()}]"),
        st.text([c for c in graphic if c not in "[\\]"], min_size=1, max_size=9).map(
            lambda text: f"[a-Tag:{text}]"
        ),
    )
    return st.tuples(dot_string | quoted_string, host).map(
        lambda parts: (f"{parts[0][0]}@{parts[1]}", parts[0][1], parts[1])
    )


def domains(more: str = "") -> st.SearchStrategy[str]:
    run = st.text(alphanumeric + more, min_size=1, max_size=4)
    label = st.tuples(run, hyphens, run).map("".join)
    return joined(".", label, 3)


class RoundTripTests(GrammarTestCase):
    """
    What the ABNF makes, the grammar reads.
    """

    def check(self, mailbox: tuple[str, str, str], route: str, bare: bool, utf8: bool) -> None:
        address, local_part, host = mailbox
        self.assertEqual(grammar.mailbox(address, utf8=utf8), address)
        self.assertEqual(grammar.split_mailbox(address), (local_part, host))
        self.assertEqual(grammar.host(host) if host.isascii() else host, host)
        path = f"{route}{address}" if bare else f"<{route}{address}>"
        self.assertEqual(grammar.split_path(f"{path} A B"), (path, "A B"))
        self.assertEqual(grammar.path(f"{path} A", utf8=utf8, lenient=bare), (address, "A"))

    routes = st.just("") | joined(",", domains().map("@".__add__), 3).map(lambda text: f"{text}:")

    @repeatable
    @given(mailboxes(), routes, st.booleans(), st.booleans())
    def test_ascii(self, mailbox: tuple[str, str, str], route: str, bare: bool, utf8: bool) -> None:
        self.check(mailbox, route, bare, utf8)

    @repeatable
    @given(mailboxes(non_ascii), routes, st.booleans())
    def test_utf8(self, mailbox: tuple[str, str, str], route: str, bare: bool) -> None:
        self.check(mailbox, route, bare, utf8=True)
        if not mailbox[0].isascii():
            self.assertRefused(grammar.path, f"<{route}{mailbox[0]}>", NotASCII, utf8=False)

    @repeatable
    @given(st.text(max_size=20))
    def test_quoting(self, text: str) -> None:
        """
        Any text without controls can be a quoted local part.
        """
        quoted = text.replace("\\", "\\\\").replace('"', '\\"')
        address = f'"{quoted}"@x'
        self.assertEqual(grammar.split_mailbox(address), (text, "x"))
        if set(text) & set(CONTROLS) or len(quoted.encode()) > 62:
            self.assertRefused(grammar.mailbox, address, utf8=True)
        else:
            self.assertEqual(grammar.path(f"<{address}>", utf8=True), (address, ""))


class TimeTests(SynchronousTestCase):
    """
    Nothing that a client can send takes more than linear time.
    """

    size = 12 * 1024
    # Linear takes a millisecond or two. Quadratic takes a second or more, even at regex speed.
    seconds = 0.25

    units = (
        '"', '\\"', '"\\"', "\\", "a-", "-", "a.", "a", ".", "@a,", "@a-,", "a@", "<", "<>", "[",
        "[a]", '["', "(", " ", "a ", "a=", "+41", ":", "1:", "é",
        "\\x{", "\\x{E9}", ";",
    )  # fmt: skip
    heads = ("", "<", '<"', "<@a:b@", "[IPv6:", "A=", "utf-8;", "rfc822;")
    tails = ("", ">", "\x00")

    def texts(self) -> Iterable[str]:
        for unit, head, tail in product(self.units, self.heads, self.tails):
            yield head + unit * (self.size // len(unit)) + tail

    def test_nasty(self) -> None:
        functions: list[Callable[[str], Any]] = [
            lambda text: grammar.path(text, utf8=False),
            lambda text: grammar.path(text, utf8=True, lenient=True),
            grammar.split_path,
            lambda text: grammar.mailbox(text, utf8=True),
            lambda text: grammar.mailbox(text, utf8=False, lenient=True),
            grammar.split_mailbox,
            grammar.host,
            lambda text: grammar.parameters(text, utf8=True),
            grammar.xtext_encode,
            grammar.xtext_decode,
            grammar.unitext_decode,
            grammar.typed_address,
        ]
        for text in self.texts():
            started = time.process_time()
            for function in functions:
                with contextlib.suppress(GrammarError):
                    function(text)
            spent = time.process_time() - started
            self.assertLess(spent, self.seconds, f"{text[:8]}...{text[-8:]}")
