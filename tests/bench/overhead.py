"""What scheduling and HTTP cost on top of mlx-lm's raw batch generator: tokens per second of the three, turn by turn.

Prompts are distinct in every round, so that no prefix cache answers.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import statistics
import tempfile
import time
from pathlib import Path

from catalog.base import blas, chat
from catalog.base.load import load
from catalog.ids import BaseId
from catalog.settings import Settings
from gateway.engine.engine import Engine
from gateway.engine.requests import Finish, Generation, Sampling
from tests.bench import bases, peers
from tests.bench.load import FORBID, Ask, asks, run_load

blas.preload()

from mlx_lm.generate import BatchGenerator  # noqa: E402
from mlx_lm.sample_utils import make_logits_processors  # noqa: E402

STREAMS = (1, 8, 32)
TOKENS = {"nano": 96, "100m": 32}


class Raw:
    """mlx-lm's batch generator alone, as many threads of BLAS as the gateway takes."""

    def __init__(self, folder: Path, ends: list[int]) -> None:
        self._base = load(BaseId("bench"), folder)
        blas.suit(self._base.parameters)
        self._bias = make_logits_processors(logit_bias=dict.fromkeys(ends, float(FORBID)))
        self.tokenizer = self._base.tokenizer

    def tokens_per_s(self, prompts: list[list[int]], tokens: int) -> float:
        began = time.perf_counter()
        generator = BatchGenerator(
            self._base.model, completion_batch_size=32, prefill_batch_size=8, prefill_step_size=256
        )
        generator.insert(prompts, max_tokens=[tokens] * len(prompts), logits_processors=[self._bias] * len(prompts))
        count, left = 0, len(prompts)
        while left:
            _, responses = generator.next()
            count += len(responses)
            left -= sum(response.finish_reason is not None for response in responses)
        return count / (time.perf_counter() - began)


class Scheduled:
    """The engine behind its door, on a loop of this process; without HTTP."""

    def __init__(self, folder: Path, ends: list[int]) -> None:
        self._sampling = Sampling(temperature=0, logit_bias=dict.fromkeys(ends, float(FORBID)))
        settings = Settings.model_validate({"training": {"ragweld_agent_base_model": str(folder)}})
        self._engine = Engine(settings, folder)
        self._runner = asyncio.Runner()

    def __enter__(self) -> Scheduled:
        self._runner.__enter__()
        self._runner.run(self._start())
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._engine.stop())
        self._runner.close()

    def tokens_per_s(self, prompts: list[list[int]], tokens: int) -> float:
        return self._runner.run(self._measure(prompts, tokens))

    async def _start(self) -> None:
        await self._engine.start()
        while not self._engine.state().ready:  # noqa: ASYNC110 - another thread loads
            await asyncio.sleep(0.01)

    async def _measure(self, prompts: list[list[int]], tokens: int) -> float:
        self._engine.forget_prefixes()
        began = time.perf_counter()
        counts = await asyncio.gather(*(self._one(prompt, tokens) for prompt in prompts))
        return sum(counts) / (time.perf_counter() - began)

    async def _one(self, prompt: list[int], tokens: int) -> int:
        async for item in self._engine.generate(Generation(tuple(prompt), None, tokens, sampling=self._sampling)):
            if isinstance(item, Finish):
                return item.completion_tokens
        raise AssertionError("no finish")


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("nano", "100m"), default="nano")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    ratios = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = bases.write(arguments.model, Path(scratch) / "base")
        ends = bases.end_tokens(folder)
        raw = Raw(folder, ends)
        with peers.ragweld(folder, Path(scratch) / "home") as server, Scheduled(folder, ends) as engine:
            for streams in STREAMS:
                rates: dict[str, list[float]] = {"raw": [], "engine": [], "http": []}
                for round_ in range(arguments.rounds + 1):
                    tokens = TOKENS[arguments.model]
                    wanted = asks(streams, 1, tokens, lambda _: {}, beginning=f"{round_}.")
                    prompts = [prompt_of(raw, ask) for (ask,) in wanted]
                    turn = {
                        "raw": raw.tokens_per_s(prompts, tokens),
                        "engine": engine.tokens_per_s(prompts, tokens),
                        "http": run_load(server, wanted, ends).tokens_per_s,
                    }
                    for name, rate in turn.items():
                        if round_ > 0:  # the first warms up
                            rates[name].append(rate)
                ratios[streams] = report(streams, rates)
    print(json.dumps({"bench": "overhead", "model": arguments.model, "ratios": ratios}))


def prompt_of(raw: Raw, ask: Ask) -> list[int]:
    """The tokens that the gateway makes of a request."""
    return list(chat.prompt_tokens(raw.tokenizer, [{"role": "user", "content": ask.prompt}], thinking=False))


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
