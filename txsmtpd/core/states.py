"""
Legality as a table: which command may come when, and what state follows its success.

A command that has no entry in the row of the current state is answered 503; that is the only such
check there is.  Extensions bring rows of their own, for states of the core or for new ones.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import NewType, TypeAlias

State = NewType("State", str)
#: The name of a verb, or in brackets something else that happens.
Symbol: TypeAlias = str
Table: TypeAlias = Mapping[State, Mapping[Symbol, State]]

#: Greeted; the client has not said who it is.
START = State("start")
#: The client has said EHLO or HELO; no transaction is open.
READY = State("ready")
#: MAIL was accepted.
MAIL = State("mail")
#: MAIL was accepted, and every RCPT so far was refused.
NO_RCPT = State("no rcpt")
#: At least one RCPT was accepted.
RCPT = State("rcpt")
#: After 354: octets are content until the end of data.
CONTENT = State("content")
#: The greeting was a refusal (RFC 5321 section 3.1).
REFUSED = State("refused")

#: The content has ended and its verdict is known, whatever it is.
END: Symbol = "(end of content)"


def refusal_of(verb: str) -> Symbol:
    """
    What happens when `verb` is answered with a negative reply: in most states, nothing.
    """
    return f"({verb} refused)"


def anytime(state: State) -> dict[Symbol, State]:
    """
    The part that the row of every ordinary state has: what is legal in the middle of anything.
    """
    reset = START if state is START else READY
    stay = dict.fromkeys(("NOOP", "HELP", "VRFY", "EXPN", "QUIT"), state)
    return {**stay, "RSET": reset, "EHLO": READY, "HELO": READY, "LHLO": READY}


TRANSITIONS: Table = {
    START: anytime(START),
    READY: {**anytime(READY), "MAIL": MAIL},
    MAIL: {**anytime(MAIL), "RCPT": RCPT, refusal_of("RCPT"): NO_RCPT},
    NO_RCPT: {**anytime(NO_RCPT), "RCPT": RCPT},
    RCPT: {**anytime(RCPT), "RCPT": RCPT, "DATA": CONTENT},
    CONTENT: {END: READY},
    REFUSED: {"QUIT": REFUSED},
}


def merge(tables: Iterable[Table]) -> dict[State, dict[Symbol, State]]:
    """
    Join tables into one.

    :raise ValueError: if two of them have an entry for the same state and symbol.
    """
    merged: dict[State, dict[Symbol, State]] = {}
    for table in tables:
        for state, row in table.items():
            target = merged.setdefault(state, {})
            for symbol, follows in row.items():
                if symbol in target:
                    raise ValueError(f"{symbol} in the state {state!r} is claimed twice")
                target[symbol] = follows
    return merged
