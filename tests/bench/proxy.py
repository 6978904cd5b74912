"""What a proxied request costs: CPU of ragweld and of the litellm proxy before the same fast mock, in one run.

Non-streamed requests at 64 in flight, streamed events at saturation, and what a paced stream gains in length. Both ask
for a key and count their metrics. CPU is that of the server's process group, from /proc; the load beside it is not.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import aiohttp

from catalog.keys import KeyStore
from tests.bench import peers
from tests.bench.mock_upstream import FLOOD_EVENTS
from tests.bench.peers import Server
from tests.house import free_ports

IN_FLIGHT = 64
STREAMS_AT_ONCE = 8
PACED_STREAMS = 24


@dataclass(frozen=True, slots=True)
class Proxy:
    """A server, the key it asks for, how many requests are enough to measure it, and how long it took to start."""

    server: Server
    key: str
    requests: int
    streams: int
    ready_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU in milliseconds per request, microseconds per streamed event; what a paced stream takes longer, in ms;
    memory after all that, and from the command to the first answer, in seconds."""

    request_ms: float
    event_us: float
    added_ms: float
    memory_mb: float
    ready_s: float


@contextmanager
def mock() -> Iterator[Server]:
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "tests.bench.mock_upstream", str(port)]
    with peers.process(command, f"http://127.0.0.1:{port}/", {}) as pid:
        yield Server("mock", f"http://127.0.0.1:{port}/v1", "mock", pid)


@contextmanager
def ragweld(upstream: Server, scratch: Path) -> Iterator[Proxy]:
    home = scratch / "home"
    key = KeyStore(home).add("bench", ["chat"])
    environ = {
        "RAGWELD_ENGINE_ENABLED": "false",
        "RAGWELD_GATEWAY_REQUIRE_KEYS": "true",
        "RAGWELD_UPSTREAMS": json.dumps([{"name": "mock", "base_url": upstream.url, "model": "mock"}]),
    }
    environ |= {"PYTHONDONTWRITEBYTECODE": "", "PYTHONPYCACHEPREFIX": str(scratch / "compiled")}
    with peers.ragweld(scratch, home, environ):
        pass  # leaves its modules compiled, as they are at every start but the first
    began = time.monotonic()
    with peers.ragweld(scratch, home, environ) as server:
        ready_s = time.monotonic() - began
        yield Proxy(Server(server.name, server.url, "local:mock", server.pid), key, 6000, 96, ready_s)


@contextmanager
def litellm(upstream: Server, scratch: Path) -> Iterator[Proxy]:
    key = "sk-bench"
    model = {"model": "openai/mock", "api_base": upstream.url, "api_key": "none"}
    config = {
        "model_list": [{"model_name": "mock", "litellm_params": model}],
        "litellm_settings": {"callbacks": ["prometheus"]},
        "general_settings": {"master_key": key},
    }
    file = scratch / "litellm.yaml"
    file.write_text(json.dumps(config))
    began = time.monotonic()
    with peers.litellm(file) as server:
        yield Proxy(server, key, 400, 8, time.monotonic() - began)


def measure(proxy: Proxy, upstream: Server) -> Cost:
    """Each load once to warm up, then with the CPU taken before and after; a paced stream also without a proxy."""
    plain = cpu_of(proxy, proxy.requests, lambda count: load(proxy, count, IN_FLIGHT, "plain"))
    events = cpu_of(proxy, proxy.streams, lambda count: load(proxy, count, STREAMS_AT_ONCE, "flood"))
    paced_s = load(proxy, PACED_STREAMS, STREAMS_AT_ONCE, "paced")
    direct_s = load(Proxy(upstream, "none", 0, 0), PACED_STREAMS, STREAMS_AT_ONCE, "paced")
    return Cost(
        request_ms=1e3 * plain,
        event_us=1e6 * events / FLOOD_EVENTS,
        added_ms=1e3 * (statistics.median(paced_s) - statistics.median(direct_s)),
        memory_mb=memory_mb(proxy.server.pid),
        ready_s=proxy.ready_s,
    )


def cpu_of(proxy: Proxy, count: int, run: Callable[[int], object]) -> float:
    """CPU seconds for each of `count`."""
    run(max(count // 10, 1))
    before = peers.cpu_s(proxy.server.pid)
    run(count)
    return (peers.cpu_s(proxy.server.pid) - before) / count


def load(
    proxy: Proxy, count: int, at_once: int, manner: str, model_of: Callable[[int], str] | None = None
) -> list[float]:
    """Send so many requests, the nth for `model_of(n)` if it is given; returns the seconds of each."""
    bodies = (body_of(model_of(number) if model_of else proxy.server.model, manner) for number in range(count))
    return asyncio.run(_load(proxy, bodies, at_once, manner))


@lru_cache(64)
def body_of(model: str, manner: str) -> bytes:
    return json.dumps(
        {
            "model": model,
            "messages": [{"role": "user", "content": f"What does one more proxy cost? Answer: {manner}. " * 4}],
            "stream": manner != "plain",
        }
    ).encode()


async def _load(proxy: Proxy, bodies: Iterator[bytes], at_once: int, manner: str) -> list[float]:
    headers = {"authorization": f"Bearer {proxy.key}", "content-type": "application/json"}
    took_s: list[float] = []

    async def ask(session: aiohttp.ClientSession) -> None:
        for body in bodies:
            began = time.perf_counter()
            async with session.post(f"{proxy.server.url}/chat/completions", data=body, headers=headers) as answer:
                received = await answer.read()
            assert answer.status == 200, received[:500]
            assert manner == "plain" or b"[DONE]" in received[-64:], received[-200:]
            took_s.append(time.perf_counter() - began)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(ask(session) for _ in range(at_once)))
    return took_s


def memory_mb(pid: int) -> float:
    """Resident memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--alone", action="store_true", help="without the peer")
    arguments = parser.parse_args()
    if not Path("/proc/self/stat").exists():
        raise SystemExit("CPU is read from /proc; run this on Linux.")
    costs: dict[str, list[Cost]] = {}
    with tempfile.TemporaryDirectory() as scratch, mock() as upstream, ragweld(upstream, Path(scratch)) as ours:
        for _ in range(arguments.rounds):
            costs.setdefault("ragweld", []).append(measure(ours, upstream))
        if not arguments.alone:
            with litellm(upstream, Path(scratch)) as theirs:
                for _ in range(arguments.rounds):
                    costs.setdefault("litellm", []).append(measure(theirs, upstream))
    print(json.dumps({"bench": "proxy", **report(costs)}))


def report(costs: dict[str, list[Cost]]) -> dict[str, object]:
    """Print a line each; returns medians, and how many times dearer the peer is."""
    medians = {
        name: {
            field: round(statistics.median(getattr(cost, field) for cost in rounds), 3)
            for field in ("request_ms", "event_us", "added_ms", "memory_mb", "ready_s")
        }
        for name, rounds in costs.items()
    }
    for name, cost in medians.items():
        print(
            f"{name:8s} {cost['request_ms']:7.3f} ms CPU a request, {cost['event_us']:7.1f} us an event, "
            f"+{cost['added_ms']:.1f} ms a paced stream, {cost['memory_mb']:.0f} MB, ready in {cost['ready_s']:.1f} s"
        )
    if "litellm" not in medians:
        return {"medians": medians}
    ratios = {
        field: round(medians["litellm"][field] / medians["ragweld"][field], 1) for field in ("request_ms", "event_us")
    }
    return {"medians": medians, "ratios": ratios}


if __name__ == "__main__":
    main()
