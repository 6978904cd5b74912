"""Whether an upstream that failed is asked once more, and after how long: the only place that retries anything.

Another candidate is always asked first; only when all have failed are they asked again, with full jitter, as long as
no more than a fifth of the open requests are being asked again (Google SRE book, "Handling Overload", and Envoy's retry
budget). Nothing is asked again after a timeout, which has cost enough. `tests/gateway/test_retries.py`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from catalog.errors import Overloaded, RagweldError, UpstreamFailed

BUDGET_SHARE = 0.2
BUDGET_AT_LEAST = 3
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 2.0
LONGEST_RETRY_AFTER_S = 5.0
"""A longer `Retry-After` is handed on to the client."""

MAY_PASS = frozenset(
    {
        "upstream_unreachable",
        "upstream_cut",
        "upstream_status_500",
        "upstream_status_502",
        "upstream_status_503",
        "upstream_status_504",
    }
)
"""Codes of failures that may be gone in a moment."""


def pause_s(error: RagweldError, attempt: int, draw: float) -> float | None:
    """Seconds before the upstream that failed may be asked again; None when it should not be.

    `attempt` counts from 0, `draw` is uniform in [0, 1).
    """
    spread_s: float = draw * min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt)
    match error:
        case Overloaded() if error.retry_after_s <= LONGEST_RETRY_AFTER_S:
            return error.retry_after_s + spread_s
        case UpstreamFailed() if error.code in MAY_PASS:
            return spread_s
    return None


def allows(active: int, again: int) -> bool:
    """Whether one more of `active` open requests may be asked again while `again` already are."""
    return again < max(BUDGET_AT_LEAST, int(BUDGET_SHARE * active))


class RetryBudget:
    """Counts open requests and those being asked again. Belongs to the event loop."""

    def __init__(self) -> None:
        self.active = 0
        self.again = 0

    @contextmanager
    def request(self) -> Iterator[None]:
        """Count a request while it is open."""
        self.active += 1
        try:
            yield
        finally:
            self.active -= 1

    @contextmanager
    def once_more(self) -> Iterator[bool]:
        """Whether the budget has room for asking again; if so it is taken until the block ends."""
        granted = allows(self.active, self.again)
        self.again += granted
        try:
            yield granted
        finally:
            self.again -= granted
