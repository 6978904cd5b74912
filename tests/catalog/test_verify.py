"""A run's files are derived again; what was touched is named, what is gone is no fault."""

from __future__ import annotations

from pathlib import Path

import pytest

from catalog.adapters import GOLDEN_FILE, MANIFEST_FILE, NPZ_FILE, WEIGHTS_FILE
from catalog.run_life import Run
from catalog.verify import Verification, verify
from tests.trainer.conftest import MakePlan, base_folder, make_plan, write_rows
from tests.trainer.test_run import Home

__all__ = ["base_folder", "make_plan", "write_rows"]


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home")


@pytest.fixture
def run(home: Home, make_plan: MakePlan) -> Run:
    return home.train(make_plan(epochs=2))


def verified(home: Home, run: Run) -> Verification:
    return verify(home.store.get(run.run_id), home.store, home.adapters, home.place.home)


def faults(found: Verification) -> set[str]:
    assert found.ok == (not any(one.ok is False for one in found.findings))
    return {one.what for one in found.findings if one.ok is False}


def test_a_run_that_nobody_touched_is_as_it_says(home: Home, run: Run) -> None:
    found = verified(home, run)
    assert found.ok, found
    known = {one.what for one in found.findings if one.ok}
    told = {"adapter", "adapter in the store", NPZ_FILE, "manifest", "dataset bytes", "dataset rows", "split", "base"}
    assert known >= told | {"summary", "checkpoint step_6"}


def test_each_thing_that_was_touched_is_named(home: Home, run: Run, base_folder: Path) -> None:
    model = home.store.model_folder(run.run_id)
    weights = (model / WEIGHTS_FILE).read_bytes()
    (model / WEIGHTS_FILE).write_bytes(weights[:-4] + b"\0\0\0\1")
    assert faults(verified(home, run)) == {"adapter", NPZ_FILE}
    (model / WEIGHTS_FILE).write_bytes(weights)

    checkpoint = home.store.checkpoints_folder(run.run_id) / "step_6" / "optimizer.safetensors"
    content = checkpoint.read_bytes()
    checkpoint.write_bytes(content[:-1] + b"x")
    assert faults(verified(home, run)) == {"checkpoint step_6"}
    checkpoint.write_bytes(content)

    data = Path(run.plan.dataset_path)
    rows = data.read_text()
    data.write_text(rows.replace("tar", "oil"))
    assert faults(verified(home, run)) == {"dataset bytes", "dataset rows", "split"}
    data.write_text(rows + "\n")
    assert faults(verified(home, run)) == {"dataset bytes"}
    data.unlink()
    gone = verified(home, run)
    assert gone.ok
    assert [one.ok for one in gone.findings if one.what == "dataset"] == [None]

    manifest = model / MANIFEST_FILE
    manifest.write_text(manifest.read_text().replace('"seed": 3', '"seed": 4'))
    assert "manifest" in faults(verified(home, run))


def test_the_manifest_says_what_decided(home: Home, run: Run) -> None:
    from catalog.manifest import Manifest

    manifest = Manifest.model_validate_json((home.store.model_folder(run.run_id) / MANIFEST_FILE).read_bytes())
    assert manifest.promotion == run.promotion
    assert manifest.parent_adapter is None
    assert set(manifest.base_files) >= {"config.json", "tokenizer.json"}
    assert (home.store.model_folder(run.run_id) / GOLDEN_FILE).exists()
