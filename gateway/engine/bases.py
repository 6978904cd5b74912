"""Which bases can be asked for: the default one, and every other of the catalog whose weights are on this machine.

`load` and `bytes_of` run on the engine's thread, the rest on the event loop. `tests/gateway/engine/test_bases.py`.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

from catalog import models
from catalog.base import blas, locate
from catalog.base.load import Base, bytes_in_memory, load
from catalog.base.locate import BaseChoice
from catalog.errors import NotFound, Unavailable
from catalog.ids import BaseId
from catalog.settings import Settings

NOT_LOADED = "model_not_loaded"


class Bases:
    """Where bases lie, and how they are loaded."""

    def __init__(self, settings: Settings) -> None:
        self._training = settings.training
        self._cpu_float32 = settings.engine.cpu_float32
        self._folders: dict[BaseId, Path] = {}
        self._largest_parameters = 0
        self.default: BaseChoice | None = None

    @property
    def here(self) -> tuple[BaseId, ...]:
        """Bases that can be loaded, the default one first."""
        return tuple(self._folders)

    async def find(self) -> None:
        """Look for the default base and the others; raises Unavailable when there is nothing to begin with."""
        self.default = await asyncio.to_thread(locate.choose, self._training.ragweld_agent_base_model)
        self._folders = {self.default.base: self.default.folder}
        await self.look()

    async def look(self) -> None:
        """Look for those that were fetched since; a millisecond, off the loop."""
        known = await asyncio.to_thread(self._known_here)
        self._folders.update(known)

    def knows(self, base: BaseId) -> bool:
        """Whether the catalog does, here or not."""
        return base in self._folders or base in models.known_bases(self._training)

    async def need(self, base: BaseId) -> None:
        """Raise NotFound for a base that the catalog does not know, Unavailable for one that cannot be loaded yet."""
        if base in self._folders:
            return
        if not self.knows(base):
            hint = "GET /v1/models lists what can answer."
            raise NotFound(f"There is no base {base!r}.", hint=hint, param="model", code="model_not_found")
        folder = await asyncio.to_thread(locate.find, base)
        if folder is None:
            hint = f"{locate.download_hint(base)}."
            raise Unavailable(f"The base {base} is not on this machine.", hint=hint, code=NOT_LOADED)
        self._folders[base] = folder

    def load(self, base: BaseId) -> Base:
        """Bring a base into memory; raises Unavailable."""
        loaded = load(base, self._folders[base], cpu_float32=self._cpu_float32)
        self._largest_parameters = max(self._largest_parameters, loaded.parameters)
        blas.suit(self._largest_parameters)
        return loaded

    def bytes_of(self, base: BaseId) -> int:
        """What a base will take in memory; raises Unavailable."""
        return bytes_in_memory(base, self._folders[base], cpu_float32=self._cpu_float32)

    def _known_here(self) -> dict[BaseId, Path]:
        known = sorted(models.known_bases(self._training))
        return {BaseId(base): folder for base in known if (folder := locate.find(base)) is not None}
