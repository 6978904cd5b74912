"""What is known of each upstream now: its breaker, how busy it is, how fast, its health, the models it said it has.

All of it in memory, and forgotten at the end. Moved by requests (`Turn`) and by `gateway.probe`; read by routing,
health and /metrics. Knows no network; decisions are those of `gateway.breaker`. `tests/gateway/test_providers.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Literal, assert_never

from catalog.errors import Unavailable
from gateway import breaker
from gateway.balance import Load
from gateway.breaker import Breaker, Closed, Open, Trial
from gateway.routing import UPSTREAM_RESTING

LATENCY_SHARE = 0.2
"""What the newest latency counts for in the moving mean."""

BreakerName = Literal["closed", "open", "trial"]
BREAKER_NAMES: tuple[BreakerName, ...] = ("closed", "open", "trial")


@dataclass(frozen=True, slots=True)
class Health:
    """What one look at an upstream found. `obstacle` is None when it answered."""

    obstacle: str | None
    latency_s: float
    models: tuple[str, ...] = ()


@dataclass(slots=True)
class Provider:
    """One upstream as it is now."""

    breaker: Breaker = field(default_factory=Closed)
    in_flight: int = 0
    rests_until: float = 0.0
    """It asked to be left alone until then (Retry-After)."""
    first_content_s: float | None = None
    """Moving mean of the wait for first content."""
    health: Health | None = None
    """None until it was first looked at."""
    discovered: tuple[str, ...] = ()


class Providers:
    """Every upstream that was asked or looked at. Belongs to the event loop; `draw` is uniform in [0, 1)."""

    def __init__(
        self,
        opens_after: Callable[[], int],
        clock: Callable[[], float],
        draw: Callable[[], float],
        count_failure: Callable[[str, str], None],
    ) -> None:
        self.by_name: dict[str, Provider] = {}
        self.discovered: Mapping[str, tuple[str, ...]] = {}
        """Upstream -> models that it said it has; replaced whole when one changes."""
        self._opens_after = opens_after
        self._clock = clock
        self._draw = draw
        self._count_failure = count_failure

    def turn(self, name: str) -> Turn:
        """Let one request through; raises Unavailable at once while the upstream is left in peace."""
        provider, now = self._of(name), self._clock()
        if not breaker.may_ask(provider.breaker, now):
            raise Unavailable(
                f"{name} is left in peace after failing again and again.",
                hint=_when(provider.breaker, now),
                code=UPSTREAM_RESTING,
            )
        provider.in_flight += 1
        self.move(name, "asked")
        return Turn(name, self)

    def move(self, name: str, event: breaker.Event) -> None:
        provider = self._of(name)
        provider.breaker = breaker.next_breaker(
            provider.breaker, event, self._clock(), opens_after=self._opens_after(), draw=self._draw()
        )

    def failed(self, name: str, kind: str) -> None:
        self._count_failure(name, kind)
        self.move(name, "failed")

    def asked_to_rest(self, name: str, for_s: float) -> None:
        """It is there and has too much to do: no failure, but others of its rank come first for a while."""
        self._count_failure(name, "status_429")
        self._of(name).rests_until = self._clock() + for_s

    def spoke(self, name: str, after_s: float) -> None:
        provider = self._of(name)
        old_s = provider.first_content_s
        provider.first_content_s = after_s if old_s is None else old_s + LATENCY_SHARE * (after_s - old_s)
        self.move(name, "spoke")

    def ended(self, name: str) -> None:
        self._of(name).in_flight -= 1

    def looked_at(self, name: str, health: Health) -> None:
        """Keep what a look found; models once discovered stay while it cannot be reached."""
        provider = self._of(name)
        provider.health = health
        if health.obstacle is None and provider.discovered != health.models:
            provider.discovered = health.models
            self._gather_discovered()

    def health_of(self, name: str) -> Health | None:
        return self._of(name).health

    def forget_all_but(self, names: Collection[str]) -> None:
        """Drop upstreams that are no longer configured, unless a request is still open."""
        gone = [name for name, one in self.by_name.items() if name not in names and not one.in_flight]
        for name in gone:
            del self.by_name[name]
        if gone:
            self._gather_discovered()

    def loads(self) -> Mapping[str, Load]:
        """How busy each is, for `gateway.balance`."""
        now = self._clock()
        return {name: Load(one.in_flight, one.rests_until > now) for name, one in self.by_name.items()}

    def snapshot(self) -> dict[str, Provider]:
        """Read from any thread."""
        return dict(self.by_name)

    def _gather_discovered(self) -> None:
        self.discovered = {name: one.discovered for name, one in self.by_name.items() if one.discovered}

    def _of(self, name: str) -> Provider:
        known = self.by_name.get(name)
        if known is None:
            known = self.by_name[name] = Provider()
        return known


class Turn:
    """One request to one upstream, from being let through to its end; tells what it saw. `end` may be called twice."""

    def __init__(self, name: str, providers: Providers) -> None:
        self._name = name
        self._providers = providers
        self._is_open = True
        self._told = False

    def spoke(self, after_s: float) -> None:
        self._providers.spoke(self._name, after_s)

    def finished(self) -> None:
        if not self._told:
            self._told = True
            self._providers.move(self._name, "finished")

    def failed(self, kind: str) -> None:
        self._told = True
        self._providers.failed(self._name, kind)

    def asked_to_rest(self, for_s: float) -> None:
        self._providers.asked_to_rest(self._name, for_s)

    def end(self) -> None:
        if self._is_open:
            self._is_open = False
            self._providers.ended(self._name)
            if not self._told:
                self._providers.move(self._name, "left")


def breaker_name(state: Breaker) -> BreakerName:
    match state:
        case Closed():
            return "closed"
        case Open():
            return "open"
        case Trial():
            return "trial"
    assert_never(state)


def _when(state: Breaker, now: float) -> str:
    match state:
        case Open(until):
            return f"It is asked again in {max(0, until - now):.0f} s."
        case Trial():
            return "One request is finding out whether it answers again."
        case Closed():
            return ""
    assert_never(state)
