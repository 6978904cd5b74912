"""A run's events as server-sent events: what is stored, then what comes, then the end.

An event's id is the byte offset after its line in `metrics.jsonl`, so `Last-Event-ID` goes on exactly there, also
over a restart of anybody. A reader who comes back after the end gets 204, which tells browsers to stop asking.
`tests/gateway/test_run_stream.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path

from litestar.types import ASGIApp, Receive, Scope, Send

from catalog import events
from catalog.errors import InvalidRequest
from catalog.events import StoredLine
from catalog.run_life import ENDED
from catalog.runs import RunStore
from gateway.lifecycle import Lifecycle, connection_of

POLL_S = 0.2
HEARTBEAT_S = 15.0
HEARTBEAT = b": still here\n\n"
LAST_WORD_S = 1.0
"""How long a run that has ended may take to write that it has."""
BATCH_LINES = 500


def offset_of(last_event_id: str | None, path: Path) -> int:
    """Where to go on; raises InvalidRequest when it is not the end of a line of this run. Blocking."""
    if not last_event_id:
        return 0
    if not last_event_id.isdecimal() or len(last_event_id) > 18:
        raise InvalidRequest("Last-Event-ID is not one of this stream's ids.", param="last-event-id")
    offset = int(last_event_id)
    if offset and _byte_before(path, offset) != b"\n":
        raise InvalidRequest("Last-Event-ID is not one of this stream's ids.", param="last-event-id")
    return offset


def _byte_before(path: Path, offset: int) -> bytes:
    if not path.exists():
        return b""
    with path.open("rb") as file:
        file.seek(offset - 1)
        return file.read(1)


def has_nothing_left(runs: RunStore, run_id: str, offset: int) -> bool:
    """Whether the run has ended and everything before `offset` is all there is. Blocking."""
    return runs.get(run_id).status in ENDED and not some_lines(runs.metrics_path(run_id), offset)


def some_lines(path: Path, offset: int) -> list[StoredLine]:
    """The next lines after `offset`, at most `BATCH_LINES`. Blocking."""
    lines = events.read_lines(path, offset)
    return [line for line, _ in zip(lines, range(BATCH_LINES), strict=False)]


async def follow(
    runs: RunStore, run_id: str, offset: int, draining: asyncio.Event, heartbeat_s: float = HEARTBEAT_S
) -> AsyncGenerator[bytes, None]:
    """Blocks of events after `offset` until the run's last one, or until the gateway drains."""
    path = runs.metrics_path(run_id)
    clock = asyncio.get_running_loop().time
    spoke_at, ended_at, said_end = clock(), None, False
    while not draining.is_set():
        has_ended = (await asyncio.to_thread(runs.get, run_id)).status in ENDED
        lines = await asyncio.to_thread(some_lines, path, offset)
        if lines:
            offset, spoke_at = lines[-1].end_offset, clock()
            said_end |= any(_says_end(line.line) for line in lines)
            yield b"".join(_event(line) for line in lines)
            continue
        if has_ended:
            ended_at = ended_at or clock()
            if said_end or clock() - ended_at > LAST_WORD_S:
                return
        if clock() - spoke_at > heartbeat_s:
            spoke_at = clock()
            yield HEARTBEAT
        await sleep_or_drain(draining)


async def sleep_or_drain(draining: asyncio.Event) -> None:
    """Wait until the next look, or less when the gateway drains."""
    try:
        async with asyncio.timeout(POLL_S):
            await draining.wait()
    except TimeoutError:
        return


def _event(stored: StoredLine) -> bytes:
    return b"id: %d\nevent: %s\ndata: %s\n\n" % (stored.end_offset, event_kind(stored.line).encode(), stored.line)


def event_kind(line: bytes) -> str:
    """The `type` of a stored event."""
    return str(json.loads(line).get("type", "message"))


def _says_end(line: bytes) -> bool:
    event = json.loads(line)
    return event.get("type") == "state" and event.get("status") in ENDED


def sending(blocks: AsyncGenerator[bytes, None], lifecycle: Lifecycle) -> ASGIApp:
    """An ASGI application that sends `blocks` as an event stream for as long as its client listens."""

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        async def run() -> None:
            headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            try:
                async for block in blocks:
                    await send({"type": "http.response.body", "body": block, "more_body": True})
            finally:
                await blocks.aclose()
            await send({"type": "http.response.body", "body": b"", "more_body": False})

        await lifecycle.while_client_listens(connection_of(scope), run())

    return app
