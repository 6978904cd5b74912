"""An adapter for use elsewhere: mlx-lm's folder, PEFT's, or fused into its base.

Whoever asks names a run, an adapter, or a model id; the target folder is whole or absent. One export at a time, because
a fused one holds a base in memory. `tests/catalog/test_exports.py`.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from catalog import files
from catalog.adapters import CONFIG_FILE, WEIGHTS_FILE, AdapterStore, read_config
from catalog.base import locate
from catalog.errors import InvalidRequest, NotFound, Unavailable
from catalog.ids import BaseId, parse_model
from catalog.runs import RunStore

EXPORTS_FOLDER = Path("exports")

Format = Literal["mlx-lm", "peft", "fused"]


@dataclass(frozen=True, slots=True)
class Source:
    """An adapter's folder, and the base it belongs to."""

    folder: Path
    base: str


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written; `note` says what storing did to the adapter."""

    folder: Path
    format: Format
    base: str
    note: str


def find(named: str, home: Path, known_bases: Collection[str], default_base: str) -> Source:
    """The adapter of a run, of a version, name or id, or of a model id; raises NotFound.

    A model id without an adapter is the active one of its base.
    """
    ref = parse_model(named, known_bases)
    pointer = named if ref is None else ref.adapter
    if pointer is not None and (source := _of_run(pointer, RunStore(home))):
        return source
    adapters, base = AdapterStore(home), BaseId((ref and ref.base) or default_base)
    adapter_id = adapters.active(base) if pointer is None else adapters.resolve(base, pointer)
    if adapter_id is None:
        raise NotFound(f"{base} has no active adapter.", hint="Name a run or an adapter.", param="adapter")
    folder = adapters.folder(adapter_id)
    return Source(folder, read_config(folder).model or base)


def _of_run(run_id: str, runs: RunStore) -> Source | None:
    try:
        run = runs.read(run_id)
    except (NotFound, InvalidRequest):
        return None
    folder = runs.model_folder(run.run_id)
    if not folder.is_dir():
        raise NotFound(f"The run {run.run_id} is {run.status} and has kept no adapter.", param="adapter")
    return Source(folder, run.plan.base)


def export(source: Source, kind: Format, target: Path, home: Path, *, quantised: bool = False) -> Exported:
    """Write the adapter to `target`; raises InvalidRequest, InvalidAdapter or Unavailable. Blocking."""
    if target.exists():
        raise InvalidRequest(f"{target} exists.", hint="Name another folder, or remove it.", param="out")
    if quantised and kind != "fused":
        raise InvalidRequest("Only a fused model can be quantised.", param="quantised")
    with files.exclusive_lock(home / EXPORTS_FOLDER / ".lock"):
        match kind:
            case "mlx-lm":
                note = _to_mlx_lm(source, target)
            case "peft":
                note = _to_peft(source, target)
            case "fused":
                note = _fuse(source, target, quantised=quantised)
    return Exported(target, kind, source.base, note)


def _to_mlx_lm(source: Source, target: Path) -> str:
    with files.staged_folder(target) as staging:
        for name in (WEIGHTS_FILE, CONFIG_FILE):
            shutil.copyfile(source.folder / name, staging / name)
    return "mlx_lm.generate --adapter-path reads it"


def _to_peft(source: Source, target: Path) -> str:
    from catalog import formats  # brings numpy, which a gateway before upstreams alone does without

    formats.export_peft(source.folder, target, base_model=source.base)
    return "PEFT loads it on the base's Transformers weights"


def _fuse(source: Source, target: Path, *, quantised: bool) -> str:
    from catalog.base import fuse  # loads MLX, which the other formats do without

    folder = locate.find(source.base)
    if folder is None:
        raise Unavailable(f"{source.base} is not on this machine.", hint=locate.download_hint(source.base))
    return fuse.fuse(folder, source.folder, target, quantised=quantised).in_words()
