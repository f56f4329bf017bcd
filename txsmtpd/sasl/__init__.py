"""
SASL mechanisms (RFC 4422), one to a file. See :mod:`txsmtpd.sasl.base` to write another.
"""

from __future__ import annotations

from .base import Call, Challenge, Check, Circumstances, Denied, Exchange, Malformed, Mechanism
from .cram_md5 import CRAM_MD5
from .credentials import (
    BearerToken,
    ClientCertificate,
    CramResponse,
    IBearerToken,
    IClientCertificate,
    IScramProof,
    Password,
    ScramProof,
)
from .external import EXTERNAL
from .login import LOGIN
from .oauthbearer import OAUTHBEARER
from .plain import PLAIN
from .scram import SCRAM_SHA_1, SCRAM_SHA_1_PLUS, SCRAM_SHA_256, SCRAM_SHA_256_PLUS
from .xoauth2 import XOAUTH2

#: All that there are here, the strongest first.
MECHANISMS: tuple[Mechanism, ...] = (
    SCRAM_SHA_256_PLUS,
    SCRAM_SHA_256,
    SCRAM_SHA_1_PLUS,
    SCRAM_SHA_1,
    EXTERNAL,
    OAUTHBEARER,
    XOAUTH2,
    CRAM_MD5,
    PLAIN,
    LOGIN,
)

__all__ = [
    "MECHANISMS",
    "BearerToken",
    "Call",
    "Challenge",
    "Check",
    "Circumstances",
    "ClientCertificate",
    "CramResponse",
    "Denied",
    "Exchange",
    "IBearerToken",
    "IClientCertificate",
    "IScramProof",
    "Malformed",
    "Mechanism",
    "Password",
    "ScramProof",
]
