"""OpenAI's `/v1/fine_tuning/jobs`: create, list, look, cancel, pause, resume, events, checkpoints."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from litestar import Request, get, post
from litestar.params import FromPath, FromQuery, QueryParameter

from catalog.run_life import CancelRequested, PauseRequested, ResumeRequested, Wish
from gateway import context, fine_tuning, jobs, paging
from gateway.api import reading
from gateway.context import Context
from gateway.fine_tuning import Desk, JobRequest
from gateway.metadata import bears

MOST_LISTED = 1000

Limit = Annotated[int, QueryParameter(ge=1, le=MOST_LISTED)]


@post("/v1/fine_tuning/jobs", status_code=200)
async def create(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Queue a run on uploaded rows."""
    here = context.of(request)
    wanted = await reading.openai_body_of(request, JobRequest)
    desk = Desk(here.home, here.settings, here.files, here.runs)
    run = await asyncio.to_thread(fine_tuning.create, wanted, desk)
    return await _view(here, run.run_id)


@get("/v1/fine_tuning/jobs")
async def list_jobs(
    request: Request[Any, Any, Any], after: FromQuery[str | None] = None, limit: Limit = 20
) -> dict[str, Any]:
    """Every run, newest first."""
    here, wanted = context.of(request), reading.metadata_of(request)

    def read() -> dict[str, Any]:
        found = [run for run in here.runs.list() if bears(run.labels.metadata, wanted)]
        return paging.page_of(found, after, limit, jobs.id_of, lambda run: jobs.view(run, here.runs))

    return await asyncio.to_thread(read)


@get("/v1/fine_tuning/jobs/{job_id:str}")
async def get_job(request: Request[Any, Any, Any], job_id: FromPath[str]) -> dict[str, Any]:
    here = context.of(request)
    run = await asyncio.to_thread(jobs.run_of, job_id, here.runs)
    return await _view(here, run.run_id)


@post("/v1/fine_tuning/jobs/{job_id:str}/cancel", status_code=200)
async def cancel(request: Request[Any, Any, Any], job_id: FromPath[str]) -> dict[str, Any]:
    """Ask a job to end; what it learned is saved first."""
    return await _ask(context.of(request), job_id, CancelRequested())


@post("/v1/fine_tuning/jobs/{job_id:str}/pause", status_code=200)
async def pause(request: Request[Any, Any, Any], job_id: FromPath[str]) -> dict[str, Any]:
    """Ask a job to save itself and wait."""
    return await _ask(context.of(request), job_id, PauseRequested())


@post("/v1/fine_tuning/jobs/{job_id:str}/resume", status_code=200)
async def resume(request: Request[Any, Any, Any], job_id: FromPath[str]) -> dict[str, Any]:
    """Queue a paused job again, to go on where it was."""
    return await _ask(context.of(request), job_id, ResumeRequested())


@get("/v1/fine_tuning/jobs/{job_id:str}/events")
async def list_events(
    request: Request[Any, Any, Any],
    job_id: FromPath[str],
    after: FromQuery[str | None] = None,
    limit: Limit = 20,
) -> dict[str, Any]:
    """What happened, newest first."""
    runs = context.of(request).runs

    def read() -> dict[str, Any]:
        run = jobs.run_of(job_id, runs)
        return jobs.events_page(run.run_id, runs.metrics_path(run.run_id), after, limit)

    return await asyncio.to_thread(read)


@get("/v1/fine_tuning/jobs/{job_id:str}/checkpoints")
async def list_checkpoints(
    request: Request[Any, Any, Any],
    job_id: FromPath[str],
    after: FromQuery[str | None] = None,
    limit: Limit = 10,
) -> dict[str, Any]:
    """Steps whose adapter answers."""
    runs = context.of(request).runs

    def read() -> list[dict[str, Any]]:
        run = jobs.run_of(job_id, runs)
        return list(jobs.checkpoints(run, runs.metrics_path(run.run_id)))

    return paging.page(await asyncio.to_thread(read), after, limit)


async def _ask(here: Context, job_id: str, wish: Wish) -> dict[str, Any]:
    run = await asyncio.to_thread(jobs.run_of, job_id, here.runs)
    await asyncio.to_thread(here.runs.apply, run.run_id, wish)
    return await _view(here, run.run_id)


async def _view(here: Context, run_id: str) -> dict[str, Any]:
    def read() -> dict[str, Any]:
        return jobs.view(here.runs.get(run_id), here.runs)

    return await asyncio.to_thread(read)


handlers = [create, list_jobs, get_job, cancel, pause, resume, list_events, list_checkpoints]
