"""Keys are stored hashed, shown once, and found by comparing every one."""

from __future__ import annotations

import stat
import time
from pathlib import Path
from statistics import mean, stdev

import pytest

from catalog.errors import Conflict, InvalidRequest, NotFound
from catalog.keys import KeyRing, KeyStore


def test_a_key_is_found_and_is_nowhere_on_disk(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    key = store.add("laptop", ["chat"], requests_per_minute=60)
    other = store.add("desk", ["chat", "admin"])
    assert key.startswith("rw-") and len(key) > 40 and key != other
    ring = KeyRing(store.known())
    found = ring.find(key)
    assert found is not None and (found.name, found.requests_per_minute) == ("laptop", 60)
    assert all(key.encode() not in path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())


@pytest.mark.parametrize("shown", ["", "rw-", "none", "x" * 10_000, "rw-\udc80"])
def test_what_is_no_key_finds_none(tmp_path: Path, shown: str) -> None:
    store = KeyStore(tmp_path)
    store.add("laptop", ["chat"])
    assert KeyRing(store.known()).find(shown) is None


def test_only_the_owner_may_read_the_file(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.add("laptop", ["chat"])
    assert stat.S_IMODE(store.path.stat().st_mode) == 0o600


def test_a_name_is_taken_once_and_removed_once(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    store.add("laptop", ["chat"])
    with pytest.raises(Conflict):
        store.add("laptop", ["admin"])
    store.remove("laptop")
    assert store.known() == []
    with pytest.raises(NotFound):
        store.remove("laptop")


def test_a_bad_name_or_file_is_refused(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    with pytest.raises(InvalidRequest):
        store.add("../x", ["chat"])
    store.path.parent.mkdir(parents=True, exist_ok=True)
    store.path.write_text('{"keys": [{"name": "x"}]}')
    with pytest.raises(InvalidRequest, match=r"keys\.json"):
        store.known()


def test_a_guess_that_is_nearly_right_takes_as_long_as_any_other(tmp_path: Path) -> None:
    store = KeyStore(tmp_path)
    keys = [store.add(f"k{number}", ["chat"]) for number in range(8)]
    ring, guesses = KeyRing(store.known()), (keys[0][:-1] + "!", "rw-" + "!" * (len(keys[0]) - 3))
    spent_ns: tuple[list[int], list[int]] = ([], [])
    for turn in range(50_000):
        for which in (0, 1) if turn % 2 else (1, 0):  # going first costs something by itself
            guess, spent = guesses[which], spent_ns[which]
            began = time.perf_counter_ns()
            ring.find(guess)
            spent.append(time.perf_counter_ns() - began)
    near, far = (sorted(spent)[: len(spent) * 9 // 10] for spent in spent_ns)  # without what the machine disturbed
    assert abs(mean(near) - mean(far)) < max(stdev(near), stdev(far), mean(far) / 20)
