"""`/api/benchmark`: run one, list them, read one again."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from litestar import Request, get, post
from litestar.params import FromPath

from catalog.benchmarks import BenchmarkStore
from gateway import benchmark, context
from gateway.api import reading
from gateway.api.admin import Limit
from gateway.benchmark import BenchmarkRequest


@post("/api/benchmark/run", status_code=200)
async def run(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Ask every model every prompt, and keep what came back; who goes away ends it, and nothing is kept."""
    here = context.of(request)
    wanted = await reading.body_of(request, BenchmarkRequest)
    asking = benchmark.run(here, wanted, request.scope["auth"])
    answers = await reading.while_client_listens(request, asking)
    make = partial(benchmark.report, wanted=wanted, answers=answers)
    kept = await asyncio.to_thread(BenchmarkStore(here.home).keep, make)
    reading.note(request, benchmark=kept.id)
    return kept.model_dump(mode="json")


@get("/api/benchmark/runs")
async def list_runs(request: Request[Any, Any, Any], limit: Limit = 100) -> dict[str, Any]:
    """Newest first, without the answers."""
    store = BenchmarkStore(context.of(request).home)

    def read() -> list[dict[str, Any]]:
        return [store.get(one).model_dump(mode="json", exclude={"answers"}) for one in store.ids()[:limit]]

    return {"runs": await asyncio.to_thread(read)}


@get("/api/benchmark/runs/{benchmark_id:str}")
async def get_run(request: Request[Any, Any, Any], benchmark_id: FromPath[str]) -> dict[str, Any]:
    """One benchmark with every answer."""
    kept = await asyncio.to_thread(BenchmarkStore(context.of(request).home).get, benchmark_id)
    return kept.model_dump(mode="json")


handlers = [run, list_runs, get_run]
