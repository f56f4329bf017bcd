from __future__ import annotations

import io
import os
import signal
import socket
import sys
from pathlib import Path
from typing import Any
from unittest.mock import patch

from twisted.copyright import version
from twisted.cred.checkers import FilePasswordDB, InMemoryUsernamePasswordDatabaseDontUse
from twisted.internet.endpoints import (
    AdoptedStreamServerEndpoint,
    TCP6ServerEndpoint,
    UNIXServerEndpoint,
)
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs, formatEvent
from twisted.python.usage import Options as UsageOptions
from twisted.trial.unittest import SynchronousTestCase

from docs.code.mechanism import Visitors
from txsmtpd import LMTP, SMTP, __version__, checkers, tap
from txsmtpd.core.session import Session
from txsmtpd.core.settings import Settings
from txsmtpd.endpoints import InheritedEndpoint, StdioEndpoint, UNIXEndpoint
from txsmtpd.extensions.deliverby import DeliverBy
from txsmtpd.factory import OPTIONAL
from txsmtpd.handlers.debug import Debug
from txsmtpd.handlers.registry import BUILTIN
from txsmtpd.handlers.sink import Sink
from txsmtpd.sasl import MECHANISMS
from txsmtpd.service import SMTPService
from txsmtpd.tls import Certificates
from txsmtpd.users import UsersFile

from .certificates import make_ca
from .test_hashes import HTPASSWD


def parsed(*arguments: str) -> tap.Options:
    options = tap.Options(MemoryReactorClock())
    options.parseOptions(list(arguments))
    return options


class TapTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        # A service heeds it from when it is made.
        self.addCleanup(signal.signal, signal.SIGHUP, signal.getsignal(signal.SIGHUP))
        # The real one may ask the network.
        self.patch(socket, "getfqdn", lambda: "mx.example")

    def assertSentence(self, arguments: list[str], sentence: str) -> None:
        """
        Check what is said on stderr when these options end the process with status 1.
        """
        end = self.assertRaises(SystemExit, parsed, *arguments)
        # Python prints a code that is text, and ends with status 1.
        self.assertEqual(end.code, f"twistd smtpd: {sentence}")

    def printed(self, *arguments: str) -> str:
        """
        :return: what these options, which end the process with status 0, print.
        """
        stdout = io.StringIO()
        self.patch(sys, "stdout", stdout)
        end = self.assertRaises(SystemExit, parsed, *arguments)
        self.assertFalse(end.code)
        return stdout.getvalue()


class PortTests(TapTestCase):
    def listening(self, *arguments: str) -> list[tuple[str, int]]:
        options = parsed(*arguments)
        tap.makeService(options).privilegedStartService()
        return [(server[3], server[0]) for server in options["reactor"].tcpServers]

    def test_default(self) -> None:
        self.assertEqual(self.listening(), [("127.0.0.1", 2525)])

    def test_numbers_and_endpoints(self) -> None:
        self.assertEqual(
            self.listening("-p", "0", "--port=65535", "--smtp", "26", "--port", "tcp:25"),
            [("127.0.0.1", 0), ("127.0.0.1", 65535), ("127.0.0.1", 26), ("", 25)],
        )

    def test_endpoint_replaces_the_default(self) -> None:
        self.assertEqual(self.listening("--port", "tcp:port=25"), [("", 25)])

    def test_descriptions(self) -> None:
        options = parsed("-p", "25", "-p", "tcp:26")
        self.assertEqual([each.description for each in options["listeners"]], ["port 25", "tcp:26"])

    def test_interface_may_follow_the_port(self) -> None:
        for arguments in (["-p", "25", "--interface", "::1"], ["--interface", "::1", "-p", "25"]):
            (listener,) = parsed(*arguments)["listeners"]
            self.assertIsInstance(listener.endpoint, TCP6ServerEndpoint)
            self.assertEqual(self.listening(*arguments), [("::1", 25)])

    def test_interface_is_for_numbers_only(self) -> None:
        self.assertEqual(
            self.listening("--interface", "192.0.2.1", "-p", "tcp:25", "-p", "25"),
            [("", 25), ("192.0.2.1", 25)],
        )

    def test_interface_without_number(self) -> None:
        for ports in (["-p", "tcp:25"], ["-p", "unix:/s", "--smtp", "tcp6:25"]):
            self.assertSentence(
                ["--interface", "::1", *ports], "--interface goes with port numbers only"
            )
        # The default is a number.
        self.assertEqual(self.listening("--interface", "::1"), [("::1", 2525)])

    def test_interface_that_is_no_address(self) -> None:
        for text in ("localhost", "", "127.1", "1.2.3.4:25", "::g"):
            self.assertSentence(
                ["--interface", text],
                f"--interface wants an IPv4 or IPv6 address, not {text!r}",
            )

    def test_no_port(self) -> None:
        for text in ("", "x", "+25", "25_25", " 25", "-1", "65536", "1.0", "٢٥", "9" * 5000):
            for prefix in ("", "tcp:", "tcp6:", "ssl:port="):
                self.assertSentence(
                    [f"--port={prefix}{text}"],
                    "--port wants a number from 0 to 65535 or an endpoint such as tcp:2525,"
                    f" not {text!r}",
                )

    def test_unix_endpoint(self) -> None:
        (listener,) = parsed("--smtp", "unix:/run/smtp.sock:mode=660")["listeners"]
        endpoint = listener.endpoint
        assert isinstance(endpoint, UNIXEndpoint)
        self.assertEqual(endpoint.path, "/run/smtp.sock")
        self.assertIsInstance(endpoint.endpoint, UNIXServerEndpoint)

    def test_systemd_endpoint(self) -> None:
        self.patch(
            tap,
            "serverFromString",
            lambda reactor, text: AdoptedStreamServerEndpoint(reactor, 3, socket.AF_INET),
        )
        options = parsed("--port", "systemd:domain=INET:index=0")
        (listener,) = options["listeners"]
        self.assertEqual(listener.endpoint, InheritedEndpoint(options["reactor"], 3))

    def test_no_endpoint(self) -> None:
        for text, reason in (
            ("nope:1", "Unknown endpoint type: 'nope'"),
            ("unix:/s:mode=9", "invalid literal for int() with base 8: '9'"),
            ("systemd:domain=INET:index=9", "systemd has opened no such socket"),
            ("systemd:domain=INET:name=smtp", "systemd has opened no such socket"),
            ("systemd:domain=FOO:index=x", "invalid literal for int() with base 10: 'x'"),
        ):
            self.assertSentence(
                ["--port", text], f"--port cannot use the endpoint {text!r}: {reason}"
            )

    def test_endpoint_that_lacks_something(self) -> None:
        """
        The reason is in Twisted's words, but in one sentence.
        """
        for text in ("tcp:interface=127.0.0.1", "unix:lockfile=0", "ssl:25:privateKey=/nowhere"):
            end = self.assertRaises(SystemExit, parsed, "--port", text)
            self.assertTrue(
                end.code.startswith(f"twistd smtpd: --port cannot use the endpoint {text!r}: ")
            )
            self.assertNotIn("\n", end.code)


class StdioTests(TapTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.claimed = 0

        def claim(endpoint: StdioEndpoint) -> None:
            self.claimed += 1

        # The real one would take them from whoever runs the tests.
        self.patch(StdioEndpoint, "claim", claim)

    def test_claimed(self) -> None:
        """
        Before the log begins.
        """
        (listener,) = parsed("--port", "stdio:")["listeners"]
        self.assertIsInstance(listener.endpoint, StdioEndpoint)
        self.assertEqual(self.claimed, 1)

    def test_others(self) -> None:
        for ports in (["stdio:", "25"], ["tcp:25", "stdio:"], ["stdio:", "stdio:"]):
            self.assertSentence(
                [f"--port={port}" for port in ports],
                "--port stdio: serves one client and ends, so it is the only port",
            )
        self.assertEqual(self.claimed, 0)

    def under(self, **parent: Any) -> tap.Options:
        options = tap.Options(MemoryReactorClock())
        options.parent = UsageOptions()
        options.parent.update(parent)
        return options

    def test_tls(self) -> None:
        """
        A socket can do TLS, pipes cannot.
        """
        options = ["--tls-self-signed", "--smtps", "stdio:"]
        self.patch(StdioEndpoint, "is_socket", False)
        parsed("--tls-self-signed", "--port", "stdio:")
        self.assertSentence(options, "--smtps stdio: wants a socket, not pipes or a terminal")
        self.patch(StdioEndpoint, "is_socket", True)
        (listener,) = parsed(*options)["listeners"]
        self.assertTrue(listener.factory.settings.implicit_tls)

    def test_daemon(self) -> None:
        options = self.under(nodaemon=0)
        end = self.assertRaises(SystemExit, options.parseOptions, ["--port", "stdio:"])
        self.assertEqual(end.code, "twistd smtpd: --port stdio: is not for a daemon: say twistd -n")
        self.assertEqual(self.claimed, 0)

    def test_no_daemon(self) -> None:
        """
        Under twistd -n, or under twist, which makes no daemons.
        """
        for options in (self.under(nodaemon=1), self.under()):
            options.parseOptions(["--port", "stdio:"])
        self.assertEqual(self.claimed, 2)

    def test_closed(self) -> None:
        def claim(endpoint: StdioEndpoint) -> None:
            raise OSError(9, "Bad file descriptor")

        self.patch(StdioEndpoint, "claim", claim)
        self.assertSentence(["--port", "stdio:"], "--port stdio: Bad file descriptor")


class ServiceTests(TapTestCase):
    def test_made(self) -> None:
        options = parsed()
        service = tap.makeService(options)
        self.assertIs(options["service"], service)

    def test_second_signal(self) -> None:
        """
        When it has begun to stop, SIGTERM is heard no more and SIGINT kills.
        """
        options = parsed()
        tap.makeService(options)
        handlers: dict[int, Any] = {}
        self.patch(signal, "signal", handlers.__setitem__)
        ((callback, args, kwargs),) = options["reactor"].triggers["before"]["shutdown"]
        callback(*args, **kwargs)
        self.assertEqual(handlers, {signal.SIGTERM: signal.SIG_IGN, signal.SIGINT: signal.SIG_DFL})


class TLSTests(TapTestCase):
    def setUp(self) -> None:
        super().setUp()
        self.ca = make_ca("Test CA")

    def path(self, content: bytes = b"") -> str:
        path = Path(self.mktemp()).absolute()
        path.write_bytes(content)
        return str(path)

    def pair(self, *names: str) -> list[str]:
        """
        :return: options for a certificate of these names.
        """
        certificate, key = self.ca.issue(*names).write(self.path())
        return ["--tls-cert", certificate, "--tls-key", key]

    def test_none(self) -> None:
        options = parsed()
        self.assertIsNone(options["certificates"])
        (listener,) = options["listeners"]
        self.assertIsNone(listener.factory.settings.context_factory)

    def test_several(self) -> None:
        """
        In pairs, whatever stands between them.
        """
        first, second = self.pair("a.example"), self.pair("b.example")
        options = parsed(*first[:2], *second[:2], "--require-starttls", *first[2:], *second[2:])
        certificates = options["certificates"]
        self.assertIsInstance(certificates, Certificates)
        (listener,) = options["listeners"]
        self.assertIs(listener.factory.settings.context_factory, certificates)
        self.assertTrue(listener.factory.settings.require_starttls)

    def test_client_ca(self) -> None:
        ca = self.path(self.ca.pem)
        self.assertIsNotNone(parsed(*self.pair("a.example"), "--tls-client-ca", ca)["certificates"])
        for wrong in ([], ["--tls-self-signed"]):
            self.assertSentence(
                ["--tls-client-ca", ca, *wrong], "--tls-client-ca wants --tls-cert and --tls-key"
            )
        broken = self.path(b"x")
        self.assertSentence(
            [*self.pair("a.example"), "--tls-client-ca", broken],
            f"{broken} holds no certificate in PEM format, or a damaged one",
        )

    def test_half_a_pair(self) -> None:
        pair = self.pair("a.example")
        for options in (pair[:2], pair[2:], [*pair, *pair[:2]], ["--tls-self-signed", *pair[2:]]):
            self.assertSentence(options, "--tls-cert and --tls-key come in pairs")

    def test_files(self) -> None:
        """
        What is wrong with one is said at once.
        """
        pair = self.pair("a.example")
        other = self.pair("a.example")
        broken = self.path(b"x")
        for options, sentence in (
            (
                [*pair[:2], *other[2:]],
                f"the key in {other[3]} does not belong to the certificate in {pair[1]}",
            ),
            (
                ["--tls-cert", broken, *pair[2:]],
                f"{broken} holds no certificate in PEM format, or a damaged one",
            ),
            (
                [*pair[:2], "--tls-key", "/nowhere"],
                "cannot read /nowhere: No such file or directory",
            ),
        ):
            self.assertSentence(options, sentence)

    def test_self_signed(self) -> None:
        for hostname in ([], ["--hostname", "a.example"], ["--hostname", "[192.0.2.1]"]):
            options = parsed("--tls-self-signed", "--require-starttls", *hostname)
            self.assertIsNotNone(options["certificates"])
        self.assertSentence(
            ["--tls-self-signed", *self.pair("a.example")],
            "--tls-self-signed makes a certificate, so --tls-cert is too much",
        )

    def test_implicit(self) -> None:
        """
        One server, on ports of both kinds; where only that kind is named there is no other.
        """
        options = parsed(
            *("--tls-self-signed", "-p", "25", "--smtps", "465", "--smtps", "tcp:10465"),
            *("--max-connections", "7"),
        )
        factories = [listener.factory for listener in options["listeners"]]
        self.assertEqual([each.settings.implicit_tls for each in factories], [False, True, True])
        self.assertEqual({id(each.census) for each in factories}, {id(factories[0].census)})
        self.assertEqual({each.settings.max_connections for each in factories}, {7})
        (listener,) = parsed("--tls-self-signed", "--smtps", "465")["listeners"]
        self.assertTrue(listener.factory.settings.implicit_tls)
        self.assertSentence(
            ["--tls-self-signed", "--smtps", "x"],
            "--smtps wants a number from 0 to 65535 or an endpoint such as tcp:2525, not 'x'",
        )

    def test_without_certificate(self) -> None:
        for options, name in (
            (["--require-starttls"], "require-starttls"),
            (["--smtps", "465"], "smtps"),
        ):
            self.assertSentence(
                options, f"--{name} wants a certificate: say --tls-cert and --tls-key"
            )

    def test_hangup(self) -> None:
        """
        SIGHUP has them read again, in the reactor's thread.
        """
        handlers: dict[int, Any] = {}
        self.patch(signal, "signal", handlers.__setitem__)
        options = parsed(*self.pair("a.example"))
        called: list[Any] = []
        options["reactor"].callFromThread = called.append
        tap.makeService(options)
        self.assertEqual(list(handlers), [signal.SIGHUP])
        handlers[signal.SIGHUP](signal.SIGHUP, None)
        self.assertEqual(called, [options["certificates"].reload])

    def test_nothing_to_read_again(self) -> None:
        handlers: dict[int, Any] = {}
        self.patch(signal, "signal", handlers.__setitem__)
        for arguments in ([], ["--tls-self-signed"]):
            handlers.clear()
            options = parsed(*arguments)
            options["reactor"].callFromThread = lambda function: function()
            tap.makeService(options)
            self.assertEqual(list(handlers), [signal.SIGHUP])
            # It changes nothing, and ends nothing.
            with capturedLogs() as events:
                handlers[signal.SIGHUP](signal.SIGHUP, None)
            (event,) = events
            self.assertEqual(
                formatEvent(event), "SIGHUP: there are no files of certificates to read again"
            )


class AuthTests(TapTestCase):
    WITHOUT_TLS = (
        "AUTH is offered under TLS only: say --tls-cert and --tls-key, or --auth-without-tls"
    )

    def users(self, content: bytes = b"ann:secret\n") -> str:
        path = Path(self.mktemp()).absolute()
        path.write_bytes(content)
        path.chmod(0o600)
        return f"users:{path}"

    def settings(self, *arguments: str) -> Settings:
        (listener,) = parsed("--tls-self-signed", *arguments)["listeners"]
        settings = listener.factory.settings
        assert isinstance(settings, Settings)
        return settings

    def test_checkers(self) -> None:
        """
        Ours and those of Twisted, in order.
        """
        path = self.users().partition(":")[2]
        found = self.settings(
            *("--auth", f"users:{path}", "--auth", "memory:a:b", "--auth", f"file:{path}"),
            "--require-auth",
        )
        ours, memory, file = found.checkers
        self.assertIsInstance(ours, UsersFile)
        self.assertIsInstance(memory, InMemoryUsernamePasswordDatabaseDontUse)
        self.assertEqual(memory.users, {b"a": b"b"})
        self.assertIsInstance(file, FilePasswordDB)
        self.assertTrue(found.auth_required)
        self.assertTrue(found.auth_require_tls)

    def test_anybody(self) -> None:
        settings = self.settings("--auth-any")
        self.assertTrue(settings.authenticator("server", "session"))
        self.assertIsNotNone(settings.login)
        self.assertSentence(
            ["--auth-any", "--auth", self.users()],
            "--auth-any lets everybody in, so --auth is too much",
        )

    def test_without_tls(self) -> None:
        for options in (["--auth", self.users()], ["--auth-any"]):
            self.assertSentence(options, self.WITHOUT_TLS)
            (listener,) = parsed(*options, "--auth-without-tls")["listeners"]
            self.assertFalse(listener.factory.settings.auth_require_tls)

    def test_endpoint_of_tls(self) -> None:
        """
        An endpoint may do TLS by itself.
        """
        cert, key = make_ca("Root").issue("mx.example").write(self.mktemp())
        parsed("--auth-any", "--port", f"ssl:0:privateKey={key}:certKey={cert}")

    def test_without_users(self) -> None:
        for option in (
            ["--require-auth"],
            ["--auth-without-tls"],
            ["--auth-mechanism", "plain"],
        ):
            for others in ([], ["--tls-self-signed"]):
                self.assertSentence(
                    [*option, *others], f"{option[0]} wants users: say --auth users:FILE"
                )

    def test_mechanisms(self) -> None:
        found = self.settings(
            *("--auth-any", "--auth-mechanism", "plain", "--auth-mechanism", "SCRAM-SHA-256")
        )
        self.assertEqual(found.auth_mechanism, {"PLAIN", "SCRAM-SHA-256"})
        known = ", ".join(mechanism.name for mechanism in MECHANISMS)
        self.assertSentence(
            ["--tls-self-signed", "--auth-any", "--auth-mechanism", "plan"],
            f"--auth-mechanism wants one of {known}, not 'PLAN'",
        )

    def test_nobody_could_log_in(self) -> None:
        """
        Where everybody has to, and no mechanism can be served that is allowed.
        """
        sentence = (
            "--require-auth lets nobody in, because none of the mechanisms that are allowed can be"
            " served"
        )
        hashed = ["--auth", self.users(b"ann:" + HTPASSWD + b"\n")]
        plain = ["--auth", self.users()]
        tls = ["--tls-self-signed"]
        binding = ["--auth-mechanism", "SCRAM-SHA-256-PLUS"]
        for options in (
            [*tls, *hashed, "--auth-mechanism", "cram-md5"],
            [*tls, "--auth-any", "--auth-mechanism", "SCRAM-SHA-1"],
            [*tls, *plain, "--auth-mechanism", "EXTERNAL"],
            [*plain, "--auth-without-tls", *binding],
        ):
            self.assertSentence([*options, "--require-auth"], sentence)
            # Who does not have to log in is served.
            parsed(*options)
        ca = make_ca("Root")
        cert, key = ca.issue("mx.example").write(self.mktemp())
        endpoint = ["--port", f"ssl:0:privateKey={key}:certKey={cert}"]
        for options in ([*tls, *plain, *binding], [*plain, *binding, *endpoint]):
            parsed(*options, "--require-auth")

    def test_own_mechanism(self) -> None:
        """
        One that a handler brings along needs no users, and has a name like the others.
        """
        handler = f"--handler={Visitors.__module__}.Visitors"
        options = [handler, "--auth-mechanism=anonymous", "--require-auth"]
        self.assertEqual(self.settings(*options).auth_mechanism, {"ANONYMOUS"})
        self.assertSentence(options, self.WITHOUT_TLS)
        # Perhaps nobody has to log in there.
        parsed(handler)

    def test_wrong_checkers(self) -> None:
        broken = self.users(b"ann\n").partition(":")[2]
        for spec, sentence in (
            ("users", "say users:FILE"),
            ("users:", "say users:FILE"),
            ("users:/nowhere", "/nowhere: No such file or directory"),
            (f"users:{broken}", f"{broken}: line 1 has no colon between user name and password"),
            ("nobody:x", "there is no checker 'nobody': say users:FILE"),
            ("", "there is no checker '': say users:FILE"),
            ("memory:a", "memory cannot take what follows it: argstring must be in format U:P:..."),
        ):
            self.assertSentence(["--auth-without-tls", "--auth", spec], f"--auth: {sentence}")

    def test_plugin_raises(self) -> None:
        def make(spec: str) -> Any:
            raise OSError("no such\nserver")

        self.patch(checkers, "makeChecker", make)
        self.assertSentence(
            ["--auth-without-tls", "--auth", "ldap:x"],
            "--auth: ldap cannot be used: no such server",
        )

    def test_missing_library(self) -> None:
        for module, line in (
            ("bcrypt", b"ann:$2b$04$" + b"." * 53),
            ("argon2.low_level", b"ann:$argon2id$v=19$m=8,t=1,p=1$" + b"A" * 22 + b"$" + b"A" * 22),
        ):
            users = self.users(line)
            # Python takes that for a module that there is not.
            with patch.dict(sys.modules, {module: None}):
                self.assertSentence(
                    ["--auth-without-tls", "--auth", users],
                    f"--auth: {users.partition(':')[2]}: line 1 has a hash that takes another"
                    " package to check: pip install txsmtpd[passwords]",
                )

    def test_unreadable(self) -> None:
        """
        Also for root, who may read everything.
        """
        folder = os.path.dirname(self.users().partition(":")[2])
        self.assertSentence(
            ["--auth-without-tls", f"--auth=users:{folder}"], f"--auth: {folder}: Is a directory"
        )


class OtherProtocolTests(TapTestCase):
    """
    LMTP, the PROXY protocol, and extensions that are not offered unasked.
    """

    def test_lmtp(self) -> None:
        options = parsed("-p", "25", "--lmtp", "24", "--lmtp", "unix:/run/lmtp:mode=660")
        smtp, *lmtp = options["listeners"]
        self.assertIs(smtp.factory.protocol, SMTP)
        for listener in lmtp:
            self.assertIs(listener.factory.protocol, LMTP)
            self.assertIs(listener.factory.census, smtp.factory.census)
        # Where only that is named there is nothing else.
        self.assertEqual(len(parsed("--lmtp", "24")["listeners"]), 1)

    def test_proxy(self) -> None:
        options = parsed(
            "--proxy-protocol", "--trusted-proxy=192.0.2.0/24", "--trusted-proxy=2001:db8::1"
        )
        (listener,) = options["listeners"]
        settings = listener.factory.settings
        self.assertTrue(settings.proxy_protocol)
        self.assertEqual(
            [str(network) for network in settings.trusted_proxies],
            ["192.0.2.0/24", "2001:db8::1/128"],
        )
        self.assertSentence(
            ["--trusted-proxy", "192.0.2.1/24"],
            "--trusted-proxy wants a network: 192.0.2.1/24 has host bits set",
        )

    def test_extensions(self) -> None:
        options = parsed("--extension", "deliverby", "--extension", "DELIVERBY")
        (listener,) = options["listeners"]
        made = [type(extension) for extension in listener.factory.rules.extensions]
        self.assertEqual(made.count(DeliverBy), 1)
        for name, extension in OPTIONAL.items():
            (listener,) = parsed("--extension", name.lower())["listeners"]
            made = [type(extension) for extension in listener.factory.rules.extensions]
            self.assertEqual(extension, made[-1])
            self.assertEqual(set(made).intersection(OPTIONAL.values()), {extension})
        (listener,) = parsed()["listeners"]
        made = [type(extension) for extension in listener.factory.rules.extensions]
        self.assertEqual(set(made).intersection(OPTIONAL.values()), set())

    def test_extensions_everywhere(self) -> None:
        """
        On each port, where it may be offered: FUTURERELEASE is not for LMTP.
        """
        extensions = ("--extension", "FUTURERELEASE", "--extension", "MT-PRIORITY")
        listeners = parsed("-p", "25", "--lmtp", "24", *extensions)["listeners"]
        for listener, offered in zip(listeners, (True, False), strict=True):
            session = Session(lmtp=not offered)
            lines = listener.factory.rules.ehlo_texts(session)
            keywords = [line.split(" ")[0] for line in lines]
            self.assertEqual("FUTURERELEASE" in keywords, offered)
            self.assertIn("MT-PRIORITY", keywords)

    def test_extensions_that_a_handler_honours(self) -> None:
        """
        They are not offered twice.
        """
        path = self.mktemp()
        handler = ("-H", f"tests.interop.envelopes.Envelopes:{path}")
        for extensions in ((), ("--extension", "DELIVERBY", "--extension", "REQUIRETLS")):
            (listener,) = parsed(*handler, *extensions)["listeners"]
            made = [type(extension) for extension in listener.factory.rules.extensions]
            for extension in OPTIONAL.values():
                self.assertEqual(made.count(extension), 1)
        self.assertSentence(
            ["--extension", "x"],
            "--extension wants one of DELIVERBY, FUTURERELEASE, MT-PRIORITY, REQUIRETLS, not 'x'",
        )


class HandlerTests(TapTestCase):
    def test_default(self) -> None:
        (handler,) = parsed()["handlers"]
        self.assertIsInstance(handler, Debug)

    def test_chain(self) -> None:
        options = parsed("-H", "sink", "--handler", "debug:stderr")
        first, second = options["handlers"]
        self.assertIsInstance(first, Sink)
        self.assertIsInstance(second, Debug)
        self.assertEqual(tap.makeService(options).handlers, [first, second])

    def test_unknown(self) -> None:
        end = self.assertRaises(SystemExit, parsed, "--handler", "nope")
        self.assertTrue(
            end.code.startswith("twistd smtpd: --handler: unknown handler 'nope'"), end.code
        )

    def test_without_hooks(self) -> None:
        """
        A class that declares no hook would take mail and lose it.
        """
        end = self.assertRaises(SystemExit, parsed, "-H", "builtins.object")
        self.assertTrue(end.code.startswith("twistd smtpd: --handler: "), end.code)
        self.assertNotIn("\n", end.code)

    def test_list(self) -> None:
        printed = self.printed("--help-handlers")
        for handler in BUILTIN.values():
            self.assertIn(handler.syntax, printed)
            self.assertIn(handler.help, printed)


class SettingTests(TapTestCase):
    def settings(self, *arguments: str) -> Settings:
        """
        :return: what the factory that serves the port was made with.
        """
        (listener,) = parsed(*arguments)["listeners"]
        settings = listener.factory.settings
        assert isinstance(settings, Settings)
        return settings

    def test_defaults(self) -> None:
        self.assertEqual(self.settings(), Settings(hostname="mx.example"))

    def test_each(self) -> None:
        for option, text, field, value in (
            ("hostname", "lists.example", "hostname", "lists.example"),
            ("ident", "", "ident", ""),
            ("size-limit", "0", "data_size_limit", 0),
            ("unknown-parameters", "pass", "unknown_parameters", "pass"),
            ("timeout", "7", "timeout", 7),
            ("timeout", "0.5", "timeout", 0.5),
            ("data-timeout", "7", "data_timeout", 7),
            ("hook-timeout", "7", "hook_timeout", 7),
            ("session-timeout", "7", "session_timeout", 7),
            ("max-connections", "7", "max_connections", 7),
            ("max-connections-per-host", "7", "max_connections_per_host", 7),
            ("max-recipients", "7", "max_recipients", 7),
            ("max-errors", "7", "max_errors", 7),
            ("content-memory", "007", "content_memory", 7),
            ("bare-newline", "keep", "bare_newline", "keep"),
        ):
            expected: dict[str, Any] = {"hostname": "mx.example", field: value}
            self.assertEqual(self.settings(f"--{option}", text), Settings(**expected))

    def test_flags(self) -> None:
        self.assertTrue(self.settings("--lenient").lenient)
        self.assertTrue(self.settings("-v").verbose)
        self.assertFalse(self.settings().verbose)
        self.assertFalse(self.settings("--no-smtputf8").enable_SMTPUTF8)

    def test_no_seconds(self) -> None:
        for text in ("x", "", "-1", "+1", "1_0", "1e3", "nan", "inf", ".5", "٢", "1 "):
            self.assertSentence(
                [f"--timeout={text}"], f"--timeout wants a number of seconds from 0, not {text!r}"
            )
        self.assertSentence(
            ["--hook-timeout", "1000000000"],
            "--hook-timeout wants a number of seconds from 0, not 1000000000",
        )

    def test_no_count(self) -> None:
        for text in ("x", "-1", "1_0", "٢", "9" * 5000):
            self.assertSentence(
                ["--size-limit", text], f"--size-limit wants a whole number from 0, not {text!r}"
            )
        self.assertSentence(
            ["--max-errors", "1.5"], "--max-errors wants a whole number from 0, not 1.5"
        )

    def test_no_word(self) -> None:
        self.assertSentence(
            ["--bare-newline", "x"], "--bare-newline wants reject, normalize or keep, not 'x'"
        )
        self.assertSentence(
            ["--unknown-parameters", "PASS"],
            "--unknown-parameters wants reject, ignore or pass, not 'PASS'",
        )

    def test_no_text(self) -> None:
        self.assertSentence(["--hostname", "a b"], "--hostname wants a host name, not 'a b'")
        self.assertSentence(
            ["--ident", "a\nb"], "--ident wants one line of printable ASCII, not 'a\\nb'"
        )

    def test_factory_refuses(self) -> None:
        """
        What only the whole of the settings shows is told in the factory's words.
        """

        def factory(*handlers: object, reactor: Any, **settings: Any) -> Any:
            raise ValueError("a and b do not go together")

        self.patch(tap, "SMTPFactory", factory)
        self.assertSentence([], "a and b do not go together")


class ProxyTests(TapTestCase):
    """
    --proxy-protocol and --trusted-proxy.
    """

    def settings(self, *arguments: str) -> Settings:
        (listener,) = parsed(*arguments)["listeners"]
        settings: Settings = listener.factory.settings
        return settings

    def test_header(self) -> None:
        self.assertFalse(self.settings().proxy_protocol)
        settings = self.settings("--proxy-protocol")
        self.assertTrue(settings.proxy_protocol)
        self.assertTrue(settings.believes(("127.0.0.1", 1)))
        self.assertFalse(settings.trusts(("127.0.0.1", 1)))

    def test_networks(self) -> None:
        """
        They are named one by one, also for XCLIENT alone.
        """
        settings = self.settings("--trusted-proxy", "192.0.2.0/24", "--trusted-proxy=2001:db8::1")
        self.assertFalse(settings.proxy_protocol)
        for address, expected in (("192.0.2.9", True), ("2001:db8::1", True), ("::1", False)):
            self.assertEqual(settings.trusts((address, 1)), expected)
            self.assertEqual(settings.believes((address, 1)), expected)

    def test_no_network(self) -> None:
        for text in ("", "localhost", "192.0.2.1/24", "192.0.2.0/33", "10"):
            end = self.assertRaises(SystemExit, parsed, f"--trusted-proxy={text}")
            start = "twistd smtpd: --trusted-proxy wants a network: "
            self.assertTrue(end.code.startswith(start), end.code)
            self.assertNotIn("\n", end.code)

    def test_every_port(self) -> None:
        listeners = parsed(
            *("--proxy-protocol", "--tls-self-signed"),
            *("--port", "25", "--smtps", "465", "--lmtp", "unix:/run/lmtp.sock"),
        )["listeners"]
        self.assertEqual([each.factory.settings.proxy_protocol for each in listeners], [True] * 3)

    def test_auth_without_a_certificate(self) -> None:
        """
        The proxy may have one.
        """
        settings = self.settings("--proxy-protocol", "--auth-any", "--require-auth")
        self.assertTrue(settings.auth_require_tls)

    def test_tls_endpoint(self) -> None:
        """
        There TLS has begun before anything else could be read.
        """
        sentence = "begins with TLS, and a PROXY header comes before it: say --smtps and --tls-cert"
        for option in ("port", "lmtp"):
            self.assertSentence(
                ["--proxy-protocol", f"--{option}", "ssl:465:privateKey=/nowhere"],
                f"--{option} ssl: {sentence}",
            )


class OptionsTests(TapTestCase):
    def test_unknown(self) -> None:
        self.assertSentence(["--nope"], "option --nope not recognized; --help lists all")

    def test_lacks_a_value(self) -> None:
        self.assertSentence(["--port"], "option --port requires argument; --help lists all")

    def test_not_an_option(self) -> None:
        self.assertSentence(["2525"], "takes options only, not '2525'")

    def test_program(self) -> None:
        options = tap.Options(MemoryReactorClock())
        options.program = "txsmtpd"
        end = self.assertRaises(SystemExit, options.parseOptions, ["2525"])
        self.assertEqual(end.code, "txsmtpd: takes options only, not '2525'")

    def test_help(self) -> None:
        """
        Every option is there, with its default.
        """
        printed = " ".join(self.printed("--help").split())
        for name in vars(tap.Options):
            if name.startswith("opt_") and len(name) > len("opt_x"):
                self.assertIn("--" + name[len("opt_") :].replace("_", "-"), printed)
        for default in (2525, "127.0.0.1", "debug", 2**25, "ESMTP txsmtpd", "as --timeout"):
            self.assertIn(f"[default: {default}]", printed)
        self.assertIn(tap.Options.longdesc, printed)

    def test_version(self) -> None:
        self.assertEqual(self.printed("--version"), f"txsmtpd {__version__}, Twisted {version}\n")

    def test_under_twistd(self) -> None:
        """
        twistd calls the class without arguments, and the reactor is then the global one.
        """
        from twisted.internet import reactor

        options = tap.Options()
        self.assertIsInstance(options, UsageOptions)
        options.parseOptions(["--port", "0"])
        self.patch(reactor, "addSystemEventTrigger", lambda *trigger: None)
        service = tap.makeService(options)
        self.assertIsInstance(service, SMTPService)
        self.assertEqual(service.program, "twistd smtpd")
        self.assertIs(options["reactor"], reactor)
