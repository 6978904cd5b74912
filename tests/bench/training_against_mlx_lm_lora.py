"""Supervised tokens per second and what was learned after equal time, against mlx_lm.lora on mixed-length chats.

Each round trains both for whole epochs, turn by turn; the pace is that after the first. Then ours trains for the
seconds that the reference took, its own evaluations included, and both adapters are measured on the same rows, each
side with the best of the same learning rates.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import tempfile
from dataclasses import dataclass
from pathlib import Path

from catalog.base.load import load
from catalog.base.lora import linear_shapes, read_adapter
from catalog.ids import BaseId
from catalog.plan import Plan
from tests.bench import bases, chats, trainers
from tests.bench.trainers import Told
from trainer import lesson
from trainer.evaluate import measure, wearing
from trainer.loss import scorer
from trainer.objective import Imitation

EPOCHS = 2
RATES = (1e-3, 2e-3, 4e-3, 8e-3)
EXAMS = {"eval_interval_steps": 20}


@dataclass(frozen=True, slots=True)
class Pace:
    """Supervised tokens per second of the wall's clock and of the processor's."""

    per_wall_s: float
    per_cpu_s: float


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("nano", "27m"), default="nano")
    parser.add_argument("--rounds", type=int, default=2)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        base, data = bases.write(arguments.model, root / "base"), chats.write(root / "data")
        wall, cpu = zip(*(compared(base, data, root / str(number)) for number in range(arguments.rounds)), strict=True)
        losses = after_equal_time(base, data, root / "equal")
    ratios = {"supervised_tokens_per_s": round(statistics.median(wall), 2)}
    ratios |= {"supervised_tokens_per_cpu_s": round(statistics.median(cpu), 2)} | losses
    print(json.dumps({"bench": "training_against_mlx_lm_lora", "model": arguments.model, "ratios": ratios}))


def compared(base: Path, data: Path, root: Path) -> tuple[float, float]:
    """Ours to the reference, by the wall's clock and by the processor's."""
    plan = trainers.plan(base, data, epochs=EPOCHS)
    prepared = lesson.prepare(plan, root)
    told, _ = trainers.ours(root / "home", plan)
    supervised = prepared.material.train.supervised_tokens / prepared.steps_per_epoch
    mine = _pace(told, prepared.steps_per_epoch, supervised)
    theirs = reference_pace(trainers.reference(base, data, root / "reference", **_epochs(data))[0])
    print(
        f"supervised tokens/s: {mine.per_wall_s:.0f} to {theirs.per_wall_s:.0f} = "
        f"{mine.per_wall_s / theirs.per_wall_s:.2f}x; per second of the processor {mine.per_cpu_s:.0f} to "
        f"{theirs.per_cpu_s:.0f} = {mine.per_cpu_s / theirs.per_cpu_s:.2f}x",
        flush=True,
    )
    return mine.per_wall_s / theirs.per_wall_s, mine.per_cpu_s / theirs.per_cpu_s


def _epochs(data: Path) -> dict[str, int]:
    """The reference's iterations for as many whole epochs, told after each."""
    each = sum(1 for _ in (data / "train.jsonl").open()) // trainers.BATCH
    return {"iters": EPOCHS * each, "steps_per_report": each}


def _pace(told: list[Told], first_step: int, supervised_per_step: float) -> Pace:
    taken = [one for one in told if one.step >= first_step]
    first, last = taken[0], taken[-1]
    tokens = supervised_per_step * (last.step - first.step)
    return Pace(tokens / (last.wall_s - first.wall_s), tokens / (last.cpu_s - first.cpu_s))


def reference_pace(told: list[Told]) -> Pace:
    """After the first epoch, by its own count of tokens, less the one padding token that it learns of every row."""
    first, last = told[1], told[-1]
    tokens = last.tokens - first.tokens - trainers.BATCH * (last.step - first.step)
    return Pace(tokens / (last.wall_s - first.wall_s), tokens / (last.cpu_s - first.cpu_s))


def after_equal_time(base: Path, data: Path, root: Path) -> dict[str, float]:
    """Held-out losses of both, in nats per supervised token, after the seconds that the reference's epochs take.

    Each with the best of the same rates: MLX's AdamW corrects the bias of its moments only when it is asked to, as we
    do and the reference does not, so at the same rate its first hundred steps are up to six times as long.
    """
    theirs, seconds = [], math.inf
    for rate in RATES:
        told, adapter = trainers.reference(base, data, root / f"theirs-{rate}", learning_rate=rate, **_epochs(data))
        seconds = min(seconds, told[-1].wall_s - told[0].wall_s)
        theirs.append(held_out_loss(base, data, adapter))
    mine = [
        _ours_after(seconds, trainers.plan(base, data, epochs=50, lr=rate, **EXAMS), root / f"ours-{rate}")
        for rate in RATES
    ]
    for rate, ours, reference in zip(RATES, mine, theirs, strict=True):
        print(f"held-out loss after {seconds:.0f} s at rate {rate:g}: {ours:.3f} against {reference:.3f}", flush=True)
    return {"held_out_loss": round(min(mine), 3), "held_out_loss_of_mlx_lm_lora": round(min(theirs), 3)}


def _ours_after(seconds: float, plan: Plan, home: Path) -> float:
    """The last loss that a run measured within `seconds` of its first measurement."""
    told, _ = trainers.ours(home, plan, seconds)
    measured = [one for one in told if one.eval_loss is not None]
    return [one.eval_loss for one in measured if one.wall_s <= measured[0].wall_s + seconds][-1]


def held_out_loss(base: Path, data: Path, adapter: Path) -> float:
    """Of the base wearing `adapter`, measured as ours is."""
    prepared = lesson.prepare(trainers.plan(base, data), data)
    bare = load(BaseId(str(base)), base).model

    with wearing(bare, read_adapter(adapter, linear_shapes(bare))):
        return measure(bare, Imitation(scorer(bare)), prepared.held_out).loss


if __name__ == "__main__":
    main()
