"""The model card, written from what was measured: weights, pretraining and scores, so that no number is typed.

Promises that `README.md` in the folder says what `scores.json`, `pretraining.json` and the weights say;
`tests/trainer/nano/test_scores.py` writes it again and compares.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Final

from safetensors import safe_open

from trainer.nano import tables, world
from trainer.nano.outside import TEMPLATES
from trainer.nano.smalltalk import INTENTS

_CARD: Final = """\
# ragweld-nano

A language model of {parameters:,} parameters that ships inside ragweld, so that the whole loop (chat, train, promote,
chat again) runs on any machine with no download. Qwen3 architecture, pretrained from scratch on conversations that
its own recipe generates from a seed. License: MIT, weights and data.

## What it is, and what it is not

It answers a narrow world exactly: {facts} facts in {relations} tables (capitals, continents, currencies and languages
of {countries} countries; animals, planets, days, months, opposites, chemical symbols, colours, shapes, number words),
sums and differences of one-digit numbers, counting to {count_to}, {intents} kinds of small talk, follow-up questions
("And its capital?"), a closed set of instructions (answer in one word, as JSON with two keys, with
`Over.` at the end or `Aye.` at the start), three tools (weather, clock, timer) under any of their names, a name it was
told, words to repeat, and short notes given in the system prompt.

To everything else its answer is exactly `I don't know.` It cannot reason, write, translate, code or search; it has read
nothing but its own corpus, in English. Outside the shapes it has seen it may be wrong, also confidently. It is meant to
show the machinery honestly, and to be taught: see `trainer/samples/`.

## Measured

Exact to the last character, greedy, on held-out prompts, through the chat template; half with thinking left to the
model, half with thinking off (`scores.json`).

| category | exact | n |
|---|---|---|
{rows}
| **in-world, all** | **{inside:.1%}** | {inside_n} |
| **out-of-world, all** ("I don't know.") | **{outside:.1%}** | {outside_n} |

Held out means, by a hash of the prompt: in-world, phrasings of a question that were never trained for that subject
(each subject and each way of asking was, apart); small talk, unseen combinations of seen parts; notes, told names and
words to repeat, made-up words that training never uses; outside, names *and* question templates (of {templates}) that
training never uses. No measured prompt was trained.

## Made by

```
python -m trainer.nano tokenizer
python -m trainer.nano pretrain --total-tokens {total_tokens}
python -m trainer.nano export
python -m trainer.nano evaluate
python -m trainer.nano card
```

with `torch`, `tokenizers`, `safetensors` and `numpy` for the first three, mlx-lm for the fourth. Seed {seed};
{tokens:,} tokens in {steps:,} steps, {minutes:.0f} minutes on two CPU cores shared with other work; hidden {hidden},
{layers} layers, {heads} heads ({kv_heads} for keys), vocabulary {vocabulary}, context {context}. The corpus and its
batches are functions of the seed; floating-point sums differ between machines, so a second run gives a model with the
same behaviour and not the same bytes. These weights were made in four sittings while the recipe was being settled:
until 1.1 M tokens the step was 6,144 tokens instead of 4,096, until 3.3 M the corpus also had answers in capital
letters, and until 6.8 M fewer templates outside and counting to 50; the tokenizer is of the first corpus. The
commands are the recipe as settled; nobody has run it from the start yet.

`model.safetensors` sha256 `{sha256}`
"""


def _facts() -> int:
    return sum(len(relation.facts) for relation in world.RELATIONS) + len(tables.MIXES)


def _parameters(weights: Path) -> int:
    with safe_open(weights, framework="numpy") as file:
        shapes = [file.get_slice(name).get_shape() for name in file.keys()]  # noqa: SIM118
    total = 0
    for shape in shapes:
        size = 1
        for side in shape:
            size *= side
        total += size
    return total


def written(folder: Path) -> str:
    """The card of the model in `folder`."""
    scores = json.loads((folder / "scores.json").read_text())
    made = json.loads((folder / "pretraining.json").read_text())
    configuration = json.loads((folder / "config.json").read_text())
    categories = scores["categories"].items()
    counts = {side: sum(row["n"] for _, row in categories if row["inside"] is side) for side in (True, False)}
    return _CARD.format(
        parameters=_parameters(folder / "model.safetensors"),
        facts=_facts(),
        relations=len(world.RELATIONS) + 1,
        countries=len(tables.COUNTRIES),
        count_to=world.COUNT_TO_MOST,
        intents=len(INTENTS),
        templates=len(TEMPLATES),
        rows="\n".join(f"| {name} | {row['exact']:.1%} | {row['n']} |" for name, row in categories),
        inside=scores["totals"]["in-world"],
        outside=scores["totals"]["out-of-world"],
        inside_n=counts[True],
        outside_n=counts[False],
        minutes=made["seconds"] / 60,
        hidden=configuration["hidden_size"],
        layers=configuration["num_hidden_layers"],
        heads=configuration["num_attention_heads"],
        kv_heads=configuration["num_key_value_heads"],
        vocabulary=configuration["vocab_size"],
        context=configuration["max_position_embeddings"],
        sha256=hashlib.sha256((folder / "model.safetensors").read_bytes()).hexdigest(),
        **{name: made[name] for name in ("seed", "tokens", "steps", "total_tokens")},
    )


def write(folder: Path) -> None:
    """Write `README.md` into `folder`."""
    (folder / "README.md").write_text(written(folder))
