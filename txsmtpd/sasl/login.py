"""
LOGIN: user name and password one after the other (draft-murchison-sasl-login).
"""

from __future__ import annotations

from .base import Challenge, Check, Circumstances, Exchange, Malformed, Mechanism, name, utf8
from .credentials import Password


def _exchange(circumstances: Circumstances, initial: bytes | None) -> Exchange:
    # The challenges are what clients look for, letter by letter. The draft knows no initial
    # response, but many clients send the user name in one.
    user = initial if initial is not None else (yield Challenge(b"Username:"))
    username = name(utf8(user))
    password = utf8((yield Challenge(b"Password:")))
    if not password:
        raise Malformed("no password")
    yield Check(Password(username, password.encode()))


LOGIN = Mechanism("LOGIN", _exchange, Password)
