"""A scrape shows the disk and the alias's history as they are on disk."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from catalog.adapters import AdapterStore
from catalog.ids import AdapterId, BaseId
from gateway.home_state import MOVES_SHOWN, HomeState, free_bytes

NANO = BaseId("ragweld-nano")
ADAPTERS = [AdapterId(f"{number:064x}") for number in range(2)]
MOVED = "ragweld_alias_moved_timestamp_seconds"


def store(home: Path, second: int = 7) -> AdapterStore:
    kept = AdapterStore(home, now=lambda: datetime(2026, 1, 2, 3, 4, second, 500_000, UTC))
    for adapter_id in ADAPTERS:
        (kept.root / adapter_id).mkdir(parents=True, exist_ok=True)
    return kept


def moves(state: HomeState) -> list[tuple[list[str], float]]:
    return [(labels, value) for name, labels, value in state.samples() if name == MOVED]


def test_free_bytes_are_the_disks(tmp_path: Path) -> None:
    state = HomeState(tmp_path, AdapterStore(tmp_path))
    ((name, labels, free),) = state.samples()
    assert (name, labels) == ("ragweld_home_free_bytes", [])
    assert free > 0


def test_a_home_that_vanished_has_no_sample(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    assert free_bytes(gone) is None
    assert list(HomeState(gone, AdapterStore(gone)).samples()) == []


def test_moves_carry_their_own_times_and_reasons(tmp_path: Path) -> None:
    kept = store(tmp_path)
    state = HomeState(tmp_path, kept)
    assert moves(state) == []
    kept.move(NANO, ADAPTERS[1], expected=None, reason="run default__1")
    kept.rollback(NANO)
    at = datetime(2026, 1, 2, 3, 4, 7, 500_000, UTC).timestamp()
    assert moves(state) == [
        ([NANO, "1", "0" * 12, "run default__1"], at),
        ([NANO, "2", "base", "rollback of version 1"], at),
    ]


def test_what_a_model_said_is_no_label(tmp_path: Path) -> None:
    kept = store(tmp_path)
    kept.move(NANO, ADAPTERS[1], expected=None, reason="run default__1")
    kept.retreat(NANO, ADAPTERS[1], "golden prompt: it said 'the secret word'")
    assert moves(HomeState(tmp_path, kept))[-1][0][3] == "automatic rollback of version 1"


def test_only_the_last_moves_are_shown(tmp_path: Path) -> None:
    kept = store(tmp_path)
    active = None
    for number in range(MOVES_SHOWN + 3):
        kept.move(NANO, ADAPTERS[number % 2], expected=active, reason="run default__1")
        active = ADAPTERS[number % 2]
    assert [labels[1] for labels, _ in moves(HomeState(tmp_path, kept))] == [str(n) for n in range(4, 12)]


def test_aliases_that_cannot_be_read_leave_the_last_good_ones(tmp_path: Path) -> None:
    kept = store(tmp_path)
    state = HomeState(tmp_path, kept)
    kept.move(NANO, ADAPTERS[1], expected=None, reason="run default__1")
    before = moves(state)
    kept.aliases_path.write_text("{")
    assert moves(state) == before
