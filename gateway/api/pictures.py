"""`/api/agent/train/run/{id}/path` and `/surface`: where a run went, and the loss it went over."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, get
from litestar.params import FromPath

from catalog import pictures
from gateway import context


@get("/api/agent/train/run/{run_id:str}/path")
async def get_path(request: Request[Any, Any, Any], run_id: FromPath[str]) -> dict[str, Any]:
    """The path on the latest plane of each kind that there is."""
    path = await asyncio.to_thread(pictures.path_of, context.of(request).runs, run_id)
    return path.model_dump(mode="json")


@get("/api/agent/train/run/{run_id:str}/surface")
async def get_surface(request: Request[Any, Any, Any], run_id: FromPath[str]) -> dict[str, Any]:
    """The loss measured so far on the plane of the path; 404 with the code no_surface while there is none."""
    surface = await asyncio.to_thread(pictures.surface_of, context.of(request).runs, run_id)
    return surface.model_dump(mode="json")


handlers = [get_path, get_surface]
