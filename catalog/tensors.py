"""Tensors of a safetensors file as numpy reads them, whatever float they are kept in.

The container is judged by safetensors itself, which refuses overlapping tensors; numpy has no bfloat16, so it is
widened by hand. Knows nothing of MLX. `tests/catalog/test_tensors.py`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
from safetensors import SafetensorError, deserialize

from catalog.errors import InvalidAdapter

Matrix = npt.NDArray[np.float32]
_Entries = list[tuple[str, dict[str, Any]]]

FLOAT_KINDS = ("F32", "F16", "BF16")


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor as it lies in the file; `kind` is safetensors' name of its numbers."""

    kind: str
    shape: tuple[int, ...]
    content: bytes

    def to_float32(self) -> Matrix:
        """The numbers of one of FLOAT_KINDS, widened. bfloat16 is the upper half of a float32."""
        if self.kind == "BF16":
            halves = np.frombuffer(self.content, "<u2").astype(np.uint32) << 16
            return halves.view(np.float32).reshape(self.shape)
        kind = "<f4" if self.kind == "F32" else "<f2"
        return np.frombuffer(self.content, kind).astype(np.float32).reshape(self.shape)


def read(path: Path) -> dict[str, Tensor]:
    """Every tensor of a file, by name; raises InvalidAdapter when it is not whole or holds none."""
    try:
        entries = cast(_Entries, deserialize(path.read_bytes()))  # type: ignore[no-untyped-call]
    except (SafetensorError, OSError) as error:
        raise InvalidAdapter(f"{path.parent.name}/{path.name} is not a whole safetensors file: {error}.") from error
    if not entries:
        raise InvalidAdapter(f"{path.parent.name}/{path.name} holds no tensors.")
    return {name: Tensor(part["dtype"], tuple(part["shape"]), bytes(part["data"])) for name, part in sorted(entries)}


def check_float(name: str, tensor: Tensor) -> None:
    """Raise InvalidAdapter, naming the tensor, unless it holds floats that are known here."""
    if tensor.kind not in FLOAT_KINDS:
        raise InvalidAdapter(f"{name} is {tensor.kind}; one of {', '.join(FLOAT_KINDS)} is needed.", tensor=name)
