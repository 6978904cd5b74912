"""Throughput and time to first token against mlx_lm.server: same base, same prompts, same machine, turn by turn.

Prompts are distinct in every round, so that no prefix cache of either side answers. Beside the clock's throughput
stands the processor's, tokens per second of CPU that the server took: where other work shares the cores, it says more.
"""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from tests.bench import bases, peers
from tests.bench.load import Load, asks, run_load

STREAMS = (1, 8, 32)
TOKENS = {"nano": 96, "100m": 32}
EACH = {1: 3, 8: 2, 32: 1}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("nano", "100m"), default="nano")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        base = bases.write(arguments.model, Path(scratch) / "base")
        ends = bases.end_tokens(base)
        with peers.ragweld(base, Path(scratch) / "home") as ours, peers.mlx_lm_server(base) as theirs:
            ratios = {}
            for streams in STREAMS:
                loads: dict[str, list[Load]] = {ours.name: [], theirs.name: []}
                for round_ in range(arguments.rounds + 1):
                    for server in (ours, theirs):
                        wanted = asks(
                            streams, EACH[streams], TOKENS[arguments.model], lambda _: {}, beginning=f"{round_}."
                        )
                        before_s = peers.cpu_s(server.pid)
                        load = run_load(server, wanted, ends)
                        load.cpu_s = peers.cpu_s(server.pid) - before_s
                        if round_ > 0:  # the first warms up
                            loads[server.name].append(load)
                ratios[streams] = report(streams, loads[ours.name], loads[theirs.name])
    print(json.dumps({"bench": "engine_against_mlx_lm_server", "model": arguments.model, "ratios": ratios}))


def report(streams: int, ours: list[Load], theirs: list[Load]) -> dict[str, float]:
    """Print one line and return its ratios; each is the median over the rounds, taken pair by pair."""
    throughput = [a.tokens_per_s / b.tokens_per_s for a, b in zip(ours, theirs, strict=True)]
    by_processor = [a.tokens_per_cpu_s / b.tokens_per_cpu_s for a, b in zip(ours, theirs, strict=True)]
    first_token = [a.median_first_token_s / b.median_first_token_s for a, b in zip(ours, theirs, strict=True)]
    rates = [statistics.median(load.tokens_per_s for load in loads) for loads in (ours, theirs)]
    waits_ms = [1e3 * statistics.median(load.median_first_token_s for load in loads) for loads in (ours, theirs)]
    print(
        f"{streams:3d} streams: {rates[0]:8.1f} tokens/s to {rates[1]:.1f} = {statistics.median(throughput):.2f}x, "
        f"by the processor {statistics.median(by_processor):.2f}x; "
        f"first token {waits_ms[0]:7.1f} ms against {waits_ms[1]:7.1f} = {statistics.median(first_token):.2f}x",
        flush=True,
    )
    return {
        "throughput": round(statistics.median(throughput), 3),
        "throughput_by_processor": round(statistics.median(by_processor), 3),
        "first_token": round(statistics.median(first_token), 3),
    }


if __name__ == "__main__":
    main()
