"""Looks at every upstream's health in the background, again and again, so that no request ever waits for it.

Each look is one GET /models with a deadline; what it found is kept by `gateway.providers`. A look never moves a
breaker: a server may list its models and still fail every chat. `tests/gateway/test_probe.py`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence

from catalog.settings import Upstream
from gateway.providers import Health, Providers

log = logging.getLogger(__name__)

LOOK_TIMEOUT_S = 2.0
JITTER = 0.1
"""A pause is up to this share shorter or longer."""

Look = Callable[[Upstream, float], Awaitable[Health]]


class Prober:
    """Looks at what `upstreams()` has, every `interval_s()`, and forgets all others; `draw` is uniform in [0, 1)."""

    def __init__(
        self,
        upstreams: Callable[[], Sequence[Upstream]],
        look: Look,
        providers: Providers,
        interval_s: Callable[[], float],
        draw: Callable[[], float],
    ) -> None:
        self._upstreams = upstreams
        self._look = look
        self._providers = providers
        self._interval_s = interval_s
        self._draw = draw
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        self._task = asyncio.create_task(self._go_round())

    async def stop(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))

    async def look_at_all(self) -> None:
        """One look at each, side by side."""
        upstreams = self._upstreams()
        self._providers.forget_all_but({upstream.name for upstream in upstreams})
        async with asyncio.TaskGroup() as group:
            for upstream in upstreams:
                group.create_task(self._look_at(upstream))

    async def _look_at(self, upstream: Upstream) -> None:
        before = self._providers.health_of(upstream.name)
        health = await self._look(upstream, LOOK_TIMEOUT_S)
        self._providers.looked_at(upstream.name, health)
        if before is None or before.obstacle != health.obstacle:
            log.info("upstream %s: %s", upstream.name, health.obstacle or "answers")

    async def _go_round(self) -> None:
        while True:
            await self.look_at_all()
            await asyncio.sleep(self._interval_s() * (1 + JITTER * (2 * self._draw() - 1)))
