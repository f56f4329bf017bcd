"""
Handlers that were written for aiosmtpd.
"""

from __future__ import annotations

import inspect
import re
import shlex
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import Any, NoReturn

from zope.interface import directlyProvides

from ..core.grammar import ascii_upper
from ..core.hooks import HOOKS, as_reply
from ..core.session import Envelope, Session
from .exchange import mechanisms
from .for_smtpd import ProcessMessage
from .server import Server, complete, server_of
from .statuses import as_delivery_verdict, as_verdict, joined
from .waiting import then

#: The hooks that are called there.
_THEIRS = (
    *("HELO", "EHLO", "MAIL", "RCPT", "DATA", "RSET", "NOOP", "QUIT", "VRFY", "AUTH", "STARTTLS"),
    *("PROXY", "exception"),
)
#: Hooks that nobody writes for aiosmtpd: whoever has one means this package.
ONLY_OURS = tuple(name for name in HOOKS if name.removeprefix("handle_") not in _THEIRS)

# Parameters whose values are in upper or lower case with a meaning.  aiosmtpd has none of them, and
# makes all words upper case.
_CASED = ("AUTH", "ENVID", "ORCPT")

_MECHANISM = re.compile("auth_([A-Z0-9_]+)")


def hooks_in(handler: object) -> dict[str, Callable[..., Any]]:
    """
    The hooks of a handler by their names, ``RCPT`` for ``handle_RCPT``.
    """
    found = {name: getattr(handler, f"handle_{name}", None) for name in _THEIRS}
    return {name: hook for name, hook in found.items() if callable(hook)}


def methods_in(handler: object) -> dict[str, Callable[..., Any]]:
    """
    What a handler has for AUTH by the names of the mechanisms.
    """
    found = {}
    for attribute in dir(handler):
        if not attribute.startswith("auth_"):
            continue
        method = getattr(handler, attribute)
        match = _MECHANISM.fullmatch(attribute)
        # As its decorator `auth_mechanism` notes it.
        name = getattr(method, "__auth_mechanism_name__", match and match[1].replace("__", "-"))
        if isinstance(name, str) and callable(method):
            found[name] = method
    return found


def might_be(handler: object) -> bool:
    """
    Whether a handler without hooks is one: there that means that it accepts all.
    """
    return any(
        f"{each.__module__}.".startswith("aiosmtpd.") or "from_cli" in vars(each)
        for each in type(handler).__mro__
    )


def nearly_hooks(handler: object) -> Iterator[tuple[str, str]]:
    """
    The methods that are no hooks but for a mistake, each with what was meant: aiosmtpd never calls
    them either, and is silent.
    """
    meant = {f"handle_{name}".lower(): f"handle_{name}" for name in _THEIRS}
    for attribute in dir(handler):
        hook = meant.get(attribute.lower())
        if hook is not None and hook != attribute:
            yield attribute, hook


class _Parser(ArgumentParser):
    """
    What ``from_cli`` is given.
    """

    def error(self, message: str) -> NoReturn:
        raise ValueError(message)


def from_cli(factory: Any, argument: str | None) -> Any:
    """
    Make a handler of words, as aiosmtpd's command line does.

    :param factory: its class, which has a class method ``from_cli(parser, *words)``.
    :param argument: the words, as a shell would take them.
    :raise ValueError: what ``parser.error`` is told.
    """
    return factory.from_cli(_Parser(prog="--handler", add_help=False), *shlex.split(argument or ""))


class AiosmtpdHandler:
    """
    Calls each hook as aiosmtpd does, and reads what it returns.

    :param handler: any object.
    """

    def __init__(self, handler: object) -> None:
        self.handler = handler
        hooks = hooks_in(handler)
        for mechanism in mechanisms(handler, methods_in(handler), hooks.pop("AUTH", None)):
            setattr(self, f"auth_{mechanism.name.replace('-', '__')}", mechanism)
        for name, hook in hooks.items():
            ask = _SPECIAL.get(name, AiosmtpdHandler._ask)
            if name == "EHLO":
                ask = _ehlo(hook)
            setattr(self, f"handle_{name}", partial(ask, self, hook))
        if "DATA" not in hooks and callable(getattr(handler, "process_message", None)):
            self.handle_DATA = ProcessMessage(handler).handle_DATA
        if not any(hasattr(self, name) for name in HOOKS):
            # It accepts everything, and somebody has to say so.
            self.open_content = _nobody
        directlyProvides(self, *(HOOKS[name] for name in HOOKS if hasattr(self, name)))

    def _server(self, protocol: Any, session: Session) -> Server:
        complete(session)
        return server_of(protocol, self.handler)

    def _ask(
        self,
        hook: Callable[..., Any],
        protocol: Any,
        session: Session,
        envelope: Envelope,
        *arguments: Any,
    ) -> Any:
        server = self._server(protocol, session)
        return then(hook(server, session, envelope, *arguments), as_verdict)

    def _ask_with_options(
        self,
        hook: Callable[..., Any],
        protocol: Any,
        session: Session,
        envelope: Envelope,
        address: str,
        options: Iterable[str],
    ) -> Any:
        return self._ask(hook, protocol, session, envelope, address, upper(options))

    def _ask_data(
        self, hook: Callable[..., Any], protocol: Any, session: Session, envelope: Envelope
    ) -> Any:
        shout(envelope)
        server = self._server(protocol, session)
        return then(
            hook(server, session, envelope),
            lambda status: as_delivery_verdict(status, session, envelope),
        )

    def _ask_noop(
        self,
        hook: Callable[..., Any],
        protocol: Any,
        session: Session,
        envelope: Envelope,
        argument: str,
    ) -> Any:
        return self._ask(hook, protocol, session, envelope, argument or None)

    def _ask_vrfy(
        self,
        hook: Callable[..., Any],
        protocol: Any,
        session: Session,
        envelope: Envelope,
        address: str,
    ) -> Any:
        if address.startswith("<") and address.endswith(">"):
            address = address[1:-1]
        return self._ask(hook, protocol, session, envelope, address)

    def _ask_whether(
        self,
        hook: Callable[..., Any],
        protocol: Any,
        session: Session,
        envelope: Envelope,
        *_: Any,
    ) -> Any:
        """
        STARTTLS and PROXY, where all that is not true says no.
        """
        server = self._server(protocol, session)
        # `complete` has made it of what PROXY said.
        facts = (vars(session)["proxy_data"],) if _ else ()
        return then(hook(server, session, envelope, *facts), bool)

    def _explain(
        self,
        hook: Callable[..., Any],
        protocol: Any,
        session: Session,
        envelope: Envelope,
        error: Exception,
    ) -> Any:
        return then(hook(error), as_verdict)

    def _ask_ehlo(
        self,
        hook: Callable[..., Any],
        protocol: Any,
        session: Session,
        envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> Any:
        server = self._server(protocol, session)
        return then(hook(server, session, envelope, hostname, responses), _ehlo_lines)

    def _ask_old_ehlo(
        self,
        hook: Callable[..., Any],
        protocol: Any,
        session: Session,
        envelope: Envelope,
        hostname: str,
        responses: list[str],
    ) -> Any:
        """
        The form with four arguments: what the hook pushes comes behind the lines that are planned,
        and what it returns is the last one.
        """
        server = self._server(protocol, session)
        kept = server.keep()

        def read(status: Any) -> Any:
            last = as_reply(as_verdict(status))
            if last is None:
                return [*responses, *kept]
            if not last.positive:
                return last
            return [*responses, *kept, *(f"250 {text}" for text in last.lines)]

        def finish(answer: Any) -> Any:
            server.keep_no_more(kept)
            return answer

        try:
            answer = then(hook(server, session, envelope, hostname), read)
        except BaseException:
            server.keep_no_more(kept)
            raise
        return answer.addBoth(finish) if hasattr(answer, "addBoth") else finish(answer)


_SPECIAL: dict[str, Callable[..., Any]] = {
    "MAIL": AiosmtpdHandler._ask_with_options,
    "RCPT": AiosmtpdHandler._ask_with_options,
    "DATA": AiosmtpdHandler._ask_data,
    "NOOP": AiosmtpdHandler._ask_noop,
    "VRFY": AiosmtpdHandler._ask_vrfy,
    "STARTTLS": AiosmtpdHandler._ask_whether,
    "PROXY": AiosmtpdHandler._ask_whether,
    "exception": AiosmtpdHandler._explain,
}


def _nobody(server: Any, session: Session, envelope: Envelope) -> None:
    """
    Nobody wants the content.
    """


def _ehlo(hook: Callable[..., Any]) -> Callable[..., Any]:
    wanted = len(inspect.signature(hook).parameters)
    if wanted == 5:
        return AiosmtpdHandler._ask_ehlo
    if wanted == 4:
        return AiosmtpdHandler._ask_old_ehlo
    raise TypeError(
        f"handle_EHLO takes {wanted} arguments, not server, session, envelope,"
        " hostname and responses"
    )


def _ehlo_lines(answer: Any) -> Any:
    if not isinstance(answer, list):
        return as_verdict(answer)
    # It may be a refusal, spelled as a list of lines too.
    return answer if any(line.startswith("250") for line in answer) else joined(answer)


def upper(options: Iterable[str]) -> list[str]:
    """
    The words of MAIL or RCPT in upper case, but for values where the case means something.
    """
    words = []
    for word in options:
        keyword, equals, value = word.partition("=")
        keyword = ascii_upper(keyword)
        words.append(keyword + equals + (value if keyword in _CASED else ascii_upper(value)))
    return words


def shout(envelope: Envelope) -> None:
    """
    The same for those that the core has noted.
    """
    for options in (envelope.mail_options, envelope.rcpt_options):
        options[:] = upper(options)
