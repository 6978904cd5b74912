"""The atomic writer: a file or folder is there whole or not there, whatever fails."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from catalog import files


class FsyncFails:
    """An fsync that reports EIO at the n-th call."""

    def __init__(self, at: int) -> None:
        self.left = at

    def __call__(self, path: Path) -> None:
        self.left -= 1
        if self.left == 0:
            raise OSError(5, "Input/output error", str(path))


def test_a_write_replaces_the_whole_file(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file.json"
    files.write_bytes(target, b"old")
    files.write_bytes(target, b"new")
    assert target.read_bytes() == b"new"
    assert [path.name for path in target.parent.iterdir()] == ["file.json"]


def test_a_failed_fsync_keeps_the_old_file_and_leaves_nothing_behind(tmp_path: Path) -> None:
    target = tmp_path / "file.json"
    files.write_bytes(target, b"old")
    with pytest.raises(OSError, match="Input/output"):
        files.write_bytes(target, b"new", fsync=FsyncFails(1))
    assert target.read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["file.json"]


@pytest.mark.parametrize("at", [1, 2, 3])
def test_a_folder_whose_fsync_fails_leaves_the_old_folder(tmp_path: Path, at: int) -> None:
    target = tmp_path / "model"
    with files.staged_folder(target) as staging:
        (staging / "weights").write_bytes(b"old")
    with pytest.raises(OSError, match="Input/output"), files.staged_folder(target, fsync=FsyncFails(at)) as staging:
        (staging / "weights").write_bytes(b"new")
        (staging / "config").write_bytes(b"new")
    assert (target / "weights").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_whose_writer_raises_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), files.staged_folder(tmp_path / "model") as staging:
        (staging / "weights").write_bytes(b"half")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []


def test_a_claim_is_freed_by_the_death_of_its_owner(tmp_path: Path) -> None:
    lock = tmp_path / "owner.lock"
    script = "\n".join(
        (
            "import time; from pathlib import Path; from catalog.files import Claim",
            f"claim = Claim.take(Path({str(lock)!r}))",
            "print('held', flush=True); time.sleep(60)",
        )
    )
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=Path(__file__).parents[2])
    assert owner.stdout is not None
    assert owner.stdout.readline() == b"held\n"
    assert files.is_claimed(lock)
    assert files.Claim.take(lock) is None
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert not files.is_claimed(lock)
