"""
Handlers of ours with limits that a test does not have to wait for.
"""

from __future__ import annotations

from txsmtpd.handlers import Mbox, Pipe


class ImpatientMbox(Mbox):
    @classmethod
    def from_spec(cls, argument: str | None) -> ImpatientMbox:
        return cls(argument or "", patience=1)


class NarrowPipe(Pipe):
    @classmethod
    def from_spec(cls, argument: str | None) -> NarrowPipe:
        return cls(Pipe.from_spec(argument).command, parallel=2)
