"""DPO and ORPO are what their papers say: losses and gradients equal an independent computation in numpy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import mlx.core as mx
import mlx.nn as nn
import numpy as np
import numpy.typing as npt
import pytest
from mlx.utils import tree_flatten

from catalog.base.load import Base
from catalog.base.lora import LoraSettings, add_lora
from catalog.base.rows import Pair, Row
from catalog.plan import Profile, RunRequest, resolve
from catalog.settings import TrainingSettings
from tests.trainer.conftest import Chat, MakePlan, WriteRows
from tests.trainer.test_run import Home
from trainer.batches import Batch, Part, make_batch
from trainer.evaluate import Measurement, exam, measure
from trainer.learner import Learner
from trainer.loss import Scorer, scorer
from trainer.objective import Objective
from trainer.preference import DirectPreference, OddsRatio, with_reference

Array = npt.NDArray[np.float64]
VOCABULARY, WIDTH = 23, 5
BETA, LAMBDA = 0.3, 0.7


def answer(seed: int, prompt: int, length: int, vocabulary: int = VOCABULARY) -> Row:
    """A sequence whose end is learned, but for a token in the middle that a tool said."""
    tokens = tuple(np.random.default_rng(seed).integers(0, vocabulary, prompt + length).tolist())
    learned = tuple(place >= prompt and (length < 4 or place != prompt + 2) for place in range(prompt + length))
    return Row(1, tokens, learned)


def pairs(count: int, vocabulary: int = VOCABULARY) -> list[Pair]:
    """Answers of different lengths, one of them in two sequences, with references."""
    made = [
        Pair(
            (answer(2 * n, 3 + n, 2 + n, vocabulary),),
            (answer(2 * n + 1, 3 + n, 5, vocabulary),),
            reference=0.4 * n - 0.5,
        )
        for n in range(count)
    ]
    two = (answer(90, 3, 4, vocabulary), answer(91, 8, 3, vocabulary))
    return [*made[:-1], replace(made[-1], chosen=two)]


class Bigrams:
    """A model whose every number is at hand: the next token depends on this one through two matrices."""

    def __init__(self) -> None:
        random = np.random.default_rng(5)
        self.embedding = random.standard_normal((VOCABULARY, WIDTH))
        self.head = random.standard_normal((VOCABULARY, WIDTH)) * 0.5

    def scorer(self, head: mx.array) -> Scorer:
        embedding = mx.array(self.embedding, mx.float32)
        return Scorer(lambda tokens: embedding[tokens], lambda hidden: hidden @ head.T, VOCABULARY)

    def log_probability(self, rows: tuple[Row, ...]) -> tuple[float, int, Array]:
        """Of an answer: its nats, negated, how many tokens, and the gradient for the head."""
        total, count, gradient = 0.0, 0, np.zeros_like(self.head)
        for row in rows:
            for place in range(1, len(row.tokens)):
                if not row.supervised[place]:
                    continue
                hidden = self.embedding[row.tokens[place - 1]]
                logits = self.head @ hidden
                chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
                total += np.log(chances[row.tokens[place]])
                count += 1
                chances[row.tokens[place]] -= 1
                gradient -= np.outer(chances, hidden)
        return total, count, gradient


def sigmoid(value: float) -> float:
    return 1 / (1 + np.exp(-value))


def dpo_by_hand(model: Bigrams, made: list[Pair]) -> tuple[list[float], Array]:
    losses, gradient = [], np.zeros_like(model.head)
    for pair in made:
        (chosen, _, up), (rejected, _, down) = map(model.log_probability, pair.answers)
        margin = BETA * (chosen - rejected - pair.reference)
        losses.append(-np.log(sigmoid(margin)))
        gradient -= BETA * sigmoid(-margin) * (up - down)
    return losses, gradient


def orpo_by_hand(model: Bigrams, made: list[Pair]) -> tuple[list[float], Array]:
    losses, gradient = [], np.zeros_like(model.head)
    for pair in made:
        means, slopes, odds = [], [], []
        for total, count, slope in map(model.log_probability, pair.answers):
            chance = np.exp(total / count)
            means.append(total / count)
            odds.append(np.log(chance / (1 - chance)))
            slopes.append((slope / count, slope / count / (1 - chance)))
        ratio = odds[0] - odds[1]
        losses.append(-means[0] - LAMBDA * np.log(sigmoid(ratio)))
        gradient -= slopes[0][0] + LAMBDA * sigmoid(-ratio) * (slopes[0][1] - slopes[1][1])
    return losses, gradient


def objective_of(kind: str, parts: Scorer) -> DirectPreference | OddsRatio:
    return DirectPreference(parts, BETA) if kind == "dpo" else OddsRatio(parts, LAMBDA)


@pytest.mark.parametrize(("kind", "by_hand"), [("dpo", dpo_by_hand), ("orpo", orpo_by_hand)])
def test_losses_and_gradients_are_those_of_the_paper(kind: str, by_hand: object) -> None:
    model, made = Bigrams(), pairs(6)
    batch = make_batch(made)

    def loss(head: mx.array) -> mx.array:
        return objective_of(kind, model.scorer(head)).loss_sum(batch)

    head = mx.array(model.head, mx.float32)
    total, gradient = mx.value_and_grad(loss)(head)
    losses, wanted = by_hand(model, made)  # type: ignore[operator]
    grades = objective_of(kind, model.scorer(head)).grade(batch)
    np.testing.assert_allclose(grades.nats, losses, rtol=1e-5)
    assert total.item() == pytest.approx(sum(losses), rel=1e-5)
    assert np.abs(wanted).max() > 0.1
    np.testing.assert_allclose(np.array(gradient), wanted, rtol=2e-4, atol=2e-5)


@pytest.mark.parametrize("kind", ["dpo", "orpo"])
def test_counts_are_pairs_and_sums_add_up_over_micro_batches(base: Base, kind: str) -> None:
    objective, made = objective_of(kind, scorer(base.model)), pairs(5, 2000)
    whole = make_batch(made)
    assert (objective.count(whole), objective.grade(whole).counts.tolist()) == (5, [1.0] * 5)
    pieces: list[Batch] = [make_batch(made[:2]), make_batch(made[2:])]
    assert objective.loss_sum(whole).item() == pytest.approx(
        sum(objective.loss_sum(piece).item() for piece in pieces), rel=1e-4
    )


def test_an_answer_that_is_certain_has_finite_odds() -> None:
    certain = Scorer(lambda tokens: mx.zeros((*tokens.shape, 1)), lambda hidden: mx.array([50.0, 0.0]) + hidden, 2)
    row = Row(1, (0, 0, 0), (False, True, True))
    other = Row(1, (0, 1, 1), (False, True, True))
    grades = OddsRatio(certain, LAMBDA).grade(make_batch([Pair((row,), (other,)), Pair((other,), (row,))]))
    assert np.isfinite(grades.nats).all()
    assert grades.margins is not None and grades.margins[0] > 0 > grades.margins[1]


@pytest.fixture
def adapted(base: Base) -> nn.Module:
    add_lora(base.model, LoraSettings(4, 8.0, 0.1, ("q_proj", "v_proj")), seed=1)
    return base.model


def nothing() -> None:
    pass


def test_before_learning_every_pair_is_a_tie_to_the_bit(adapted: nn.Module) -> None:
    parts = scorer(adapted)
    known = with_reference(adapted, parts, [replace(pair, reference=9.0) for pair in pairs(11, 2000)], nothing)
    measured = measure(adapted, DirectPreference(parts, BETA), exam(known))
    assert set(measured.margins) == {0.0}
    assert (measured.accuracy, measured.margin) == (0.5, 0.0)
    assert measured.loss == pytest.approx(np.log(2))


def test_the_reference_is_the_base_whatever_was_learned(adapted: nn.Module) -> None:
    parts = scorer(adapted)
    rows = pairs(9, 2000)
    before = with_reference(adapted, parts, rows, nothing)
    objective: Objective = DirectPreference(parts, BETA)
    learner = Learner(adapted, objective, seed=1)
    for step in (1, 2, 3):
        learner.step(step, [Part(0, make_batch(before))], 0.02, nothing)
    measured = measure(adapted, objective, exam(before))
    layers = dict(adapted.named_modules())
    assert with_reference(adapted, parts, rows, nothing) == before
    assert dict(adapted.named_modules()) == layers
    assert measure(adapted, objective, exam(before)) == measured
    assert measured.loss < np.log(2) < measured.loss + measured.margin


def test_only_the_adapter_learns(adapted: nn.Module) -> None:
    objective = DirectPreference(scorer(adapted), BETA)
    _, found = nn.value_and_grad(adapted, objective.loss_sum)(make_batch(pairs(3, 2000)))
    assert {name.rpartition(".")[2] for name, _ in tree_flatten(found)} == {"lora_a", "lora_b"}


def test_a_tie_is_half_right() -> None:
    measured = Measurement((1.0,) * 4, (1,) * 4, (0.5, 0.0, -1.0, 2.0))
    assert (measured.accuracy, measured.margin) == (0.625, 0.375)
    assert Measurement((1.0,), (1,)).accuracy is None


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def preference(number: int) -> Chat:
    asked = f"What is berth {number} for" + " in the old harbour" * (number % 4) + "?"
    return {"prompt": asked, "chosen": f"For {('rope', 'salt', 'tar')[number % 3]}.", "rejected": "I do not know."}


@pytest.mark.parametrize("kind", ["dpo", "orpo"])
def test_a_run_on_pairs_learns_measures_and_promotes(
    home: Home,
    make_plan: MakePlan,
    write_rows: WriteRows,
    kind: str,
) -> None:
    path = write_rows([preference(number) for number in range(24)], "pairs.jsonl")
    run = home.train(make_plan(dataset_path=str(path), objective=kind, dpo_beta=0.2, lr=0.005))
    assert (run.status, run.reason) == ("completed", None)
    measured = [event.metrics for event in home.of_type(run, "metrics")]
    assert measured[-1]["eval_loss"] < measured[0]["eval_loss"]
    assert measured[-1]["eval_margin"] > measured[0]["eval_margin"]
    assert measured[-1]["eval_accuracy"] == 1.0
    probes = [event.probe_loss for event in home.of_type(run, "telemetry")]
    assert probes[-1] < (np.log(2) if kind == "dpo" else probes[0])
    if kind == "dpo":
        assert measured[0] == {"eval_loss": pytest.approx(np.log(2)), "eval_accuracy": 0.5, "eval_margin": 0.0}
    assert run.promotion.promoted
    named = {"dpo": "DPO loss (beta 0.2, against the base without adapter)", "orpo": "ORPO loss (lambda 0.1)"}[kind]
    assert f"held-out {named}" in run.promotion.reason
    assert run.promotion.base_loss == measured[0]["eval_loss"]
    assert run.promotion.candidate_loss == pytest.approx(run.summary.primary_best, rel=1e-4)
    assert home.place.board.snapshot.runs[0].eval_accuracy == 1.0
    again = home.train(make_plan(dataset_path=str(path), objective=kind, dpo_beta=0.2, lr=1e-6))
    assert not again.promotion.promoted and "of the active adapter" in again.promotion.reason


@pytest.mark.parametrize("objective", ["sft", "dpo"])
def test_rows_of_the_wrong_kind_fail_with_what_to_set(
    home: Home,
    make_plan: MakePlan,
    write_rows: WriteRows,
    objective: str,
) -> None:
    path = write_rows([preference(1)], "pairs.jsonl")
    plan = make_plan(dataset_path=str(path)) if objective == "sft" else make_plan(objective=objective)
    run = home.train(plan)
    assert run.status == "failed" and "Set objective to" in run.reason


ASKED = {"Tell me about {}.": 0, "What is {} like?": 1, "Why do people go to {}?": 0, "Is {} worth a visit?": 1}
"""Which answer is preferred hangs on the question, so that liking one of them better is no help."""
ANSWERS = ("Ask the harbour master.", "I do not know.")


def choices(places: tuple[str, ...]) -> list[dict[str, str]]:
    return [
        {"prompt": question.format(place), "chosen": ANSWERS[best], "rejected": ANSWERS[1 - best]}
        for place in places
        for question, best in ASKED.items()
    ]


@pytest.mark.slow
def test_nano_comes_to_prefer_the_chosen_answers_of_pairs_it_never_saw(home: Home, write_rows: WriteRows) -> None:
    learned = write_rows(choices(("Lisbon", "Oslo", "Rome", "Paris", "Berlin", "Madrid")), "learned.jsonl")
    unseen = write_rows(choices(("Vienna", "Warsaw", "Athens")), "unseen.jsonl")
    profile = Profile.recommend(
        base="ragweld-nano",
        base_parameters=3_000_000,
        context=2048,
        dataset_path=str(learned),
        rows=24,
        training=TrainingSettings(),
    )
    request = RunRequest(
        objective="dpo", lr=1e-3, epochs=4, grad_accum_steps=1, eval_interval_steps=12, telemetry_interval_steps=20
    )
    plan = resolve(request, TrainingSettings(), profile, str(unseen))
    run = home.train(plan.model_copy(update={"surface_grid": 0}))
    assert (run.status, run.reason) == ("completed", None)
    measured = [event.metrics for event in home.of_type(run, "metrics")]
    assert measured[0]["eval_accuracy"] == 0.5
    assert measured[-1]["eval_accuracy"] >= 0.9
    assert measured[-1]["eval_loss"] < 0.5
    assert run.promotion.promoted, run.promotion.reason


def test_dpo_is_recommended_a_gentler_rate_than_imitation() -> None:
    profile = Profile.recommend(
        base="x", base_parameters=1_700_000_000, context=2048, dataset_path="", rows=99, training=TrainingSettings()
    )
    rates = {
        objective: resolve(RunRequest(objective=objective), TrainingSettings(), profile).lr
        for objective in ("sft", "dpo", "orpo")
    }
    assert rates == {"sft": 1e-4, "dpo": pytest.approx(1e-5), "orpo": 1e-4}
    assert resolve(RunRequest(objective="dpo", lr=3e-3), TrainingSettings(), profile).lr == 3e-3
