"""Keeps chats that were asked to be kept, beside the answer and never in its way.

A tap copies what is sent; once the answer is whole, it goes into a bounded queue that one task writes from. A full
disk, a full queue or whatever else drops a chat is counted and logged, and fails no request. An upstream's answer gets
an id of ours before it is sent, since ids of others may repeat. `tests/gateway/test_stored_chats.py`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, Literal

from litestar.types import Message, Send

from catalog.chats import MOST_CHAT_BYTES, Chat, ChatStore
from catalog.errors import InvalidRequest
from catalog.settings import ChatLogSettings, Upstream
from gateway import sse
from gateway.providers import Turn
from gateway.speaker import Speaker, Whole
from gateway.upstream import UpstreamAnswer
from gateway.wire import assembled
from gateway.wire.answer import new_completion_id
from gateway.wire.foreign import UNREADABLE
from gateway.wire.request import ChatRequest, ParsedChat

log = logging.getLogger(__name__)

MOST_WAITING = 256
MOST_WAITING_BYTES = 64 << 20
SETTLE_S = 5.0
"""How long a question waits for what is still to be written."""

Outcome = Literal["kept", "dropped"]


def wants(request: ChatRequest, settings: ChatLogSettings) -> bool:
    """Whether this chat is to be kept."""
    match settings.keep:
        case "nothing":
            return False
        case "asked":
            return request.store is True
        case "all":
            return request.store is not False


def check(request: ChatRequest, settings: ChatLogSettings) -> None:
    """Raise InvalidRequest when it asks to be kept where nothing is."""
    if request.store and settings.keep == "nothing":
        raise InvalidRequest(
            "Nothing is stored here: chat_log.keep is nothing.", param="store", code="unsupported_parameter"
        )


def kept_here(chat: ParsedChat) -> ParsedChat:
    """The chat as an upstream is asked, which need not keep it as well."""
    plain = {name: value for name, value in chat.plain.items() if name not in ("store", "metadata")}
    return ParsedChat(chat.request, plain)


class KeptAnswer(UpstreamAnswer):
    """An upstream's answer under an id of our own, by which it is found again; else as it came."""

    def __init__(
        self, upstream: Upstream, speaker: Speaker, streams: bool, clock: Callable[[], float], turn: Turn
    ) -> None:
        super().__init__(upstream, speaker, streams, clock, turn)
        self._id = new_completion_id()

    async def whole(self) -> Whole:
        found = await super().whole()
        return replace(found, body=self._renamed(sse.with_id, found.body))

    async def events(self) -> AsyncGenerator[bytes, None]:
        async with aclosing(super().events()) as blocks:
            async for block in blocks:
                yield self._renamed(sse.renamed, block)

    def _renamed(self, rename: Callable[[bytes, str], bytes], sent: bytes) -> bytes:
        try:
            return rename(sent, self._id)
        except UNREADABLE as error:
            raise self._failure("garbage", "sends something that is no answer") from error


class Tap:
    """Passes on what is sent and remembers it; `whole` is told before the last of it leaves."""

    def __init__(self, send: Send, whole: Callable[[Tap], None]) -> None:
        self._send = send
        self._whole = whole
        self._pieces: list[bytes] = []
        self._bytes = 0
        self._is_stream = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._is_stream = (b"content-type", b"text/event-stream") in message.get("headers", [])
        elif message["type"] == "http.response.body":
            self._bytes += len(message["body"])
            if self._bytes <= MOST_CHAT_BYTES:
                self._pieces.append(message["body"])
            if not message["more_body"]:
                self._whole(self)
        await self._send(message)

    @property
    def held_bytes(self) -> int:
        return min(self._bytes, MOST_CHAT_BYTES)

    def completion(self) -> dict[str, Any] | None:
        """The answer as OpenAI's object; None when it broke off, or is too long to be kept."""
        if self._bytes > MOST_CHAT_BYTES:
            return None
        return assembled.completion_of(b"".join(self._pieces), is_stream=self._is_stream)


@dataclass(frozen=True, slots=True)
class _Waiting:
    chat: ParsedChat
    tap: Tap


class Recorder:
    """The one writer of a gateway's chats. Belongs to the event loop."""

    def __init__(
        self, store: ChatStore, settings: Callable[[], ChatLogSettings], count: Callable[[Outcome], None]
    ) -> None:
        self.store = store
        self.obstacle: str | None = None
        """Why the last one could not be written."""
        self._settings = settings
        self._count = count
        self._queue: asyncio.Queue[_Waiting] = asyncio.Queue(MOST_WAITING)
        self._waiting_bytes = 0
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._write())

    async def stop(self) -> None:
        """Write what is waiting, for a few seconds at most."""
        await self.settled()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def tap(self, chat: ParsedChat, send: Send) -> Tap:
        """What keeps the answer to `chat` on its way."""
        return Tap(send, lambda tap: self._take(_Waiting(chat, tap)))

    def _take(self, waiting: _Waiting) -> None:
        if self._queue.full() or self._waiting_bytes > MOST_WAITING_BYTES:
            self._dropped("more come than can be written")
            return
        self._waiting_bytes += waiting.tap.held_bytes
        self._queue.put_nowait(waiting)

    async def settled(self) -> None:
        """Return when everything that was answered before is written, or after a few seconds."""
        try:
            async with asyncio.timeout(SETTLE_S):
                await self._queue.join()
        except TimeoutError:
            log.warning("chats: the disk is slow, %d wait to be written", self._queue.qsize())

    async def _write(self) -> None:
        while True:
            waiting = await self._queue.get()
            try:
                await asyncio.to_thread(self._append, waiting)
            except Exception as error:  # one chat must not end the keeping of all that come after it
                log.exception("chats: one could not be written")
                self.obstacle = f"chats are not kept: {type(error).__name__}"
                self._dropped(type(error).__name__)
            finally:
                self._waiting_bytes -= waiting.tap.held_bytes
                self._queue.task_done()

    def _append(self, waiting: _Waiting) -> None:
        completion = waiting.tap.completion()
        if completion is None:
            self._dropped("its answer broke off, or is too long")
            return
        try:
            self.store.append(chat_of(waiting.chat, completion), self._settings().max_bytes)
        except OSError as error:
            self.obstacle = f"chats are not kept: {error.strerror}"
            self._dropped(f"{error.strerror}")
        else:
            self.obstacle = None
            self._count("kept")

    def _dropped(self, why: str) -> None:
        self._count("dropped")
        log.warning("chats: one was not kept: %s", why)


def chat_of(chat: ParsedChat, completion: dict[str, Any]) -> Chat:
    """What is kept of a request and its answer."""
    return Chat(
        id=completion["id"],
        created=completion.get("created") or int(time.time()),
        model=completion.get("model") or chat.request.model,
        metadata=chat.request.metadata or {},
        request={name: value for name, value in chat.plain.items() if name not in ("store", "metadata", "stream")},
        completion=completion,
    )
