"""An upstream that does exactly what a test tells it to: a real server on a free port, on a thread of its own."""

from __future__ import annotations

import asyncio
import json
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

from catalog.settings import RoutingSettings, Upstream

SHORT_S = 0.8
KEY = "sk-a-secret"
PATIENT = RoutingSettings(breaker_failures=1_000_000, retries=0)
"""Asks once and never leaves anybody in peace, so that each fault is seen for itself."""
UNHURRIED = {"first_byte_timeout_s": 30, "between_bytes_timeout_s": 30}
"""Waits of an upstream whose answers are good, however busy the machine is."""
HI: list[Any] = [{"role": "user", "content": "hi"}]

Step = bytes | float | str
"""Bytes to send, seconds to wait, or `hang` (until the other side goes) or `reset`."""


@dataclass(frozen=True, slots=True)
class Asked:
    """One request as it arrived."""

    path: str
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True)
class Misbehaving:
    """`steps` are what a chat is answered with after those of `in_turn` are used up, `models` what it lists.

    `gone` counts requests whose asker went away while it hung.
    """

    port: int = 0
    steps: Sequence[Step] = ()
    in_turn: list[Sequence[Step]] = field(default_factory=list)
    models: Sequence[str] = ()
    asked: list[Asked] = field(default_factory=list, repr=False)
    gone: int = 0
    open: int = 0

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def reset(self) -> None:
        self.steps, self.gone = (), 0
        self.in_turn.clear()
        self.asked.clear()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.open += 1
        try:
            while asked := await _read(reader):
                if asked.path.endswith("/models"):
                    writer.write(answer(json.dumps({"data": [{"id": one} for one in self.models]}).encode()))
                    continue
                self.asked.append(asked)
                for step in list(self.in_turn.pop(0) if self.in_turn else self.steps):
                    if not await self._take(step, reader, writer):
                        return
        except (ConnectionError, asyncio.IncompleteReadError):
            return
        finally:
            self.open -= 1
            writer.close()

    async def _take(self, step: Step, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        match step:
            case bytes():
                writer.write(step)
                await writer.drain()
                await asyncio.sleep(0)
            case float() | int():
                await asyncio.sleep(step)
            case "hang":
                await reader.read()
                self.gone += 1
                return False
            case "reset":
                writer.transport.abort()
                return False
            case "close":
                return False
        return True


async def _read(reader: asyncio.StreamReader) -> Asked | None:
    head = await reader.readuntil(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").strip().split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", "0")))
    return Asked(first.split()[1], headers, body)


def answer(body: bytes, status: str = "200 OK", kind: str = "application/json", more: str = "") -> bytes:
    """A whole HTTP answer."""
    head = f"HTTP/1.1 {status}\r\ncontent-type: {kind}\r\ncontent-length: {len(body)}\r\n{more}\r\n"
    return head.encode() + body


STREAM_HEAD = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n"
"""The stream ends with the connection, so that a cut at every byte is a cut and nothing else."""


def chunk(delta: object, finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    body = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "there-really", "choices": [choice]}
    return b"data: " + json.dumps(body, ensure_ascii=False).encode() + b"\n\n"


ROLE = chunk({"role": "assistant", "content": ""})
WORDS = [chunk({"content": text}) for text in ("Grüße", " from", " 🙂")]
FINISH = chunk({}, "stop")
DONE = b"data: [DONE]\n\n"
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":11,"completion_tokens":3,"total_tokens":14}}\n\n'
GOOD_STREAM = ROLE + b"".join(WORDS) + FINISH + DONE
GOOD_ANSWER = json.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "there-really",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "from there"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 11, "completion_tokens": 3, "total_tokens": 14},
    }
).encode()


@contextmanager
def misbehaving() -> Iterator[Misbehaving]:
    """Serve until the block ends."""
    upstream = Misbehaving()
    ready, loop = threading.Event(), asyncio.new_event_loop()
    end: list[asyncio.Event] = []

    async def run(serve: Callable[..., Awaitable[None]]) -> None:
        end.append(asyncio.Event())
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        upstream.port = server.sockets[0].getsockname()[1]
        ready.set()
        await end[0].wait()
        server.close()
        for task in asyncio.all_tasks() - {asyncio.current_task()}:
            task.cancel()

    def live() -> None:
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(run(upstream.serve))

    thread = threading.Thread(target=live)
    thread.start()
    ready.wait(5)
    try:
        yield upstream
    finally:
        loop.call_soon_threadsafe(end[0].set)
        thread.join(5)
        assert not thread.is_alive()


def configured(name: str, upstream: Misbehaving, **more: Any) -> Upstream:
    return Upstream.model_validate(
        {
            "name": name,
            "base_url": upstream.base_url,
            "model": f"model-of-{name}",
            "connect_timeout_s": 10,
            "first_byte_timeout_s": SHORT_S,
            "between_bytes_timeout_s": SHORT_S,
            "total_timeout_s": 5,
            **more,
        }
    )
