"""
A message that was delivered, and what is right about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from difflib import ndiff
from email import message_from_bytes
from email.message import EmailMessage
from email.policy import default

import attrs

from ..core.session import Envelope
from .recording import Recording
from .spelling import spell_addresses


@attrs.frozen
class Message:
    """
    A message that was delivered.
    """

    mail_from: str
    rcpt_tos: tuple[str, ...]
    #: The octets as they came, with CRLF at the end of each line.
    content: bytes
    envelope: Envelope = attrs.field(eq=False, repr=False)
    #: The connection that it came over, if that is known.
    recording: Recording | None = attrs.field(default=None, eq=False, repr=False)

    @property
    def addresses(self) -> str:
        """
        Who sent it to whom, as transcripts spell it: ``<a@b> -> <c@d> <e@f>``.
        """
        return spell_addresses(self.mail_from, self.rcpt_tos)

    @property
    def parsed(self) -> EmailMessage:
        """
        The message as the standard library understands it: header, parts, attachments.
        """
        return message_from_bytes(self.content, policy=default)

    @property
    def text(self) -> str:
        """
        What a person reads: the part that is plain text, or else HTML, decoded, with ``\\n`` at the
        end of each line; ``""`` if there is no such part.
        """
        part = self.parsed.get_body(("plain", "html"))
        return "" if part is None else part.get_content().replace("\r\n", "\n")


def assert_message(
    message: Message,
    *,
    sender: str | None = None,
    recipients: Iterable[str] | None = None,
    body: str | re.Pattern[str] | None = None,
    **headers: str | re.Pattern[str] | None,
) -> None:
    """
    Compare a message with what is expected of it, as far as something is.

    Header fields are named in Python's way: ``subject="Welcome"``, ``reply_to="help@a.example"``;
    None says that there is none of that name, and of several each is a line.  A compiled regular
    expression is to be found somewhere in the text.

    :param sender: the reverse-path, ``""`` for the null sender.
    :param recipients: whom the server has accepted it for, in any order.
    :param body: the text as :attr:`Message.text` has it; the end of its last line does not count.
    :raise AssertionError: with the lines that differ, and the dialog.
    """
    expected: list[str] = []
    found: list[str] = []

    def compare(name: str, wanted: str | re.Pattern[str] | None, actual: str | None) -> None:
        found.extend(_field(name, actual))
        if isinstance(wanted, re.Pattern):
            fits = wanted.search(actual or "") is not None
            expected.extend(_field(name, actual if fits else f"something like {wanted.pattern}"))
        else:
            expected.extend(_field(name, wanted))

    if sender is not None:
        compare("sender", f"<{sender}>", f"<{message.mail_from}>")
    if recipients is not None:
        compare("recipients", _sorted(recipients), _sorted(message.rcpt_tos))
    parsed = message.parsed
    for keyword, wanted in headers.items():
        name = keyword.rstrip("_").replace("_", "-")
        fields = parsed.get_all(name)
        compare(name, wanted, None if fields is None else "\n".join(map(str, fields)))
    if body is not None:
        wanted = body.removesuffix("\n") if isinstance(body, str) else body
        compare("body", wanted, message.text.removesuffix("\n"))
    if expected != found:
        dialog = f"\n\n{message.recording.transcript}" if message.recording else ""
        lines = "\n".join(line.rstrip("\n") for line in ndiff(expected, found))
        raise AssertionError(f"this message is not as expected (-) but so (+):\n{lines}{dialog}")


def _field(name: str, text: str | None) -> Iterator[str]:
    if text is None:
        yield f"{name}: (none)"
    else:
        first, *rest = text.split("\n")
        yield f"{name}: {first}"
        yield from (f"    {line}" for line in rest)


def _sorted(recipients: Iterable[str]) -> str:
    return " ".join(f"<{address}>" for address in sorted(recipients))
