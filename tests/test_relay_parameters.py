"""
Tests for txsmtpd.handlers.relay.parameters.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.core.replies import Rejected, Reply
from txsmtpd.core.session import Parameters
from txsmtpd.handlers.relay import Timeouts, parameters
from txsmtpd.handlers.relay.connection import Connection

ALL = (
    *("SIZE", "8BITMIME", "BINARYMIME", "CHUNKING", "SMTPUTF8", "DSN", "REQUIRETLS"),
    *("DELIVERBY", "FUTURERELEASE", "MT-PRIORITY"),
)


class ParametersTests(SynchronousTestCase):
    def connection(self, *features: str, **facts: Any) -> Connection:
        connection = Connection(Clock(), Timeouts())
        connection.features = dict.fromkeys(features, "")
        for name, value in facts.items():
            setattr(connection, name, value)
        return connection

    def mail(self, words: str, *features: str, auth: str = "", **facts: Any) -> str:
        options = Parameters(words.split())
        options.values = {"AUTH": auth}
        return parameters.mail(self.connection(*features, **facts), "a@b", options)[16:]

    def rcpt(self, words: str, *features: str) -> str:
        options = Parameters(words.split())
        return parameters.rcpt(self.connection(*features), "a@b", options)[14:]

    def refused(self, reply: Reply, call: Any, *arguments: str, **facts: Any) -> None:
        error = self.assertRaises(Rejected, call, *arguments, **facts)
        self.assertEqual(error.reply, reply)

    def test_commands(self) -> None:
        nothing = Parameters()
        connection = self.connection()
        self.assertEqual(parameters.mail(connection, "", nothing), "MAIL FROM:<>")
        self.assertEqual(parameters.rcpt(connection, "a@b", nothing), "RCPT TO:<a@b>")

    def test_offered(self) -> None:
        words = (
            "SIZE=100 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb REQUIRETLS BY=10;R"
            " HOLDFOR=60 MT-PRIORITY=3"
        )
        self.assertEqual(self.mail(words, *ALL, verified=True), words)
        words = "NOTIFY=SUCCESS,FAILURE orcpt=rfc822;a@b"
        self.assertEqual(self.rcpt(words, *ALL), words)

    def test_left_out(self) -> None:
        words = "SIZE=100 BODY=7BIT RET=HDRS ENVID=a MT-PRIORITY=3"
        self.assertEqual(self.mail(words), "")
        for notify in ("NEVER", "FAILURE,DELAY"):
            self.assertEqual(self.rcpt(f"NOTIFY={notify} ORCPT=rfc822;a@b"), "")

    def test_refused(self) -> None:
        for words, reply in {
            "SMTPUTF8": parameters.NO_UTF8,
            "BODY=8BITMIME": parameters.NO_CONVERSION,
            "body=8bitmime": parameters.NO_CONVERSION,
            "BODY=BINARYMIME": parameters.NO_CONVERSION,
            "BY=10;N": parameters.NOT_TAKEN,
            "HOLDUNTIL=2030-01-01T00:00:00Z": parameters.NOT_TAKEN,
        }.items():
            self.refused(reply, self.mail, words)
        for notify in ("SUCCESS", "success,FAILURE", "DELAY,Success"):
            self.refused(parameters.NO_SUCCESS, self.rcpt, f"NOTIFY={notify}")

    def test_binary(self) -> None:
        word = "BODY=BINARYMIME"
        self.assertEqual(self.mail(word, "BINARYMIME", "CHUNKING"), word)
        for features in (("BINARYMIME",), ("CHUNKING", "8BITMIME")):
            self.refused(parameters.NO_CONVERSION, self.mail, word, *features)

    def test_requiretls(self) -> None:
        self.assertEqual(self.mail("REQUIRETLS", "REQUIRETLS", verified=True), "REQUIRETLS")
        self.refused(parameters.NO_REQUIRETLS, self.mail, "REQUIRETLS", "REQUIRETLS")
        self.refused(parameters.NO_REQUIRETLS, self.mail, "REQUIRETLS", verified=True)

    def test_unknown(self) -> None:
        """
        What a setting has let pass.
        """
        self.assertEqual(self.mail("X-MINE=1 BODY"), "X-MINE=1 BODY")
        self.assertEqual(self.rcpt("X-MINE=1 NOTIFY", "DSN"), "X-MINE=1 NOTIFY")
        self.assertEqual(self.rcpt("NOTIFY"), "")

    def test_auth(self) -> None:
        word = "AUTH=a+2Bb@example.org"
        self.assertEqual(self.mail(word, auth="a+b@example.org"), "")
        self.assertEqual(self.mail(word, auth="a+b@example.org", logged_in=True), word)
        self.assertEqual(self.mail("AUTH=e@e", auth="", logged_in=True), "AUTH=<>")
