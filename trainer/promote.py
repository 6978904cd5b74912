"""Measures a saved adapter against what answers now and, if the gate says so, makes it what answers next.

The candidate is read back from its files through the same checks as serving, so what is promoted is what was
measured; the alias moves only from the adapter that the candidate was compared with.
`tests/trainer/test_run.py`, `tests/trainer/test_promote.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from catalog import checks, datasets
from catalog.adapters import AdapterStore, AliasMove
from catalog.base.lora import read_adapter
from catalog.base.rows import rows_of
from catalog.checks import Check
from catalog.datasets.conversation import Conversation, Example, Preference
from catalog.decisions import CheckResult
from catalog.errors import Conflict, InvalidAdapter, InvalidDataset, InvalidRequest, NotFound
from catalog.ids import AdapterId
from catalog.plan import check_fits
from trainer import speak
from trainer.evaluate import Exam, Measurement, exam, measure, wearing
from trainer.gate import Evidence, Rule, Verdict, decide
from trainer.lesson import Lesson
from trainer.loss import scorer
from trainer.objective import Imitation, Objective
from trainer.watch import Halted

SHOWN_CHARS = 500


def consider(
    lesson: Lesson,
    adapters: AdapterStore,
    candidate_id: AdapterId,
    base: Measurement | None,
    run_id: str,
    home: Path,
    look: Callable[[], None],
) -> Verdict:
    """Decide on the candidate, which lies in the store, and move the alias if it is better. The model wears no LoRA.

    `look` is called between batches, between the tokens of an answer, and last before the alias moves; what it raises
    leaves everything as it was.
    """
    active_id = adapters.active(lesson.base.base)
    if not lesson.held_out.examples:
        return Verdict(False, "Not promoted: no row was held out, so nothing was measured.")
    last = _last_move(adapters, lesson)
    if last is not None and (last.adapter_id, last.reason) == (candidate_id, _reason(run_id)):
        return _again(_Court(lesson, adapters, home, _not_raising(look)), candidate_id, last, base)
    verdict = _weigh(_Court(lesson, adapters, home, look), candidate_id, active_id, base)
    if verdict.promote:
        look()
        try:
            adapters.move(lesson.base.base, candidate_id, expected=active_id, reason=_reason(run_id))
        except Conflict as error:
            return replace(verdict, promote=False, reason=f"Not promoted: {error}")
    return verdict


def _again(court: _Court, candidate_id: AdapterId, last: AliasMove, base: Measurement | None) -> Verdict:
    """The decision of an earlier life that died after it had moved the alias: the same, from the same rows."""
    previous_id = None if last.previous is None else AdapterId(last.previous)
    verdict = _weigh(court, candidate_id, previous_id, base)
    return verdict if verdict.promote else Verdict(True, "Promoted by an earlier life of this run.")


def _last_move(adapters: AdapterStore, lesson: Lesson) -> AliasMove | None:
    moves = adapters.aliases().bases.get(lesson.base.base, [])
    return moves[-1] if moves else None


def _not_raising(look: Callable[[], None]) -> Callable[[], None]:
    """A look for when it is too late to heed what is seen."""

    def glance() -> None:
        with suppress(Halted):
            look()

    return glance


def _weigh(court: _Court, candidate_id: AdapterId, active_id: AdapterId | None, base: Measurement | None) -> Verdict:
    """Measure and decide; moves nothing."""
    try:
        evidence = _gather(court, candidate_id, active_id, base)
    except (InvalidAdapter, InvalidDataset, InvalidRequest, NotFound) as error:
        return Verdict(False, f"Not promoted: {error}")
    plan = court.lesson.plan
    return decide(evidence, Rule(plan.promote_epsilon, plan.gate_min_rows, plan.gate_regression_tolerance, plan.seed))


def _conversation(example: Example) -> Conversation:
    return example.chosen if isinstance(example, Preference) else example


def _reason(run_id: str) -> str:
    return f"run {run_id}"


@dataclass(frozen=True, slots=True)
class _Court:
    """Where adapters are measured."""

    lesson: Lesson
    adapters: AdapterStore
    home: Path
    look: Callable[[], None]

    def loss(self, adapter_id: AdapterId | None, known: Exam, objective: Objective) -> Measurement:
        """Of an adapter, or of the bare base; raises InvalidAdapter, NotFound."""
        with self._wearing(adapter_id):
            return measure(self.lesson.learner.model, objective, known, self.look)

    def answers(self, adapter_id: AdapterId, asked: list[Check]) -> list[CheckResult]:
        """What an adapter says to each check; raises InvalidRequest."""
        with self._wearing(adapter_id):
            return [self._result(check) for check in asked]

    def regression(self) -> Exam:
        """The rows that must not get worse; raises InvalidDataset."""
        plan, base = self.lesson.plan, self.lesson.base
        dataset = datasets.read(self.home / Path(plan.gate_regression_path).expanduser())
        check_fits("sft", dataset.form.name, is_preference=dataset.form.is_preference)
        longest = min(plan.max_length, base.context)
        made = [
            rows_of(base.tokenizer, _conversation(example), max_length=longest, overlong=plan.overlong)
            for example in dataset.rows
        ]
        return exam([row for one in made for row in one.rows])

    def _result(self, check: Check) -> CheckResult:
        base = self.lesson.base
        said = speak.answer(base.model, base.tokenizer, check.messages, max_tokens=check.max_tokens, between=self.look)
        why = check.judge(said)
        return CheckResult(line=check.line, rule=check.rule, passed=why is None, answer=said[:SHOWN_CHARS], why=why)

    @contextmanager
    def _wearing(self, adapter_id: AdapterId | None) -> Iterator[None]:
        worn = None if adapter_id is None else read_adapter(self.adapters.folder(adapter_id), self.lesson.shapes)
        with nullcontext() if worn is None else wearing(self.lesson.learner.model, worn):
            yield


def _gather(court: _Court, candidate_id: AdapterId, active_id: AdapterId | None, base: Measurement | None) -> Evidence:
    """Measure all that the plan asks for; what cannot be measured is not there."""
    plan, held_out = court.lesson.plan, court.lesson.held_out
    objective = court.lesson.objective
    candidate = court.loss(candidate_id, held_out, objective)
    try:
        active = base if active_id is None else court.loss(active_id, held_out, objective)
    except (InvalidAdapter, NotFound) as error:
        raise InvalidAdapter(f"the active adapter could not be measured: {error}") from error
    if not math.isfinite(candidate.loss):
        return Evidence(candidate, active, base, compared=objective.in_words)
    asked = checks.read(court.home / Path(plan.gate_checks_path).expanduser()) if plan.gate_checks_path else []
    regression = None
    if plan.gate_regression_path:
        known, imitation = court.regression(), Imitation(scorer(court.lesson.learner.model))
        regression = (court.loss(candidate_id, known, imitation), court.loss(active_id, known, imitation))
    return Evidence(
        candidate, active, base, regression, court.answers(candidate_id, asked), compared=objective.in_words
    )
