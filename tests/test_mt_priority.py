"""
Tests for :mod:`txsmtpd.extensions.mt_priority`.
"""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.session import Session
from txsmtpd.core.settings import Settings
from txsmtpd.extensions.mt_priority import MTPriority

from .corekit import EXTENSIONS, Client, Handler


class MTPriorityTests(SynchronousTestCase):
    """
    RFC 6710.
    """

    def mail(self, parameters: str, verdict: str | None = None) -> tuple[str, Any]:
        """
        What MAIL says, and what the envelope has, which is what the hook finds.
        """
        found: list[Any] = []

        def handle_MAIL(*arguments: Any) -> str | None:
            found.append(arguments[-1].get("MT-PRIORITY"))
            return verdict

        client = Client(Handler(handle_MAIL=handle_MAIL), extensions=(*EXTENSIONS, MTPriority))
        client.say("EHLO client.example")
        (said,) = client.say(f"MAIL FROM:<a@b> {parameters}")
        if found:
            self.assertEqual(found, [client.envelope.priority])
        return said, client.envelope.priority

    def test_keyword(self) -> None:
        self.assertEqual("MT-PRIORITY", MTPriority(Settings()).keyword(Session()))
        mixer = MTPriority(Settings(), profile="MIXER")
        self.assertEqual("MT-PRIORITY MIXER", mixer.keyword(Session()))

    def test_profile(self) -> None:
        """
        It cannot add lines or words to the EHLO reply.
        """
        for profile in (" ", "A B", "A\r\n250 X", "\u00c4", "A+B", "A/B", "x" * 21):
            self.assertRaises(ValueError, MTPriority, Settings(), profile=profile)
        for profile in ("x" * 20, "STANAG4406", "a-b_c.9"):
            self.assertEqual(profile, MTPriority(Settings(), profile=profile).profile)

    def test_value(self) -> None:
        for priority in range(-9, 10):
            self.assertEqual(("250 2.1.0", priority), self.mail(f"MT-PRIORITY={priority}"))
        self.assertEqual(("250 2.1.0", 3), self.mail("mt-priority=3"))
        self.assertEqual(("250 2.1.0", None), self.mail(""))

    def test_malformed(self) -> None:
        for value in (
            "", "10", "-10", "+3", "03", "-0", "00", "--1", "1.0", "x", "-", "\u0661", "\u00b2",
        ):  # fmt: skip
            parameter = f"MT-PRIORITY={value}"
            self.assertEqual(("501 5.5.4", None), self.mail(parameter), parameter)
            with_utf8 = f"SMTPUTF8 {parameter}"
            self.assertEqual(("501 5.5.4", None), self.mail(with_utf8), with_utf8)
        for parameter in ("MT-PRIORITY", "MT-PRIORITY=1 MT-PRIORITY=1"):
            self.assertEqual(("501 5.5.4", None), self.mail(parameter), parameter)

    def test_lowered(self) -> None:
        """
        A handler may say that it takes the message for a less important one.
        """
        said = self.mail("MT-PRIORITY=9", "250 2.3.6 Priority is 0")
        self.assertEqual(("250 2.3.6", 9), said)
