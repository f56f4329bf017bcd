"""
A connection up to its greeting: the limits on connections, a PROXY header, TLS.

Nothing is said before a PROXY header has come and before a TLS handshake is done: whoever is at the
other end could not understand it yet.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from twisted.internet.interfaces import IHandshakeListener, ISSLTransport
from twisted.python.failure import Failure
from zope.interface import implementer

from .brakes import STEP, UNREAD, BrakedLineReceiver
from .core.dialog import Dialog
from .core.outcomes import CLOSE, Outcome, Step
from .core.replies import Reply
from .core.session import TLS, Session
from .home import Home, make_session
from .logs import SessionLog
from .proxy import PROTO, HeaderReader, ProxyData, ProxyError
from .tlsfacts import ssl_dict, tls_facts

#: Seconds that a PROXY header may take.
HEADER_TIMEOUT = 5


@implementer(IHandshakeListener)
class Arrival(BrakedLineReceiver):
    """
    What comes before the dialog.
    """

    #: Whether it is LMTP.
    lmtp = False

    factory: Home
    dialog: Dialog
    _log: SessionLog

    #: Whether it was counted in.
    _admitted: bool
    #: Whether nobody would understand what we say.
    _silent: bool
    #: Reads the PROXY header that has to come first.
    _header: HeaderReader | None = None
    #: What was wrong with it.
    _turned_away = ""
    #: What comes after the TLS handshake that is going on.
    _after_handshake: Callable[[TLS, dict[str, Any]], Step] | None = None
    #: What octets go to first once it is done.
    _then_first: Callable[[bytes], bytes] | None = None

    def connectionMade(self) -> None:
        self._admitted = self._silent = False
        super().connectionMade()

    def _arrive(self) -> None:
        """
        Go on until the client is greeted, or something has to come first.
        """
        settings = self.factory.settings
        encrypted = ISSLTransport.providedBy(self.transport)
        session = make_session(self.transport, self.factory.reactor, self.lmtp)
        self._log = SessionLog(session, self.factory.rules)
        self._silent = encrypted or settings.implicit_tls
        proxied = settings.proxy_protocol
        refusal = self.factory.census.admit(self, None if proxied else session.peer)
        if refusal is not None:
            self._say_goodbye(refusal)
            return
        self._admitted = True
        session.id = self.factory.census.next_session_id()
        self._start_dialog(session)
        if proxied:
            self._await_header(encrypted)
        else:
            self.first = self._refuse_binary
            self._welcome(encrypted)

    def _has_room(self) -> bool:
        """
        Count the client's host in, or say goodbye.
        """
        refusal = self.factory.census.admit_host(self, self.dialog.session.peer)
        if refusal is not None:
            self._say_goodbye(refusal)
        return refusal is None

    def _welcome(self, encrypted: bool) -> None:
        """
        Greet the client, after the handshake if TLS comes first.
        """
        if encrypted:
            self._await_handshake(self._greet_safely)
        elif self.factory.settings.implicit_tls:
            self._start_tls(self._greet_safely)
        else:
            self._silent = False
            self._begin(self.dialog.greet)

    def _greet_safely(self, tls: TLS, facts: dict[str, Any]) -> Step:
        self.dialog.session.tls, self.dialog.session.ssl = tls, facts
        return self.dialog.greet()

    def _begin(self, act: Callable[..., Step], *arguments: Any) -> None:
        """
        Take a step that no line has begun.
        """
        self.feeding = True
        try:
            self._obey(act(*arguments))
        except BaseException:
            self._broken(Failure())
        finally:
            self.feeding = False
        # What came behind a PROXY header, or nothing.
        self.dataReceived(self.clearLineBuffer())

    def _refuse_binary(self, data: bytes) -> bytes:
        """
        Look whether the first octet may begin a command: a TLS ClientHello's may not.
        """
        if not data:
            return data
        self.first = None
        if self.closing or 32 <= data[0] < 127 or data[0] in b"\r\n\t":
            return data
        self._log.junk()
        self.close()
        return b""

    # PROXY.

    def _await_header(self, encrypted: bool) -> None:
        self._silent = True
        # Nothing can come before TLS where an endpoint of TLS has taken the connection.
        if encrypted or not self.factory.settings.believes(self.dialog.session.via):
            self._turn_away("the client is no trusted proxy")
            return
        self._header = HeaderReader()
        self.first = self._read_header
        self._allow(min(HEADER_TIMEOUT, self.factory.settings.timeout or HEADER_TIMEOUT))

    def _read_header(self, data: bytes) -> bytes:
        if self.closing or self._header is None:
            return b""
        try:
            proxy, rest = self._header.feed(data)
        except ProxyError as error:
            self._turn_away(str(error))
            return b""
        if proxy is not None:
            # Until the hook has decided, the rest waits with what comes.
            self.first, self._header, self._arrived = None, None, rest or b""
            # The client has as much time for what it says as any other.
            self._allow(self.factory.settings.timeout)
            self._believe(proxy)
        return b""

    def _believe(self, proxy: ProxyData) -> None:
        session = self.dialog.session
        session.proxy = proxy
        if not proxy.local:
            if proxy.protocol is PROTO.DGRAM:
                self._turn_away("the client is said to send datagrams")
                return
            session.peer, session.local = proxy.peer, proxy.sockname
        if not proxy.own:
            # Somebody from elsewhere may have come to the proxy's unix socket.
            session.exempt = self.lmtp or (session.exempt and isinstance(proxy.peer, bytes))
        self._drive(self.dialog.proxied(proxy), STEP, self._proxied)

    def _proxied(self, outcome: Outcome) -> None:
        if self.closing:
            return
        if outcome.then is CLOSE:
            self._turn_away("refused by handle_PROXY")
            return
        self._silent = self.factory.settings.implicit_tls
        if self._has_room():
            self.first = self._refuse_binary
            # If the hook had put the brake on: what came meanwhile is obeyed with the greeting.
            self.paused = bool(self.brakes)
            self._welcome(False)

    def _turn_away(self, reason: str) -> None:
        self._turned_away = reason
        self.close()

    def _log_end(self, why: str) -> None:
        """
        Write the one line about the end that every connection gets.
        """
        if self._turned_away or self._header is not None:
            self._log.no_header(self._turned_away or why)
        elif self._after_handshake is not None:
            self._log.no_handshake(why)
        else:
            self._log.ended(why)

    # TLS.

    def _start_tls(self, after: Callable[[TLS, dict[str, Any]], Step]) -> None:
        """
        Begin a TLS handshake.

        :param after: taken when it is done.
        """
        self._silent = True
        self._await_handshake(after)
        # Behind a PROXY header it begins with what has come already.  Behind STARTTLS nothing has:
        # that was thrown away.
        begun = self.clearLineBuffer()
        transport: Any = self.transport
        transport.startTLS(self.factory.settings.context_factory)
        if self.brakes & UNREAD:
            # The transport would take it off, but TLS, which is between now, does not know of it.
            self.release(UNREAD)
        if begun:
            transport.protocol.dataReceived(begun)

    def _await_handshake(self, after: Callable[[TLS, dict[str, Any]], Step]) -> None:
        """
        Look out for the end of a handshake.

        :param after: taken then.
        """
        self._after_handshake = after
        self._then_first, self.first = self.first, self._notice_handshake

    def _notice_handshake(self, data: bytes) -> bytes:
        if not data:
            return data
        # Something that wraps us has kept it to itself that the handshake is done.
        self.handshakeCompleted()
        return data if self.first is None else self.first(data)

    def handshakeCompleted(self) -> None:
        """
        TLS is on.
        """
        after, self._after_handshake = self._after_handshake, None
        if after is None:
            return
        self.first = self._then_first
        if self.closing:
            return
        self._silent = False
        tls = tls_facts(self.transport.getHandle())
        self._begin(after, tls, ssl_dict(tls))
        # After STARTTLS it is another one.
        self._log.session = self.dialog.session

    # What the dialog of the connection is made of.

    def _start_dialog(self, session: Session) -> None:
        raise NotImplementedError

    def _obey(self, step: Step) -> None:
        """
        Say the replies of a step of the dialog and carry out its directive, at once or later.
        """
        raise NotImplementedError

    def _drive(
        self, waiting: Any, brake: int, then: Callable[[Any], None], *, delivers: bool = False
    ) -> None:
        """
        Run a coroutine of the core; if it does not end at once, brake until it does.
        """
        raise NotImplementedError

    def _say_goodbye(self, reply: Reply) -> None:
        raise NotImplementedError

    def leave(self) -> None:
        """
        Close the connection as soon as the message that is being received or delivered has ended.
        """
        raise NotImplementedError

    def _allow(self, seconds: float) -> None:
        """
        Give the client so much time.
        """
        raise NotImplementedError
