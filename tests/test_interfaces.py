"""
Tests for :mod:`txsmtpd.interfaces`.
"""

from __future__ import annotations

import inspect
from typing import Any

from twisted.trial.unittest import SynchronousTestCase
from zope.interface import Interface
from zope.interface.interface import InterfaceClass
from zope.interface.verify import verifyClass, verifyObject

from txsmtpd import interfaces
from txsmtpd.core.outcomes import Sink
from txsmtpd.core.settings import Settings
from txsmtpd.factory import OPTIONAL

from .corekit import EXTENSIONS, Receiver

INTERFACES = {
    name: interface
    for name, interface in vars(interfaces).items()
    if isinstance(interface, InterfaceClass) and interface is not Interface
}


class InterfacesTests(SynchronousTestCase):
    """
    The contract that a user of the library reads first.
    """

    def test_hooks_have_one_method(self) -> None:
        for name, interface in INTERFACES.items():
            if name.endswith("Hook"):
                self.assertEqual(1, len(list(interface.names())), name)

    def test_first_arguments(self) -> None:
        """
        The first three arguments of every hook are the same.
        """
        for name, interface in INTERFACES.items():
            if name.endswith("Hook"):
                (method,) = (interface[each] for each in interface.names())
                self.assertEqual(("server", "session", "envelope"), method.positional[:3], name)
                self.assertEqual(method.positional, method.required, name)

    def test_signatures(self) -> None:
        """
        What follows, as it is documented.
        """
        found = {
            method: list(interface[method].positional[3:])
            for name, interface in INTERFACES.items()
            if name.endswith("Hook")
            for method in interface.names()
        }
        self.assertEqual(
            {
                "handle_CONNECT": [], "handle_PROXY": ["proxy_data"], "handle_HELO": ["hostname"],
                "handle_EHLO": ["hostname", "responses"], "handle_STARTTLS": [],
                "handle_MAIL": ["address", "options"],
                "handle_RCPT": ["address", "options"], "handle_DATA_start": [], "open_content": [],
                "handle_DATA": [], "handle_RSET": [], "handle_NOOP": ["arg"],
                "handle_VRFY": ["address"], "handle_EXPN": ["arg"], "handle_HELP": ["topic"],
                "handle_QUIT": [], "handle_DISCONNECT": ["reason"], "handle_exception": ["error"],
            },
            found,
        )  # fmt: skip

    def test_documented(self) -> None:
        """
        Each method says what it is for.
        """
        for name, interface in INTERFACES.items():
            for method in interface.names():
                self.assertTrue(inspect.cleandoc(interface[method].__doc__ or ""), (name, method))


class ImplementationsTests(SynchronousTestCase):
    """
    What we ship keeps the contract.
    """

    def test_extensions(self) -> None:
        makers: list[Any] = [*EXTENSIONS, *OPTIONAL.values()]
        for extension in makers:
            verifyClass(interfaces.IExtension, extension)
            verifyObject(interfaces.IExtension, extension(Settings()))

    def test_our_receiver(self) -> None:
        """
        So does what these tests use in place of a handler's.
        """
        receiver = Receiver()
        verifyObject(interfaces.IContentReceiver, receiver, tentative=True)
        self.assertTrue(hasattr(Sink, "write"))
