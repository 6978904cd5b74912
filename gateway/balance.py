"""In which order candidates of equal standing are asked: the least busy for its weight first, equals by weighted lot.

Pure: how busy each is and the lots are passed in. Never mixes priorities, nor servers that have the model with those
that may. `tests/gateway/test_balance.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from gateway.routing import EngineRoute, Route


@dataclass(frozen=True, slots=True)
class Load:
    """How busy an upstream is: its open requests, and whether it asked to be left alone for now (Retry-After)."""

    in_flight: int = 0
    rests: bool = False


def in_order(routes: Sequence[Route], loads: Mapping[str, Load], draw: Callable[[], float]) -> list[Route]:
    """`routes` with neighbours of one rank put in order; `draw` is uniform in [0, 1)."""
    if len(routes) < 2:
        return list(routes)
    ordered: list[Route] = []
    for _, equals in groupby(routes, _rank):
        ordered += sorted(equals, key=lambda route: _turn(route, loads, draw()))
    return ordered


def _rank(route: Route) -> tuple[bool, int, bool]:
    if isinstance(route, EngineRoute):
        return True, 0, True
    return False, route.upstream.priority, route.has_model


def _turn(route: Route, loads: Mapping[str, Load], draw: float) -> tuple[bool, float, float]:
    if isinstance(route, EngineRoute):
        return False, 0, 0
    load, weight = loads.get(route.upstream.name, Load()), route.upstream.weight
    # u ** (1 / w), largest first, is a weighted draw without replacement (Efraimidis and Spirakis 2006)
    return load.rests, load.in_flight / weight, -(draw ** (1 / weight))
