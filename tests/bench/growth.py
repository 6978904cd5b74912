"""Whether a gateway grows: its memory, files and threads over a great many proxied requests, printed as they go.

Non-streamed requests at 64 in flight with key, metrics and routing, every tenth of them under a model's name that was
never asked for before. The first tenth is warming up; what counts is what came after it.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.bench import proxy
from tests.bench.proxy import Proxy

STEPS = 10
FRESH = 10
"""Every so many requests one names a model that was never asked for before."""


@dataclass(frozen=True, slots=True)
class Size:
    """What a process holds."""

    memory_mb: float
    files: int
    threads: int


def size_of(pid: int) -> Size:
    process = Path(f"/proc/{pid}")
    return Size(round(proxy.memory_mb(pid), 1), _count(process / "fd"), _count(process / "task"))


def _count(folder: Path) -> int:
    return sum(1 for _ in folder.iterdir())


def model(step: int, number: int) -> str:
    return f"local:fresh-{step}-{number}" if number % FRESH == 0 else "local:mock"


def grow(gateway: Proxy, requests: int) -> list[Size]:
    """Its size after each step, the first being the warm-up."""
    sizes = []
    for step in range(1, STEPS + 1):
        began = time.monotonic()
        proxy.load(gateway, requests // STEPS, proxy.IN_FLIGHT, "plain", lambda n, step=step: model(step, n))
        size = size_of(gateway.server.pid)
        pace = requests / STEPS / (time.monotonic() - began)
        print(f"{requests * step // STEPS:9d} requests  {size.memory_mb:6.1f} MB  {size.files} files  "
              f"{size.threads} threads  {pace:.0f} a second", flush=True)  # fmt: skip
        sizes.append(size)
    return sizes


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--requests", type=int, default=1_000_000)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as scratch,
        proxy.mock() as upstream,
        proxy.ragweld(upstream, Path(scratch)) as gateway,
    ):
        sizes = grow(gateway, arguments.requests)
    warm, end = sizes[0], sizes[-1]
    spread = arguments.requests * (STEPS - 1) // STEPS
    grown = {"bytes_per_request": round(1e6 * (end.memory_mb - warm.memory_mb) / spread, 3)}
    print(
        json.dumps(
            {"bench": "growth", "requests": arguments.requests, "warm": asdict(warm), "end": asdict(end), **grown}
        )
    )


if __name__ == "__main__":
    main()
