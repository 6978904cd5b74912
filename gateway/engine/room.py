"""Which bases leave memory for what is wanted: as few as must, the longest unused first, never one that is in use.

Decided before anybody leaves, so that what cannot be served costs nobody his place. Pure.
`tests/gateway/engine/test_room.py`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from catalog.errors import MemoryInUse
from catalog.ids import BaseId

RETRY_AFTER_S = 1.0


@dataclass(frozen=True, slots=True)
class Tenant:
    """A base in memory with its adapters. One that `stays` is in use, or is itself what wants more."""

    base: BaseId
    nbytes: int
    used_at: float
    stays: bool


def spare_bytes(tenants: Sequence[Tenant], budget_bytes: int) -> int:
    """What is free without anybody leaving."""
    return budget_bytes - sum(tenant.nbytes for tenant in tenants)


def idle_bytes(tenants: Sequence[Tenant]) -> int:
    """What would become free besides, if everybody left who may."""
    return sum(tenant.nbytes for tenant in tenants if not tenant.stays)


def leaving(tenants: Sequence[Tenant], needed_bytes: int, budget_bytes: int) -> list[BaseId] | None:
    """Who leaves so that so much more fits; None when it would not fit though all left who may."""
    short = needed_bytes - spare_bytes(tenants, budget_bytes)
    chosen: list[Tenant] = []
    for tenant in sorted((one for one in tenants if not one.stays), key=lambda one: one.used_at):
        if short <= 0:
            break
        chosen.append(tenant)
        short -= tenant.nbytes
    if short > 0:
        return None
    for tenant in chosen[::-1]:  # a small old one and a large newer one: the small one may not be needed
        if tenant.nbytes <= -short:
            chosen.remove(tenant)
            short += tenant.nbytes
    return [tenant.base for tenant in chosen]


def in_use() -> MemoryInUse:
    """Why there is no memory now, though there may be in a moment."""
    return MemoryInUse(
        "Other bases are in use and need the memory.",
        retry_after_s=RETRY_AFTER_S,
        hint="Raise engine.memory_bytes, or wait.",
    )


class Room(Protocol):
    """The memory that all bases share, as one of them sees it."""

    def has(self, base: BaseId, more_bytes: int, *, others_leave: bool) -> bool:
        """Whether so much more can be had for a base, with other idle ones leaving for it or without. Moves nobody."""

    def is_answering(self) -> bool:
        """Whether a row of any base is decoded, which waits while another base does something long."""

    def make(self, base: BaseId, more_bytes: int) -> None:
        """Let idle bases leave until so much more fits; raises MemoryInUse or Unavailable, and then nobody left."""
