"""One stream for a page that watches many runs: the list and the aliases as they change, and events of chosen runs.

A run's place is the byte offset after the last line that was told, as in `gateway.run_stream`; an event's id holds the
places of all chosen runs (`a=120,b=4711`), so `Last-Event-ID` goes on exactly there, also over a restart. The list and
the aliases are state, not history: a new connection is told them as they are. `tests/gateway/test_runs_stream.py`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from catalog.adapters import AdapterStore
from catalog.errors import InvalidRequest
from catalog.run_life import Run
from catalog.runs import RunStore
from gateway.run_stream import HEARTBEAT, HEARTBEAT_S, event_kind, offset_of, sleep_or_drain, some_lines

MAX_CHOSEN = 20
"""Runs whose events one page follows at once."""
MAX_LISTED = 500
LOOK_S = 0.5
"""How often the list and the aliases are looked at; events of chosen runs come sooner."""

Places = dict[str, int]


def places_of(chosen: Sequence[str], last_event_id: str | None, runs: RunStore) -> Places:
    """Where to go on in each chosen run; raises NotFound or InvalidRequest. Blocking."""
    if len(chosen) > MAX_CHOSEN:
        raise InvalidRequest(f"At most {MAX_CHOSEN} runs can be followed at once.", param="runs")
    for run_id in chosen:
        runs.folder(run_id)
    named = dict(part.partition("=")[::2] for part in (last_event_id or "").split(",") if part)
    if foreign := set(named) - set(chosen):
        raise InvalidRequest(f"Last-Event-ID names {min(foreign)!r}, which is not asked for.", param="last-event-id")
    return {run_id: offset_of(named.get(run_id), runs.metrics_path(run_id)) for run_id in chosen}


@dataclass(slots=True)
class Board:
    """What a page was told of the list and the aliases."""

    runs: RunStore
    adapters: AdapterStore
    _versions: Mapping[str, int] = field(default_factory=dict)
    _running: frozenset[str] = frozenset()
    _aliases: str | None = None

    def news(self) -> list[bytes]:
        """Blocks for what changed since the last call; the first one tells everything. Blocking."""
        return [*self._news_of_runs(), *self._news_of_aliases()]

    def _news_of_runs(self) -> list[bytes]:
        is_first = self._aliases is None
        for run_id in self._running:
            self.runs.get(run_id)  # looks after its trainer, and writes down what it finds
        before, self._versions = self._versions, self.runs.versions()
        if is_first:
            listed = self.runs.list(limit=MAX_LISTED)
            self._running = _running(listed)
            return [_block("runs", json.dumps({"runs": [run.model_dump(mode="json") for run in listed]}))]
        changed = [self.runs.read(one) for one, version in self._versions.items() if before.get(one) != version]
        self._running = (self._running - {run.run_id for run in changed}) | _running(changed)
        return [_block("run", run.model_dump_json()) for run in changed]

    def _news_of_aliases(self) -> list[bytes]:
        now = self.adapters.aliases().model_dump_json()
        if now == self._aliases:
            return []
        self._aliases = now
        return [_block("aliases", now)]


def _running(runs: Iterable[Run]) -> frozenset[str]:
    return frozenset(run.run_id for run in runs if run.status == "running")


async def follow(
    board: Board, places: Places, draining: asyncio.Event, heartbeat_s: float = HEARTBEAT_S
) -> AsyncGenerator[bytes, None]:
    """Blocks for one page until the gateway drains; `places` moves with what is told."""
    clock = asyncio.get_running_loop().time
    spoke_at, look_at = clock(), clock()
    while not draining.is_set():
        blocks: list[bytes] = []
        if clock() >= look_at:
            look_at = clock() + LOOK_S
            blocks += await asyncio.to_thread(board.news)
        told = await asyncio.to_thread(_events, board.runs, places)
        blocks += told
        if blocks:
            spoke_at = clock()
            yield b"".join(blocks)
        elif clock() - spoke_at > heartbeat_s:
            spoke_at = clock()
            yield HEARTBEAT
        if not told:
            await sleep_or_drain(draining)


def _events(runs: RunStore, places: Places) -> list[bytes]:
    """The next events of every chosen run, each with the places after it."""
    blocks = []
    for run_id in places:
        for stored in some_lines(runs.metrics_path(run_id), places[run_id]):
            places[run_id] = stored.end_offset
            blocks.append(_block(event_kind(stored.line), stored.line.decode(), _event_id(places)))
    return blocks


def _event_id(places: Mapping[str, int]) -> str:
    return ",".join(f"{run_id}={offset}" for run_id, offset in places.items() if offset)


def _block(kind: str, text: str, event_id: str | None = None) -> bytes:
    named = f"id: {event_id}\n" if event_id is not None else ""
    return f"{named}event: {kind}\ndata: {text}\n\n".encode()
