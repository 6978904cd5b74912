"""How soon a client that vanishes in the middle of its stream frees its slot, a thousand times, and what that leaves.

A real gateway on the given model. Each client reads the first event of an answer that would go on for long, then its
connection is reset or closed by turns; the clock stops when the gateway says that the row is gone. Every tenth is one
of eight that vanish at once. The fault matrix (F08) wants every slot freed within 250 ms, and no leak.
"""

from __future__ import annotations

import argparse
import json
import socket
import statistics
import struct
import tempfile
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from http.client import HTTPConnection
from pathlib import Path
from urllib.parse import urlsplit

from tests.bench import bases, peers
from tests.bench.growth import Size, size_of
from tests.bench.load import FORBID

AT_ONCE_EVERY, AT_ONCE = 10, 8
ANSWER_TOKENS = 1500
WARM_UP = 50
DEADLINE_S = 60.0
ENDLESS = {"stream": True, "max_tokens": ANSWER_TOKENS, "temperature": 0, "frequency_penalty": 0.5}


class Watch:
    """What the gateway says of its rows."""

    def __init__(self, where: str) -> None:
        self._where = where

    def cancelled(self) -> int:
        with closing(HTTPConnection(self._where, timeout=DEADLINE_S)) as connection:
            connection.request("GET", "/api/engine")
            return int(json.load(connection.getresponse())["counters"]["cancelled"])

    def await_cancelled(self, count: int) -> None:
        end = time.monotonic() + DEADLINE_S
        while self.cancelled() < count:
            assert time.monotonic() < end, f"a row goes on {DEADLINE_S} s after its client"


def begin(where: str, ends: Sequence[int]) -> socket.socket:
    """A connection on which an answer has begun."""
    host, port = where.split(":")
    messages = [{"role": "user", "content": "Tell me everything that you know."}]
    bias = {str(end): FORBID for end in ends}
    body = json.dumps({"model": "ragweld", "messages": messages, "logit_bias": bias, **ENDLESS}).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nhost: {where}\r\ncontent-type: application/json\r\n"
    connection = socket.create_connection((host, int(port)), timeout=DEADLINE_S)
    connection.sendall(head.encode() + b"content-length: %d\r\n\r\n" % len(body) + body)
    received = b""
    while b"data: " not in received:
        received += connection.recv(4096)
    return connection


def vanish(connection: socket.socket, *, by_reset: bool) -> None:
    if by_reset:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def times_of(where: str, ends: Sequence[int], clients: int) -> list[float]:
    """Seconds from the moment that clients vanish until the gateway says that their rows are gone."""
    watch, times, gone, turn = Watch(where), [], 0, 0
    gone = watch.cancelled()
    while len(times) < clients:
        together = AT_ONCE if turn % AT_ONCE_EVERY == AT_ONCE_EVERY - 1 else 1
        open_ones = [begin(where, ends) for _ in range(together)]
        gone += together
        began = time.monotonic()
        for connection in open_ones:
            vanish(connection, by_reset=turn % 2 == 0)
        watch.await_cancelled(gone)
        times += [time.monotonic() - began] * together
        turn += 1
    return times


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("nano", "100m"), default="nano")
    parser.add_argument("--clients", type=int, default=1000)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        base = bases.write(arguments.model, Path(scratch) / "base")
        ends = bases.end_tokens(base)
        with peers.ragweld(base, Path(scratch) / "home") as server:
            where = urlsplit(server.url).netloc
            times_of(where, ends, WARM_UP)
            warm = size_of(server.pid)
            times = times_of(where, ends, arguments.clients)
            end = size_of(server.pid)
    print(json.dumps({"bench": "disconnects", "model": arguments.model, **figures(times, warm, end)}))


def figures(times: Sequence[float], warm: Size, end: Size) -> dict[str, object]:
    """Milliseconds until slots were freed, and what the process holds before and after."""
    return {
        "clients": len(times),
        "median_ms": round(1e3 * statistics.median(times), 1),
        "p99_ms": round(1e3 * statistics.quantiles(times, n=100)[-1], 1),
        "most_ms": round(1e3 * max(times), 1),
        "over_250_ms": sum(one > 0.25 for one in times),
        "warm": asdict(warm),
        "end": asdict(end),
    }


if __name__ == "__main__":
    main()
