"""`ragweld runs` looks at runs and asks things of them, on the files that everybody else sees."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from catalog.run_life import Run
from deploy import cli
from tests.trainer.conftest import MakePlan, base_folder, make_plan, write_rows
from tests.trainer.test_run import Home

__all__ = ["base_folder", "make_plan", "write_rows"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def run(home: Home, make_plan: MakePlan) -> Run:
    return home.train(make_plan(epochs=2))


def shell(capsys: pytest.CaptureFixture[str], home: Home, *words: str) -> tuple[int, str]:
    code = cli.main(["runs", "--home", str(home.place.home), *words], {})
    shown = capsys.readouterr()
    return code, shown.out + shown.err


def test_from_the_shell_the_loss_is_measured_again(home: Home, run: Run, capsys: pytest.CaptureFixture[str]) -> None:
    code, shown = shell(capsys, home, "verify", run.run_id, "--loss")
    assert code == os.EX_OK, shown
    assert "ok      held-out loss: " in shown
    summary = run.summary.model_copy(update={"primary_best": run.summary.primary_best * 1.01})
    path = home.store.folder(run.run_id) / "run.json"
    path.write_text(run.model_copy(update={"summary": summary}).model_dump_json())
    code, shown = shell(capsys, home, "verify", run.run_id, "--loss")
    assert code == os.EX_DATAERR
    assert "NOT OK  held-out loss" in shown and "NOT OK  manifest" in shown


def test_from_the_shell_runs_are_listed_shown_and_asked(
    home: Home, make_plan: MakePlan, capsys: pytest.CaptureFixture[str]
) -> None:
    run_id = home.store.create("default", make_plan()).run_id
    assert run_id in shell(capsys, home, "list")[1]
    assert f'"run_id": "{run_id}"' in shell(capsys, home, "show", run_id)[1]
    assert shell(capsys, home, "pause", run_id) == (os.EX_OK, f"{run_id}: paused\n")
    assert shell(capsys, home, "resume", run_id) == (os.EX_OK, f"{run_id}: queued\n")
    assert shell(capsys, home, "cancel", run_id) == (os.EX_OK, f"{run_id}: cancelled\n")
    code, shown = shell(capsys, home, "pause", run_id)
    assert code != os.EX_OK and shown.count("\n") == 1
