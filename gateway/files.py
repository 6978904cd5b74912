"""What the gateway does for uploaded files: judge, keep, list, hand out, forget. Blocking, but for `incoming`.

A file for fine-tuning is read whole before it is kept, and refused with every defect at its line and field. One that a
run still needs cannot be deleted. `tests/gateway/test_files_api.py`.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from catalog import datasets
from catalog.errors import Conflict, InvalidDataset, InvalidRequest, NotFound
from catalog.run_life import ENDED
from catalog.runs import RunStore
from catalog.uploads import FileStore, Purpose, StoredFile, file_id_of
from gateway.errors import InvalidFile
from gateway.forms import Form

FIELDS = ("purpose", "expires_after[anchor]", "expires_after[seconds]")
EXPIRY_S = range(3600, 2_592_000 + 1)
"""An hour to thirty days, as OpenAI bounds it."""
_WHY_NOT = {
    "assistants": "ragweld has no assistants",
    "batch": "ragweld has no batches",
    "vision": "ragweld reads text only",
    "evals": "ragweld measures runs on validation files; upload it as fine-tune",
}


@asynccontextmanager
async def incoming(store: FileStore) -> AsyncIterator[Path]:
    """Where an upload may be written while it comes; gone when the block ends, unless it was moved."""
    folder = await asyncio.to_thread(store.incoming_folder)
    try:
        yield folder / "upload"
    finally:
        await asyncio.to_thread(shutil.rmtree, folder, ignore_errors=True)


def keep(form: Form, source: Path, store: FileStore, runs: RunStore) -> StoredFile:
    """Keep the file of a form that came whole; raises InvalidRequest, or InvalidFile with every defect."""
    fields = form.finish()
    purpose, expires_after_s = _purpose(fields.get("purpose")), _expiry(fields)
    filename = form.filename or ""
    if purpose == "fine-tune":
        try:
            datasets.verify(source, name=filename)
        except InvalidDataset as error:
            raise InvalidFile(error.message, defects=error.defects) from error
    with store.settled():
        store.sweep(in_use(runs))
    return store.keep(source, filename, purpose, expires_after_s)


def _purpose(wanted: str | None) -> Purpose:
    match wanted:
        case "fine-tune" | "user_data":
            return wanted
        case None:
            raise InvalidRequest("The form has no purpose.", param="purpose", code="missing_required_parameter")
    why = _WHY_NOT.get(wanted, "it is none")
    raise InvalidRequest(
        f"The purpose {wanted!r} is not supported here: {why}.",
        hint="Use fine-tune or user_data.",
        param="purpose",
        code="unsupported_value",
    )


def _expiry(fields: dict[str, str]) -> int | None:
    anchor, seconds = fields.get("expires_after[anchor]"), fields.get("expires_after[seconds]")
    if anchor is None and seconds is None:
        return None
    if anchor != "created_at":
        raise InvalidRequest("A file expires after created_at.", param="expires_after[anchor]", code="invalid_value")
    if seconds is None or not seconds.isdecimal() or len(seconds) > 10 or int(seconds) not in EXPIRY_S:
        raise InvalidRequest(
            f"A file may expire after {EXPIRY_S.start} to {EXPIRY_S.stop - 1} seconds.",
            param="expires_after[seconds]",
            code="invalid_value",
        )
    return int(seconds)


def in_use(runs: RunStore) -> frozenset[str]:
    """Files that runs still need: of all that have not ended, and of those that may be resumed."""
    paths = (
        path
        for run in runs.list()
        if run.status not in ENDED or run.status == "interrupted"
        for path in (run.plan.dataset_path, run.plan.validation_path)
        if path is not None
    )
    return frozenset(found for path in paths if (found := file_id_of(path)) is not None)


def delete(file_id: str, store: FileStore, runs: RunStore) -> None:
    """Forget a file; raises NotFound, or Conflict while a run needs it."""
    with store.settled():
        store.get(file_id)
        if file_id in in_use(runs):
            raise Conflict(f"A run still needs {file_id}.", hint="Cancel it first.", code="file_in_use")
        store.delete(file_id)


def view(file: StoredFile) -> dict[str, Any]:
    """OpenAI's file object."""
    return {
        "id": file.id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": file.created_at,
        "expires_at": file.expires_at,
        "filename": file.filename,
        "purpose": file.purpose,
        "status": "processed",
        "status_details": None,
    }


def dataset_of(file_id: str, param: str, store: FileStore) -> Path:
    """Where the rows of an uploaded file lie; raises InvalidRequest, naming the field that named the file."""
    try:
        file = store.get(file_id)
    except (NotFound, InvalidRequest) as error:
        raise InvalidRequest(
            f"There is no file {file_id!r}.", hint="Upload it to /v1/files.", param=param, code="invalid_file_id"
        ) from error
    if file.purpose != "fine-tune":
        raise InvalidRequest(f"{file_id} was uploaded as {file.purpose}.", hint="Upload it as fine-tune.", param=param)
    return store.content_path(file_id)
