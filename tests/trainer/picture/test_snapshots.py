"""Snapshots keep the path within a thousandth, in a bound of bytes that is known before the run."""

from __future__ import annotations

from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from trainer.picture import snapshots
from trainer.picture.marks import Mark
from trainer.picture.snapshots import FEWEST, MOST, Gallery


def mark(step: int) -> Mark:
    return Mark(step, loss=2.5 / step, probe_loss=float("nan"), lr=1e-3)


def kept(folder: Path, size: int = 5000, count: int = 5, scale: float = 1.0) -> np.ndarray:
    points = np.cumsum(np.random.default_rng(1).standard_normal((count, size)), axis=0) * scale
    for step, point in enumerate(points, 1):
        snapshots.write(folder, mark(step), mx.array(point.astype(np.float32)))
    return points


@pytest.mark.parametrize("scale", [1.0, 1e-6, 1e6])
def test_what_is_kept_is_the_path_within_a_thousandth(
    tmp_path: Path, scale: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshots, "CHUNK", 999)
    points = kept(tmp_path, scale=scale)
    gallery = Gallery(tmp_path)
    assert gallery.steps == [1, 2, 3, 4, 5]
    assert gallery.marks[1].loss == 1.25
    assert np.isnan(gallery.marks[1].probe_loss)
    assert gallery.gram() == pytest.approx(points @ points.T, rel=1e-3)
    weights = np.array([[1.0, 0, 0, -1, 0], [0, 0.5, 0, 0, 0]])
    combined = np.stack([np.array(row) for row in gallery.combine(weights)])
    assert combined == pytest.approx(weights @ points, abs=1e-3 * np.abs(points).max())


def test_a_run_keeps_no_more_than_it_may() -> None:
    for points in (1, 12, 88, 5000):
        for numbers in (1000, 6_400_000):
            spacing = snapshots.spacing(points, numbers, 256 << 20)
            assert spacing is not None
            count = points // spacing + 1
            assert 2 * numbers * (count - 1) <= 256 << 20
            assert count <= MOST + 1
    assert snapshots.spacing(88, 1000, 0) is None
    assert snapshots.spacing(88, 1000, 2 * 1000 * FEWEST) is not None


def test_a_torn_snapshot_is_passed_over(tmp_path: Path) -> None:
    kept(tmp_path)
    torn = tmp_path / "step_0000003.safetensors"
    for content in (torn.read_bytes()[:50], torn.read_bytes()[:-7], b""):
        torn.write_bytes(content)
        assert Gallery(tmp_path).steps == [1, 2, 4, 5]


def test_a_run_that_goes_on_forgets_what_it_takes_again(tmp_path: Path) -> None:
    kept(tmp_path)
    snapshots.forget_after(tmp_path, 2)
    assert Gallery(tmp_path).steps == [1, 2]


def test_a_run_that_has_not_moved_is_kept_too(tmp_path: Path) -> None:
    snapshots.write(tmp_path, mark(1), mx.zeros((10,)))
    assert Gallery(tmp_path).gram() == np.zeros((1, 1))
