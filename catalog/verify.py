"""`runs verify`: derives again what a run's files say, and tells where they disagree.

Hashes of files, the adapter's content id, the dataset's digests and its split, the base's files, checkpoints, and that
the summary is the curve's. Nothing is computed with the model here (`trainer.verify` measures the loss again). What
cannot be told any more, because a file was moved or never was, is `null` and no fault. `tests/catalog/test_verify.py`.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path

from pydantic import BaseModel, ConfigDict, ValidationError

from catalog import datasets, events, files
from catalog.adapters import MANIFEST_FILE, NPZ_FILE, WEIGHTS_FILE, AdapterStore, content_id
from catalog.base import locate
from catalog.errors import InvalidAdapter, InvalidDataset, NotFound
from catalog.manifest import Manifest
from catalog.run_life import Run
from catalog.runs import RunStore

BASE_FILES = ("*.safetensors", "config.json", "generation_config.json", "tokenizer*", "chat_template*", "vocab*")


class Finding(BaseModel):
    """One thing that was derived again."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    what: str
    ok: bool | None
    """None: it cannot be told any more."""
    detail: str


class Verification(BaseModel):
    """Body of `GET /api/agent/train/run/{id}/verify`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    run_id: str
    ok: bool
    """Nothing disagrees."""
    findings: list[Finding]


def verify(run: Run, runs: RunStore, adapters: AdapterStore, home: Path) -> Verification:
    """Everything that can be derived again without the model. Blocking: reads every file of the run and its base."""
    findings = [*_of_checkpoints(runs.checkpoints_folder(run.run_id)), *_of_adapter(run, runs, adapters, home)]
    return verification(run.run_id, findings)


def verification(run_id: str, findings: list[Finding]) -> Verification:
    return Verification(run_id=run_id, ok=all(one.ok is not False for one in findings), findings=findings)


def base_files(base: str) -> dict[str, str]:
    """sha256 of each of a base's files that decide what it computes; empty when the base is not here."""
    folder = locate.find(base)
    if folder is None:
        return {}
    found = sorted({path for pattern in BASE_FILES for path in folder.glob(pattern) if path.is_file()})
    return {path.name: files.sha256_file(path) for path in found}


def _of_adapter(run: Run, runs: RunStore, adapters: AdapterStore, home: Path) -> Iterator[Finding]:
    folder = runs.model_folder(run.run_id)
    if run.adapter_id is None:
        yield Finding(what="adapter", ok=None, detail="the run kept none")
        return
    yield _same("adapter", run.adapter_id, lambda: content_id(folder))
    yield _same("adapter in the store", run.adapter_id, lambda: content_id(adapters.folder(str(run.adapter_id))))
    yield _npz(folder)
    try:
        manifest = Manifest.model_validate_json((folder / MANIFEST_FILE).read_bytes())
    except (OSError, ValidationError) as error:
        yield Finding(what="manifest", ok=False, detail=f"it cannot be read: {error}")
        return
    told = (manifest.run_id, manifest.plan, manifest.summary, manifest.promotion)
    promotion = run.promotion if manifest.promotion is not None else None
    yield _said("manifest", told == (run.run_id, run.plan, run.summary, promotion), "the run's own plan and summary")
    yield from _of_dataset(manifest, home)
    yield _of_base(manifest)
    yield _of_curve(manifest, runs.metrics_path(run.run_id))


def _of_dataset(manifest: Manifest, home: Path) -> Iterator[Finding]:
    record, plan = manifest.dataset, manifest.plan
    try:
        dataset = datasets.read(home / Path(record.path).expanduser())
        other = datasets.read(home / Path(plan.validation_path).expanduser()) if plan.validation_path else None
    except InvalidDataset as error:
        yield Finding(what="dataset", ok=None, detail=str(error).splitlines()[0])
        return
    yield _said("dataset bytes", dataset.bytes_sha256 == record.bytes_sha256, f"sha256 {record.bytes_sha256[:12]}")
    rows = datasets.digest_of(dataset, other)
    yield _said("dataset rows", rows == record.rows_sha256, f"{len(dataset.rows)} rows")
    held_out = other.rows if other is not None else datasets.split(dataset.rows, record.split_seed).held_out
    digests = [hashlib.sha256(row.canonical()).hexdigest() for row in held_out]
    yield _said("split", digests == record.held_out_sha256, f"{len(digests)} held out by seed {record.split_seed}")


def _of_base(manifest: Manifest) -> Finding:
    now = base_files(manifest.base)
    if not now or not manifest.base_files:
        return Finding(what="base", ok=None, detail="its files are not here, or were not recorded")
    others = sorted(name for name in now.keys() | manifest.base_files if now.get(name) != manifest.base_files.get(name))
    return _said("base", not others, f"{len(now)} files" if not others else f"others now: {', '.join(others)}")


def _of_curve(manifest: Manifest, metrics: Path) -> Finding:
    """The best value of the summary is that of its step in the events."""
    best = manifest.summary.primary_best
    told = [event for event in events.read_events(metrics) if event.type == "metrics" and event.step]
    losses = {event.step: loss for event in told if (loss := (event.metrics or {}).get("eval_loss")) is not None}
    if best is None or not losses:
        return Finding(what="summary", ok=None, detail="nothing was measured")
    lowest = min(losses.values())
    is_so = losses.get(manifest.summary.best_step) == best == lowest
    return _said("summary", is_so, f"best {best:.6g} at step {manifest.summary.best_step}, lowest told {lowest:.6g}")


def _of_checkpoints(folder: Path) -> Iterator[Finding]:
    for path in sorted(folder.glob("step_*")):
        try:
            digests = json.loads((path / MANIFEST_FILE).read_bytes())["sha256"]
            torn = [name for name, digest in digests.items() if files.sha256_file(path / name) != digest]
        except (OSError, ValueError, KeyError) as error:
            if not path.exists():  # a run that goes on has removed it meanwhile
                continue
            torn = [str(error)]
        yield _said(f"checkpoint {path.name}", not torn, "whole" if not torn else f"not as written: {', '.join(torn)}")


def _npz(folder: Path) -> Finding:
    import numpy as np  # a gateway starts without it
    from safetensors.numpy import load_file

    try:
        tensors = load_file(folder / WEIGHTS_FILE)
        with np.load(folder / NPZ_FILE) as others:
            same = others.keys() == tensors.keys() and all(
                np.array_equal(others[name], tensor) for name, tensor in tensors.items()
            )
    except (OSError, ValueError, KeyError, TypeError) as error:
        return Finding(what=NPZ_FILE, ok=None, detail=f"it cannot be compared: {error}")
    return _said(NPZ_FILE, same, f"{len(tensors)} tensors, those of {WEIGHTS_FILE}")


def _same(what: str, expected: str, derive: Callable[[], str]) -> Finding:
    try:
        found = derive()
    except (OSError, InvalidAdapter, NotFound) as error:
        return Finding(what=what, ok=False, detail=f"it cannot be read: {error}")
    detail = f"content id {expected[:12]}" if found == expected else f"its content id is {found[:12]}"
    return _said(what, found == expected, detail)


def _said(what: str, ok: bool, detail: str) -> Finding:
    return Finding(what=what, ok=ok, detail=detail)
