"""
Tests for txsmtpd.sasl.base.
"""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import attrs
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd.sasl.base import (
    NAME_LIMIT,
    Challenge,
    Check,
    Circumstances,
    Denied,
    Exchange,
    Malformed,
    Mechanism,
    authorize,
    client_first,
    name,
    utf8,
)

CIRCUMSTANCES = Circumstances(
    hostname="mx.example",
    nonce=lambda: "server+nonce",
    now=lambda: 1700000000.5,
    channel_binding=lambda name: None,
    certificate=None,
    scram=lambda username, hash_name: (b"salt", 4),
)


def circumstances(**changes: Any) -> Circumstances:
    return attrs.evolve(CIRCUMSTANCES, **changes)


def no(credentials: Any) -> bool:
    return False


def yes(credentials: Any) -> bool:
    return True


@attrs.define
class Conversation:
    """
    What came of an exchange.
    """

    challenges: list[bytes] = attrs.field(factory=list)
    checked: list[Any] = attrs.field(factory=list)
    #: As AUTH would judge it: "success", "refused", "malformed", "denied", or "waiting".
    end: str = ""
    #: What the generator returned.
    identity: Any = None
    error: Exception | None = None


def converse(
    mechanism: Mechanism,
    *messages: bytes | None,
    check: Callable[[Any], bool] = no,
    given: Circumstances = CIRCUMSTANCES,
) -> Conversation:
    """
    Do what AUTH does.

    :param messages: the initial response and the answers to the challenges.
    """
    initial, *answers = messages
    said = Conversation()
    exchange = mechanism.exchange(given, initial)
    good = False
    resume: Any = None
    try:
        while True:
            step = exchange.send(resume)
            if isinstance(step, Check):
                said.checked.append(step.credentials)
                resume = good = check(step.credentials)
                continue
            # No mechanism of ours wants anything else.
            assert isinstance(step, Challenge)
            said.challenges.append(step.data)
            if not answers:
                exchange.close()
                said.end = "waiting"
                return said
            resume = answers.pop(0)
    except StopIteration as stop:
        said.identity = stop.value
        success = good if stop.value is None else stop.value is not False
        said.end = "success" if success else "refused"
    except (Malformed, Denied) as error:
        said.error = error
        said.end = type(error).__name__.lower()
    return said


def told(error: BaseException) -> str:
    """
    All that an exception and what it came of could tell.
    """
    chain: list[str] = []
    each: BaseException | None = error
    while each is not None:
        chain += [*map(repr, each.args), repr(vars(each))]
        each = each.__context__
    # The lines of code are no secret, and would find the test's own.
    lines = traceback.TracebackException.from_exception(error, lookup_lines=False)
    return "".join([*chain, *lines.format_exception_only()])


class MechanismTests(SynchronousTestCase):
    def nothing(self, given: Circumstances, initial: bytes | None) -> Exchange:
        return "someone"
        yield

    def test_defaults(self) -> None:
        mechanism = Mechanism("X-OWN_1", self.nothing, None)
        self.assertFalse(mechanism.server_first)
        self.assertTrue(mechanism.offered(CIRCUMSTANCES))

    def test_names(self) -> None:
        """
        What EHLO could not list is no name.
        """
        for good in ("A", "X" * 20, "SCRAM-SHA-256-PLUS"):
            self.assertEqual(good, Mechanism(good, self.nothing, None).name)
        for bad in ("", "X" * 21, "plain", "A B", "A\r\n", "PLAIN\n", "\u00c4", "A.B"):
            with self.assertRaises(ValueError):
                Mechanism(bad, self.nothing, None)

    def test_frozen(self) -> None:
        with self.assertRaises(attrs.exceptions.FrozenInstanceError):
            Mechanism("X", self.nothing, None).name = "Y"  # type: ignore[misc]

    def test_identity(self) -> None:
        """
        A mechanism may find out by itself who it is.
        """
        said = converse(Mechanism("X", self.nothing, None), None)
        self.assertEqual(("success", "someone", []), (said.end, said.identity, said.checked))


class ClientFirstTests(SynchronousTestCase):
    def echo(self, given: Circumstances, initial: bytes | None) -> Exchange:
        return (yield from client_first(initial))

    def test_initial_response(self) -> None:
        for initial in (b"text", b""):
            said = converse(Mechanism("X", self.echo, None), initial)
            self.assertEqual(([], initial), (said.challenges, said.identity))

    def test_asked_for(self) -> None:
        said = converse(Mechanism("X", self.echo, None), None, b"text")
        self.assertEqual(([b""], b"text"), (said.challenges, said.identity))


class UTF8Tests(SynchronousTestCase):
    def test_utf8(self) -> None:
        for text in ("", "abc", "\u00e4\U0001f600"):
            self.assertEqual(text, utf8(text.encode()))

    def test_malformed(self) -> None:
        for octets in (b"\xff", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe4", b"\0"):
            with self.assertRaises(Malformed):
                utf8(octets)

    def test_error_tells_nothing(self) -> None:
        """
        Nor does what it came of: a UnicodeDecodeError has the octets.
        """
        error = self.assertRaises(Malformed, utf8, b"hunter2\xff")
        self.assertIsNone(error.__context__)
        self.assertNotIn("hunter2", told(error))


class NameTests(SynchronousTestCase):
    def test_prepared(self) -> None:
        self.assertEqual(b"user", name("user"))
        self.assertEqual(b"IX", name("I\u00adX"))
        self.assertEqual("\u00e4".encode(), name("a\u0308"))
        self.assertEqual(b"admin", name("\uff41\uff44\uff4d\uff49\uff4e"))

    def test_unassigned(self) -> None:
        """
        A name is a query: what Unicode has assigned since is let through.
        """
        self.assertEqual("\U0001f600".encode(), name("\U0001f600"))

    def test_right_to_left(self) -> None:
        address = "\u05d0\u05d1@example.com"
        self.assertEqual(address.encode(), name(address))

    def test_not_acceptable(self) -> None:
        for text in ("", "\u00ad", "a\rb", "a\nb", "\x07", "\x7f", "a\u2028b", "\ufffd", "\u200e"):
            error = self.assertRaises(Malformed, name, text)
            self.assertIsNone(error.__context__)

    def test_length(self) -> None:
        self.assertEqual(b"x" * NAME_LIMIT, name("x" * NAME_LIMIT))
        for long in ("x" * (NAME_LIMIT + 1), "\u00e4" * (NAME_LIMIT // 2 + 1), "\u00ad" * 10**5):
            with self.assertRaises(Malformed):
                name(long)


class AuthorizeTests(SynchronousTestCase):
    def test_oneself(self) -> None:
        authorize(b"user", b"")
        authorize(b"user", b"user")

    def test_another(self) -> None:
        for authzid in (b"admin", b"User", b"user "):
            with self.assertRaises(Denied):
                authorize(b"user", authzid)


class ReprTests(SynchronousTestCase):
    def test_no_secrets(self) -> None:
        shown = [
            repr(each) + str(each)
            for each in (
                Challenge(b"hunter2"),
                Check("hunter2"),
                circumstances(certificate="hunter2", nonce="hunter2"),
            )
        ]
        self.assertNotIn("hunter2", "".join(shown))
