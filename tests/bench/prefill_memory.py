"""Peak memory that LoRA adds to a prefill of 1,024 tokens by 8 adapters: gathered as served, against copied per token.

Copying takes A and B of each token's adapter (`mx.take`), the plain way to mix adapters in a batch. Both are measured
above the same prefill by the bare base, with the adapters already in memory, and logits are not computed: a prefill
needs only its caches. MLX counts its own memory on every backend.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from catalog.base import blas
from catalog.base.load import load
from catalog.base.lora import Adapter, read_adapter
from catalog.ids import BaseId
from gateway.engine.slots import BASE_SLOT, SlotModel, route_of
from tests.bench import bases
from tests.tiny_base import write_adapter

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx.utils import tree_unflatten  # noqa: E402
from mlx_lm.models.cache import make_prompt_cache  # noqa: E402

KEYS = ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj")
KEYS += ("mlp.gate_proj", "mlp.up_proj", "mlp.down_proj")
RANK = 16
ROWS = 8
"""Each by an adapter of its own."""
TOKENS = 1024
"""Of all rows together."""
MB = 1 << 20


@dataclass(frozen=True, slots=True)
class Prefill:
    """What one prefill took."""

    peak_bytes: int
    seconds: float


class CopiedLinear(nn.Module):  # type: ignore[misc]
    """A linear layer that copies A [in, rank] and B [rank, out] for every token."""

    def __init__(self, linear: nn.Module, pairs: list[tuple[mx.array, mx.array]], adapter_of_token: mx.array) -> None:
        super().__init__()
        self.linear = linear
        self._a = mx.stack([a for a, _ in pairs])
        self._b = mx.stack([b for _, b in pairs])
        self._adapter_of_token = adapter_of_token

    def __call__(self, x_BLI: mx.array) -> mx.array:
        a_TIR = mx.take(self._a, self._adapter_of_token, axis=0)
        b_TRO = mx.take(self._b, self._adapter_of_token, axis=0)
        delta_T1O = (x_BLI.reshape(-1, 1, x_BLI.shape[-1]) @ a_TIR) @ b_TRO
        y_BLO: mx.array = self.linear(x_BLI)
        return y_BLO + delta_T1O.reshape(y_BLO.shape)


def main() -> None:
    """Run and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", choices=("nano", "100m"), default="nano")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        folder = bases.write(arguments.model, root / "base")
        folders = [write_adapter(root / f"a{n}", folder, n, rank=RANK, keys=KEYS, size=0.02) for n in range(ROWS)]
        bare, gathered = slotted_prefills(folder, folders)
        copied = copied_prefill(folder, folders)
    ratio = report(bare, gathered, copied)
    print(json.dumps({"bench": "prefill_memory", "model": arguments.model, "ratios": {"gathered_to_copied": ratio}}))


def slotted_prefills(folder: Path, adapter_folders: list[Path]) -> tuple[Prefill, Prefill]:
    """By the bare base and by 8 adapters, both through the engine's slots."""
    base = load(BaseId("bench"), folder)
    model = SlotModel(base.model)
    for row, path in enumerate(adapter_folders):
        model.write(row + 1, read_adapter(path, model.shapes), slots=ROWS + 1, rank=RANK)

    def prefill(slots: list[int], tokens: mx.array) -> list[Any]:
        caches = make_prompt_cache(base.model)
        model(tokens, caches, route_of(slots))
        return caches

    by_base = measured(lambda tokens: prefill([BASE_SLOT] * ROWS, tokens))
    return by_base, measured(lambda tokens: prefill(list(range(1, ROWS + 1)), tokens))


def copied_prefill(folder: Path, adapter_folders: list[Path]) -> Prefill:
    """By 8 adapters whose matrices are copied for each token."""
    base = load(BaseId("bench"), folder)
    shapes = SlotModel(load(BaseId("bench"), folder).model).shapes
    adapters = [read_adapter(path, shapes) for path in adapter_folders]
    of_token = mx.repeat(mx.arange(ROWS), TOKENS // ROWS)
    by_path = dict(base.model.named_modules())
    layers = [(path, CopiedLinear(by_path[path], _pairs(adapters, path), of_token)) for path in adapters[0].pairs]
    base.model.update_modules(tree_unflatten(layers))
    mx.eval([[layer._a, layer._b] for _, layer in layers])

    def prefill(tokens: mx.array) -> list[Any]:
        caches = make_prompt_cache(base.model)
        base.model(tokens, cache=caches)
        return caches

    return measured(prefill)


def measured(prefill: Callable[[mx.array], list[Any]]) -> Prefill:
    """Memory above what was held before, and time, of a second prefill; the first warms up."""
    tokens = mx.random.randint(100, 2000, (ROWS, TOKENS // ROWS))
    mx.eval(tokens, [cache.state for cache in prefill(tokens)])
    mx.clear_cache()
    before = mx.get_active_memory()
    mx.reset_peak_memory()
    began = time.perf_counter()
    caches = prefill(tokens)
    mx.eval([cache.state for cache in caches])
    return Prefill(mx.get_peak_memory() - before, time.perf_counter() - began)


def report(bare: Prefill, gathered: Prefill, copied: Prefill) -> float:
    """Print one line a form; returns what gathering adds as a share of what copying adds."""
    for name, form in (("bare base", bare), ("gathered", gathered), ("copied", copied)):
        print(
            f"{name:9s}: peak {form.peak_bytes / MB:7.1f} MB, {(form.peak_bytes - bare.peak_bytes) / MB:7.1f} MB more "
            f"than the bare base, {1e3 * form.seconds:7.1f} ms"
        )
    ratio = (gathered.peak_bytes - bare.peak_bytes) / (copied.peak_bytes - bare.peak_bytes)
    print(f"{TOKENS} tokens by {ROWS} adapters of rank {RANK}: gathering adds {ratio:.3f} of what copying adds")
    return round(ratio, 4)


def _pairs(adapters: list[Adapter], path: str) -> list[tuple[mx.array, mx.array]]:
    return [(mx.array(a), mx.array(b)) for a, b in (adapter.pairs[path] for adapter in adapters)]


if __name__ == "__main__":
    main()
