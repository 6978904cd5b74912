"""Cost is usage times price where both are known, and unknown otherwise; never a silent zero."""

from __future__ import annotations

import pytest

from catalog import models
from catalog.ids import ModelRef
from catalog.models import ModelRow
from gateway import cost
from gateway.routing import EngineRoute, Route, UpstreamRoute
from gateway.speaker import Count
from tests.gateway.test_routing import upstream


def row(provider: str, model: str, **fields: object) -> ModelRow:
    known = {"provider": provider, "family": "f", "model": model, "components": ["GEN"]}
    return ModelRow.model_validate(known | fields)


PRICES = cost.price_list(
    [
        row("OpenAI", "big", input_per_1k=1, output_per_1k=10, notes="$1000 input, $10000 output"),
        row("openrouter", "v/big", input_per_1k=2, output_per_1k=20, notes="$2000 input, $20000 output"),
        row("near", "small", input_per_1k=0, output_per_1k=0),
        row("openai", "half", input_per_1k=1, notes="$1000 input"),
        row("openai", "flat", unit="request", per_request=0.5, notes="$500 per 1K requests"),
    ]
)
USED = Count(prompt_tokens=500, answer_tokens=100)


@pytest.mark.parametrize(
    ("kind", "name", "model", "count", "usd"),
    [
        ("cloud_direct", "mine", "big", USED, 1.5),
        ("openrouter", "router", "v/big", USED, 3.0),
        ("local", "Near", "small", USED, 0.0),
        ("local", "far", "small", USED, None),
        ("local", "near", "big", USED, None),
        ("cloud_direct", "mine", "half", USED, None),
        ("cloud_direct", "mine", "unheard", USED, None),
        ("cloud_direct", "mine", "big", Count(prompt_tokens=500), None),
        ("cloud_direct", "mine", "flat", Count(), 0.5),
    ],
)
def test_what_an_answer_costs(kind: str, name: str, model: str, count: Count, usd: float | None) -> None:
    route: Route = UpstreamRoute(upstream(name, kind), model)
    assert cost.usd(route, count, PRICES) == usd


def test_the_engine_costs_nothing_and_prices_are_in_dollars() -> None:
    assert cost.usd(EngineRoute(ModelRef(None, None)), Count(), PRICES) == 0
    assert models.model_file().currency == "USD"
