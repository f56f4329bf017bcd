"""
Tests for txsmtpd.options; what they come to on the command line, test_tap knows.
"""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from twisted.python.usage import UsageError
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.options import number, one_of, port_number, setting


class ReaderTests(SynchronousTestCase):
    def test_number(self) -> None:
        for text, value in (("0", 0), ("25", 25), ("007", 7), ("1.5", 1.5), ("9" * 18, 10**18 - 1)):
            self.assertEqual(value, number(text))
            self.assertIs(type(value), type(number(text)))

    def test_no_number(self) -> None:
        """
        What only Python takes for one stays as it came.
        """
        for text in ("", "+25", "-1", "2_5", " 25", "25\n", "\u0662", "1e3", ".5", "5.", "9" * 19):
            self.assertEqual(text, number(text))

    def test_port(self) -> None:
        for text, port in (("0", 0), ("25", 25), ("65535", 65535)):
            self.assertEqual(port, port_number("port", text))
        for text in ("65536", "1.5", "", "smtp", "-1"):
            error = self.assertRaises(UsageError, port_number, "smtps", text)
            self.assertEqual(
                "--smtps wants a number from 0 to 65535 or an endpoint such as tcp:2525,"
                f" not {text!r}",
                str(error),
            )

    def test_one_of(self) -> None:
        read = one_of(("red", "green", "blue"))
        self.assertEqual("green", read("green"))
        for text in ("", "Green", "gre"):
            error = self.assertRaises(ValueError, read, text)
            self.assertEqual(f"wants red, green or blue, not {text!r}", str(error))


class SettingTests(SynchronousTestCase):
    def fill(self, method: Any, text: str) -> dict[str, Any]:
        settings: dict[str, Any] = {}
        method(SimpleNamespace(settings=settings), text)
        return settings

    def test_fills(self) -> None:
        timeout = setting("hook-timeout", number, "Seconds.")
        self.assertEqual({"hook_timeout": 5}, self.fill(timeout, "5"))
        limit = setting("size-limit", number, "Bytes.", field="data_size_limit")
        self.assertEqual({"data_size_limit": 0}, self.fill(limit, "0"))

    def test_help(self) -> None:
        self.assertEqual(
            "Seconds. [default: 300]", setting("hook-timeout", number, "Seconds.").__doc__
        )
        other = setting("hostname", str, "Ours.", default="the machine's")
        self.assertEqual("Ours. [default: the machine's]", other.__doc__)

    def test_refused(self) -> None:
        """
        By what reads it, or by the setting.
        """
        for method, text, sentence in (
            (setting("timeout", number, ""), "-1", "wants a number of seconds from 0, not '-1'"),
            (setting("timeout", one_of(("a", "b")), ""), "c", "wants a or b, not 'c'"),
        ):
            error = self.assertRaises(UsageError, self.fill, method, text)
            self.assertEqual(f"--timeout {sentence}", str(error))
