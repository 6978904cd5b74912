"""LoRA as slots: every adapted layer holds A and B of all resident adapters, and each row of a batch names its own.

Slot 0 is the bare base. A layer gathers by the rows' slots (`mx.gather_mm`; copying A and B per token took 10 times
the time and memory), so one batch mixes adapters and a swap is a slot write. A row's slot travels in its prompt cache
as one more entry, so rows join, leave and reorder in mlx-lm's unmodified batch generator; how it draws goes along.
`tests/gateway/engine/test_slots.py`: mixed batches equal mlx-lm's own LoRA run alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

from catalog.base import blas
from catalog.base.lora import Adapter, LinearShape, linear_shapes
from catalog.errors import Overloaded
from catalog.ids import AdapterId
from gateway.engine.sampling import Draws, Manner, draw

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx.utils import tree_unflatten  # noqa: E402

BASE_SLOT = 0
FIRST_SLOTS = 4


class RowCache:
    """What a batch's rows bring along beside their keys and values: their slots, and how each draws.

    In the protocol of mlx-lm's caches (merge, extend, filter, extract, ...), so that it follows the rows by itself.
    """

    def __init__(self, slots: Sequence[int], draws: Sequence[Draws]) -> None:
        self.slots = list(slots)
        self.draws = list(draws)
        self._index: mx.array | None = None
        self._manner: Manner | None = None

    @classmethod
    def merge(cls, caches: Sequence[RowCache]) -> RowCache:
        return cls(
            [slot for cache in caches for slot in cache.slots], [draws for cache in caches for draws in cache.draws]
        )

    def __deepcopy__(self, _: object) -> RowCache:
        """The generator copies a batch to split it; the rows themselves stay the same."""
        return RowCache(self.slots, self.draws)

    def extend(self, other: RowCache) -> None:
        self._replace(self.slots + other.slots, self.draws + other.draws)

    def filter(self, keep: Sequence[int]) -> None:
        self._replace([self.slots[row] for row in keep], [self.draws[row] for row in keep])

    def extract(self, row: int) -> RowCache:
        return RowCache([self.slots[row]], [self.draws[row]])

    def prepare(self, **_: object) -> None:
        """Padding does not concern rows."""

    def finalize(self) -> None:
        """Padding does not concern rows."""

    def is_trimmable(self) -> bool:
        return True

    def trim(self, n: int) -> int:
        return n

    def size(self) -> int:
        return 0

    def empty(self) -> bool:
        return False

    @property
    def nbytes(self) -> int:
        return 0

    @property
    def state(self) -> list[mx.array]:
        return []

    def route(self) -> int | mx.array:
        """One slot when all rows share it, else the index [B] of each row."""
        first = self.slots[0]
        if all(slot == first for slot in self.slots):
            return first
        if self._index is None:
            self._index = mx.array(self.slots, dtype=mx.uint32)
        return self._index

    def draw(self, logprobs: mx.array) -> mx.array:
        """The next token [B] of every row, from logprobs [B, V]."""
        if self._manner is None:
            self._manner = Manner.of(self.draws)
        return draw(logprobs, self.draws, self._manner)

    def _replace(self, slots: list[int], draws: list[Draws]) -> None:
        self.slots, self.draws = slots, draws
        self._index = self._manner = None


class Route:
    """Where the rows of the forward pass now under way are routed; shared by all layers of one model."""

    def __init__(self) -> None:
        self.now: int | mx.array = BASE_SLOT


class SlotLinear(nn.Module):  # type: ignore[misc]
    """A linear layer with the LoRA matrices of all slots: A [slots, in, rank], B [slots, rank, out]."""

    def __init__(self, linear: nn.Module, shape: LinearShape, route: Route) -> None:
        super().__init__()
        self.linear = linear
        self._shape = shape
        self._route = route
        self._a: mx.array | None = None
        self._b: mx.array | None = None

    def __call__(self, x: mx.array) -> mx.array:
        y: mx.array = self.linear(x)
        route = self._route.now
        if self._a is None or self._b is None or (isinstance(route, int) and route == BASE_SLOT):
            return y
        if isinstance(route, int):
            delta = (x @ self._a[route]) @ self._b[route]
        else:
            wide = x.astype(self._a.dtype)
            inner = mx.gather_mm(wide, self._a, rhs_indices=route)
            delta = mx.gather_mm(inner, self._b, rhs_indices=route)
        return y + delta.astype(y.dtype)

    def reserve(self, slots: int, rank: int) -> None:
        """Make room for at least `slots` slots of `rank`; what is there stays. Zero columns and rows change nothing."""
        if self._a is not None:
            slots, rank = max(slots, self._a.shape[0]), max(rank, self._a.shape[2])
        a = mx.zeros((slots, self._shape.inputs, rank))
        b = mx.zeros((slots, rank, self._shape.outputs))
        if self._a is not None and self._b is not None:
            old_slots, _, old_rank = self._a.shape
            a[:old_slots, :, :old_rank] = self._a
            b[:old_slots, :old_rank, :] = self._b
        self._a, self._b = a, b

    def write(self, slot: int, pair: tuple[mx.array, mx.array] | None) -> list[mx.array]:
        """Put an adapter's pair into a slot, or nothing; returns what must be evaluated."""
        if self._a is None or self._b is None:
            return []
        rank = pair[0].shape[1] if pair else 0
        self._a[slot] = mx.zeros(self._a.shape[1:])
        self._b[slot] = mx.zeros(self._b.shape[1:])
        if pair:
            self._a[slot, :, :rank] = pair[0]
            self._b[slot, :rank, :] = pair[1]
        return [self._a, self._b]

    @property
    def is_reserved(self) -> bool:
        return self._a is not None


class SlotModel:
    """A base whose linear layers have slots. Called like the model, with a RowCache behind the layers' caches."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.shapes = linear_shapes(model)
        self._route = Route()
        self._rows: RowCache | None = None
        by_path = dict(model.named_modules())
        self._layers = {path: SlotLinear(by_path[path], shape, self._route) for path, shape in self.shapes.items()}
        model.update_modules(tree_unflatten(list(self._layers.items())))

    @property
    def layers(self) -> Any:
        return self.model.layers

    def __call__(self, tokens: mx.array, cache: list[Any]) -> mx.array:
        """Logits [B, L, V] for tokens [B, L]; the last cache entry knows the rows."""
        self._rows = cache[-1]
        self._route.now = cache[-1].route()
        logits: mx.array = self.model(tokens, cache=cache[:-1])
        return logits

    def draw(self, logprobs: mx.array) -> mx.array:
        """The next token [B] of the rows that the last call was for, from their logprobs [B, V]."""
        assert self._rows is not None
        return self._rows.draw(logprobs)

    def write(self, slot: int, adapter: Adapter, slots: int, rank: int) -> None:
        """Write an adapter into a slot of every layer, growing to `slots` and `rank` where that is needed."""
        changed: list[mx.array] = []
        for path, layer in self._layers.items():
            pair = adapter.pairs.get(path)
            if pair and not layer.is_reserved:
                layer.reserve(slots, rank)
            changed += layer.write(slot, (mx.array(pair[0]), mx.array(pair[1])) if pair else None)
        mx.eval(changed)

    def grow(self, slots: int, rank: int) -> None:
        """Widen every layer that has slots."""
        for layer in self._layers.values():
            if layer.is_reserved:
                layer.reserve(slots, rank)


class SlotTable:
    """Which adapter is in which slot and how many rows need it. Decides; `SlotModel` does.

    Begins small and doubles up to `most` adapters; then the slot unused for longest is taken, never one that is needed.
    """

    def __init__(self, most: int) -> None:
        self._most = most + 1
        self.slots = min(FIRST_SLOTS, most) + 1
        self.rank = 0
        self._slot_of: OrderedDict[AdapterId, int] = OrderedDict()
        self._rows: dict[AdapterId, int] = {}

    @property
    def resident(self) -> tuple[AdapterId, ...]:
        return tuple(self._slot_of)

    def pin(self, adapter_id: AdapterId | None) -> int:
        """The slot of a resident adapter, held until `unpin`."""
        if adapter_id is None:
            return BASE_SLOT
        self._slot_of.move_to_end(adapter_id)
        self._rows[adapter_id] = self._rows.get(adapter_id, 0) + 1
        return self._slot_of[adapter_id]

    def unpin(self, adapter_id: AdapterId | None) -> None:
        if adapter_id is not None:
            self._rows[adapter_id] -= 1

    def take(self, adapter_id: AdapterId, rank: int) -> int:
        """A slot for a new adapter: a free one, a new one, else that of the idle adapter used longest ago.

        Afterwards `slots` and `rank` say how large the stacks must be. Raises Overloaded when every slot is needed.
        """
        if len(self._slot_of) == self.slots - 1:
            self.slots = min(self._most, 2 * self.slots - 1)
        used = set(self._slot_of.values())
        free = next((slot for slot in range(1, self.slots) if slot not in used), None)
        if free is None:
            idle = next((known for known in self._slot_of if not self._rows.get(known)), None)
            if idle is None:
                raise Overloaded("Every adapter slot is in use.", retry_after_s=1, hint="Try again in a moment.")
            free = self._slot_of.pop(idle)
        self.rank = max(self.rank, rank)
        self._slot_of[adapter_id] = free
        self._rows.setdefault(adapter_id, 0)
        return free

    def give_back(self, adapter_id: AdapterId, slots: int, rank: int) -> None:
        """Forget an adapter whose slot could not be written, and the sizes that were taken for it."""
        self._slot_of.pop(adapter_id, None)
        self.slots, self.rank = slots, rank
