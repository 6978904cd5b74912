"""Tensors are read as the floats that they are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from catalog import tensors
from catalog.base import blas
from catalog.errors import InvalidAdapter

blas.preload()

import mlx.core as mx  # noqa: E402


@pytest.mark.parametrize("kind", [mx.float32, mx.float16, mx.bfloat16])
def test_every_float_is_widened_to_what_it_was(tmp_path: Path, kind: mx.Dtype) -> None:
    values = mx.array([[1.0, -2.5, 0.0], [3.140625, 65504.0, 6e-5]]).astype(kind)
    mx.save_safetensors(str(tmp_path / "some.safetensors"), {"a": values})
    found = tensors.read(tmp_path / "some.safetensors")["a"]
    assert np.array_equal(found.to_float32(), np.array(values.astype(mx.float32)))


def test_what_is_no_float_is_named(tmp_path: Path) -> None:
    mx.save_safetensors(str(tmp_path / "some.safetensors"), {"a": mx.array([1, 2])})
    with pytest.raises(InvalidAdapter, match="a is I32") as caught:
        tensors.check_float("a", tensors.read(tmp_path / "some.safetensors")["a"])
    assert caught.value.tensor == "a"
