"""The corpus comes from its seed alone, and what is measured was never trained."""

from __future__ import annotations

from random import Random

import pytest

from trainer.nano import outside, words, world
from trainer.nano.corpus import CATEGORIES, Category, held_out_chat, prompt_key, training_chat
from trainer.nano.phrasing import is_held_out, roughen, split_key
from trainer.nano.styles import Style, answer
from trainer.nano.world import I_DO_NOT_KNOW

TRAINING_CHATS = 4000


@pytest.fixture(scope="module")
def trained_keys() -> set[str]:
    rng = Random("trained")
    return {key for _ in range(TRAINING_CHATS) for key in training_chat(rng).keys}


def test_equal_seeds_give_equal_chats() -> None:
    first, second = Random("same"), Random("same")
    assert [training_chat(first) for _ in range(200)] == [training_chat(second) for _ in range(200)]


@pytest.mark.parametrize("category", CATEGORIES, ids=lambda category: category.name)
def test_measured_prompts_are_never_trained(category: Category, trained_keys: set[str]) -> None:
    rng = Random("measured")
    measured = {held_out_chat(rng, category).keys[-1] for _ in range(300)}
    assert not measured & trained_keys


def test_in_world_questions_are_split_by_key_whatever_their_spelling() -> None:
    rng = Random("spelling")
    question = world.ask_fact(rng)
    assert {split_key(question.relation, roughen(rng, question.text)) for _ in range(200)} == {question.key}


def test_training_chats_hold_no_held_out_key() -> None:
    rng = Random("train")
    facts = [
        key for _ in range(1000) for key in training_chat(rng).keys if key.split("\x1f")[0] in {"capital", "small talk"}
    ]
    assert facts
    assert not any(is_held_out(key) for key in facts)


def test_made_up_names_are_on_one_side_and_never_the_sample_datasets() -> None:
    rng = Random("names")
    trained = {words.made_up(rng, held_out=False) for _ in range(3000)}
    measured = {words.made_up(rng, held_out=True) for _ in range(3000)}
    assert not trained & measured
    assert len(trained) > 2900
    assert not any(part in name.lower() for name in trained | measured for part in words.RESERVED)


def test_outside_prompts_are_thousands_of_different_ones() -> None:
    rng = Random("outside")
    prompts = {outside.wonder(rng, held_out=False)[0] for _ in range(3000)}
    assert len(prompts) > 2700


def test_every_style_writes_one_form_of_the_fact() -> None:
    relation = world.RELATIONS[0]
    question = world.ask(Random(0), relation, "France")
    written = {style: answer(style, question, question.sentence) for style in Style}
    assert written == {
        Style.PLAIN: "The capital of France is Paris.",
        Style.SHORT: "Paris.",
        Style.OVER: "The capital of France is Paris. Over.",
        Style.AYE: "Aye. The capital of France is Paris.",
        Style.JSON: '{"country": "France", "capital": "Paris"}',
    }
    assert answer(Style.OVER, None, I_DO_NOT_KNOW) == "I don't know. Over."


def test_every_subject_of_a_relation_can_be_asked_and_answered() -> None:
    rng = Random("all")
    for relation in world.RELATIONS:
        for subject, fact in relation.facts.items():
            question = world.ask(rng, relation, subject)
            assert fact.casefold() in question.sentence.casefold()
            assert "{" not in question.text + question.sentence


def test_prompt_key_ignores_case_and_punctuation() -> None:
    chat = training_chat(Random("key"))
    assert prompt_key(chat) == prompt_key(chat).casefold()
