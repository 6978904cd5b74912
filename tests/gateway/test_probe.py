"""Upstreams are looked at side by side, again and again, and nobody waits for it."""

from __future__ import annotations

import asyncio

from catalog.settings import Upstream
from gateway.breaker import Closed
from gateway.probe import Prober
from gateway.providers import Health, Providers
from tests.gateway.test_routing import upstream

GOOD, BAD = upstream("good"), upstream("bad")


def test_every_look_is_kept_and_moves_no_breaker() -> None:
    providers = Providers(lambda: 1, lambda: 0.0, lambda: 0.5, lambda name, kind: None)
    seen: list[str] = []
    rounds = asyncio.Event()

    async def look(one: Upstream, timeout_s: float) -> Health:
        seen.append(one.name)
        if len(seen) == 6:
            rounds.set()
        return Health(None if one == GOOD else "it does not answer", 0.1)

    async def scene() -> None:
        prober = Prober(lambda: [GOOD, BAD], look, providers, lambda: 0.001, lambda: 0.5)
        await prober.start()
        async with asyncio.timeout(60):
            await rounds.wait()
        await prober.stop()

    asyncio.run(scene())
    assert seen[:6] == ["good", "bad"] * 3
    states = providers.snapshot()
    assert {name: one.health.obstacle for name, one in states.items() if one.health is not None} == {
        "good": None,
        "bad": "it does not answer",
    }
    assert states["bad"].breaker == Closed()


def test_a_slow_one_keeps_nobody_waiting_in_its_round() -> None:
    providers = Providers(lambda: 1, lambda: 0.0, lambda: 0.5, lambda name, kind: None)
    slow_may_end = asyncio.Event()

    async def look(one: Upstream, timeout_s: float) -> Health:
        if one == BAD:
            await slow_may_end.wait()
        else:
            slow_may_end.set()
        return Health(None, 0.1)

    prober = Prober(lambda: [BAD, GOOD], look, providers, lambda: 1, lambda: 0.5)
    asyncio.run(asyncio.wait_for(prober.look_at_all(), 60))
