"""The law of models: the file is valid, its prices are those of their notes, and no list of models lies elsewhere."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from catalog import models
from catalog.models import ModelRow
from catalog.settings import Settings
from tests.house import REPOSITORY

MAY_NAME_MODELS = {"catalog/models.py", "catalog/settings.py"}
"""The catalog's name of the built-in model, and the settings' default."""
BUILT_IN = models.NANO


def test_the_shipped_file_is_valid_and_has_no_ragweld_row() -> None:
    file = models.model_file()
    ids = [row.model for row in file.models]
    assert len(ids) == len(set(ids))
    assert not any(model.startswith("ragweld:") for model in ids)
    assert models.NANO in ids
    assert file.currency == "USD" and file.sources


def test_every_kind_of_model_is_there_from_several_providers() -> None:
    for component in ("GEN", "EMB", "RERANK"):
        providers = {row.provider for row in models.model_file().models if component in row.components}
        assert len(providers) >= 3, component


def test_what_runs_here_costs_nothing_and_what_is_unknown_has_no_price() -> None:
    prices = ("input_per_1k", "output_per_1k", "embed_per_1k", "rerank_per_1k", "per_request")
    for row in models.model_file().models:
        known = [price for name in prices if (price := getattr(row, name)) is not None]
        assert (sum(known) == 0 and bool(known)) == (row.provider in ("mlx", "local")), row.model
        if "EMB" in row.components:
            assert row.dimensions, row.model
        assert row.context and row.notes, row.model


@pytest.mark.parametrize(
    ("prices", "notes"),
    [
        ({"input_per_1k": 0.00125, "output_per_1k": 0.01}, "$1.25 input, $10 output per 1M tokens."),
        ({"embed_per_1k": 0.00013}, "$0.13 embedding per 1M tokens; also 256 dimensions."),
        ({"per_request": 0.002}, "$2 per 1K requests."),
        ({}, "Its price is not published."),
        ({"input_per_1k": 0, "output_per_1k": 0}, "About 1.0 GB in memory."),
    ],
)
def test_prices_that_fit_their_notes_are_taken(prices: dict[str, float], notes: str) -> None:
    ModelRow(provider="p", family="f", model="m", components=["GEN"], notes=notes, **prices)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("prices", "notes"),
    [
        ({"input_per_1k": 0.0125, "output_per_1k": 0.01}, "$1.25 input, $10 output per 1M tokens."),
        ({"input_per_1k": 0.00125}, "$1.25 input, $10 output per 1M tokens."),
        ({"input_per_1k": 0.00125, "output_per_1k": 0.01}, "Cheap."),
        ({"input_per_1k": -1}, "Generous."),
        ({"per_request": 2}, "$2 per 1K requests."),
    ],
)
def test_prices_that_do_not_fit_their_notes_are_refused(prices: dict[str, float], notes: str) -> None:
    with pytest.raises(ValidationError):
        ModelRow(provider="p", family="f", model="m", components=["GEN"], notes=notes, **prices)  # type: ignore[arg-type]


def test_the_ragweld_row_follows_the_base_of_the_scope() -> None:
    training = Settings.model_validate({"training": {"ragweld_agent_base_model": models.NANO}}).training
    row = models.rows(training)[-1]
    assert (row.provider, row.model, row.components) == ("ragweld", f"ragweld:{models.NANO}", ["GEN"])
    assert row.context is not None
    before = models.MODELS_FILE.read_bytes()
    models.rows(training)
    assert models.MODELS_FILE.read_bytes() == before


def test_the_default_base_is_known_and_needs_no_prefix() -> None:
    training = Settings().training
    assert training.ragweld_agent_base_model in models.known_bases(training)


def written_texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and value of every string in a file's code; docstrings are documentation."""
    tree = ast.parse(path.read_text("utf-8"))
    documentation = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in documentation:
            yield node.lineno, node.value


def test_no_model_id_is_written_outside_the_catalog() -> None:
    """A setting or a request names a model, and the catalog knows it; messages may name the built-in one."""
    ids = {row.model for row in models.model_file().models} - {BUILT_IN}
    found = [
        f"{path.relative_to(REPOSITORY)}:{line} names {model}"
        for package in ("catalog", "gateway", "trainer", "grafana", "deploy")
        for path in sorted((REPOSITORY / package).rglob("*.py"))
        if path.relative_to(REPOSITORY).as_posix() not in MAY_NAME_MODELS
        for line, text in written_texts(path)
        for model in sorted(ids)
        if model in text
    ]
    assert found == []
