"""OpenAI's stored completions, feedback on them, and a dataset made of them."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any, Literal

from litestar import Request, delete, get, post
from litestar.params import FromPath, FromQuery, QueryParameter

from gateway import chats, context, files, paging
from gateway.api import reading
from gateway.chats import ChatsRequest, FeedbackRequest, MetadataRequest
from gateway.context import Context

Limit = Annotated[int, QueryParameter(ge=1, le=1000)]
Order = FromQuery[Literal["asc", "desc"]]


@get("/v1/chat/completions")
async def list_completions(
    request: Request[Any, Any, Any],
    after: FromQuery[str | None] = None,
    limit: Limit = 20,
    order: Order = "asc",
    model: FromQuery[str | None] = None,
) -> dict[str, Any]:
    """What was kept, oldest first unless asked otherwise."""
    here, metadata = await _settled(request), reading.metadata_of(request)

    def read() -> dict[str, Any]:
        found = list(chats.stored(here.recorder.store, metadata, model))
        return paging.page([chats.view(chat) for chat in (found if order == "asc" else found[::-1])], after, limit)

    return await asyncio.to_thread(read)


@get("/v1/chat/completions/{completion_id:str}")
async def get_completion(request: Request[Any, Any, Any], completion_id: FromPath[str]) -> dict[str, Any]:
    here = await _settled(request)
    return chats.view(await asyncio.to_thread(here.recorder.store.get, completion_id))


@get("/v1/chat/completions/{completion_id:str}/messages")
async def list_messages(
    request: Request[Any, Any, Any],
    completion_id: FromPath[str],
    after: FromQuery[str | None] = None,
    limit: Limit = 20,
    order: Order = "asc",
) -> dict[str, Any]:
    """What was asked."""
    here = await _settled(request)
    found = chats.messages(await asyncio.to_thread(here.recorder.store.get, completion_id))
    return paging.page(found if order == "asc" else found[::-1], after, limit)


@post("/v1/chat/completions/{completion_id:str}", status_code=200)
async def update_completion(request: Request[Any, Any, Any], completion_id: FromPath[str]) -> dict[str, Any]:
    """Give it other metadata."""
    here = await _settled(request)
    wanted = await reading.openai_body_of(request, MetadataRequest)
    change = here.recorder.store.change
    return chats.view(await asyncio.to_thread(change, completion_id, metadata=wanted.metadata or {}))


@delete("/v1/chat/completions/{completion_id:str}", status_code=200)
async def delete_completion(request: Request[Any, Any, Any], completion_id: FromPath[str]) -> dict[str, Any]:
    """Erase it from the disk."""
    here = await _settled(request)
    await asyncio.to_thread(here.recorder.store.delete, completion_id)
    return {"object": "chat.completion.deleted", "id": completion_id, "deleted": True}


@post("/api/feedback", status_code=200)
async def give_feedback(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """Say that an answer was good or bad; only whoever got it knows its id."""
    here = await _settled(request)
    wanted = await reading.body_of(request, FeedbackRequest)
    change = here.recorder.store.change
    await asyncio.to_thread(change, wanted.id, rating=wanted.rating, comment=wanted.comment)
    return {"ok": True, "id": wanted.id, "rating": wanted.rating}


@post("/api/datasets/chats", status_code=200)
async def make_dataset(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """A file of kept chats, which runs and fine-tuning jobs take by its id."""
    here = await _settled(request)
    wanted = await reading.body_of(request, ChatsRequest)
    file, counts = await asyncio.to_thread(chats.dataset, wanted, here.recorder.store, here.files)
    return {"ok": True, "dataset_path": file.id, "file": files.view(file), **counts}


async def _settled(request: Request[Any, Any, Any]) -> Context:
    """The gateway, once every answer that was given before is written."""
    here = context.of(request)
    await here.recorder.settled()
    return here


handlers = [
    list_completions,
    get_completion,
    list_messages,
    update_completion,
    delete_completion,
    give_feedback,
    make_dataset,
]
