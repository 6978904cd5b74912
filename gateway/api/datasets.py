"""`/api/datasets`: what a dataset would be to a run, before one starts."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Any

from litestar import Request, post

from gateway import context, datasets
from gateway.api import reading
from gateway.datasets import CheckRequest

if TYPE_CHECKING:
    from catalog.datasets.check import Check


@post("/api/datasets/check", status_code=200)
async def check(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Counts, every defect, and the first rows with what is learned of them. Defects are an answer, not an error."""
    here = context.of(request)
    wanted = await reading.body_of(request, CheckRequest)

    def look() -> Check:
        return datasets.check_dataset(wanted, here.settings_of(wanted.scope), here.home)

    found = await asyncio.to_thread(look)
    return {"ok": found.is_sound, **dataclasses.asdict(found)}


handlers = [check]
