"""Scores of the exported folder on held-out prompts, in MLX, through the real chat template.

Promises that no measured prompt was trained (the split of `corpus.py`), greedy decoding, and "exact" meaning equal to
the last character: content for text, function name and parsed arguments for tool calls. Both ways of thinking are
measured: half of the prompts leave the empty thought to the model, half have it prefilled.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import numpy as np

from catalog.base import blas

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx_lm import load  # noqa: E402
from mlx_lm.models.cache import make_prompt_cache  # noqa: E402
from mlx_lm.tokenizer_utils import TokenizerWrapper  # noqa: E402

from trainer.nano.corpus import CATEGORIES, Category, Chat, held_out_chat  # noqa: E402
from trainer.nano.rendering import EMPTY_THOUGHT, answer_text  # noqa: E402

MOST_NEW_TOKENS: Final = 192
ROWS_AT_ONCE: Final = 32
END_OF_TURN: Final = 2


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


def _same_length(probes: Sequence[Probe]) -> Iterator[list[Probe]]:
    """Groups of equal prompt length, so that a batch needs neither padding nor a mask."""
    groups: dict[int, list[Probe]] = {}
    for probe in probes:
        groups.setdefault(len(probe.prompt_ids), []).append(probe)
    for group in groups.values():
        for start in range(0, len(group), ROWS_AT_ONCE):
            yield group[start : start + ROWS_AT_ONCE]


def _generate(model: nn.Module, rows: list[list[int]]) -> list[list[int]]:
    cache = make_prompt_cache(model)
    tokens = mx.array(rows)
    written: list[list[int]] = [[] for _ in rows]
    open_rows = set(range(len(rows)))
    for _ in range(MOST_NEW_TOKENS):
        chosen = mx.argmax(model(tokens, cache=cache)[:, -1], axis=-1)
        for row, token in enumerate(np.array(chosen).tolist()):
            if row in open_rows and token == END_OF_TURN:
                open_rows.discard(row)
            elif row in open_rows:
                written[row].append(token)
        if not open_rows:
            break
        tokens = chosen[:, None]
    return written


def answer(model: nn.Module, tokenizer: TokenizerWrapper, probes: Sequence[Probe]) -> list[Outcome]:
    """Greedy answers, thoughts removed, in no particular order."""
    outcomes = []
    for group in _same_length(probes):
        for probe, ids in zip(group, _generate(model, [probe.prompt_ids for probe in group]), strict=True):
            outcomes.append(Outcome(probe, tokenizer.decode(ids).removeprefix(EMPTY_THOUGHT)))
    return outcomes


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
