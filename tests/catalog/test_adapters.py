"""Adapters by content, aliases with a linear history, one winner of a race."""

from __future__ import annotations

import itertools
import json
import threading
from pathlib import Path

import pytest

from catalog.adapters import AdapterStore, Aliases, content_id
from catalog.errors import Conflict, NotFound
from catalog.ids import AdapterId, BaseId
from tests.house import full_disk

BASE = BaseId("ragweld-nano")


def write(folder: Path, weights: bytes, scale: float = 2.0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "adapters.safetensors").write_bytes(weights)
    config = {"num_layers": 2, "lora_parameters": {"rank": 4, "scale": scale}}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    return folder


@pytest.fixture
def three(tmp_path: Path) -> tuple[AdapterStore, list[AdapterId]]:
    store = AdapterStore(tmp_path)
    ids = [store.put(write(tmp_path / f"src{n}", bytes([n]) * 100), name=f"run{n}") for n in range(3)]
    return store, ids


def test_the_id_is_of_the_content_and_of_what_decides_its_effect(tmp_path: Path) -> None:
    one = content_id(write(tmp_path / "one", b"weights"))
    assert one == content_id(write(tmp_path / "two", b"weights"))
    assert one != content_id(write(tmp_path / "three", b"Weights"))
    assert one != content_id(write(tmp_path / "four", b"weights", scale=1.0))


def test_moves_are_a_linear_history_that_rollback_walks(three: tuple[AdapterStore, list[AdapterId]]) -> None:
    store, ids = three
    current = None
    for adapter_id in ids:
        store.move(BASE, adapter_id, expected=current, reason="promoted")
        current = adapter_id
    assert store.active(BASE) == ids[2]
    assert store.rollback(BASE).adapter_id == ids[1]
    assert store.active(BASE) == ids[1]
    moves = store.aliases().bases[BASE]
    assert [move.version for move in moves] == [1, 2, 3, 4]
    assert all(later.previous == earlier.adapter_id for earlier, later in itertools.pairwise(moves))


def test_what_was_taken_back_is_never_gone_back_to(three: tuple[AdapterStore, list[AdapterId]]) -> None:
    store, (good, bad, _) = three
    store.move(BASE, good, expected=None, reason="promoted")
    store.move(BASE, bad, expected=good, reason="promoted")
    assert store.retreat(BASE, bad, "bad answers") is not None
    assert store.active(BASE) == good
    assert store.rollback(BASE).adapter_id is None
    with pytest.raises(Conflict, match="no earlier adapter"):
        store.rollback(BASE)


def test_pointers_say_what_the_history_says(three: tuple[AdapterStore, list[AdapterId]], tmp_path: Path) -> None:
    store, ids = three
    assert store.pointers().names == store.aliases().names
    assert store.pointers().active(BASE) is None
    for to in (ids[2], None, ids[0]):
        store.move(BASE, to, expected=store.active(BASE), reason="promoted")
        assert store.pointers().active(BASE) == store.aliases().active(BASE) == to
    assert AdapterStore(tmp_path / "nowhere").pointers().active(BASE) is None


class Watched(AdapterStore):
    """Sees what whoever looks at the moment of a write sees."""

    def _write(self, aliases: Aliases) -> None:
        super()._write(aliases)
        self.here = self.list_ids()


def test_who_looks_when_names_change_does_not_find_what_is_being_deleted(
    three: tuple[AdapterStore, list[AdapterId]], tmp_path: Path
) -> None:
    _, (first, *others) = three
    store = Watched(tmp_path)
    store.delete(first)
    assert store.here == sorted(others)
    assert not list(store.root.glob(".old.*"))


def test_a_full_disk_deletes_no_adapter_by_half(three: tuple[AdapterStore, list[AdapterId]]) -> None:
    store, (first, *_) = three
    with full_disk(), pytest.raises(OSError):
        store.delete(first)
    assert store.resolve(BASE, "run0") == first
    assert store.folder(first).is_dir()


def test_a_rollback_passes_over_what_was_deleted(three: tuple[AdapterStore, list[AdapterId]]) -> None:
    store, (first, second, third) = three
    for before, after in itertools.pairwise((None, first, second, third)):
        store.move(BASE, after, expected=before, reason="test")
    store.delete(first)
    assert store.rollback(BASE).adapter_id == second
    with pytest.raises(Conflict):
        store.delete(second)
    assert store.rollback(BASE).adapter_id is None, "the first is gone, so the bare base is what was before"
    with pytest.raises(Conflict):
        store.rollback(BASE)
    store.move(BASE, third, expected=None, reason="test")
    assert store.rollback(BASE).adapter_id is None


def test_rollback_of_the_first_promotion_gives_the_bare_base(three: tuple[AdapterStore, list[AdapterId]]) -> None:
    store, ids = three
    with pytest.raises(Conflict):
        store.rollback(BASE)
    store.move(BASE, ids[0], expected=None, reason="promoted")
    assert store.rollback(BASE).adapter_id is None
    assert store.active(BASE) is None


def test_of_racing_promotions_one_wins_and_the_others_are_told_who(three: tuple[AdapterStore, list[AdapterId]]) -> None:
    store, ids = three
    outcomes: list[object] = []
    start = threading.Barrier(8)

    def promote(adapter_id: AdapterId) -> None:
        start.wait()
        try:
            outcomes.append(store.move(BASE, adapter_id, expected=None, reason="race"))
        except Conflict as conflict:
            outcomes.append(conflict)

    threads = [threading.Thread(target=promote, args=(ids[n % 3],)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(not isinstance(outcome, Conflict) for outcome in outcomes) == 1
    assert len(store.aliases().bases[BASE]) == 1


def test_pointers_resolve_by_name_version_and_beginning(three: tuple[AdapterStore, list[AdapterId]]) -> None:
    store, ids = three
    store.move(BASE, ids[1], expected=None, reason="promoted")
    assert store.resolve(BASE, "run2") == ids[2]
    assert store.resolve(BASE, "1") == ids[1]
    assert store.resolve(BASE, ids[0][:12]) == ids[0]
    for pointer in ("2", "nobody", "..", "*"):
        with pytest.raises(NotFound):
            store.resolve(BASE, pointer)


def test_the_mirror_is_a_whole_copy(three: tuple[AdapterStore, list[AdapterId]], tmp_path: Path) -> None:
    store, ids = three
    target = tmp_path / "models" / "agent"
    for adapter_id in ids[:2]:
        store.mirror(adapter_id, target)
        assert content_id(target) == adapter_id
    assert [path.name for path in target.parent.iterdir()] == ["agent"]
