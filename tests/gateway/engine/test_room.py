"""Room: as few bases leave as must, the longest unused first, and none for what would not fit anyhow."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from catalog.ids import BaseId
from gateway.engine.room import Tenant, idle_bytes, leaving, spare_bytes


def tenant(name: str, nbytes: int, used_at: float, *, stays: bool = False) -> Tenant:
    return Tenant(BaseId(name), nbytes, used_at, stays)


OLD, NEWER, BUSY = tenant("old", 30, 1.0), tenant("newer", 30, 2.0), tenant("busy", 30, 0.0, stays=True)


def test_what_fits_moves_nobody() -> None:
    assert leaving([OLD, NEWER], 40, 100) == []


def test_only_as_many_leave_as_must_and_the_longest_unused_first() -> None:
    assert leaving([NEWER, OLD, BUSY], 30, 100) == ["old"]
    assert leaving([NEWER, OLD, BUSY], 41, 100) == ["old", "newer"]


def test_nobody_leaves_for_what_would_not_fit_anyhow() -> None:
    assert leaving([OLD, NEWER, BUSY], 71, 100) is None
    assert leaving([OLD, NEWER], 101, 100) is None


def test_a_small_old_one_stays_where_a_large_newer_one_makes_room_enough() -> None:
    assert leaving([tenant("small", 10, 1.0), tenant("large", 80, 2.0)], 60, 100) == ["large"]


tenants = st.lists(
    st.builds(Tenant, st.uuids().map(lambda u: BaseId(str(u))), st.integers(1, 50), st.floats(0, 9), st.booleans()),
    max_size=6,
    unique_by=lambda one: one.base,
)


@given(tenants, st.integers(0, 200), st.integers(0, 200))
def test_who_leaves_is_idle_needed_and_enough(all_tenants: list[Tenant], needed: int, budget: int) -> None:
    gone = leaving(all_tenants, needed, budget)
    free = spare_bytes(all_tenants, budget)
    if gone is None:
        assert needed > free + idle_bytes(all_tenants)
        return
    sizes = [one.nbytes for one in all_tenants if one.base in gone]
    assert not any(one.stays for one in all_tenants if one.base in gone)
    assert needed <= free + sum(sizes)
    assert all(needed > free + sum(sizes) - size for size in sizes), "each of them is needed"
