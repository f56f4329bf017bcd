"""
An application that sends mail, and knows nothing of txsmtpd: ``examples/test_signup.py`` is its
trial suite.
"""

from __future__ import annotations

from email.headerregistry import Address
from email.message import EmailMessage
from typing import Any

import attrs
from twisted.mail.smtp import SMTPDeliveryError, sendmail

SENDER = "welcome@app.example"


class NoSuchAddress(Exception):
    """
    The mail server does not take mail for that address.
    """


@attrs.define
class SignUp:
    """
    People sign up, and get a mail with a link that confirms their address.

    :param host: the mail server.
    """

    reactor: Any
    host: str
    port: int

    async def invite(self, name: str, address: str, token: str) -> None:
        """
        :raise NoSuchAddress: if the mail server has refused it for good.
        """
        message = EmailMessage()
        message["From"] = SENDER
        message["To"] = Address(name, addr_spec=address)
        message["Subject"] = f"Welcome, {name}"
        message.set_content(f"Hello {name},\n\nhttps://app.example/confirm?{token}\n")
        try:
            await sendmail(
                self.host,
                SENDER,
                [address],
                message.as_bytes(),
                senderDomainName="app.example",
                port=self.port,
                reactor=self.reactor,
            )
        except SMTPDeliveryError as error:
            if 500 <= error.code < 600:
                raise NoSuchAddress(address) from error
            raise
