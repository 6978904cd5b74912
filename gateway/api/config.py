"""`/api/config`: settings read and changed by curl, with a schema and as environment variables."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, get, patch

from gateway import config, context
from gateway.api import reading


@get("/api/config")
async def get_config(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """What the gateway goes by, and where each value comes from."""
    here = context.of(request)
    return await asyncio.to_thread(config.shown, here.live, here.environ, reading.scope_of(request))


@patch("/api/config")
async def change_config(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Store settings, nested or dotted; says which count now and which after a restart."""
    here = context.of(request)
    wanted = await reading.object_of(request)
    scope = reading.one_scope([wanted.pop("scope", None), reading.scope_of(request)])
    answer = await asyncio.to_thread(config.change, here.live, wanted, scope)
    reading.note(request, scope=scope, changed=answer["changed"])
    return answer


@get("/api/config/schema", sync_to_thread=False)
def get_schema() -> dict[str, Any]:
    """Every setting with default, bounds, a sentence, its environment variable and when a change counts."""
    return config.schema()


@get("/api/config/env")
async def get_env(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Every setting under its environment name."""
    here = context.of(request)
    scope = reading.scope_of(request)
    settings = await asyncio.to_thread(config.effective_in, here.live, scope)
    return {"scope": scope, "env": settings.to_env_dict()}


handlers = [get_config, change_config, get_schema, get_env]
