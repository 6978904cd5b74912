"""Names of models, adapters and runs: what a caller may write and what it means.

`ragweld`, `ragweld:<base>`, `ragweld:<base>@<adapter>`, `ragweld@<adapter>`; `@base` or `@none` is the bare base.
`ft:<base>:ragweld:<suffix>:<run id>` is a run's adapter as OpenAI's fine-tuning API names it. A name is looked up in
the catalog and never joined to a path before `checked_name` saw it.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import NewType

from catalog.errors import InvalidRequest

AdapterId = NewType("AdapterId", str)
"""Hex sha256 of the adapter's content; names and versions are pointers to it."""
RunId = NewType("RunId", str)
BaseId = NewType("BaseId", str)

RAGWELD = "ragweld"
BARE_BASE = "base"
NO_ADAPTER = "none"
"""Another spelling of the bare base."""
SHORT_ID_CHARS = 12
FINE_TUNED = "ft:"
CHECKPOINT = "ckpt-step-"

_ID = re.compile(rf"[0-9a-f]{{{SHORT_ID_CHARS},64}}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


def checked_name(name: str, param: str) -> str:
    """Return `name` if it can be a run id, adapter name or scope; raises InvalidRequest."""
    if not _NAME.fullmatch(name) or ".." in name:
        raise InvalidRequest(
            f"{name!r} is not a valid name.",
            hint="Use letters, digits, '.', '_' and '-', at most 128, beginning with a letter or digit.",
            param=param,
        )
    return name


def checked_adapter_name(name: str, param: str, other_models: Collection[str]) -> str:
    """Return `name` if an adapter can be asked for by it, and nothing else is; raises InvalidRequest."""
    checked_name(name, param)
    means_more = {RAGWELD, BARE_BASE, NO_ADAPTER, *(model.lower() for model in other_models)}
    if name.lower() in means_more or name.isdecimal() or _ID.fullmatch(name):
        raise InvalidRequest(
            f"{name!r} means something else already.",
            hint="An adapter's name is no other model's, of this machine or upstream, none of 'ragweld', 'base' and "
            "'none', no version and no content id.",
            param=param,
        )
    return name


@dataclass(frozen=True, slots=True)
class ModelRef:
    """A ragweld model as asked for. `base` None is the default base; `adapter` None is the active one."""

    base: BaseId | None
    adapter: str | None


def parse_model(model: str, known_bases: Collection[str], adapter_names: Collection[str] = ()) -> ModelRef | None:
    """Read a requested model id; None when it is not ragweld's. Only the first colon and the last `@` count.

    A base id that the catalog knows (`mlx-community/Qwen3-1.7B-4bit`) is ragweld without a prefix, and so is the bare
    name of an adapter, as vLLM's clients write it. A fine-tuned model of another organization is not ragweld's.
    """
    if model in adapter_names:
        return ModelRef(None, model)
    if model.startswith(FINE_TUNED):
        return _fine_tuned(model)
    name, at, adapter = model.rpartition("@") if "@" in model else (model, "", "")
    if at and not adapter:
        raise InvalidRequest(f"{model!r} names no adapter after '@'.", hint="Use '@base' for none.", param="model")
    wanted = checked_name(adapter, "model") if at else None
    wanted = BARE_BASE if wanted == NO_ADAPTER else wanted
    prefix, colon, rest = name.partition(":")
    if prefix.lower() == RAGWELD:
        return ModelRef(BaseId(rest) if colon and rest else None, wanted)
    if name in known_bases:
        return ModelRef(BaseId(name), wanted)
    return None


def _fine_tuned(model: str) -> ModelRef | None:
    """Read from its end, for a base may hold colons; the suffix is for people and decides nothing."""
    parts = model.removeprefix(FINE_TUNED).split(":")
    checkpoint = parts.pop() if parts[-1].startswith(CHECKPOINT) else ""
    if len(parts) < 4 or parts[-3] != RAGWELD:
        return None
    base, pointer = ":".join(parts[:-3]), checked_name(parts[-1], "model")
    return ModelRef(BaseId(base), f"{pointer}.{checked_name(checkpoint, 'model')}" if checkpoint else pointer)


def fine_tuned_id(base: str, suffix: str, run_id: str, step: int | None = None) -> str:
    """The name of a run's adapter under OpenAI's fine-tuning API, or of the one after a step."""
    name = f"{FINE_TUNED}{base}:{RAGWELD}:{suffix}:{run_id}"
    return name if step is None else f"{name}:{CHECKPOINT}{step}"


def model_id(base: BaseId, adapter: str | None) -> str:
    """The id that names exactly who answers: base and adapter."""
    return f"{RAGWELD}:{base}@{adapter or BARE_BASE}"


def new_run_id(scope: str, now: datetime, taken: Collection[str]) -> RunId:
    """`{scope}__{YYYYMMDD_HHMMSS}` (+ `__n` when that second is taken)."""
    stem = f"{checked_name(scope, 'scope')}__{now:%Y%m%d_%H%M%S}"
    if stem not in taken:
        return RunId(stem)
    n = 2
    while f"{stem}__{n}" in taken:
        n += 1
    return RunId(f"{stem}__{n}")
