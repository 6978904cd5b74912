"""Keys are stored hashed, shown once, and found by comparing every one."""

from __future__ import annotations

import stat
from pathlib import Path

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
