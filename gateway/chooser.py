"""Chooses on a request's path: the pure rules of `gateway.routing`, worked out once for as long as nothing changes.

What choices rest on is compared at each request, most of it by identity: settings and discovered models are replaced
whole when they change. Belongs to the event loop. `tests/gateway/test_chooser.py`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace

from catalog import models
from catalog.settings import Settings
from gateway import routing
from gateway.routing import Choice, Facts, FallbackReason

MOST_KEPT = 1024
"""Models of which the choice is kept; upstreams take any name, so there is no end of them."""


@dataclass(frozen=True, slots=True)
class Grounds:
    """What may change between two requests."""

    settings: Settings
    discovered: Mapping[str, tuple[str, ...]]
    """Upstream -> models that it said it has."""
    adapter_names: Collection[str] = ()
    obstacle: FallbackReason | None = None
    """Why the engine cannot answer."""
    detail: str = ""
    """The same in words."""

    def equal(self, other: Grounds | None) -> bool:
        return (
            other is not None
            and self.settings is other.settings
            and self.discovered is other.discovered
            and self.obstacle == other.obstacle
            and self.detail == other.detail
            and self.adapter_names is other.adapter_names
        )


class Chooser:
    """`environ` holds the upstreams' keys."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        self._environ = environ
        self._grounds: Grounds | None = None
        self._facts: Facts | None = None
        self._kept: dict[tuple[str, bool], Choice] = {}

    def choose(self, model: str, grounds: Grounds, *, strict: bool) -> Choice:
        """The candidates for `model`; raises NotFound or Unavailable when there is none."""
        if self._facts is None or not grounds.equal(self._grounds):
            self._grounds, self._facts = grounds, facts_on(grounds, self._environ)
            self._kept.clear()
        known = self._kept.get((model, strict))
        if known is None:
            facts = replace(self._facts, strict=strict or self._facts.strict)
            known = routing.choose(model, facts)
            if len(self._kept) >= MOST_KEPT:
                self._kept.clear()
            self._kept[model, strict] = known
        return known


def facts_on(grounds: Grounds, environ: Mapping[str, str]) -> Facts:
    """What routing depends on, as the settings have it."""
    return Facts(
        known_bases=models.known_bases(grounds.settings.training),
        adapter_names=grounds.adapter_names,
        upstreams=routing.usable(grounds.settings.upstreams, environ),
        engine_obstacle=grounds.obstacle,
        engine_detail=grounds.detail,
        strict=grounds.settings.routing.strict,
        discovered=grounds.discovered,
        providers=models.providers_by_model(),
    )
