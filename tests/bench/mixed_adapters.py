"""8 streams over 4 adapters against 8 streams over one, and against mlx_lm.server with the same mixed traffic."""

from __future__ import annotations

import argparse
import json
import statistics
import tempfile
from pathlib import Path

from catalog.adapters import AdapterStore
from tests.bench import bases, peers
from tests.bench.load import asks, run_load
from tests.tiny_base import write_adapter

STREAMS = 8
ADAPTERS = 4
KEYS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
TOKENS = {"nano": 96, "100m": 32}


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("nano", "100m"), default="nano")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    tokens = TOKENS[arguments.model]
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        base = bases.write(arguments.model, root / "base")
        folders = [write_adapter(root / f"a{n}", base, n, rank=16, keys=KEYS, size=0.02) for n in range(ADAPTERS)]
        store = AdapterStore(root / "home")
        names = [store.put(folder, name=f"a{n}") for n, folder in enumerate(folders)]
        ends = bases.end_tokens(base)
        one = asks(STREAMS, 1, tokens, lambda _: {"model": f"ragweld@{names[0][:12]}"})
        mixed = asks(STREAMS, 1, tokens, lambda stream: {"model": f"ragweld@{names[stream % ADAPTERS][:12]}"})
        theirs = asks(STREAMS, 1, tokens, lambda stream: {"adapters": str(folders[stream % ADAPTERS])})
        with peers.ragweld(base, root / "home") as ragweld, peers.mlx_lm_server(base) as peer:
            rates: dict[str, list[float]] = {"one": [], "mixed": [], "peer": []}
            for round_ in range(arguments.rounds + 1):
                for name, server, load in (("one", ragweld, one), ("mixed", ragweld, mixed), ("peer", peer, theirs)):
                    rate = run_load(server, load, ends).tokens_per_s
                    if round_ > 0:
                        rates[name].append(rate)
    to_one = statistics.median(m / o for m, o in zip(rates["mixed"], rates["one"], strict=True))
    to_peer = statistics.median(m / p for m, p in zip(rates["mixed"], rates["peer"], strict=True))
    medians = {name: statistics.median(values) for name, values in rates.items()}
    print(f"8 streams over one adapter {medians['one']:.1f} tokens/s, over four {medians['mixed']:.1f} = {to_one:.2f}x")
    print(f"mlx_lm.server with the same four {medians['peer']:.1f} tokens/s: ours is {to_peer:.2f}x")
    ratios = {"mixed_to_one": round(to_one, 3), "mixed_to_peer": round(to_peer, 3)}
    print(json.dumps({"bench": "mixed_adapters", "model": arguments.model, "ratios": ratios}))


if __name__ == "__main__":
    main()
