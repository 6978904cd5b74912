"""Who of equals is asked first: the least busy for its weight, and by weighted lot where none is."""

from __future__ import annotations

import random
from collections import Counter

import pytest

from catalog.ids import ModelRef
from gateway.balance import Load, in_order
from gateway.routing import EngineRoute, Route, UpstreamRoute
from tests.gateway.test_routing import upstream

ENGINE = EngineRoute(ModelRef(None, None))


def route(name: str, *, has_model: bool = True, **fields: object) -> Route:
    return UpstreamRoute(upstream(name, **fields), "m", has_model)


def names(routes: list[Route]) -> str:
    return " ".join("engine" if isinstance(one, EngineRoute) else one.upstream.name for one in routes)


def half() -> float:
    return 0.5


@pytest.mark.parametrize(
    ("loads", "order"),
    [
        ({}, "a b c"),
        ({"a": Load(1)}, "b c a"),
        ({"a": Load(2), "b": Load(1), "c": Load(3)}, "b a c"),
        ({"a": Load(0, rests=True), "b": Load(9), "c": Load(8)}, "c b a"),
    ],
)
def test_the_least_busy_comes_first_and_who_rests_last(loads: dict[str, Load], order: str) -> None:
    assert names(in_order([route("a"), route("b"), route("c")], loads, half)) == order


def test_busy_is_meant_by_weight() -> None:
    heavy, light = route("heavy", weight=4), route("light", weight=1)
    assert names(in_order([heavy, light], {"heavy": Load(3), "light": Load(1)}, half)) == "heavy light"
    assert names(in_order([heavy, light], {"heavy": Load(5), "light": Load(1)}, half)) == "light heavy"


def test_idle_equals_are_drawn_by_weight() -> None:
    lots = random.Random(7)
    routes = [route("heavy", weight=3), route("light", weight=1)]
    firsts = Counter(names(in_order(routes, {}, lots.random)).split()[0] for _ in range(4000))
    assert firsts["heavy"] / 4000 == pytest.approx(0.75, abs=0.03)


def test_neither_priorities_nor_who_has_the_model_are_mixed() -> None:
    lots = random.Random(7)
    routes = [
        ENGINE, route("a", priority=1), route("b", priority=1), route("c", priority=2),
        route("d", priority=1, has_model=False),
    ]  # fmt: skip
    orders = {names(in_order(routes, {"a": Load(lots.randrange(3))}, lots.random)) for _ in range(100)}
    assert orders == {"engine a b c d", "engine b a c d"}
