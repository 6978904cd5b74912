"""OpenAI's `/v1/files`: upload, list, look, read, delete."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from litestar import Request, Response, delete, get, post
from litestar.params import FromPath, FromQuery, QueryParameter
from litestar.response import File

from gateway import context, files, paging, results
from gateway.files import FIELDS
from gateway.forms import Form

MOST_LISTED = 10_000

Limit = Annotated[int, QueryParameter(ge=1, le=MOST_LISTED)]


@post("/v1/files", status_code=200)
async def upload(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Keep a file; one for fine-tuning is read whole first."""
    here = context.of(request)
    async with files.incoming(here.files) as target:
        form = Form(request.headers.get("content-type", ""), FIELDS, target)
        try:
            async for chunk in request.stream():
                await asyncio.to_thread(form.feed, chunk)
        finally:
            form.close()
        kept = await asyncio.to_thread(files.keep, form, target, here.files, here.runs)
    return files.view(kept)


@get("/v1/files")
async def list_files(
    request: Request[Any, Any, Any],
    after: FromQuery[str | None] = None,
    limit: Limit = MOST_LISTED,
    order: FromQuery[Literal["asc", "desc"]] = "desc",
    purpose: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """Newest first unless asked otherwise."""
    found = await asyncio.to_thread(context.of(request).files.list)
    wanted = [files.view(file) for file in found if purpose in (None, file.purpose)]
    return paging.page(wanted if order == "desc" else wanted[::-1], after, limit)


@get("/v1/files/{file_id:str}")
async def get_file(request: Request[Any, Any, Any], file_id: FromPath[str]) -> dict[str, Any]:
    """What is known of an uploaded file, or of a job's results."""
    here = context.of(request)
    if results.is_results_id(file_id):
        return await asyncio.to_thread(results.view, file_id, here.runs)
    return files.view(await asyncio.to_thread(here.files.get, file_id))


@get("/v1/files/{file_id:str}/content")
async def get_content(request: Request[Any, Any, Any], file_id: FromPath[str]) -> File | Response[bytes]:
    """The bytes as they were uploaded; a job's results as a table."""
    here = context.of(request)
    if results.is_results_id(file_id):
        return Response(await asyncio.to_thread(results.content, file_id, here.runs), media_type="text/csv")
    store = here.files
    file = await asyncio.to_thread(store.get, file_id)
    return File(store.content_path(file.id), filename=file.filename, media_type="application/octet-stream")


@delete("/v1/files/{file_id:str}", status_code=200)
async def delete_file(request: Request[Any, Any, Any], file_id: FromPath[str]) -> dict[str, Any]:
    """Forget a file; 409 while a run needs it."""
    here = context.of(request)
    await asyncio.to_thread(files.delete, file_id, here.files, here.runs)
    return {"id": file_id, "object": "file", "deleted": True}


handlers = [upload, list_files, get_file, get_content, delete_file]
