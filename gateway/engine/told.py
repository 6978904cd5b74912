"""How an event loop is told what it asked the engine's thread for.

One wake-up for each answer; nothing when the loop is closed or nobody waits any more.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from catalog.errors import RagweldError

T = TypeVar("T")


async def told(ask: Callable[[Callable[[T | RagweldError], None]], None]) -> T:
    """What the thread answers to `ask`, which is given whom to tell; raises the error if that is what it tells."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[T | RagweldError] = loop.create_future()

    def tell(answer: T | RagweldError) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(_settle, done, answer)

    ask(tell)
    answer = await done
    if isinstance(answer, RagweldError):
        raise answer
    return answer


def _settle(done: asyncio.Future[T | RagweldError], answer: T | RagweldError) -> None:
    if not done.cancelled():
        done.set_result(answer)
