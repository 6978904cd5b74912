"""`POST /v1/chat/completions`."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp

from gateway import chat, context
from gateway.api import reading
from gateway.wire import request as wire

PARSE_INLINE_BYTES = 1 << 16
"""A larger body takes milliseconds to read; it is read off the event loop."""


@post("/v1/chat/completions", status_code=200)
async def chat_completions(request: Request[Any, Any, Any]) -> ASGIApp:
    """OpenAI's chat completion, plain or streaming."""
    here = context.of(request)
    body = await reading.whole_body(request.receive)
    inline = len(body) <= PARSE_INLINE_BYTES
    parsed = wire.parse(body) if inline else await asyncio.to_thread(wire.parse, body)
    if here.watch is not None:
        await here.watch.before_request()
    choice = await here.choose(parsed.request.model, strict=reading.is_strict(request.scope))
    return chat.answer(here, parsed, choice)


handlers = [chat_completions]
