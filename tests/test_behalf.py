"""
Tests for :mod:`txsmtpd.extensions.behalf`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import SimpleNamespace
from typing import Any, ClassVar

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.replies import Declined, Rejected
from txsmtpd.core.session import Session
from txsmtpd.core.settings import Settings
from txsmtpd.extensions.behalf import (
    UNAVAILABLE,
    OnBehalf,
    Reader,
    address,
    harmless,
    host_name,
    may_speak,
    one_of,
    optional,
    port,
)

PROXY, CLIENT = ("192.0.2.1", 1025), ("198.51.100.7", 40000)


class MaySpeakTests(SynchronousTestCase):
    """
    Who may say who somebody else is.
    """

    def may(self, via: Any, *trusted: str, proxy: Any = None) -> bool:
        return may_speak(Settings(trusted_proxies=trusted), Session(via=via, proxy=proxy))

    def test_named(self) -> None:
        self.assertTrue(self.may(PROXY, "192.0.2.0/24"))
        self.assertTrue(self.may(("::ffff:192.0.2.1", 1, 0, 0), "192.0.2.0/24"))
        self.assertFalse(self.may(PROXY, "192.0.3.0/24"))

    def test_nobody_is_named(self) -> None:
        """
        Nobody may, not even who is believed without being named.
        """
        for via in (PROXY, ("127.0.0.1", 1), ("::1", 1, 0, 0), b"/run/socket", None):
            self.assertFalse(self.may(via))

    def test_no_address(self) -> None:
        self.assertFalse(self.may(b"/run/socket", "0.0.0.0/0", "::/0"))
        self.assertFalse(self.may(None, "0.0.0.0/0", "::/0"))

    def test_the_client_is_not_asked(self) -> None:
        """
        An address that XCLIENT has made up gives no rights, and takes none.
        """
        settings = Settings(trusted_proxies=["192.0.2.0/24"])
        self.assertTrue(may_speak(settings, Session(via=PROXY, peer=CLIENT)))
        self.assertFalse(may_speak(settings, Session(via=CLIENT, peer=PROXY)))

    def test_behind_a_header(self) -> None:
        """
        What comes behind a PROXY header is what the client of that proxy says.
        """
        client = SimpleNamespace(own=False, peer=CLIENT)
        self.assertFalse(self.may(PROXY, "192.0.2.0/24", proxy=client))
        self.assertTrue(self.may(PROXY, "192.0.2.0/24", "198.51.100.0/24", proxy=client))
        self.assertFalse(self.may(PROXY, "198.51.100.0/24", proxy=client))
        itself = SimpleNamespace(own=True, peer=None)
        self.assertTrue(self.may(PROXY, "192.0.2.0/24", proxy=itself))

    def test_behind_a_header_of_an_unknown_client(self) -> None:
        """
        The address of the socket stays, but it is not the proxy who speaks.
        """
        unknown = SimpleNamespace(own=False, peer=None)
        self.assertFalse(self.may(PROXY, "0.0.0.0/0", "::/0", proxy=unknown))


class ReaderTests(SynchronousTestCase):
    """
    What values mean.
    """

    def assertRefused(self, read: Callable[[str], str], *texts: str) -> None:
        for text in texts:
            self.assertRaises(ValueError, read, text)

    def test_address(self) -> None:
        for text, expected in {
            "203.0.113.9": "203.0.113.9",
            "IPV6:2001:DB8::0:1": "2001:db8::1",
            "ipv6:2001:db8::1": "2001:db8::1",
            "IPv6:::1": "::1",
            "IPV6:::ffff:203.0.113.9": "203.0.113.9",
            "IPV6:::ffff:cb00:7109": "203.0.113.9",
        }.items():
            self.assertEqual(address(text), expected)
        self.assertRefused(
            address, "", "2001:db8::1", "IPV6:203.0.113.9", "203.0.113", "203.0.113.09"
        )
        self.assertRefused(address, "IPV6:fe80::1%eth0", "IPV6:", "[203.0.113.9]", "localhost", "1")
        self.assertRefused(address, "203.0.113.\u0669", "IPV6:2001:db8::\u0661", "203.0.113.9 ")

    def test_port(self) -> None:
        for text, expected in {"0": "0", "25": "25", "00025": "25", "65535": "65535"}.items():
            self.assertEqual(port(text), expected)
        self.assertRefused(port, "", "65536", "000025", "-1", "+1", "1_0", " 1", "\u0661", "smtp")

    def test_host_name(self) -> None:
        for text in ("client.example", "under_score.example", "a", "root.example."):
            self.assertEqual(host_name(text), text)
        self.assertRefused(
            host_name, "", "-a", "a..b", "a b", "[203.0.113.9]", "caf\u00e9", "a" * 256
        )

    def test_harmless(self) -> None:
        self.assertEqual(harmless("a.b-[c]:d=1"), "a.b-[c]:d=1")
        self.assertEqual(harmless('<a> (b)\\c";@d\u00e9\u2028'), "?a???b??c???d??")

    @given(st.text())
    def test_harmless_everything(self, text: str) -> None:
        self.assertRegex(harmless(text), r"\A[!-~]*\Z")
        self.assertNotRegex(harmless(text), r'[<>()\\";@]')

    def test_one_of(self) -> None:
        read = one_of("SMTP", "ESMTP")
        for text in ("ESMTP", "esmtp", "eSmTp"):
            self.assertEqual(read(text), "ESMTP")
        self.assertRefused(read, "", "LMTP", "\u017fmtp", "SMTP ")

    def test_optional(self) -> None:
        read = optional(port, "[LATER]")
        self.assertEqual(read("25"), "25")
        self.assertEqual(read("[unavailable]"), UNAVAILABLE)
        self.assertEqual(read("[Later]"), "[LATER]")
        self.assertRefused(read, "UNAVAILABLE", "[]", "")


class OnBehalfTests(SynchronousTestCase):
    def run_with(self, argument: str, via: Any = PROXY) -> Any:
        """
        What XFORWARD and its like come to with this argument.
        """

        class Shown(OnBehalf):
            name = "XSHOWN"
            readers: ClassVar[Mapping[str, Reader]] = {"PORT": port, "NAME": optional(str)}

            def said(self, context: Any, attributes: dict[str, str]) -> Any:
                return attributes

        shown = Shown(Settings(trusted_proxies=["192.0.2.0/24"]))
        return shown.verbs()["XSHOWN"].run(SimpleNamespace(session=Session(via=via)), argument)

    def test_attributes(self) -> None:
        for argument, expected in {
            "PORT=25": {"PORT": "25"},
            "port=25 Name=a+20b": {"PORT": "25", "NAME": "a b"},
            "  PORT=25   NAME=[unavailable]": {"PORT": "25", "NAME": UNAVAILABLE},
            "NAME=" + "x" * 255: {"NAME": "x" * 255},
        }.items():
            self.assertEqual(self.run_with(argument), expected)

    def test_malformed(self) -> None:
        for argument, text in {
            "": "Syntax: XSHOWN attribute=value...",
            "PORT": "Syntax: XSHOWN attribute=value...",
            "PORT=": "Syntax: XSHOWN attribute=value...",
            "PORT =25": "Syntax: XSHOWN attribute=value...",
            "=25": "Bad XSHOWN attribute name",
            "FOO=bar": "Bad XSHOWN attribute name",
            "\u017fPORT=25": "Bad XSHOWN attribute name",
            "PORT=25 port=25": "PORT given twice",
            "PORT=x": "Bad PORT syntax",
            "NAME=a=b": "Bad NAME syntax",
            "NAME=a+2": "Bad NAME syntax",
            "NAME=+0D+0A": "Bad NAME syntax",
            "NAME=+FF": "Bad NAME syntax",
            "NAME=\u00e9": "Bad NAME syntax",
            "NAME=" + "x" * 256: "Bad NAME syntax",
        }.items():
            error = self.assertRaises(Rejected, self.run_with, argument)
            self.assertEqual(str(error.reply), f"501 5.5.4 {text}")

    def test_not_trusted(self) -> None:
        """
        That is no mistake of the client's.
        """
        error = self.assertRaises(Declined, self.run_with, "FOO", CLIENT)
        self.assertEqual(str(error.reply), "550 5.7.0 Insufficient authorization")
        # As in Postfix.
        self.assertRaises(Rejected, self.run_with, "", CLIENT)

    def test_says_nothing(self) -> None:
        """
        What comes of it is said by each of the two commands.
        """

        class Silent(OnBehalf):
            name = "XSILENT"
            readers: ClassVar[Mapping[str, Reader]] = {"PORT": port}

        silent = Silent(Settings(trusted_proxies=["192.0.2.0/24"]))
        context: Any = SimpleNamespace(session=Session(via=PROXY))
        run = silent.verbs()["XSILENT"].run
        self.assertRaises(NotImplementedError, run, context, "PORT=25")
