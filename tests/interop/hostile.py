"""
A next hop that makes trouble: what trouble is said by the recipient's local part.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from txsmtpd import Envelope, Reply, Session, hooks


def _later(session: Session, verdict: str | None = None) -> Deferred[str | None]:
    # By then a connection that was to close is closed.
    return deferLater(session.reactor, 1, lambda: verdict)


@hooks
class Hostile:
    """
    A handler of a second server.
    """

    def handle_RCPT(
        self, server: Any, session: Session, envelope: Envelope, address: str, options: Any
    ) -> Any:
        trouble = address.partition("@")[0]
        if trouble == "lines":
            return Reply(250, "2.1.5", tuple("abc" * 20 for _ in range(50)))
        if trouble == "many-lines":
            return Reply(250, "2.1.5", tuple("abc" for _ in range(101)))
        if trouble == "421":
            return "421 4.3.2 Going down"
        if trouble == "slow":
            return _later(session, "250 2.1.5 At last")
        if trouble == "gone":
            server.transport.abortConnection()
        return None

    def handle_DATA_start(self, server: Any, session: Session, envelope: Envelope) -> Any:
        trouble = self._trouble(envelope)
        if trouble == "data-421":
            return "421 4.3.2 Going down"
        if trouble == "early":
            server.transport.write(b"354 Go on\r\n250 2.0.0 Already taken\r\n")
            return _later(session)
        return None

    def handle_DATA(self, server: Any, session: Session, envelope: Envelope) -> Any:
        trouble = self._trouble(envelope)
        said = {
            "dot-drop": b"",
            "dot-half": b"250 2.0.0 Ok",
            "dot-half-line": b"250-2.0.0 Ok\r\n",
            "dot-lf": b"250 2.0.0 Ok\n",
        }.get(trouble)
        if said is not None:
            server.transport.write(said)
            server.transport.loseConnection()
            return _later(session)
        if trouble == "dot-nonsense":
            server.transport.write(b"OK\r\n")
            return _later(session)
        if trouble == "dot-421":
            return "421 4.3.2 Going down"
        if trouble == "dot-slow":
            return _later(session, "250 2.0.0 At last")
        return None

    def _trouble(self, envelope: Envelope) -> str:
        return envelope.rcpt_tos[0].partition("@")[0]
