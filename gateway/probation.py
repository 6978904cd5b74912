"""Watches the first answers of an adapter that has just become active, and takes it back when they are bad.

On probation is the adapter that the alias moved to in the last hour, until fifty requests were answered by it as the
active one. It is taken back as soon as three of its answers and more than half of all were bad: the engine failed, not
a word was said, or the answer went round in circles until its end. So is one that failed the golden prompt. The move is
a line of the alias's history with its reason, and counted. `tests/gateway/test_probation.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal

from catalog.adapters import AdapterStore, AliasMove, short
from catalog.ids import AdapterId, BaseId

log = logging.getLogger(__name__)

WATCHED_REQUESTS = 50
FEWEST_BAD = 3
WORST_SHARE = 0.5
NEW_FOR_S = 3600.0
TAIL_CHARS = 240
LONGEST_UNIT_CHARS = 40
BAD_ERRORS = frozenset({"engine_failed", "invalid_adapter", "internal_error"})

Cause = Literal["golden_prompt", "bad_answers"]


@dataclass(frozen=True, slots=True)
class Record:
    """What an adapter on probation has answered so far."""

    adapter_id: AdapterId
    asked: int = 0
    bad: int = 0

    def after(self, is_bad: bool) -> Record:
        return Record(self.adapter_id, self.asked + 1, self.bad + is_bad)

    @property
    def has_failed(self) -> bool:
        return self.bad >= FEWEST_BAD and self.bad > WORST_SHARE * self.asked

    @property
    def has_passed(self) -> bool:
        return self.asked >= WATCHED_REQUESTS and not self.has_failed


def goes_in_circles(tail: str) -> bool:
    """Whether the end of an answer is one short text again and again."""
    return len(tail) >= TAIL_CHARS and any(tail[unit:] == tail[:-unit] for unit in range(1, LONGEST_UNIT_CHARS + 1))


class Probation:
    """Belongs to the event loop. `copied` refreshes the folder where users find a base's active adapter."""

    def __init__(
        self,
        store: AdapterStore,
        copied: Callable[[BaseId, AdapterId], None],
        count: Callable[[Cause], None],
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        self._store = store
        self._copied = copied
        self._count = count
        self._now = now
        self._records: dict[BaseId, Record] = {}
        self._over: set[tuple[BaseId, AdapterId]] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    def heard(self, base: BaseId, adapter_id: AdapterId, *, is_bad: bool) -> None:
        """An answer of the active adapter has ended. Cheap; what follows from it happens in the background."""
        if (base, adapter_id) in self._over:
            return
        record = self._records.get(base)
        if record is None or record.adapter_id != adapter_id:
            record = Record(adapter_id)
        record = self._records[base] = record.after(is_bad)
        if record.has_passed:
            self._over.add((base, adapter_id))
        elif record.has_failed:
            self._over.add((base, adapter_id))
            why = f"{record.bad} of its first {record.asked} answers failed or were bad"
            self._in_background(base, adapter_id, why)

    async def failed_trial(self, base: BaseId, adapter_id: AdapterId, problem: str) -> None:
        """The engine found the active adapter unfit to serve."""
        await self._try_to_take_back(base, adapter_id, "golden_prompt", f"golden prompt: {problem}")

    async def stop(self) -> None:
        """Wait for what is under way."""
        await asyncio.gather(*self._tasks)

    def _in_background(self, base: BaseId, adapter_id: AdapterId, why: str) -> None:
        task = asyncio.create_task(self._try_to_take_back(base, adapter_id, "bad_answers", why))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _try_to_take_back(self, base: BaseId, adapter_id: AdapterId, cause: Cause, why: str) -> None:
        """Where the disk refuses it, the adapter is watched anew and so tried again."""
        try:
            await asyncio.to_thread(self._take_back, base, adapter_id, cause, why)
        except OSError as error:
            log.error("adapters: %s could not be taken back: %s", short(adapter_id), error)
            self._over.discard((base, adapter_id))
            self._records.pop(base, None)

    def _take_back(self, base: BaseId, adapter_id: AdapterId, cause: Cause, why: str) -> None:
        moves = self._store.aliases().bases.get(base, [])
        if cause == "bad_answers" and not self._is_new(moves):
            return
        move = self._store.retreat(base, adapter_id, why)
        if move is None:
            return
        self._count(cause)
        log.error("adapters: %s was taken back, %s answers now: %s", short(adapter_id), short(move.adapter_id), why)
        if move.adapter_id is not None:
            self._copied(base, AdapterId(move.adapter_id))

    def _is_new(self, moves: list[AliasMove]) -> bool:
        if not moves:
            return False
        return (self._now() - datetime.fromisoformat(moves[-1].ts)).total_seconds() < NEW_FOR_S
