"""`POST /v1/embeddings`."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, post
from litestar.types import ASGIApp

from gateway import chat, context, embedding
from gateway.api import reading
from gateway.api.chat import PARSE_INLINE_BYTES
from gateway.wire import embedding as wire


@post("/v1/embeddings", status_code=200)
async def embeddings(request: Request[Any, Any, Any]) -> ASGIApp:
    """OpenAI's embeddings, by an upstream that has the model."""
    here = context.of(request)
    body = await reading.whole_body(request.receive)
    inline = len(body) <= PARSE_INLINE_BYTES
    parsed = wire.parse(body) if inline else await asyncio.to_thread(wire.parse, body)
    choice = await embedding.choose(here, parsed.model, strict=reading.is_strict(request.scope))
    return chat.answer(here, parsed, choice)


handlers = [embeddings]
