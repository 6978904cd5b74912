"""Who waits for memory that bases in use hold, and in which order they ask for it again.

While anybody waits, all who come later wait behind him, for bases in memory too: no steady stream to one base keeps
another out, and the first that falls idle makes room. When a base's turn comes, all who wait for it go together, so
that it is loaded once for many. Who waits for `patience_s` asks once more before he is refused; a caller that is
cancelled leaves the queue. Belongs to one event loop; who leaves memory is `residences.py`'s.
`tests/gateway/engine/test_turns.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TypeVar

from catalog.errors import MemoryInUse
from catalog.ids import BaseId

T = TypeVar("T")

KEPT_S = 1.0
"""How long a base that was loaded for a request is left to it: a prompt is tokenised in milliseconds."""


@dataclass(slots=True, eq=False)
class _Waiting:
    base: BaseId
    may_ask: asyncio.Event = field(default_factory=asyncio.Event)


class Turns:
    """The queue. `patience_s` is how long each waits at most."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._queue: deque[_Waiting] = deque()
        self._kept: BaseId | None = None
        """A base whose first requests are about to come; nobody in the queue asks until then."""
        self._to_come = 0
        self._until: asyncio.TimerHandle | None = None

    @property
    def waiting(self) -> int:
        return len(self._queue)

    async def take(self, base: BaseId, ask: Callable[[], Awaitable[T]], *, and_keep: bool = False) -> T:
        """What `ask` gives, asked again as often as memory may have become free; raises MemoryInUse when that was in
        vain. With `and_keep` a request for the base follows at once, and those in the queue let it pass."""
        if not self._queue or base == self._kept:
            with contextlib.suppress(MemoryInUse):
                result = await ask()
                self._settle(base, and_keep=and_keep)
                return result
        return await self._in_turn(_Waiting(base), ask, and_keep=and_keep)

    def go_on(self) -> None:
        """Let him ask again whose turn it is: an answer ended, or somebody left the queue."""
        if self._queue and self._kept is None:
            self._queue[0].may_ask.set()

    async def _in_turn(self, waiting: _Waiting, ask: Callable[[], Awaitable[T]], *, and_keep: bool) -> T:
        deadline = asyncio.get_running_loop().time() + self._patience_s
        self._queue.append(waiting)
        self.go_on()  # the last answer may have ended before there was anybody to be told
        try:
            while True:
                is_in_time = await _is_set_by(waiting.may_ask, deadline)
                try:
                    result = await ask()
                except MemoryInUse:
                    if is_in_time:
                        continue
                    raise
                self._settle(waiting.base, and_keep=and_keep)
                self._let_follow(waiting.base)
                return result
        finally:
            self._queue.remove(waiting)
            self.go_on()

    def _let_follow(self, base: BaseId) -> None:
        for waiting in self._queue:
            if waiting.base == base:
                waiting.may_ask.set()

    def _settle(self, base: BaseId, *, and_keep: bool) -> None:
        if and_keep and self._queue:
            self._keep(base)
        elif base == self._kept:
            self._to_come -= 1
            if self._to_come == 0:
                self._let_go()

    def _keep(self, base: BaseId) -> None:
        if self._until is not None:
            self._until.cancel()
        self._kept, self._to_come = base, self._to_come + 1 if base == self._kept else 1
        self._until = asyncio.get_running_loop().call_later(KEPT_S, self._let_go)

    def _let_go(self) -> None:
        if self._until is not None:
            self._until.cancel()
        self._kept, self._to_come, self._until = None, 0, None
        self.go_on()


async def _is_set_by(event: asyncio.Event, deadline: float) -> bool:
    """Wait for an event and clear it; whether it was set in time."""
    try:
        async with asyncio.timeout_at(deadline):
            await event.wait()
    except TimeoutError:
        return False
    event.clear()
    return True
