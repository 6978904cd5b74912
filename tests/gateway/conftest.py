"""Gateways for all tests of a module: one with a scripted engine, and some before upstreams that misbehave."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from catalog.settings import Settings
from tests.gateway.misbehaving import (
    GOOD_STREAM,
    KEY,
    PATIENT,
    STREAM_HEAD,
    UNHURRIED,
    Misbehaving,
    configured,
    misbehaving,
)
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


@pytest.fixture(scope="module")
def _first() -> Iterator[Misbehaving]:
    with misbehaving() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def _second() -> Iterator[Misbehaving]:
    with misbehaving() as upstream:
        yield upstream


@pytest.fixture
def first(_first: Misbehaving) -> Misbehaving:
    _first.reset()
    return _first


@pytest.fixture
def second(_second: Misbehaving) -> Misbehaving:
    _second.reset()
    _second.steps = [STREAM_HEAD + GOOD_STREAM, "close"]
    return _second


@pytest.fixture(scope="module")
def alone(_first: Misbehaving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """No engine, one upstream."""
    settings = Settings(routing=PATIENT, upstreams=[configured("first", _first, api_key_env="THE_KEY")])
    with served(tmp_path_factory.mktemp("home"), None, settings, {"THE_KEY": KEY}) as running:
        yield running


@pytest.fixture(scope="module")
def both(_first: Misbehaving, _second: Misbehaving, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """No engine, two upstreams."""
    upstreams = [configured("first", _first, priority=1), configured("second", _second, priority=2, **UNHURRIED)]
    with served(tmp_path_factory.mktemp("home"), None, Settings(routing=PATIENT, upstreams=upstreams)) as running:
        yield running
