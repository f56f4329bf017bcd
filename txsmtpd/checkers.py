"""
From ``--auth SPEC`` to a checker.
"""

from __future__ import annotations

from typing import Any

from twisted.cred.checkers import InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.strcred import InvalidAuthArgumentString, InvalidAuthType, makeChecker

from .users import UsersFile


def make_checker(spec: str, reactor: Any) -> Any:
    """
    Make a checker of the value of ``--auth``.

    :param spec: ``users:FILE``, or what a plugin of twisted.cred takes.
    :raise ValueError: with one sentence that says what is wrong.
    """
    name, _, argument = spec.partition(":")
    if name == "users":
        if not argument:
            raise ValueError("say users:FILE")
        return UsersFile(argument, reactor)
    try:
        checker = makeChecker(spec)
    except InvalidAuthType:
        raise ValueError(f"there is no checker {name!r}: say users:FILE") from None
    except InvalidAuthArgumentString as error:
        # It does not say what was given, which may have passwords in it.
        raise ValueError(f"{name} cannot take what follows it: {error}") from None
    except Exception as error:
        # Plugins raise what they like.
        raise ValueError(f"{name} cannot be used: {error}") from error
    if isinstance(checker, InMemoryUsernamePasswordDatabaseDontUse):
        # That of ``memory:`` keeps text, which is never equal to the octets that a client sends.
        checker.users = {_octets(user): _octets(word) for user, word in checker.users.items()}
    return checker


def _octets(text: Any) -> bytes:
    return text if isinstance(text, bytes) else text.encode()


def anybody(*arguments: Any) -> bool:
    """
    An authenticator that says yes.
    """
    return True
