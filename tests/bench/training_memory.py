"""Peak memory of a training step above the weights, against mlx_lm.lora: 1,024 tokens at Qwen3's vocabulary.

One row of about 1,024 tokens, a third of them supervised, on a base of Qwen3's shape made small, whose vocabulary alone
is whole: 151,936. Both count by MLX's own counter.
"""

from __future__ import annotations

import argparse
import json
import tempfile
from pathlib import Path

from catalog import datasets
from catalog.base.rows import rows_of
from catalog.base.tokenizer import load
from catalog.ids import BaseId
from tests.bench import bases, trainers
from tests.bench.trainers import Told

VOCABULARY = 151_936
TOKENS = 1024
ANSWER_WORDS = 120
STEPS = 1


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("27m", "100m"), default="27m")
    parser.add_argument("--grad-checkpoint", action="store_true", help="let both recompute their blocks")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        base = bases.write(arguments.model, root / "base", vocab_size=VOCABULARY)
        supervised = write_rows(base, root / "data")
        changes = {"batch_size": 1, "grad_checkpoint": arguments.grad_checkpoint}
        plan = trainers.plan(base, root / "data", **changes)
        mine, _ = trainers.ours(root / "home", plan)
        theirs, _ = trainers.reference(base, root / "data", root / "out", iters=STEPS, steps_per_report=1, **changes)
        weights_bytes = (base / "model.safetensors").stat().st_size
    above = [peak_bytes(told) - weights_bytes for told in (mine, theirs)]
    print(
        f"{TOKENS} tokens, {supervised} supervised, weights {weights_bytes / 1e9:.2f} GB: above them "
        f"{above[0] / 1e9:.2f} GB to {above[1] / 1e9:.2f} = {above[0] / above[1]:.3f}"
    )
    ratios = {"peak_above_weights": round(above[0] / above[1], 3)}
    print(json.dumps({"bench": "training_memory", "model": arguments.model, "ratios": ratios}))


def peak_bytes(told: list[Told]) -> int:
    """The highest that was told."""
    return max(one.peak_bytes or 0 for one in told)


def write_rows(base: Path, folder: Path) -> int:
    """Rows of the wanted length for both sides; how many tokens of one are supervised."""
    folder.mkdir()
    tokenizer = load(BaseId(str(base)), base)
    answer = "rope at Hull, " * (ANSWER_WORDS // 3)
    words = 0
    row, tokens, supervised = "", 0, 0
    while tokens < TOKENS:
        words += 10
        asked = "salt " * words
        messages = [{"role": "user", "content": asked}, {"role": "assistant", "content": answer}]
        row = json.dumps({"messages": messages}) + "\n"
        path = folder / "train.jsonl"
        path.write_text(row)
        (made,) = rows_of(tokenizer, datasets.read(path).rows[0], max_length=1 << 20, overlong="drop").rows
        tokens, supervised = len(made.tokens), made.supervised_tokens
    for name, count in (("train", STEPS), ("valid", 1)):
        (folder / f"{name}.jsonl").write_text("".join(row.replace("Hull", f"Hull {n}", 1) for n in range(count)))
    return supervised


if __name__ == "__main__":
    main()
