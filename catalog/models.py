"""The law of models: `models.json`, typed and validated, plus the ragweld row that is appended and never written.

Every list of models anywhere is a view of `rows`. Knows nothing of what can answer right now; the gateway adds that.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from catalog.ids import RAGWELD, BaseId
from catalog.settings import TrainingSettings

MODELS_FILE = Path(__file__).with_name("models.json")
BASE_PROVIDER = "mlx"
NANO = BaseId("ragweld-nano")

Component = Literal["EMB", "GEN", "RERANK"]

_PUBLISHED_AS = {
    "input_per_1k": "input",
    "output_per_1k": "output",
    "embed_per_1k": "embedding",
    "rerank_per_1k": "rerank",
}
"""Field -> its word in the notes: `$1.25 input, $10 output per 1M tokens`."""
_PER_1M_TOKENS = re.compile(r"\$([0-9.]+) (input|output|embedding|rerank)\b")
_PER_1K_REQUESTS = re.compile(r"\$([0-9.]+) per 1K requests")


class ModelRow(BaseModel):
    """One model that can be chosen. Prices in the file's currency; an absent price is unknown, not zero."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    provider: str
    family: str
    model: str
    components: list[Component] = Field(min_length=1)
    unit: Literal["1k_tokens", "request"] = "1k_tokens"
    input_per_1k: float | None = Field(None, ge=0)
    output_per_1k: float | None = Field(None, ge=0)
    embed_per_1k: float | None = Field(None, ge=0)
    rerank_per_1k: float | None = Field(None, ge=0)
    per_request: float | None = Field(None, ge=0)
    context: int | None = Field(None, gt=0)
    dimensions: int | None = Field(None, gt=0)
    notes: str = ""
    """Holds each price as its source publishes it, per 1M tokens or 1K requests; the fields are checked against it."""

    @model_validator(mode="after")
    def _prices_are_those_of_the_notes(self) -> Self:
        prices = {name: getattr(self, name) for name in (*_PUBLISHED_AS, "per_request")}
        said = _prices_in(self.notes)
        for name, price in prices.items():
            if (price or 0) != said.get(name, 0):
                raise ValueError(f"{name} is {price}, but the notes say {said.get(name)}")
        return self


def _prices_in(notes: str) -> dict[str, float]:
    """Prices by field, per 1K tokens or per request."""
    fields = {word: name for name, word in _PUBLISHED_AS.items()}
    found = {fields[word]: float(price) / 1000 for price, word in _PER_1M_TOKENS.findall(notes)}
    if request := _PER_1K_REQUESTS.search(notes):
        found["per_request"] = float(request[1]) / 1000
    return {name: round(price, 12) for name, price in found.items()}


class ModelFile(BaseModel):
    """The file as it lies on disk."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    currency: str
    last_updated: str
    sources: list[str]
    models: list[ModelRow]


@cache
def model_file() -> ModelFile:
    """The shipped file, read once; a row that is not valid fails at start with its field."""
    return ModelFile.model_validate_json(MODELS_FILE.read_bytes())


@cache
def by_name() -> Mapping[str, Sequence[ModelRow]]:
    """Model -> the file's rows of it, one for each provider that serves it."""
    found: dict[str, list[ModelRow]] = {}
    for row in model_file().models:
        found.setdefault(row.model, []).append(row)
    return found


@cache
def providers_by_model() -> Mapping[str, frozenset[str]]:
    """Model -> providers that serve it, in small letters."""
    return {model: frozenset(row.provider.lower() for row in found) for model, found in by_name().items()}


def is_for_chat(model: str) -> bool:
    """Whether a model may be asked to chat: False only where every row of it says that it makes something else."""
    found = by_name().get(model, ())
    return not found or any("GEN" in row.components for row in found)


def rows(training: TrainingSettings) -> list[ModelRow]:
    """Every model that can be chosen in this scope: the file's rows and the scope's ragweld row."""
    return [*model_file().models, ragweld_row(training)]


def ragweld_row(training: TrainingSettings) -> ModelRow:
    """`ragweld:<base of this scope>`, with the base's own context where the file knows it."""
    base = training.ragweld_agent_base_model
    known = next((row for row in model_file().models if row.provider == BASE_PROVIDER and row.model == base), None)
    return ModelRow(
        provider=RAGWELD,
        family=known.family if known else RAGWELD,
        model=f"{RAGWELD}:{base}",
        components=["GEN"],
        input_per_1k=0,
        output_per_1k=0,
        context=known.context if known else None,
        notes="This machine's model with its active adapter.",
    )


def known_bases(training: TrainingSettings) -> set[str]:
    """Ids that are ragweld's even without a prefix."""
    return {row.model for row in model_file().models if row.provider == BASE_PROVIDER} | {
        training.ragweld_agent_base_model
    }
