"""
Tests for txsmtpd.sasl.credentials.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any

from twisted.cred.credentials import IUsernameHashedPassword, IUsernamePassword
from twisted.trial.unittest import SynchronousTestCase
from zope.interface.verify import verifyObject

from txsmtpd.sasl.credentials import (
    BearerToken,
    ClientCertificate,
    CramResponse,
    IBearerToken,
    IClientCertificate,
    IScramProof,
    Password,
    ScramProof,
)


def scram_proof(**changes: Any) -> ScramProof:
    """
    That of RFC 7677 section 3, for the password ``pencil``.
    """
    nonce = "rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
    facts: dict[str, Any] = {
        "username": b"user",
        "hash_name": "sha256",
        "salt": b64decode("W22ZaJ0SNY7soEsUEjb6gQ=="),
        "iterations": 4096,
        "auth_message": (
            "n=user,r=rOprNGfwEbeRWgbNEkqO,"
            f"r={nonce},s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096,c=biws,r={nonce}"
        ).encode(),
        "proof": b64decode("dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="),
    }
    return ScramProof(**{**facts, **changes})


class InterfacesTests(SynchronousTestCase):
    def test_ours(self) -> None:
        verifyObject(IScramProof, scram_proof())
        verifyObject(IBearerToken, BearerToken(b"x"))
        verifyObject(IClientCertificate, ClientCertificate(b"", None))

    def test_of_twisted(self) -> None:
        """
        They could provide those of twisted.cred, which are declared elsewhere.
        """
        verifyObject(IUsernamePassword, Password(b"a", b"b"), tentative=True)
        for hashed in (CramResponse(b"a", b"b", b"c"), scram_proof()):
            verifyObject(IUsernameHashedPassword, hashed, tentative=True)


class PasswordTests(SynchronousTestCase):
    def test_check(self) -> None:
        password = Password(b"user", b"secret")
        self.assertIs(True, password.checkPassword(b"secret"))
        for wrong in (b"", b"Secret", b"secret ", b"secre"):
            self.assertIs(False, password.checkPassword(wrong))

    def test_spellings(self) -> None:
        """
        One password, typed on two keyboards.
        """
        password = Password(b"user", "a\u0308".encode())
        self.assertTrue(password.checkPassword("\u00e4".encode()))
        self.assertFalse(password.checkPassword(b"\xe4"))


class CramResponseTests(SynchronousTestCase):
    def test_rfc_2195_example(self) -> None:
        challenge = b"<1896.697170952@postoffice.reston.mci.net>"
        response = CramResponse(b"tim", challenge, b"b913a602c7eda7a495b4e6e7334d3890")
        self.assertIs(True, response.checkPassword(b"tanstaaftanstaaf"))
        self.assertIs(False, response.checkPassword(b"tanstaaftanstaaf "))


class ScramProofTests(SynchronousTestCase):
    """
    RFC 5802 section 3.
    """

    def test_password(self) -> None:
        proof = scram_proof()
        self.assertEqual((False, None), (proof.checked, proof.server_signature))
        self.assertIs(True, proof.checkPassword(b"pencil"))
        self.assertTrue(proof.checked)
        signature = b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        self.assertEqual(signature, proof.server_signature)

    def test_wrong_password(self) -> None:
        proof = scram_proof()
        self.assertIs(False, proof.checkPassword(b"pen"))
        self.assertEqual((True, None), (proof.checked, proof.server_signature))

    def test_keys(self) -> None:
        """
        Those that come of the password in RFC 7677's example.
        """
        stored_key = b64decode("WG5d8oPm3OtcPnkdi4Uo7BkeZkBFzpcXkuLmtbsT4qY=")
        server_key = b64decode("wfPLwcE6nTWhTAmQ7tl2KeoiWGPlZqQxSrmfPwDl2dU=")
        proof = scram_proof()
        self.assertIs(True, proof.checkKeys(stored_key, server_key))
        signature = b64decode("6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=")
        self.assertEqual((True, signature), (proof.checked, proof.server_signature))

    def test_wrong_keys(self) -> None:
        """
        Made up ones, of any size, are an answer too.
        """
        for key in (b"\0" * 32, b"", b"x" * 100):
            proof = scram_proof()
            self.assertIs(False, proof.checkKeys(key, key))
            self.assertEqual((True, None), (proof.checked, proof.server_signature))

    def test_wrong_circumstances(self) -> None:
        for change in (
            {"salt": b"other"}, {"iterations": 4095}, {"auth_message": b"other"},
            {"proof": b"\0" * 32},
        ):  # fmt: skip
            self.assertFalse(scram_proof(**change).checkPassword(b"pencil"))


class ReprTests(SynchronousTestCase):
    def test_no_secrets(self) -> None:
        secret = b"hunter2"
        proof = scram_proof(salt=secret, auth_message=secret, proof=secret)
        proof.server_signature = secret
        shown = [
            repr(each) + str(each) + f"{each}"
            for each in (
                Password(b"user", secret),
                CramResponse(b"user", secret, secret),
                proof,
                BearerToken(secret, b"user"),
                ClientCertificate(b"user", secret),
            )
        ]
        self.assertNotIn("hunter2", "".join(shown))
        self.assertEqual(15, "".join(shown).count("b'user'"))
