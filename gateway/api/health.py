"""`/livez`, `/readyz`, `/metrics`, `/api/chat/health`: is it there, can it answer, what did it do, who is reachable."""

from __future__ import annotations

from typing import Any, Literal

from litestar import Request, Response, get
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from catalog.errors import Unavailable
from catalog.ids import RAGWELD
from catalog.settings import Upstream
from gateway import context, routing
from gateway.context import Context
from gateway.errors import ShuttingDown
from gateway.home_state import LOW_BYTES, free_bytes
from gateway.providers import Health, Provider, breaker_name

LATELY_S = 300.0
"""How long after a lost log line that is still said."""

ProviderState = Literal["up", "down", "unknown", "off"]


@get("/livez")
async def livez() -> dict[str, str]:
    """The process answers."""
    return {"status": "alive"}


@get("/readyz")
async def readyz(request: Request[Any, Any, Any]) -> dict[str, str]:
    """Somebody can answer a chat; 503 with the reason while nobody can. `degraded` says what else does not work."""
    here = context.of(request)
    if here.lifecycle.draining.is_set():
        raise ShuttingDown("This gateway is ending.")
    obstacle, detail = here.engine_obstacle()
    degraded = _degraded(here)
    if obstacle is None:
        return {"status": "ready", "answers": RAGWELD, "reason": detail, **degraded}
    upstreams = routing.usable(here.settings.upstreams, here.environ)
    if upstreams and not here.settings.routing.strict:
        return {"status": "ready", "answers": upstreams[0].name, "reason": detail, **degraded}
    raise Unavailable(f"Nobody can answer yet: {detail}.", code=obstacle)


def faults(obstacle: str | None, lost_s_ago: float | None, free: int | None) -> list[str]:
    """What does not work while answers are given; `obstacle` is why chats are not kept, `free` the home's bytes."""
    found = [obstacle] if obstacle is not None else []
    if lost_s_ago is not None and lost_s_ago < LATELY_S:
        found.append("log lines were lost lately")
    if free is None:
        found.append("the home folder cannot be reached")
    elif free < LOW_BYTES:
        found.append(f"the home folder's disk has {free / 1e6:.0f} MB left")
    return found


def _degraded(here: Context) -> dict[str, str]:
    lost_at = here.measures.line_lost_at
    found = faults(here.recorder.obstacle, None if lost_at is None else here.clock() - lost_at, free_bytes(here.home))
    return {"degraded": "; ".join(found)} if found else {}


@get("/metrics")
async def metrics(request: Request[Any, Any, Any]) -> Response[bytes]:
    """The metric table in Prometheus' text form."""
    here = context.of(request)
    if here.engine is not None:
        await here.engine.look()
    registry = here.measures.registry
    return Response(generate_latest(registry), media_type=CONTENT_TYPE_LATEST)


@get("/api/chat/health")
async def chat_health(request: Request[Any, Any, Any]) -> dict[str, Any]:
    """One row for ragweld and one for each configured upstream, as the last look in the background found it."""
    here = context.of(request)
    rows = [_upstream_health(here, upstream) for upstream in here.settings.upstreams]
    return {"providers": [_own_health(here), *rows]}


def _own_health(here: Context) -> dict[str, Any]:
    obstacle, detail = here.engine_obstacle()
    state = "up" if obstacle is None else "off" if obstacle == "engine_disabled" else "down"
    row = {"provider": "Ragweld", "kind": RAGWELD, "base_url": None, "reachable": obstacle is None}
    return {**row, "state": state, "detail": detail}


def _upstream_health(here: Context, upstream: Upstream) -> dict[str, Any]:
    now = here.providers.snapshot().get(upstream.name, Provider())
    state, detail = _state(here, upstream, now.health)
    return {
        "provider": upstream.name,
        "kind": upstream.kind,
        "base_url": upstream.base_url,
        "reachable": state == "up",
        "state": state,
        "detail": detail,
        "breaker": breaker_name(now.breaker),
        "in_flight": now.in_flight,
        "probe_latency_s": now.health.latency_s if now.health is not None else None,
        "first_content_latency_s": now.first_content_s,
    }


def _state(here: Context, upstream: Upstream, health: Health | None) -> tuple[ProviderState, str]:
    """In one word and in a sentence."""
    if not upstream.enabled:
        return "off", "it is switched off (enabled)"
    if not routing.usable([upstream], here.environ):
        return "off", f"its key is not set; set {upstream.api_key_env}"
    if health is None:
        return "unknown", "it was not looked at yet"
    return ("down", health.obstacle) if health.obstacle is not None else ("up", f"answers as {upstream.model}")


handlers = [livez, readyz, metrics, chat_health]
