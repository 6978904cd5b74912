"""What a handler is given: everything that lives as long as the gateway does, put together once in `gateway.main`."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from litestar import Request

from catalog.adapters import AdapterStore
from catalog.audit import AdminLog
from catalog.ids import BaseId
from catalog.keys import KeyStore
from catalog.runs import RunStore
from catalog.settings import Settings, TrainingSettings, overlay
from catalog.uploads import FileStore
from gateway.chooser import Chooser, Grounds
from gateway.folder_watch import FolderWatch
from gateway.guard import Guard
from gateway.lifecycle import Lifecycle
from gateway.live import FileWatch, LiveSettings
from gateway.measure import Measures
from gateway.ports import AnswerEngine
from gateway.probation import Probation
from gateway.probe import Prober
from gateway.providers import Providers
from gateway.recording import Recorder
from gateway.retries import RetryBudget
from gateway.routing import Choice, FallbackReason
from gateway.upstream import Upstreams


@dataclass(frozen=True, slots=True)
class Context:
    """One gateway. `clock` is monotonic, in seconds."""

    live: LiveSettings
    home: Path
    environ: Mapping[str, str]
    engine: AnswerEngine | None
    watch: FolderWatch | None
    """Of the adapter folder; None without an engine."""
    providers: Providers
    """What is known of each upstream now."""
    upstreams: Upstreams
    prober: Prober
    chooser: Chooser
    retries: RetryBudget
    runs: RunStore
    adapters: AdapterStore
    probation: Probation
    """Of the adapter that has just become active."""
    files: FileStore
    recorder: Recorder
    measures: Measures
    lifecycle: Lifecycle
    keys: KeyStore
    guard: Guard | None
    """None where no key is asked for."""
    admin_log: AdminLog
    file_watches: Sequence[FileWatch]
    """Of the settings' file, and of the keys' where keys are asked for."""
    started_at: float
    """Unix time, for `created` of models."""
    verifying: asyncio.Lock = field(default_factory=asyncio.Lock)
    """Held while a run's files are hashed: two at a time would only halve each one's disk."""
    clock: Callable[[], float] = time.monotonic
    draw: Callable[[], float] = random.random
    """Uniform in [0, 1)."""

    @property
    def settings(self) -> Settings:
        """As the gateway goes by them now."""
        return self.live.settings

    def training(self, scope: str | None) -> TrainingSettings:
        """The training settings of a scope. Reads a file; keep it off the event loop."""
        return self.settings_of(scope).training

    def settings_of(self, scope: str | None) -> Settings:
        """The settings of a scope. Reads a file; keep it off the event loop."""
        return overlay(self.settings, self.home, scope) if scope else self.settings

    def engine_obstacle(self) -> tuple[FallbackReason | None, str]:
        """Why the engine cannot answer now, as a code and in words; (None, ...) when it can."""
        if self.engine is None:
            return "engine_disabled", "the engine is switched off (engine.enabled)"
        state = self.engine.state()
        return (None if state.ready else "engine_not_ready"), state.reason

    def ready_base(self) -> BaseId | None:
        """The base that answers now."""
        state = self.engine.state() if self.engine is not None else None
        return state.base if state is not None and state.ready else None

    async def choose(self, model: str, *, strict: bool) -> Choice:
        """Who may answer `model` now, in which order; raises NotFound or Unavailable."""
        if self.engine is not None:
            await self.engine.look()
        obstacle, detail = self.engine_obstacle()
        names = self.engine.adapter_names() if self.engine is not None else ()
        grounds = Grounds(self.settings, self.providers.discovered, names, obstacle, detail)
        return self.chooser.choose(model, grounds, strict=strict)


def of(request: Request[Any, Any, Any]) -> Context:
    """The context of the gateway that this request came to."""
    return cast(Context, request.app.state.context)
