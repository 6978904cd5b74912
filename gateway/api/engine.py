"""`/api/engine`: what the engine holds, load and unload bases, forget cached prefixes."""

from __future__ import annotations

from typing import Any

from litestar import Request, get, post

from gateway import context, memory
from gateway.api import reading
from gateway.context import Context
from gateway.memory import BaseRequest
from gateway.ports import AnswerEngine


@get("/api/engine")
async def look(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """State, bases, resident adapters, counters."""
    here = context.of(request)
    if here.engine is not None:
        await here.engine.look()
        await here.engine.look_for_bases()
    return memory.view(here.engine, here.engine_obstacle()[1])


@post("/api/engine/load", status_code=200)
async def load(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Bring a base into memory before its first request."""
    wanted = await reading.body_of(request, BaseRequest)
    base = await memory.load(_running(context.of(request)), wanted.base)
    reading.note(request, base=base)
    return {"ok": True, "base": base, "loaded": True}


@post("/api/engine/unload", status_code=200)
async def unload(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Give a base's memory back; its next request loads it again."""
    wanted = await reading.body_of(request, BaseRequest)
    base = await memory.unload(_running(context.of(request)), wanted.base)
    reading.note(request, base=base)
    return {"ok": True, "base": base, "loaded": False}


@post("/api/engine/clear_cache", status_code=200)
async def clear_cache(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Forget every cached prefix; adapters and answers stay as they are."""
    _running(context.of(request)).forget_prefixes()
    return {"ok": True}


def _running(here: Context) -> AnswerEngine:
    return memory.running(here.engine, here.engine_obstacle()[1])


handlers = [look, load, unload, clear_cache]
