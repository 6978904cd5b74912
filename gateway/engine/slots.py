"""LoRA as slots: every adapted layer holds A and B of all resident adapters, and each row of a batch names its own.

Slot 0 is the bare base. A layer gathers by the rows' slots (`mx.gather_mm`; copying A and B per token took 10 times
time and memory), so one batch mixes adapters and a swap is a slot write. A layer without adapters is the base's own.
`tests/gateway/engine/test_identity.py`: mixed batches equal mlx-lm's own LoRA run alone.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from catalog.base import blas
from catalog.base.lora import Adapter, LinearShape, linear_shapes
from catalog.base.parts import take_apart
from catalog.ids import AdapterId
from gateway.engine import cpu
from gateway.engine.magnitudes import Magnitudes

blas.preload()

import mlx.core as mx  # noqa: E402
import mlx.nn as nn  # noqa: E402
from mlx.utils import tree_unflatten  # noqa: E402

BASE_SLOT = 0
FIRST_SLOTS = 4
FLOAT_BYTES = 4


Route = int | mx.array
"""One slot when all rows of a batch share it, else the slot of each row [B]."""


def route_of(slots: Sequence[int]) -> Route:
    """How rows in these slots are routed."""
    first = slots[0]
    return first if all(slot == first for slot in slots) else mx.array(list(slots), dtype=mx.uint32)


class Routing:
    """Where the rows of the forward pass now under way are routed; shared by all layers of one model."""

    def __init__(self) -> None:
        self.now: Route = BASE_SLOT


class Stacks:
    """The matrices of all slots: A [slots, in, rank], B [slots, rank, out]."""

    def __init__(self, slots: int, shape: LinearShape, rank: int) -> None:
        self.a = mx.zeros((slots, shape.inputs, rank))
        self.b = mx.zeros((slots, rank, shape.outputs))
        self._pairs: dict[int, tuple[mx.array, mx.array]] = {}

    @property
    def size(self) -> tuple[int, int]:
        """Slots and rank."""
        return self.a.shape[0], self.a.shape[2]

    def pair(self, slot: int) -> tuple[mx.array, mx.array]:
        """One slot's own matrices; the step that first needs them computes them."""
        if slot not in self._pairs:
            self._pairs[slot] = self.a[slot], self.b[slot]
        return self._pairs[slot]

    def write(self, slot: int, pair: tuple[mx.array, mx.array] | None) -> list[mx.array]:
        """Put an adapter's pair into a slot, or nothing; returns what must be evaluated."""
        self._pairs.clear()
        a, b = pair or (mx.zeros(self.a.shape[1:]), mx.zeros(self.b.shape[1:]))
        higher = self.a.shape[2] - a.shape[1]
        self.a[slot] = mx.pad(a, [(0, 0), (0, higher)])
        self.b[slot] = mx.pad(b, [(0, higher), (0, 0)])
        return [self.a, self.b]

    def widen(self, slots: int, rank: int) -> list[mx.array]:
        """Make room for more slots or a higher rank; zero columns and rows change nothing. Returns what must be
        evaluated."""
        more, higher = max(0, slots - self.a.shape[0]), max(0, rank - self.a.shape[2])
        if not more and not higher:
            return []
        self._pairs.clear()
        self.a = mx.pad(self.a, [(0, more), (0, 0), (0, higher)])
        self.b = mx.pad(self.b, [(0, more), (0, higher), (0, 0)])
        return [self.a, self.b]


class SlotLinear(nn.Module):  # type: ignore[misc]
    """A linear layer with the LoRA matrices of all slots."""

    def __init__(self, linear: nn.Module, stacks: Stacks, routing: Routing) -> None:
        super().__init__()
        self.linear = linear
        self.stacks = stacks
        self.magnitudes = Magnitudes(linear)
        self._routing = routing

    def __call__(self, x: mx.array) -> mx.array:
        y: mx.array = self.linear(x)
        route = self._routing.now
        if isinstance(route, int):
            if route == BASE_SLOT:
                return y
            a, b = self.stacks.pair(route)
            delta = (x @ a) @ b
        else:
            wide = x.astype(self.stacks.a.dtype)
            inner = mx.gather_mm(wide, self.stacks.a, rhs_indices=route)
            delta = mx.gather_mm(inner, self.stacks.b, rhs_indices=route)
        return self.magnitudes.apply(y + delta.astype(y.dtype), route)


class SlotModel:
    """A base whose linear layers get slots as soon as an adapter needs them; others stay as they are."""

    def __init__(self, model: nn.Module) -> None:
        self._pass = cpu.fit(model)
        self.model = model
        self._parts = take_apart(model)
        self.shapes = linear_shapes(model)
        self._routing = Routing()
        modules = dict(model.named_modules())
        self._plain = {path: modules[path] for path in self.shapes}
        self._slotted: dict[str, SlotLinear] = {}

    def __call__(self, tokens: mx.array, layers: list[Any], route: Route) -> mx.array:
        """Logits [B, L, V] for tokens [B, L] of rows that are routed so, after what their layers' caches hold."""
        self._routing.now = route
        logits: mx.array = self.model(tokens, cache=layers)
        return logits

    def read(self, tokens: mx.array, layers: list[Any], route: Route) -> mx.array:
        """What `logits` makes logits of [B, L, D], for tokens [B, L]; computed as `__call__` does."""
        if self._parts is None:
            return self(tokens, layers, route)
        self._routing.now = route
        return self._parts.body(tokens, cache=layers)

    def read_ends(self, tokens: mx.array, layers: list[Any], route: Route, ends: Sequence[int]) -> mx.array:
        """The same at one position of each row only, [B, D]."""
        rows, positions = mx.arange(len(ends)), mx.array(list(ends))
        if self._pass is None or self._parts is None:
            return self.read(tokens, layers, route)[rows, positions]
        with self._pass.of_ends(positions):
            return self.read(tokens, layers, route)[:, 0]

    def logits(self, hidden: mx.array) -> mx.array:
        """Logits [P, V] after chosen places [P, D] of what was read; no adapter changes the head."""
        return hidden if self._parts is None else self._parts.head(hidden)

    def write(self, slot: int, adapter: Adapter, slots: int, rank: int) -> None:
        """Write an adapter into a slot of every layer, with `slots` and `rank` where a layer has none yet."""
        new = [path for path in adapter.pairs if path not in self._slotted]
        for path in new:
            stacks = Stacks(slots, self.shapes[path], rank)
            self._slotted[path] = SlotLinear(self._plain[path], stacks, self._routing)
        if new:
            self.model.update_modules(tree_unflatten([(path, self._slotted[path]) for path in new]))
        changed: list[mx.array] = []
        for path, layer in self._slotted.items():
            pair = adapter.pairs.get(path)
            matrices = (mx.array(pair[0]), mx.array(pair[1])) if pair else None
            magnitude = adapter.magnitudes.get(path)
            changed += layer.stacks.write(slot, matrices)
            changed += layer.magnitudes.write(slot, matrices, None if magnitude is None else mx.array(magnitude))
        mx.eval(changed)

    def nbytes(self, slots: int = 0, rank: int = 0, more_paths: Collection[str] = ()) -> int:
        """What the stacks take in memory, or would if all, those of more layers too, had so many slots and this rank;
        those that were widened for an adapter that came in no more count as they are."""
        count = 0
        for path in {*self._slotted, *more_paths}:
            held = self._slotted[path].stacks.size if path in self._slotted else (0, 0)
            shape = self.shapes[path]
            count += max(slots, held[0]) * max(rank, held[1]) * (shape.inputs + shape.outputs)
        return count * FLOAT_BYTES

    def grow(self, slots: int, rank: int, at_once_bytes: int) -> bool:
        """Widen the layers that have slots, about so many bytes of them; whether all are so wide now.

        One that was widened before, when another was not, stays as it is.
        """
        widened: list[mx.array] = []
        for layer in self._slotted.values():
            if sum(matrix.nbytes for matrix in widened) >= at_once_bytes:
                break
            widened += layer.stacks.widen(slots, rank)
        else:
            mx.eval(widened)
            return True
        mx.eval(widened)
        return False


@dataclass(frozen=True, slots=True)
class Seat:
    """A slot for an adapter, who leaves it, and how large the stacks must be for it."""

    slot: int
    slots: int
    rank: int
    leaves: AdapterId | None = None


class SlotTable:
    """Which adapter is in which slot and how many rows need it. Decides; `SlotModel` does.

    Begins small and doubles up to `most` adapters into memory that nobody uses; then the slot unused for longest is
    taken, never one that is needed. Idle bases leave for more slots only where every slot is needed.
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
            if not self._rows[adapter_id]:
                del self._rows[adapter_id]

    def unpin_all(self) -> None:
        """No row needs any."""
        self._rows.clear()

    def seat(self, rank: int, fits: Callable[[int, int, bool], bool]) -> Seat | None:
        """Where an adapter of this rank would go: a free slot, a new one, else that of the idle adapter used longest
        ago; None while every slot is needed. Changes nothing.

        `fits(slots, rank, others_leave)` says whether stacks so large have room, if idle bases leave for them or not.
        Whether a wider rank has room is not asked here.
        """
        wider = max(self.rank, rank)
        used = set(self._slot_of.values())
        free = next((slot for slot in range(1, self.slots) if slot not in used), None)
        if free is not None:
            return Seat(free, self.slots, wider)
        idle = next((known for known in self._slot_of if known not in self._rows), None)
        more = min(self._most, 2 * self.slots - 1)
        if more > self.slots and fits(more, wider, idle is None):
            return Seat(self.slots, more, wider)
        return None if idle is None else Seat(self._slot_of[idle], self.slots, wider, leaves=idle)

    def vacate(self, seat: Seat) -> None:
        """Forget who leaves; the slot is about to be written."""
        if seat.leaves is not None:
            del self._slot_of[seat.leaves]

    def take(self, adapter_id: AdapterId, seat: Seat) -> None:
        """The adapter is in its slot."""
        self.slots, self.rank = seat.slots, seat.rank
        self._slot_of[adapter_id] = seat.slot
