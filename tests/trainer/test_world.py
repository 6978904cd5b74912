"""Exchanges are exact: alone to the bit, over a ring what was sent; a peer that died is an error and never a wait."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import mlx.core as mx
import numpy as np
import pytest

from tests.house import REPOSITORY, free_ports
from trainer.world import ALONE, PeerLost, World

PROGRAM = """
import json, os, signal, sys
import mlx.core as mx
import numpy as np
from trainer.world import PeerLost, World

world = World.here()
tree = world.sum_arrays({"a": mx.full((2, 2), 1.5 + world.rank), "b": [mx.array([world.rank])]})
mine = np.array([np.pi, 0.0]) if world.rank == 0 else np.array([0.0, np.nan])
print(json.dumps([
    tree["a"].tolist(), tree["b"][0].tolist(), world.sum_counts([1 + world.rank, 1 << 40]),
    world.sum_floats(mine).tolist(), world.highest(3 * world.rank), world.tell(b"from %d" % world.rank).decode(),
    world.words(f"I am {world.rank}"), world.share([5, 6, 7]), world.tell(b"").decode(),
]), flush=True)
if world.rank == int(sys.argv[1]):
    os.kill(os.getpid(), signal.SIGKILL)
try:
    while True:
        world.highest(0)
except PeerLost as error:
    print(json.dumps(str(error)), flush=True)
"""


def test_alone_every_exchange_gives_back_what_it_was_given() -> None:
    tree, odd = {"a": mx.array([0.1, -0.0])}, np.array([0.1, np.nan, 1e300])
    assert ALONE.sum_arrays(tree) is tree
    assert ALONE.sum_floats(odd) is odd
    assert (ALONE.sum_counts((1, 2)), ALONE.highest(7), ALONE.tell(b"x"), ALONE.words("y")) == ([1, 2], 7, b"x", ["y"])
    assert ALONE.share([4, 5, 6]) == [4, 5, 6]
    assert (World.here().rank, World.here().size) == (0, 1)


def test_who_left_in_the_middle_of_a_run_exchanges_nothing_any_more() -> None:
    class Pair:
        def rank(self) -> int:
            return 0

        def size(self) -> int:
            return 2

    world = World(Pair())  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="a fault"), world.in_step():
        raise ValueError("a fault")
    with pytest.raises(PeerLost, match="left the others"):
        world._exchanged(mx.array(1))


@pytest.mark.parametrize("dying", [0, 1])
def test_two_ranks_hear_each_other_until_one_dies(tmp_path: Path, dying: int) -> None:
    hosts = tmp_path / "hosts.json"
    hosts.write_text(json.dumps([[f"127.0.0.1:{port}"] for port in free_ports(2)]))
    started = [
        subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(dying)],
            cwd=REPOSITORY,
            env={**os.environ, "MLX_HOSTFILE": str(hosts), "MLX_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        for rank in (0, 1)
    ]
    said = [process.communicate(timeout=300)[0].splitlines() for process in started]
    heard = [json.loads(lines[0]) for lines in said]
    assert heard[0][:2] == heard[1][:2] == [[[4.0, 4.0], [4.0, 4.0]], [1]]
    assert heard[0][2] == heard[1][2] == [3, 1 << 41]
    for rank in (0, 1):
        pi, nothing = heard[rank][3]
        assert pi == pytest.approx(np.pi, rel=1e-13) and np.isnan(nothing)
        assert heard[rank][4:7] == [3, "from 0", ["I am 0", "I am 1"]]
        assert (heard[rank][7], heard[rank][8]) == ([[5, 7], [6]][rank], "")
    assert len(said[dying]) == 1
    assert "Another rank was lost" in said[1 - dying][1]
