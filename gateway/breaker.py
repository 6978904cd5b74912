"""When an upstream is left in peace after failing again and again, as one pure function of state, event and time.

closed --failures in a row--> open --its time passes, one request is let through--> trial --> closed, or open for twice
as long. Knows no network and no clock: `now` is monotonic seconds, `draw` is uniform in [0, 1).
`tests/gateway/test_breaker.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, assert_never

FIRST_REST_S = 30.0
LONGEST_REST_S = 300.0
JITTER = 0.1
"""A rest is up to this share shorter or longer, so that many gateways do not come back together."""


@dataclass(frozen=True, slots=True)
class Closed:
    """Everybody may ask. `failures` in a row so far."""

    failures: int = 0


@dataclass(frozen=True, slots=True)
class Open:
    """Nobody may ask before `until`. `rests` counts how often in a row it was opened."""

    until: float
    rests: int


@dataclass(frozen=True, slots=True)
class Trial:
    """Half-open: one request is on its way, and nobody else may ask until it has an answer."""

    rests: int


Breaker = Closed | Open | Trial

Event = Literal["asked", "spoke", "finished", "failed", "left"]
"""A request was let through; its first content came; it ended whole; it failed; it ended saying nothing of the
upstream, because the client went away or the request itself was at fault."""


def may_ask(breaker: Breaker, now: float) -> bool:
    """Whether a request may be let through now."""
    match breaker:
        case Closed():
            return True
        case Open():
            return now >= breaker.until
        case Trial():
            return False
    assert_never(breaker)


def next_breaker(breaker: Breaker, event: Event, now: float, *, opens_after: int, draw: float) -> Breaker:
    """The state after `event`; only requests that `may_ask` let through are told of."""
    match breaker, event:
        case Closed(), "finished":
            return Closed()
        case Closed(failures), "failed":
            return Closed(failures + 1) if failures + 1 < opens_after else _rest(1, now, draw)
        case Open(until, rests), "asked" if now >= until:
            return Trial(rests)
        case Trial(), "spoke" | "finished":
            return Closed()
        case Trial(rests), "failed":
            return _rest(rests + 1, now, draw)
        case Trial(rests), "left":
            return Open(now, rests)
    return breaker


def _rest(rests: int, now: float, draw: float) -> Open:
    # 2 ** 16 is beyond any cap; an upstream gone for years must not overflow a float
    rest_s = min(LONGEST_REST_S, FIRST_REST_S * 2 ** min(rests - 1, 16))
    return Open(now + rest_s * (1 + JITTER * (2 * draw - 1)), rests)
