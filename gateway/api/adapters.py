"""`/api/adapters`, and vLLM's two routes over the same functions: add, list, remove, export."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, Response, delete, get, post
from litestar.params import FromPath

from catalog import exports, models
from catalog.errors import InvalidRequest, Unavailable
from catalog.ids import AdapterId, BaseId, parse_model
from gateway import adapters, context, exporting
from gateway.adapters import AdapterRequest, LoadLoraRequest, Shelf, UnloadLoraRequest
from gateway.api import reading
from gateway.api.runs import mirror_folder
from gateway.context import Context
from gateway.exporting import ExportRequest


@post("/api/adapters", status_code=200)
async def add(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Take in an adapter, check it against the loaded base, keep it, and activate it if asked."""
    here = context.of(request)
    wanted = await reading.body_of(request, AdapterRequest)
    base, adapter_id = await _take_in(here, wanted)
    if wanted.activate:
        await asyncio.to_thread(adapters.activate, adapter_id, base, _shelf(here), mirror_folder(here, base))
    return {"ok": True, "id": adapter_id, "name": wanted.name, "base": base, "active": wanted.activate}


@get("/api/adapters")
async def list_all(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Every adapter kept here, and for each base the moves of its alias, oldest first."""
    here = context.of(request)
    resident = here.engine.counters.resident if here.engine is not None else ()
    rows = await asyncio.to_thread(adapters.listing, here.adapters, resident)
    return {"adapters": rows, "moves": await asyncio.to_thread(adapters.moves, here.adapters)}


@delete("/api/adapters/{pointer:str}", status_code=200)
async def remove(request: Request[Any, Any, Any], pointer: FromPath[str]) -> dict[str, Any]:
    """Delete an adapter that is not active; streams that use it finish."""
    here = context.of(request)
    adapter_id = await asyncio.to_thread(adapters.remove, pointer, here.ready_base(), here.adapters)
    return {"ok": True, "id": adapter_id, "deleted": True}


@post("/api/adapters/{pointer:str}/export", status_code=200)
async def export(request: Request[Any, Any, Any], pointer: FromPath[str]) -> dict[str, Any]:
    """Write an adapter, or a run's, for use elsewhere into the home's `exports/`."""
    here = context.of(request)
    wanted = await reading.body_of(request, ExportRequest)
    training = here.settings.training
    base = here.ready_base() or training.ragweld_agent_base_model
    source = await asyncio.to_thread(exports.find, pointer, here.home, models.known_bases(training), base)
    target = exporting.folder_for(wanted, pointer, here.home)
    made = await exporting.export(source, wanted, target, here.home)
    return {"ok": True, "path": str(made.folder), "format": made.format, "base": made.base, "note": made.note}


@post("/v1/load_lora_adapter", status_code=200)
async def load_lora(request: Request[Any, Any, Any]) -> Response[str]:
    """vLLM's: `lora_name` answers from now on."""
    here = context.of(request)
    wanted = await reading.body_of(request, LoadLoraRequest)
    names = (await asyncio.to_thread(here.adapters.aliases)).names
    if wanted.lora_name in names and not wanted.load_inplace:
        raise InvalidRequest(f"The lora adapter '{wanted.lora_name}' has already been loaded.", param="lora_name")
    await _take_in(here, wanted.as_ours(here.home))
    return Response(f"Success: LoRA adapter '{wanted.lora_name}' added successfully.", media_type="text/plain")


@post("/v1/unload_lora_adapter", status_code=200)
async def unload_lora(request: Request[Any, Any, Any]) -> Response[str]:
    """vLLM's: `lora_name` no longer answers."""
    here = context.of(request)
    wanted = await reading.body_of(request, UnloadLoraRequest)
    await asyncio.to_thread(here.adapters.unname, wanted.lora_name)
    return Response(f"Success: LoRA adapter '{wanted.lora_name}' removed successfully.", media_type="text/plain")


async def _take_in(here: Context, wanted: AdapterRequest) -> tuple[BaseId, AdapterId]:
    default = here.ready_base()
    if here.engine is None or default is None:
        raise Unavailable("The engine cannot check the adapter now.", hint=here.engine_obstacle()[1])
    base = _base_of(here, wanted.base) or default
    shelf = _shelf(here)
    source = await asyncio.to_thread(adapters.source_of, wanted, shelf)
    async with adapters.taken_in(source, here.home) as folder:
        checked = await here.engine.check_adapter(folder, base)
        adapter_id = await asyncio.to_thread(adapters.keep, folder, checked, base, wanted, shelf)
    return base, adapter_id


def _base_of(here: Context, named: str | None) -> BaseId | None:
    """The base that a model id names; None is the default one."""
    if named is None:
        return None
    ref = parse_model(named, models.known_bases(here.settings.training))
    if ref is None or ref.adapter is not None:
        raise InvalidRequest(f"{named!r} is no base of ragweld's.", hint="GET /api/engine lists them.", param="base")
    return ref.base


def _shelf(here: Context) -> Shelf:
    return Shelf(here.home, here.settings, here.runs, here.adapters, here.providers.discovered)


handlers = [add, list_all, remove, export, load_lora, unload_lora]
