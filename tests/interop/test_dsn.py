"""
What clients say of a message besides its addresses: whether and how to tell them what became of it
(RFC 3461), in which language its addresses are (RFC 6531), when it is to be delivered.
"""

from __future__ import annotations

import asyncio
import json
import os
import smtplib
from base64 import b64encode
from email.message import EmailMessage
from email.policy import SMTPUTF8
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SkipTest

from .envelopes import ENVELOPES
from .server import DEADLINE, InteropTestCase, Server

SCRIPT = Path(__file__).parent / "nodemailer.cjs"

ANN, BOB = "ann@example.com", "bob@example.org"
SMALL = b"Subject: x\r\n\r\nbody\r\n"

#: Addresses and a subject that need SMTPUTF8.
JOERG, USER = "jörg@exämple.org", "用户@例え.example"


class EnvelopeTestCase(InteropTestCase):
    """
    A server that writes down the envelopes it gets.
    """

    def setUp(self) -> None:
        super().setUp()
        self.path = Path(self.mktemp()).absolute()

    def serve(self, *options: str) -> Server:
        return super().serve("--handler", f"{ENVELOPES}:{self.path}", *options)

    def take(self) -> dict[str, Any]:
        """
        Take the only envelope that there is.
        """
        (line,) = self.path.read_text().splitlines()
        self.path.write_text("")
        envelope: dict[str, Any] = json.loads(line)
        return envelope

    def assertTold(self, **expected: Any) -> None:
        """
        Check what the server was told of the message, besides who has sent it to whom.
        """
        told = {"from": BOB, "to": [{"address": ANN}], "smtp_utf8": False, **expected}
        self.assertEqual(self.take(), told)


class SmtplibTests(EnvelopeTestCase):
    """
    Python's smtplib sends the parameters that it is given.
    """

    def client(self, *options: str) -> smtplib.SMTP:
        server = self.serve(*options)
        client = smtplib.SMTP("127.0.0.1", server.port, "client.example.org", DEADLINE)
        self.addCleanup(client.close)
        return client

    def test_notifications(self) -> None:
        client = self.client()
        client.sendmail(BOB, ANN, SMALL)
        self.assertTold()
        client.sendmail(
            BOB,
            [ANN, "carol@example.com"],
            SMALL,
            ["RET=HDRS", "ENVID=QQ+2B314159", "BODY=8BITMIME"],
            ["NOTIFY=SUCCESS,DELAY", "ORCPT=rfc822;Ann+2BList@Example.com"],
        )
        facts = {
            "notify": "SUCCESS,DELAY",
            "orcpt": {"addr_type": "rfc822", "address": "Ann+List@Example.com"},
        }
        self.assertTold(
            to=[{"address": ANN, **facts}, {"address": "carol@example.com", **facts}],
            body="8BITMIME",
            dsn={"ret": "HDRS", "envid": "QQ+314159"},
        )
        client.sendmail("", ANN, SMALL, (), ["NOTIFY=NEVER"])
        self.assertTold(**{"from": "", "to": [{"address": ANN, "notify": "NEVER"}]})

    def test_refused(self) -> None:
        client = self.client()
        error = self.assertRaises(
            smtplib.SMTPSenderRefused, client.sendmail, BOB, ANN, SMALL, ["RET=NONE"]
        )
        self.assertEqual(error.smtp_code, 501)
        refused = self.assertRaises(
            smtplib.SMTPRecipientsRefused,
            client.sendmail,
            BOB,
            ANN,
            SMALL,
            (),
            ["NOTIFY=NEVER,DELAY"],
        )
        self.assertEqual(refused.recipients[ANN][0], 501)
        self.assertEqual(self.path.read_text(), "")

    def test_international_addresses(self) -> None:
        client = self.client()
        message = EmailMessage(policy=SMTPUTF8)
        message["From"], message["To"], message["Subject"] = JOERG, f"{USER}, {ANN}", "Grüße ☃"
        message.set_content("Здравствуй\n", cte="8bit")
        client.send_message(message, rcpt_options=["NOTIFY=FAILURE"])
        self.assertTold(
            **{"from": JOERG},
            to=[{"address": each, "notify": "FAILURE"} for each in (USER, ANN)],
            smtp_utf8=True,
            body="8BITMIME",
        )

    def test_original_recipient_in_unicode(self) -> None:
        client = self.client()
        client.ehlo()
        client.mail(BOB, ["SMTPUTF8"])
        client.command_encoding = "utf-8"
        for address in ("用户@example.com", r"\x{7528}\x{6237}@example.com"):
            code, _ = client.rcpt(ANN, [f"ORCPT=utf-8;{address}"])
            self.assertEqual(code, 250, address)
        client.data(SMALL)
        facts = {"orcpt": {"addr_type": "utf-8", "address": "用户@example.com"}}
        self.assertTold(to=[{"address": ANN, **facts}] * 2, smtp_utf8=True)

    def test_times(self) -> None:
        """
        What a handler honours is offered, and it learns of it.
        """
        client = self.client()
        client.ehlo()
        for keyword in ("deliverby", "futurerelease", "mt-priority"):
            self.assertTrue(client.has_extn(keyword), keyword)
        self.assertFalse(client.has_extn("requiretls"))
        client.sendmail(BOB, ANN, SMALL, ["BY=120;NT", "MT-PRIORITY=-4"])
        envelope = self.take()
        by = envelope["deliver_by"]
        self.assertEqual((by["seconds"], by["mode"], by["trace"]), (120, "N", True))
        self.assertEqual(envelope["priority"], -4)
        client.sendmail(BOB, ANN, SMALL, ["HOLDFOR=60"])
        self.assertEqual(self.take()["hold"]["request"], "for;60")


class AiosmtplibTests(EnvelopeTestCase):
    def setUp(self) -> None:
        super().setUp()
        try:
            import aiosmtplib
        except ImportError:
            raise SkipTest("aiosmtplib is not installed") from None
        self.module: Any = aiosmtplib

    def client(self) -> Any:
        server = self.serve()
        return self.module.SMTP(
            hostname="127.0.0.1",
            port=server.port,
            local_hostname="client.example.org",
            timeout=DEADLINE,
        )

    def test_notifications(self) -> None:
        async def send() -> None:
            async with self.client() as client:
                await client.sendmail(
                    BOB,
                    ANN,
                    SMALL,
                    mail_options=["RET=FULL", "ENVID=x"],
                    rcpt_options=["NOTIFY=FAILURE", f"ORCPT=rfc822;{ANN}"],
                )

        asyncio.run(send())
        orcpt = {"addr_type": "rfc822", "address": ANN}
        self.assertTold(
            to=[{"address": ANN, "notify": "FAILURE", "orcpt": orcpt}],
            dsn={"ret": "FULL", "envid": "x"},
        )

    def test_international_addresses(self) -> None:
        message = EmailMessage(policy=SMTPUTF8)
        message["From"], message["To"], message["Subject"] = JOERG, USER, "Grüße ☃"
        message.set_content("Здравствуй\n", cte="8bit")

        async def send() -> None:
            async with self.client() as client:
                await client.send_message(message, rcpt_options=["NOTIFY=NEVER"])

        asyncio.run(send())
        envelope = self.take()
        self.assertEqual((envelope["from"], envelope["smtp_utf8"]), (JOERG, True))
        self.assertEqual(envelope["to"], [{"address": USER, "notify": "NEVER"}])


class MsmtpTests(EnvelopeTestCase):
    program = "msmtp"

    def test_notifications(self) -> None:
        """
        What it knows of them is FAILURE, DELAY, SUCCESS or NEVER, and how much to return.
        """
        server = self.serve()
        for notify, ret in (("never", "headers"), ("failure,delay", "full")):
            arguments = ["--host=127.0.0.1", f"--port={server.port}", f"--timeout={DEADLINE}"]
            arguments += [f"--from={BOB}", f"--dsn-notify={notify}", f"--dsn-return={ret}"]
            self.assertStatus(self.run_program(*arguments, "--", ANN, data=SMALL))
            envelope = self.take()
            self.assertEqual(envelope["to"], [{"address": ANN, "notify": notify.upper()}])
            self.assertEqual(envelope["dsn"]["ret"], {"headers": "HDRS", "full": "FULL"}[ret])


class CurlTests(EnvelopeTestCase):
    program = "curl"

    def curl(self, server: Server, *options: str) -> None:
        url = f"smtp://127.0.0.1:{server.port}/client.example.org"
        arguments = ["-q", "-sS", "--max-time", str(DEADLINE), url, "-T", self.file(SMALL)]
        self.assertStatus(self.run_program(*arguments, *options))

    def test_international_addresses(self) -> None:
        if b" IDN" not in self.run_program("-q", "--version").stdout:
            raise SkipTest("this curl cannot do internationalized domain names")
        server = self.serve()
        self.curl(server, "--mail-from", BOB, "--mail-rcpt", "ñandú@example.com")
        self.assertTold(to=[{"address": "ñandú@example.com"}], smtp_utf8=True)
        # Curl spells domains in ASCII, and then there is nothing else to ask SMTPUTF8 for.
        self.curl(server, "--mail-from", BOB, "--mail-rcpt", "ann@bücher.example")
        self.assertEqual(self.take()["to"], [{"address": "ann@xn--bcher-kva.example"}])

    def test_submitter(self) -> None:
        """
        Curl says AUTH on MAIL where it has logged in; a client that has not is not believed.
        """
        server = self.serve("--auth-any", "--auth-without-tls")
        options = ("--mail-from", BOB, "--mail-rcpt", ANN, "--mail-auth", "carol@example.org")
        self.curl(server, *options, "--user", "bob:secret")
        self.assertTold(auth="carol@example.org")


class NodemailerTests(EnvelopeTestCase):
    program = "node"

    def setUp(self) -> None:
        super().setUp()
        self.modules = os.environ.get("NODE_PATH", "")
        found = self.run_program("-e", "require.resolve('nodemailer')", NODE_PATH=self.modules)
        if found.returncode:
            raise SkipTest("nodemailer is not in NODE_PATH")

    def send(self, server: Server, **envelope: Any) -> dict[str, Any]:
        """
        :return: what became of it.
        """
        job = {
            "options": {"host": "127.0.0.1", "port": server.port, "name": "client.example.org"},
            "messages": [
                {
                    "envelope": {"from": BOB, "to": [ANN], **envelope},
                    "content": b64encode(SMALL).decode(),
                }
            ],
        }
        ended = self.run_program(str(SCRIPT), data=json.dumps(job).encode(), NODE_PATH=self.modules)
        self.assertEqual((ended.returncode, ended.stderr.decode()), (0, ""))
        (line,) = ended.stdout.splitlines()
        sent: dict[str, Any] = json.loads(line)
        return sent

    def test_notifications(self) -> None:
        server = self.serve()
        dsn = {"id": "a+b=c", "return": "headers", "notify": ["failure", "delay"], "recipient": ANN}
        self.assertEqual(self.send(server, dsn=dsn)["accepted"], [ANN])
        orcpt = {"addr_type": "rfc822", "address": ANN}
        self.assertTold(
            to=[{"address": ANN, "notify": "FAILURE,DELAY", "orcpt": orcpt}],
            dsn={"ret": "HDRS", "envid": "a+b=c"},
        )
        self.send(server, dsn={"return": "full", "notify": "never"})
        self.assertTold(
            to=[{"address": ANN, "notify": "NEVER"}], dsn={"ret": "FULL", "envid": None}
        )

    def test_international_addresses(self) -> None:
        server = self.serve()
        local = "用户@example.com"
        dsn = {"notify": "success"}
        self.send(server, **{"from": "jörg@example.org", "to": [local, ANN], "dsn": dsn})
        self.assertTold(
            **{"from": "jörg@example.org"},
            to=[{"address": each, "notify": "SUCCESS"} for each in (local, ANN)],
            smtp_utf8=True,
        )
