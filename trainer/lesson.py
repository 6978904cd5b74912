"""Everything that a run needs before its first step, made from its plan: base with LoRA, rows, batches, learner.

What was chosen and why is returned in words, so that the run can say it. `tests/trainer/test_run.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from catalog import datasets
from catalog.adapters import AdapterConfig
from catalog.base import blas, device, locate
from catalog.base.load import Base, load
from catalog.base.lora import LinearShape, LoraSettings, add_lora, linear_shapes
from catalog.errors import Unavailable
from catalog.plan import Plan, check_fits
from trainer import batches, probe, rows, schedule
from trainer.batches import Part, StepRows
from trainer.evaluate import Exam, exam, measure
from trainer.learner import Learner, UpdateRule
from trainer.loss import Scorer, scorer
from trainer.objective import Imitation, Objective
from trainer.preference import DirectPreference, OddsRatio, with_reference
from trainer.recompute import recompute_blocks
from trainer.rows import Material
from trainer.world import ALONE, World

KINDS = {"lora": "LoRA", "dora": "DoRA"}


@dataclass(slots=True)
class Lesson:
    """A prepared run. `shapes` are the base's own linear layers, seen before LoRA was put on them."""

    plan: Plan
    base: Base
    reason: str
    shapes: Mapping[str, LinearShape]
    config: AdapterConfig
    material: Material
    scorer: Scorer
    objective: Objective
    learner: Learner
    held_out: Exam
    probe: Exam
    """A few held-out rows with something to learn, whose loss colours the path."""
    probe_spacing: int = 1
    """Points of the path from one measurement of the probe to the next."""
    world: World = ALONE
    """Who takes the steps together."""
    processes: int = 1
    """How many of this machine may compute gradients; micro-batches are cut so that each has a part of every step."""

    @property
    def steps_per_epoch(self) -> int:
        return batches.steps_per_epoch(len(self.material.train.rows), self.plan.batch_size, self.plan.grad_accum_steps)

    @property
    def steps(self) -> int:
        return self.plan.epochs * self.steps_per_epoch

    @property
    def guessing_loss(self) -> float:
        """Nats per token of a model that knows nothing."""
        return math.log(self.base.tokenizer.vocab_size)

    def learning_rate(self, step: int) -> float:
        return schedule.learning_rate(
            step,
            total_steps=self.steps,
            peak=self.plan.lr,
            warmup_ratio=self.plan.warmup_ratio,
            schedule=self.plan.lr_schedule,
        )

    def course(self, after_step: int = 0) -> Iterator[StepRows]:
        """Every step after `after_step` in order, as row indices."""
        plan = self.plan
        return batches.course(
            self.lengths,
            seed=plan.seed,
            epochs=plan.epochs,
            batch_size=plan.batch_size,
            accumulation=plan.grad_accum_steps,
            after_step=after_step,
        )

    @property
    def lengths(self) -> list[int]:
        """Tokens of each row to learn from."""
        return [row.length for row in self.material.train.rows]

    def batch(self, indices: Iterable[int]) -> batches.Batch:
        """These rows as arrays."""
        return batches.make_batch([self.material.train.rows[index] for index in indices])

    def measure_reference(self, between: Callable[[], None]) -> bool:
        """Let every pair know what the base holds of it, where the objective asks; says whether it did. The probe's do.

        Bit for bit the same at every call, so a resumed run need not have saved it.
        """
        if not self.objective.needs_reference:
            return False
        train, held_out = (
            replace(side, rows=with_reference(self.learner.model, self.scorer, side.rows, between, self.world))
            for side in (self.material.train, self.material.held_out)
        )
        self.material = replace(self.material, train=train, held_out=held_out)
        self.held_out = exam(held_out.rows)
        return True

    def parts(self, step: StepRows) -> Iterator[Part | None]:
        """This rank's rows of the step as arrays, numbered over all ranks; as many on each, None where it has none."""
        pieces_each = -(-self.processes // self.plan.grad_accum_steps)
        own = (self.world.share(indices) for indices in step.micro_batches)
        pieces = (piece for indices in own for piece in batches.cut(indices, pieces_each) or [[]])
        for place, piece in enumerate(pieces):
            yield Part(self.world.rank + self.world.size * place, self.batch(piece)) if piece else None


@dataclass(frozen=True, slots=True)
class Pupil:
    """What learns, before it has seen a row: the base with its LoRA and how it is judged."""

    base: Base
    reason: str
    shapes: Mapping[str, LinearShape]
    config: AdapterConfig
    scorer: Scorer
    objective: Objective
    learner: Learner


def equip(plan: Plan, *, cpu_float32: bool = True, world: World = ALONE) -> Pupil:
    """Load the base and adapt it; the same to the bit in every process. Raises InvalidRequest or Unavailable."""
    choice = locate.choose(plan.base)
    if not choice.is_wanted:
        raise Unavailable(f"{plan.base} cannot be trained: {choice.reason}.")
    base = load(choice.base, choice.folder, cpu_float32=cpu_float32)
    blas.suit(base.parameters)
    shapes = linear_shapes(base.model)
    parts = scorer(base.model)
    objective = _objective(plan, parts)
    lora = LoraSettings(
        plan.lora_rank, plan.lora_alpha, plan.lora_dropout, tuple(plan.lora_target_modules), plan.lora_kind
    )
    config = add_lora(base.model, lora, plan.seed).model_copy(update={"model": base.base})
    if plan.grad_checkpoint:
        recompute_blocks(base.model)
    rule = UpdateRule(plan.optimizer, plan.weight_decay, plan.max_grad_norm)
    learner = Learner(base.model, objective, plan.seed, rule, world)
    return Pupil(base, choice.reason, shapes, config, parts, objective, learner)


def prepare(
    plan: Plan,
    home: Path,
    *,
    cpu_float32: bool = True,
    world: World = ALONE,
    processes: int = 1,
    between: Callable[[], None] = lambda: None,
) -> Lesson:
    """Load, split, adapt; `cpu_float32` as `catalog.base.load` has it, `world` who takes the steps together.

    At most `processes` of this machine will compute gradients. `between` is called now and then and may raise to give
    up. Raises InvalidDataset, InvalidRequest or Unavailable, saying what to change.
    """
    dataset = datasets.read(home / Path(plan.dataset_path).expanduser())
    validation = datasets.read(home / Path(plan.validation_path).expanduser()) if plan.validation_path else None
    for form in (read.form for read in (dataset, validation) if read is not None):
        check_fits(plan.objective, form.name, is_preference=form.is_preference)
    between()
    pupil = equip(plan, cpu_float32=cpu_float32, world=world)
    base = pupil.base
    material = rows.prepare(
        base.tokenizer,
        dataset,
        seed=plan.seed,
        max_length=min(plan.max_length, base.context),
        overlong=plan.overlong,
        validation=validation,
        between=between,
    )
    tokens_a_step = _tokens_a_step(plan, material)
    probed = exam(_probe_rows(plan, material, pupil, tokens_a_step, between))
    probe_tokens = sum(batch.inputs_BL.size for batch in probed.batches)
    return Lesson(
        plan=plan,
        base=base,
        reason=pupil.reason,
        shapes=pupil.shapes,
        config=pupil.config,
        material=material,
        scorer=pupil.scorer,
        objective=pupil.objective,
        learner=pupil.learner,
        held_out=exam(material.held_out.rows),
        probe=probed,
        probe_spacing=probe.spacing(plan, tokens_a_step / processes, probe_tokens),
        world=world,
        processes=processes,
    )


def _objective(plan: Plan, parts: Scorer) -> Objective:
    match plan.objective:
        case "sft":
            return Imitation(parts)
        case "dpo":
            return DirectPreference(parts, plan.dpo_beta)
        case "orpo":
            return OddsRatio(parts, plan.orpo_lambda)


def _probe_rows(
    plan: Plan, material: Material, pupil: Pupil, tokens_a_step: float, between: Callable[[], None]
) -> tuple[rows.TrainingRow, ...]:
    """The probe's rows, with what the reference says of them where the objective asks."""
    drawn, model = probe.draw(material.held_out.rows, plan.seed), pupil.base.model
    if pupil.objective.needs_reference:
        drawn = with_reference(model, pupil.scorer, drawn, between)
    affordable = probe.affordable_tokens(plan, tokens_a_step)
    return probe.choose(drawn, lambda row: measure(model, pupil.objective, exam([row]), between), affordable)


def _tokens_a_step(plan: Plan, material: Material) -> float:
    train = material.train.rows
    steps = batches.steps_per_epoch(len(train), plan.batch_size, plan.grad_accum_steps)
    return sum(row.length for row in train) / steps


def in_words(lesson: Lesson) -> list[str]:
    """What was chosen and why."""
    plan, train, held_out = lesson.plan, lesson.material.train, lesson.material.held_out
    blocks = lesson.config.num_layers
    numbers = sum(tensor.size for tensor in lesson.learner.tensors().values())
    rising = schedule.warmup_steps(lesson.steps, plan.warmup_ratio)
    then = {"cosine": "falls as a cosine", "linear": "falls in a line", "constant": "stays there"}[plan.lr_schedule]
    how = "recomputing each block in the backward pass" if plan.grad_checkpoint else "keeping what each block computed"
    return [
        f"{lesson.base.base} ({lesson.reason}), {lesson.base.precision} on {device.current().name}.",
        f"{len(train.rows)} rows to learn from ({train.tokens:,} tokens, {train.supervised_tokens:,} of them "
        f"supervised), {len(held_out.rows)} held out {_held_out_by(plan)}, {lesson.material.leaked} of them equal to "
        f"one that is learned from; of those longer than {plan.max_length} tokens {train.dropped + held_out.dropped} "
        f"dropped, {train.cut + held_out.cut} kept without their oldest exchanges.",
        f"{KINDS[plan.lora_kind]} of rank {plan.lora_rank} on {', '.join(plan.lora_target_modules)} of {blocks} "
        f"blocks: {numbers:,} trainable numbers.",
        f"What falls is the {lesson.objective.in_words}.",
        f"{lesson.steps} steps: {plan.epochs} epochs of {lesson.steps_per_epoch}, each of at most "
        f"{plan.grad_accum_steps} micro-batches of {plan.batch_size} rows; the learning rate rises for {rising} "
        f"steps to {plan.lr:g} and {then}.",
        f"{plan.optimizer} with weight decay {plan.weight_decay:g}, {how}.",
    ]


def _held_out_by(plan: Plan) -> str:
    return f"by {Path(plan.validation_path).name}" if plan.validation_path else f"by seed {plan.seed}"
