"""Checks judge as they say, and a bad file says every defect at its line."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from catalog import checks
from catalog.errors import InvalidDataset


def written(path: Path, *lines: object) -> Path:
    path.write_text("".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines), "utf-8")
    return path


@pytest.mark.parametrize(
    ("rule", "good", "bad", "why"),
    [
        ({"exact": "Paris"}, " Paris\n", "Paris!", "it is not 'Paris'"),
        ({"contains": "salt"}, "Berth 4 is for salt.", "Salt", "does not contain 'salt'"),
        ({"regex": r"^Berth \d+\b"}, "Berth 12 is for tar", "In Berth 12", r"nothing in it matches"),
        ({"json_valid": True}, '{"a": [1]}', '{"a": NaN}', "is not JSON"),
        ({"json_valid": True}, "3", "three", "is not JSON"),
        (
            {"json_schema": {"type": "object", "required": ["berth"], "properties": {"berth": {"type": "integer"}}}},
            '{"extra": 1, "berth": 4}',
            '{"berth": "4"}',
            "does not fit the schema",
        ),
    ],
)
def test_each_rule_knows_good_from_bad(tmp_path: Path, rule: dict[str, object], good: str, bad: str, why: str) -> None:
    (check,) = checks.read(written(tmp_path / "checks.jsonl", {"prompt": "?"} | rule))
    assert check.rule == next(iter(rule))
    assert check.messages == ({"role": "user", "content": "?"},)
    assert check.judge(good) is None
    assert why in str(check.judge(bad))


def test_a_pattern_takes_linear_time(tmp_path: Path) -> None:
    lines = [{"prompt": "?", "regex": "^(a+)+$"}, {"prompt": "?", "json_schema": {"pattern": "^(a|a)*$"}}]
    evil = "a" * 50_000 + "b"
    began = time.process_time()
    for check, answer in zip(checks.read(written(tmp_path / "c", *lines)), (evil, json.dumps(evil)), strict=True):
        assert check.judge(answer) is not None
    assert time.process_time() - began < 1


def test_every_defect_is_told_at_its_line(tmp_path: Path) -> None:
    path = written(
        tmp_path / "checks.jsonl",
        {"prompt": "?", "exact": "x"},
        {"prompt": "?", "exact": "x", "regex": "y"},
        {"exact": "x"},
        {"prompt": "?"},
        {"prompt": "?", "regex": r"(a)\1"},
        {"prompt": "?", "json_schema": {"type": "strin"}},
        {"prompt": "?", "json_schema": {"$ref": "http://127.0.0.1:9/schema.json"}},
        "{",
        {"prompt": "?", "exact": "x", "max_tokens": 0},
        {"prompt": "?", "json_valid": False},
        {"prompt": "?", "regex": "(?is)^.*$"},
    )
    with pytest.raises(InvalidDataset) as refused:
        checks.read(path)
    told = [line.split(": ")[0] for line in refused.value.defects]
    assert told == [f"checks.jsonl:{number}" for number in range(2, 12)]


def test_an_empty_or_missing_file_is_refused(tmp_path: Path) -> None:
    for path in (written(tmp_path / "empty"), tmp_path / "nowhere"):
        with pytest.raises(InvalidDataset):
            checks.read(path)
