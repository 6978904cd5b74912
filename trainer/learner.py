"""One optimizer step: gradients summed over its parts, one division by one count, one clipped update.

A step either happens whole or leaves no trace: a loss or gradient that is not finite, or a gradient longer than it may
be, changes nothing, and `between` may raise between two parts. A part's gradient, dropout too, is a function of the
weights, (seed, step), the part's number and its rows, and they are summed in the order of their numbers: so the step is
the same to the bit whoever computes which of them.
`tests/trainer/test_learner.py`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import cast

from catalog.base import blas
from catalog.errors import Conflict
from catalog.settings import Optimizer
from trainer.batches import Batch, Part, part_seed
from trainer.objective import Objective
from trainer.steadiness import Bounds
from trainer.world import ALONE, World

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
import mlx.optimizers as optimizers  # noqa: E402
from mlx.utils import tree_flatten, tree_unflatten  # noqa: E402

ANYTHING = Bounds()
NUMBERS = "numbers"
"""The name of all trainable numbers as one vector, in the optimizer's state too."""


@dataclass(frozen=True, slots=True)
class UpdateRule:
    """How a gradient becomes a step. A gradient longer than `max_grad_norm` is cut to it; 0 cuts none."""

    optimizer: Optimizer = "adamw"
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0

    @property
    def is_by_number(self) -> bool:
        """Whether a number moves alike in whatever tensor it stands, so that all may be moved as one vector."""
        return self.optimizer == "adamw"

    def make(self) -> optimizers.Optimizer:
        """The optimizer, whose rate is set at each step."""
        match self.optimizer:
            case "adamw":
                return optimizers.AdamW(learning_rate=0.0, weight_decay=self.weight_decay, bias_correction=True)
            case "adafactor":  # the rate that is told is the rate that is used, so it must not be scaled inside
                return optimizers.Adafactor(
                    learning_rate=0.0, weight_decay=self.weight_decay, scale_parameter=False, relative_step=False
                )


@dataclass(frozen=True, slots=True)
class StepResult:
    """What one step measured. `loss` in nats per counted thing; `grad_norm` before clipping."""

    loss: float
    grad_norm: float
    lr: float
    """The rate that the optimizer really used."""
    rows: int
    tokens: int
    supervised_tokens: int
    count: int
    """What the loss was divided by; the objective says of what."""
    applied: bool
    """False: something was not finite or too long, and nothing was changed."""


def number(scalar: mx.array) -> float:
    """The value of an array of one number."""
    return cast(float, scalar.item())


def length(vector: mx.array) -> float:
    """L2 norm."""
    return number(mx.linalg.norm(vector))


@dataclass(frozen=True, slots=True)
class LearnerState:
    """Trainable tensors and the optimizer's, by name."""

    parameters: dict[str, mx.array]
    optimizer: dict[str, mx.array]


@dataclass(frozen=True, slots=True)
class Gradient:
    """Of one part: the sum of its losses, and that sum's gradient as one vector, as `Learner.flat` has the numbers."""

    loss: mx.array
    numbers: mx.array


Compute = Callable[["Learner", int, Sequence[Part | None], Callable[[], None]], Iterator[Gradient]]
"""Who computes the gradients of a step's parts, in their order; the last argument may raise to give up."""


def in_turn(
    learner: Learner, step: int, parts: Sequence[Part | None], between: Callable[[], None]
) -> Iterator[Gradient]:
    """This process alone, one after the other; `between` is called as often on a rank that has no row for a part."""
    for part in parts:
        between()
        if part is not None:
            yield learner.gradient(step, part)


class Learner:
    """A model with trainable parameters and its optimizer; nothing else of a run's state is needed to go on."""

    def __init__(
        self,
        model: nn.Module,
        objective: Objective,
        seed: int,
        rule: UpdateRule = UpdateRule(),
        world: World = ALONE,
    ) -> None:
        self.model = model
        self._objective = objective
        self._world = world
        self._seed = seed
        self._rule = rule
        self._optimizer = rule.make()
        self._optimizer.init({NUMBERS: self.flat()} if rule.is_by_number else model.trainable_parameters())
        self._gradients = nn.value_and_grad(model, objective.loss_sum)
        self.compute: Compute = in_turn
        self.start = self.flat()
        """Where the trainable numbers began, also of a run that was resumed."""

    def step(
        self,
        step: int,
        parts: Iterable[Part | None],
        lr: float,
        between: Callable[[], None],
        expected: Bounds = ANYTHING,
    ) -> StepResult:
        """Learn from the parts of all ranks as one; `between` is called before each and may raise to give up.

        Nothing is learned when loss or gradient are not finite, or beyond what is `expected`.
        """
        own = list(parts)
        total_loss, total = self._world.sum_arrays(self._summed(step, own, between))
        rows, tokens, supervised, count = self._world.sum_counts(self._counts([part.batch for part in own if part]))
        mean = {NUMBERS: total / count}
        clipped, norm = optimizers.clip_grad_norm(mean, self._rule.max_grad_norm or math.inf)
        loss_value, norm_value = number(total_loss) / count, number(norm)
        applied = expected.hold(loss_value, norm_value)
        self._optimizer.learning_rate = lr
        if applied:
            self._move(clipped)
        used = number(self._optimizer.learning_rate)
        return StepResult(loss_value, norm_value, used, rows, tokens, supervised, count, applied)

    def _summed(
        self, step: int, parts: Sequence[Part | None], between: Callable[[], None]
    ) -> tuple[mx.array, mx.array]:
        """Loss and gradient of all parts; zeros where there are none."""
        total_loss, total = mx.array(0.0), mx.zeros_like(self.start)
        for found in self.compute(self, step, parts, between):
            total_loss, total = total_loss + found.loss, total + found.numbers
            mx.eval(total_loss, total)
        return total_loss, total

    def _move(self, gradient: dict[str, mx.array]) -> None:
        """Let the optimizer take its step; it sees the numbers as one vector wherever it may."""
        if self._rule.is_by_number:
            moved = self._optimizer.apply_gradients(gradient, {NUMBERS: self.flat()})
            self.wear(self.shaped(moved[NUMBERS]))
        else:
            self._optimizer.update(self.model, tree_unflatten(list(self.shaped(gradient[NUMBERS]).items())))
        mx.eval(self.model.trainable_parameters(), self._optimizer.state)

    def _counts(self, batches: Sequence[Batch]) -> list[int]:
        """Rows, tokens, supervised tokens, and what the loss is divided by."""
        return [
            sum(batch.rows for batch in batches),
            sum(batch.tokens for batch in batches),
            sum(batch.supervised_tokens for batch in batches),
            sum(self._objective.count(batch) for batch in batches),
        ]

    def gradient(self, step: int, part: Part) -> Gradient:
        """Compute a part of a step."""
        mx.random.seed(part_seed(self._seed, step, part.number))
        self.model.train()
        loss, tree = self._gradients(part.batch)
        found = Gradient(loss, _flattened(dict(sorted(tree_flatten(tree)))))
        mx.eval(found.loss, found.numbers)
        return found

    def try_on(self, batch: Batch) -> None:
        """Compute the batch's gradient and forget it."""
        self.model.train()
        mx.eval(self._gradients(batch))

    def state(self) -> LearnerState:
        """A snapshot from which another learner goes on bit for bit."""
        return LearnerState(self.tensors(), dict(tree_flatten(self._optimizer.state)))

    def restore(self, state: LearnerState) -> None:
        """Go on from a snapshot; raises Conflict when it is of other tensors."""
        if _shapes(state.parameters) != _shapes(self.tensors()):
            raise Conflict("The checkpoint does not fit the base.", hint="Start a new run.")
        self.wear(state.parameters)
        self._optimizer.state = tree_unflatten(list(state.optimizer.items()))

    def wear(self, tensors: Mapping[str, mx.array]) -> None:
        """Put the trainable tensors to what `tensors` gave, and let the optimizer be."""
        self.model.load_weights(list(tensors.items()), strict=False)

    def tensors(self) -> dict[str, mx.array]:
        """The trainable tensors by name, in order of name. Arrays never change in place, so this is a snapshot."""
        return dict(sorted(tree_flatten(self.model.trainable_parameters())))

    def flat(self) -> mx.array:
        """All trainable numbers as one float32 vector, in order of name."""
        return _flattened(self.tensors())

    def shaped(self, numbers: mx.array) -> dict[str, mx.array]:
        """The tensors that `flat` would give as `numbers`."""
        tensors = self.tensors()
        ends = list(itertools.accumulate(tensor.size for tensor in tensors.values()))
        parts = mx.split(numbers, ends[:-1])
        return {
            name: part.reshape(tensor.shape).astype(tensor.dtype)
            for (name, tensor), part in zip(tensors.items(), parts, strict=True)
        }


def _flattened(tensors: Mapping[str, mx.array]) -> mx.array:
    return mx.concatenate([tensor.astype(mx.float32).reshape(-1) for tensor in tensors.values()])


def _shapes(tensors: dict[str, mx.array]) -> dict[str, tuple[tuple[int, ...], object]]:
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
