"""Adapters under their content ids, and the alias that says which one is active for each base.

`data/adapters/<id>/` holds `adapters.safetensors`, `adapter.npz`, `adapter_config.json` and `manifest.json`; the id is
the sha256 of the weights' bytes and of what decides their effect (rank, scale, targets), so that names and versions
are only pointers. An alias moves by one rename, under a lock, compared with what the mover believed to be active; its
history is linear and is what rollback walks. `tests/catalog/test_adapters.py`.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from catalog import files
from catalog.errors import Conflict, InvalidAdapter, NotFound
from catalog.ids import CHECKPOINT, SHORT_ID_CHARS, AdapterId, BaseId
from catalog.run_life import stamp

ADAPTERS_FOLDER = Path("data/adapters")
WEIGHTS_FILE = "adapters.safetensors"
NPZ_FILE = "adapter.npz"
CONFIG_FILE = "adapter_config.json"
MANIFEST_FILE = "manifest.json"
GOLDEN_FILE = "golden.json"
"""A prompt, and what the trainer heard the adapter answer; the engine must hear the like before it serves it."""
AUTOMATIC = "automatic rollback"
"""How the reason of a move that no person made begins."""


class LoraParameters(BaseModel):
    """mlx-lm's own names; `scale` multiplies B(A x) as it is (alpha / rank)."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    rank: int = Field(ge=1, le=1024)
    scale: float = Field(allow_inf_nan=False)
    dropout: float = 0.0
    keys: list[str] | None = None


class AdapterConfig(BaseModel):
    """`adapter_config.json` as mlx-lm reads it; other keys are kept by the file and ignored here."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    fine_tune_type: str = "lora"
    num_layers: int = Field(ge=-1)
    lora_parameters: LoraParameters
    model: str | None = None
    """Base model the adapter was trained on."""


class Golden(BaseModel):
    """The file `golden.json`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    messages: list[dict[str, Any]]
    answer: str
    """Greedy, without thinking."""
    max_tokens: int = Field(ge=1, le=64)


class AliasMove(BaseModel):
    """One line of an alias's history."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: int
    adapter_id: str | None
    """None is the bare base."""
    previous: str | None
    reason: str
    ts: str
    is_rollback: bool = False
    """Took back the move before; what it took away is not kept for another rollback."""


class Aliases(BaseModel):
    """The file `aliases.json`: for each base its moves, oldest first; the last one is active."""

    model_config = ConfigDict(extra="forbid")

    bases: dict[str, list[AliasMove]] = {}
    names: dict[str, str] = {}
    """Other pointers to content ids: run ids and names given by people."""

    def active(self, base: str) -> AdapterId | None:
        moves = self.bases.get(base, [])
        return AdapterId(moves[-1].adapter_id) if moves and moves[-1].adapter_id else None


class _Active(msgspec.Struct, frozen=True, gc=False):
    adapter_id: str | None


class Pointers(msgspec.Struct, frozen=True):
    """The same file as pointers only, for those who look at it after every move.

    1,100 moves are read in 0.2 ms; as `Aliases`, with the history checked, in 2.3 ms.
    """

    bases: dict[str, list[_Active]] = {}
    names: dict[str, str] = {}

    def active(self, base: str) -> AdapterId | None:
        moves = self.bases.get(base)
        return AdapterId(moves[-1].adapter_id) if moves and moves[-1].adapter_id else None


_POINTERS = msgspec.json.Decoder(Pointers)


def read_config(folder: Path) -> AdapterConfig:
    """The adapter's own config, re-read at every use; raises InvalidAdapter."""
    try:
        return AdapterConfig.model_validate_json((folder / CONFIG_FILE).read_bytes())
    except (OSError, ValueError) as error:
        raise InvalidAdapter(f"{folder.name}/{CONFIG_FILE} cannot be used: {error}.") from error


def content_id(folder: Path) -> AdapterId:
    """Hex sha256 over the weights' bytes and the settings that decide their effect."""
    config = read_config(folder)
    effect = {
        "weights": files.sha256_file(folder / WEIGHTS_FILE),
        "fine_tune_type": config.fine_tune_type,
        "num_layers": config.num_layers,
        "rank": config.lora_parameters.rank,
        "scale": config.lora_parameters.scale,
    }
    return AdapterId(hashlib.sha256(json.dumps(effect, sort_keys=True).encode()).hexdigest())


def made_for(folder: Path) -> BaseId | None:
    """The base that an adapter was trained or checked on, if it says so; raises InvalidAdapter."""
    base = read_config(folder).model
    return BaseId(base) if base is not None else None


def say_made_for(folder: Path, base: BaseId) -> None:
    """Write into an adapter's config on which base it was checked; what it said before is kept as `trained_on`."""
    path = folder / CONFIG_FILE
    document = json.loads(path.read_bytes())
    if (said := document.get("model")) != base:
        document["model"] = base
        document |= {"trained_on": said} if said is not None else {}
        files.write_bytes(path, json.dumps(document, indent=2).encode() + b"\n")


class AdapterStore:
    """Adapters and aliases under `<home>/data/adapters`. Blocking; keep it off an event loop."""

    def __init__(self, home: Path, now: Callable[[], datetime] = lambda: datetime.now(UTC)) -> None:
        self.home = home
        self.root = home / ADAPTERS_FOLDER
        self.aliases_path = self.root / "aliases.json"
        self._now = now

    def folder(self, adapter_id: str) -> Path:
        """The adapter's folder; raises NotFound."""
        folder = self.root / adapter_id
        if len(adapter_id) != 64 or not adapter_id.isalnum() or not folder.is_dir():
            raise NotFound(f"There is no adapter {adapter_id!r}.", param="model")
        return folder

    def put(self, source: Path, *, name: str | None = None) -> AdapterId:
        """Keep a copy of the adapter in `source`, whole, under its content id; `name` then points to it."""
        adapter_id = content_id(source)
        target = self.root / adapter_id
        if not target.exists():
            with files.staged_folder(target) as staging:
                for path in source.iterdir():
                    if path.is_file() and not path.is_symlink():
                        shutil.copyfile(path, staging / path.name)
                if content_id(staging) != adapter_id:
                    raise InvalidAdapter(f"{source.name} changed while it was copied.", hint="Try again.")
        if name is not None:
            with self._lock():
                aliases = self.aliases()
                aliases.names[name] = adapter_id
                self._write(aliases)
        return adapter_id

    def aliases(self) -> Aliases:
        """Every pointer, as it is on disk now."""
        if not self.aliases_path.exists():
            return Aliases()
        return Aliases.model_validate_json(self.aliases_path.read_bytes())

    def pointers(self) -> Pointers:
        """What is active and named, as it is on disk now."""
        try:
            return _POINTERS.decode(self.aliases_path.read_bytes())
        except (FileNotFoundError, NotADirectoryError):
            return Pointers()

    def active(self, base: BaseId) -> AdapterId | None:
        """The active adapter of a base; None is the bare base."""
        return self.pointers().active(base)

    def move(
        self,
        base: BaseId,
        to: AdapterId | None,
        *,
        expected: AdapterId | None,
        reason: str,
        is_rollback: bool = False,
    ) -> AliasMove:
        """Make `to` active if `expected` still is; raises Conflict with what is active when somebody else was first."""
        if to is not None:
            self.folder(to)
        with self._lock():
            aliases = self.aliases()
            moves = aliases.bases.setdefault(base, [])
            current = aliases.active(base)
            if current != expected:
                raise Conflict(
                    f"The active adapter of {base} is now {short(current)}, not {short(expected)}.",
                    hint="Look at it and ask again.",
                    code="alias_moved",
                )
            move = AliasMove(
                version=len(moves) + 1,
                adapter_id=to,
                previous=current,
                reason=reason,
                ts=stamp(self._now()),
                is_rollback=is_rollback,
            )
            moves.append(move)
            self._write(aliases)
        return move

    def rollback(self, base: BaseId) -> AliasMove:
        """Take back what is active; raises Conflict when nothing stands before it."""
        moves = self.aliases().bases.get(base, [])
        if not self._before(moves):
            raise Conflict(f"{base} has no earlier adapter to roll back to.", code="no_history")
        return self._take_back(base, moves, f"rollback of version {moves[-1].version}")

    def retreat(self, base: BaseId, bad: AdapterId, why: str) -> AliasMove | None:
        """Make active what was before `bad`, which is active now; None when it is not, or somebody else was faster."""
        moves = self.aliases().bases.get(base, [])
        if not moves or moves[-1].adapter_id != bad:
            return None
        try:
            return self._take_back(base, moves, f"{AUTOMATIC} of version {moves[-1].version}: {why}")
        except Conflict:
            return None

    def _take_back(self, base: BaseId, moves: Sequence[AliasMove], reason: str) -> AliasMove:
        active = standing(moves)[-1]
        expected = AdapterId(active) if active is not None else None
        return self.move(base, self._before(moves)[-1], expected=expected, reason=reason, is_rollback=True)

    def before(self, base: BaseId) -> list[AdapterId | None]:
        """What stands before the active adapter and is still here, oldest first; a rollback returns to the last."""
        return self._before(self.aliases().bases.get(base, []))

    def _before(self, moves: Sequence[AliasMove]) -> list[AdapterId | None]:
        stack = [AdapterId(one) if one is not None else None for one in standing(moves)[:-1]]
        return [one for one in stack if one is None or (self.root / one).is_dir()]

    def resolve(self, base: BaseId, pointer: str, known: Pointers | None = None) -> AdapterId:
        """The content id behind a version number, a run id, a name or (the beginning of) an id; raises NotFound.

        A name with `.ckpt-step-<n>` is the adapter of that name if it was kept after that step. `known` are pointers
        that were read already.
        """
        known = known or self.pointers()
        if pointer in known.names:
            return AdapterId(known.names[pointer])
        name, found_step, step = pointer.rpartition(f".{CHECKPOINT}")
        if found_step and name in known.names and str(self._step_of(known.names[name])) == step:
            return AdapterId(known.names[name])
        if pointer.isdecimal() and len(pointer) < SHORT_ID_CHARS:
            versions = enumerate(known.bases.get(base, []), start=1)
            found = [move.adapter_id for version, move in versions if version == int(pointer) and move.adapter_id]
        else:
            found = [path.name for path in self.root.glob(f"{pointer}*") if path.is_dir()] if pointer.isalnum() else []
        if len(found) != 1:
            raise NotFound(
                f"{base} has no adapter {pointer!r}.",
                hint="GET /v1/models lists what can answer.",
                param="model",
                code="model_not_found",
            )
        return AdapterId(found[0])

    def _step_of(self, adapter_id: str) -> int | None:
        """After which step of its run an adapter was kept."""
        try:
            step = json.loads((self.folder(adapter_id) / MANIFEST_FILE).read_bytes())["best_step"]
        except (OSError, ValueError, KeyError, TypeError, NotFound):
            return None
        return int(step)

    def delete(self, adapter_id: AdapterId) -> None:
        """Forget an adapter and its names; raises Conflict while it, or its return, is needed.

        It is set aside before the names are written, so that whoever looks when they changed does not find it.
        """
        folder = self.folder(adapter_id)
        with self._lock():
            aliases = self.aliases()
            for base, moves in aliases.bases.items():
                if adapter_id in (standing(moves)[-1], *self._before(moves)[-1:]):
                    raise Conflict(
                        f"The adapter {short(adapter_id)} is active on {base}, or what a rollback would return to.",
                        hint="Promote another one first.",
                        code="adapter_in_use",
                    )
            aliases.names = {name: known for name, known in aliases.names.items() if known != adapter_id}
            aside = folder.with_name(f".old.{adapter_id}")
            shutil.rmtree(aside, ignore_errors=True)  # of a deletion that a crash broke off
            folder.rename(aside)
            try:
                self._write(aliases)
            except BaseException:
                aside.rename(folder)
                raise
            shutil.rmtree(aside)

    def unname(self, name: str) -> AdapterId:
        """Take a name away, the adapter stays; returns its id, raises NotFound."""
        with self._lock():
            aliases = self.aliases()
            if name not in aliases.names:
                raise NotFound(f"No adapter is named {name!r}.", param="lora_name")
            adapter_id = AdapterId(aliases.names.pop(name))
            self._write(aliases)
        return adapter_id

    def list_ids(self) -> list[AdapterId]:
        """Every adapter kept here."""
        return sorted(AdapterId(path.name) for path in self.root.glob("?" * 64) if path.is_dir())

    def mirror(self, adapter_id: AdapterId, folder: Path) -> None:
        """Replace `folder` (the place users know, `ragweld_agent_model_path`) by a copy of the adapter, atomically."""
        source = self.folder(adapter_id)
        with files.staged_folder(folder) as staging:
            for path in source.iterdir():
                shutil.copyfile(path, staging / path.name)

    def _write(self, aliases: Aliases) -> None:
        files.write_bytes(self.aliases_path, aliases.model_dump_json(indent=2).encode() + b"\n")

    def _lock(self) -> AbstractContextManager[None]:
        return files.exclusive_lock(self.root / ".lock")


def standing(moves: Sequence[AliasMove]) -> list[str | None]:
    """What was put forward and not taken back, oldest first: the bare base, then adapters; the last one is active.

    What a move took back is gone for good: no rollback, by hand or by itself, leads to it again.
    """
    stack: list[str | None] = [None]
    for move in moves:
        if move.is_rollback and len(stack) > 1:
            stack.pop()
            while len(stack) > 1 and stack[-1] != move.adapter_id:  # deleted before it was rolled back over
                stack.pop()
        elif move.adapter_id != stack[-1]:
            stack.append(move.adapter_id)
    return stack


def short(adapter_id: str | None) -> str:
    """The beginning of an id, enough for a person; `base` for none."""
    return adapter_id[:SHORT_ID_CHARS] if adapter_id else "base"
