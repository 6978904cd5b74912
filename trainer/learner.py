"""One optimizer step: gradients summed over micro-batches, one division by one count, one clipped update.

A step either happens whole or leaves no trace: a loss or gradient that is not finite, or a gradient longer than it may
be, changes nothing, and `between` may raise between two micro-batches. Dropout is a function of (seed, step) alone.
`tests/trainer/test_learner.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import cast

from catalog.base import blas
from catalog.errors import Conflict
from catalog.settings import Optimizer
from trainer.batches import Batch, step_seed
from trainer.objective import Objective
from trainer.steadiness import Bounds
from trainer.world import ALONE, World

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
import mlx.optimizers as optimizers  # noqa: E402
from mlx.utils import tree_flatten, tree_map, tree_unflatten  # noqa: E402

ANYTHING = Bounds()


@dataclass(frozen=True, slots=True)
class UpdateRule:
    """How a gradient becomes a step. A gradient longer than `max_grad_norm` is cut to it; 0 cuts none."""

    optimizer: Optimizer = "adamw"
    weight_decay: float = 0.01
    max_grad_norm: float = 1.0

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
        self._optimizer.init(model.trainable_parameters())
        self._gradients = nn.value_and_grad(model, objective.loss_sum)
        self.start = self.flat()
        """Where the trainable numbers began, also of a run that was resumed."""

    def step(
        self,
        step: int,
        micro_batches: Iterable[Batch | None],
        lr: float,
        between: Callable[[], None],
        expected: Bounds = ANYTHING,
    ) -> StepResult:
        """Learn from the micro-batches of all ranks as one; None is one in which this rank has no row.

        `between` is called before each and may raise to give up.

        Nothing is learned when loss or gradient are not finite, or beyond what is `expected`.
        """
        mx.random.seed(step_seed(self._seed, step, self._world.rank))
        self.model.train()
        total_loss, gradients = mx.array(0.0), None
        rows = tokens = supervised = count = 0
        for batch in micro_batches:
            between()
            if batch is None:
                continue
            loss, found = self._gradients(batch)
            total_loss = total_loss + loss
            gradients = found if gradients is None else tree_map(mx.add, gradients, found)
            mx.eval(total_loss, gradients)
            rows, tokens, supervised = rows + batch.rows, tokens + batch.tokens, supervised + batch.supervised_tokens
            count += self._objective.count(batch)
        if gradients is None:
            gradients = tree_map(mx.zeros_like, self.model.trainable_parameters())
        total_loss, gradients = self._world.sum_arrays((total_loss, gradients))
        rows, tokens, supervised, count = self._world.sum_counts((rows, tokens, supervised, count))
        mean = tree_map(lambda gradient: gradient / count, gradients)
        clipped, norm = optimizers.clip_grad_norm(mean, self._rule.max_grad_norm or math.inf)
        self._optimizer.learning_rate = lr
        loss_value, norm_value = number(total_loss) / count, number(norm)
        applied = expected.hold(loss_value, norm_value)
        if applied:
            self._optimizer.update(self.model, clipped)
            mx.eval(self.model.trainable_parameters(), self._optimizer.state)
        used = number(self._optimizer.learning_rate)
        return StepResult(loss_value, norm_value, used, rows, tokens, supervised, count, applied)

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
        self.model.load_weights(list(state.parameters.items()), strict=False)
        self._optimizer.state = tree_unflatten(list(state.optimizer.items()))

    def tensors(self) -> dict[str, mx.array]:
        """The trainable tensors by name, in order of name. Arrays never change in place, so this is a snapshot."""
        return dict(sorted(tree_flatten(self.model.trainable_parameters())))

    def flat(self) -> mx.array:
        """All trainable numbers as one float32 vector, in order of name."""
        return mx.concatenate([tensor.astype(mx.float32).reshape(-1) for tensor in self.tensors().values()])

    def shaped(self, numbers: mx.array) -> dict[str, mx.array]:
        """The tensors that `flat` would give as `numbers`."""
        shaped, begin = {}, 0
        for name, tensor in self.tensors().items():
            part = numbers[begin : begin + tensor.size]
            shaped[name] = part.reshape(tensor.shape).astype(tensor.dtype)
            begin += tensor.size
        return shaped


def _shapes(tensors: dict[str, mx.array]) -> dict[str, tuple[tuple[int, ...], object]]:
    return {name: (tuple(tensor.shape), tensor.dtype) for name, tensor in tensors.items()}
