"""Who may answer a requested model, in which order, and who may not. Pure: a table of rules, no clock, no network.

1. `ragweld...` and an empty id: the engine; if it cannot, every usable upstream with the model its settings name.
2. `local:<model>`, `openrouter:<model>`: upstreams of that kind with exactly that model, never another kind, so that a
   request for a server nearby does not leave the machine.
3. `openai/<model>`: OpenAI with a key, else OpenRouter with the whole id.
4. A model that configured upstreams have (their own, listed or discovered): those. Any other `<vendor>/<model>`:
   OpenRouter. Any other that the catalog has: upstreams beyond this machine of a provider that serves it.
5. Otherwise 404. Strict leaves one candidate only. `tests/gateway/test_routing.py` has every rule.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from catalog.errors import EngineFailed, NotFound, RagweldError, Unavailable
from catalog.ids import RAGWELD, ModelRef, parse_model
from catalog.settings import Upstream

FallbackReason = Literal[
    "engine_disabled", "engine_not_ready", "base_missing", "engine_failed", "upstream_failed", "upstream_resting"
]
PROVIDER_OF_KIND = {"cloud_direct": "openai", "openrouter": "openrouter", "local": "local"}
MODEL_NOT_LOADED = "model_not_loaded"
UPSTREAM_RESTING = "upstream_resting"
"""The code of an upstream whose breaker is open."""


@dataclass(frozen=True, slots=True)
class EngineRoute:
    """This process's own engine."""

    ref: ModelRef


@dataclass(frozen=True, slots=True)
class UpstreamRoute:
    """A configured server, and the model it is asked for."""

    upstream: Upstream
    model: str
    has_model: bool = True
    """Whether it is known to have the model; False is asked only after those that have."""


Route = EngineRoute | UpstreamRoute


@dataclass(frozen=True, slots=True)
class Facts:
    """All that the choice depends on beside the requested model."""

    known_bases: Collection[str]
    adapter_names: Collection[str]
    upstreams: Sequence[Upstream]
    """Those that are usable now, see `usable`."""
    engine_obstacle: FallbackReason | None
    engine_detail: str
    """In words, why the engine cannot answer."""
    strict: bool
    discovered: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Upstream -> models that it said it has."""
    providers: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Model -> providers, in small letters, that serve it, as the catalog says."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Candidates in order; `fallback` says why the first is already a substitute."""

    routes: tuple[Route, ...]
    fallback: FallbackReason | None = None


def usable(upstreams: Sequence[Upstream], environ: Mapping[str, str]) -> list[Upstream]:
    """Enabled upstreams whose key, if they need one, is there; by priority, then name."""
    ready = [u for u in upstreams if u.enabled and (not u.api_key_env or environ.get(u.api_key_env))]
    return sorted(ready, key=lambda u: (u.priority, u.name))


def choose(model: str, facts: Facts) -> Choice:
    """The candidates for `model`; raises NotFound or Unavailable when there is none."""
    ref = parse_model(model or RAGWELD, facts.known_bases, facts.adapter_names)
    if ref is not None:
        return _ragweld(ref, facts)
    routes = _upstream_routes(model, facts)
    return Choice(tuple(routes[:1] if facts.strict else routes))


def reason_for(error: RagweldError, route: Route) -> FallbackReason:
    """Why the next candidate is asked, after `route` failed."""
    if isinstance(route, UpstreamRoute):
        return "upstream_resting" if error.code == UPSTREAM_RESTING else "upstream_failed"
    if isinstance(error, EngineFailed):
        return "engine_failed"
    return "base_missing" if error.code == MODEL_NOT_LOADED else "engine_not_ready"


def models_of(upstream: Upstream, discovered: Mapping[str, Collection[str]]) -> tuple[str, ...]:
    """Every model an upstream is known to have, its own first."""
    more = discovered.get(upstream.name, ()) if upstream.models == "discover" else upstream.models
    return (upstream.model, *(model for model in more if model != upstream.model))


def serves(upstream: Upstream, model: str, providers: Mapping[str, Collection[str]]) -> bool:
    """Whether the catalog says so, by the upstream's name or else its kind; only a server nearby knows what it has."""
    name, known = upstream.name.lower(), {one for served_by in providers.values() for one in served_by}
    provider = name if name in known else PROVIDER_OF_KIND[upstream.kind]
    return upstream.kind != "local" and provider in providers.get(model, ())


def upstream_model_id(upstream: Upstream, model: str) -> str:
    """The id under which one of an upstream's models is asked for."""
    prefix = {"local": "local:", "openrouter": "openrouter:", "cloud_direct": "openai/"}[upstream.kind]
    return prefix + model


def _ragweld(ref: ModelRef, facts: Facts) -> Choice:
    substitutes = () if facts.strict else tuple(UpstreamRoute(u, u.model) for u in facts.upstreams)
    if facts.engine_obstacle is None:
        return Choice((EngineRoute(ref), *substitutes))
    if not substitutes:
        hint = "Strict asks for no substitute." if facts.strict else "Wait, or configure an upstream to fall back to."
        raise Unavailable(f"ragweld cannot answer: {facts.engine_detail}.", hint=hint, code=facts.engine_obstacle)
    return Choice(substitutes, facts.engine_obstacle)


def _upstream_routes(model: str, facts: Facts) -> list[Route]:
    prefix, colon, rest = model.partition(":")
    kind = prefix.lower()
    if colon and rest and kind in ("local", "openrouter"):
        return _of_kind(kind, rest, facts) or _nobody(model, f"no {kind} server is configured")
    if model.startswith("openai/"):
        direct = _of_kind("cloud_direct", model.removeprefix("openai/"), facts)
        return direct or _of_kind("openrouter", model, facts) or _nobody(model, "no OpenAI or OpenRouter key is set")
    if having := [u for u in facts.upstreams if model in models_of(u, facts.discovered)]:
        return [UpstreamRoute(u, model) for u in having]
    if "/" in model:
        return _of_kind("openrouter", model, facts) or _unknown(model)
    return [UpstreamRoute(u, model) for u in facts.upstreams if serves(u, model, facts.providers)] or _unknown(model)


def _of_kind(kind: str, model: str, facts: Facts) -> list[Route]:
    routes = [
        UpstreamRoute(u, model, model in models_of(u, facts.discovered)) for u in facts.upstreams if u.kind == kind
    ]
    return [*sorted(routes, key=lambda route: not route.has_model)]


def _nobody(model: str, why: str) -> list[Route]:
    raise Unavailable(
        f"Nobody can answer {model!r}: {why}.", hint="Add one to the settings' upstreams.", code="no_provider"
    )


def _unknown(model: str) -> list[Route]:
    raise NotFound(
        f"The model {model!r} does not exist.",
        hint="GET /v1/models lists what can answer.",
        param="model",
        code="model_not_found",
    )
