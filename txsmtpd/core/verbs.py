"""
The commands of RFC 5321 section 4.1.1.

A verb judges its argument, asks its hook, records what was accepted and returns an outcome.  It
raises :class:`~txsmtpd.core.replies.Rejected` for what is wrong with the command itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from . import clauses, grammar, replies, trace
from .content import DotReader
from .context import Context
from .delivery import Delivery, begin
from .hooks import Hook
from .outcomes import CLOSE, Body, Outcome, Step, Verb
from .replies import Rejected, Reply
from .session import Envelope, Parameters, Recipient
from .states import NO_RCPT

_BAD_VRFY = replies.syntax_error("VRFY address")
_SAY_LHLO = Reply(500, "5.5.1", ("This is LMTP: say LHLO",))
_SENDER_OK = (replies.SENDER_OK,)
_RECIPIENT_OK = (replies.RECIPIENT_OK,)


def _only(reply: Reply) -> Outcome:
    return Outcome((reply,))


# Greeting: EHLO and HELO.


def ehlo(context: Context, argument: str) -> Step:
    """
    EHLO (RFC 5321 section 4.1.1.1).
    """
    hostname = _hostname(context, argument)
    texts = context.rules.ehlo_texts(context.session)
    default = replies.said_often(250, texts)
    conclude = _greeter(context, hostname, extended=True)
    if context.hooks.EHLO is None:
        return conclude(default)
    lines = [f"250-{text}" for text in texts[:-1]] + [f"250 {texts[-1]}"]
    return context.ask(context.hooks.EHLO, default, conclude, hostname, lines)


def no_greeting(context: Context, argument: str) -> Step:
    """
    EHLO and HELO where LHLO is wanted (RFC 2033 section 4.1).
    """
    raise Rejected(_SAY_LHLO)


def helo(context: Context, argument: str) -> Step:
    """
    HELO (RFC 5321 section 4.1.1.1): after it no extension is on.
    """
    hostname = _hostname(context, argument)
    default = replies.said_often(250, (context.settings.hostname,))
    conclude = _greeter(context, hostname, extended=False)
    return context.ask(context.hooks.HELO, default, conclude, hostname)


def _hostname(context: Context, argument: str) -> str:
    try:
        return grammar.host(argument, lenient=context.settings.lenient)
    except grammar.GrammarError:
        raise Rejected(replies.BAD_HOSTNAME) from None


def _greeter(context: Context, hostname: str, *, extended: bool) -> Callable[[Reply], Outcome]:
    session = context.session
    before = session.host_name

    def greeted() -> None:
        if session.host_name is before:
            session.host_name = hostname
        session.extended_smtp = extended
        context.reset("greeted again")

    return lambda reply: Outcome((reply,), commit=greeted)


# The transaction: MAIL, RCPT, DATA.


def mail(context: Context, argument: str) -> Step:
    """
    MAIL (RFC 5321 section 4.1.1.2).
    """
    ascii_only = argument.isascii()
    utf8 = not ascii_only and clauses.asks_for_utf8(argument)
    address, rest = clauses.path(context, clauses.FROM, argument, utf8)
    options = Parameters()
    checks = context.rules.mail_checks.without
    if rest:
        options = clauses.options(context, rest, utf8, context.rules.mail_parameters)
        checks = context.rules.mail_checks.all
    for check in checks:
        check(context.session, context.envelope, options)
    if not (ascii_only or context.envelope.smtp_utf8):
        # It was asked for, but is not offered.
        raise Rejected(replies.NEEDS_SMTPUTF8)
    opened = partial(_opened, context, address, options)
    if context.hooks.MAIL is None:
        return Outcome(_SENDER_OK, None, opened)
    conclude = partial(_recorded, opened)
    return context.ask(context.hooks.MAIL, replies.SENDER_OK, conclude, address, options)


def _recorded(commit: Callable[[], None], reply: Reply) -> Outcome:
    return Outcome((reply,), None, commit)


def _opened(context: Context, address: str, options: Parameters) -> None:
    envelope = context.envelope
    context.echo = False
    if envelope.mail_from is None:
        envelope.mail_from = address
    if not envelope.mail_options:
        envelope.mail_options = list(options)
    envelope.protocol = trace.protocol_name(context.session, envelope.smtp_utf8)


def rcpt(context: Context, argument: str) -> Step:
    """
    RCPT (RFC 5321 section 4.1.1.3).
    """
    envelope = context.envelope
    address, rest = clauses.path(context, clauses.TO, argument, envelope.smtp_utf8)
    if not address:
        raise Rejected(replies.BAD_RECIPIENT)
    options = Parameters()
    checks = context.rules.rcpt_checks.without
    if rest:
        options = clauses.options(context, rest, envelope.smtp_utf8, context.rules.rcpt_parameters)
        checks = context.rules.rcpt_checks.all
    if 0 < context.settings.max_recipients <= len(context.recipients):
        raise Rejected(replies.TOO_MANY_RECIPIENTS)
    for check in checks:
        check(context.session, envelope, options)
    if context.hooks.RCPT is None:
        commit = partial(
            _addressed, context, envelope, address, options, replies.RECIPIENT_OK, None
        )
        return Outcome(_RECIPIENT_OK, None, commit)
    # What the list looks like before the hook tells whether the hook has changed it.
    before, options_before = list(envelope.rcpt_tos), list(envelope.rcpt_options)

    def conclude(reply: Reply) -> Outcome:
        if not reply.positive:
            # One handler may have added whom the next one refused.
            envelope.rcpt_tos, envelope.rcpt_options = before, options_before
        commit = partial(_addressed, context, envelope, address, options, reply, before)
        return Outcome((reply,), None, commit)

    return context.ask(context.hooks.RCPT, replies.RECIPIENT_OK, conclude, address, options)


def _addressed(
    context: Context,
    envelope: Envelope,
    address: str,
    options: Parameters,
    reply: Reply,
    before: list[str] | None,
) -> None:
    """
    :param before: the recipients' addresses as the hook found them, if there is one.
    """
    recipient = Recipient(address, options, reply)
    context.recipients.append(recipient)
    envelope.recipients.append(recipient)
    if before is None or envelope.rcpt_tos == before:
        envelope.rcpt_tos.append(address)
        if options:
            envelope.rcpt_options.extend(options)


def data(context: Context, argument: str) -> Step:
    """
    DATA (RFC 5321 section 4.1.1.4).
    """
    _nothing(argument)
    return begin(context, "DATA", _receive)


def _receive(delivery: Delivery) -> Outcome:
    body = Body(DotReader(), delivery, delivery, False)
    return Outcome((delivery.go_ahead,), body, None)


def no_recipients(context: Context, argument: str, reply: Reply) -> Outcome:
    """
    Refuse content that nobody is left to receive in words that say so.
    """
    if reply is replies.BAD_SEQUENCE and context.state == NO_RCPT and not context.rules.lmtp:
        return _only(replies.NO_RECIPIENTS)
    return _only(reply)


# The rest.


def rset(context: Context, argument: str) -> Step:
    """
    RSET (RFC 5321 section 4.1.1.5).
    """
    _nothing(argument)
    envelope, hook = context.envelope, context.hooks.RSET
    # First, because it happens even if the hook says no.
    context.happened("RSET")
    context.reset("RSET")
    if hook is None:
        return _only(replies.OK)
    return context.ask(_about(envelope, hook), replies.OK, _only)


def _about(envelope: Envelope, hook: Hook) -> Hook:
    """
    A hook that is asked about an envelope which is not the current one.
    """
    return lambda server, session, current: hook(server, session, envelope)


def noop(context: Context, argument: str) -> Step:
    """
    NOOP (RFC 5321 section 4.1.1.9).
    """
    return context.ask(context.hooks.NOOP, replies.OK, _only, argument)


def quit(context: Context, argument: str) -> Step:
    """
    QUIT (RFC 5321 section 4.1.1.10).
    """
    _nothing(argument)
    return context.ask(context.hooks.QUIT, replies.BYE, _leave)


def _leave(reply: Reply) -> Outcome:
    return Outcome((reply,), CLOSE)


def vrfy(context: Context, argument: str) -> Step:
    """
    VRFY (RFC 5321 section 4.1.1.6): never says whether a user exists, unless a hook does.
    """
    if not argument:
        raise Rejected(_BAD_VRFY)
    return _look_up(context, context.hooks.VRFY, replies.CANNOT_VERIFY, argument)


def expn(context: Context, argument: str) -> Step:
    """
    EXPN (RFC 5321 section 4.1.1.7): only served if a hook does.
    """
    return _look_up(context, context.hooks.EXPN, replies.NOT_SERVED, argument)


# RFC 6531 section 3.7.4.2
#   vrfy = "VRFY" SP String [ SP "SMTPUTF8" ] CRLF
#   expn = "EXPN" SP String [ SP "SMTPUTF8" ] CRLF
def _look_up(context: Context, hook: Hook | None, default: Reply, argument: str) -> Step:
    name, _, word = argument.rpartition(" ")
    asked = bool(name) and grammar.ascii_upper(word) == "SMTPUTF8"
    utf8 = asked and context.session.extended_smtp and _offers_smtputf8(context)
    conclude = _only if utf8 else _only_ascii
    return context.ask(hook, default, conclude, name if utf8 else argument, utf8=True)


def _offers_smtputf8(context: Context) -> bool:
    known = context.rules.mail_parameters.get("SMTPUTF8")
    return known is not None and known.offered(context.session)


def _only_ascii(reply: Reply) -> Outcome:
    """
    Conclude from what is perhaps an address that the client could not read.
    """
    if reply.positive and not reply.wire.isascii():
        return _only(replies.NOT_IN_ASCII)
    return _only(reply.in_ascii())


def help(context: Context, argument: str) -> Step:
    """
    HELP (RFC 5321 section 4.1.1.8).
    """
    known = context.rules.verbs.get(argument.encode("utf-8").upper())
    commands = context.rules.commands
    text = f"Commands: {commands}" if known is None else f"Syntax: {known[1].syntax}"
    default = Reply(214, "2.0.0", (text,))
    return context.ask(context.hooks.HELP, default, _only, argument)


def _nothing(argument: str) -> None:
    if argument:
        raise Rejected(replies.NO_ARGUMENT)


VERBS: Mapping[str, Verb] = {
    "EHLO": Verb(ehlo, "EHLO hostname"),
    "HELO": Verb(helo, "HELO hostname"),
    "MAIL": Verb(mail, clauses.MAIL_SYNTAX, leads=True),
    "RCPT": Verb(rcpt, clauses.RCPT_SYNTAX, follows=True),
    "DATA": Verb(data, "DATA", refused=no_recipients, follows=True),
    "RSET": Verb(rset, "RSET"),
    "NOOP": Verb(noop, "NOOP [text]", acts=False),
    "QUIT": Verb(quit, "QUIT"),
    "VRFY": Verb(vrfy, "VRFY address", acts=False),
    "EXPN": Verb(expn, "EXPN list", acts=False),
    "HELP": Verb(help, "HELP [command]", acts=False),
}

#: Those of LMTP (RFC 2033).
LMTP_VERBS: Mapping[str, Verb] = {
    **VERBS,
    "LHLO": Verb(ehlo, "LHLO hostname"),
    "EHLO": Verb(no_greeting, "LHLO hostname", listed=False),
    "HELO": Verb(no_greeting, "LHLO hostname", listed=False),
}
