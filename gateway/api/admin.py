"""`/api/admin/log`: what administrators did, as the border wrote it down."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from litestar import Request, get
from litestar.params import QueryParameter

from gateway import context

Limit = Annotated[int, QueryParameter(ge=1, le=10_000)]


@get("/api/admin/log")
async def read_log(request: Request[Any, Any, Any], limit: Limit = 100) -> dict[str, Any]:
    """The latest entries, oldest first."""
    return {"entries": await asyncio.to_thread(context.of(request).admin_log.tail, limit)}


handlers = [read_log]
