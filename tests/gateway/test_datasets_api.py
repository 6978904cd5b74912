"""`POST /api/datasets/check`: a dataset by its path or its rows, with every defect and a view; no run is made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.datasets import MAX_INLINE_ROWS
from tests.gateway.scripted import BASE
from tests.gateway.serving import Reply, Served

CHECK = "/api/datasets/check"
ROW = {"messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}]}


def check(gateway: Served, **fields: Any) -> Reply:
    return gateway.call("POST", CHECK, {"base": BASE, **fields})


def test_a_file_of_the_home_is_checked(gateway: Served) -> None:
    path: Path = gateway.context.home / "mine.jsonl"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(ROW) + "\n\n" + json.dumps({"messages": []}) + "\n")
    reply = check(gateway, dataset_path="mine.jsonl")
    assert reply.status == 200, reply.body
    found = reply.json()
    assert (found["ok"], found["file"], found["base"], found["form"]) == (False, "mine.jsonl", BASE, "OpenAI chat")
    assert found["defects"] == ["mine.jsonl:3: messages: must be a non-empty list"]
    assert gateway.call("GET", "/api/agent/train/runs").json() == {"runs": []}


def test_rows_are_checked_and_shown(gateway: Served) -> None:
    found = check(gateway, rows=[ROW] * 5, show=1, max_length=100).json()
    assert (found["ok"], found["conversations"], found["duplicates"], found["max_length"]) == (True, 5, 4, 100)
    (shown,) = found["shown"]
    assert [span["text"] for span in shown["spans"] if span["supervised"]] == ["a<|im_end|>"]
    assert found["train"]["supervised_tokens"] == 5 * shown["supervised_tokens"]


def test_without_either_it_is_the_dataset_a_run_would_take(gateway: Served) -> None:
    found = check(gateway, show=0).json()
    assert (found["ok"], found["file"], found["shown"]) == (True, "harbour.jsonl", [])


def test_a_run_is_told_what_becomes_of_long_rows(gateway: Served) -> None:
    started = gateway.call("POST", "/api/agent/train/start", {"base": BASE, "overlong": "cut_oldest"}).json()
    run = gateway.call("GET", f"/api/agent/train/run/{started['run_id']}").json()
    assert run["plan"]["overlong"] == "cut_oldest"


def test_a_device_is_no_dataset_to_recommend_for(gateway: Served) -> None:
    reply = gateway.call("GET", "/api/agent/train/profile?dataset_path=/dev/zero")
    assert (reply.status, reply.error["param"]) == (422, "dataset_path")


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"rows": [ROW] * (MAX_INLINE_ROWS + 1)}, "rows"),
        ({"rows": [ROW], "dataset_path": "x"}, None),
        ({"show": 1000}, "show"),
        ({"overlong": "shorten"}, "overlong"),
        ({"unheard": 1}, "unheard"),
        ({"dataset_path": "none.jsonl"}, "dataset_path"),
        ({"dataset_path": "/dev/zero"}, "dataset_path"),
    ],
)
def test_a_bad_request_is_422_with_its_field(gateway: Served, fields: dict[str, Any], param: str | None) -> None:
    reply = check(gateway, **fields)
    assert (reply.status, reply.error["param"]) == (422, param), reply.body
