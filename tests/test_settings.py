"""
Tests for :mod:`txsmtpd.core.settings`.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.settings import Settings
from txsmtpd.sasl import MECHANISMS

COUNTS = [
    "data_size_limit", "line_length_limit", "max_recipients", "max_errors", "max_connections",
    "max_connections_per_host", "content_memory",
]  # fmt: skip
SECONDS = ["timeout", "data_timeout", "hook_timeout", "session_timeout"]
BOOLEANS = ["enable_SMTPUTF8", "decode_data", "lenient"]


class SettingsTests(SynchronousTestCase):
    """
    Every setting has a default and a check.
    """

    def assertTaken(self, name: str, *values: object) -> None:
        for value in values:
            keywords: dict[str, Any] = {name: value}
            self.assertEqual(value, getattr(Settings(**keywords), name))

    def assertRefused(self, name: str, *values: object) -> None:
        """
        A bad value is an error that says which setting it is about.
        """
        for value in values:
            keywords: dict[str, Any] = {name: value}
            with self.assertRaises((TypeError, ValueError), msg=f"{name} {value!r}") as caught:
                Settings(**keywords)
            self.assertIn(name, str(caught.exception))

    def test_defaults(self) -> None:
        settings = Settings()
        for name, value in {
            "hostname": "", "ident": "ESMTP txsmtpd", "data_size_limit": 33554432,
            "enable_SMTPUTF8": True, "decode_data": False, "bare_newline": "normalize",
            "line_length_limit": 0, "unknown_parameters": "reject", "lenient": False,
            "max_recipients": 1000, "max_errors": 20, "max_connections": 1000,
            "max_connections_per_host": 0, "content_memory": 268435456, "timeout": 300,
            "data_timeout": 300, "hook_timeout": 300, "session_timeout": 0,
        }.items():  # fmt: skip
            self.assertEqual(value, getattr(settings, name), name)

    def test_frozen(self) -> None:
        self.assertRaises(AttributeError, setattr, Settings(), "timeout", 1)

    def test_unknown(self) -> None:
        keywords: dict[str, Any] = {"time_out": 1}
        self.assertRaises(TypeError, Settings, **keywords)

    def test_mechanisms_by_name(self) -> None:
        for name in ("auth_mechanism", "auth_exclude_mechanism"):
            self.assertEqual(frozenset(), getattr(Settings(), name))
            keywords: dict[str, Any] = {name: ["plain", "LOGIN"]}
            self.assertEqual(frozenset(("PLAIN", "LOGIN")), getattr(Settings(**keywords), name))
            # Each of its letters would be a name.
            keywords = {name: "PLAIN"}
            self.assertRaises(ValueError, Settings, **keywords)

    def test_counts(self) -> None:
        for name in COUNTS:
            self.assertTaken(name, 0, 1, 2**40)
            self.assertRefused(name, -1, 1.5, "1", True)

    def test_no_size_limit(self) -> None:
        """
        aiosmtpd spells "no limit" None.
        """
        keywords: dict[str, Any] = {"data_size_limit": None}
        self.assertEqual(0, Settings(**keywords).data_size_limit)

    def test_seconds(self) -> None:
        for name in SECONDS:
            self.assertTaken(name, 0, 1, 0.5)
            self.assertRefused(name, -1, "1", None, False, float("nan"), float("inf"))

    def test_data_timeout(self) -> None:
        """
        It is as `timeout` unless it is given.
        """
        self.assertEqual(7, Settings(timeout=7).data_timeout)
        self.assertEqual(8, Settings(timeout=7, data_timeout=8).data_timeout)

    def test_booleans(self) -> None:
        for name in BOOLEANS:
            self.assertTaken(name, True, False)
            self.assertRefused(name, 1, "yes", None)

    def test_choices(self) -> None:
        self.assertTaken("bare_newline", "reject", "normalize", "keep")
        self.assertRefused("bare_newline", "", "Keep", None)
        self.assertTaken("unknown_parameters", "reject", "ignore", "pass")
        self.assertRefused("unknown_parameters", "", "accept", None)

    def test_networks(self) -> None:
        settings = Settings(trusted_proxies=["192.0.2.0/24", "2001:db8::1"])
        self.assertEqual(["192.0.2.0/24", "2001:db8::1/128"], [*map(str, settings.trusted_proxies)])
        self.assertRefused("trusted_proxies", "192.0.2.0/24", ["192.0.2.1/24"], ["localhost"], [""])

    def test_trusts(self) -> None:
        """
        Only who is named, by an address.
        """
        named = Settings(trusted_proxies=["192.0.2.0/24", "2001:db8::/32"])
        for address, expected in {
            ("192.0.2.255", 1): True,
            ("192.0.3.0", 1): False,
            ("::ffff:192.0.2.1", 1, 0, 0): True,
            ("2001:db8::1%eth0", 1, 0, 2): True,
            ("127.0.0.1", 1): False,
            b"/run/socket": False,
            None: False,
        }.items():
            self.assertIs(expected, named.trusts(address), address)
            self.assertIs(False, Settings().trusts(address))

    def test_believes(self) -> None:
        """
        Where nobody is named, this machine.
        """
        named = Settings(trusted_proxies=["192.0.2.0/24"])
        for address, expected, by_default in (
            (("192.0.2.1", 1), True, False),
            (("127.0.0.1", 1), False, True),
            (("::1", 1, 0, 0), False, True),
            (("::ffff:127.0.0.1", 1, 0, 0), False, True),
            (b"/run/socket", True, True),
            (b"", True, True),
            (None, False, False),
        ):
            self.assertIs(expected, named.believes(address), address)
            self.assertIs(by_default, Settings().believes(address), address)

    def test_hostname(self) -> None:
        self.assertTaken("hostname", "", "mx.example", "[192.0.2.1]", "h" * 255)
        self.assertRefused(
            "hostname", "mx example", "mx\r\n", "mx\x00", "\u00e9.example", b"mx", None, "h" * 256
        )

    def test_ident(self) -> None:
        self.assertTaken("ident", "", "ESMTP", "ESMTP my server")
        self.assertRefused("ident", "a\nb", "a\tb", "caf\u00e9", b"ESMTP", None)

    def test_several(self) -> None:
        """
        What is looked at more than once may be given as an iterator.
        """
        self.assertEqual(Settings(mechanisms=iter(MECHANISMS)).mechanisms, MECHANISMS)
        self.assertIsNone(Settings().mechanisms)
