"""
What aiosmtpd's handlers find on ``server`` and ``session``.
"""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Awaitable, Callable
from typing import Any

from ..core.replies import Reply
from ..core.session import Session
from .proxied import ProxyData
from .statuses import joined, line, lines_of
from .waiting import ABSENT, running_loop


class Transport:
    """
    The connection, as asyncio's transports show it; what else is asked for is Twisted's.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol.transport, name)

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        session = self._protocol.session
        known = {
            **(session.ssl or {}),
            "peername": session.via,
            "sockname": session.local,
            "socket": getattr(self._protocol.transport, "socket", None),
        }
        found = known.get(name)
        return default if found is None else found

    def is_closing(self) -> bool:
        return bool(self._protocol.closing)

    def close(self) -> None:
        self._protocol.close()

    def abort(self) -> None:
        self._protocol.transport.abortConnection()


class Server:
    """
    A connection, as aiosmtpd's ``SMTP`` shows it; what else is asked for is our own protocol's.
    """

    def __init__(self, protocol: Any, handler: object) -> None:
        self._protocol = protocol
        self.event_handler = handler
        self.transport = Transport(protocol)
        #: Where lines go that are said during a hook whose reply they are a part of.
        self._kept: list[str] | None = None
        #: Sends a challenge, while there is an exchange.
        self._challenge: Callable[[bytes], Awaitable[Any]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._protocol, name)

    # aiosmtpd documents these as attributes; here they are settings.

    @property
    def __ident__(self) -> str:
        ident: str = self._protocol.settings.ident
        return ident

    @property
    def loop(self) -> Any:
        return running_loop() or ABSENT

    @property
    def data_size_limit(self) -> int | None:
        return self._protocol.settings.data_size_limit or None

    @property
    def enable_SMTPUTF8(self) -> bool:
        return bool(self._protocol.settings.enable_SMTPUTF8)

    @property
    def require_starttls(self) -> bool:
        return bool(self._protocol.settings.require_starttls)

    @property
    def tls_context(self) -> Any:
        return self._protocol.settings.context_factory

    @property
    def _authenticator(self) -> Any:
        # No documented name, but how mechanisms of one's own come by the passwords.
        ours = self._protocol.settings.authenticator
        return getattr(ours, "__wrapped__", ours)

    # What handlers call.

    async def push(self, status: str | bytes) -> None:
        """
        Send a line, or several, at once.
        """
        lines = lines_of(status)
        if self._kept is not None:
            self._kept += lines
            return
        protocol = self._protocol
        for each in lines:
            if not protocol.envelope.smtp_utf8:
                each = each.encode("ascii", "replace").decode("ascii")
            protocol.dialog.runner.say(line(each))

    async def challenge_auth(
        self,
        challenge: str | bytes,
        encode_to_b64: bool = True,
        log_client_response: bool = False,
    ) -> Any:
        """
        Ask the client something in AUTH.

        :param log_client_response: taken and ignored: a response is never logged.
        :return: what the client has answered, without base64, or ``MISSING``.
        """
        if self._challenge is None:
            raise RuntimeError("challenge_auth is for AUTH only")
        words = challenge.encode() if isinstance(challenge, str) else challenge
        if not encode_to_b64:
            # It will be encoded again.
            words = b64decode(words, validate=True)
        return await self._challenge(words)

    async def check_helo_needed(self, helo: str = "HELO") -> bool:
        """
        Refuse if the client was not greeted.
        """
        if self._protocol.session.host_name:
            return False
        await self.push(f"503 5.5.1 Error: send {helo} first")
        return True

    async def check_auth_needed(self, caller_method: str) -> bool:
        """
        Refuse if the client must log in first.
        """
        if self._protocol.session.authenticated or not self._protocol.settings.auth_required:
            return False
        await self.push("530 5.7.0 Authentication required")
        return True

    # What the adapter does.

    def keep(self, challenge: Callable[[bytes], Awaitable[Any]] | None = None) -> list[str]:
        """
        From now on keep what is said.

        :param challenge: sends a challenge, if this is for AUTH.
        :return: gets it, line by line.
        """
        self._kept, self._challenge = [], challenge
        return self._kept

    def keep_no_more(self, kept: list[str]) -> None:
        """
        :param kept: what `keep` has given.  A coroutine that the client has not waited for may end
            while another one is heard.
        """
        if self._kept is kept:
            self._kept = self._challenge = None


def said(kept: list[str]) -> Reply | None:
    """
    What was kept, as one reply.
    """
    return joined(kept)


def server_of(protocol: Any, handler: object) -> Server:
    """
    The same one for all hooks that a handler has on a connection, so that it can keep something on
    it.
    """
    servers = vars(protocol).setdefault("aiosmtpd_servers", {})
    if id(handler) not in servers:
        servers[id(handler)] = Server(protocol, handler)
    server: Server = servers[id(handler)]
    return server


def complete(session: Session) -> None:
    """
    Give a session what aiosmtpd's has and ours has not.
    """
    attributes = vars(session)
    attributes.setdefault("loop", running_loop() or ABSENT)
    if attributes.get("proxy_data") is None:
        attributes["proxy_data"] = None if session.proxy is None else ProxyData(session.proxy)
