"""`ragweld export` writes an adapter from the shell and says what it wrote."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from catalog.adapters import AdapterStore
from deploy import cli
from tests.tiny_base import write_adapter, write_base


def shell(capsys: pytest.CaptureFixture[str], *words: str) -> tuple[int, str]:
    code = cli.main(["export", *words], {})
    shown = capsys.readouterr()
    return code, shown.out + shown.err


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """With an adapter named pirate."""
    folder = write_adapter(tmp_path / "made", write_base(tmp_path / "base"), seed=1)
    AdapterStore(tmp_path).put(folder, name="pirate")
    return tmp_path


def test_an_adapter_is_written_where_it_was_asked_for(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ("--format", "peft", "--out", str(home / "out"), "--home", str(home))
    code, shown = shell(capsys, "pirate", *words)
    assert code == os.EX_OK, shown
    assert shown.startswith(f"{home / 'out'}: peft of ")
    assert (home / "out" / "adapter_model.safetensors").is_file()
    code, shown = shell(capsys, "pirate", *words)
    assert code != os.EX_OK and "exists" in shown and "Traceback" not in shown


def test_an_unknown_adapter_is_one_line(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = shell(capsys, "nobody", "--format", "peft", "--out", str(home / "out"), "--home", str(home))
    assert code != os.EX_OK and shown.count("\n") == 1
