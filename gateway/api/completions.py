"""`POST /v1/completions`."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp

from catalog.errors import InvalidRequest
from gateway import chat, context
from gateway.api import reading
from gateway.api.chat import PARSE_INLINE_BYTES
from gateway.routing import EngineRoute
from gateway.wire import completion


@post("/v1/completions", status_code=200)
async def completions(request: Request[Any, Any, Any]) -> ASGIApp:
    """OpenAI's older completion, plain or streaming, by ragweld's own models."""
    here = context.of(request)
    body = await reading.whole_body(request.receive)
    inline = len(body) <= PARSE_INLINE_BYTES
    parsed = completion.parse(body) if inline else await asyncio.to_thread(completion.parse, body)
    if here.watch is not None:
        await here.watch.before_request()
    choice = await here.choose(parsed.model, strict=True)
    if not isinstance(choice.routes[0], EngineRoute):
        raise InvalidRequest(f"{parsed.model} is asked by chat only.", hint="POST /v1/chat/completions.", param="model")
    return chat.answer(here, parsed, choice)


handlers = [completions]
