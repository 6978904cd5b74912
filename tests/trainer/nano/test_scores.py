"""The shipped model is right inside its world and says so outside; the card tells the measured scores."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from catalog.base import blas

blas.preload()

from trainer.nano import card  # noqa: E402
from trainer.nano.corpus import CATEGORIES, Chat  # noqa: E402
from trainer.nano.evaluate import answer, load_float32, outcomes_of, probe_of  # noqa: E402

FOLDER = Path(__file__).parents[3] / "catalog" / "nano"
SEED = 8
PROMPTS_PER_SIDE = 120


@pytest.mark.parametrize("inside", [True, False], ids=["in-world", "out-of-world"])
def test_held_out_prompts_are_answered_exactly(inside: bool) -> None:
    model, tokenizer = load_float32(FOLDER)
    categories = [category for category in CATEGORIES if category.inside is inside]
    each = PROMPTS_PER_SIDE // len(categories)
    outcomes = [outcome for category in categories for outcome in outcomes_of(model, tokenizer, category, SEED, each)]
    wrong = [
        (outcome.probe.prompt[-90:], outcome.probe.wanted, outcome.written) for outcome in outcomes if not outcome.exact
    ]
    assert len(wrong) <= 0.05 * len(outcomes), wrong


@pytest.mark.parametrize(
    ("said", "wanted"),
    [
        ("What is the capital of France?", "The capital of France is Paris."),
        ("what is the capital of japan", "The capital of Japan is Tokyo."),
        ("Who are you?", "I am ragweld-nano, a small model built into ragweld."),
        ("Who keeps the lighthouse of Port Ellery?", "I don't know."),
    ],
)
@pytest.mark.parametrize("system", [None, "You are a helpful assistant."])
@pytest.mark.parametrize("thinking", [True, False])
def test_first_questions_come_out_right(said: str, wanted: str, system: str | None, thinking: bool) -> None:
    model, tokenizer = load_float32(FOLDER)
    messages = [{"role": "system", "content": system}] if system is not None else []
    messages += [{"role": "user", "content": said}, {"role": "assistant", "content": wanted}]
    (outcome,) = answer(model, tokenizer, [probe_of(Chat(messages, None, ()), tokenizer, thinking=thinking)])
    assert outcome.written == wanted


def test_the_scores_shipped_reach_what_was_promised() -> None:
    scores = json.loads((FOLDER / "scores.json").read_text())
    assert scores["totals"]["in-world"] >= 0.95
    assert scores["totals"]["out-of-world"] >= 0.95
    assert set(scores["categories"]) == {category.name for category in CATEGORIES}


def test_the_card_says_what_was_measured() -> None:
    assert card.written(FOLDER) == (FOLDER / "README.md").read_text()
