"""`/livez`, `/readyz`, `/metrics`, `/api/chat/health`: is it there, can it answer, what did it do, who is reachable."""

from __future__ import annotations

import asyncio
from typing import Any

from litestar import Request, Response, get
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from catalog.errors import Unavailable
from catalog.ids import RAGWELD
from catalog.settings import Upstream
from gateway import context, routing
from gateway.context import Context
from gateway.errors import ShuttingDown


@get("/livez")
async def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@get("/readyz")
async def readyz(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Somebody can answer a chat; 503 with the reason while nobody can."""
    here = context.of(request)
    if here.lifecycle.draining.is_set():
        raise ShuttingDown("This gateway is ending.")
    obstacle, detail = here.engine_obstacle()
    if obstacle is None:
        return {"status": "ready", "answers": RAGWELD, "reason": detail}
    upstreams = routing.usable(here.settings.upstreams, here.environ)
    if upstreams and not here.settings.routing.strict:
        return {"status": "ready", "answers": upstreams[0].name, "reason": detail}
    raise Unavailable(f"Nobody can answer yet: {detail}.", code=obstacle)


@get("/metrics")
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The metric table in Prometheus' text form."""
    registry = context.of(request).measures.registry
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


@get("/api/chat/health")
async def chat_health(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """One row for ragweld and one for each configured upstream, asked now."""
    here = context.of(request)
    rows = await asyncio.gather(*(_upstream_health(here, upstream) for upstream in here.settings.upstreams))
    return {"providers": [_own_health(here), *rows]}


def _own_health(here: Context) -> dict[str, Any]:
    obstacle, detail = here.engine_obstacle()
    return {"provider": "Ragweld", "kind": RAGWELD, "base_url": None, "reachable": obstacle is None, "detail": detail}


async def _upstream_health(here: Context, upstream: Upstream) -> dict[str, Any]:
    if not upstream.enabled:
        obstacle: str | None = "it is switched off (enabled)"
    elif not routing.usable([upstream], here.environ):
        obstacle = f"its key is not set; set {upstream.api_key_env}"
    else:
        obstacle = await here.upstreams.probe(upstream)
    return {
        "provider": upstream.name,
        "kind": upstream.kind,
        "base_url": upstream.base_url,
        "reachable": obstacle is None,
        "detail": obstacle or f"answers as {upstream.model}",
    }


handlers = [livez, readyz, metrics, chat_health]
