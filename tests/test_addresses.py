"""
Tests for txsmtpd.core.addresses.
"""

from __future__ import annotations

from ipaddress import ip_address

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.addresses import host_address, unmapped


class UnmappedTests(SynchronousTestCase):
    """
    RFC 4291 section 2.5.5.2.
    """

    def test_mapped(self) -> None:
        for text in ("::ffff:192.0.2.1", "::FFFF:c000:201", "0:0:0:0:0:ffff:192.0.2.1"):
            self.assertEqual(ip_address("192.0.2.1"), unmapped(ip_address(text)))
        self.assertEqual(ip_address("0.0.0.0"), unmapped(ip_address("::ffff:0.0.0.0")))

    def test_others(self) -> None:
        """
        Other ways to have an IPv4 address within are no other ways to write one.
        """
        for text in ("192.0.2.1", "2001:db8::1", "::", "::1", "::192.0.2.1", "64:ff9b::192.0.2.1"):
            self.assertEqual(ip_address(text), unmapped(ip_address(text)))


class HostAddressTests(SynchronousTestCase):
    def test_read(self) -> None:
        for host, address in {
            "192.0.2.1": "192.0.2.1",
            "::ffff:192.0.2.1": "192.0.2.1",
            "2001:DB8::1": "2001:db8::1",
            "fe80::1%eth0": "fe80::1",
            "::ffff:192.0.2.1%2": "192.0.2.1",
        }.items():
            self.assertEqual(ip_address(address), host_address(host))

    def test_none(self) -> None:
        for host in ("", "mx.example", "%eth0", "192.0.2", "127.1", None, 1, b"192.0.2.1"):
            self.assertRaises(ValueError, host_address, host)
