"""What the gateway does for exports: into `exports/` of the home, and a fused one in a process of its own.

A fused export holds a base in memory and computes for minutes; out of memory it dies alone, and answers go on.
`tests/gateway/test_exports_api.py`.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from functools import partial
from multiprocessing import get_context
from pathlib import Path

from pydantic import BaseModel, ConfigDict

from catalog import exports
from catalog.errors import Unavailable
from catalog.exports import EXPORTS_FOLDER, Exported, Format, Source
from catalog.ids import checked_name


class ExportRequest(BaseModel):
    """Body of `POST /api/adapters/{id}/export`."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    format: Format
    name: str | None = None
    """Of the folder in `exports/`; the default is what was exported and how."""
    quantised: bool = False
    """A fused model in the base's own bits; refused where that would erase the adapter."""


def folder_for(wanted: ExportRequest, pointer: str, home: Path) -> Path:
    """Where it goes; raises InvalidRequest for a name that could be a path."""
    return home / EXPORTS_FOLDER / checked_name(wanted.name or f"{pointer}-{wanted.format}", "name")


async def export(source: Source, wanted: ExportRequest, target: Path, home: Path) -> Exported:
    """Write it; raises what `catalog.exports` raises."""
    write = partial(exports.export, source, wanted.format, target, home, quantised=wanted.quantised)
    if wanted.format != "fused":
        return await asyncio.to_thread(write)
    pool = ProcessPoolExecutor(1, mp_context=get_context("spawn"))
    try:
        return await asyncio.get_running_loop().run_in_executor(pool, write)
    except BrokenProcessPool as error:
        raise Unavailable(
            "The process that fused the model died.", hint="There may be too little memory for this base."
        ) from error
    finally:
        pool.shutdown(wait=False)
