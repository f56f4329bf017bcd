"""
What the handlers of this package share.

Beside its hooks, a handler that the command line can make may have:

``from_spec(argument)``
    a class method that makes the handler of what follows its name and a colon in ``--handler``, or
    of None.  It raises ValueError with one sentence if it cannot.
``prepare()``
    called once, when the service starts: by then the process has the user that it keeps, and what
    the handler needs on disk can be made and checked.  It raises :class:`HandlerError`.
``stop()``
    called once, when the service has stopped: no client is left, and no hook will be called.  What
    the handler keeps open, such as connections of its own, is closed here.  The process waits for
    the Deferred or the coroutine that it may return.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import attrs


class HandlerError(Exception):
    """
    A handler cannot do its work on this machine: one sentence for whoever starts the server.
    """


@attrs.frozen
class HandlerSpec:
    """
    A handler that ``--handler`` knows by a short name.
    """

    name: str
    #: How to write it on the command line.
    syntax: str
    #: One line for ``--help-handlers``.
    help: str
    #: Makes it of the argument behind the colon, or of None.
    from_spec: Callable[[str | None], Any]
