"""The law of models: the file is valid and the ragweld row is appended, never written."""

from __future__ import annotations

from catalog import models
from catalog.settings import Settings


def test_the_shipped_file_is_valid_and_has_no_ragweld_row() -> None:
    file = models.model_file()
    ids = [row.model for row in file.models]
    assert len(ids) == len(set(ids))
    assert not any(model.startswith("ragweld:") for model in ids)
    assert models.NANO in ids


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
