"""Whether the gateway takes new work, what is still being answered, and how that ends.

running -> draining (no new work, open answers go on) -> over (open answers are told and cut). Knows nothing of
signals or sockets; `gateway.main` moves it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from litestar.types import Receive


class Lifecycle:
    """One gateway's life. Belongs to its event loop."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        self.is_over = False
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._answers: set[asyncio.Task[None]] = set()

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Count a request while it is answered."""
        self._open += 1
        self._idle.clear()
        try:
            yield
        finally:
            self._open -= 1
            if not self._open:
                self._idle.set()

    async def drain(self, grace_s: float) -> None:
        """Take no new work; return when nothing is open, or after `grace_s` with what is open told to end."""
        self.draining.set()
        try:
            async with asyncio.timeout(grace_s):
                await self._idle.wait()
        except TimeoutError:
            self.end()

    def end(self) -> None:
        """Cut what is open; an open stream may still say that it was cut."""
        self.is_over = True
        self.draining.set()
        for answer in self._answers:
            answer.cancel()

    async def while_client_listens(self, receive: Receive, answer: Coroutine[Any, Any, None]) -> bool:
        """Run `answer`; False when it was stopped because the client went away."""
        work = asyncio.ensure_future(answer)
        gone = asyncio.ensure_future(_gone(receive))
        self._answers.add(work)
        try:
            await asyncio.wait((work, gone), return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                work.cancel()
                await asyncio.wait((work,))
            if not work.cancelled():
                work.result()
                return True
            return self.is_over
        finally:
            self._answers.discard(work)
            gone.cancel()
            work.cancel()


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
