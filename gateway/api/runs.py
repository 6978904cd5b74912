"""`/api/agent/train`: recommend, start, list, look, follow, pause, resume, cancel, compare, promote; and an alias's way
back."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated, Any

from litestar import Request, Response, get, post
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.types import ASGIApp, Receive, Scope, Send

from catalog import events, verify
from catalog.adapters import AliasMove
from catalog.errors import Overloaded, Unavailable
from catalog.ids import BaseId
from catalog.plan import Profile, RunRequest
from catalog.run_life import CancelRequested, PauseRequested, ResumeRequested, Run, Wish
from gateway import context, run_stream, runs_stream, training
from gateway.api import reading
from gateway.context import Context
from gateway.training import DiffRequest, RollbackRequest

MAX_LISTED = 10_000
VERIFY_AGAIN_S = 5.0
"""A base of some gigabytes is read in so long."""

Limit = Annotated[int, QueryParameter(ge=1, le=MAX_LISTED)]
Chosen = Annotated[str, QueryParameter(max_length=8192)]
"""Run ids, separated by commas."""


@get("/api/agent/train/profile")
async def profile(
    request: Request[Any, Any, Any],
    dataset_path: FromQuery[str | None] = None,
    base: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """Recommended settings for this dataset, base and machine."""
    here, scope = context.of(request), reading.scope_of(request)

    def recommend() -> Profile:
        settings = here.settings_of(scope)
        return training.recommend(training.dataset_path(dataset_path, settings, here.home), base, settings)

    return (await asyncio.to_thread(recommend)).model_dump(mode="json")


@get("/api/agent/train/runs")
async def list_runs(request: Request[Any, Any, Any], limit: Limit = 100) -> dict[str, Any]:
    """Newest first."""
    runs = await asyncio.to_thread(context.of(request).runs.list, reading.scope_of(request), limit)
    return {"runs": [run.model_dump(mode="json") for run in runs]}


@get("/api/agent/train/schema", sync_to_thread=False)
def start_schema() -> dict[str, Any]:
    """Every setting that a start may name, with its bounds and a sentence, as JSON schema."""
    return RunRequest.model_json_schema()


@post("/api/agent/train/start", status_code=200)
async def start(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Check the dataset and queue a run."""
    here = context.of(request)
    wanted = await reading.body_of(request, RunRequest)

    def queue() -> Run:
        return training.start(wanted, here.settings_of(wanted.scope), here.home, here.runs)

    run = await asyncio.to_thread(queue)
    return {"ok": True, "run_id": run.run_id}


@get("/api/agent/train/run/{run_id:str}")
async def get_run(request: Request[Any, Any, Any], run_id: FromPath[str]) -> dict[str, Any]:
    run = await asyncio.to_thread(context.of(request).runs.get, run_id)
    return run.model_dump(mode="json")


@get("/api/agent/train/run/{run_id:str}/metrics")
async def get_metrics(request: Request[Any, Any, Any], run_id: FromPath[str], limit: Limit = 1000) -> dict[str, Any]:
    """The latest events, oldest first."""
    runs = context.of(request).runs

    def read() -> list[events.Event]:
        runs.folder(run_id)
        return events.read_latest(runs.metrics_path(run_id), limit)

    found = await asyncio.to_thread(read)
    return {"run_id": run_id, "events": [event.model_dump(mode="json", exclude_none=True) for event in found]}


@get("/api/agent/train/run/{run_id:str}/metrics.jsonl")
async def export_metrics(request: Request[Any, Any, Any], run_id: FromPath[str]) -> Response[bytes]:
    """Every event as it is stored, to be kept as a file."""
    lines = await asyncio.to_thread(training.stored_events, run_id, context.of(request).runs)
    named = {"content-disposition": f'attachment; filename="{run_id}.metrics.jsonl"'}
    return Response(lines, media_type="application/jsonl", headers=named)


@get("/api/agent/train/run/{run_id:str}/stream")
async def stream_run(request: Request[Any, Any, Any], run_id: FromPath[str]) -> ASGIApp:
    """The run's events, from `Last-Event-ID` on."""
    here = context.of(request)
    last_event_id = request.headers.get("last-event-id")

    def look() -> tuple[int, bool]:
        here.runs.folder(run_id)
        offset = run_stream.offset_of(last_event_id, here.runs.metrics_path(run_id))
        return offset, bool(last_event_id) and run_stream.has_nothing_left(here.runs, run_id, offset)

    offset, is_over = await asyncio.to_thread(look)
    if is_over:
        return _no_content
    blocks = run_stream.follow(here.runs, run_id, offset, here.lifecycle.draining)
    return run_stream.sending(blocks, here.lifecycle)


@get("/api/agent/train/stream")
async def stream_runs(request: Request[Any, Any, Any], runs: Chosen = "") -> ASGIApp:
    """The list of runs and the aliases as they change, and the events of the runs named, from `Last-Event-ID` on."""
    here = context.of(request)
    chosen = [run_id for run_id in runs.split(",") if run_id]
    last_event_id = request.headers.get("last-event-id")
    places = await asyncio.to_thread(runs_stream.places_of, chosen, last_event_id, here.runs)
    blocks = runs_stream.follow(runs_stream.Board(here.runs, here.adapters), places, here.lifecycle.draining)
    return run_stream.sending(blocks, here.lifecycle)


async def _no_content(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@get("/api/agent/train/run/{run_id:str}/verify")
async def verify_run(request: Request[Any, Any, Any], run_id: FromPath[str]) -> dict[str, Any]:
    """What the run's files say, derived again; reads all of them, and the base's. One at a time, others get 429."""
    here = context.of(request)
    if here.verifying.locked():
        raise Overloaded("Another run is being verified.", retry_after_s=VERIFY_AGAIN_S)

    def derive() -> verify.Verification:
        return verify.verify(here.runs.get(run_id), here.runs, here.adapters, here.home)

    async with here.verifying:
        return (await asyncio.to_thread(derive)).model_dump(mode="json")


@post("/api/agent/train/run/{run_id:str}/cancel", status_code=200)
async def cancel(request: Request[Any, Any, Any], run_id: FromPath[str]) -> dict[str, Any]:
    """Ask a run to end; 409 when it has ended otherwise."""
    run = await ask(request, run_id, CancelRequested())
    return {"ok": True, "run_id": run_id, "status": run.status, "cancel_requested": run.cancel_requested}


@post("/api/agent/train/run/{run_id:str}/pause", status_code=200)
async def pause(request: Request[Any, Any, Any], run_id: FromPath[str]) -> dict[str, Any]:
    """Ask a run to save itself and wait; 409 when it has ended."""
    run = await ask(request, run_id, PauseRequested())
    return {"ok": True, "run_id": run_id, "status": run.status, "pause_requested": run.pause_requested}


@post("/api/agent/train/run/{run_id:str}/resume", status_code=200)
async def resume(request: Request[Any, Any, Any], run_id: FromPath[str]) -> dict[str, Any]:
    """Queue a paused or interrupted run again, to go on from its last checkpoint; 409 when it is neither."""
    run = await ask(request, run_id, ResumeRequested())
    return {"ok": True, "run_id": run_id, "status": run.status}


async def ask(request: Request[Any, Any, Any], run_id: str, wish: Wish) -> Run:
    """Put a wish to a run, after a look at how it is."""
    runs = context.of(request).runs

    def look_and_ask() -> Run:
        runs.get(run_id)
        return runs.apply(run_id, wish)

    return await asyncio.to_thread(look_and_ask)


@post("/api/agent/train/run/{run_id:str}/promote", status_code=200)
async def promote(request: Request[Any, Any, Any], run_id: FromPath[str]) -> dict[str, Any]:
    """Check a completed run's adapter against its base, then make it active."""
    here = context.of(request)
    wanted = await asyncio.to_thread(training.candidate, run_id, here.runs, here.adapters)
    if here.engine is None or here.ready_base() is None:
        raise Unavailable("The engine cannot check the adapter now.", hint=here.engine_obstacle()[1])
    base = BaseId(wanted.run.plan.base)
    checked = await here.engine.check_adapter(wanted.folder, base)
    mirror = mirror_folder(here, base, wanted.run.scope)
    return await asyncio.to_thread(training.promote, wanted, checked, here.runs, here.adapters, mirror)


@post("/api/agent/train/run/{run_id:str}/diff", status_code=200)
async def diff(request: Request[Any, Any, Any], run_id: FromPath[str]) -> dict[str, Any]:
    """Compare two runs; the one in the path is the current one unless the body says otherwise."""
    wanted = await reading.body_of(request, DiffRequest)
    return await asyncio.to_thread(training.compare, wanted, context.of(request).runs)


@post("/api/adapters/rollback", status_code=200)
async def roll_back(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Make active what was before the last move."""
    here = context.of(request)
    wanted = await reading.body_of(request, RollbackRequest)
    base = BaseId(wanted.base or here.ready_base() or here.settings.training.ragweld_agent_base_model)
    move: AliasMove = await asyncio.to_thread(training.roll_back, base, here.adapters, mirror_folder(here, base))
    return {"ok": True, "base": base, **move.model_dump(mode="json")}


def mirror_folder(here: Context, base: BaseId, scope: str | None = None) -> Path | None:
    """Where the copy of a base's active adapter lies; None for all but the default base, whose folder is watched."""
    if base != (here.ready_base() or here.settings.training.ragweld_agent_base_model):
        return None
    return here.home / here.settings_of(scope).training.ragweld_agent_model_path


handlers = [
    profile,
    list_runs,
    start_schema,
    start,
    get_run,
    get_metrics,
    export_metrics,
    stream_run,
    verify_run,
    stream_runs,
    pause,
    resume,
    cancel,
    promote,
    diff,
    roll_back,
]
