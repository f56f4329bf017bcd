"""
Tests for txsmtpd.sasl.scram.
"""

from __future__ import annotations

import hashlib
import hmac
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any
from unittest import mock

import attrs
from hypothesis import given as given_any
from hypothesis import settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.sasl.base import Challenge, Check, Circumstances, Mechanism
from txsmtpd.sasl.scram import (
    SCRAM_SHA_1,
    SCRAM_SHA_1_PLUS,
    SCRAM_SHA_256,
    SCRAM_SHA_256_PLUS,
)

from .test_sasl_base import CIRCUMSTANCES, Conversation, circumstances, converse, no, told, yes

BINDINGS = {"tls-exporter": b"E" * 32, "tls-server-end-point": b"\0\xff,="}
OVER_TLS = circumstances(channel_binding=BINDINGS.get)


@attrs.define
class Client:
    """
    A client as RFC 5802 tells it, which shares no code with the server.
    """

    password: bytes = b"pencil"
    user: str = "user"
    hash_name: str = "sha256"
    header: str = "n,,"
    binding: bytes = b""
    nonce: str = "client"
    extension: str = ""
    expected: bytes = b""

    def _hmac(self, key: bytes, text: bytes) -> bytes:
        return hmac.new(key, text, self.hash_name).digest()

    def _xor(self, one: bytes, other: bytes) -> bytes:
        number = int.from_bytes(one, "big") ^ int.from_bytes(other, "big")
        return number.to_bytes(len(one), "big")

    def _hi(self, salt: bytes, iterations: int) -> bytes:
        u = result = self._hmac(self.password, salt + b"\0\0\0\1")
        for _ in range(iterations - 1):
            u = self._hmac(self.password, u)
            result = self._xor(result, u)
        return result

    def bare(self) -> str:
        return f"n={self.user},r={self.nonce}{self.extension}"

    def first(self) -> bytes:
        return (self.header + self.bare()).encode()

    def final(self, server_first: bytes) -> bytes:
        nonce, salt, iterations = (each[2:] for each in server_first.decode().split(",")[:3])
        cbind_input = b64encode(self.header.encode() + self.binding).decode()
        without_proof = f"c={cbind_input},r={nonce}{self.extension}"
        signed = f"{self.bare()},{server_first.decode()},{without_proof}".encode()
        salted = self._hi(b64decode(salt), int(iterations))
        key = self._hmac(salted, b"Client Key")
        stored = hashlib.new(self.hash_name, key).digest()
        proof = self._xor(key, self._hmac(stored, signed))
        self.expected = self._hmac(self._hmac(salted, b"Server Key"), signed)
        return f"{without_proof},p={b64encode(proof).decode()}".encode()


def pencil(proof: Any) -> bool:
    """
    A checker of a server where there is one user.
    """
    return bool(proof.username == b"user" and proof.checkPassword(b"pencil"))


def run(
    client: Client,
    mechanism: Mechanism = SCRAM_SHA_256,
    given: Circumstances = CIRCUMSTANCES,
    check: Callable[[Any], bool] = pencil,
    change: Callable[[bytes], bytes] = lambda final: final,
    last: bytes = b"",
) -> Conversation:
    """
    :param change: what is done to the client's final message on its way.
    :param last: what it answers to the server's proof.
    """
    said = converse(mechanism, client.first(), given=given)
    if said.end != "waiting":
        return said
    final = change(client.final(said.challenges[0]))
    return converse(mechanism, client.first(), final, last, given=given, check=check)


class ExamplesTests(SynchronousTestCase):
    def example(
        self, mechanism: Mechanism, hash_name: str, salt: str, messages: list[bytes]
    ) -> None:
        first, server_first, final, server_final = messages
        server_nonce = server_first.split(b",")[0][2 + len(first.rpartition(b"r=")[2]) :]
        asked: list[tuple[bytes, str]] = []

        def scram(username: bytes, hash_name: str) -> tuple[bytes, int]:
            asked.append((username, hash_name))
            return b64decode(salt), 4096

        given = circumstances(nonce=server_nonce.decode, scram=scram)
        said = converse(mechanism, first, final, b"", given=given, check=pencil)
        self.assertEqual([server_first, server_final], said.challenges)
        self.assertEqual(("success", [(b"user", hash_name)]), (said.end, asked))
        self.assertEqual(hash_name, said.checked[0].hash_name)

    def test_rfc_5802(self) -> None:
        """
        Section 5.
        """
        nonce = b"r=fyko+d2lbbFgONRv9qkxdawL3rfcNHYJY1ZVvWVs7j"
        self.example(
            SCRAM_SHA_1,
            "sha1",
            "QSXCR+Q6sek8bf92",
            [
                b"n,,n=user,r=fyko+d2lbbFgONRv9qkxdawL",
                nonce + b",s=QSXCR+Q6sek8bf92,i=4096",
                b"c=biws," + nonce + b",p=v0X8v3Bz2T0CJGbJQyF0X+HI4Ts=",
                b"v=rmF9pqV8S7suAoZWja4dJRkFsKQ=",
            ],
        )

    def test_rfc_7677(self) -> None:
        """
        Section 3.
        """
        nonce = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
        self.example(
            SCRAM_SHA_256,
            "sha256",
            "W22ZaJ0SNY7soEsUEjb6gQ==",
            [
                b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO",
                nonce + b",s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
                b"c=biws," + nonce + b",p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ=",
                b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=",
            ],
        )


class ExchangeTests(SynchronousTestCase):
    def assertSuccess(self, client: Client, said: Conversation) -> None:
        """
        Each side is convinced of the other.
        """
        self.assertEqual(("success", None), (said.end, said.error))
        self.assertEqual(b"v=" + b64encode(client.expected), said.challenges[-1])

    def test_right_and_wrong(self) -> None:
        for mechanism, hash_name in [(SCRAM_SHA_1, "sha1"), (SCRAM_SHA_256, "sha256")]:
            client = Client(hash_name=hash_name)
            self.assertSuccess(client, run(client, mechanism))
            for wrong in (
                Client(b"pen", hash_name=hash_name),
                Client(user="resu", hash_name=hash_name),
            ):
                said = run(wrong, mechanism)
                self.assertEqual(("refused", 1), (said.end, len(said.challenges)))

    def test_without_initial_response(self) -> None:
        client = Client()
        final = client.final(run(client).challenges[0])
        said = converse(SCRAM_SHA_256, None, client.first(), final, b"", check=pencil)
        self.assertEqual(b"", said.challenges[0])
        self.assertSuccess(client, said)

    def test_plus(self) -> None:
        for mechanism, hash_name in [(SCRAM_SHA_1_PLUS, "sha1"), (SCRAM_SHA_256_PLUS, "sha256")]:
            for name, octets in BINDINGS.items():
                header = f"p={name},,"
                client = Client(hash_name=hash_name, header=header, binding=octets)
                self.assertSuccess(client, run(client, mechanism, OVER_TLS))
                client.password = b"pen"
                self.assertEqual("refused", run(client, mechanism, OVER_TLS).end)

    def test_names(self) -> None:
        """
        They are decoded and prepared for the checker, and signed as they were sent.
        """
        for user, username in [
            ("=2C=3D2C", b",=2C"),
            ("I\u00adX", b"IX"),
            ("a\u0308", "\u00e4".encode()),
        ]:
            client = Client(user=user)
            said = run(client, check=lambda proof: proof.checkPassword(b"pencil"))
            self.assertSuccess(client, said)
            self.assertEqual(username, said.checked[0].username)

    def test_passwords(self) -> None:
        """
        The checker's is prepared, as the client's was.
        """
        client = Client("\u00e4".encode())
        self.assertSuccess(
            client, run(client, check=lambda proof: proof.checkPassword("a\u0308".encode()))
        )
        client = Client(b"\xe4")
        self.assertSuccess(client, run(client, check=lambda proof: proof.checkPassword(b"\xe4")))

    def test_keys(self) -> None:
        """
        A checker that holds no passwords.
        """
        client = Client()
        salted = hashlib.pbkdf2_hmac("sha256", b"pencil", b"salt", 4)
        stored_key = hashlib.sha256(hmac.digest(salted, b"Client Key", "sha256")).digest()
        server_key = hmac.digest(salted, b"Server Key", "sha256")
        said = run(client, check=lambda proof: proof.checkKeys(stored_key, server_key))
        self.assertSuccess(client, said)
        said = run(client, check=lambda proof: proof.checkKeys(server_key, stored_key))
        self.assertEqual("refused", said.end)

    def test_optional_extensions(self) -> None:
        """
        They are ignored, and signed.
        """
        for extension in (",x=1", ",x=1,Y==,x=\u00e4"):
            client = Client(extension=extension)
            self.assertSuccess(client, run(client))

    def test_authzid(self) -> None:
        """
        Nobody may act for another.
        """
        client = Client(header="n,a=user,")
        self.assertSuccess(client, run(client))
        said = run(Client(header="n,a=admin,"))
        self.assertEqual(("denied", []), (said.end, said.challenges))

    def test_last_response(self) -> None:
        said = run(Client(), last=b"x")
        self.assertEqual(("malformed", 2), (said.end, len(said.challenges)))

    def test_locked(self) -> None:
        """
        The checker has the last word: a good proof may be refused.
        """
        said = run(Client(), check=lambda proof: not proof.checkPassword(b"pencil"))
        self.assertEqual(("refused", 1), (said.end, len(said.challenges)))

    def test_careless_checker(self) -> None:
        """
        A yes without a check lets nobody in.
        """
        error = self.assertRaises(RuntimeError, run, Client(b"other"), check=yes)
        self.assertNotIn("user", told(error))

        def ignores(proof: Any) -> bool:
            proof.checkPassword(b"pencil")
            return True

        with self.assertRaises(RuntimeError):
            run(Client(b"other"), check=ignores)

    @settings(derandomize=True, deadline=None, max_examples=50)
    @given_any(st.binary(max_size=80), st.binary(min_size=1, max_size=20), st.integers(1, 50))
    def test_any_password_and_salt(self, password: bytes, salt: bytes, iterations: int) -> None:
        given = circumstances(scram=lambda username, hash_name: (salt, iterations))
        client = Client(b"x" + password.hex().encode())
        for other, end in [(client.password, "success"), (client.password + b"0", "refused")]:
            check: Any = lambda proof, other=other: proof.checkPassword(other)  # noqa: E731
            self.assertEqual(end, run(client, given=given, check=check).end)


class UnknownUserTests(SynchronousTestCase):
    """
    Whether there is a user of that name shows neither in what is said nor in the work.
    """

    def counted(self, client: Client, check: Callable[[Any], bool] = pencil) -> tuple[Any, Any]:
        with mock.patch("hashlib.pbkdf2_hmac", side_effect=hashlib.pbkdf2_hmac) as derived:
            said = run(client, check=check)
        calls = [(call.args[0], *call.args[2:]) for call in derived.call_args_list]
        return calls, (said.end, said.challenges)

    def test_same_work(self) -> None:
        once = [("sha256", b"salt", 4)]
        wrong, unknown = self.counted(Client(b"pen")), self.counted(Client(user="resu"))
        self.assertEqual((once, wrong), (unknown[0], unknown))
        self.assertEqual(once, self.counted(Client())[0])

    def test_keys(self) -> None:
        """
        A checker that holds keys makes some up, and no more is done.
        """
        calls, (end, _) = self.counted(Client(), lambda proof: proof.checkKeys(b"", b""))
        self.assertEqual(([], "refused"), (calls, end))

    def test_empty_password(self) -> None:
        """
        What the work is done with lets nobody in.
        """
        calls, (end, _) = self.counted(Client(b""), no)
        self.assertEqual((1, "refused"), (len(calls), end))


class ChannelBindingTests(SynchronousTestCase):
    """
    RFC 5802 section 6.
    """

    def test_offered(self) -> None:
        for mechanism in (SCRAM_SHA_1_PLUS, SCRAM_SHA_256_PLUS):
            self.assertTrue(mechanism.offered(OVER_TLS))
            self.assertFalse(mechanism.offered(CIRCUMSTANCES))
            only = {"tls-exporter": b"x"}
            self.assertTrue(mechanism.offered(circumstances(channel_binding=only.get)))
            # As in TLS 1.2, where clients like to bind by what is not safe.
            other = {"tls-unique": b"x", "tls-server-end-point": b"x", "": b"x"}
            self.assertFalse(mechanism.offered(circumstances(channel_binding=other.get)))
        for mechanism in (SCRAM_SHA_1, SCRAM_SHA_256):
            self.assertTrue(mechanism.offered(OVER_TLS))
            self.assertTrue(mechanism.offered(CIRCUMSTANCES))

    def test_downgrade(self) -> None:
        """
        A client that could bind and believes that we cannot was deceived, unless we cannot.
        """
        for mechanism, hash_name in [(SCRAM_SHA_1, "sha1"), (SCRAM_SHA_256, "sha256")]:
            client = Client(header="y,,", hash_name=hash_name)
            self.assertEqual("success", run(client, mechanism).end)
            said = run(client, mechanism, OVER_TLS)
            self.assertEqual(("denied", []), (said.end, said.challenges))
            client.header = "n,,"
            self.assertEqual("success", run(client, mechanism, OVER_TLS).end)

    def test_flag_changed(self) -> None:
        """
        Whoever turns the client's "y" into "n" on its way is found out.
        """
        said = converse(SCRAM_SHA_256, b"n,,n=user,r=client", given=OVER_TLS)
        final = Client(header="y,,").final(said.challenges[0])
        said = converse(SCRAM_SHA_256, b"n,,n=user,r=client", final, given=OVER_TLS, check=yes)
        self.assertEqual(("denied", []), (said.end, said.checked))

    def test_wrong_binding(self) -> None:
        """
        The client is at the end of another TLS connection.
        """
        right = BINDINGS["tls-exporter"]
        for octets in (b"", right[:-1], right + b"x", b"F" + right[1:], right[:-1] + b"\xff"):
            client = Client(header="p=tls-exporter,,", binding=octets)
            said = run(client, SCRAM_SHA_256_PLUS, OVER_TLS, yes)
            self.assertEqual(("denied", []), (said.end, said.checked))

    def test_octets_without_plus(self) -> None:
        said = run(Client(binding=b"x"), check=yes)
        self.assertEqual(("denied", []), (said.end, said.checked))

    def test_other_binding(self) -> None:
        """
        Not even one that the connection has and we do not offer.
        """
        given = circumstances(channel_binding=lambda name: b"x")
        for name in ("tls-unique", "TLS-EXPORTER", "other"):
            said = run(Client(header=f"p={name},,", binding=b"x"), SCRAM_SHA_256_PLUS, given)
            self.assertEqual(("denied", []), (said.end, said.challenges))

    def test_no_tls(self) -> None:
        said = run(Client(header="p=tls-exporter,,"), SCRAM_SHA_256_PLUS)
        self.assertEqual(("denied", []), (said.end, said.challenges))

    def test_wrong_mechanism(self) -> None:
        for mechanism, header in [
            (SCRAM_SHA_256, "p=tls-exporter,,"),
            (SCRAM_SHA_256_PLUS, "n,,"),
            (SCRAM_SHA_256_PLUS, "y,,"),
        ]:
            said = run(Client(header=header), mechanism, OVER_TLS)
            self.assertEqual(("malformed", []), (said.end, said.challenges))


class MessagesTests(SynchronousTestCase):
    def test_server_nonce(self) -> None:
        (server_first,) = run(Client(), check=pencil, change=lambda final: b"").challenges
        self.assertEqual(b"r=clientserver+nonce,s=c2FsdA==,i=4", server_first)

    def test_malformed_first(self) -> None:
        for message in (
            b"", b"n,,", b"n,n=user,r=abc", b"n=user,r=abc", b"n,,n=user", b"n,,r=abc,n=user",
            b"n,,n=,r=abc", b"n,,n=user,r=", b"n,,n=us=er,r=abc", b"n,,n=user=2c,r=abc",
            b"n,,n=user=,r=abc", b"n,,n=user,r=a b", b"n,,n=user,r=\xc3\xa4", b"n,,n=user,r=abc,",
            b"n,,n=user,r=abc,x", b"n,,n=user,r=abc,x=", b"n,,n=user,r=abc,1=x", b"n,,N=user,r=abc",
            b"n,,n=user,r=abc,r=abc", b"n,,n=user,r=abc,n=b", b"n,,n=user,r=abc,a=admin",
            b"n,,n=user,r=abc,xx=y", b"n,,n=us\0er,r=abc", b"n,,n=\xff,r=abc", b"n,,n=\n,r=abc",
            b"n,,x=y,n=user,r=abc", b"n,,n=user,r=abc\n", b"n,,n=user,r=abc\0",
            b"n,,n=\xc2\xad,r=a",
        ):  # fmt: skip
            said = converse(SCRAM_SHA_256, message)
            self.assertEqual(("malformed", []), (said.end, said.challenges), message)
            assert said.error is not None
            self.assertNotIn("abc", told(said.error))

    def test_mandatory_extensions(self) -> None:
        for message in (b"n,,m=x,n=user,r=abc", b"n,,n=user,r=abc,m=x", b"n,,n=user,r=abc,x=y,m=x"):
            said = converse(SCRAM_SHA_256, message)
            self.assertEqual(("denied", []), (said.end, said.challenges))
        said = run(Client(), change=lambda final: final.replace(b",p=", b",m=x,p="))
        self.assertEqual(("denied", []), (said.end, said.checked))

    def test_malformed_final(self) -> None:
        proof = b64encode(b"p" * 32)
        start = b"c=biws,r=clientserver+nonce"
        for message in (
            b"", start, start + b",p=", start + b",p=%", start + b",p=" + proof + b",x=y",
            start + b",p=" + proof + b"\n", start + b",p=" + proof + b" ",
            b" " + start + b",p=" + proof,
            start + b",p=" + proof[:-1], start + b",p=" + proof + b"=",
            start + b",p=" + b64encode(b"p" * 31), start + b",p=" + b64encode(b"p" * 33),
            start + b",p=" + b64encode(b"p" * 20), start + b",p=" + proof + b",p=" + proof,
            start + b",p=" + proof[:-2] + b"B=", start + b",p=\xff", start + b",p=\xc3\xa4",
            start + b",c=biws,p=" + proof, start + b",x,p=" + proof,
            b"r=clientserver+nonce,c=biws,p=" + proof, b"c=,r=clientserver+nonce,p=" + proof,
            b"c=biw,r=clientserver+nonce,p=" + proof, b"c=biws,p=" + proof, b"c=biws,r=,p=" + proof,
            b"c=bi ws,r=clientserver+nonce,p=" + proof, b"c=biws,r=client\0,p=" + proof,
            b"c=biws\n,r=clientserver+nonce,p=" + proof,
        ):  # fmt: skip
            said = converse(SCRAM_SHA_256, Client().first(), message, check=yes)
            self.assertEqual(("malformed", []), (said.end, said.checked), message)
            assert said.error is not None
            self.assertNotIn("ppp", told(said.error))
            self.assertNotIn(b64encode(b"p" * 6).decode(), told(said.error))

    def test_wrong_nonce(self) -> None:
        for nonce in (b"client", b"server+nonce", b"clientserver+nonce2", b"Clientserver+nonce"):
            said = run(
                Client(),
                check=yes,
                change=lambda final, nonce=nonce: final.replace(b"clientserver+nonce", nonce),  # type: ignore[misc]
            )
            self.assertEqual(("denied", []), (said.end, said.checked))

    @settings(derandomize=True, deadline=None)
    @given_any(st.data())
    def test_any_change_is_found(self, data: st.DataObject) -> None:
        """
        A final message with one octet changed is never good.
        """

        def change(final: bytes) -> bytes:
            at = data.draw(st.integers(0, len(final) - 1))
            octet = data.draw(st.integers(0, 255).filter(lambda octet: octet != final[at]))
            return final[:at] + bytes([octet]) + final[at + 1 :]

        said = run(Client(extension=",x=y"), change=change)
        self.assertIn(said.end, ("malformed", "denied", "refused"))

    def test_linear(self) -> None:
        """
        A line full of almost nothing is read in no time.
        """
        for filler in (b",x=y" * 3000, b"=2C" * 4000, b"=" * 12000, b"," * 12000):
            for start in (b"n,a=", b"n,,n=user,r=abc", b"n,,n="):
                self.assertIn(converse(SCRAM_SHA_256, start + filler).end, ("malformed", "waiting"))


class SecretsTests(SynchronousTestCase):
    def test_repr(self) -> None:
        """
        Nothing on the way shows what could be used to guess the password.
        """
        client = Client()
        exchange = SCRAM_SHA_256.exchange(CIRCUMSTANCES, client.first())
        challenge = next(exchange)
        assert isinstance(challenge, Challenge)
        final = client.final(challenge.data)
        check = exchange.send(final)
        assert isinstance(check, Check)
        self.assertTrue(check.credentials.checkPassword(b"pencil"))
        shown = repr([exchange, challenge, check, check.credentials, CIRCUMSTANCES, SCRAM_SHA_256])
        for secret in (b"client", b"c2FsdA", final[-20:], b"pencil", client.expected[:4], b"salt'"):
            self.assertNotIn(secret.decode("latin-1"), shown)
