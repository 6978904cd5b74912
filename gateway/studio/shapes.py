"""What the page is told by routes that answer plain objects, as types.

`tests/gateway/studio/test_shapes.py` holds every one of them against what a running gateway answers, so that neither
can change alone.

Fields of the catalog's own models (runs, events, plans, settings) are not repeated here.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from catalog.adapters import AliasMove
from catalog.events import Event
from catalog.run_life import Run, Summary


class Shape(BaseModel):
    """An answer with at least these fields."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)


class RunList(Shape):
    runs: list[Run]


class EventList(Shape):
    run_id: str
    events: list[Event]


class Asked(Shape):
    """What became of a wish to cancel, pause or resume."""

    ok: bool
    run_id: str
    status: str
    cancel_requested: bool | None = None
    pause_requested: bool | None = None


class Started(Shape):
    ok: bool
    run_id: str


class Promoted(Shape):
    ok: bool
    run_id: str
    adapter_id: str
    previous: str | None
    version: int | None
    """None when it was active already."""


class RolledBack(Shape):
    ok: bool
    base: str
    version: int
    adapter_id: str | None
    previous: str | None
    reason: str
    ts: str


class Diff(Shape):
    baseline_run_id: str
    current_run_id: str
    compatible: bool
    reason: str | None
    primary_metric: str
    primary_goal: str
    baseline: Summary
    current: Summary
    delta_best: float | None
    """Current minus baseline, like every delta."""
    delta_final: float | None
    delta_time_to_best_secs: float | None
    delta_stability_stddev: float | None
    improved: bool | None


class AdapterRow(Shape):
    id: str
    names: list[str]
    active_on: list[str]
    resident: bool
    base: str | None
    rank: int
    scale: float
    targets: list[str] | None
    bytes: int


class AdapterList(Shape):
    adapters: list[AdapterRow]
    moves: dict[str, list[AliasMove]]
    """For each base, oldest first; the last one is active."""


class ChatModel(Shape):
    id: str
    provider: str
    source: str
    provider_type: str
    base_url: str | None
    supports_vision: bool | None


class ChatModels(Shape):
    models: list[ChatModel]


class OpenAIModel(Shape):
    """One id that can be asked for now."""

    id: str
    object: str
    created: int
    owned_by: str
    root: str | None = None
    parent: str | None = None


class OpenAIModels(Shape):
    object: str
    data: list[OpenAIModel]


class ProviderHealth(Shape):
    """What the last look in the background found."""

    provider: str
    kind: str
    base_url: str | None
    reachable: bool
    state: Literal["up", "down", "unknown", "off"]
    detail: str


class Health(Shape):
    providers: list[ProviderHealth]


class CatalogRow(Shape):
    """A row of `catalog/models.json` and whether it can answer."""

    provider: str
    family: str
    model: str
    components: list[str]
    unit: str
    context: int | None = None
    input_per_1k: float | None = None
    output_per_1k: float | None = None
    notes: str = ""
    answers_now: bool
    why_not: str | None


class CatalogRows(Shape):
    currency: str
    last_updated: str
    sources: list[str]
    models: list[CatalogRow]


class EngineBase(Shape):
    base: str
    default: bool
    loaded: bool


class EngineView(Shape):
    """What the engine holds; only `enabled`, `ready` and `reason` where it is switched off."""

    enabled: bool
    ready: bool
    reason: str
    device: str | None = None
    precision: str | None = None
    context: int | None = None
    bases: list[EngineBase] = []


class ConfigShown(Shape):
    scope: str | None
    settings: dict[str, Any]
    sources: dict[str, str]
    """Dotted key -> default, file, environment, command line or scope."""
    awaiting_restart: dict[str, Any]
    secrets: dict[str, str]


class Change(Shape):
    """One setting, before and after."""

    before: Any = Field(alias="from")
    to: Any


class ConfigChanged(Shape):
    ok: bool
    scope: str | None
    changed: dict[str, Change]
    effective_now: list[str]
    after_restart: list[str]
    overruled: dict[str, str]


class ErrorDetail(Shape):
    message: str
    type: str
    param: str | None
    code: str
    defects: list[str] | None = None


class ErrorBody(Shape):
    error: ErrorDetail
