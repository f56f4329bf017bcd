"""
Hooks that do what no hook should: nothing that a handler does may hang a connection, hold memory
or stop the server from stopping.
"""

from __future__ import annotations

from typing import Any

from twisted.internet.defer import CancelledError, Deferred
from twisted.trial.unittest import SynchronousTestCase

from txsmtpd import Envelope, Rejected, Reply, Session, hooks
from txsmtpd.census import GRACE
from txsmtpd.departure import LINGER
from txsmtpd.extensions.base import Extension
from txsmtpd.factory import DEFAULT
from txsmtpd.testing import Client, RecordingHandler, connect, make_factory

OPEN = b"EHLO a\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.org>\r\n"
MESSAGE = OPEN + b"DATA\r\nHello\r\n.\r\n"


def _never(*arguments: Any) -> Deferred[None]:
    return Deferred()


def _codes(client: Client) -> list[str]:
    said = client.take().decode().splitlines()
    return [line[:3] for line in said if line[3] == " "]


class StubbornTestCase(SynchronousTestCase):
    def connect(self, verdicts: dict[str, Any], **options: Any) -> Client:
        handler = RecordingHandler(verdicts, **options.pop("recording", {}))
        client = connect(make_factory(handler, **options))
        client.take()
        return client

    def assertNothingLeft(self, client: Client) -> None:
        self.assertTrue(client.closed, client.transcript)
        self.assertEqual(client.clock.getDelayedCalls(), [])
        factory = client.protocol.factory
        self.assertEqual(factory.rules.budget.used, 0)
        self.successResultOf(factory.drain())


class NeverTests(StubbornTestCase):
    """
    A Deferred that never fires.
    """

    def test_delivery_whose_client_has_gone(self) -> None:
        """
        It has the time of any delivery, and gives its memory back then.
        """
        client = self.connect({"DATA": _never}, hook_timeout=10)
        client.send(MESSAGE)
        client.disconnect()
        self.assertEqual(client.protocol.factory.rules.budget.used, 7)
        client.clock.advance(20)
        self.assertNothingLeft(client)

    def test_hooks_that_nobody_waits_for(self) -> None:
        for hook in ("DISCONNECT", "abort"):
            client = self.connect({hook: _never}, hook_timeout=10, recording={"content": "stream"})
            client.send(OPEN + b"DATA\r\nHello\r\n")
            client.disconnect()
            client.clock.advance(10)
            self.assertNothingLeft(client)

    def test_two_when_the_server_stops(self) -> None:
        """
        It gives them its grace and no more, whatever the hooks' own time is.
        """
        for verdicts in ({"DATA": _never}, {"DISCONNECT": _never}, {"RCPT": _never}):
            for gone in (True, False):
                factory = make_factory(RecordingHandler(verdicts), hook_timeout=0)
                clients = [connect(factory), connect(factory)]
                for client in clients:
                    client.send(MESSAGE)
                    if gone:
                        client.disconnect()
                drained = factory.drain()
                clients[0].wait(GRACE)
                for client in clients:
                    client.pump()
                self.successResultOf(drained)

    def test_client_that_goes_when_the_server_stops(self) -> None:
        """
        Also what begins only when the last client leaves is waited for.
        """
        for verdicts, sent in (({"DATA": _never}, MESSAGE), ({"DISCONNECT": _never}, b"NOOP\r\n")):
            client = self.connect(verdicts, hook_timeout=10)
            client.send(sent)
            drained = client.protocol.factory.drain()
            client.disconnect()
            self.assertNoResult(drained)
            client.clock.advance(20)
            self.successResultOf(drained)

    def test_server_that_starts_again(self) -> None:
        """
        Who waits for the end of the first life is told, and the second is no shorter for it.
        """
        client = self.connect({"DATA": _never}, hook_timeout=0)
        client.send(MESSAGE)
        factory = client.protocol.factory
        drained = factory.drain()
        factory.startFactory()
        self.successResultOf(drained)
        second = connect(factory)
        second.wait(GRACE)
        self.assertFalse(second.closed)

    def test_closes_first(self) -> None:
        """
        The connection goes although its hook does not end and its client does not read.
        """

        def closes(server: Any, *arguments: Any) -> Deferred[None]:
            server.close()
            return Deferred()

        client = self.connect({"NOOP": closes}, hook_timeout=10)
        client.reading = False
        client.send(b"HELP\r\nNOOP\r\n")
        for _ in range(3):
            client.wait(LINGER)
        self.assertNothingLeft(client)


class CancelTests(StubbornTestCase):
    """
    A canceller that raises.
    """

    def _deferred(self, *arguments: Any) -> Deferred[None]:
        def canceller(_: object) -> None:
            raise RuntimeError("boom")

        return Deferred(canceller)

    def test_hook(self) -> None:
        given_out = self._deferred

        @hooks
        class Raw:
            def handle_NOOP(self, server: Any, session: Session, envelope: Any, arg: str) -> Any:
                return given_out()

        client = connect(make_factory(Raw(), hook_timeout=10))
        client.take()
        client.send(b"NOOP\r\nVRFY x\r\n")
        client.wait(10)
        self.assertEqual(_codes(client), ["451", "252"])
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_receiver_whose_client_has_gone(self) -> None:
        client = self.connect({"write": self._deferred}, recording={"content": "stream"})
        client.send(OPEN + b"DATA\r\nHello\r\n")
        client.disconnect()
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)
        self.assertNothingLeft(client)


class LateTests(StubbornTestCase):
    """
    A refusal that nobody waits for any more.
    """

    def test_refuses_when_cancelled(self) -> None:
        """
        It is no defect, so it leaves no traceback.
        """

        async def hook(*arguments: Any) -> None:
            try:
                await Deferred()
            except CancelledError:
                raise Rejected("451 4.3.0 Not today") from None

        client = self.connect({"NOOP": hook})
        client.send(b"NOOP\r\n")
        client.disconnect()
        self.assertNothingLeft(client)
        self.assertEqual(self.flushLoggedErrors(), [])


class WithinTests(StubbornTestCase):
    """
    What a hook does to the server from within.
    """

    def test_drains(self) -> None:
        """
        The command that is being obeyed has its reply first.
        """
        for hook, last in (("DATA", "250"), ("NOOP", "250"), ("RCPT", "250")):

            def drains(server: Any, *arguments: Any) -> None:
                server.factory.drain()

            client = self.connect({hook: drains})
            client.send(MESSAGE if hook == "DATA" else OPEN + b"NOOP\r\n")
            said = _codes(client)
            self.assertEqual(said[-2:], [last, "421"], hook)

    def test_drains_at_the_greeting(self) -> None:
        def drains(server: Any, *arguments: Any) -> None:
            server.factory.drain()

        client = connect(make_factory(RecordingHandler({"CONNECT": drains})))
        self.assertEqual(_codes(client), ["220", "421"])

    def test_closes_when_it_is_over(self) -> None:
        def closes(server: Any, *arguments: Any) -> None:
            server.close()

        client = self.connect({"DISCONNECT": closes})
        client.disconnect()
        self.assertNothingLeft(client)


class RaiseTests(StubbornTestCase):
    """
    What is no Exception, and exceptions that are odd.
    """

    def test_system_exit(self) -> None:
        def leave(*arguments: Any) -> None:
            raise SystemExit(3)

        for hook in ("CONNECT", "NOOP", "write"):
            client = connect(make_factory(RecordingHandler({hook: leave}, content="stream")))
            client.send(OPEN + b"NOOP\r\nDATA\r\nHello\r\n")
            client.pump()
            self.assertEqual(_codes(client)[-1], "421", hook)
            self.assertEqual(len(self.flushLoggedErrors(SystemExit)), 1)
            self.assertNothingLeft(client)

    def test_rejected_that_holds_no_reply(self) -> None:
        class Odd(Rejected):
            def __init__(self) -> None:
                pass

        client = self.connect({"NOOP": Odd()})
        client.send(b"NOOP\r\nVRFY x\r\n")
        self.assertEqual(_codes(client), ["451", "252"])


class ReceiverTests(StubbornTestCase):
    """
    What `open_content` returns.
    """

    def open(self, answer: Any, sent: bytes = b"DATA\r\n") -> list[str]:
        @hooks
        class Opener:
            def open_content(self, server: Any, session: Session, envelope: Envelope) -> Any:
                return answer

        client = connect(make_factory(Opener()))
        client.send(OPEN)
        client.take()
        client.send(sent)
        return _codes(client)

    def test_refusal(self) -> None:
        for refusal in ("452 4.3.1 Full", b"452 4.3.1 Full", Reply(452, "4.3.1", "Full")):
            self.assertEqual(self.open(refusal), ["452"])

    def test_junk(self) -> None:
        self.assertEqual(self.open(3), ["451"])
        self.assertEqual(len(self.flushLoggedErrors(TypeError)), 1)

    def test_nobody(self) -> None:
        """
        A handler that has nothing to do with a message is not asked again.
        """
        self.assertEqual(self.open(None, b"DATA\r\nHello\r\n.\r\n"), ["354", "250"])


class ChainTests(StubbornTestCase):
    def test_who_hears_of_the_end(self) -> None:
        """
        Everyone who has heard of the beginning, and who did not ask to.
        """
        refuses = RecordingHandler({"CONNECT": "554 5.7.1 No"})
        never_asked = RecordingHandler()
        only_the_end = RecordingHandler(hooks=["DISCONNECT"])
        client = connect(make_factory(refuses, never_asked, only_the_end))
        client.disconnect()
        called = [
            [call.hook for call in handler.calls]
            for handler in (refuses, never_asked, only_the_end)
        ]
        self.assertEqual(called, [["CONNECT", "DISCONNECT"], [], ["DISCONNECT"]])

    def test_shared_deferred(self) -> None:
        """
        Two sessions that wait for the same thing get the same verdict.
        """
        shared: Deferred[str] = Deferred()

        @hooks
        class Sharing:
            def handle_NOOP(self, server: Any, session: Session, envelope: Any, arg: str) -> Any:
                return shared

        factory = make_factory(Sharing())
        clients = [connect(factory), connect(factory)]
        for client in clients:
            client.take()
            client.send(b"NOOP\r\n")
        shared.callback("550 5.7.1 No")
        for client in clients:
            client.pump()
            self.assertEqual(_codes(client), ["550"])

    def test_content_is_judged_however_it_comes(self) -> None:
        class Picky(Extension):
            def check_content(self, session: Session, envelope: Envelope, verb: str) -> None:
                raise Rejected(f"554 5.7.1 Not by {verb}")

        for sent in (b"DATA\r\n", b"BDAT 2 LAST\r\n\r\n"):
            handler = RecordingHandler()
            client = connect(make_factory(handler, extensions=(*DEFAULT, Picky)))
            client.send(OPEN)
            client.take()
            client.send(sent)
            self.assertEqual(_codes(client), ["554"])
            self.assertEqual(handler.messages, [])
