"""Asks other OpenAI-compatible servers, and hands on what they say byte for byte.

Only hosts of the settings are ever contacted, redirects are not followed, and a key goes to its own upstream alone.
An answer counts as begun with its first content: what fails before can be asked of somebody else, what fails after
is an error that the stream itself reports. Four waits have four names. `tests/gateway/test_upstream.py`.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncGenerator, Callable, Mapping
from types import TracebackType
from typing import Any, TypeVar

import aiohttp
import msgspec
from msgspec import Struct

import catalog
from catalog import models
from catalog.errors import Overloaded, RagweldError, UpstreamFailed, UpstreamTimedOut
from catalog.settings import Upstream
from gateway import routing, sse
from gateway.errors import UpstreamRefused
from gateway.providers import Health, Providers, Turn
from gateway.routing import UpstreamRoute
from gateway.speaker import Count, Speaker, Whole
from gateway.wire.answer import DONE_EVENT
from gateway.wire.fields import LOCAL_ONLY
from gateway.wire.foreign import UNREADABLE
from gateway.wire.request import ParsedChat

MAX_ANSWER_BYTES = 32 << 20
MAX_ERROR_BYTES = 64 << 10
MAX_LIST_BYTES = 4 << 20
MAX_IDS = 2000
MAX_ID_CHARS = 256
MAX_RETRY_AFTER_S = 60.0
OTHER_MODEL = "other"

_REQUEST_FAULTS = frozenset({400, 404, 413, 415, 422})
"""The request itself is at fault; another upstream would say the same."""


SomeAnswer = TypeVar("SomeAnswer", bound="UpstreamAnswer")
Kind = Callable[[Upstream, Speaker, bool, Callable[[], float], Turn], SomeAnswer]
"""What makes an answer of a kind: its class, or what it wants besides."""


class Upstreams:
    """The client to every upstream. `providers` says whom to leave in peace, and is told how each request went."""

    def __init__(self, environ: Mapping[str, str], clock: Callable[[], float], providers: Providers) -> None:
        self._environ = environ
        self._clock = clock
        self._providers = providers
        self._session: aiohttp.ClientSession | None = None
        self._lines: dict[str, Line] = {}

    async def start(self) -> None:
        self._session = aiohttp.ClientSession(
            cookie_jar=aiohttp.DummyCookieJar(),
            connector=aiohttp.TCPConnector(limit=0),
            headers={"user-agent": f"ragweld/{catalog.__version__}", "accept-encoding": "identity"},
            auto_decompress=False,
            trust_env=False,
        )

    async def stop(self) -> None:
        if self._session is not None:
            await self._session.close()

    async def ask(self, route: UpstreamRoute, chat: ParsedChat, kind: type[UpstreamAnswer]) -> UpstreamAnswer:
        """An answer whose first content is here; raises what the tree of errors has for upstreams."""
        return await self.open(kind, route, body_for(route, chat), streams=bool(chat.request.stream))

    async def open(self, kind: Kind[SomeAnswer], route: UpstreamRoute, body: bytes, *, streams: bool) -> SomeAnswer:
        """The same for a body that is ready, and for other routes of an upstream than chat."""
        upstream = route.upstream
        is_known = route.model in routing.models_of(upstream, {}) or route.model in models.by_name()
        label = route.model if is_known else OTHER_MODEL
        turn = self._providers.turn(upstream.name)
        answer = kind(upstream, Speaker(upstream.name, label), streams, self._clock, turn)
        try:
            await answer.open(self._http(), self.line(upstream), body)
        except BaseException:
            await answer.aclose()
            raise
        return answer

    async def look_at(self, upstream: Upstream, timeout_s: float) -> Health:
        """Whether an upstream lists its models, and which; takes `timeout_s` at most, and its faults are no errors."""
        began = self._clock()
        timeout = aiohttp.ClientTimeout(total=timeout_s)
        try:
            async with self._http().get(
                f"{upstream.base_url}/models",
                headers=self.line(upstream).headers,
                timeout=timeout,
                allow_redirects=False,
            ) as response:
                obstacle = None if response.status < 400 else f"it answers {response.status} to GET /models"
                body = await _read_up_to(MAX_LIST_BYTES, response) if upstream.models == "discover" else b""
        except (aiohttp.ClientError, OSError, TimeoutError) as error:
            return Health(f"it does not answer ({type(error).__name__})", self._clock() - began)
        return Health(obstacle, self._clock() - began, model_ids(body))

    def _http(self) -> aiohttp.ClientSession:
        assert self._session is not None, "start() has not run"
        return self._session

    def line(self, upstream: Upstream) -> Line:
        """How an upstream is asked; made once for as long as its settings stay."""
        known = self._lines.get(upstream.name)
        if known is None or known.upstream is not upstream:
            known = self._lines[upstream.name] = Line(upstream, self._environ.get(upstream.api_key_env, ""))
        return known


class Line:
    """What every request to one upstream has in common."""

    def __init__(self, upstream: Upstream, key: str) -> None:
        self.upstream = upstream
        self.headers = {"content-type": "application/json"} | ({"authorization": f"Bearer {key}"} if key else {})
        self.timeout = aiohttp.ClientTimeout(total=upstream.total_timeout_s, sock_connect=upstream.connect_timeout_s)


def body_for(route: UpstreamRoute, chat: ParsedChat) -> bytes:
    """The request with the upstream's model in the place of the caller's; OpenAI is spared what only we know."""
    spared = LOCAL_ONLY if route.upstream.kind == "cloud_direct" else frozenset()
    plain = {name: value for name, value in chat.plain.items() if name not in spared}
    return msgspec.json.encode({**plain, "model": route.model})


class _WholeAnswer(Struct, frozen=True):
    choices: list[Any] = []
    error: Any = None
    usage: sse.Tokens | None = None


class _ListedModel(Struct, frozen=True):
    id: str


class _ModelList(Struct, frozen=True):
    data: list[_ListedModel] = []


class UpstreamAnswer:
    """One upstream's answer. Before `open` returns it may still be given up without anybody noticing."""

    path = "/chat/completions"

    def __init__(
        self,
        upstream: Upstream,
        speaker: Speaker,
        streams: bool,
        clock: Callable[[], float],
        turn: Turn,
    ) -> None:
        self.speaker = speaker
        self.count = Count()
        self._upstream = upstream
        self._streams = streams
        self._clock = clock
        self._turn = turn
        self._response: aiohttp.ClientResponse | None = None
        self._cutter = sse.EventCutter()
        self._begun = b""
        self._is_finished = False
        self._is_done = False
        self._broken: UpstreamFailed | None = None

    async def open(self, http: aiohttp.ClientSession, line: Line, body: bytes) -> None:
        """Send the request and wait for the first content, or for the whole answer where it is not streamed."""
        upstream, began = self._upstream, self._clock()
        async with self._wait("first_byte_timeout", upstream.first_byte_timeout_s):
            self._response = await http.post(
                upstream.base_url + self.path,
                data=body,
                headers=line.headers,
                timeout=line.timeout,
                allow_redirects=False,
            )
        if self._response.status != 200:
            raise await self._refusal(self._response)
        if (self._response.content_type == "text/event-stream") != self._streams:
            raise self._failure("wrong_kind", f"answers with {self._response.content_type}, which was not asked for")
        if self._streams:
            await self._await_content(self._response)
        else:
            self._begun = await self._read_whole(self._response)
        self._turn.spoke(self._clock() - began)
        if not self._streams:
            self._turn.finished()
            self._turn.end()

    async def whole(self) -> Whole:
        return Whole(self._begun)

    async def events(self) -> AsyncGenerator[bytes, None]:
        assert self._response is not None
        block, self._begun = self._begun, b""
        while True:
            if block:
                self.count.last_piece_at = self._clock()
                yield block
            if self._broken is not None:
                raise self._broken
            if self._is_done:
                self._turn.finished()
                return
            block = await self._next_block(self._response)

    async def aclose(self) -> None:
        self._turn.end()
        if self._response is None:
            return
        if self._response.content.at_eof():
            self._response.release()  # the connection is as good as new
        else:
            self._response.close()

    async def _await_content(self, response: aiohttp.ClientResponse) -> None:
        """Read events until one has content; they are handed on together."""
        deadline_s = self._upstream.first_byte_timeout_s
        async with self._wait("first_byte_timeout", deadline_s):
            while not self.count.first_piece_at:
                block = await self._read_events(response)
                seen = sse.look(block)
                if seen.error is not None or seen.unreadable:
                    raise self._failure("error_body", f"began with {'an error' if seen.error else 'no chunk'}")
                self._begun += sse.until_done(block) if seen.done else block
                self._note(seen)
                if seen.content or seen.finished or seen.done:
                    self.count.first_piece_at = self.count.last_piece_at = self._clock()

    async def _next_block(self, response: aiohttp.ClientResponse) -> bytes:
        async with self._wait("between_bytes_timeout", self._upstream.between_bytes_timeout_s):
            block = await self._read_events(response)
        seen = sse.look(block)
        self._note(seen)
        if seen.error is None and not seen.unreadable:
            return sse.until_done(block) if seen.done else block
        kind, what = ("error_event", "an error") if seen.error is not None else ("garbage", "what is no chunk")
        self._broken = self._failure(kind, f"broke off with {what}")
        return sse.before_fault(block)

    def _note(self, seen: sse.Seen) -> None:
        self._is_done |= seen.done
        self._is_finished |= seen.finished or seen.done
        if seen.usage is not None:
            self.count.prompt_tokens = seen.usage.prompt_tokens
            self.count.answer_tokens = seen.usage.completion_tokens

    async def _read_events(self, response: aiohttp.ClientResponse) -> bytes:
        """At least one whole event; `[DONE]` where a finished answer ends without it."""
        while True:
            piece = await response.content.readany()
            if not piece:
                if self._is_finished:
                    self._is_done = True
                    return DONE_EVENT
                raise self._failure("cut", "broke off in the middle of its answer")
            try:
                block = self._cutter.feed(piece)
            except sse.EventTooLong:
                raise self._failure("garbage", "sends something that is no event stream") from None
            if block:
                return block

    async def _read_whole(self, response: aiohttp.ClientResponse) -> bytes:
        pieces, size, content = [], 0, response.content
        while not content.at_eof():
            if content.is_eof() and content.exception() is None:
                piece = content.read_nowait()  # all of it is here, and there is nothing to wait for
            else:
                async with self._wait("between_bytes_timeout", self._upstream.between_bytes_timeout_s):
                    piece = await content.readany()
            pieces.append(piece)
            size += len(piece)
            if size > MAX_ANSWER_BYTES:
                raise self._failure("garbage", f"sends more than {MAX_ANSWER_BYTES} bytes")
        body = b"".join(pieces)
        self._judge(body)
        return body

    def _judge(self, body: bytes) -> None:
        """Count what a whole answer took; raises UpstreamFailed when it is none."""
        try:
            answer = msgspec.json.decode(body, type=_WholeAnswer)
        except UNREADABLE as error:
            raise self._failure("garbage", "sends something that is no answer") from error
        if answer.error is not None or not answer.choices:
            raise self._failure("error_body", "answers 200 with an error")
        if answer.usage is not None:
            self.count.prompt_tokens = answer.usage.prompt_tokens
            self.count.answer_tokens = answer.usage.completion_tokens

    async def _refusal(self, response: aiohttp.ClientResponse) -> RagweldError:
        """What a status other than 200 means. An upstream's text is shown only where it is about the request."""
        status = response.status
        if status in _REQUEST_FAULTS:
            async with self._wait("between_bytes_timeout", self._upstream.between_bytes_timeout_s):
                body = await _read_up_to(MAX_ERROR_BYTES, response)
            return UpstreamRefused(f"{self._upstream.name}: {_message(body)}", http_status=status)
        if status == 429:
            wait_s = retry_after_s(response.headers.get("retry-after"))
            self._turn.asked_to_rest(wait_s)
            return Overloaded(f"{self._upstream.name} has too much to do.", retry_after_s=wait_s)
        self._turn.failed(f"status_{status // 100}xx")
        what = "does not accept its key" if status in (401, 403) else f"answers {status}"
        return UpstreamFailed(f"{self._upstream.name} {what}.", code=f"upstream_status_{status}")

    def _wait(self, kind: str, deadline_s: float) -> _Wait:
        return _Wait(self, kind, deadline_s)

    def fault(self, error: BaseException) -> RagweldError | None:
        """What a fault of the connection is called; None for what is no fault of an upstream."""
        match error:
            case aiohttp.ConnectionTimeoutError():
                return self.timed_out("connect_timeout", self._upstream.connect_timeout_s)
            case TimeoutError():
                return self.timed_out("total_timeout", self._upstream.total_timeout_s)
            case aiohttp.ClientConnectorError():
                return self._failure("unreachable", "cannot be reached")
            case aiohttp.ClientError() | OSError():
                return self._failure("cut", f"broke off ({type(error).__name__})")
        return None

    def timed_out(self, kind: str, after_s: float) -> UpstreamTimedOut:
        self._turn.failed(kind)
        return UpstreamTimedOut(f"{self._upstream.name} was silent too long ({kind}, {after_s:g} s).")

    def _failure(self, kind: str, what: str) -> UpstreamFailed:
        self._turn.failed(kind)
        code = "upstream_unreachable" if kind == "unreachable" else f"upstream_{kind}"
        return UpstreamFailed(f"{self._upstream.name} {what}.", code=code)


class _Wait:
    """Bounds one wait for an upstream, and turns whatever goes wrong in it into one of our errors."""

    def __init__(self, answer: UpstreamAnswer, kind: str, deadline_s: float) -> None:
        self._answer = answer
        self._kind = kind
        self._deadline_s = deadline_s
        self._timeout = asyncio.timeout(deadline_s)

    async def __aenter__(self) -> None:
        await self._timeout.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            await self._timeout.__aexit__(kind, error, trace)
        except TimeoutError as late:
            raise self._answer.timed_out(self._kind, self._deadline_s) from late
        if error is not None and (fault := self._answer.fault(error)) is not None:
            raise fault from error


def retry_after_s(header: str | None) -> float:
    """Seconds that an upstream asks to wait, within bounds; dates count as one second."""
    text = (header or "").strip()
    return min(float(text), MAX_RETRY_AFTER_S) if re.fullmatch(r"\d{1,6}(\.\d{1,6})?", text) else 1.0


def model_ids(body: bytes) -> tuple[str, ...]:
    """The ids of a list of models; none where it cannot be read, and never more than a list may have."""
    try:
        listed = msgspec.json.decode(body, type=_ModelList).data
    except UNREADABLE:
        return ()
    return tuple(dict.fromkeys(model.id for model in listed if 0 < len(model.id) <= MAX_ID_CHARS))[:MAX_IDS]


async def _read_up_to(limit: int, response: aiohttp.ClientResponse) -> bytes:
    body = bytearray()
    while len(body) < limit and (piece := await response.content.readany()):
        body += piece
    return bytes(body)


def _message(body: bytes) -> str:
    """The message inside an error body of OpenAI's shape, or its beginning."""
    try:
        error = msgspec.json.decode(body)["error"]
        message = error["message"] if isinstance(error, dict) else error
    except (*UNREADABLE, KeyError, TypeError):
        message = body[:200].decode("utf-8", "replace")
    return str(message)[:1000]
