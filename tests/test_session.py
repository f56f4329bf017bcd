"""
Tests for :mod:`txsmtpd.core.session`.
"""

from __future__ import annotations

import pickle
from copy import deepcopy
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.replies import RECIPIENT_OK
from txsmtpd.core.session import TLS, Envelope, Parameters, Recipient, Session


class ParametersTests(SynchronousTestCase):
    """
    A list of words that knows what they mean.
    """

    def test_list(self) -> None:
        options = Parameters(["SIZE=10", "BODY=8BITMIME"])
        self.assertIsInstance(options, list)
        self.assertEqual(["SIZE=10", "BODY=8BITMIME"], options)
        self.assertEqual([], Parameters())

    def test_get(self) -> None:
        options = Parameters(["SIZE=10"])
        options.values = {"SIZE": 10}
        self.assertEqual([10, 10], [options.get("SIZE"), options.get("size")])
        self.assertIsNone(options.get("BODY"))
        self.assertEqual("7BIT", options.get("BODY", "7BIT"))

    def test_not_shared(self) -> None:
        words = ["A"]
        first, second = Parameters(words), Parameters(words)
        first.append("B")
        first.values = {"A": 1}
        self.assertEqual((["A"], ["A"], {}), (words, second, second.values))


class SessionTests(SynchronousTestCase):
    """
    Hooks hang things on it.
    """

    def test_open(self) -> None:
        session = Session()
        session.mine = 1  # type: ignore[attr-defined]
        self.assertEqual(1, vars(session)["mine"])

    def test_defaults(self) -> None:
        session = Session()
        self.assertEqual(
            (None, None, False, None, None),
            (session.peer, session.host_name, session.extended_smtp, session.ssl,
             session.authenticated),
        )  # fmt: skip

    def test_not_shared(self) -> None:
        one, other = Session(), Session()
        one.notes["a"] = 1
        self.assertEqual({}, other.notes)
        self.assertNotEqual(one, other)

    def test_secrets(self) -> None:
        """
        Credentials never reach a log.
        """
        session = Session(auth_data="canary", login_data=b"canary", notes={"a": "canary"})
        self.assertNotIn("canary", repr(session))


class EnvelopeTests(SynchronousTestCase):
    """
    Hooks hang things on it too.
    """

    def test_open(self) -> None:
        envelope = Envelope()
        envelope.mine = 1  # type: ignore[attr-defined]
        self.assertEqual(1, vars(envelope)["mine"])

    def test_defaults(self) -> None:
        envelope = Envelope()
        self.assertEqual(
            (None, [], [], [], [], False, None, None),
            (envelope.mail_from, envelope.mail_options, envelope.rcpt_tos, envelope.rcpt_options,
             envelope.recipients, envelope.smtp_utf8, envelope.body, envelope.content),
        )  # fmt: skip
        self.assertEqual(
            (None, None, None, None, None, False),
            (envelope.auth, envelope.dsn, envelope.deliver_by, envelope.hold, envelope.priority,
             envelope.require_tls),
        )  # fmt: skip

    def test_not_shared(self) -> None:
        one, other = Envelope(), Envelope()
        one.rcpt_tos.append("a@b")
        one.mail_options.append("A")
        one.recipients.append(Recipient("a@b", Parameters(), RECIPIENT_OK))
        self.assertEqual(([], [], []), (other.rcpt_tos, other.mail_options, other.recipients))
        self.assertNotEqual(one, other)

    def test_secrets(self) -> None:
        """
        Nor does content.
        """
        envelope = Envelope(content=b"canary", original_content=b"canary")
        self.assertNotIn("canary", repr(envelope))

    def test_copies(self) -> None:
        """
        A handler may keep it elsewhere.
        """
        envelope = Envelope("s.1", "a@b", rcpt_tos=["c@d"])
        for copied in (deepcopy(envelope), pickle.loads(pickle.dumps(envelope))):
            self.assertEqual(vars(envelope), vars(copied))


class RecipientTests(SynchronousTestCase):
    """
    One accepted RCPT.
    """

    def test_duplicates_differ(self) -> None:
        one = Recipient("a@b", Parameters(), RECIPIENT_OK)
        other = Recipient("a@b", Parameters(), RECIPIENT_OK)
        self.assertNotEqual(one, other)
        self.assertEqual(2, len({one, other}))

    def test_open(self) -> None:
        one: Any = Recipient("a@b", Parameters(), RECIPIENT_OK)
        one.mailbox = "c"
        self.assertEqual("c", one.mailbox)


class TLSTests(SynchronousTestCase):
    """
    What is known about TLS.
    """

    def test_defaults(self) -> None:
        tls = TLS("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
        self.assertEqual((None, None), (tls.server_name, tls.peer_certificate))
        self.assertIsNone(tls.channel_binding("tls-exporter"))

    def test_fixed(self) -> None:
        tls = TLS("TLSv1.3", "TLS_AES_256_GCM_SHA384", 256)
        self.assertRaises(AttributeError, setattr, tls, "version", "TLSv1.2")

    def test_secrets(self) -> None:
        """
        What binds credentials to a connection is nobody else's business.
        """
        tls = TLS("", "", 0, channel_binding={"tls-exporter": b"canary"}.get)
        self.assertEqual(b"canary", tls.channel_binding("tls-exporter"))
        self.assertNotIn("canary", repr(tls))
