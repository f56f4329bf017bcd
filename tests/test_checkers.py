"""
Tests for txsmtpd.checkers.
"""

from __future__ import annotations

import os
from typing import Any

from twisted.cred.checkers import FilePasswordDB, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.credentials import UsernamePassword
from twisted.cred.strcred import ICheckerFactory, makeChecker
from twisted.internet.task import Clock
from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from txsmtpd import checkers
from txsmtpd.checkers import anybody, make_checker
from txsmtpd.users import UsersFile


class MakeCheckerTests(SynchronousTestCase):
    """
    What ``--auth`` names.
    """

    def file(self, content: str) -> str:
        path: str = self.mktemp()
        with open(path, "w", encoding="utf-8") as file:
            file.write(content)
        os.chmod(path, 0o600)
        return path

    def assertRefused(self, spec: str, expected: str) -> None:
        error = self.assertRaises(ValueError, make_checker, spec, Clock())
        self.assertEqual(expected, str(error))

    def test_users(self) -> None:
        """
        It is ours, on the given reactor, whatever colons there are.
        """
        path = self.file("ann:wonder:land\n")
        os.rename(path, f"{path}:1")
        clock = Clock()
        checker: Any = make_checker(f"users:{path}:1", clock)
        self.assertIsInstance(checker, UsersFile)
        self.assertIs(clock, checker._reactor)
        good = checker.requestAvatarId(UsernamePassword(b"ann", b"wonder:land"))
        self.assertEqual(b"ann", self.successResultOf(good))

    def test_users_without_file(self) -> None:
        for spec in ("users", "users:"):
            self.assertRefused(spec, "say users:FILE")

    def test_users_that_cannot_be_read(self) -> None:
        path = os.path.abspath(self.mktemp())
        self.assertRefused(f"users:{path}", f"{path}: No such file or directory")
        path = os.path.abspath(self.file("ann:wonderland\nsecret\n"))
        problem = f"{path}: line 2 has no colon between user name and password"
        self.assertRefused(f"users:{path}", problem)

    def test_others(self) -> None:
        """
        Every plugin of twisted.cred will do.
        """
        memory: Any = make_checker("memory:ann:wonderland", Clock())
        self.assertIsInstance(memory, InMemoryUsernamePasswordDatabaseDontUse)
        good = memory.requestAvatarId(UsernamePassword(b"ann", b"wonderland"))
        self.assertEqual(b"ann", self.successResultOf(good))
        octets = InMemoryUsernamePasswordDatabaseDontUse(ann=b"wonderland")
        self.patch(checkers, "makeChecker", lambda spec: octets)
        self.assertEqual({b"ann": b"wonderland"}, make_checker("memory", Clock()).users)
        self.patch(checkers, "makeChecker", makeChecker)
        file = make_checker(f"file:{self.file('ann:wonderland')}", Clock())
        self.assertIsInstance(file, FilePasswordDB)

    def test_unknown(self) -> None:
        self.assertRefused("xyzzy:1", "there is no checker 'xyzzy': say users:FILE")
        self.assertRefused("", "there is no checker '': say users:FILE")

    def test_argument(self) -> None:
        """
        The plugin says what is wrong with it; nobody repeats it, because it may have passwords.
        """
        self.assertRefused(
            "memory:ann:wonderland:bob",
            "memory cannot take what follows it: argstring must be in format U:P:...",
        )

    def test_plugin_that_fails(self) -> None:
        """
        Plugins raise what they like.
        """

        @implementer(ICheckerFactory, IPlugin)
        class Failing:
            authType = "failing"
            authHelp = argStringFormat = ""
            credentialInterfaces = ()

            def generateChecker(self, argstring: str) -> Any:
                raise KeyError("no such thing")

        def make(spec: str) -> Any:
            return Failing().generateChecker(spec)

        self.patch(checkers, "makeChecker", make)
        self.assertRefused("failing:1", "failing cannot be used: 'no such thing'")


class AnybodyTests(SynchronousTestCase):
    def test_yes(self) -> None:
        self.assertIs(True, anybody("server", "session", "envelope", "PLAIN", "data"))
