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
    """A server, the key it asks for, and how many requests are enough to measure it."""

    server: Server
    key: str
    requests: int
    streams: int


@dataclass(frozen=True, slots=True)
class Cost:
    """CPU in milliseconds per request, microseconds per streamed event; what a paced stream takes longer, in ms."""

    request_ms: float
    event_us: float
    added_ms: float
    memory_mb: float


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
    with peers.ragweld(scratch, home, environ) as server:
        yield Proxy(Server(server.name, server.url, "local:mock", server.pid), key, 6000, 96)


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
    with peers.litellm(file) as server:
        yield Proxy(server, key, 400, 8)


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
    )


def cpu_of(proxy: Proxy, count: int, run: Callable[[int], object]) -> float:
    """CPU seconds for each of `count`."""
    run(max(count // 10, 1))
    before = cpu_s(proxy.server.pid)
    run(count)
    return (cpu_s(proxy.server.pid) - before) / count


def load(proxy: Proxy, count: int, at_once: int, manner: str) -> list[float]:
    """Send so many requests; returns the seconds of each."""
    return asyncio.run(_load(proxy, count, at_once, manner))


async def _load(proxy: Proxy, count: int, at_once: int, manner: str) -> list[float]:
    body = json.dumps(
        {
            "model": proxy.server.model,
            "messages": [{"role": "user", "content": f"What does one more proxy cost? Answer: {manner}. " * 4}],
            "stream": manner != "plain",
        }
    ).encode()
    headers = {"authorization": f"Bearer {proxy.key}", "content-type": "application/json"}
    took_s: list[float] = []
    left = iter(range(count))

    async def ask(session: aiohttp.ClientSession) -> None:
        for _ in left:
            began = time.perf_counter()
            async with session.post(f"{proxy.server.url}/chat/completions", data=body, headers=headers) as answer:
                received = await answer.read()
            assert answer.status == 200, received[:500]
            assert manner == "plain" or b"[DONE]" in received[-64:], received[-200:]
            took_s.append(time.perf_counter() - began)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        await asyncio.gather(*(ask(session) for _ in range(at_once)))
    return took_s


def cpu_s(group: int) -> float:
    """User and system CPU of every process of a process group."""
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group:
            ticks += sum(map(int, fields[11:15]))
    return ticks / os.sysconf("SC_CLK_TCK")


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
            for field in ("request_ms", "event_us", "added_ms", "memory_mb")
        }
        for name, rounds in costs.items()
    }
    for name, cost in medians.items():
        print(
            f"{name:8s} {cost['request_ms']:7.3f} ms CPU a request, {cost['event_us']:7.1f} us an event, "
            f"+{cost['added_ms']:.1f} ms a paced stream, {cost['memory_mb']:.0f} MB"
        )
    if "litellm" not in medians:
        return {"medians": medians}
    ratios = {
        field: round(medians["litellm"][field] / medians["ragweld"][field], 1) for field in ("request_ms", "event_us")
    }
    return {"medians": medians, "ratios": ratios}


if __name__ == "__main__":
    main()
