"""Every list of models is a view of the catalog's rows and of what can answer now. Plain functions of values."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from catalog import models
from catalog.adapters import AdapterStore, made_for, short
from catalog.errors import InvalidAdapter, InvalidRequest, NotFound
from catalog.ids import RAGWELD, AdapterId, BaseId, model_id, parse_model
from catalog.models import BASE_PROVIDER, ModelRow
from catalog.settings import TrainingSettings, Upstream
from gateway.routing import models_of, serves, upstream_model_id

COMPONENTS = ("EMB", "GEN", "RERANK")


@dataclass(frozen=True, slots=True)
class Standing:
    """What can answer now. `why_not` is the engine's reason when it has no base ready."""

    base: BaseId | None
    """The default base; None while it is not ready."""
    other_bases: Sequence[BaseId]
    """Loaded when they are asked for."""
    adapters: Mapping[BaseId, Sequence[AdapterId]]
    """By base, those that were made for it or were active on it."""
    adapter_names: Mapping[str, BaseId]
    """Names and run ids of these adapters, each with the base that answers to it."""
    fine_tuned: Sequence[str]
    """The names that OpenAI's fine-tuning API gives to runs' adapters among them."""
    upstreams: Sequence[Upstream]
    why_not: str
    created: int
    discovered: Mapping[str, Collection[str]] = field(default_factory=dict)
    """Upstream -> models that it said it has."""


def fitting_adapters(store: AdapterStore, bases: Sequence[BaseId]) -> dict[BaseId, list[AdapterId]]:
    """By base, the adapters that were made for it or were active on it. Blocking."""
    moves = store.aliases().bases
    was_active = {base: {move.adapter_id for move in moves.get(base, [])} for base in bases}
    its_base = {one: _base_of(store, one) for one in store.list_ids()}
    return {base: [one for one, its in its_base.items() if its == base or one in was_active[base]] for base in bases}


def answering_names(
    store: AdapterStore, fitting: Mapping[BaseId, Sequence[AdapterId]], default: BaseId | None
) -> dict[str, BaseId]:
    """By name, the base that answers to it: the one its adapter was made for, else the default one. Blocking."""
    answers: dict[str, BaseId] = {}
    for name, adapter_id in sorted(store.pointers().names.items()):
        its_base = _base_of(store, AdapterId(adapter_id))
        base = its_base if its_base in fitting else default
        if base is not None and adapter_id in fitting.get(base, ()):
            answers[name] = base
    return answers


def _base_of(store: AdapterStore, adapter_id: AdapterId) -> BaseId | None:
    try:
        return made_for(store.folder(adapter_id))
    except (InvalidAdapter, NotFound):
        return None


def openai_models(standing: Standing) -> list[dict[str, Any]]:
    """`GET /v1/models`: what can be asked for and answered now; adapters with their root and parent."""
    return [*_own_models(standing), *_upstream_models(standing)]


def _own_models(standing: Standing) -> Iterator[dict[str, Any]]:
    base = standing.base
    if base is None:
        return
    bare = model_id(base, None)
    for name in (RAGWELD, f"{RAGWELD}:{base}", bare):
        yield _entry(name, standing, RAGWELD, root=base)
    yield from _adapters_of(base, standing)
    for name in standing.fine_tuned:
        ref = parse_model(name, ())
        its_base = (ref and ref.base) or base
        yield _entry(name, standing, RAGWELD, root=its_base, parent=model_id(its_base, None))
    for other in standing.other_bases:
        yield _entry(f"{RAGWELD}:{other}", standing, RAGWELD, root=other)
        yield _entry(model_id(other, None), standing, RAGWELD, root=other)
        yield from _adapters_of(other, standing)


def _adapters_of(base: BaseId, standing: Standing) -> Iterator[dict[str, Any]]:
    ids = [model_id(base, short(adapter_id)) for adapter_id in standing.adapters.get(base, ())]
    names = [name for name, its_base in standing.adapter_names.items() if its_base == base]
    for name in (*ids, *names):
        yield _entry(name, standing, RAGWELD, root=base, parent=model_id(base, None))


def _upstream_models(standing: Standing) -> Iterator[dict[str, Any]]:
    owners: dict[str, str] = {}
    for upstream in standing.upstreams:
        for model in models_of(upstream, standing.discovered):
            owners.setdefault(upstream_model_id(upstream, model), upstream.name)
    for name, owner in owners.items():
        yield _entry(name, standing, owner)


def _entry(
    name: str, standing: Standing, owner: str, *, root: str | None = None, parent: str | None = None
) -> dict[str, Any]:
    entry = {"id": name, "object": "model", "created": standing.created, "owned_by": owner}
    return entry | {"root": root, "parent": parent} if root else entry


def chat_models(standing: Standing, training: TrainingSettings) -> list[dict[str, Any]]:
    """`GET /api/chat/models`: one row for each way to chat."""
    own = {
        "id": models.ragweld_row(training).model,
        "provider": "Ragweld",
        "source": RAGWELD,
        "provider_type": RAGWELD,
        "base_url": None,
        "supports_vision": False,
    }
    others = [
        {
            "id": upstream_model_id(upstream, model),
            "provider": upstream.name,
            "source": upstream.kind,
            "provider_type": upstream.kind,
            "base_url": upstream.base_url,
            "supports_vision": None,
        }
        for upstream in standing.upstreams
        for model in models_of(upstream, standing.discovered)
        if models.is_for_chat(model)
    ]
    return [own, *others]


def catalog_rows(rows: Sequence[ModelRow], standing: Standing) -> list[dict[str, Any]]:
    """`GET /api/models`: each row, whether it can answer now, and why not."""
    return [row.model_dump(mode="json") | _readiness(row, standing) for row in rows]


def _readiness(row: ModelRow, standing: Standing) -> dict[str, Any]:
    why_not = _why_not(row, standing)
    return {"answers_now": why_not is None, "why_not": why_not}


def _why_not(row: ModelRow, standing: Standing) -> str | None:
    if row.provider in (RAGWELD, BASE_PROVIDER):
        if standing.base is None:
            return standing.why_not
        wanted = row.model.removeprefix(f"{RAGWELD}:")
        here = wanted == standing.base or wanted in standing.other_bases
        return None if here else "its weights are not on this machine"
    if row.components == ["RERANK"]:
        return "ragweld has no route for reranking"
    providers = models.providers_by_model()
    served = any(
        row.model in models_of(upstream, standing.discovered) or serves(upstream, row.model, providers)
        for upstream in standing.upstreams
    )
    return None if served else "no upstream of the settings serves it"


def of_type(rows: Sequence[ModelRow], wanted: str) -> list[ModelRow]:
    """Rows with a component, in any case; raises InvalidRequest for one that does not exist."""
    component = wanted.upper()
    if component not in COMPONENTS:
        raise InvalidRequest(f"{wanted!r} is no type.", hint=f"Use one of {', '.join(COMPONENTS)}.", param="type")
    return [row for row in rows if component in row.components]


def of_provider(rows: Sequence[ModelRow], wanted: str) -> list[ModelRow]:
    """Rows of a provider, in any case; raises NotFound when there is none."""
    found = [row for row in rows if row.provider.lower() == wanted.lower()]
    if not found:
        raise NotFound(f"There is no provider {wanted!r}.", hint="GET /api/models/providers lists them.", param="name")
    return found
