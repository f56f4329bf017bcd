"""
What a run has: a core for the servers, a directory, a certificate, and as many files as it needs.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import attrs
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from txsmtpd.keypairs import make_self_signed

#: What the system keeps when it is started again, so that it is no memory but a disk.
LASTING = "/var/tmp"


@attrs.frozen
class Place:
    """
    Where servers run.
    """

    #: Where each of them runs, or None for anywhere.
    core: int | None
    #: For what is to be written: it goes when the run ends.
    directory: str
    #: A file in PEM, with the key.
    certificate: str


def lasting_directory() -> str:
    """
    A directory on a disk, as far as can be told.
    """
    return LASTING if os.path.isdir(LASTING) else tempfile.gettempdir()


@contextmanager
def place(core: int | None, directory: str) -> Iterator[Place]:
    """
    Make what a run needs, and remove it afterwards.

    :param directory: where a directory is made for all of it.
    """
    with tempfile.TemporaryDirectory(prefix="txsmtpd-benchmarks-", dir=directory) as own:
        certificate = os.path.join(own, "server.pem")
        Path(certificate).write_bytes(_pem())
        yield Place(core, own, certificate)


def _pem() -> bytes:
    pair = make_self_signed("localhost")
    key: bytes = pair.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return pair.certificate.public_bytes(Encoding.PEM) + key


def allow_files(count: int) -> bool:
    """
    See to it that this process, and those that it starts, may have so many files open.

    :return: whether they may.
    """
    try:
        import resource
    except ImportError:
        return False
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= count:
        return True
    if hard != unlimited and hard < count:
        return False
    resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
    return True
