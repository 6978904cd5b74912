"""Scores of the exported folder on held-out prompts, in MLX, through the real chat template.

Promises that no measured prompt was trained (the split of `corpus.py`), greedy decoding, and "exact" meaning equal to
the last character: content for text, function name and parsed arguments for tool calls. Both ways of thinking are
measured: half of the prompts leave the empty thought to the model, half have it prefilled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

from catalog.base import blas

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx_lm import batch_generate, load  # noqa: E402
from mlx_lm.tokenizer_utils import TokenizerWrapper  # noqa: E402

from trainer.nano.corpus import CATEGORIES, Category, Chat, held_out_chat  # noqa: E402
from trainer.nano.rendering import EMPTY_THOUGHT, answer_text  # noqa: E402

MOST_NEW_TOKENS: Final = 96
ROWS_AT_ONCE: Final = 48


@dataclass(frozen=True, slots=True)
class Probe:
    """One prompt and the text that is right, without its thought."""

    prompt_ids: list[int]
    prompt: str
    wanted: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What the model wrote for a probe."""

    probe: Probe
    written: str

    @property
    def exact(self) -> bool:
        return self.written == self.probe.wanted


def load_float32(folder: Path) -> tuple[nn.Module, TokenizerWrapper]:
    """The exported folder, its weights widened: 16-bit kernels are tens of times slower on a CPU."""
    model, tokenizer = load(str(folder))[:2]
    model.set_dtype(mx.float32)
    mx.eval(model.parameters())
    return model, tokenizer


def probe_of(chat: Chat, tokenizer: TokenizerWrapper, *, thinking: bool) -> Probe:
    """`chat` without its last answer as a prompt, and that answer as what is wanted."""
    arguments: dict[str, Any] = {"add_generation_prompt": True, "enable_thinking": thinking}
    if chat.tools:
        arguments["tools"] = chat.tools
    text = tokenizer.apply_chat_template(chat.messages[:-1], tokenize=False, **arguments)
    return Probe(tokenizer.encode(text, add_special_tokens=False), text, answer_text(chat.messages[-1]))


def answer(model: nn.Module, tokenizer: TokenizerWrapper, probes: Sequence[Probe]) -> list[Outcome]:
    """Greedy answers, thoughts removed, shortest prompt first."""
    ordered = sorted(probes, key=lambda probe: len(probe.prompt_ids))
    response = batch_generate(
        model,
        tokenizer,
        [probe.prompt_ids for probe in ordered],
        max_tokens=MOST_NEW_TOKENS,
        completion_batch_size=ROWS_AT_ONCE,
        prefill_batch_size=ROWS_AT_ONCE,
    )
    return [
        Outcome(probe, text.removeprefix(EMPTY_THOUGHT)) for probe, text in zip(ordered, response.texts, strict=True)
    ]


def outcomes_of(
    model: nn.Module, tokenizer: TokenizerWrapper, category: Category, seed: int, count: int
) -> list[Outcome]:
    """The outcomes of `count` distinct held-out prompts of `category`."""
    rng = Random(f"held out {seed} {category.name}")
    probes: dict[str, Probe] = {}
    for _ in range(count * 20):
        probe = probe_of(held_out_chat(rng, category), tokenizer, thinking=len(probes) % 2 == 0)
        probes.setdefault(probe.prompt.removesuffix(EMPTY_THOUGHT), probe)
        if len(probes) == count:
            break
    return answer(model, tokenizer, list(probes.values()))


def _share(parts: Sequence[tuple[int, int]]) -> float:
    return round(sum(right for right, _ in parts) / max(1, sum(total for _, total in parts)), 4)


def evaluate(folder: Path, seed: int, count: int, scores: Path, show_wrong: int) -> None:
    """Score every category, print the table, write it to `scores` as JSON."""
    model, tokenizer = load_float32(folder)
    rows: dict[str, dict[str, object]] = {}
    sides: dict[bool, list[tuple[int, int]]] = {True: [], False: []}
    for category in CATEGORIES:
        outcomes = outcomes_of(model, tokenizer, category, seed, count)
        wrong = [outcome for outcome in outcomes if not outcome.exact]
        right = len(outcomes) - len(wrong)
        sides[category.inside].append((right, len(outcomes)))
        rows[category.name] = {"inside": category.inside, "n": len(outcomes), "exact": round(right / len(outcomes), 4)}
        print(f"{category.name:28} {right / len(outcomes):7.1%} of {len(outcomes)}", flush=True)
        for outcome in wrong[:show_wrong]:
            probe = outcome.probe
            print(f"    {probe.prompt[-160:]!r}\n      wanted {probe.wanted!r}\n      wrote  {outcome.written!r}")
    totals = {"in-world": _share(sides[True]), "out-of-world": _share(sides[False])}
    print(totals)
    scores.write_text(json.dumps({"seed": seed, "totals": totals, "categories": rows}, indent=2) + "\n")
