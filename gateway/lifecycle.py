"""Whether the gateway takes new work, what is still being answered, and how that ends.

running -> draining (no new work, open answers go on) -> over (open answers are told and cut). Knows nothing of
signals or sockets; `gateway.main` moves it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any, cast

from litestar.types import Scope

CONNECTION = "connection"
"""Where the server puts the `Connection` in a request's state."""


class Connection:
    """The line to one client, as the server sees it. Belongs to the event loop."""

    def __init__(self) -> None:
        self.is_lost = False
        self.has_whole_body = False
        """Whether the newest request has arrived whole; those before it have, then, too."""
        self.answers: set[asyncio.Task[Any]] = set()
        """Who is stopped when the client goes."""

    def lost(self) -> None:
        """Stop whoever answers, at once."""
        self.is_lost = True
        for answer in self.answers:
            answer.cancel()


def connection_of(scope: Scope) -> Connection:
    """The line over which a request came."""
    return cast(Connection, scope["state"][CONNECTION])


class Lifecycle:
    """One gateway's life. Belongs to its event loop."""

    def __init__(self) -> None:
        self.draining = asyncio.Event()
        self.is_over = False
        self._open = 0
        self._idle = asyncio.Event()
        self._idle.set()
        self._answers: set[asyncio.Task[Any]] = set()

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

    async def while_client_listens(self, connection: Connection, answer: Coroutine[Any, Any, None]) -> bool:
        """Run `answer` in this task; False when it was stopped because the client went away."""
        task = asyncio.current_task()
        assert task is not None
        self._answers.add(task)
        connection.answers.add(task)
        try:
            await answer
        except asyncio.CancelledError:
            if not (connection.is_lost or self.is_over):
                raise
            task.uncancel()
            return self.is_over
        finally:
            connection.answers.discard(task)
            self._answers.discard(task)
        return True
