"""`/api/keys`: make, list and remove the keys that callers show. A key is in an answer once, when it was made."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, delete, get, post
from litestar.params import FromPath
from pydantic import BaseModel, ConfigDict, Field

from catalog.keys import KeyScope
from gateway import context
from gateway.api import reading
from gateway.context import Context


class KeyRequest(BaseModel):
    """Body of `POST /api/keys`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    scopes: list[KeyScope] = Field(["chat"], min_length=1)
    requests_per_minute: int | None = Field(None, ge=1, le=1_000_000)
    tokens_per_minute: int | None = Field(None, ge=1, le=1_000_000_000)


@get("/api/keys")
async def list_keys(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Every key without the key, and whether one is asked for."""
    here = context.of(request)
    known = await asyncio.to_thread(here.keys.known)
    rows = [key.model_dump(mode="json", exclude={"sha256"}) for key in known]
    return {"required": here.guard is not None, "keys": rows}


@post("/api/keys", status_code=200)
async def add_key(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Make a key; it is shown now and never again."""
    here = context.of(request)
    wanted = await reading.body_of(request, KeyRequest)
    limits = wanted.model_dump(include={"requests_per_minute", "tokens_per_minute"})
    key = await asyncio.to_thread(here.keys.add, wanted.name, wanted.scopes, **limits)
    await _tell_guard(here)
    reading.note(request, name=wanted.name, scopes=wanted.scopes)
    return {"ok": True, "name": wanted.name, "key": key}


@delete("/api/keys/{name:str}", status_code=200)
async def remove_key(request: Request[Any, Any, Any], name: FromPath[str]) -> dict[str, Any]:
    """Forget a key; requests that show it are refused from now on."""
    here = context.of(request)
    await asyncio.to_thread(here.keys.remove, name)
    await _tell_guard(here)
    return {"ok": True, "name": name, "deleted": True}


async def _tell_guard(here: Context) -> None:
    if here.guard is not None:
        here.guard.take(await asyncio.to_thread(here.keys.known))


handlers = [list_keys, add_key, remove_key]
