"""
Print what a file of users needs for SCRAM-SHA-256, in PostgreSQL's form.

Run it with ``python -m docs.code.verifier``: it asks for the password.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from base64 import b64encode
from getpass import getpass

from txsmtpd.sasl import saslprep

ITERATIONS = 4096


def verifier(password: str) -> str:
    salt = secrets.token_bytes(16)
    prepared = saslprep.password(password.encode())
    salted = hashlib.pbkdf2_hmac("sha256", prepared, salt, ITERATIONS)
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    stored = b64encode(hashlib.sha256(client_key).digest()).decode()
    server = b64encode(hmac.digest(salted, b"Server Key", "sha256")).decode()
    return f"SCRAM-SHA-256${ITERATIONS}:{b64encode(salt).decode()}${stored}:{server}"


if __name__ == "__main__":
    print(verifier(getpass()))
