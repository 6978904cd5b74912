"""`POST /api/kg/extract`: concepts and relations of a text; the headers say who read it."""

from __future__ import annotations

from typing import Any

import msgspec
from litestar import Request, Response, post

from gateway import context, knowledge
from gateway.api import reading
from gateway.knowledge import ExtractRequest


@post("/api/kg/extract", status_code=200)
async def extract(request: Request[Any, Any, Any]) -> Response[bytes]:
    """`{"concepts": [...], "relations": [...]}`, empty where the answer could not be read."""
    wanted = await reading.body_of(request, ExtractRequest)
    is_strict = reading.is_strict(request.scope)
    asking = knowledge.extract(context.of(request), wanted, request.scope["auth"], strict=is_strict)
    found, heard = await reading.while_client_listens(request, asking)
    named = {
        "x-ragweld-provider": heard.provider,
        "x-ragweld-model": heard.model,
        "x-ragweld-fallback": heard.fallback or "",
    }
    headers = {name: "".join(char if " " <= char <= "~" else "?" for char in value) for name, value in named.items()}
    return Response(
        msgspec.json.encode(found),
        media_type="application/json",
        headers={name: value for name, value in headers.items() if value},
    )


handlers = [extract]
