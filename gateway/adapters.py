"""What the gateway does for adapters: take in from a folder, a run or Hugging Face's cache; list; remove. Blocking, but
for `taken_in`.

A folder is looked up inside the configured roots only, links followed first, so that a request never reaches the rest
of the disk. What is taken in is brought to the house's layout and checked by the engine on the base it is for before it
is kept. `tests/gateway/test_adapters_api.py`.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import tempfile
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, model_validator

from catalog import models
from catalog.adapters import ADAPTERS_FOLDER, AdapterStore, Aliases, made_for, read_config, say_made_for, short
from catalog.errors import Conflict, InvalidAdapter, InvalidRequest, NotFound, Unavailable
from catalog.ids import AdapterId, BaseId, checked_adapter_name, model_id
from catalog.runs import RunStore
from catalog.settings import Settings
from gateway import training
from gateway.routing import models_of

HUB_FILES = ["*.safetensors", "*.npz", "*.json"]
_REPO = re.compile(r"[\w.-]+/[\w.-]+")


class AdapterRequest(BaseModel):
    """Body of `POST /api/adapters`: one source, the base it is for, an optional name, and whether it becomes active."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    path: str | None = None
    run_id: str | None = None
    repo: str | None = None
    base: str | None = None
    """None is the default base."""
    name: str | None = None
    activate: bool = False

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if sum(source is not None for source in (self.path, self.run_id, self.repo)) != 1:
            raise ValueError("give exactly one of path, run_id and repo")
        return self


class LoadLoraRequest(BaseModel):
    """vLLM's `POST /v1/load_lora_adapter`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lora_name: str
    lora_path: str
    """A folder, or where there is none such a Hugging Face repo id."""
    load_inplace: bool = False
    base_model_name: str | None = None
    """None is the default base."""

    def as_ours(self, home: Path) -> AdapterRequest:
        """The same wish as `POST /api/adapters` would have it."""
        is_repo = _REPO.fullmatch(self.lora_path) is not None and not (home / self.lora_path).exists()
        source = {"repo" if is_repo else "path": self.lora_path}
        return AdapterRequest(name=self.lora_name, base=self.base_model_name, **source)


class UnloadLoraRequest(BaseModel):
    """vLLM's `POST /v1/unload_lora_adapter`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    lora_name: str
    lora_int_id: int | None = None


@dataclass(frozen=True, slots=True)
class Shelf:
    """Where adapters come from and go to."""

    home: Path
    settings: Settings
    runs: RunStore
    adapters: AdapterStore
    discovered: Mapping[str, Collection[str]]
    """Upstream -> models that it said it has."""


@dataclass(frozen=True, slots=True)
class Source:
    """A folder with an adapter. Its files may be links to what lies inside `links_within`, and to nothing else."""

    folder: Path
    links_within: Path | None = None


def source_of(wanted: AdapterRequest, shelf: Shelf) -> Source:
    """What the request names, once its name is found fit; raises InvalidRequest, NotFound, Conflict or Unavailable."""
    if wanted.name is not None:
        checked_adapter_name(wanted.name, "name", _other_models(shelf))
    if wanted.path is not None:
        return Source(_inside_roots(wanted.path, shelf))
    if wanted.run_id is not None:
        run = shelf.runs.get(wanted.run_id)
        if run.status != "completed":
            raise Conflict(f"Run {run.run_id} is {run.status} and has no finished adapter.", code=f"run_{run.status}")
        return Source(shelf.runs.model_folder(run.run_id))
    return _from_hub(wanted.repo or "")


@asynccontextmanager
async def taken_in(source: Source, home: Path) -> AsyncIterator[Path]:
    """The adapter in the house's layout, in a folder that is gone when the block ends."""
    scratch = await asyncio.to_thread(_scratch_folder, home / ADAPTERS_FOLDER)
    try:
        from catalog import formats  # brings numpy, 15 MB that a gateway without an engine does not need

        target = scratch / "adapter"
        await asyncio.to_thread(formats.normalise, source.folder, target, links_within=source.links_within)
        yield target
    finally:
        await asyncio.to_thread(shutil.rmtree, scratch)


def keep(folder: Path, checked: AdapterId, base: BaseId, wanted: AdapterRequest, shelf: Shelf) -> AdapterId:
    """Keep an adapter that was checked on `base` under its content id, and its name; raises Conflict when it changed
    on the way, or when its name would answer on another base."""
    if wanted.name is not None:
        _check_its_base(checked, base, shelf.adapters)
    say_made_for(folder, base)
    adapter_id = shelf.adapters.put(folder, name=wanted.name)
    if adapter_id != checked:
        raise Conflict("The adapter changed while it was checked.", code="adapter_changed")
    return adapter_id


def _check_its_base(adapter_id: AdapterId, base: BaseId, store: AdapterStore) -> None:
    """Raise Conflict for an adapter that is kept for another base: a name means it on that one."""
    try:
        its_base = made_for(store.folder(adapter_id))
    except NotFound:
        return
    if its_base not in (None, base):
        raise Conflict(
            f"The same adapter is kept already, for {its_base}, and a name answers on one base.",
            hint=f"Ask for {model_id(base, short(adapter_id))}, or delete it and add it for {base}.",
            code="adapter_of_another_base",
        )


def activate(adapter_id: AdapterId, base: BaseId, shelf: Shelf, mirror: Path | None) -> None:
    """Make an adapter the active one of a base, unless it is; raises Conflict when somebody else was faster."""
    current = shelf.adapters.active(base)
    if current != adapter_id:
        shelf.adapters.move(base, adapter_id, expected=current, reason="activated by a person")
        training.copy(shelf.adapters, adapter_id, mirror)


def listing(store: AdapterStore, resident: tuple[AdapterId, ...]) -> list[dict[str, Any]]:
    """Every adapter kept, with its names, where it is active and what it is made of."""
    aliases = store.aliases()
    return [row for adapter_id in store.list_ids() if (row := _row(store, aliases, adapter_id, resident)) is not None]


def moves(store: AdapterStore) -> dict[str, list[dict[str, Any]]]:
    """What was active on each base, oldest first; the last one is."""
    return {base: [move.model_dump(mode="json") for move in line] for base, line in store.aliases().bases.items()}


def remove(pointer: str, base: BaseId | None, store: AdapterStore) -> AdapterId:
    """Delete an adapter by name, run id or (the beginning of) its id; raises NotFound, Conflict."""
    adapter_id = store.resolve(base or BaseId(""), pointer)
    store.delete(adapter_id)
    return adapter_id


def _other_models(shelf: Shelf) -> set[str]:
    """Every model that is asked for by its own name: ragweld's bases, the catalog's, and the upstreams'."""
    upstreams = (model for upstream in shelf.settings.upstreams for model in models_of(upstream, shelf.discovered))
    return {*models.known_bases(shelf.settings.training), *models.by_name(), *upstreams}


def _scratch_folder(parent: Path) -> Path:
    parent.mkdir(parents=True, exist_ok=True)
    return Path(tempfile.mkdtemp(prefix=".incoming.", dir=parent))


def _row(
    store: AdapterStore, aliases: Aliases, adapter_id: AdapterId, resident: tuple[AdapterId, ...]
) -> dict[str, Any] | None:
    try:
        folder = store.folder(adapter_id)
        config = read_config(folder)
    except (NotFound, InvalidAdapter):
        return None  # deleted or spoiled since it was listed
    return {
        "id": adapter_id,
        "names": sorted(name for name, known in aliases.names.items() if known == adapter_id),
        "active_on": sorted(base for base in aliases.bases if aliases.active(base) == adapter_id),
        "resident": adapter_id in resident,
        "base": config.model,
        "rank": config.lora_parameters.rank,
        "scale": config.lora_parameters.scale,
        "targets": config.lora_parameters.keys,
        "bytes": sum(path.stat().st_size for path in folder.iterdir()),
    }


def _inside_roots(path: str, shelf: Shelf) -> Path:
    roots = [(shelf.home / Path(root).expanduser()).resolve() for root in shelf.settings.engine.adapter_roots]
    folder = (shelf.home / path).resolve()
    if not any(folder.is_relative_to(root) for root in roots):
        raise InvalidRequest(
            "The path lies outside the folders that adapters may come from.",
            hint=f"Put it under {', '.join(shelf.settings.engine.adapter_roots)} in the home folder, or add its folder "
            "to engine.adapter_roots.",
            param="path",
        )
    if not folder.is_dir():
        raise NotFound(f"There is no folder {path!r}.", param="path")
    return folder


def _from_hub(repo: str) -> Source:
    from httpx2 import HTTPError
    from huggingface_hub import snapshot_download  # slow to import, and seldom needed
    from huggingface_hub.errors import HFValidationError, RepositoryNotFoundError

    try:
        folder = Path(snapshot_download(repo, allow_patterns=HUB_FILES))
    except HFValidationError as error:
        raise InvalidRequest(f"{repo!r} is no repository id: {error}", param="repo") from error
    except RepositoryNotFoundError as error:
        raise NotFound(
            f"There is no folder in the home folder and no repository on Hugging Face that is named {repo!r}, or none "
            "open to this machine.",
            hint="Correct the name; for a private or gated repository, `hf auth login` as somebody who may read it.",
            param="repo",
        ) from error
    except (HTTPError, OSError) as error:  # a connection cut on the way is httpx's own, and no OSError
        raise Unavailable(
            f"{repo} cannot be fetched from Hugging Face: {error}",
            hint=f"Where this machine has no network: `hf download {repo}` on one that has, then copy its files into a "
            "folder under models/ in the home folder and add that by its path.",
            code="hub_unreachable",
        ) from error
    return Source(folder, links_within=folder.parents[1])  # blobs/ lies beside snapshots/<commit>/
