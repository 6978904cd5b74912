"""Names of models: what is ragweld's, what is not, and what never becomes a path."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from catalog.errors import InvalidRequest
from catalog.ids import BaseId, ModelRef, checked_adapter_name, checked_name, fine_tuned_id, new_run_id, parse_model

QWEN = "mlx-community/Qwen3-1.7B-4bit"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("ragweld", ModelRef(None, None)),
        ("RAGWELD", ModelRef(None, None)),
        ("ragweld@base", ModelRef(None, "base")),
        ("ragweld@none", ModelRef(None, "base")),
        (f"{QWEN}@none", ModelRef(BaseId(QWEN), "base")),
        ("ragweld:", ModelRef(None, None)),
        (f"ragweld:{QWEN}", ModelRef(BaseId(QWEN), None)),
        (f"Ragweld:{QWEN}@7", ModelRef(BaseId(QWEN), "7")),
        (f"{QWEN}", ModelRef(BaseId(QWEN), None)),
        (f"{QWEN}@run__1", ModelRef(BaseId(QWEN), "run__1")),
        (f"ft:{QWEN}:ragweld:harbour:run__1", ModelRef(BaseId(QWEN), "run__1")),
        ("ft:/models/a:b:ragweld::run__1", ModelRef(BaseId("/models/a:b"), "run__1")),
        (f"ft:{QWEN}:ragweld::run__1:ckpt-step-8", ModelRef(BaseId(QWEN), "run__1.ckpt-step-8")),
        ("ft:gpt-4o-mini-2024-07-18:acme::7q8mpxmy", None),
        ("ft:gpt-4o", None),
        ("gpt-4o", None),
        ("local:qwen3:8b", None),
        ("openai/gpt-4o", None),
    ],
)
def test_a_requested_model_is_read_as_written(model: str, expected: ModelRef | None) -> None:
    assert parse_model(model, {QWEN}) == expected


@pytest.mark.parametrize(
    "model", ["ragweld@", "ragweld:x@../../etc", "ragweld@a/b", "ragweld@" + "a" * 200, "ft:b:ragweld::../x"]
)
def test_an_adapter_name_that_could_be_a_path_is_refused(model: str) -> None:
    with pytest.raises(InvalidRequest):
        parse_model(model, set())


def test_the_name_of_a_fine_tuned_model_is_read_back() -> None:
    assert parse_model(fine_tuned_id(QWEN, "my.suffix", "run__1"), ()) == ModelRef(BaseId(QWEN), "run__1")
    assert parse_model(fine_tuned_id(QWEN, "", "run__1", 8), ()) == ModelRef(BaseId(QWEN), "run__1.ckpt-step-8")


@pytest.mark.parametrize(
    "name",
    ["base", "none", "Ragweld", "ragweld-nano", "GPT-4o", "gpt-4O", "7", "0c566f4769fd", "a" * 64, "../up", "", "a b"],
)
def test_an_adapter_takes_no_name_by_which_something_else_is_asked_for(name: str) -> None:
    with pytest.raises(InvalidRequest):
        checked_adapter_name(name, "name", {"ragweld-nano", "GPT-4o"})


@pytest.mark.parametrize("name", ["sql", "corpus__20260101_101010", "v1.2", "deadbeef", "base2"])
def test_other_names_are_an_adapters(name: str) -> None:
    assert checked_adapter_name(name, "name", {"ragweld-nano"}) == name


@given(st.text(max_size=20))
def test_no_checked_name_can_leave_its_folder(name: str) -> None:
    try:
        checked = checked_name(name, "name")
    except InvalidRequest:
        return
    assert "/" not in checked and "\\" not in checked and ".." not in checked and not checked.startswith(".")


def test_run_ids_of_one_second_are_told_apart() -> None:
    now = datetime(2026, 11, 23, 9, 8, 7, tzinfo=UTC)
    taken: list[str] = []
    for expected in ("default__20261123_090807", "default__20261123_090807__2", "default__20261123_090807__3"):
        run_id = new_run_id("default", now, taken)
        assert run_id == expected
        taken.append(run_id)
