"""What `ragweld up` prints once it answers: what it chose and why, where everything is, and a line to paste.

`read_machine` looks, `lines` writes; the second is pure. `tests/deploy/test_launch.py` reads it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from catalog.errors import Unavailable
from catalog.settings import Settings
from deploy.neighbours import NEIGHBOURS

WIDTH = 12


@dataclass(frozen=True, slots=True)
class Machine:
    """What was chosen here, in words."""

    device: str
    base: str
    blas: str


def read_machine(settings: Settings) -> Machine:
    """Look at device, weights and BLAS as the children do; loads no model."""
    from catalog.base import blas, device, locate  # MLX is loaded only once arguments and ports are known to be good

    found = blas.preload()
    here = device.current()
    wanted = settings.training.ragweld_agent_base_model
    try:
        choice = locate.choose(wanted)
        base = f"{choice.base}: {choice.reason}"
    except Unavailable as error:
        base = f"none: {error}"
    return Machine(
        device=f"{here.kind}: {here.name}, {here.memory_bytes / 2**30:.0f} GiB",
        base=base,
        blas=f"{found.name}. {found.hint}".rstrip(" ."),
    )


def lines(
    machine: Machine,
    home: Path,
    gateway_url: str,
    trainer_url: str,
    ready: Mapping[str, object],
    answering: Mapping[str, bool],
) -> list[str]:
    """The banner: `ready` is what /readyz said, `answering` which neighbours do; URLs without a path."""
    rows = [
        ("answers", f"{ready.get('answers', 'somebody')}: {ready.get('reason', 'no reason given')}"),
        ("device", machine.device),
        ("base", machine.base),
        ("BLAS", machine.blas),
        ("data", str(home)),
        ("gateway", f"{gateway_url}/v1"),
        ("Studio", f"{gateway_url}/studio"),
        ("metrics", f"{gateway_url}/metrics and {trainer_url}/metrics"),
    ]
    for one in NEIGHBOURS:
        state = "answers" if answering[one.name] else f"does not answer; start it with: {one.start}"
        rows.append((one.name, f"expected at {one.url}: {state}"))
    table = [f"  {name:<{WIDTH}}{value}" for name, value in rows]
    return ["", "ragweld answers.", *table, "", "Try it:", *(f"  {line}" for line in curl(gateway_url)), ""]


def curl(gateway_url: str) -> list[str]:
    """A first question, to paste into a shell."""
    question = {"model": "ragweld", "messages": [{"role": "user", "content": "Hello! What can you do?"}]}
    return [
        f"curl {gateway_url}/v1/chat/completions -H 'Content-Type: application/json' \\",
        f"  -d '{json.dumps(question)}'",
    ]
