"""Measures a saved adapter against what answers now and, if the gate says so, makes it what answers next.

The candidate is read back from its files through the same checks as serving, so what is promoted is what was
measured; the alias moves only from the adapter that the candidate was compared with.
`tests/trainer/test_run.py`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from catalog.adapters import AdapterStore
from catalog.base.lora import read_adapter
from catalog.errors import Conflict, InvalidAdapter, NotFound
from catalog.ids import AdapterId
from trainer.evaluate import Measurement, measure, wearing
from trainer.gate import Verdict, decide
from trainer.lesson import Lesson


def consider(
    lesson: Lesson,
    adapters: AdapterStore,
    candidate_id: AdapterId,
    base: Measurement | None,
    run_id: str,
) -> Verdict:
    """Decide on the candidate, which lies in the store, and move the alias if it is better. The model wears no LoRA."""
    active_id = adapters.active(lesson.base.base)
    if active_id == candidate_id and adapters.aliases().bases[lesson.base.base][-1].reason == _reason(run_id):
        return Verdict(True, "Promoted by an earlier life of this run.")
    if not lesson.held_out.examples:
        return Verdict(False, "Not promoted: no row was held out, so nothing was measured.")
    candidate = _measure(lesson, adapters.folder(candidate_id))
    try:
        active = base if active_id is None else _measure(lesson, adapters.folder(active_id))
    except (InvalidAdapter, NotFound) as error:
        return Verdict(False, f"Not promoted: the active adapter could not be measured: {error}", candidate.loss)
    verdict = decide(candidate, active, base, lesson.plan.promote_epsilon, lesson.objective.in_words)
    if verdict.promote:
        try:
            adapters.move(lesson.base.base, candidate_id, expected=active_id, reason=_reason(run_id))
        except Conflict as error:
            return replace(verdict, promote=False, reason=f"Not promoted: {error}")
    return verdict


def _reason(run_id: str) -> str:
    return f"run {run_id}"


def _measure(lesson: Lesson, folder: Path) -> Measurement:
    adapter = read_adapter(folder, lesson.shapes)
    with wearing(lesson.learner.model, adapter):
        return measure(lesson.learner.model, lesson.objective, lesson.held_out)
