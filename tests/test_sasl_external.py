"""
Tests for txsmtpd.sasl.external.
"""

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.sasl.credentials import ClientCertificate
from txsmtpd.sasl.external import EXTERNAL

from .test_sasl_base import CIRCUMSTANCES, circumstances, converse, yes

CERTIFICATE = object()


class ExternalTests(SynchronousTestCase):
    """
    RFC 4422 appendix A.
    """

    given = circumstances(certificate=CERTIFICATE)

    def test_offered(self) -> None:
        self.assertTrue(EXTERNAL.offered(self.given))
        self.assertFalse(EXTERNAL.offered(CIRCUMSTANCES))

    def test_authzid(self) -> None:
        for authzid in (b"", b"fred@example.com"):
            said = converse(EXTERNAL, authzid, check=yes, given=self.given)
            self.assertEqual(("success", []), (said.end, said.challenges))
            self.assertEqual([ClientCertificate(authzid, CERTIFICATE)], said.checked)

    def test_without_initial_response(self) -> None:
        said = converse(EXTERNAL, None, b"", check=yes, given=self.given)
        self.assertEqual(("success", [b""]), (said.end, said.challenges))
        self.assertEqual([ClientCertificate(b"", CERTIFICATE)], said.checked)

    def test_refused(self) -> None:
        self.assertEqual("refused", converse(EXTERNAL, b"", given=self.given).end)

    def test_no_certificate(self) -> None:
        """
        It is not offered, and who tries it all the same is denied.
        """
        said = converse(EXTERNAL, b"", check=yes)
        self.assertEqual(("denied", []), (said.end, said.checked))

    def test_malformed(self) -> None:
        for message in (b"\0", b"fred\0", b"\xff", b"fr\ned"):
            said = converse(EXTERNAL, message, check=yes, given=self.given)
            self.assertEqual(("malformed", []), (said.end, said.checked))
