"""
Tests for txsmtpd.handlers.registry.
"""

from __future__ import annotations

import os
import sys

from twisted.plugin import IPlugin
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer
from zope.interface.verify import verifyObject

from txsmtpd.handlers import BUILTIN, Debug, Maildir, Sink, known_handlers, make_handler, registry
from txsmtpd.interfaces import ISMTPHandlerFactory


class Plain:
    """
    A handler class without `from_spec`.
    """


class Spelled:
    """
    A handler class with `from_spec`.
    """

    def __init__(self, argument: str | None) -> None:
        self.argument = argument

    @classmethod
    def from_spec(cls, argument: str | None) -> Spelled:
        if argument == "wrong":
            raise ValueError("it wants\n another word")
        return cls(argument)


class Needy:
    """
    A handler class that cannot be made without help.
    """

    def __init__(self) -> None:
        raise RuntimeError("no database")


def speechless() -> None:
    raise KeyError


@implementer(IPlugin, ISMTPHandlerFactory)
class Plugin:
    """
    Somebody else's handler.
    """

    help = "spell it"

    def __init__(self, name: str = "spelled") -> None:
        self.name = name
        self.syntax = f"{name}:WORD"

    def from_spec(self, argument: str | None) -> Spelled:
        return Spelled.from_spec(argument)


NOT_A_CLASS = 17


class MakeHandlerTests(SynchronousTestCase):
    """
    What follows ``--handler``.
    """

    def fails(self, spec: str, sentence: str) -> None:
        error = self.assertRaises(ValueError, make_handler, spec)
        self.assertEqual(sentence, str(error))

    def test_builtin(self) -> None:
        self.assertIsInstance(make_handler("sink"), Sink)
        self.assertIsInstance(make_handler("debug:stderr"), Debug)
        self.assertEqual("/a:b", make_handler("maildir:/a:b").path)
        self.assertIsInstance(make_handler("maildir:x"), Maildir)

    def test_table(self) -> None:
        """
        Each entry can be listed for a person.
        """
        names = ["debug", "maildir", "mbox", "pipe", "reject-unknown", "relay", "relay-lmtp"]
        names += ["relay-tls", "sink", "webhook"]
        self.assertEqual(names, sorted(BUILTIN))
        for name, spec in BUILTIN.items():
            self.assertEqual(name, spec.name)
            self.assertTrue(spec.syntax.startswith(name))
            self.assertTrue(spec.help)

    def test_builtin_refuses(self) -> None:
        self.fails("sink:x", "sink takes no argument")
        self.fails("maildir", "maildir wants a directory: maildir:DIR")
        self.fails("debug:x", "debug prints to stdout or stderr, not to 'x'")

    def test_unknown(self) -> None:
        for name in ("maildri", "", "MAILDIR"):
            self.fails(
                name,
                f"unknown handler {name!r}: say debug, maildir, mbox, pipe, reject-unknown, "
                "relay, relay-lmtp, relay-tls, sink, webhook, or the dotted name of a class",
            )

    def test_dotted(self) -> None:
        self.assertIsInstance(make_handler("tests.test_registry.Plain"), Plain)

    def test_dotted_with_from_spec(self) -> None:
        self.assertEqual("a:b", make_handler("tests.test_registry.Spelled:a:b").argument)
        self.assertEqual("", make_handler("tests.test_registry.Spelled:").argument)
        self.assertIsNone(make_handler("tests.test_registry.Spelled").argument)

    def test_dotted_refuses(self) -> None:
        """
        Whatever the class raises is told in one line.
        """
        prefix = "cannot be made:"
        for spec, reason in [
            ("Plain:x", "it takes no argument"),
            ("Spelled:wrong", "it wants another word"),
            ("Needy", "RuntimeError: no database"),
            ("speechless", "KeyError"),
        ]:
            name = f"tests.test_registry.{spec.partition(':')[0]}"
            self.fails(f"tests.test_registry.{spec}", f"handler {name} {prefix} {reason}")

    def test_not_there(self) -> None:
        for name, reason in [
            ("nosuch.Handler", "'nosuch.Handler' does not name an object"),
            ("tests.nosuch.Handler", "AttributeError: module 'tests' has no attribute 'nosuch'"),
            (
                "tests.test_registry.Nosuch",
                "AttributeError: module 'tests.test_registry' has no attribute 'Nosuch'",
            ),
        ]:
            self.fails(name, f"there is no handler {name}: {reason}")
        error = self.assertRaises(ValueError, make_handler, "tests..Plain")
        self.assertTrue(str(error).startswith("there is no handler tests..Plain: "))

    def test_not_a_class(self) -> None:
        self.fails("tests.test_registry", "handler tests.test_registry is not a class")
        self.fails(
            "tests.test_registry.NOT_A_CLASS",
            "handler tests.test_registry.NOT_A_CLASS is not a class",
        )

    def test_broken_module(self) -> None:
        """
        A module that is there but cannot be imported is not a module that is not there.
        """
        directory = self.mktemp()
        os.mkdir(directory)
        with open(os.path.join(directory, "txsmtpd_broken.py"), "w") as module:
            module.write("import txsmtpd_nosuch\n")
        self.patch(sys, "path", [directory, *sys.path])
        self.patch(sys, "dont_write_bytecode", True)
        self.fails(
            "txsmtpd_broken.Handler",
            "handler txsmtpd_broken.Handler cannot be imported: "
            "ModuleNotFoundError: No module named 'txsmtpd_nosuch'",
        )


class PluginTests(SynchronousTestCase):
    """
    Names that other packages bring.
    """

    def setUp(self) -> None:
        self.plugins = [Plugin(), Plugin("sink"), Plugin()]
        self.patch(registry, "getPlugins", lambda interface: iter(self.plugins))

    def test_interface(self) -> None:
        self.assertTrue(verifyObject(ISMTPHandlerFactory, Plugin()))
        for spec in BUILTIN.values():
            self.assertTrue(verifyObject(ISMTPHandlerFactory, spec, tentative=True))

    def test_made(self) -> None:
        made = make_handler("spelled:one:two")
        self.assertIsInstance(made, Spelled)
        self.assertEqual("one:two", made.argument)
        self.assertIsNone(make_handler("spelled").argument)

    def test_known(self) -> None:
        """
        Our own names are ours, and of two plugins of one name the first counts.
        """
        known = known_handlers()
        self.assertIs(known["spelled"], self.plugins[0])
        self.assertIs(known["sink"], BUILTIN["sink"])
        self.assertIsInstance(make_handler("sink"), Sink)

    def test_wrong(self) -> None:
        error = self.assertRaises(ValueError, make_handler, "spelled:wrong")
        self.assertEqual("cannot make spelled:WORD: it wants another word", str(error))

    def test_unknown(self) -> None:
        error = self.assertRaises(ValueError, make_handler, "nope")
        self.assertIn("sink, spelled, webhook, or the dotted name", str(error))
