"""One gateway with a scripted engine for all tests of a module."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.gateway.scripted import ScriptedEngine
from tests.gateway.serving import Served, served


@pytest.fixture(scope="module")
def _engine() -> ScriptedEngine:
    return ScriptedEngine()


@pytest.fixture
def engine(_engine: ScriptedEngine) -> ScriptedEngine:
    """The engine behind `gateway`, as it was in the beginning."""
    _engine.reset()
    return _engine


@pytest.fixture(scope="module")
def gateway(_engine: ScriptedEngine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("home"), _engine) as running:
        yield running
