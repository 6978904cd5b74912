"""What every request passes before a handler sees it, whatever its route, as one ASGI layer around the application.

Host and Origin (DNS rebinding), its key, media type, size and deadline of the body, the end of the process,
`x-request-id`, the log line, the count, and the line in the administrators' log. Middleware inside the framework would
not see unknown routes. A handler finds the request's `Visit` in the scope's `auth`. `tests/gateway/test_border.py`,
`tests/gateway/test_guard.py`.
"""

from __future__ import annotations

import asyncio
import itertools
import logging
import re
import secrets
from collections.abc import Mapping
from functools import lru_cache
from typing import Any
from urllib.parse import urlsplit

from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from catalog.errors import RagweldError
from catalog.settings import GatewaySettings
from gateway import errors, logs
from gateway.context import Context
from gateway.errors import BodyTimedOut, BodyTooLarge, Forbidden, ShuttingDown, UnsupportedMediaType
from gateway.guard import Visit, scope_for
from gateway.lifecycle import connection_of

log = logging.getLogger(__name__)

ALWAYS_ANSWERED = frozenset({"/livez", "/readyz", "/metrics"})
"""Asked for also while the gateway ends; nobody waits for these."""
_PROCESS, _NUMBERS = secrets.token_hex(8).encode(), itertools.count()
"""What ids of requests are made of: unique over all processes, and cheap."""
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._-]{1,128}")
CHANGING = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})
UPLOADS = frozenset({"/v1/files"})
"""Take a form in the place of JSON, of a size of its own. A page of another origin could send one unasked, but never
without its Origin."""
UPLOAD_BYTES_PER_S = 1 << 16
"""The slowest pace of an upload whose deadline has come."""


class Border:
    """Wraps the application; itself an ASGI application."""

    def __init__(self, app: ASGIApp, context: Context) -> None:
        self._app = app
        self._context = context

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != ScopeType.HTTP:
            await self._app(scope, receive, send)
            return
        crossing = _Crossing(scope, receive, send, self._context)
        refusal = refuse(scope["method"], scope["path"], crossing.headers, self._context.settings.gateway)
        if self._context.lifecycle.draining.is_set() and scope["path"] not in ALWAYS_ANSWERED:
            refusal = ShuttingDown("This gateway is ending.", hint="Try again in a moment.")
        if refusal is None:
            refusal = crossing.let_pass()
        if refusal is not None:
            await crossing.answer(refusal)
        elif scope["path"] in ALWAYS_ANSWERED:
            await self._app(scope, crossing.receive, crossing.send)
        else:
            with self._context.lifecycle.answering():
                await self._app(scope, crossing.receive, crossing.send)
        crossing.record()


def refuse(method: str, path: str, headers: Mapping[bytes, bytes], settings: GatewaySettings) -> RagweldError | None:
    """Why this request head must not reach a handler; None when it may."""
    host = headers.get(b"host", b"")
    if _host_name(b"//" + host) not in settings.allowed_hosts:
        shown = host.decode("latin-1")
        return Forbidden(f"The Host {shown!r} is not answered here.", hint="Add it to gateway.allowed_hosts.")
    origin = headers.get(b"origin")
    if origin is not None and _host_name(origin) not in settings.allowed_hosts:
        return Forbidden("Pages of other origins are not answered here.", hint="Add its host to gateway.allowed_hosts.")
    length = headers.get(b"content-length", b"0")
    if not length.isdigit() or int(length[:20]) > _most_bytes(path, settings):
        return _too_large(path, settings)
    if method not in _WITH_BODY or (wrong := _wrong_kind(path, headers.get(b"content-type", b""))) is None:
        return None
    return wrong if length.strip(b"0") != b"" or b"transfer-encoding" in headers else None


def _wrong_kind(path: str, content_type: bytes) -> RagweldError | None:
    kind = content_type.split(b";", 1)[0].strip().lower()
    if path in UPLOADS:
        if kind == b"multipart/form-data":
            return None
        return UnsupportedMediaType(f"The body of {path} must be a form.", hint="Send multipart/form-data.")
    if kind == b"application/json" or (kind.startswith(b"application/") and kind.endswith(b"+json")):
        return None
    return UnsupportedMediaType(f"The body of {path} must be JSON.", hint="Send content-type: application/json.")


@lru_cache(256)
def _host_name(url: bytes) -> str | None:
    try:
        return urlsplit(url.decode("latin-1")).hostname
    except ValueError:
        return None


def _most_bytes(path: str, settings: GatewaySettings) -> int:
    return settings.max_upload_bytes if path in UPLOADS else settings.max_body_bytes


def _too_large(path: str, settings: GatewaySettings) -> BodyTooLarge:
    setting = "max_upload_bytes" if path in UPLOADS else "max_body_bytes"
    most = _most_bytes(path, settings)
    return BodyTooLarge(f"The body is larger than {most} bytes.", hint=f"See gateway.{setting}.")


class _Crossing:
    """One request on its way in and its answer on the way out."""

    def __init__(self, scope: HTTPScope, receive: Receive, send: Send, context: Context) -> None:
        self.headers: dict[bytes, bytes] = dict(scope["headers"])
        self._scope = scope
        self._receive = receive
        self._send = send
        self._context = context
        self._settings = context.settings.gateway
        self._began = context.clock()
        self._deadline = asyncio.get_running_loop().time() + self._settings.body_deadline_s
        self._received_bytes = 0
        self._is_body_whole = False
        self._status = 0
        self._visit: Visit | None = None
        """None while it may not pass."""
        self._request_id = self._choose_request_id()

    def let_pass(self) -> RagweldError | None:
        """Ask the guard, if there is one; the refusal, or None with the visit told to the handler."""
        guard, client = self._context.guard, self._scope.get("client")
        address = client[0] if client else ""
        method, path = self._scope["method"], self._scope["path"]
        admitted = guard.admit(method, path, self.headers, address) if guard is not None else Visit()
        if isinstance(admitted, RagweldError):
            return admitted
        self._visit = self._scope["auth"] = admitted
        return None

    async def receive(self) -> Any:
        """The next message; the body is bounded in bytes and time."""
        if self._is_body_whole:
            return await self._receive()
        is_here = connection_of(self._scope).has_whole_body
        message: Any = await (self._receive() if is_here else self._receive_in_time())
        if message["type"] == "http.request":
            self._received_bytes += len(message.get("body", b""))
            if self._received_bytes > _most_bytes(self._scope["path"], self._settings):
                raise _too_large(self._scope["path"], self._settings)
            self._is_body_whole = not message.get("more_body", False)
        return message

    async def _receive_in_time(self) -> Any:
        try:
            async with asyncio.timeout_at(self._deadline + self._earned_s()):
                return await self._receive()
        except TimeoutError:
            raise BodyTimedOut(f"The body did not arrive within {self._settings.body_deadline_s:g} s.") from None

    def _earned_s(self) -> float:
        """By how much an upload has put its deadline off, by what has come of it."""
        return self._received_bytes / UPLOAD_BYTES_PER_S if self._scope["path"] in UPLOADS else 0.0

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            limits = _raw(self._visit.headers()) if self._visit is not None else []
            message["headers"] = [*message.get("headers", []), (b"x-request-id", self._request_id), *limits]
            if self._visit is not None and self._is_administration():
                await self._remember(self._visit)
        await self._send(message)

    async def answer(self, error: RagweldError) -> None:
        """Refuse, without having read the body."""
        body = errors.body(error)
        headers = {"content-type": "application/json", "content-length": str(len(body)), "connection": "close"}
        raw = _raw(headers | errors.headers(error))
        await self.send({"type": "http.response.start", "status": error.http_status, "headers": raw})
        await self.send({"type": "http.response.body", "body": body, "more_body": False})

    def record(self) -> None:
        route = self._scope.get("path_template") or "unmatched"
        self._context.measures.http_answer(route, self._status)
        method, path = self._scope["method"], self._scope["path"]
        if path not in ALWAYS_ANSWERED and (self._status >= 400 or method != "GET"):
            log.log(logging.ERROR if self._status >= 500 else logging.INFO, self._line(method, path))

    def _line(self, method: str, path: str) -> str:
        ms, request_id = 1e3 * (self._context.clock() - self._began), self._request_id.decode("ascii")
        key = f" key={self._visit.key}" if self._visit is not None and self._visit.key else ""
        return (
            f"request method={method} path={logs.quoted(path[:200])} status={self._status} "
            f"ms={ms:.1f} id={request_id}{key}"
        )

    def _is_administration(self) -> bool:
        method, path = self._scope["method"], self._scope["path"]
        return method in CHANGING and scope_for(method, path) == "admin" and self._status < 500

    async def _remember(self, visit: Visit) -> None:
        """Write the act to the administrators' log before its answer leaves; a full disk stops nobody."""
        what = f"{self._scope['method']} {self._scope['path'][:200]}"
        facts = {"status": self._status, "id": self._request_id.decode("ascii"), **visit.noted}
        try:
            await asyncio.to_thread(self._context.admin_log.append, visit.key or "loopback", what, facts)
        except OSError as error:
            log.error("the administrators' log cannot be written: %s", error)

    def _choose_request_id(self) -> bytes:
        given = self.headers.get(b"x-request-id")
        if given is not None and _REQUEST_ID.fullmatch(given):
            return given
        return b"req_%b%08x" % (_PROCESS, next(_NUMBERS))


def _raw(headers: Mapping[str, str]) -> list[tuple[bytes, bytes]]:
    return [(name.encode(), value.encode()) for name, value in headers.items()]
