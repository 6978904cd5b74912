"""uvicorn with what an application cannot give: a deadline and a bound for request heads, and an end in two signals.

Both are subclasses of uvicorn's classes. A head that is late is answered 408, one over 16 KiB 431, one that is no HTTP
400, each in the one error shape, and the connection is closed. The first signal drains, the second cuts.
`tests/gateway/test_server.py` and `tests/gateway/test_shutdown.py`.
"""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import uvicorn
from litestar.types import ASGIApp
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from catalog.errors import RagweldError
from catalog.settings import GatewaySettings
from gateway import errors
from gateway.lifecycle import CONNECTION, Connection, Lifecycle

MAX_HEAD_BYTES = 16 * 1024
HEADER_OVERHEAD_BYTES = 4
CUT_GRACE_S = 2
"""How long answers that were told to end may take to say so."""


class HeadTooLarge(RagweldError):
    code = "head_too_large"
    http_status = 431


class HeadTimedOut(RagweldError):
    code = "request_timeout"
    http_status = 408


class MalformedHead(RagweldError):
    code = "malformed_request"
    http_status = 400


class BoundedProtocol(HttpToolsProtocol):  # type: ignore[misc]  # uvicorn is not typed for us
    """One connection whose request heads are bounded in bytes and time."""

    header_deadline_s = 10.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.access_log = False  # uvicorn's line shows the query, whoever set its logger up; the border writes ours
        self._head_bytes = 0
        """Of the head so far, without the piece that is being read."""
        self._piece_bytes = 0
        self._awaits_head = True
        self._head_deadline: asyncio.TimerHandle | None = None
        self._client = Connection()
        self._refusal: RagweldError = MalformedHead("This is not an HTTP request.")

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._arm()

    def connection_lost(self, exc: Exception | None) -> None:
        self._disarm()
        super().connection_lost(exc)
        self._client.lost()

    def data_received(self, data: bytes) -> None:
        self._piece_bytes = len(data)
        super().data_received(data)
        if self._awaits_head and not self.transport.is_closing():
            self._head_bytes += self._piece_bytes
            if self._head_bytes > MAX_HEAD_BYTES:
                self._refuse(_too_large())
            elif self._head_deadline is None:  # only a head that came in pieces costs a timer
                self._arm()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self.scope["state"][CONNECTION] = self._client
        self._client.has_whole_body = False
        self._awaits_head = True
        self._head_bytes = 0

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._client.has_whole_body = True
        if not self.pipeline:  # uvicorn reads no further behind a body over 64 KiB, and would not see the client go
            self.flow.resume_reading()

    def on_headers_complete(self) -> None:
        self._disarm()
        self._awaits_head = False
        if self._head_bytes + self._piece_bytes > MAX_HEAD_BYTES and self._head_size() > MAX_HEAD_BYTES:
            self._refusal = _too_large()
            raise self._refusal  # the parser stops, and uvicorn calls send_400_response
        super().on_headers_complete()

    def _head_size(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + HEADER_OVERHEAD_BYTES for name, value in self.headers)

    def send_400_response(self, msg: str) -> None:
        self._refuse(self._refusal)

    def _refuse(self, error: RagweldError) -> None:
        body = errors.body(error)
        head = (
            f"HTTP/1.1 {error.http_status} {HTTPStatus(error.http_status).phrase}\r\n"
            f"content-type: application/json\r\ncontent-length: {len(body)}\r\nconnection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()

    def _arm(self) -> None:
        self._head_deadline = self.loop.call_later(self.header_deadline_s, self._on_deadline)

    def _disarm(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _on_deadline(self) -> None:
        self._head_deadline = None
        if not self.transport.is_closing():
            self._refuse(HeadTimedOut(f"The request's head did not arrive within {self.header_deadline_s:g} s."))


def _too_large() -> HeadTooLarge:
    return HeadTooLarge(f"The request's head is larger than {MAX_HEAD_BYTES} bytes.")


class GatewayServer(uvicorn.Server):  # type: ignore[misc]  # uvicorn is not typed for us
    """Serves until a signal; then lets open answers finish within the grace, unless a second signal comes."""

    def __init__(self, app: ASGIApp, settings: GatewaySettings, lifecycle: Lifecycle) -> None:
        protocol = type("Protocol", (BoundedProtocol,), {"header_deadline_s": settings.header_deadline_s})
        config = uvicorn.Config(
            app,
            http=protocol,
            ws="none",
            loop="uvloop",
            lifespan="on",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,  # a client's address is the one it came from, not one that it names
            timeout_graceful_shutdown=CUT_GRACE_S,
        )
        super().__init__(config)
        self._settings = settings
        self._lifecycle = lifecycle
        self._draining: asyncio.Task[None] | None = None

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Take SIGTERM and SIGINT on the loop; nothing is raised again at the end, so that the exit code is 0."""
        loop = asyncio.get_running_loop()
        taken = []
        for one in (signal.SIGTERM, signal.SIGINT):
            try:
                loop.add_signal_handler(one, self.end)
            except (ValueError, RuntimeError):  # not the main thread: whoever runs the loop there calls `end`
                break
            taken.append(one)
        try:
            yield
        finally:
            for one in taken:
                loop.remove_signal_handler(one)

    def end(self) -> None:
        """The first call drains, the second cuts what is open. Call on the loop."""
        if self._draining is None:
            self._draining = asyncio.ensure_future(self._drain())
        else:
            self._lifecycle.end()
            self.should_exit = True

    async def _drain(self) -> None:
        await self._lifecycle.drain(self._settings.shutdown_grace_s)
        self.should_exit = True


def bind(settings: GatewaySettings) -> socket.socket:
    """A listening socket; raises OSError when the address cannot be had."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((settings.host, settings.port))
        listener.listen(2048)
        listener.setblocking(False)
    except OSError:
        listener.close()
        raise
    return listener
