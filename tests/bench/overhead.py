"""What scheduling and HTTP cost on top of the raw batch generator: tokens per second of the three, turn by turn."""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from catalog.base import chat
from catalog.base.load import load
from catalog.ids import BaseId
from catalog.settings import Settings
from gateway.engine.engine import Engine
from gateway.engine.requests import Finish, Generation, Sampling
from tests.bench import bases, peers
from tests.bench.load import FORBID, asks, run_load

STREAMS = (1, 8, 32)
TOKENS = {"nano": 96, "100m": 32}


def raw(folder: Path, prompts: list[list[int]], tokens: int, ends: list[int]) -> float:
    """Tokens per second of mlx-lm's batch generator alone."""
    from mlx_lm.generate import BatchGenerator
    from mlx_lm.sample_utils import make_logits_processors

    base = load(BaseId("bench"), folder)
    bias = make_logits_processors(logit_bias=dict.fromkeys(ends, float(FORBID)))
    began = time.perf_counter()
    generator = BatchGenerator(base.model, completion_batch_size=32, prefill_batch_size=8, prefill_step_size=256)
    generator.insert(prompts, max_tokens=[tokens] * len(prompts), logits_processors=[bias] * len(prompts))
    count, left = 0, len(prompts)
    while left:
        _, responses = generator.next()
        count += len(responses)
        left -= sum(response.finish_reason is not None for response in responses)
    return count / (time.perf_counter() - began)


def scheduled(folder: Path, prompts: list[list[int]], tokens: int, ends: list[int]) -> float:
    """Tokens per second through the engine's door."""

    async def one(engine: Engine, prompt: list[int]) -> int:
        held = Sampling(temperature=0, logit_bias=dict.fromkeys(ends, float(FORBID)))
        async for item in engine.generate(Generation(tuple(prompt), None, tokens, sampling=held)):
            if isinstance(item, Finish):
                return item.completion_tokens
        raise AssertionError("no finish")

    async def scene() -> float:
        settings = Settings.model_validate({"training": {"ragweld_agent_base_model": str(folder)}})
        engine = Engine(settings, folder)
        await engine.start()
        while not engine.state().ready:  # noqa: ASYNC110 - another thread loads
            await asyncio.sleep(0.01)
        began = time.perf_counter()
        counts = await asyncio.gather(*(one(engine, prompt) for prompt in prompts))
        rate = sum(counts) / (time.perf_counter() - began)
        await engine.stop()
        return rate

    return asyncio.run(scene())


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("nano", "100m"), default="nano")
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    tokens = TOKENS[arguments.model]
    ratios = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = bases.write(arguments.model, Path(scratch) / "base")
        ends = bases.end_tokens(folder)
        tokenizer = load(BaseId("bench"), folder).tokenizer
        with peers.ragweld(folder, Path(scratch) / "home") as server:
            for streams in STREAMS:
                rates: dict[str, list[float]] = {"raw": [], "engine": [], "http": []}
                for round_ in range(arguments.rounds + 1):
                    wanted = asks(streams, 1, tokens, lambda _, round_=round_: {"user": str(round_)})
                    prompts = [
                        chat.prompt_tokens(tokenizer, [{"role": "user", "content": ask.prompt}]) for (ask,) in wanted
                    ]
                    turn = {
                        "raw": raw(folder, prompts, tokens, ends),
                        "engine": scheduled(folder, prompts, tokens, ends),
                        "http": run_load(server, wanted, ends).tokens_per_s,
                    }
                    for name, rate in turn.items():
                        if round_ > 0:
                            rates[name].append(rate)
                ratios[streams] = report(streams, rates)
    print(json.dumps({"bench": "overhead", "model": arguments.model, "ratios": ratios}))


def report(streams: int, rates: dict[str, list[float]]) -> dict[str, float]:
    """Print one line and return both forms as shares of the raw rate."""
    shares = {
        name: statistics.median(a / b for a, b in zip(rates[name], rates["raw"], strict=True))
        for name in ("engine", "http")
    }
    raw_rate = statistics.median(rates["raw"])
    print(
        f"{streams:3d} streams: raw {raw_rate:8.1f} tokens/s, engine {shares['engine']:.2f}, HTTP {shares['http']:.2f}"
    )
    return {name: round(share, 3) for name, share in shares.items()}


if __name__ == "__main__":
    main()
