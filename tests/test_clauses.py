"""
Tests for :mod:`txsmtpd.core.clauses`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.replies import Rejected
from txsmtpd.core.session import Session
from txsmtpd.core.settings import UNKNOWN_PARAMETERS
from txsmtpd.extensions.base import Extension

from .corekit import (
    EXTENSIONS,
    Client,
    Handler,
    greeted,
)


class UTF8Tests(SynchronousTestCase):
    """
    Non-ASCII addresses want SMTPUTF8 (RFC 6531).
    """

    def test_sender(self) -> None:
        client = greeted()
        self.assertEqual(["250 2.1.0"], client.say("MAIL FROM:<\u00e9@b> smtputf8"))
        self.assertEqual("\u00e9@b", client.envelope.mail_from)
        self.assertTrue(client.envelope.smtp_utf8)

    def test_without(self) -> None:
        for line in (
            "MAIL FROM:<\u00e9@b>", "MAIL FROM:<\u00e9@b> SIZE=10", "MAIL FROM:<\u00e9@b> =",
            "MAIL FROM:<\u00e9@b> SMTPUTF8=1", "MAIL FROM:<\u00e9@b> XSMTPUTF8",
            "MAIL FROM:<SMTPUTF8\u00e9@b>",
        ):  # fmt: skip
            self.assertEqual(["553 5.6.7"], greeted().say(line), line)

    def test_recipient(self) -> None:
        client = greeted()
        client.say("MAIL FROM:<a@b> SMTPUTF8")
        self.assertEqual(["250 2.1.5"], client.say("RCPT TO:<\u00e9@b>"))
        client = greeted()
        client.say("MAIL FROM:<a@b>")
        self.assertEqual(["553 5.6.7"], client.say("RCPT TO:<\u00e9@b>"))

    def test_invalid(self) -> None:
        """
        Only what is UTF-8, and no characters that end a line somewhere.
        """
        for octets in (
            b"\xff", b"\xc3", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xc2\x85",
            b"\xe2\x80\xa8", b"\xe2\x80\xa9", b"\xef\xbf\xbd",
        ):  # fmt: skip
            client = greeted()
            self.assertEqual(
                ["501 5.1.7"], client.say(b"MAIL FROM:<a" + octets + b"@b> SMTPUTF8"), octets
            )
            client.say("MAIL FROM:<a@b> SMTPUTF8")
            self.assertEqual(["501 5.1.3"], client.say(b"RCPT TO:<a" + octets + b"@b>"), octets)

    def test_once(self) -> None:
        """
        It is asked for with each transaction.
        """
        client = greeted()
        client.say("MAIL FROM:<\u00e9@b> SMTPUTF8", "RSET")
        self.assertEqual(["553 5.6.7"], client.say("MAIL FROM:<\u00e9@b>"))

    def test_not_offered(self) -> None:
        """
        Where it is not offered, an address is ASCII whatever the client says.
        """
        for policy in UNKNOWN_PARAMETERS:
            client = greeted(enable_SMTPUTF8=False, unknown_parameters=policy)
            said = client.say("MAIL FROM:<\u00e9@b> SMTPUTF8")
            self.assertIn(said, [["555 5.5.4"], ["553 5.6.7"]], policy)
            self.assertEqual("ready", client.state)

    def test_nobody_knows_smtputf8(self) -> None:
        """
        A server without the extension may let the parameter pass, but not the address.
        """
        for policy in ("ignore", "pass"):
            client = Client(extensions=(), unknown_parameters=policy)
            client.say("EHLO client.example")
            self.assertEqual(["553 5.6.7"], client.say("MAIL FROM:<\u00e9@b> SMTPUTF8"), policy)

    def test_after_helo(self) -> None:
        client = Client()
        client.say("HELO client.example")
        (said,) = client.say("MAIL FROM:<\u00e9@b> SMTPUTF8")
        self.assertIn(said, ("553 5.6.7", "555 5.5.4"))


class Typed(Extension):
    """
    Knows parameters of several kinds.
    """

    def keyword(self, session: Session) -> str | None:
        return "TYPED" if session.host_name == "client.example" else None

    def mail_parameters(self) -> Mapping[str, Any]:
        return {"NUMBER": self.number, "NEVER": self.never}

    rcpt_parameters = mail_parameters

    def number(self, session: Session, value: str | None) -> int:
        if value is None or not value.isdecimal():
            raise ValueError("canary")
        return int(value)

    def never(self, session: Session, value: str | None) -> None:
        raise Rejected("555 5.7.1 Never")


class ParametersTests(SynchronousTestCase):
    """
    Parameters of MAIL and RCPT (RFC 5321 section 4.1.2).
    """

    def both(
        self, parameters: str, *, unknown_parameters: str = "reject", host: str = "client.example"
    ) -> list[tuple[str, Any]]:
        """
        What MAIL and RCPT say, and the options that their hooks saw.
        """
        seen: list[Any] = []
        client = Client(
            Handler(
                handle_MAIL=lambda *a: seen.append(a[-1]), handle_RCPT=lambda *a: seen.append(a[-1])
            ),
            extensions=(*EXTENSIONS, Typed),
            unknown_parameters=unknown_parameters,
        )
        found = []
        client.say(f"EHLO {host}")
        for command in ("MAIL FROM:<a@b>", "RCPT TO:<a@b>"):
            seen.clear()
            (said,) = client.say(f"{command} {parameters}")
            found.append((said, seen[0] if seen else None))
            client.say("MAIL FROM:<a@b>")
        return found

    def assertBoth(self, expected: str, parameters: str, **policy: str) -> list[Any]:
        found = self.both(parameters, **policy)
        wanted = ["250 2.1.0", "250 2.1.5"] if expected == "250" else [expected, expected]
        self.assertEqual(wanted, [said for said, _ in found], parameters)
        return [options for _, options in found]

    def test_typed(self) -> None:
        for options in self.assertBoth("250", "number=007"):
            self.assertEqual((["number=007"], 7), (options, options.get("NUMBER")))

    def test_none(self) -> None:
        for options in self.assertBoth("250", ""):
            self.assertEqual(([], {}), (options, options.values))

    def test_bad_value(self) -> None:
        for parameters in ("NUMBER", "NUMBER=x", "NUMBER="):
            self.assertBoth("501 5.5.4", parameters)

    def test_malformed(self) -> None:
        for parameters in ("=", "=1", "-X", "X=1=2", "X=a\u2028b", "X_Y", "NUMBER=1 ="):
            for policy in ("reject", "ignore", "pass"):
                self.assertBoth("501 5.5.4", parameters, unknown_parameters=policy)

    def test_refused_in_other_words(self) -> None:
        self.assertBoth("555 5.7.1", "NEVER=1")

    def test_twice(self) -> None:
        for parameters in ("NUMBER=1 NUMBER=1", "NUMBER=1 number=2"):
            self.assertBoth("501 5.5.4", parameters)
        for policy in ("ignore", "pass"):
            self.assertBoth("501 5.5.4", "X=1 x=2", unknown_parameters=policy)

    def test_unknown(self) -> None:
        for parameters in ("X", "X=1", "NUMBER=1 X", "X NUMBER=x"):
            self.assertBoth("555 5.5.4", parameters)

    def test_ignored(self) -> None:
        for options in self.assertBoth("250", "X NUMBER=1 Y=2", unknown_parameters="ignore"):
            self.assertEqual((["NUMBER=1"], {"NUMBER": 1}), (options, options.values))

    def test_passed(self) -> None:
        for options in self.assertBoth("250", "x NUMBER=1 Y=zZ", unknown_parameters="pass"):
            self.assertEqual(["x", "NUMBER=1", "Y=zZ"], options)
            self.assertEqual({"NUMBER": 1}, options.values)

    def test_not_offered(self) -> None:
        """
        What is known but not offered in this session is refused, whatever the policy for what
        nobody knows.
        """
        for policy in UNKNOWN_PARAMETERS:
            for parameters in ("NUMBER=1", "NUMBER=x", "X=1 NUMBER=1"):
                self.assertBoth(
                    "555 5.5.4", parameters, host="other.example", unknown_parameters=policy
                )
