"""Files that clients uploaded: `data/files/<id>/` holds the bytes under the id and `file.json` beside them.

Promises that a file is there whole or not at all and never changes afterwards, that the name which a client gave it is
text and never a path, and that an expired one is as good as gone. Knows nothing of what a file is for.
`tests/catalog/test_uploads.py`.
"""

from __future__ import annotations

import builtins
import re
import secrets
import shutil
import tempfile
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict

from catalog import files
from catalog.errors import InvalidRequest, NotFound
from catalog.ids import checked_name

FILES_FOLDER = Path("data/files")
ID_BEGINS = "file-"
ID_BYTES = 12
INCOMING_BEGINS = ".incoming."
INCOMING_LASTS_S = 86_400
"""What came in for longer than a day was left behind by a process that died."""
MAX_NAME_CHARS = 255
_ID = re.compile(rf"{ID_BEGINS}[0-9a-f]{{{2 * ID_BYTES}}}")

Purpose = Literal["fine-tune", "user_data"]


class StoredFile(BaseModel):
    """What is known of a file beside its bytes. Times are Unix seconds."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str
    bytes: int
    created_at: int
    filename: str
    purpose: Purpose
    expires_at: int | None = None


class FileStore:
    """Files of one home. Blocking; keep it off an event loop."""

    def __init__(self, home: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.root = home / FILES_FOLDER
        self._now = now

    def incoming_folder(self) -> Path:
        """A new folder for what is still coming in, on the same disk; whoever asked removes it."""
        self.root.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=INCOMING_BEGINS, dir=self.root))

    def keep(self, source: Path, filename: str, purpose: Purpose, expires_after_s: int | None = None) -> StoredFile:
        """Move `source`, which lies in an incoming folder, to its place; raises InvalidRequest for a bad name."""
        created_at = int(self._now().timestamp())
        kept = StoredFile(
            id=ID_BEGINS + secrets.token_hex(ID_BYTES),
            bytes=source.stat().st_size,
            created_at=created_at,
            filename=checked_filename(filename),
            purpose=purpose,
            expires_at=None if expires_after_s is None else created_at + expires_after_s,
        )
        with files.staged_folder(self.root / kept.id) as staging:
            source.replace(staging / kept.id)
            (staging / "file.json").write_text(kept.model_dump_json(indent=2) + "\n", "utf-8")
        return kept

    def get(self, file_id: str) -> StoredFile:
        """Raises NotFound, also for one that has expired."""
        found = self._read(self.root / checked_name(file_id, "file_id"))
        if found is None or self._has_expired(found):
            raise NotFound(f"There is no file {file_id!r}.", hint="GET /v1/files lists them.", param="file_id")
        return found

    def list(self) -> builtins.list[StoredFile]:
        """Newest first."""
        found = [self._read(folder) for folder in self.root.glob(f"{ID_BEGINS}*")]
        there = [one for one in found if one is not None and not self._has_expired(one)]
        return sorted(there, key=lambda one: (one.created_at, one.id), reverse=True)

    def content_path(self, file_id: str) -> Path:
        """Where the bytes of a file lie; raises NotFound."""
        return self.root / self.get(file_id).id / file_id

    def settled(self) -> AbstractContextManager[None]:
        """While the block runs nobody else forgets a file, nor begins to need one: see who asks for it."""
        return files.exclusive_lock(self.root.with_name("files.lock"))

    def delete(self, file_id: str) -> None:
        """Forget a file; raises NotFound."""
        shutil.rmtree(self.root / self.get(file_id).id)

    def sweep(self, in_use: Collection[str]) -> None:
        """Remove expired files, but for those that are still in use, and what a dead process left behind."""
        for folder in self.root.glob(f"{ID_BEGINS}*"):
            found = self._read(folder)
            if found is not None and self._has_expired(found) and found.id not in in_use:
                shutil.rmtree(folder, ignore_errors=True)
        for folder in self.root.glob(f"{INCOMING_BEGINS}*"):
            if folder.stat().st_mtime < self._now().timestamp() - INCOMING_LASTS_S:
                shutil.rmtree(folder, ignore_errors=True)

    def _read(self, folder: Path) -> StoredFile | None:
        try:
            return StoredFile.model_validate_json((folder / "file.json").read_bytes())
        except FileNotFoundError:
            return None

    def _has_expired(self, file: StoredFile) -> bool:
        return file.expires_at is not None and file.expires_at <= self._now().timestamp()


def is_file_id(text: str) -> bool:
    """Whether `text` has the form of a file's id."""
    return bool(_ID.fullmatch(text))


def file_id_of(path: str) -> str | None:
    """The id of the file that lies at `path`; None when it is none of a store's."""
    parts = Path(path).parts
    is_kept = len(parts) > 1 and parts[-1] == parts[-2] and is_file_id(parts[-1])
    return parts[-1] if is_kept and parts[-4:-2] == FILES_FOLDER.parts else None


def checked_filename(name: str) -> str:
    """`name` if a person can read it; raises InvalidRequest."""
    if not name or len(name) > MAX_NAME_CHARS or not name.isprintable():
        raise InvalidRequest(
            "The file's name cannot be kept.",
            hint=f"Use 1 to {MAX_NAME_CHARS} printable characters.",
            param="file",
        )
    return name
