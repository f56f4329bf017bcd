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
from datetime import datetime
from typing import Any, TypeVar

import attrs
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.threads import deferToThreadPool
from twisted.python.failure import Failure

T = TypeVar("T")


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


def local_time() -> datetime:
    """
    What time it is, with its zone.
    """
    return datetime.now().astimezone()


def runner(reactor: Any) -> Callable[..., Deferred[Any]]:
    """
    :return: what calls a function in a thread of the reactor's pool.
    """

    def run(job: Callable[..., Any], *arguments: object) -> Deferred[Any]:
        return deferToThreadPool(reactor, reactor.getThreadPool(), job, *arguments)

    return run


def shielded(inner: Deferred[T], give_up: Callable[[], object]) -> Deferred[T]:
    """
    :param give_up: called when what this returns is cancelled.
    :return: the result of `inner`, which is not cancelled, because what it stands for would go on
        all the same.
    """
    outer: Deferred[T] = Deferred()

    def look(failure: Failure) -> Failure:
        if failure.check(CancelledError):
            give_up()
        return failure

    outer.addErrback(look)
    inner.addCallbacks(outer.callback, outer.errback)
    return outer
