"""The processes that learn one run together, as `mlx.launch` starts them; one alone where nobody did.

Every rank takes the same way through a run, for all decisions rest on sums that all ranks have: sums of losses,
gradients and counts, never means of means. Rank 0 alone claims runs, writes, saves and reports. What only one rank
knows (a cancel, a signal, a defect) is agreed before anybody acts on it. A rank that dies breaks the group: the next
exchange of every other one raises PeerLost, and the process ends, for a group cannot be mended.
Knows nothing of runs. `tests/trainer/test_world.py` lets two ranks learn over loopback.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from catalog.base import blas
from catalog.errors import Unavailable

blas.preload()

import mlx.core as mx  # noqa: E402
from mlx.utils import tree_flatten, tree_unflatten  # noqa: E402

WORDS_BYTES = 512
HOW_TO_GO_ON = "Start all ranks again; an interrupted run goes on from its last checkpoint."


class PeerLost(Unavailable):
    """Another rank died or cannot be reached."""


class World:
    """This process among the ranks. Alone, every exchange gives back what it was given, to the bit."""

    def __init__(self, group: mx.distributed.Group | None = None) -> None:
        self._group = group
        self.rank: int = group.rank() if group is not None else 0
        self.size: int = group.size() if group is not None else 1
        self._is_out_of_step = False

    @classmethod
    def here(cls) -> Self:
        """The group that this process was launched in."""
        group = mx.distributed.init()
        return cls(group if group.size() > 1 else None)

    @contextmanager
    def in_step(self) -> Iterator[None]:
        """A block in which every rank makes the same exchanges; whoever leaves it by a fault can make none any more."""
        try:
            yield
        except BaseException:
            self._is_out_of_step = True
            raise

    def share(self, indices: Sequence[int]) -> list[int]:
        """This rank's part of rows that are learned from together."""
        return list(indices[self.rank :: self.size])

    def sum_arrays(self, tree: Any) -> Any:
        """A tree of arrays, each summed over the ranks, in one exchange."""
        if self._group is None:
            return tree
        named = tree_flatten(tree)
        flat = self._sum(mx.concatenate([value.astype(mx.float32).reshape(-1) for _, value in named]))
        summed, begin = [], 0
        for name, value in named:
            summed.append((name, flat[begin : begin + value.size].reshape(value.shape).astype(value.dtype)))
            begin += value.size
        return tree_unflatten(summed)

    def sum_counts(self, counts: Sequence[int]) -> list[int]:
        """Whole numbers summed over the ranks."""
        if self._group is None:
            return list(counts)
        return [int(count) for count in np.array(self._sum(mx.array(list(counts), mx.int64)))]

    def sum_floats(self, values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Numbers of which each is zero on all ranks but one, put together; each is rounded to about 48 bits."""
        if self._group is None:
            return values
        coarse = values.astype(np.float32)
        fine = (values - coarse).astype(np.float32)
        both = np.array(self._sum(mx.array(np.stack([coarse, fine]))), np.float64)
        whole: npt.NDArray[np.float64] = both[0] + both[1]
        return whole

    def highest(self, code: int) -> int:
        """The highest of the ranks' codes."""
        if self._group is None:
            return code
        (highest,) = np.array(self._exchanged(mx.distributed.all_max(mx.array([code]), group=self._group)))
        return int(highest)

    def tell(self, content: bytes) -> bytes:
        """What rank 0 says, on every rank; what others say is not heard."""
        if self._group is None:
            return content
        (length,) = self.sum_counts([len(content) if self.rank == 0 else 0])
        said = np.frombuffer(content, np.uint8) if self.rank == 0 else np.zeros(length, np.uint8)
        return bytes(np.array(self._sum(mx.array(said)))) if length else b""

    def words(self, mine: str) -> list[str]:
        """What every rank says, in order of rank, cut to 512 bytes."""
        if self._group is None:
            return [mine]
        cut = mine.encode()[:WORDS_BYTES].ljust(WORDS_BYTES, b"\0")
        gathered = mx.distributed.all_gather(mx.array(np.frombuffer(cut, np.uint8)), group=self._group)
        rows = np.array(self._exchanged(gathered)).reshape(self.size, WORDS_BYTES)
        return [bytes(row).rstrip(b"\0").decode("utf-8", "ignore") for row in rows]

    def _sum(self, array: mx.array) -> mx.array:
        return self._exchanged(mx.distributed.all_sum(array, group=self._group))

    def _exchanged(self, array: mx.array) -> mx.array:
        if self._is_out_of_step:
            raise PeerLost("This rank left the others in the middle of a run.", hint=HOW_TO_GO_ON)
        try:
            mx.eval(array)
        except RuntimeError as error:
            raise PeerLost(f"Another rank was lost: {error}", hint=HOW_TO_GO_ON) from error
        return array


ALONE = World()
