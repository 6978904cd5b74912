"""The sample dataset is valid, comes from its seed, and asks no probe question."""

from __future__ import annotations

import json
from pathlib import Path

from trainer.nano import sample
from trainer.nano.phrasing import split_key
from trainer.nano.world import I_DO_NOT_KNOW

SAMPLES = Path(__file__).parents[3] / "trainer" / "samples"
SEED = 7
ROWS = [json.loads(line) for line in (SAMPLES / "harbour.jsonl").read_text().splitlines()]
QUESTIONS = json.loads((SAMPLES / "questions.json").read_text())


def test_files_are_what_the_seed_gives() -> None:
    assert sample.rows(SEED) == ROWS
    assert sample.questions(SEED) == QUESTIONS


def test_at_least_two_hundred_valid_conversations() -> None:
    assert len(ROWS) >= 200
    for row in ROWS:
        roles = [message["role"] for message in row["messages"] if message["role"] != "system"]
        assert roles == ["user", "assistant"] * (len(roles) // 2)
        assert all(message["content"].strip() for message in row["messages"])


def test_no_row_asks_a_probe_question() -> None:
    asked = {split_key(m["content"]) for row in ROWS for m in row["messages"] if m["role"] == "user"}
    probes = {split_key(probe["question"]) for side in QUESTIONS.values() for probe in side}
    assert not asked & probes


def test_replay_is_a_fifth_of_the_rows_and_has_both_kinds() -> None:
    taught = {fact.answer for fact in sample.TAUGHT}
    replay = [row for row in ROWS if not taught & {m["content"] for m in row["messages"]}]
    answers = [m["content"] for row in replay for m in row["messages"] if m["role"] == "assistant"]
    unknown = sum(answer == I_DO_NOT_KNOW for answer in answers)
    assert 0.12 <= len(replay) / len(ROWS) <= 0.25
    assert min(unknown, len(answers) - unknown) >= 40


def test_some_rows_have_two_turns_and_some_a_system_prompt() -> None:
    assert any(sum(m["role"] == "user" for m in row["messages"]) == 2 for row in ROWS)
    assert any(row["messages"][0]["role"] == "system" for row in ROWS)


def test_every_taught_fact_has_probes() -> None:
    answers = {probe["answer"] for probe in QUESTIONS["taught"]}
    assert answers == {fact.answer for fact in sample.TAUGHT}
    assert len(sample.TAUGHT) >= 16
