"""Which shapes the page knows, and the text of their types.

`tests/gateway/studio/test_types.py` holds the committed file against it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaMode, models_json_schema

from catalog.datasets.check import Check
from catalog.events import Event
from catalog.pictures import RunPath, Surface
from catalog.plan import Profile, RunRequest
from catalog.run_life import Run
from gateway.datasets import CheckRequest
from gateway.studio import shapes, typescript
from gateway.training import DiffRequest, RollbackRequest

FILE = Path("src/api.ts")
HEAD = "Made by `python -m gateway.studio` from the gateway's shapes; not to be edited."

REQUESTS: tuple[type[BaseModel], ...] = (RunRequest, CheckRequest, DiffRequest, RollbackRequest, Event)
"""What the page sends; and events, whose absent fields are not sent to it."""
ANSWERS: tuple[type[BaseModel], ...] = (
    Run,
    Profile,
    RunPath,
    Surface,
    shapes.AdapterList,
    shapes.CatalogRows,
    shapes.ChatModels,
    shapes.ConfigChanged,
    shapes.ConfigShown,
    shapes.Diff,
    shapes.Health,
    shapes.Promoted,
    shapes.RolledBack,
    shapes.RunList,
    shapes.Started,
)
PARTIAL: tuple[type[BaseModel], ...] = (
    shapes.Asked,
    shapes.EngineView,
    shapes.ErrorBody,
    shapes.EventList,
    shapes.OpenAIModels,
)
"""Answers in which a field may be absent."""


class Whole(GenerateJsonSchema):
    """Of answers in which every field is written, also one that has its default."""

    def field_is_required(self, field: Any, total: bool) -> bool:
        return True


def text() -> str:
    """The module `src/api.ts`."""
    definitions = {**_of(ANSWERS, "serialization"), **_of(PARTIAL, "validation"), **_of(REQUESTS, "validation")}
    check = TypeAdapter(Check).json_schema(mode="serialization", schema_generator=Whole)
    definitions |= check.pop("$defs")
    return typescript.module(definitions | {"Check": check}, HEAD)


def _of(models: tuple[type[BaseModel], ...], mode: JsonSchemaMode) -> dict[str, Any]:
    generator = Whole if mode == "serialization" else GenerateJsonSchema
    _, document = models_json_schema([(model, mode) for model in models], schema_generator=generator)
    return dict(document["$defs"])
