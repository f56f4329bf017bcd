"""
What each side of a connection has said.
"""

from __future__ import annotations

from typing import Any

from .spelling import shown


class Recording:
    """
    A connection to a server, as it goes.
    """

    def __init__(self) -> None:
        #: The server's side of the connection: what hooks get for their first argument.
        self.protocol: Any = None
        #: What each side ("C" or "S") has said, in order; text is something that happened.
        self.log: list[tuple[str, bytes | str]] = []

    @property
    def transcript(self) -> str:
        """
        The dialog so far, in the form that :class:`Transcript` reads.
        """
        lines: list[str] = []
        side, spoken = "", b""
        for who, what in (*self.log, ("", "")):
            if who != side or isinstance(what, str):
                lines.extend(shown(side, spoken))
                side, spoken = who, b""
            if isinstance(what, bytes):
                spoken += what
            elif what:
                lines.append(f"{who}: {what}")
        return "\n".join(lines)
