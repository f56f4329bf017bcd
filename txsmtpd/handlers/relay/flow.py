"""
Back-pressure from the next hop.
"""

from __future__ import annotations

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer


@implementer(IPushProducer)
class Flow:
    """
    The content of one message as a producer, which the transport pauses when it holds too much.

    It is not the protocol itself, whose `pauseProducing` would stop it from *reading*: then nobody
    would notice that the next hop has gone or has refused.

    :param changed: told whether it is paused.
    """

    def __init__(self, changed: Callable[[bool], None]) -> None:
        self.paused = False
        self._changed = changed
        self._waiting: Deferred[None] | None = None

    def pauseProducing(self) -> None:
        self.paused = True
        self._changed(True)

    def resumeProducing(self) -> None:
        self.paused = False
        self._changed(False)
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    def stopProducing(self) -> None:
        """
        The connection is lost, as `connectionLost` says too.
        """

    def ready(self) -> Deferred[None] | None:
        """
        :return: what to wait for before more is written, if anything.
        """
        if not self.paused:
            return None
        self._waiting = Deferred()
        return self._waiting

    def fail(self, error: Exception) -> None:
        """
        Whoever waits waits for nothing.
        """
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.errback(error)
