"""What the trainer heard the adapter answer lies beside it, and is what the kept step says, not the last one."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.adapters import GOLDEN_FILE, Golden
from catalog.base.lora import read_adapter
from catalog.datasets import read
from tests.trainer.conftest import MakePlan, WriteRows, fact
from tests.trainer.test_run import Home
from trainer import lesson, speak
from trainer.evaluate import remove_adapter, wearing


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


def test_the_golden_prompt_is_a_held_out_question_with_the_adapters_answer(home: Home, make_plan: MakePlan) -> None:
    plan = make_plan()
    run = home.train(plan)
    folder = home.adapters.folder(run.adapter_id)
    golden = Golden.model_validate_json((folder / GOLDEN_FILE).read_bytes())
    asked = {row.messages[0]["content"] for row in read(Path(plan.dataset_path)).rows}
    assert golden.messages[0]["content"] in asked
    prepared = lesson.prepare(plan, home.place.home)
    remove_adapter(prepared.learner.model)
    with wearing(prepared.learner.model, read_adapter(folder, prepared.shapes)):
        model, tokenizer = prepared.learner.model, prepared.base.tokenizer
        assert golden.answer == speak.answer(model, tokenizer, golden.messages, max_tokens=golden.max_tokens)


def test_without_a_held_out_row_there_is_none(home: Home, make_plan: MakePlan, write_rows: WriteRows) -> None:
    run = home.train(make_plan(dataset_path=str(write_rows([fact(1)], "one.jsonl"))))
    assert not (home.adapters.folder(run.adapter_id) / GOLDEN_FILE).exists()
