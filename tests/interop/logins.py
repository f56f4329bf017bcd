"""
What a server of ours says of who has logged in.
"""

from __future__ import annotations

from typing import Any

from txsmtpd import Envelope, Session, hooks


@hooks
class Greeter:
    """
    Tells the sender of a message who it is.
    """

    def handle_MAIL(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        name = session.auth_data.decode() if session.authenticated else "nobody"
        return f"250 2.1.0 Hello {name}"


#: As the command line names it.
GREETER = f"{__name__}.Greeter"
