"""The only atomic writer: a file or folder is there whole, or it is not there.

Stage beside the target, fsync every file, rename, fsync the parent. A failed fsync is final for that
staging: it is removed and the error raised, the old content stays (see fsyncgate: retrying fsync on the same
descriptor can report success for pages that were lost). `tests/catalog/test_files.py` proves it.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

COPY_CHUNK_BYTES = 1 << 20


def fsync_path(path: Path) -> None:
    """Flush one file or folder to the disk. Raises OSError as the kernel reports it."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def no_fsync(path: Path) -> None:
    """For what can be made again: still whole or absent, but a power cut may take it."""


def write_bytes(target: Path, content: bytes, *, mode: int = 0o644, fsync: Callable[[Path], None] = fsync_path) -> None:
    """Replace `target` by `content`, atomically and durably."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    staged = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        staged.chmod(mode)
        fsync(staged)
        staged.replace(target)
    except BaseException:
        staged.unlink(missing_ok=True)
        raise
    fsync(target.parent)


def append(target: Path, record: bytes) -> None:
    """Add one record at the end by one write; raises OSError and leaves none of it. Not flushed to the disk."""
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        end = os.fstat(descriptor).st_size
        if os.write(descriptor, record) != len(record):
            os.ftruncate(descriptor, end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))
    finally:
        os.close(descriptor)


def truncate(target: Path, size: int) -> None:
    """Keep the first `size` bytes of a file of records."""
    os.truncate(target, size)


@contextmanager
def staged_folder(target: Path, *, fsync: Callable[[Path], None] = fsync_path) -> Iterator[Path]:
    """Yield an empty folder beside `target`; on a clean exit it becomes `target`, else it is removed.

    An existing `target` is set aside first and removed last, so a reader of the path finds the old folder or the
    new one; between the two renames it may find none, which every reader treats as "look again".
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    staging = Path(tempfile.mkdtemp(prefix=f".staging.{target.name}.", dir=target.parent))
    aside = staging.with_name(staging.name.replace(".staging.", ".old.", 1))
    try:
        yield staging
        staging.chmod(0o755)
        for path in sorted(staging.rglob("*"), reverse=True):
            fsync(path)
        fsync(staging)
        if target.exists():
            target.rename(aside)
        staging.rename(target)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        if aside.exists() and not target.exists():
            aside.rename(target)
        raise
    fsync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def append_line(path: Path, line: bytes, *, mode: int = 0o644) -> None:
    """Append one line whole, or raise OSError and leave none of it. By one write, so that no reader sees half."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, mode)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        end = _end_of_lines(descriptor)
        if os.write(descriptor, line) != len(line):
            os.ftruncate(descriptor, end)
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
    finally:
        os.close(descriptor)


def _end_of_lines(descriptor: int) -> int:
    """Where the last whole line ends. What a dying writer left after it is cut off: no reader took it for a line."""
    end = os.fstat(descriptor).st_size
    if end == 0 or os.pread(descriptor, 1, end - 1) == b"\n":
        return end
    end = os.pread(descriptor, end, 0).rfind(b"\n") + 1
    os.ftruncate(descriptor, end)
    return end


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(COPY_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


@contextmanager
def exclusive_lock(path: Path) -> Iterator[None]:
    """Hold an advisory lock between processes while the block runs; the kernel frees it if the holder dies."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


class Claim:
    """A lock held for as long as its owner lives: `kill -9` frees it, so nobody has to guess from a pid."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    @classmethod
    def take(cls, path: Path) -> Claim | None:
        """Take the lock at `path` at once, or return None when another process holds it."""
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            return None
        return cls(descriptor)

    def release(self) -> None:
        os.close(self._descriptor)


def is_claimed(path: Path) -> bool:
    """Whether a living process holds the lock at `path`."""
    if not path.exists():
        return False
    claim = Claim.take(path)
    if claim is None:
        return True
    claim.release()
    return False
