"""Whether a run fits into memory, found out by the largest gradient that it will take, before its first step.

One row of the longest micro-batch first, and the whole of it only if that promises to fit: where memory runs out MLX
does not raise, the process dies. `tests/trainer/test_memory.py`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial

from catalog.base import blas, device
from catalog.errors import OutOfMemory
from catalog.plan import Plan
from trainer.lesson import Lesson

blas.preload()

import mlx.core as mx  # noqa: E402

COPIES = 8
"""Of the trainable numbers beside a gradient: its sum, two moments, the best step, what a point measures."""
VARIES = 1.1
"""The same gradient peaks a few percent higher at one time than at another."""
SHARE = 0.9
"""Of what is free that a run may plan to take."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a run takes at its peak: `held_bytes` whatever the batch, `row_bytes` for each row of a micro-batch."""

    held_bytes: int
    row_bytes: int
    rows: int
    tokens: int
    """Of the longest row."""
    exam_bytes: int = 0
    """At the peak of measuring held-out rows."""

    @property
    def peak_bytes(self) -> int:
        return max(self.held_bytes + self.rows * self.row_bytes, self.exam_bytes)

    def in_short(self) -> str:
        return f"{_gb(self.peak_bytes)} at the peak"

    def in_words(self, limit_bytes: int) -> str:
        return (
            f"{self.in_short()}, for {self.rows} row(s) of up to {self.tokens:,} tokens at once; "
            f"{_gb(limit_bytes)} may be taken"
        )


def limit(configured_bytes: int) -> int:
    """Bytes that MLX may hold at once: as configured, or what it holds now and most of what is free."""
    return configured_bytes or int(mx.get_active_memory() + SHARE * device.free_bytes())


def check(lesson: Lesson, limit_bytes: int, between: Callable[[], None] = lambda: None) -> Need:
    """Measure what the run needs; raises OutOfMemory, saying what to change, when that is more than the limit.

    `between` is called before each trial and may raise to give up.
    """
    longest_first = sorted(range(len(lesson.lengths)), key=lambda index: -lesson.lengths[index])
    rows = min(lesson.plan.batch_size, len(longest_first))
    for count in sorted({1, rows}):
        between()
        need = _measured(lesson, longest_first[:count], rows)
        _require(need, lesson.plan, limit_bytes)
    between()
    longest_exam = lesson.held_out.batches[-1:]
    exam_bytes = max((_peak_of(partial(lesson.objective.grade, batch)) for batch in longest_exam), default=0)
    need = replace(need, exam_bytes=exam_bytes)
    _require(need, lesson.plan, limit_bytes)
    return need


def _require(need: Need, plan: Plan, limit_bytes: int) -> None:
    if need.peak_bytes > limit_bytes:
        words = f"The run needs {need.in_words(limit_bytes)}."
        raise OutOfMemory(words, hint=what_to_change(plan, need, limit_bytes))


def _measured(lesson: Lesson, indices: list[int], rows: int) -> Need:
    """The need of `rows` such rows, from the peak of a gradient for these."""
    trainable_bytes = sum(tensor.nbytes for tensor in lesson.learner.tensors().values())
    held_bytes = mx.get_active_memory() + COPIES * trainable_bytes
    peak_bytes = _peak_of(lambda: lesson.learner.try_on(lesson.batch(indices)))
    row_bytes = int(VARIES * max(0, peak_bytes - mx.get_active_memory())) // len(indices)
    return Need(held_bytes, row_bytes, rows, max(lesson.lengths[index] for index in indices))


def _peak_of(act: Callable[[], object]) -> int:
    mx.clear_cache()
    mx.reset_peak_memory()
    act()
    peak_bytes = mx.get_peak_memory()
    mx.clear_cache()
    return peak_bytes


def what_to_change(plan: Plan, need: Need, limit_bytes: int) -> str:
    """Which settings would make the run fit, the one that costs least first."""
    fitting = (limit_bytes - need.held_bytes) // max(1, need.row_bytes)
    ways = []
    if not plan.grad_checkpoint:
        ways.append("set grad_checkpoint")
    if 1 <= fitting < plan.batch_size:
        more = -(-plan.batch_size * plan.grad_accum_steps // fitting)
        ways.append(
            f"lower batch_size from {plan.batch_size} to {fitting} (with grad_accum_steps {more} it learns alike)"
        )
    ways.append(f"lower max_length, now {plan.max_length}")
    return f"To make it fit, {', or '.join(ways)}."


def _gb(size: float) -> str:
    return f"{size / 1e9:.2f} GB"
