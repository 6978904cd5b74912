"""What the engine holds in memory, and how an administrator changes it: load a base, unload one, forget prefixes.

Answers that are being given are never cut: a base in which something is decoded stays. `tests/gateway/test_memory.py`.
"""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict

from catalog.errors import Conflict, NotFound, Unavailable
from catalog.ids import BaseId
from gateway.ports import AnswerEngine


class BaseRequest(BaseModel):
    """Body of `POST /api/engine/load` and `unload`; without a base the default one is meant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    base: str | None = None


def view(engine: AnswerEngine | None, obstacle: str) -> dict[str, Any]:
    """State, bases, resident adapters and what the engine did so far."""
    if engine is None:
        return {"enabled": False, "ready": False, "reason": obstacle}
    state, did = engine.state(), engine.counters
    return {
        "enabled": True,
        "ready": state.ready,
        "reason": state.reason,
        "device": state.device,
        "precision": state.precision,
        "context": state.context,
        "active_adapter": state.active_adapter,
        "bases": [
            {"base": base, "default": base == state.base, "loaded": base in state.loaded_bases} for base in state.bases
        ],
        "resident_adapters": list(did.resident),
        "counters": {
            "rows": did.rows,
            "steps": did.steps,
            "prompt_tokens": did.prompt_tokens,
            "produced_tokens": did.produced_tokens,
            "cached_tokens": did.cached_tokens,
            "cancelled": did.cancelled,
            "swaps": did.swaps,
            "refused_swaps": engine.refused_swaps,
            "admitted_tokens": engine.admitted_tokens,
        },
    }


def running(engine: AnswerEngine | None, obstacle: str) -> AnswerEngine:
    """The engine, if it answers; raises Unavailable."""
    if engine is None or not engine.state().ready:
        raise Unavailable("The engine is not running.", hint=obstacle)
    return engine


async def load(engine: AnswerEngine, wanted: str | None) -> BaseId:
    """Bring a base into memory now; raises NotFound, Unavailable, Overloaded."""
    await engine.look_for_bases()
    base = _base(engine, wanted)
    await engine.load(base)
    return base


async def unload(engine: AnswerEngine, wanted: str | None) -> BaseId:
    """Let a base leave memory; its next request loads it. Raises NotFound, or Conflict while it answers."""
    base = _base(engine, wanted)
    if not await engine.unload(base):
        raise Conflict(f"{base} is answering and stays.", hint="Try again when it is idle.", code="base_busy")
    return base


def _base(engine: AnswerEngine, wanted: str | None) -> BaseId:
    state = engine.state()
    base = BaseId(wanted) if wanted is not None else state.base
    if base is None or base not in state.bases:
        raise NotFound(f"The base {base!r} is not on this machine.", hint="GET /api/engine lists them.", param="base")
    return base
