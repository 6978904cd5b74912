"""`ragweld data check` says what a dataset would be to a run, readable without colour."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from deploy import cli
from deploy.data import view

NANO = "ragweld-nano"


def chat(answer: str) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": "Where is the rope?"}, {"role": "assistant", "content": answer}]}


def shell(capsys: pytest.CaptureFixture[str], home: Path, *words: str) -> tuple[int, str]:
    code = cli.main(["data", "check", *words, "--base", NANO, "--home", str(home)], {})
    shown = capsys.readouterr()
    return code, shown.out + shown.err


def test_a_sound_file_is_counted_and_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text("".join(json.dumps(chat(f"At berth {number}.")) + "\n" for number in range(20)))
    code, shown = shell(capsys, tmp_path, str(path), "--show", "2", "--max-length", "100")
    assert code == os.EX_OK, shown
    lines = shown.splitlines()
    assert lines[0] == "mine.jsonl: OpenAI chat, 20 good, 0 defects"
    assert "rows of at most 100 tokens" in lines[1]
    assert sum(map(int, lines[3].split()[1:])) == 20
    assert "⟦At berth 0.<|im_end|>⟧" in shown and "⟦At berth 1.<|im_end|>⟧" in shown and "berth 2" not in shown
    assert "\x1b" not in shown


def test_defects_are_listed_and_the_exit_code_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "mine.jsonl"
    path.write_text(json.dumps(chat("\x1b[2J")) + "\n" + json.dumps(chat("")) + "\n{\n")
    code, shown = shell(capsys, tmp_path, str(path))
    assert code == os.EX_DATAERR
    first, second, third, *_ = shown.splitlines()
    assert first == "mine.jsonl:2: messages[1].content: is empty"
    assert second.startswith("mine.jsonl:3: is not JSON")
    assert third == "mine.jsonl: OpenAI chat, 1 good, 2 defects"
    assert "\x1b" not in shown and "⟦\\x1b[2J<|im_end|>⟧" in shown


def test_both_answers_of_a_pair_are_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "pairs.jsonl"
    pair = {"prompt": "Where is the rope?", "chosen": "At berth 1.", "rejected": "No idea."}
    path.write_text(json.dumps(pair) + "\n" + json.dumps({**pair, "rejected": pair["chosen"]}) + "\n")
    code, shown = shell(capsys, tmp_path, str(path))
    assert code == os.EX_DATAERR
    assert shown.startswith("pairs.jsonl:2: rejected: equals chosen, so that neither is preferred\n")
    assert "pairs.jsonl: preference pairs, 1 good, 1 defects" in shown
    assert "tokens of the chosen answer weighed" in shown and "tokens of the rejected answer weighed" in shown
    assert "⟦At berth 1.<|im_end|>⟧" in shown and "⟦No idea.<|im_end|>⟧" in shown


def test_a_file_that_is_not_there_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = shell(capsys, tmp_path, str(tmp_path / "none.jsonl"))
    (line,) = shown.splitlines()
    assert code and "cannot be read" in line


def test_where_there_is_colour_the_marks_stay() -> None:
    from catalog.datasets.check import ShownRow, Span

    row = ShownRow(1, 2, 1, (Span("asked ", False), Span("answered", True)))
    assert view(row, colour=True) == "asked \x1b[32m⟦answered⟧\x1b[0m"
