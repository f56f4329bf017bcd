"""
The options of ``twistd smtpd``, and the service that they describe.

Whatever is wrong with the options ends in one sentence on stderr and status 1, before there is a
service: an option that cannot be raises ``UsageError``, and :meth:`Options.parseOptions` turns it
into the end of the process.
"""

from __future__ import annotations

import re
import signal
import socket
from collections.abc import Sequence
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Any

from twisted.copyright import version
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    StandardIOEndpoint,
    TCP4ServerEndpoint,
    TCP6ServerEndpoint,
    UNIXServerEndpoint,
    serverFromString,
)
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.logger import Logger
from twisted.python.usage import Options as UsageOptions
from twisted.python.usage import UsageError

from . import __version__
from .checkers import anybody, make_checker
from .core.session import TLS, Session
from .core.settings import BARE_NEWLINE, UNKNOWN_PARAMETERS
from .endpoints import InheritedEndpoint, StdioEndpoint, UNIXEndpoint
from .extensions.auth import Auth
from .factory import DEFAULT, OPTIONAL, ExtensionMaker, SMTPFactory
from .handlers.registry import known_handlers, make_handler
from .login import mechanisms_of, portal_of
from .options import number, one_of, port_number, setting
from .protocol import LMTP
from .sasl import MECHANISMS
from .service import Listener, SMTPService
from .tls import Certificates, TLSError, self_signed

_log = Logger()

# Those of Twisted's endpoints that begin with a port, which it reads with int().
_ENDPOINT_WITH_PORT = re.compile(r"(?:tcp6?|ssl):(?:port=)?([^:=]*)(?::|$)")

#: What each of these says, as a setting.
_FLAGS: dict[str, tuple[str, Any]] = {
    "no-smtputf8": ("enable_SMTPUTF8", False),
    "lenient": ("lenient", True),
    "verbose": ("verbose", True),
    "proxy-protocol": ("proxy_protocol", True),
    "require-starttls": ("require_starttls", True),
    "require-auth": ("auth_required", True),
    "auth-without-tls": ("auth_require_tls", False),
    "auth-any": ("authenticator", anybody),
}


class Options(UsageOptions):
    """
    What the command line says.

    After `parseOptions` the keys ``listeners``, ``handlers`` and ``reactor`` hold what
    `makeService` needs.
    """

    longdesc = "Receive mail by SMTP and hand it to a handler, or to a chain of them."

    optFlags = [
        ["no-smtputf8", None, "Do not offer SMTPUTF8."],
        ["lenient", None, "Be forgiving about the syntax of addresses."],
        ["proxy-protocol", None, "Want a PROXY header before all else, version 1 or 2."],
        ["tls-self-signed", None, "Make a certificate that nobody trusts, for development."],
        ["require-starttls", None, "Take mail only after STARTTLS."],
        ["require-auth", None, "Take mail only after AUTH."],
        ["auth-without-tls", None, "Offer AUTH also where others can read along."],
        ["auth-any", None, "Let anybody log in with any password, for development."],
        ["verbose", "v", "Log every line of the dialog, credentials masked."],
    ]

    optParameters = [
        ["tls-client-ca", None, None, "Ask for certificates of this CA, a file in PEM."],
    ]

    #: Who speaks when an option is wrong.
    program = "twistd smtpd"

    def __init__(self, reactor: Any = None) -> None:
        super().__init__()
        self.settings: dict[str, Any] = {}
        self["reactor"] = reactor
        self["interface"] = None
        self._ports: list[str] = []
        self._smtps: list[str] = []
        self._lmtp: list[str] = []
        self._extensions: list[ExtensionMaker] = []
        self._certificates: list[str] = []
        self._keys: list[str] = []
        self._checkers: list[str] = []
        self._specs: list[str] = []

    def opt_port(self, text: str) -> None:
        """
        Listen for SMTP on this port, a number from 0 to 65535, or on an endpoint such as tcp6:2525,
        unix:PATH:mode=660, systemd:domain=INET:index=0, or stdio: under inetd. Repeatable.
        [default: 2525]
        """
        self._ports.append(text)

    opt_p = opt_port

    def opt_smtp(self, text: str) -> None:
        """
        The same as --port.
        """
        self._ports.append(text)

    def opt_smtps(self, text: str) -> None:
        """
        Listen for SMTP with TLS from the first byte (RFC 8314), on a port or an endpoint.
        Repeatable.
        """
        self._smtps.append(text)

    def opt_lmtp(self, text: str) -> None:
        """
        Listen for LMTP (RFC 2033), on a port or an endpoint such as
        unix:/run/mail/lmtp.sock:mode=660. Repeatable.
        """
        self._lmtp.append(text)

    def opt_extension(self, text: str) -> None:
        """
        Offer this service extension too, which the handlers honour: DELIVERBY, FUTURERELEASE,
        MT-PRIORITY or REQUIRETLS. Repeatable.
        """
        maker = OPTIONAL.get(text.upper())
        if maker is None:
            raise UsageError(f"--extension wants one of {', '.join(OPTIONAL)}, not {text!r}")
        if maker not in self._extensions:
            self._extensions.append(maker)

    def opt_trusted_proxy(self, text: str) -> None:
        """
        A network, such as 192.0.2.0/24, whose PROXY headers are believed, and which may say XCLIENT
        and XFORWARD. Repeatable. [default: only PROXY headers of this machine]
        """
        try:
            self.settings.setdefault("trusted_proxies", []).append(ip_network(text))
        except ValueError as error:
            raise UsageError(f"--trusted-proxy wants a network: {error}") from None

    def opt_tls_cert(self, text: str) -> None:
        """
        A file with our certificate and its chain, in PEM: offers STARTTLS. Repeatable, each with
        its --tls-key: who the client wants to talk to chooses (SNI). Read again when it changes
        and on SIGHUP.
        """
        self._certificates.append(text)

    def opt_tls_key(self, text: str) -> None:
        """
        The key of the --tls-cert in the same place.
        """
        self._keys.append(text)

    def opt_auth(self, text: str) -> None:
        """
        Who may log in: users:FILE, each line a name, a colon and a password or its hash; or another
        checker of twisted.cred, as twistd web --help-auth lists them. Repeatable.
        """
        self._checkers.append(text)

    def opt_auth_mechanism(self, text: str) -> None:
        """
        Offer this mechanism of AUTH, such as SCRAM-SHA-256, and no other that is not named so.
        Repeatable.
        """
        self.settings.setdefault("auth_mechanism", set()).add(text.upper())

    def opt_interface(self, text: str) -> None:
        """
        The IPv4 or IPv6 address where ports that are mere numbers listen. [default: 127.0.0.1]
        """
        try:
            self["interface"] = ip_address(text)
        except ValueError:
            raise UsageError(f"--interface wants an IPv4 or IPv6 address, not {text!r}") from None

    def opt_handler(self, text: str) -> None:
        """
        What takes the mail: NAME or NAME:ARGUMENT. Repeatable: a chain, asked in order; see
        --help-handlers. [default: debug]
        """
        self._specs.append(text)

    opt_H = opt_handler

    def opt_help_handlers(self) -> None:
        """
        List the handlers and exit.
        """
        handlers = known_handlers()
        width = max(len(handler.syntax) for handler in handlers.values())
        for _, handler in sorted(handlers.items()):
            print(f"{handler.syntax:{width}}  {handler.help}")
        raise SystemExit(0)

    def opt_version(self) -> None:
        """
        Print the versions of txsmtpd and Twisted and exit.
        """
        print(f"txsmtpd {__version__}, Twisted {version}")
        raise SystemExit(0)

    opt_hostname = setting(
        "hostname", str, "What the greeting calls us.", default="the name of this machine"
    )
    opt_ident = setting("ident", str, "What follows our name in the greeting.")
    opt_size_limit = setting(
        "size-limit", number, "Bytes in a message; 0 is no limit.", field="data_size_limit"
    )
    opt_unknown_parameters = setting(
        "unknown-parameters",
        one_of(UNKNOWN_PARAMETERS),
        "What becomes of a parameter of MAIL or RCPT that no extension knows: reject, ignore or"
        " pass it to the handler.",
    )
    opt_timeout = setting(
        "timeout", number, "Seconds that a client may take for its next command; 0 is for ever."
    )
    opt_data_timeout = setting(
        "data-timeout",
        number,
        "Seconds that a client may take for its next bytes of a message; 0 is for ever.",
        default="as --timeout",
    )
    opt_hook_timeout = setting(
        "hook-timeout", number, "Seconds that a handler may take, twice as long for a message."
    )
    opt_session_timeout = setting(
        "session-timeout", number, "Seconds that a connection may last; 0 is for ever."
    )
    opt_max_connections = setting(
        "max-connections", number, "Connections at a time; 0 is no limit."
    )
    opt_max_connections_per_host = setting(
        "max-connections-per-host",
        number,
        "Connections at a time from one address; 0 is no limit.",
    )
    opt_max_recipients = setting(
        "max-recipients", number, "Recipients of one message; 0 is no limit."
    )
    opt_max_errors = setting(
        "max-errors", number, "Errors before a client is cut off; 0 is no limit."
    )
    opt_content_memory = setting(
        "content-memory", number, "Bytes of messages held in memory over all connections."
    )
    opt_bare_newline = setting(
        "bare-newline",
        one_of(BARE_NEWLINE),
        "What becomes of bare CR and LF in a message: reject, normalize or keep.",
    )

    def parseArgs(self, *arguments: str) -> None:
        if arguments:
            raise UsageError(f"takes options only, not {arguments[0]!r}")

    def parseOptions(self, options: Sequence[str] | None = None) -> None:
        """
        :raise SystemExit: with one sentence, if the options cannot be.
        """
        try:
            super().parseOptions(options)
        except UsageError as error:
            sentence = " ".join(str(error).split())
            # So begins what getopt says of an option that it does not know or cannot read.
            hint = "; --help lists all" if sentence.startswith("option ") else ""
            raise SystemExit(f"{self.program}: {sentence}{hint}") from None

    def postOptions(self) -> None:
        """
        Make everything that the options name.
        """
        if self["reactor"] is None:
            from twisted.internet import reactor

            self["reactor"] = reactor
        for name, (field, value) in _FLAGS.items():
            if self[name]:
                self.settings[field] = value
        self["certificates"] = self._read_certificates()
        self.settings["context_factory"] = self["certificates"]
        self.settings["checkers"] = [self._checker(spec) for spec in self._checkers]
        self["handlers"] = [self._handler(spec) for spec in self._specs or ["debug"]]
        self._check_users()
        self._check_certificate()
        factory = self._factory()
        self._check_mechanisms(factory)
        ports = self._ports if self._smtps or self._lmtp else self._ports or ["2525"]
        wanted = [("port", port, factory) for port in ports]
        if self._smtps:
            safe = factory.beside(implicit_tls=True)
            wanted += [("smtps", port, safe) for port in self._smtps]
        if self._lmtp:
            lmtp = factory.beside(protocol=LMTP)
            wanted += [("lmtp", port, lmtp) for port in self._lmtp]
        if self["interface"] is not None and all(":" in port for _, port, _ in wanted):
            raise UsageError("--interface goes with port numbers only")
        self["listeners"] = [self._listener(*each) for each in wanted]
        self._claim_standard_io()

    def _check_users(self) -> None:
        """
        :raise UsageError: for an option that cannot work where nobody can log in, or for a
            mechanism that there is not.
        """
        if self._checkers and self["auth-any"]:
            raise UsageError("--auth-any lets everybody in, so --auth is too much")
        own = [mechanism.name for each in self["handlers"] for mechanism in mechanisms_of(each)]
        users = own or portal_of(self["handlers"]) is not None
        if not (self._checkers or self["auth-any"] or users):
            for option, said in (
                ("require-auth", self["require-auth"]),
                ("auth-without-tls", self["auth-without-tls"]),
                ("auth-mechanism", "auth_mechanism" in self.settings),
            ):
                if said:
                    raise UsageError(f"--{option} wants users: say --auth users:FILE")
        known = [*(mechanism.name for mechanism in MECHANISMS), *own]
        for name in sorted(self.settings.get("auth_mechanism", ())):
            if name not in known:
                raise UsageError(f"--auth-mechanism wants one of {', '.join(known)}, not {name!r}")

    def _check_mechanisms(self, factory: SMTPFactory) -> None:
        """
        :raise UsageError: if everybody has to log in, and nobody can, not even in the best of
            circumstances.
        """
        if not self["require-auth"]:
            return
        best = Session(ssl={})
        # An endpoint of TLS may ask for certificates too.
        elsewhere = any(port.startswith("ssl:") for port in (*self._ports, *self._lmtp))
        if self["certificates"] is not None or elsewhere:
            certificate = b"of a client" if self["tls-client-ca"] or elsewhere else None
            best.tls = TLS("TLSv1.3", "", 0, None, certificate, lambda binding: b"a binding")
        if Auth(factory.settings).keyword(best) is None:
            raise UsageError(
                "--require-auth lets nobody in, because none of the mechanisms that are allowed can"
                " be served"
            )

    def _check_certificate(self) -> None:
        """
        :raise UsageError: for an option that cannot work without one.
        """
        if self["certificates"] is not None:
            return
        for option, said in (
            ("smtps", self._smtps),
            ("require-starttls", self["require-starttls"]),
        ):
            if said:
                raise UsageError(f"--{option} wants a certificate: say --tls-cert and --tls-key")
        auth = self._checkers or self["auth-any"] or self["require-auth"]
        # A proxy may say that its client speaks TLS with it, and an endpoint may speak it itself.
        elsewhere = self["proxy-protocol"] or any(port.startswith("ssl:") for port in self._ports)
        if auth and not (self["auth-without-tls"] or elsewhere):
            raise UsageError(
                "AUTH is offered under TLS only: say --tls-cert and --tls-key, or"
                " --auth-without-tls"
            )

    def _read_certificates(self) -> Any:
        if len(self._certificates) != len(self._keys):
            raise UsageError("--tls-cert and --tls-key come in pairs")
        if self._certificates and self["tls-self-signed"]:
            raise UsageError("--tls-self-signed makes a certificate, so --tls-cert is too much")
        if self["tls-client-ca"] and not self._certificates:
            raise UsageError("--tls-client-ca wants --tls-cert and --tls-key")
        if self["tls-self-signed"]:
            return self_signed(self.settings.get("hostname") or socket.getfqdn())
        if not self._certificates:
            return None
        pairs = list(zip(self._certificates, self._keys, strict=True))
        try:
            return Certificates(pairs, clock=self["reactor"], client_ca=self["tls-client-ca"])
        except TLSError as error:
            raise UsageError(str(error)) from None

    def _checker(self, spec: str) -> Any:
        try:
            return make_checker(spec, self["reactor"])
        except ValueError as error:
            raise UsageError(f"--auth: {error}") from None

    def _handler(self, spec: str) -> object:
        try:
            return make_handler(spec)
        except ValueError as error:
            raise UsageError(f"--handler: {error}") from None

    def _factory(self) -> SMTPFactory:
        try:
            return SMTPFactory(
                *self["handlers"],
                reactor=self["reactor"],
                extensions=(*DEFAULT, *self._extensions),
                **self.settings,
            )
        except TypeError as error:
            raise UsageError(f"--handler: {error}") from None
        except ValueError as error:
            raise UsageError(str(error)) from None

    def _listener(self, option: str, text: str, factory: SMTPFactory) -> Listener:
        if ":" in text:
            if text.startswith("ssl:") and self["proxy-protocol"]:
                raise UsageError(
                    f"--{option} ssl: begins with TLS, and a PROXY header comes before it: say"
                    " --smtps and --tls-cert"
                )
            return Listener(self._endpoint(option, text), factory, text)
        port = port_number(option, text)
        interface = self["interface"] or "127.0.0.1"
        listen = TCP6ServerEndpoint if isinstance(interface, IPv6Address) else TCP4ServerEndpoint
        endpoint = listen(self["reactor"], port, interface=str(interface))
        return Listener(endpoint, factory, f"port {port}")

    def _endpoint(self, option: str, text: str) -> IStreamServerEndpoint:
        if begins_with_port := _ENDPOINT_WITH_PORT.match(text):
            port_number(option, begins_with_port[1])
        try:
            endpoint = serverFromString(self["reactor"], text)
        except Exception as error:
            # Not only ValueError: a missing argument is the TypeError of an inner function, a
            # missing key file an OSError, and plugins raise what they like.
            missing = text.startswith("systemd:") and isinstance(error, LookupError)
            reason = "systemd has opened no such socket" if missing else str(error)
            raise UsageError(f"--{option} cannot use the endpoint {text!r}: {reason}") from None
        return self._better(endpoint)

    def _better(self, endpoint: Any) -> IStreamServerEndpoint:
        """
        Our own endpoint where Twisted's is not good enough: each of ours says why.
        """
        better: IStreamServerEndpoint = endpoint
        if isinstance(endpoint, UNIXServerEndpoint):
            better = UNIXEndpoint(endpoint._address, endpoint)
        elif isinstance(endpoint, AdoptedStreamServerEndpoint):
            better = InheritedEndpoint(self["reactor"], endpoint.fileno)
        elif isinstance(endpoint, StandardIOEndpoint):
            better = StdioEndpoint(self["reactor"])
        return better

    def _claim_standard_io(self) -> None:
        listeners = self["listeners"]
        for listener in listeners:
            endpoint = listener.endpoint
            if not isinstance(endpoint, StdioEndpoint):
                continue
            if len(listeners) > 1:
                raise UsageError("--port stdio: serves one client and ends, so it is the only port")
            # Of all that may run us only twistd has this option.
            if self.parent is not None and not self.parent.get("nodaemon", True):
                raise UsageError("--port stdio: is not for a daemon: say twistd -n")
            try:
                endpoint.claim()
                tls = endpoint.is_socket
            except OSError as error:
                raise UsageError(f"--port stdio: {error.strerror}") from None
            if listener.factory.settings.implicit_tls and not tls:
                raise UsageError("--smtps stdio: wants a socket, not pipes or a terminal")


def _heed_no_more_signals() -> None:
    """
    While the server stops, a second SIGTERM changes nothing, and a second SIGINT, which comes from
    a person who is tired of waiting, ends the process at once.

    To the reactor either would be an error with a traceback.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _nothing_to_reload() -> None:
    _log.info("SIGHUP: there are no files of certificates to read again", event="hangup")


def _heed_hangup(reactor: Any, certificates: Any) -> None:
    """
    From now on SIGHUP has the certificates read again, if there are files of them, and never ends
    the process.
    """
    reload = _nothing_to_reload
    if isinstance(certificates, Certificates):
        reload = certificates.reload

    def heed(number: int, frame: Any) -> None:
        reactor.callFromThread(reload)

    signal.signal(signal.SIGHUP, heed)


def makeService(options: Options) -> SMTPService:
    """
    :param options: what `Options.parseOptions` has filled; ``service`` is the result.
    """
    reactor = options["reactor"]
    reactor.addSystemEventTrigger("before", "shutdown", _heed_no_more_signals)
    # At once: who sends it as soon as we listen does not mean to end the process.
    _heed_hangup(reactor, options["certificates"])
    options["service"] = SMTPService(
        reactor, options["listeners"], options["handlers"], options.program
    )
    service: SMTPService = options["service"]
    return service
