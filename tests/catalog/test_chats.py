"""Kept chats: whole lines, found again, truly erased, and never more than the bound."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from catalog.chats import SEGMENTS, Chat, ChatStore
from catalog.errors import NotFound

PLENTY = 1 << 24


def chat(number: int, words: str = "Aye.", **fields: object) -> Chat:
    message = {"role": "assistant", "content": words}
    values: dict[str, object] = {
        "id": f"chatcmpl-{number}",
        "created": 1000 + number,
        "model": "ragweld",
        "request": {"messages": [{"role": "user", "content": f"Question {number}?"}]},
        "completion": {"id": f"chatcmpl-{number}", "choices": [{"index": 0, "message": message}]},
    }
    return Chat(**(values | fields))  # type: ignore[arg-type]


@pytest.fixture
def store(tmp_path: Path) -> ChatStore:
    return ChatStore(tmp_path)


def on_disk(store: ChatStore) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(store.root.glob("*.jsonl")))


def test_what_was_kept_is_found_again_oldest_first(store: ChatStore) -> None:
    kept = [chat(number, metadata={"n": str(number)}) for number in range(5)]
    for one in kept:
        store.append(one, PLENTY)
    assert list(store.chats()) == kept
    assert store.get("chatcmpl-3") == kept[3]
    for absent in ("chatcmpl-9", "", 'a"b', "chatcmpl"):
        with pytest.raises(NotFound):
            store.get(absent)


def test_a_change_is_of_one_chat_alone(store: ChatStore) -> None:
    for number in range(3):
        store.append(chat(number), PLENTY)
    assert store.change("chatcmpl-1", rating="good", metadata={"a": "b"}).rating == "good"
    assert [one.rating for one in store.chats()] == [None, "good", None]
    assert store.get("chatcmpl-1").metadata == {"a": "b"}
    with pytest.raises(NotFound):
        store.change("chatcmpl-9", rating="bad")


def test_of_two_chats_with_one_id_only_the_found_one_is_changed_and_erased(store: ChatStore) -> None:
    older, newer = chat(1), chat(1, "Nay.", created=2000)
    for one in (older, chat(2), newer):
        store.append(one, PLENTY)
    changed = store.change("chatcmpl-1", rating="good")
    assert (changed.created, changed.completion) == (2000, newer.completion)
    assert list(store.chats()) == [older, chat(2), changed]
    store.delete("chatcmpl-1")
    assert list(store.chats()) == [older, chat(2)]
    assert store.get("chatcmpl-1") == older


def test_a_copy_that_somebody_made_beside_the_chats_is_in_nobodys_way(store: ChatStore) -> None:
    store.append(chat(1), PLENTY)
    (segment,) = store.root.glob("*.jsonl")
    segment.with_name(f"{segment.stem} copy.jsonl").write_bytes(segment.read_bytes())
    store.append(chat(2), 1)
    assert [one.id for one in store.chats()] == ["chatcmpl-2"]


def test_a_deleted_chat_is_gone_from_the_disk(store: ChatStore) -> None:
    store.append(chat(1, "Nobody must know."), PLENTY)
    store.append(chat(2), PLENTY)
    store.delete("chatcmpl-1")
    assert b"Nobody must know" not in on_disk(store)
    assert [one.id for one in store.chats()] == ["chatcmpl-2"]
    with pytest.raises(NotFound):
        store.delete("chatcmpl-1")


def test_the_bound_holds_and_the_newest_stay(store: ChatStore) -> None:
    bound = 64 * 1024
    for number in range(200):
        store.append(chat(number, "x" * 1000), bound)
        assert len(on_disk(store)) <= bound + 2000
    ids = [int(one.id.removeprefix("chatcmpl-")) for one in store.chats()]
    assert ids == list(range(ids[0], 200)) and len(ids) > 30
    assert len(list(store.root.glob("*.jsonl"))) <= SEGMENTS + 2


def test_a_chat_that_quotes_another_ones_id_is_not_taken_for_it(store: ChatStore) -> None:
    store.append(chat(1), PLENTY)
    store.append(chat(2, words="chatcmpl-1"), PLENTY)
    assert store.get("chatcmpl-1").created == 1001
    store.delete("chatcmpl-1")
    assert [one.id for one in store.chats()] == ["chatcmpl-2"]


def test_a_line_that_a_crash_cut_is_passed_over_and_then_cut_off(store: ChatStore) -> None:
    store.append(chat(1), PLENTY)
    (segment,) = store.root.glob("*.jsonl")
    with segment.open("ab") as file:
        file.write(b'{"id": "chatcmpl-2", "crea')
    assert [one.id for one in store.chats()] == ["chatcmpl-1"]
    store.append(chat(3), PLENTY)
    assert [one.id for one in store.chats()] == ["chatcmpl-1", "chatcmpl-3"]


def test_only_the_owner_may_read(store: ChatStore) -> None:
    mask = os.umask(0)
    try:
        store.append(chat(1), PLENTY)
        store.change("chatcmpl-1", rating="bad")
    finally:
        os.umask(mask)
    (segment,) = store.root.glob("*.jsonl")
    assert stat.S_IMODE(segment.stat().st_mode) == 0o600
