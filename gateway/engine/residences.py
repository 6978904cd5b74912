"""The bases in memory: loaded when they are asked for, within one budget.

When the budget is needed, idle ones leave, as few as must (`room.py`); one that was idle for too long leaves by itself.
Whether there will be room is known before anybody leaves. Belongs to the engine's thread.
`tests/gateway/engine/test_bases.py`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from catalog.base import blas
from catalog.base.load import Base
from catalog.errors import EngineFailed, MemoryInUse, Unavailable
from catalog.ids import BaseId
from gateway.engine import room
from gateway.engine.prefixes import PrefixCache
from gateway.engine.residence import Limits, Residence
from gateway.engine.room import Tenant
from gateway.engine.rows import Counters, Outbox

blas.preload()

import mlx.core as mx  # noqa: E402

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Loader:
    """How the thread comes by a base. `size_of` estimates bytes in memory without loading; both raise Unavailable."""

    load: Callable[[BaseId], Base]
    size_of: Callable[[BaseId], int]


@dataclass(frozen=True, slots=True)
class Memory:
    """What bases may take together, what their prefixes may, and after how many idle seconds a base leaves."""

    budget_bytes: int
    prefix_bytes: int
    unload_after_s: float | None
    """None is never."""


class Residences:
    """Every base in memory; each sees the memory they share as its `Room`."""

    def __init__(self, loader: Loader, limits: Limits, memory: Memory, counters: Counters, outbox: Outbox) -> None:
        self._loader = loader
        self._limits = limits
        self._memory = memory
        self._counters = counters
        self._outbox = outbox
        self._prefixes = PrefixCache(memory.prefix_bytes)
        self._residences: dict[BaseId, Residence] = {}

    @property
    def bases(self) -> tuple[BaseId, ...]:
        return tuple(self._residences)

    def values(self) -> Iterable[Residence]:
        return self._residences.values()

    def get(self, base: BaseId) -> Residence | None:
        return self._residences.get(base)

    def loaded(self, base: BaseId) -> Residence:
        """The base in memory, loaded now if it has to be; raises Unavailable, MemoryInUse."""
        if base not in self._residences:
            self.make(base, self._loader.size_of(base))
            try:
                loaded = self._loader.load(base)
                residence = Residence(loaded, self._limits, self, self._prefixes, self._counters, self._outbox)
            except (RuntimeError, ValueError, MemoryError) as error:
                raise EngineFailed(f"The base {base} could not be made ready: {error}") from error
            self._residences[base] = residence
        return self._residences[base]

    def has(self, base: BaseId, more_bytes: int, *, others_leave: bool) -> bool:
        """Whether so much more can be had for a base, with other idle ones leaving for it or without. Moves nobody."""
        tenants = self._tenants(base)
        free = room.spare_bytes(tenants, self._memory.budget_bytes)
        return more_bytes <= free + (room.idle_bytes(tenants) if others_leave else 0)

    def is_answering(self) -> bool:
        """Whether a row of any base is decoded, which waits while another base does something long."""
        return any(residence.has_rows for residence in self._residences.values())

    def make(self, base: BaseId, more_bytes: int) -> None:
        """Let idle bases leave until so much more fits; raises MemoryInUse or Unavailable, and then nobody left.

        Who wants nothing more, as for a slot that is only written anew, has room however much is taken.
        """
        if more_bytes <= 0:
            return
        leaving = room.leaving(self._tenants(base), more_bytes, self._memory.budget_bytes)
        if leaving is None:
            raise self._no_room(base, more_bytes)
        for one in leaving:
            self.unload(one)

    def unload(self, base: BaseId) -> bool:
        """Let a base leave, unless it has something to do; whether it is gone."""
        residence = self._residences.get(base)
        if residence is not None and not residence.is_busy:
            self._residences.pop(base).close()
            mx.clear_cache()
            log.info("engine: %s left memory", base)
        return base not in self._residences

    def until_next_leaves_s(self) -> float | None:
        """When the next base will have been idle for too long; None is never."""
        if self._memory.unload_after_s is None or not self._residences:
            return None
        oldest = min(residence.used_at for residence in self._residences.values())
        return max(0.0, oldest + self._memory.unload_after_s - time.monotonic())

    def unload_idle(self) -> None:
        """Let bases leave that were idle for too long."""
        if self._memory.unload_after_s is None:
            return
        limit = time.monotonic() - self._memory.unload_after_s
        for base, residence in list(self._residences.items()):
            if residence.used_at <= limit:
                self.unload(base)

    def forget_prefixes(self) -> None:
        """Drop every cached prefix."""
        self._prefixes.clear()

    def close(self) -> None:
        """Let all go, whatever they do."""
        for residence in self._residences.values():
            residence.close()
        self._residences.clear()

    def _tenants(self, wants_more: BaseId) -> list[Tenant]:
        return [
            Tenant(base, residence.nbytes, residence.used_at, stays=residence.is_busy or base == wants_more)
            for base, residence in self._residences.items()
        ]

    def _no_room(self, base: BaseId, more_bytes: int) -> MemoryInUse | Unavailable:
        """For now, or for ever: because others are in use, or because it would not fit if it were alone."""
        residence = self._residences.get(base)
        who, needed_bytes, smaller = str(base), more_bytes, "a smaller base"
        if residence is not None:
            who, needed_bytes = f"{base} with this adapter", residence.nbytes + more_bytes
            smaller = "an adapter of a smaller rank"
        if needed_bytes > (budget_bytes := self._memory.budget_bytes):
            return Unavailable(
                f"{who} needs {_gb(needed_bytes)} of memory; all bases and adapters may take {_gb(budget_bytes)} "
                "together.",
                hint=f"Raise engine.memory_bytes, or take {smaller}.",
                code="no_memory",
            )
        return room.in_use()


def _gb(nbytes: int) -> str:
    return f"{nbytes / 1e9:.2f} GB"
