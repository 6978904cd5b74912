"""What an answer cost: its usage times the catalog's price of the model that gave it; None is unknown, never zero.

A price belongs to whoever serves: the catalog's row must have the model and, as its provider, the upstream's name or
what its kind stands for. The engine costs nothing. Pure. `tests/gateway/test_cost.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache

from catalog import models
from catalog.models import ModelRow
from gateway.routing import PROVIDER_OF_KIND, EngineRoute, Route
from gateway.speaker import Count

PriceList = Mapping[tuple[str, str], ModelRow]
"""(provider in small letters, model) -> its row."""


def price_list(rows: Sequence[ModelRow]) -> PriceList:
    return {(row.provider.lower(), row.model): row for row in rows}


@cache
def shipped_prices() -> PriceList:
    return price_list(models.model_file().models)


def usd(route: Route, count: Count, prices: PriceList) -> float | None:
    """US dollars, or None where usage or price is not known."""
    if isinstance(route, EngineRoute):
        return 0.0
    names = (route.upstream.name.lower(), PROVIDER_OF_KIND[route.upstream.kind])
    row = next((prices[name, route.model] for name in names if (name, route.model) in prices), None)
    return None if row is None else _of_row(row, count)


def _of_row(row: ModelRow, count: Count) -> float | None:
    if row.unit == "request":
        return row.per_request
    if row.components == ["EMB"]:
        return _per_1k(count.prompt_tokens, row.embed_per_1k)
    read, said = _per_1k(count.prompt_tokens, row.input_per_1k), _per_1k(count.answer_tokens, row.output_per_1k)
    return None if read is None or said is None else read + said


def _per_1k(tokens: int | None, price: float | None) -> float | None:
    return None if tokens is None or price is None else tokens * price / 1000
