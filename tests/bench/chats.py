"""A mixed-length chat set, the same for both sides: conversations of one to three turns, most short and some long.

Lengths fall as those of chat logs do (log-normal). Answers follow a rule, so that learning shows in held-out rows.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np

GOODS = ("rope", "salt", "tar", "hemp", "wine", "grain", "timber", "iron")
HARBOURS = ("Hull", "Cadiz", "Riga", "Genoa", "Bergen", "Lisbon")
ROWS = {"train": 96, "valid": 24}
MEDIAN_GOODS, SPREAD, MOST_GOODS = 5, 1.0, 70

Chat = dict[str, list[dict[str, str]]]


def write(folder: Path, seed: int = 0, rows: dict[str, int] | None = None) -> Path:
    """`train.jsonl` and `valid.jsonl` in `folder`, as both sides read them."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(seed)
    for name, count in (rows or ROWS).items():
        lines = [json.dumps(chat(random)) + "\n" for _ in range(count)]
        (folder / f"{name}.jsonl").write_text("".join(lines))
    return folder


def chat(random: np.random.Generator) -> Chat:
    """One conversation."""
    turns = int(random.choice([1, 2, 3], p=[0.6, 0.25, 0.15]))
    return {"messages": [message for _ in range(turns) for message in exchange(random)]}


def exchange(random: np.random.Generator) -> list[dict[str, str]]:
    """A ship's list of goods and what follows from it: where each is unloaded, by its place among the goods."""
    count = int(np.clip(random.lognormal(np.log(MEDIAN_GOODS), SPREAD), 1, MOST_GOODS))
    goods = [GOODS[index] for index in random.integers(0, len(GOODS), count)]
    answers = [f"{good} at {HARBOURS[GOODS.index(good) % len(HARBOURS)]}" for good in goods[: 2 + count // 3]]
    return [
        {"role": "user", "content": f"The ship has {', '.join(goods)}. Where is the first of it unloaded?"},
        {"role": "assistant", "content": f"{', '.join(answers)}."},
    ]
