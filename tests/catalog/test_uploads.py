"""Uploaded files are whole or absent, never change, and their names are never paths."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from catalog.errors import InvalidRequest, NotFound
from catalog.uploads import INCOMING_LASTS_S, FileStore, StoredFile, file_id_of

BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Shelf:
    """A store whose clock a test moves."""

    def __init__(self, home: Path) -> None:
        self.now = BEGAN
        self.store = FileStore(home, lambda: self.now)

    def keep(
        self, content: bytes = b"rows", name: str = "rows.jsonl", expires_after_s: int | None = None
    ) -> StoredFile:
        source = self.store.incoming_folder() / "upload"
        source.write_bytes(content)
        return self.store.keep(source, name, "fine-tune", expires_after_s)


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(tmp_path)


def test_what_was_kept_is_found_again_with_its_bytes(shelf: Shelf) -> None:
    kept = shelf.keep(b"one\n")
    assert shelf.store.get(kept.id) == kept
    assert (kept.bytes, kept.created_at, kept.filename) == (4, int(BEGAN.timestamp()), "rows.jsonl")
    assert shelf.store.content_path(kept.id).read_bytes() == b"one\n"


def test_newest_are_listed_first_and_what_is_still_coming_in_is_not(shelf: Shelf) -> None:
    first = shelf.keep()
    shelf.now += timedelta(seconds=2)
    second = shelf.keep()
    shelf.store.incoming_folder()
    assert shelf.store.list() == [second, first]


@pytest.mark.parametrize("name", ["../../etc/passwd", "/etc/passwd", "..", "a/b.jsonl"])
def test_a_name_with_a_path_in_it_is_only_text(shelf: Shelf, tmp_path: Path, name: str) -> None:
    kept = shelf.keep(name=name)
    assert kept.filename == name
    assert shelf.store.content_path(kept.id) == tmp_path / "data" / "files" / kept.id / kept.id


@pytest.mark.parametrize("name", ["", "x" * 256, "a\x1b[2Jb", "a\0b"])
def test_a_name_that_nobody_could_read_is_refused(shelf: Shelf, name: str) -> None:
    with pytest.raises(InvalidRequest):
        shelf.keep(name=name)
    assert shelf.store.list() == []


@pytest.mark.parametrize("file_id", ["../files", "file-none", "..", "a/b", ""])
def test_an_id_that_is_none_is_refused(shelf: Shelf, file_id: str) -> None:
    for act in (shelf.store.get, shelf.store.content_path, shelf.store.delete):
        with pytest.raises((InvalidRequest, NotFound)):
            act(file_id)


def test_a_deleted_file_is_gone(shelf: Shelf, tmp_path: Path) -> None:
    kept = shelf.keep()
    shelf.store.delete(kept.id)
    with pytest.raises(NotFound):
        shelf.store.get(kept.id)
    assert not (tmp_path / "data" / "files" / kept.id).exists()


def test_an_expired_file_is_as_good_as_gone_and_swept_unless_in_use(shelf: Shelf, tmp_path: Path) -> None:
    kept, other = shelf.keep(expires_after_s=60), shelf.keep()
    shelf.now += timedelta(seconds=60)
    assert shelf.store.list() == [other]
    with pytest.raises(NotFound):
        shelf.store.content_path(kept.id)
    shelf.store.sweep({kept.id})
    assert (tmp_path / "data" / "files" / kept.id / kept.id).exists()
    shelf.store.sweep(())
    assert not (tmp_path / "data" / "files" / kept.id).exists()
    assert shelf.store.list() == [other]


def test_only_what_a_dead_process_left_behind_is_swept(shelf: Shelf) -> None:
    fresh, old = shelf.store.incoming_folder(), shelf.store.incoming_folder()
    now = BEGAN.timestamp()
    os.utime(fresh, (now, now))
    os.utime(old, (now - INCOMING_LASTS_S - 1,) * 2)
    shelf.store.sweep(())
    assert fresh.exists() and not old.exists()


def test_a_stored_files_path_tells_its_id_and_no_other_path_does(shelf: Shelf) -> None:
    kept = shelf.keep()
    assert file_id_of(str(shelf.store.content_path(kept.id))) == kept.id
    assert file_id_of("/home/me/rows.jsonl") is None
    assert file_id_of(f"/home/me/{kept.id}/{kept.id}") is None
    assert file_id_of("") is None
