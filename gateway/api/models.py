"""`/v1/models`, `/api/models` and `/api/chat/models`: three views of one function."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any

from litestar import Request, delete, get
from litestar.params import FromPath

from catalog import models
from catalog.errors import InvalidRequest, NotFound
from catalog.ids import BARE_BASE, parse_model
from catalog.models import ModelRow
from gateway import adapters, context, jobs, listing, routing
from gateway.api import reading
from gateway.context import Context
from gateway.listing import Standing


async def standing_of(here: Context) -> Standing:
    """What can answer now."""
    if here.engine is not None:
        await here.engine.look_for_bases()
    return await asyncio.to_thread(_standing_of, here)


def _standing_of(here: Context) -> Standing:
    base = here.ready_base()
    others = [one for one in here.engine.state().bases if one != base] if here.engine and base else []
    fitting = listing.fitting_adapters(here.adapters, [base, *others]) if base else {}
    names = listing.answering_names(here.adapters, fitting, base)
    return Standing(
        base=base,
        other_bases=others,
        adapters=fitting,
        adapter_names=names,
        fine_tuned=jobs.models_among(names, here.runs),
        upstreams=routing.usable(here.settings.upstreams, here.environ),
        discovered=here.providers.discovered,
        why_not=here.engine_obstacle()[1],
        created=int(here.started_at),
    )


@get("/v1/models")
async def list_models(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Ids that can be asked for and answered now."""
    standing = await standing_of(context.of(request))
    return {"object": "list", "data": listing.openai_models(standing)}


@get("/v1/models/{model_id:path}")
async def get_model(request: Request[Any, Any, Any], model_id: FromPath[str]) -> dict[str, Any]:
    """One id of the list."""
    wanted = model_id.removeprefix("/")
    standing = await standing_of(context.of(request))
    for entry in listing.openai_models(standing):
        if entry["id"] == wanted:
            return entry
    raise NotFound(
        f"The model {wanted!r} does not exist.",
        hint="GET /v1/models lists them.",
        param="model",
        code="model_not_found",
    )


@delete("/v1/models/{model_id:path}", status_code=200)
async def delete_model(request: Request[Any, Any, Any], model_id: FromPath[str]) -> dict[str, Any]:
    """Delete an adapter, by any of its ids; 409 while it is active, or what a rollback would return to."""
    here, wanted = context.of(request), model_id.removeprefix("/")
    ref = parse_model(wanted, models.known_bases(here.settings.training), await _adapter_names(here))
    if ref is None or ref.adapter is None or ref.adapter == BARE_BASE:
        raise InvalidRequest(
            f"{wanted!r} is no adapter; only adapters can be deleted.", param="model", code="unsupported_value"
        )
    base = ref.base or here.ready_base()
    await asyncio.to_thread(adapters.remove, ref.adapter, base, here.adapters)
    return {"id": wanted, "object": "model", "deleted": True}


async def _adapter_names(here: Context) -> Collection[str]:
    return (await asyncio.to_thread(here.adapters.aliases)).names


@get("/api/chat/models")
async def list_chat_models(request: Request[Any, Any, Any]) -> dict[str, Any]:
    here = context.of(request)
    training = await asyncio.to_thread(here.training, reading.scope_of(request))
    standing = await standing_of(here)
    return {"models": listing.chat_models(standing, training)}


@get("/api/models")
async def list_rows(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """The catalog's rows with the head of their file."""
    head = models.model_file()
    rows, standing = await _rows(request)
    return {
        "currency": head.currency,
        "last_updated": head.last_updated,
        "sources": head.sources,
        "models": listing.catalog_rows(rows, standing),
    }


@get("/api/models/by-type/{component:str}")
async def list_rows_by_type(request: Request[Any, Any, Any], component: FromPath[str]) -> dict[str, Any]:
    rows, standing = await _rows(request)
    return {"models": listing.catalog_rows(listing.of_type(rows, component), standing)}


@get("/api/models/providers")
async def list_providers(request: Request[Any, Any, Any]) -> dict[str, Any]:
    rows, _ = await _rows(request)
    return {"providers": sorted({row.provider for row in rows})}


@get("/api/models/providers/{name:str}")
async def list_rows_by_provider(request: Request[Any, Any, Any], name: FromPath[str]) -> dict[str, Any]:
    rows, standing = await _rows(request)
    return {"models": listing.catalog_rows(listing.of_provider(rows, name), standing)}


async def _rows(request: Request[Any, Any, Any]) -> tuple[list[ModelRow], Standing]:
    here = context.of(request)
    training = await asyncio.to_thread(here.training, reading.scope_of(request))
    return models.rows(training), await standing_of(here)


handlers = [
    list_models,
    get_model,
    delete_model,
    list_chat_models,
    list_rows,
    list_rows_by_type,
    list_providers,
    list_rows_by_provider,
]
